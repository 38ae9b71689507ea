"""Ensembles of stage-1 models: weights of members, what single members and groups know, and what estimating costs."""

import time
from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
import torch

from corrlib.corpora.batches import Items
from corrlib.correspondence import ensemble_similarity, estimate, top_correspondences
from corrlib.correspondence.quality import agreement
from corrlib.evaluation.embeddings import load_embeddings, stored_embeddings
from corrlib.evaluation.evaluate import annotated_relevance
from corrlib.evaluation.metrics import per_query
from corrlib.figures.style import looks
from corrlib.reports import ablations
from corrlib.study import runs

Members = dict[str, tuple[torch.Tensor, torch.Tensor]]  # {name: (clip embeddings (N, E), caption embeddings (C, E))}


def groups(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Every group of one or more of the names, small ones first."""
    return [group for size in range(1, len(names) + 1) for group in combinations(names, size)]


def members_of(study: str, seed: int, names: Sequence[str], split: str) -> Members:
    """{name: (clips, captions)}: embeddings of a split by the stage-1 runs `stage1-<name>-seed<seed>`.

    ValueError where the corpus is no longer that of a run.
    """
    for name in names:
        runs.check_data(study, f"stage1-{name}-seed{seed}")
    return {name: load_embeddings(study, f"stage1-{name}-seed{seed}", split) for name in names}


def similarity(members: Members, group: Iterable[str]) -> torch.Tensor:
    """Mean similarity (N, C) of a group of `members_of`."""
    clips, captions = zip(*(members[name] for name in group), strict=True)
    return ensemble_similarity(list(clips), list(captions), slice(None), slice(None))


def knowledge(
    study: str,
    seed: int,
    member_groups: Sequence[tuple[str, ...]],
    items: Items,
    truth: np.ndarray | None,
    temperature: float,
    split: str = "evaluation",
) -> pd.DataFrame:
    """What each group's estimate knows: agreement with the truth and annotated mAP@10. One row a group.

    member_groups: tuples of member names; items, truth (clips, captions): of the split. Columns seed, group, members,
    annotated mAP@10, and where the truth is known rank_correlation and average_precision.
    """
    members = members_of(study, seed, sorted({name for group in member_groups for name in group}), split)
    annotated, rows = annotated_relevance(items), []
    for group in member_groups:
        mean = similarity(members, group)
        row = {
            "seed": seed,
            "group": " + ".join(group),
            "members": len(group),
            "annotated mAP@10": float(per_query(mean, annotated)["ap@10"].mean()),
        }
        if truth is not None:
            agreed = agreement(estimate(mean[None], temperature)[0], truth, annotated)
            row |= {key: agreed[key] for key in ("rank_correlation", "average_precision")}
        rows.append(row)
    return pd.DataFrame(rows)


def likeness(study: str, seed: int, names: Sequence[str], split: str = "evaluation") -> pd.DataFrame:
    """Pearson correlation (M, M) of the members' similarities over all pairs of a split, named by member."""
    members = members_of(study, seed, names, split)
    values = [(clips @ captions.T).numpy().ravel() for clips, captions in members.values()]
    return pd.DataFrame(np.atleast_2d(np.corrcoef(values)), index=list(names), columns=list(names))


def between_members(likeness: pd.DataFrame) -> np.ndarray:
    """The correlations of different members in a table of `likeness`, each pair twice; empty for one member."""
    return likeness.to_numpy()[~np.eye(len(likeness), dtype=bool)]


def cost(study: str, seed: int, names: Sequence[str], temperature: float, k: int = 50) -> pd.DataFrame:
    """What an estimate of the training split by the first 1, 2, ... members takes, one row a number of members.

    Columns members, added (the last of them), `training seconds` (wall time of their runs), `bytes` (of their stored
    embeddings), `estimating seconds` (of finding the `k` most probable clips of every caption, this machine, now).
    """
    stored = {name: stored_embeddings(study, f"stage1-{name}-seed{seed}", "development") for name in names}
    rows, training = [], 0.0
    for count in range(1, len(names) + 1):
        used = [stored[name] for name in names[:count]]
        training += runs.read_manifest(study, f"stage1-{names[count - 1]}-seed{seed}")["wall_seconds"]
        clips, captions = (list(side) for side in zip(*used, strict=True))
        started = time.perf_counter()
        top_correspondences(clips, captions, temperature, min(k, len(clips[0])))
        rows.append(
            {
                "members": count,
                "added": names[count - 1],
                "training seconds": training,
                "bytes": sum(e.nbytes for pair in used for e in pair),
                "estimating seconds": time.perf_counter() - started,
            }
        )
    return pd.DataFrame(rows)


def stage_one_names(study: str) -> tuple[str, ...]:
    """Names of a study's stage-1 models that every seed has, as in `stage1-<name>-seed<seed>`; no variant's.

    One a backbone, then further members in the order of their initialisation.
    """
    training_runs = runs.gather(study)
    stage_one = training_runs[training_runs["setting"] == "stage1"]
    variants = tuple(f"{variant}-" for variant in ablations.finished(study)[1])
    order = list(looks(stage_one["backbone"]))
    places: dict[str, tuple[int, int, str]] = {}
    seeds_of: dict[str, set[int]] = {}
    for run, backbone, seed in stage_one[["run", "backbone", "seed"]].itertuples(index=False, name=None):
        name = run.removeprefix("stage1-").removesuffix(f"-seed{seed}")
        if not name.startswith(variants):
            initialisation = runs.read_manifest(study, run)["parameters"].get("initialisation", 0)
            places[name] = (initialisation, order.index(backbone), name)
            seeds_of.setdefault(name, set()).add(seed)
    everywhere = [name for name, seeds in seeds_of.items() if seeds == set(training_runs["seed"])]
    return tuple(sorted(everywhere, key=places.__getitem__))


def best_groups(knowledge: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """(measure, table members, group, value): the group of each size that knows most, mean over seeds.

    measure: average_precision by the truth, or annotated mAP@10 where that is not known.
    """
    measure = "average_precision" if "average_precision" in knowledge else "annotated mAP@10"
    means = knowledge.groupby(["members", "group"])[measure].mean().rename("value").reset_index()
    return measure, means.loc[means.groupby("members")["value"].idxmax()].reset_index(drop=True)
