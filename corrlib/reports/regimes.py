"""The map of regimes: what an estimate gains, by how long stage 1 was trained and on how many clips.

A cell is a variant of a study, or the study's own runs; its place is read from its runs' parameters, not from its name.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from corrlib.figures.measures import MAIN
from corrlib.figures.style import POOLED
from corrlib.reports import queries, results, variants
from corrlib.reports.course import overfit_of
from corrlib.study import runs
from corrlib.study.parameters import SETTINGS
from corrlib.study.plan import plan_runs
from corrlib.study.study_file import load_study

PLACE = ("epochs", "clips", "wrong", "ambiguity")
KEY = (*PLACE, "backbone", "setting", "metric")
STAMP = ("training", "commit", "processor")
COLUMNS = (
    "study",
    *KEY,
    "difference",
    "low",
    "high",
    "p",
    "seeds",
    "seeds_above",
    "seeds_low",
    "seeds_high",
    "overfit index",
    "kept epoch",
    *STAMP,
)


def finished_cells(study: str, names: Iterable[str]) -> list[str]:
    """Which of the variants (and variants.WHOLE, the study itself) have every training run that the plan wants.

    A cell of which a seed is missing is none: what was not run stays blank.
    """
    planned = plan_runs(study)
    points = ("stage1", *SETTINGS)
    return [
        name
        for name in names
        if all(runs.is_finished(study, run) for run in _runs_of(study, name, points) if run in planned)
    ]


def _runs_of(study: str, name: str, points: Iterable[str]) -> set[str]:
    """Names that the runs of a cell have, of some points: whole names, as a variant's may begin another's."""
    file = load_study(study)
    own = [variants.of(point, name) for point in points]
    return {f"{point}-{backbone}-seed{seed}" for point in own for backbone in file.backbones for seed in file.seeds}


def variant_names(study: str) -> list[str]:
    """The names of the variants of a study's plan, in its order."""
    return list(load_study(study).variants)


def cells(study: str, names: Sequence[str], resamples: int, settings: Sequence[str] = ("ensemble",)) -> pd.DataFrame:
    """map.csv: a row a cell, backbone, setting and metric (COLUMNS).

    names: of finished cells; settings: those that are compared with `continued`. `wrong` is the share of training
    captions that belong to other clips; the overfit index and the kept epoch are of stage 1, means over seeds, of the
    backbone in question (for POOLED: over backbones).
    """
    tables = [_cell(study, name, resamples, settings) for name in names]
    return pd.concat(tables, ignore_index=True)[list(COLUMNS)] if tables else pd.DataFrame(columns=list(COLUMNS))


def _cell(study: str, name: str, resamples: int, settings: Sequence[str]) -> pd.DataFrame:
    known = [setting for setting in settings if _runs_of(study, name, [setting]) & set(runs.finished(study))]
    gained = variants.gains_of(study, name, resamples, known)
    gained = gained[gained["metric"].isin(MAIN)].rename(columns={"point": "setting"})
    stage_one = _stage_one(study, name)
    first = runs.read_manifest(study, stage_one["run"].iloc[0])
    measured = stage_one.groupby("backbone")[["overfit index", "kept epoch"]].mean()
    measured.loc[POOLED] = measured.mean()
    gained = gained.merge(measured, left_on="backbone", right_index=True)
    place = {**_place(study, name, first), "clips": int(stage_one["clips"].iloc[0])}
    return gained.assign(study=study, **place, **_stamp(first))


def _stage_one(study: str, name: str) -> pd.DataFrame:
    """A row a stage-1 run of a cell: run, backbone, clips, overfit index, kept epoch."""
    rows = []
    for run, content in runs.finished(study).items():
        if run == f"{variants.of('stage1', name)}-{content.get('backbone')}-seed{_seed(content)}":
            measured = overfit_of(study, run)
            told = measured["training clips"], measured["overfit index"], runs.kept_epoch_of(study, run)
            rows.append((run, content["backbone"], *told))
    return pd.DataFrame(rows, columns=["run", "backbone", "clips", "overfit index", "kept epoch"])


def _seed(content: dict[str, Any]) -> int:
    return content["parameters"]["seed"]


def _place(study: str, name: str, stage_one: dict[str, Any]) -> dict[str, float]:
    """Epochs, wrong captions and ambiguity of a cell; how ambiguous a real corpus is, is not known."""
    p, seed = stage_one["parameters"], _seed(stage_one)
    own = f"data-{name}-seed{seed}"
    data = runs.read_manifest(study, own if runs.is_finished(study, own) else f"data-seed{seed}")["parameters"]
    ambiguity = data["ambiguity"] if data["corpus"] == "soundscapes" else float("nan")
    return {"epochs": p["epochs"], "wrong": p["swapped_captions"], "ambiguity": ambiguity}


def _stamp(content: dict[str, Any]) -> dict[str, str | None]:
    """Which code and processor made a cell."""
    code, hardware = content.get("code") or {}, content.get("hardware") or {}
    commit = f"{code['commit'][:7]}{' with changes' if code.get('dirty') else ''}" if code.get("commit") else ""
    values = content["made_of"]["training"], commit, hardware.get("gpu") or hardware.get("processor") or ""
    return dict(zip(STAMP, values, strict=True))


def joined(new: pd.DataFrame, kept: str | Path, study: str = "map") -> pd.DataFrame:
    """`new` cells of a study, and those of the table at `kept` that are not made anew.

    FileNotFoundError where there is neither a new cell nor such a table.
    """
    if not Path(kept).is_file():
        if new.empty:
            raise FileNotFoundError(
                f"study '{study}' has no finished cell, and {kept} is missing; run `make reproduce STUDY={study}` first"
            )
        return new
    old = pd.read_csv(kept)
    both = pd.concat([new, old[[*COLUMNS]]], ignore_index=True) if len(new) else old[[*COLUMNS]]
    return both.drop_duplicates(list(KEY), keep="first").sort_values(list(KEY), kind="stable", ignore_index=True)


def linked(rows: pd.DataFrame) -> str:
    """`; rank correlation of gain and overfit index +0.50` of rows of one setting and metric, where there is one."""
    if len(rows) < 3 or rows["overfit index"].nunique() < 2:
        return ""
    correlation = rows[["overfit index", "difference"]].corr("spearman").iloc[0, 1]
    return f"; rank correlation of gain and overfit index {correlation:+.2f}"


def of_study(study: str, resamples: int) -> pd.DataFrame:
    """A finished study as points beside the map: study, backbone, metric, overfit index, difference, low, high, seeds
    and the interval over seeds, of `ensemble` against `continued`. Where the truth is not known, annotated alone.
    """
    training_runs = runs.gather(study)
    table = results.compare(queries.load(study, training_runs), resamples, {m: results.METRICS[m] for m in MAIN})
    table = table[(table["setting"] == "ensemble") & (table["against"] == "continued")]
    measured = _stage_one(study, variants.WHOLE).groupby("backbone")["overfit index"].mean()
    measured.loc[POOLED] = measured.mean()
    return table.assign(**{"overfit index": table["backbone"].map(measured)}).replace({np.inf: np.nan})
