"""From the points of an ablation to tables: students compared with `continued`, targets compared with the truth."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy  # its parts are loaded when first used: most runs need none

from corrlib.figures.style import POOLED, setting_order
from corrlib.reports import results
from corrlib.reports.queries import Judged, check_same_data, load_queries, share_clips
from corrlib.study import runs
from corrlib.study.plan import control_of
from corrlib.study.study_file import load_study, studies_folder

MASSES = ("annotated", "wholly", "partly", "not")  # see correspondence.probability_mass
QUALITY = ("rank_correlation", "average_precision", *MASSES)
CONTROL = "continued"
COLUMNS = tuple("point" if name == "setting" else name for name in results.DIFFERENCE_COLUMNS)
EMPTY_TARGETS = ("uniform", "random", "shuffled")  # targets without any truth in them


def chosen(
    study: str, notebook: str, points: Sequence[str] = (), variants: Sequence[str] = ()
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(points, variants) that a notebook compares.

    Those that are given; if none is, those that the study's file names for this notebook; if it has none, all that are
    finished. FileNotFoundError where there is nothing to compare, with the command that makes it.
    """
    if points or variants:
        return tuple(points), tuple(variants)
    if (studies_folder() / f"{study}.yaml").is_file():
        planned = load_study(study)
        names = planned.ablations.get(notebook, [])
        if names:
            own = [name for name in names if name in planned.variants]
            return tuple(name for name in names if name not in own), tuple(own)
    points, variants = finished(study)
    if not points:
        raise FileNotFoundError(
            f"study '{study}' has no finished run to compare with `{CONTROL}`; run `make reproduce STUDY={study}` first"
        )
    return points, variants


def finished(study: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(points, variants) of the finished stage-2 runs; of points those of the backbone that has most.

    A run `<point>-<backbone>-seed<seed>` is a variant's where its student is, `stage1-<variant>-<backbone>-seed<seed>`.
    """
    of_backbone: dict[str, list[str]] = {}
    variants = []
    training_runs = with_points(runs.gather(study))
    rows = training_runs[["run", "backbone", "seed", "point"]].itertuples(index=False, name=None)
    for run, backbone, seed, point in rows:
        student = runs.read_manifest(study, run)["parameters"].get("student", "")
        start = student.removesuffix(f"-{backbone}-seed{seed}")
        if start.startswith("stage1-") and start != student:
            variants.append(start.removeprefix("stage1-"))
        elif student and point != CONTROL:
            of_backbone.setdefault(backbone, []).append(point)
    points = max(of_backbone.values(), key=lambda names: len(set(names)), default=[])
    return tuple(setting_order(points)), tuple(dict.fromkeys(variants))


def with_points(training_runs: pd.DataFrame) -> pd.DataFrame:
    """The table of `runs.gather` with `point`: what precedes `-<backbone>-seed<seed>` in the name of a run."""
    names = training_runs[["run", "backbone", "seed"]].itertuples(index=False, name=None)
    return training_runs.assign(point=[run.removesuffix(f"-{backbone}-seed{seed}") for run, backbone, seed in names])


def load(
    study: str, points: Iterable[str], control: str = CONTROL, base: str = "stage1"
) -> tuple[Judged, pd.DataFrame]:
    """(Judged, table of the runs) of stage 1, `continued` and the points, for the backbones that have them all.

    control, base: the points that take the places of `continued` and `stage1`, where others are to be compared with.
    A run belongs to the point by which it is named, `<point>-<backbone>-seed<seed>`. FileNotFoundError names a point
    that no backbone has beside the others.
    """
    wanted = list(dict.fromkeys([base, control, *points]))
    training_runs = with_points(runs.gather(study))
    training_runs = training_runs[training_runs["point"].isin(wanted)]
    have = {backbone: set(own["point"]) for backbone, own in training_runs.groupby("backbone")}
    complete = [backbone for backbone, own in have.items() if own >= set(wanted)]
    if not complete:
        most = max(have.values(), key=len, default=set())
        missing = next(point for point in wanted if point not in most)
        raise FileNotFoundError(
            f"study '{study}' has no finished run of the point '{missing}'; run `make reproduce STUDY={study}` first"
        )
    training_runs = training_runs[training_runs["backbone"].isin(complete)]
    order = training_runs["point"].map(wanted.index)
    training_runs = training_runs.assign(order=order).sort_values(["order", "backbone", "seed"]).drop(columns="order")
    fingerprints = check_same_data(study, training_runs)
    places = {control: CONTROL, base: "stage1"}
    renamed = training_runs.assign(setting=[places.get(point, point) for point in training_runs["point"]])
    judged = Judged(study, load_queries(study, renamed), share_clips(fingerprints))
    return judged, training_runs.reset_index(drop=True)


def against_control(judged: Judged, resamples: int) -> pd.DataFrame:
    """Paired differences of every point and `continued`, one row a backbone, point and metric (see results.compare)."""
    differences = results.compare(judged, resamples)
    differences = differences[differences["against"] == CONTROL].rename(columns={"setting": "point"})
    return results.holm_within(differences.reset_index(drop=True), "metric")


def with_own_controls(study: str, controls: Mapping[str, str], resamples: int) -> pd.DataFrame:
    """As `against_control`, for points that have a control of their own: {point: control}, equal training."""
    tables = [
        against_control(load(study, [point], control)[0], resamples).assign(against=control)
        for point, control in controls.items()
    ]
    if not tables:
        return pd.DataFrame(columns=list(COLUMNS))
    return results.holm_within(pd.concat(tables, ignore_index=True), "metric")


def targets(study: str, training_runs: pd.DataFrame) -> pd.DataFrame:
    """How near each run's target came to the truth: point, backbone, seed and QUALITY (see teachers.target_quality).

    No row where no run could tell, as the truth of its corpus is not known. FileNotFoundError where only some could.
    """
    rows, silent = [], []
    for run, point, backbone, seed in training_runs[["run", "point", "backbone", "seed"]].itertuples(index=False):
        if point == "stage1":
            continue
        if "target.json" in runs.read_manifest(study, run)["artefacts"]:
            quality = json.loads(runs.artefact(study, run, "target.json").read_text(encoding="utf-8"))
            rows.append({"point": point, "backbone": backbone, "seed": seed, **quality})
        else:
            silent.append(runs.root() / study / run / "target.json")
    if rows and silent:
        raise FileNotFoundError(
            f"{silent[0]} is missing, though other runs of study '{study}' have theirs; delete the run's folder and "
            "run the study again"
        )
    return pd.DataFrame(rows, columns=None if rows else ["point", "backbone", "seed", *QUALITY])


def targets_and_students(quality: pd.DataFrame, differences: pd.DataFrame) -> pd.DataFrame:
    """`against_control` with the mean QUALITY of each point's target beside it; NaN where the truth is not known."""
    if quality.empty:
        return differences.assign(**dict.fromkeys(QUALITY, np.nan))
    means = quality.groupby(["point", "backbone"], sort=False)[list(QUALITY)].mean().reset_index()
    pooled = means.groupby("point", sort=False)[list(QUALITY)].mean().reset_index().assign(backbone=POOLED)
    return differences.merge(pd.concat([means, pooled]), on=["point", "backbone"])


def association(table: pd.DataFrame, metric: str, measure: str = "rank_correlation") -> float:
    """Spearman correlation over points of a target's agreement with the truth and its student's gain.

    table: `targets_and_students`. Mean over backbones; NaN for fewer than three points or where nothing differs.
    """
    rows = results.of_each(table[table["metric"] == metric])
    correlations = [
        scipy.stats.spearmanr(part[measure], part["difference"]).statistic
        for _, part in rows.groupby("backbone")
        if len(part) > 2 and part[measure].nunique() > 1
    ]
    return float(np.mean(correlations)) if correlations else float("nan")


def along(differences: pd.DataFrame, pattern: str, also: Mapping[str, float] | None = None) -> pd.DataFrame:
    """The points whose names match `pattern`, with the number in it as `value`, in its order; also: {point: value}."""
    values = pd.to_numeric(differences["point"].str.extract(pattern)[0]).fillna(differences["point"].map(also or {}))
    return differences.assign(value=values).dropna(subset="value").sort_values(["backbone", "value"])


def loss_temperature(study: str, training_runs: pd.DataFrame) -> float:
    """The temperature of the loss, which is the target's, too, where that has none of its own; of the first run."""
    return runs.read_manifest(study, training_runs["run"].iloc[0])["parameters"]["temperature"]


def controls(differences: pd.DataFrame) -> list[tuple[str, str, str, bool]]:
    """[(point, metric, expected side of `continued`, held)] of the controls that were run.

    Targets without truth must stand clearly below `continued` by annotated mAP@10, true ones above by true nDCG@10.
    """
    expected = [(point, "annotated mAP@10", "below") for point in EMPTY_TARGETS]
    expected.append(("true", "true nDCG@10", "above"))
    outcomes = []
    for point, metric, side in expected:
        rows = differences[(differences["point"] == point) & (differences["metric"] == metric)]
        if len(rows):
            above, below, of = results.clear(rows)
            outcomes.append((point, metric, side, (above if side == "above" else below) == of))
    return outcomes


def extremes(differences: pd.DataFrame, metrics: Sequence[str] = results.COMPARED) -> list[tuple[str, Any, Any]]:
    """[(metric, row of the greatest difference, row of the least)], over all backbones together where that is known."""
    ends = []
    for metric in metrics:
        rows = results.of_all(differences[differences["metric"] == metric]).sort_values("difference", kind="stable")
        if len(rows):
            named = list(rows.itertuples())
            ends.append((metric, named[-1], named[0]))
    return ends


def mixtures(differences: pd.DataFrame) -> pd.DataFrame:
    """Rows of the mixtures in order; `mixture`: the estimate's share, 0 is `continued` itself, 1 `ensemble`."""
    table = differences.copy()
    table["mixture"] = table["point"].str.extract(r"^mixture-(.+)$")[0].astype(object)
    table.loc[table["point"] == "ensemble", "mixture"] = "1"
    table = table.dropna(subset="mixture")
    table["mixture"] = table["mixture"].replace({"1-1": "0.5 (weights 1 and 1)"})
    return table.sort_values(["backbone", "metric", "mixture"]).reset_index(drop=True)


def of_equal_training(points: Iterable[str], kind: str) -> dict[str, str]:
    """{point: its control, `continued` at the same rate and for as long} of some of the points.

    kind: `self` (all of self-distillation but those of other epochs), or `epochs` (those of other epochs).
    """
    longer = {point for point in points if "-epochs-" in point}
    own = longer if kind == "epochs" else {point for point in points if point.split("-")[0] == kind} - longer
    return {point: control for point in points if point in own and (control := control_of(point)) != point}


def listed(table: pd.DataFrame, metric: str, label: str = "point") -> str:
    """`name +1.23 points [+0.40, +2.10]; ...` of single backbones' rows of a metric; empty where there is none."""
    rows = results.of_each(table[table["metric"] == metric])
    several = rows["backbone"].nunique() > 1
    pairs = rows[[label, "backbone"]].itertuples(index=False, name=None)
    return results.listed(rows, [f"{name} of {backbone}" if several else name for name, backbone in pairs])
