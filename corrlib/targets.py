"""What a run is trained towards: the only thing in which the two stages differ.

A target is a function of a batch that gives the teachers' similarity (B, C) in [-1, 1], from which
`distillation_loss` makes the soft targets, or None where only the annotated pairs count.
"""
import torch

from corrlib.correspondence import ensemble_similarity
from corrlib.evaluate import load_embeddings


def annotated():
    """Stage 1, and the control `continued`: annotated pairs only."""
    return lambda batch: None


def estimated(teachers, clip_order=None, **options):
    """Mean similarity of the teachers, from embeddings computed once: the N x N matrix is never kept.

    teachers: list of (clips (N, E_m), captions (C, E_m)). clip_order (N,): row of the teachers' clips to use for
    each clip; a permutation gives the control `shuffled`.
    """
    clips, captions = zip(*teachers, strict=True)

    def target(batch):
        rows = batch.clips if clip_order is None else clip_order[batch.clips]
        return ensemble_similarity(list(clips), list(captions), rows, batch.captions, **options)

    return target


def true(truth):
    """The true correspondence (N, C) of the built-in corpus as if it were a teacher's similarity."""
    truth = torch.as_tensor(truth)
    return lambda batch: truth[batch.clips][:, batch.captions].float()


def random_teacher(items, seed, size=64):
    """A teacher of random unit embeddings: fixed, confident, and without any knowledge."""
    generator = torch.Generator().manual_seed(seed)
    draw = [torch.nn.functional.normalize(torch.randn(n, size, generator=generator), dim=-1)
            for n in (items.clips, items.captions)]
    return estimated([tuple(draw)])


def uniform():
    """Every caption describes every clip equally well."""
    return lambda batch: torch.zeros(len(batch.clips), len(batch.captions))


def build_target(parameters, items, truth=None):
    """The target that a stage-2 run's parameters name; teachers are read from their finished runs.

    A ValueError tells what is missing: teachers without the right number of clips or captions, a corpus without
    truth. No teacher is ever skipped.
    """
    kind, study = parameters.target, parameters.study
    if kind == "annotated":
        return annotated()
    if kind == "true":
        if truth is None:
            raise ValueError("target 'true' needs a corpus whose truth is known; choose corpus 'soundscapes'")
        return true(truth)
    if kind == "random":
        return random_teacher(items, parameters.seed)
    if kind == "uniform":
        return uniform()
    names = [parameters.student] if kind == "self" else (parameters.teachers or [parameters.student])
    teachers = [load_embeddings(study, name, "development") for name in names]
    for name, (clips, captions) in zip(names, teachers, strict=True):
        if (len(clips), len(captions)) != (items.clips, items.captions):
            raise ValueError(f"teacher '{name}' saw {len(clips)} clips and {len(captions)} captions, this run has "
                             f"{items.clips} and {items.captions}; train the teacher on the same data")
    order = None
    if kind == "shuffled":
        order = torch.randperm(items.clips, generator=torch.Generator().manual_seed(parameters.seed))
    return estimated(teachers, order)
