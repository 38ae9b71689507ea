"""What a run is trained towards: the only thing in which the two stages differ.

A target is a function of a batch that gives the estimated correspondence of its clips and captions, as
`corrlib.correspondence.estimate` does, or None where only the annotated pairs count.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from corrlib.corpora.batches import Batch, Items
from corrlib.corpora.seeds import derive_seed
from corrlib.correspondence.estimation import Weights, estimate, member_similarities
from corrlib.correspondence.weights import choose_weights
from corrlib.evaluation.embeddings import Embeddings, load_embeddings
from corrlib.evaluation.evaluate import annotated_relevance
from corrlib.evaluation.metrics import retrieval_metrics
from corrlib.study import runs
from corrlib.study.outside import is_outside

# batch -> (clip_given_caption, caption_given_clip), each (B, C), or None
Target = Callable[[Batch], tuple[torch.Tensor, torch.Tensor] | None]


def annotated() -> Target:
    """Stage 1, and the control `continued`: annotated pairs only (section 2.1)."""
    return lambda batch: None


def estimated(
    teachers: Sequence[Embeddings],
    temperature: float,
    combine: str = "mean_similarity",
    weights: Weights | None = None,
    clip_order: torch.Tensor | None = None,
) -> Target:
    """The teachers' estimate (section 2.2), from embeddings computed once: the N x N matrix is never kept.

    teachers: list of (clip_embeddings (N, E_m), caption_embeddings (C, E_m)) of the training split; temperature,
    combine, weights: see `estimate`. clip_order (N,): row of the teachers' clips to use for each clip; a permutation
    gives the control `shuffled`.
    """
    clip_embeddings, caption_embeddings = ([pair[side] for pair in teachers] for side in (0, 1))

    def target(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        clip_rows = batch.clip_rows if clip_order is None else clip_order[batch.clip_rows]
        members = member_similarities(clip_embeddings, caption_embeddings, clip_rows, batch.caption_rows)
        return estimate(members, temperature, combine, weights)

    return target


def true(truth: np.ndarray | torch.Tensor, temperature: float) -> Target:
    """The true correspondence (N, C) of the built-in corpus as if it were a teacher's similarity."""
    similarity = torch.as_tensor(truth)
    return lambda batch: estimate(
        similarity[batch.clip_rows][:, batch.caption_rows].float()[None],
        temperature,
    )


def random_teacher(items: Items, temperature: float, seed: int, size: int = 64) -> Target:
    """A teacher of random unit embeddings of `size`: fixed, confident, and without any knowledge."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "random teacher"))
    clip_embeddings, caption_embeddings = (
        torch.nn.functional.normalize(torch.randn(rows, size, generator=generator), dim=-1)
        for rows in (items.clips, items.captions)
    )
    return estimated([(clip_embeddings, caption_embeddings)], temperature)


def captions(items: Items, temperature: float) -> Target:
    """Similarity of captions to each clip's captions by a sentence encoder (arXiv 2412.01356): text alone."""
    from corrlib.correspondence.sentences import clip_embeddings, embed_sentences  # not needed by any other target

    sentences = embed_sentences(items.texts)
    return estimated([(clip_embeddings(sentences, items.clip_of_caption, items.clips), sentences)], temperature)


def uniform() -> Target:
    """Every caption describes every clip equally well."""
    return lambda batch: estimate(torch.zeros(1, len(batch.clip_rows), len(batch.caption_rows)), 1.0)


def build_target(
    parameters: Any,
    items: Items,
    embeddings_of: Callable[[str], Embeddings],
    truth: np.ndarray | torch.Tensor | None = None,
    validation: tuple[Callable[[str], Embeddings], Items] | None = None,
) -> Target:
    """The target that a stage-2 run's parameters name.

    parameters: StageTwoParameters; items: of the training split, whose N clips and C captions count.
    embeddings_of: function from a teacher's run name to its embeddings (clip_embeddings (N, E), caption_embeddings
    (C, E)) of the training split; truth (N, C); validation: the same function of the validation split, and its Items,
    for weights that are chosen there. ValueError where the truth is asked for and not known. No teacher is skipped.
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
    held_out_embeddings_of, held_out = validation or (None, None)
    combine, weights = member_weights(parameters.study, names, parameters.combine, held_out, held_out_embeddings_of)
    clip_order = None
    if kind == "shuffled":
        generator = torch.Generator().manual_seed(derive_seed(parameters.seed, "shuffled target"))
        clip_order = torch.randperm(items.clips, generator=generator)
    return estimated([embeddings_of(name) for name in names], temperature, combine, weights, clip_order)


def member_weights(
    study: str,
    names: Sequence[str],
    combine: str,
    validation: Items | None = None,
    embeddings_of: Callable[[str], Embeddings] | None = None,
) -> tuple[str, Weights | None]:
    """How `estimate` is to combine members: (combine, weights (M,) or None), for every `combine` of a stage-2 run.

    names: of finished runs; combine: as of a stage-2 run; validation: Items of the validation split; embeddings_of:
    function from a run's name to its embeddings of that split, the stored ones if not given. ValueError where weights
    are to be chosen without a validation split.
    """
    if combine == "best":
        return combine, [_validation_score(study, name, validation, embeddings_of) for name in names]
    if combine != "chosen_weights":
        return combine, None
    if validation is None:
        raise ValueError("combine 'chosen_weights' needs a validation split to choose them on")
    embeddings_of = embeddings_of or (lambda name: load_embeddings(study, name, "validation"))
    weights = choose_weights([embeddings_of(name) for name in names], validation.clip_of_caption)
    shares = [f"{name} {weight:.2f}" for name, weight in zip(names, weights, strict=True)]
    print(f"weights chosen on validation: {', '.join(shares)}")
    return "mean_similarity", weights


def _validation_score(
    study: str, name: str, validation: Items | None, embeddings_of: Callable[[str], Embeddings] | None
) -> float:
    """Validation mAP@10 of a run, or of a teacher from outside."""
    if not is_outside(name):
        return best_validation_score(study, name)
    if validation is None or embeddings_of is None:
        raise ValueError("combine 'best' needs a validation split to judge a teacher from outside on")
    clips, captions = embeddings_of(name)
    return retrieval_metrics(clips @ captions.T, annotated_relevance(validation))["mAP@10"]


def best_validation_score(study: str, run: str) -> float:
    """Validation mAP@10 of the epoch that a finished run kept."""
    log = runs.read_table(study, run, "log.csv")
    return float(log["validation mAP@10"][log["epoch"] == runs.kept_epoch_of(study, run)].item())
