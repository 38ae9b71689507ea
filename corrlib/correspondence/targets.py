"""What a run is trained towards: the only thing in which the two stages differ.

A target is a function of a batch that gives the estimated correspondence of its clips and captions, as
`corrlib.correspondence.estimate.estimate` does, or None where only the annotated pairs count.
"""

import torch

from corrlib.correspondence.estimate import estimate, member_similarities
from corrlib.correspondence.weights import choose_weights
from corrlib.evaluation.embeddings import load_embeddings
from corrlib.study import runs


def annotated():
    """Stage 1, and the control `continued`: annotated pairs only."""
    return lambda batch: None


def estimated(teachers, temperature, combine="mean_similarity", weights=None, clip_order=None):
    """The teachers' estimate, from embeddings computed once: the N x N matrix is never kept.

    teachers: list of (clips (N, E_m), captions (C, E_m)); temperature, combine, weights: see `estimate`.
    clip_order (N,): row of the teachers' clips to use for each clip; a permutation gives the control `shuffled`.
    """
    clips, captions = zip(*teachers, strict=True)

    def target(batch):
        rows = batch.clips if clip_order is None else clip_order[batch.clips]
        members = member_similarities(list(clips), list(captions), rows, batch.captions)
        return estimate(members, temperature, combine, weights)

    return target


def true(truth, temperature):
    """The true correspondence (N, C) of the built-in corpus as if it were a teacher's similarity."""
    truth = torch.as_tensor(truth)
    return lambda batch: estimate(truth[batch.clips][:, batch.captions].float()[None], temperature)


def random_teacher(items, temperature, seed, size=64):
    """A teacher of random unit embeddings: fixed, confident, and without any knowledge."""
    generator = torch.Generator().manual_seed(seed)
    draw = [
        torch.nn.functional.normalize(torch.randn(n, size, generator=generator), dim=-1)
        for n in (items.clips, items.captions)
    ]
    return estimated([tuple(draw)], temperature)


def captions(items, temperature):
    """Similarity of captions to each clip's captions by a sentence encoder (arXiv 2412.01356): text alone."""
    from corrlib.correspondence.sentences import clip_embeddings, embed_sentences  # not needed by any other target

    own = embed_sentences(items.texts)
    return estimated([(clip_embeddings(own, items.clip_of_caption, items.clips), own)], temperature)


def uniform():
    """Every caption describes every clip equally well."""
    return lambda batch: estimate(torch.zeros(1, len(batch.clips), len(batch.captions)), 1.0)


def build_target(parameters, items, embeddings_of, truth=None, validation=None):
    """The target that a stage-2 run's parameters name.

    embeddings_of: function from a teacher's run name to its embeddings (clips (N, E), captions (C, E)) of the
    training split; validation: the same of the validation split, and its Items, for weights that are chosen there.
    ValueError where the truth is asked for and not known. No teacher is ever skipped.
    """
    kind, temperature = parameters.target, parameters.target_temperature or parameters.temperature
    if kind == "annotated":
        return annotated()
    if kind == "true":
        if truth is None:
            raise ValueError("target 'true' needs a corpus whose truth is known; choose corpus 'soundscapes'")
        return true(truth, temperature)
    if kind == "random":
        return random_teacher(items, temperature, parameters.seed)
    if kind == "uniform":
        return uniform()
    if kind == "captions":
        return captions(items, temperature)
    names = [parameters.student] if kind == "self" else list(parameters.teachers)
    if kind != "self" and len(set(names)) < 2:
        raise ValueError(f"target '{kind}' needs at least two different teachers, not {names}")
    found, held_out = validation or (None, None)
    combine, weights = member_weights(parameters.study, names, parameters.combine, held_out, found)
    order = None
    if kind == "shuffled":
        order = torch.randperm(items.clips, generator=torch.Generator().manual_seed(parameters.seed))
    return estimated([embeddings_of(name) for name in names], temperature, combine, weights, order)


def member_weights(study, names, combine, validation=None, embeddings_of=None):
    """How `estimate` is to combine members: (combine, weights (M,) or None), for every `combine` of a stage-2 run.

    names: of finished runs; combine: as of a stage-2 run; validation: Items of the validation split; embeddings_of:
    function from a run's name to its embeddings of that split, the stored ones if not given. ValueError where weights
    are to be chosen without a validation split.
    """
    if combine == "best":
        return combine, [best_validation_score(study, name) for name in names]
    if combine != "chosen_weights":
        return combine, None
    if validation is None:
        raise ValueError("combine 'chosen_weights' needs a validation split to choose them on")
    embeddings_of = embeddings_of or (lambda name: load_embeddings(study, name, "validation"))
    chosen = choose_weights([embeddings_of(name) for name in names], validation.clip_of_caption)
    print("weights chosen on validation: " + ", ".join(f"{n} {w:.2f}" for n, w in zip(names, chosen, strict=True)))
    return "mean_similarity", chosen


def best_validation_score(study, run):
    """Validation mAP@10 of the epoch that a finished run kept."""
    return float(runs.read_table(study, run, "log.csv")["validation mAP@10"].max())
