"""From the points of an ablation to tables: students compared with `continued`, targets compared with the truth."""

import json

import numpy as np
import pandas as pd
import scipy  # its parts are loaded when first used: most runs need none

from corrlib.reports import results
from corrlib.study import runs

MASSES = ("annotated", "wholly", "partly", "not")  # see correspondence.probability_mass
CONTROL = "continued"


def load(study, points, control=CONTROL, base="stage1"):
    """(results.Judged, table of the runs) of stage 1, `continued` and the points, for the backbones that have them all.

    control, base: the points that take the places of `continued` and `stage1`, where others are to be compared with.
    A run belongs to the point by which it is named, `<point>-<backbone>-seed<seed>`. FileNotFoundError names a point
    that no backbone has beside the others.
    """
    wanted = list(dict.fromkeys([base, control, *points]))
    found = runs.gather(study)
    ends = "-" + found["backbone"] + "-seed" + found["seed"].astype(str)
    found["point"] = [run.removesuffix(end) for run, end in zip(found["run"], ends, strict=True)]
    found = found[found["point"].isin(wanted)]
    have = {backbone: set(own["point"]) for backbone, own in found.groupby("backbone")}
    complete = [backbone for backbone, own in have.items() if own >= set(wanted)]
    if not complete:
        most = max(have.values(), key=len, default=set())
        missing = next(point for point in wanted if point not in most)
        raise FileNotFoundError(
            f"study '{study}' has no finished run of the point '{missing}'; run `make reproduce STUDY={study}` first"
        )
    found = found[found["backbone"].isin(complete)]
    found = found.sort_values(
        ["point", "backbone", "seed"], key=lambda c: c.map(wanted.index) if c.name == "point" else c
    )
    prints = results.check_same_data(study, found)
    queries, places = {}, {control: CONTROL, base: "stage1"}
    for row in found.itertuples():
        key = row.backbone, places.get(row.point, row.point)
        queries.setdefault(key, {})[row.seed] = runs.read_table(study, str(row.run), "queries.csv")
    same_clips = len(prints) > 1 and len(set(prints.values())) == 1
    return results.Judged(study, queries, same_clips), found.reset_index(drop=True)


def against_control(judged, resamples):
    """Paired differences of every point and `continued`, one row a backbone, point and metric (see results.compare)."""
    table = results.holm_within(results.compare(judged, resamples).query("against == @CONTROL"), "metric")
    return table[table["against"] == CONTROL].rename(columns={"setting": "point"}).reset_index(drop=True)


def with_own_controls(study, controls, resamples):
    """As `against_control`, for points that have a control of their own: {point: control}, equal training."""
    tables = [against_control(load(study, [point], control)[0], resamples) for point, control in controls.items()]
    table = pd.concat([t.assign(against=c) for t, c in zip(tables, controls.values(), strict=True)], ignore_index=True)
    return results.holm_within(table, "metric")


def targets(study, found):
    """How near each run's target came to the truth: point, backbone, seed and what target_quality says."""
    rows = []
    for row in found[found["point"] != "stage1"].itertuples():
        path = runs.folder_of(study, row.run) / "target.json"
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is missing, as the truth was not known or the code older when the run was "
                "made; use the built-in corpus, or delete the run's folder and run the study again"
            )
        rows.append({"point": row.point, "backbone": row.backbone, "seed": row.seed, **json.loads(path.read_text())})
    return pd.DataFrame(rows)


def targets_and_students(quality, differences):
    """`against_control` with the mean quality of each point's target beside it."""
    measures = ["rank_correlation", "average_precision", *MASSES]
    means = quality.groupby(["point", "backbone"], sort=False)[measures].mean().reset_index()
    pooled = means.groupby("point", sort=False)[measures].mean().reset_index().assign(backbone=results.POOLED)
    return differences.merge(pd.concat([means, pooled]), on=["point", "backbone"])


def association(table, metric, measure="rank_correlation"):
    """Spearman correlation over points of a target's agreement with the truth and its student's gain; mean of
    backbones.
    """
    own = table[(table["metric"] == metric) & (table["backbone"] != results.POOLED)]
    found = [
        scipy.stats.spearmanr(part[measure], part["difference"]).statistic
        for _, part in own.groupby("backbone")
        if len(part) > 2 and part[measure].nunique() > 1
    ]
    return float(np.mean(found)) if found else float("nan")


def along(differences, pattern, also=None):
    """The points whose names match `pattern`, with the number in it as `value`, in its order; also: {point: value}."""
    values = pd.to_numeric(differences["point"].str.extract(pattern)[0]).fillna(differences["point"].map(also or {}))
    return differences.assign(value=values).dropna(subset="value").sort_values(["backbone", "value"])


def controls(differences, quality):
    """Whether the controls behave: [(sentence, held)] for those that were run."""
    found = []
    nothing = quality[quality["point"].isin(["uniform", "random", "shuffled"])]["point"].unique()
    for point in nothing:
        rows = differences[(differences["point"] == point) & (differences["metric"] == "annotated mAP@10")]
        found.append((f"`{point}` targets destroy annotated retrieval", bool((rows["high"] < 0).all())))
    rows = differences[(differences["point"] == "true") & (differences["metric"] == "true nDCG@10")]
    if len(rows):
        found.append(("`true` targets raise nDCG by true relevance", bool((rows["low"] > 0).all())))
    return found


def answer_targets(table, differences, quality):
    """The answer of 07, rendered from its tables, as Markdown."""
    lines = []
    for metric in ("annotated mAP@10", "true nDCG@10"):
        own = differences[differences["metric"] == metric]
        own = own[
            own["backbone"] == (results.POOLED if results.POOLED in set(own["backbone"]) else own["backbone"].iloc[0])
        ]
        best, worst = own.loc[own["difference"].idxmax()], own.loc[own["difference"].idxmin()]
        lines.append(
            f"- **{metric}** against `continued`: best `{best['point']}` with {results.points(best)}, worst "
            f"`{worst['point']}` with {results.points(worst)}. Rank correlation over targets between agreement "
            f"with the truth and the student's difference: {association(table, metric):+.2f}."
        )
    lines += [
        f"- Control: {sentence}: {'yes' if held else '**no**'}." for sentence, held in controls(differences, quality)
    ]
    return "\n".join(lines)


def mixtures(differences):
    """Rows of the mixtures in order, `mixture` being the share of the estimate: 0 is `continued` itself, 1
    `ensemble`.
    """
    table = differences.copy()
    table["mixture"] = table["point"].str.extract(r"^mixture-(.+)$")[0]
    table.loc[table["point"] == "ensemble", "mixture"] = "1"
    table = table.dropna(subset="mixture")
    table["mixture"] = table["mixture"].replace({"1-1": "0.5 (weights 1 and 1)"})
    return table.sort_values(["backbone", "metric", "mixture"]).reset_index(drop=True)


def at_same_rate(points):
    """{point of self-distillation: the `continued` of its learning rate} among the points that are given."""
    own = [point for point in points if point.split("-")[0] == "self"]
    rates = {point: point.partition("-lr-")[2] for point in own}
    return {point: f"{CONTROL}-lr-{rate}" if rate else CONTROL for point, rate in rates.items()}


def answer_losses(mixed, paired, tuning):
    """The answer of 09, rendered from its tables, as Markdown."""
    lines = []
    for metric in ("annotated mAP@10", "true mAP@10"):
        for table, what in (
            (mixed, "share of the estimate in the loss, against `continued`"),
            (paired, "self-distillation against `continued` at its own learning rate"),
            (tuning, "`continued` at another learning rate, against the study's"),
        ):
            own = table[(table["metric"] == metric) & (table["backbone"] != results.POOLED)]
            names = own["mixture" if "mixture" in own else "point"]
            if own["backbone"].nunique() > 1:
                names = names + " of " + own["backbone"]
            parts = [f"{name} {results.points(row)}" for name, row in zip(names, own.itertuples(), strict=True)]
            if parts:
                lines.append(f"- **{metric}**, {what}: " + "; ".join(parts) + ".")
    return "\n".join(lines)
