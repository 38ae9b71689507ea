"""Ensembles of stage-1 models: weights of members, what single members and groups know, and what estimating costs."""

import time
from itertools import combinations

import numpy as np
import pandas as pd

from corrlib.correspondence import ensemble_similarity, estimate, top_correspondences
from corrlib.correspondence.quality import agreement
from corrlib.evaluation.embeddings import load_embeddings, stored_embeddings
from corrlib.evaluation.evaluate import annotated_relevance
from corrlib.evaluation.metrics import per_query
from corrlib.reports import results
from corrlib.study import runs
from corrlib.study.study_file import load_study


def groups(names):
    """Every group of one or more of the names, small ones first."""
    return [group for size in range(1, len(names) + 1) for group in combinations(names, size)]


def members_of(study, seed, names, split):
    """{name: (clips, captions)} of the stage-1 runs `stage1-<name>-seed<seed>`; similarities of a split are made of
    them.
    """
    return {name: load_embeddings(study, f"stage1-{name}-seed{seed}", split) for name in names}


def similarity(members, group):
    """Mean similarity (N, C) of a group of `members_of`."""
    clips, captions = zip(*(members[name] for name in group), strict=True)
    return ensemble_similarity(list(clips), list(captions), slice(None), slice(None))


def knowledge(study, seed, found_groups, items, truth, temperature, split="evaluation"):
    """What each group's estimate knows: agreement with the truth and annotated mAP@10. One row a group.

    found_groups: tuples of member names; items, truth: of the split; truth None leaves agreement out.
    """
    members = members_of(study, seed, sorted({name for group in found_groups for name in group}), split)
    annotated, rows = annotated_relevance(items), []
    for group in found_groups:
        mean = similarity(members, group)
        row = {
            "seed": seed,
            "group": " + ".join(group),
            "members": len(group),
            "annotated mAP@10": float(per_query(mean, annotated)["ap@10"].mean()),
        }
        if truth is not None:
            found = agreement(estimate(mean[None], temperature)[0], truth, annotated)
            row |= {key: found[key] for key in ("rank_correlation", "average_precision")}
        rows.append(row)
    return pd.DataFrame(rows)


def likeness(study, seed, names, split="evaluation"):
    """Correlation (M, M) of the members' similarities over the pairs of a split, as a table."""
    found = members_of(study, seed, names, split)
    values = [(clips @ captions.T).numpy().ravel() for clips, captions in found.values()]
    return pd.DataFrame(np.corrcoef(values), index=names, columns=names)


def cost(study, seed, names, temperature, k=50):
    """What an estimate of the training split by the first 1, 2, ... members takes, one row a number of members.

    Seconds of the members' training (wall time of their runs), bytes of their stored embeddings, seconds of finding
    the `k` most probable clips of every caption from them (this machine, now).
    """
    found = {name: stored_embeddings(study, f"stage1-{name}-seed{seed}", "development") for name in names}
    rows, training = [], 0.0
    for count in range(1, len(names) + 1):
        used = [found[name] for name in names[:count]]
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


def stage_one_names(study):
    """Names of a study's stage-1 models, one a backbone and further members, as in `stage1-<name>-seed<seed>`."""
    planned = load_study(study)
    return [*planned.backbones, *planned.members]


def answer(knowledge, likeness, differences, against_ensemble):
    """The answer of 08, rendered from its tables, as Markdown."""
    measure = "average_precision" if "average_precision" in knowledge else "annotated mAP@10"
    means = knowledge.groupby(["members", "group"])[measure].mean().reset_index()
    sizes = means.loc[means.groupby("members")[measure].idxmax()]
    lines = [
        f"- Best group of each size, {measure.replace('_', ' ')} of the estimate: "
        + "; ".join(
            f"{row.members}: {row.group} {row.value:.3f}"
            for row in sizes.rename(columns={measure: "value"}).itertuples()
        )
        + "."
    ]
    values = likeness.to_numpy()[~np.eye(len(likeness), dtype=bool)]
    if len(values):
        lines.append(f"- The members' similarities correlate with {values.min():.2f} to {values.max():.2f}.")
    for table, name in ((differences, "`continued`"), (against_ensemble, "the plain `ensemble`")):
        for metric in ("annotated mAP@10", "true mAP@10"):
            own = table[(table["metric"] == metric) & (table["backbone"] != results.POOLED)]
            if own.empty:
                continue
            best, worst = own.loc[own["difference"].idxmax()], own.loc[own["difference"].idxmin()]
            clear = int((own["p_holm"] < 0.05).sum())
            lines.append(
                f"- **{metric}** against {name}: best `{best['point']}` {results.points(best)}, worst "
                f"`{worst['point']}` {results.points(worst)}; after Holm's correction {clear} of {len(own)} "
                "differ."
            )
    return "\n".join(lines)
