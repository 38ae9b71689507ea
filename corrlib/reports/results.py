"""From finished runs to the tables of a study: means with intervals, paired differences, ceilings, costs."""

from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any

import numpy as np
import pandas as pd

from corrlib.evaluation.intervals import (
    bootstrap_interval,
    holm,
    interval_over_seeds,
    paired_difference,
    randomisation_test,
)
from corrlib.figures.measures import CLIP_TO_CAPTION, MEASURES, relevance_of
from corrlib.figures.style import POOLED, main_interval, with_main_intervals
from corrlib.reports.queries import CLIPS, ENSEMBLE, Judged, Queries, backbones_of, ids, one_run_each, pooled_queries
from corrlib.study import runs

METRICS = {
    "annotated mAP@10": "annotated ap@10",
    "annotated R@1": "annotated r@1",
    "annotated R@5": "annotated r@5",
    "annotated R@10": "annotated r@10",
    "annotated nDCG@10": "annotated ndcg@10",
    "true mAP@10": "true ap@10",
    "true nDCG@10": "true ndcg@10",
}
COMPARED = ("annotated mAP@10", "true mAP@10", "true nDCG@10")
NOT_OF_CLIPS = ("mAP@16", "nDCG@10")  # what would tell the same of clip-to-caption retrieval once more
BASELINES = ("continued", "stage1")
RESULT_COLUMNS = ("study", "backbone", "setting", "metric", "mean", "low", "high", "seeds")
DIFFERENCE_COLUMNS = (
    "study",
    "backbone",
    "setting",
    "against",
    "metric",
    "difference",
    "low",
    "high",
    "p",
    "p_holm",
    "seeds",
    "seeds_above",
    "seeds_low",
    "seeds_high",
)
Paired = dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]]  # {seed: (values a, values b, clip of each query)}


def measured(judged: Judged, metrics: Mapping[str, str] | None = None) -> Iterator[tuple[Queries, dict[str, str]]]:
    """(per-query values, {metric: column}) of a study's captions, of its clips, and of the queries of each relevance.

    metrics: those of the captions that are wanted; METRICS, and all that judge beside them, where not given.
    """
    yield judged.queries, dict(METRICS if metrics is None else metrics)
    for queries in judged.beyond.values() if metrics is None else ():
        tables = [table for by_seed in queries.values() for table in by_seed.values()]
        yield queries, _measures(dict.fromkeys(name for table in tables for name in table.columns.tolist()))


def _measures(columns: Iterable[str]) -> dict[str, str]:
    """{`<relevance> <measure>`: column `<relevance> <value>`} of per-query values, in the order of MEASURES."""
    found = {}
    for measure, value in MEASURES.items():
        for column in columns:
            relevance = column.removesuffix(f" {value}")
            if relevance != column and not (relevance == CLIP_TO_CAPTION and measure in NOT_OF_CLIPS):
                found[f"{relevance} {measure}"] = column
    return found


def is_compared(metric: str) -> bool:
    """Whether paired differences are told by it: not by recall, of which mAP says as much, nor twice of clips."""
    own = relevance_of(metric) not in ("annotated", "true") and not metric.endswith(("R@1", "R@5", "R@10"))
    return metric in COMPARED or own


def judged_beyond(judged: Judged) -> bool:
    """Whether a study has a relevance of its own: its tables then tell over how many queries a value is."""
    return bool(set(judged.beyond) - {CLIPS})


def _with_queries(table: pd.DataFrame, judged: Judged) -> pd.DataFrame:
    return table if judged_beyond(judged) else table.drop(columns="queries")


def summarise(judged: Judged, resamples: int, metrics: Mapping[str, str] | None = None) -> pd.DataFrame:
    """results.csv: study, backbone, setting, metric, mean, low, high, seeds; 95 % bootstrap intervals over clips.

    A setting that every one of several backbones has gets rows of POOLED, too: the mean over backbones, whose interval
    is over clips as the others'. metrics: as of `measured`. Means and intervals are shares of 1. Where the study has a
    relevance of its own, the column `queries` tells over how many a mean is (of a seed, the mean over seeds).
    """
    rows = []
    for queries, columns in measured(judged, metrics):
        for (backbone, setting), tables in {**queries, **pooled_queries(queries)}.items():
            for metric, column in columns.items():
                if not all(column in table for table in tables.values()):
                    continue
                mean, low, high = bootstrap_interval(
                    [table[column].to_numpy() for table in tables.values()],
                    [table["clip"].to_numpy() for table in tables.values()],
                    resamples,
                    same_clips=judged.same_clips,
                )
                count = _count(tables.values())
                rows.append((judged.study, backbone, setting, metric, mean, low, high, len(tables), count))
    return _with_queries(pd.DataFrame(rows, columns=[*RESULT_COLUMNS, "queries"]), judged)


def _count(by_seed: Iterable[Sized]) -> int:
    """Queries of a seed, the mean over seeds."""
    return round(float(np.mean([len(one) for one in by_seed])))


def pairs(queries: Queries) -> list[tuple[str, str, str]]:
    """[(backbone, setting, against)] to be compared: every stage-2 setting with each baseline of its backbone."""
    return [
        (backbone, setting, against)
        for against in BASELINES
        for backbone, setting in queries
        if setting not in ("stage1", against, ENSEMBLE[1]) and (backbone, against) in queries
    ]


def paired_values(queries: Queries, backbone: str, setting: str, against: str, column: str) -> Paired:
    """{seed: (values, values of `against`, clips)}, arrays (queries,), over the seeds that both have.

    ValueError where the two are not of the same captions.
    """
    tables, controls = queries[backbone, setting], queries[backbone, against]
    paired = {}
    for seed in sorted(set(tables) & set(controls)):
        table, control = tables[seed], controls[seed]
        if ids(table) != ids(control):
            raise ValueError(
                f"'{setting}' and '{against}' of {backbone}, seed {seed}, were judged on different "
                "queries; run one of them again"
            )
        if column in table and column in control:
            paired[seed] = (table[column].to_numpy(), control[column].to_numpy(), table["clip"].to_numpy())
    return paired


def pooled_values(parts: list[Paired]) -> Paired:
    """As `paired_values`, averaged per query over backbones; of the seeds that every backbone has."""
    seeds = sorted(set.intersection(*(set(part) for part in parts)))
    return {
        seed: (
            np.mean([part[seed][0] for part in parts], axis=0),
            np.mean([part[seed][1] for part in parts], axis=0),
            parts[0][seed][2],
        )
        for seed in seeds
    }


def compare(judged: Judged, resamples: int, metrics: Mapping[str, str] | None = None) -> pd.DataFrame:
    """differences.csv: each stage-2 setting minus `continued` and minus `stage1`, paired by query.

    Columns study, backbone (and POOLED, the mean over backbones, where all of several have the setting), setting,
    against, metric, difference, low, high (95 %, bootstrap over clips), p (randomisation test), p_holm (Holm over all
    rows of the metric), seeds, seeds_above (the number of seeds whose own difference is above 0), seeds_low, seeds_high
    (95 %, Student's t over the seeds' own differences), and `queries` as of `summarise`. metrics: as of `measured`;
    where not given, those that `is_compared` names.
    """
    rows = []
    for queries, columns in measured(judged, metrics):
        for metric, column in columns.items():
            if metrics is not None or is_compared(metric):
                rows += _compared(judged, queries, metric, column, resamples)
    return _with_queries(pd.DataFrame(rows, columns=[*DIFFERENCE_COLUMNS, "queries"]), judged)


def _compared(judged: Judged, queries: Queries, metric: str, column: str, resamples: int) -> list[dict[str, Any]]:
    """Rows of `compare` by one metric, corrected after Holm among themselves."""
    backbones = backbones_of(queries)
    values = {key: paired_values(queries, *key, column) for key in pairs(queries)}
    values = {key: paired for key, paired in values.items() if paired}
    for setting, against in dict.fromkeys(key[1:] for key in values):
        parts = [paired for key, paired in values.items() if key[1:] == (setting, against)]
        pooled = pooled_values(parts) if 1 < len(parts) == len(backbones) else {}
        if pooled:
            values[POOLED, setting, against] = pooled
    block = [
        {
            "study": judged.study,
            **dict(zip(("backbone", "setting", "against"), key, strict=True)),
            "metric": metric,
            **_difference(paired, resamples, judged.same_clips),
        }
        for key, paired in values.items()
    ]
    adjusted = holm([row["p"] for row in block]) if block else []
    return [{**row, "p_holm": float(p)} for row, p in zip(block, adjusted, strict=True)]


def holm_within(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """The table with `p_holm` corrected over all rows of equal `column`, for tables that were put together."""
    adjusted = table["p_holm"].copy()
    for _, rows in table.groupby(column):
        adjusted[rows.index] = holm(rows["p"])
    return table.assign(p_holm=adjusted)


def _difference(paired: Paired, resamples: int, same_clips: bool) -> dict[str, float]:
    values, controls, clips = (list(side) for side in zip(*paired.values(), strict=True))
    difference, low, high = paired_difference(values, controls, clips, resamples, same_clips=same_clips)
    by_seed = [value.mean() - control.mean() for value, control in zip(values, controls, strict=True)]
    seeds_low, seeds_high = interval_over_seeds(by_seed)
    return {
        "difference": difference,
        "low": low,
        "high": high,
        "p": randomisation_test(values, controls, clips, resamples, same_clips=same_clips),
        "seeds": len(paired),
        "seeds_above": sum(bool(own > 0) for own in by_seed),
        "seeds_low": seeds_low,
        "seeds_high": seeds_high,
        "queries": _count(values),
    }


def learning_curves(study: str, training_runs: pd.DataFrame) -> pd.DataFrame:
    """Validation mAP@10 of every epoch of the runs that are compared: setting, backbone, seed, epoch, score, kept."""
    parts = []
    for row in one_run_each(study, training_runs).itertuples():
        log = runs.read_table(study, str(row.run), "log.csv")
        parts.append(
            pd.DataFrame(
                {
                    "setting": row.setting,
                    "backbone": row.backbone,
                    "seed": row.seed,
                    "epoch": log["epoch"],
                    "score": log["validation mAP@10"],
                    "kept": log["epoch"] == runs.kept_epoch_of(study, str(row.run)),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def ceilings(study: str, training_runs: pd.DataFrame) -> dict[str, float]:
    """{metric: mean over seeds of what an oracle reaches}, from the data runs; {} where no truth is known."""
    names = [f"data-seed{seed}" for seed in sorted(training_runs["seed"].unique())]
    tables = [runs.read_metrics(study, name).get("ceilings", {}) for name in names if runs.is_finished(study, name)]
    known = set.intersection(*(set(table) for table in tables)) if tables else set()
    return {metric: float(np.mean([table[metric] for table in tables])) for metric in METRICS if metric in known}


def reached(table: pd.DataFrame, ceilings: Mapping[str, float]) -> pd.DataFrame:
    """ceiling.csv: share of the oracle's ceiling that each setting reaches, with the interval's share.

    table: of `summarise`. Columns backbone, setting, metric, mean, ceiling, share mean, share low, share high, seeds.
    """
    rows = table[table["metric"].isin(list(ceilings))].copy()
    rows["ceiling"] = rows["metric"].map(ceilings).astype(float)  # of no rows, too
    for name in ("mean", "low", "high"):
        rows[f"share {name}"] = rows[name] / rows["ceiling"].where(rows["ceiling"] > 0)
    return rows[["backbone", "setting", "metric", "mean", "ceiling", "share mean", "share low", "share high", "seeds"]]


def costs(training_runs: pd.DataFrame) -> pd.DataFrame:
    """setting, backbone, runs, and of them mean wall time (minutes) and peak memory (GiB)."""
    table = training_runs.assign(
        minutes=training_runs["wall_seconds"] / 60, peak=training_runs["peak_memory_bytes"] / 2**30
    )
    table = table.groupby(["setting", "backbone"], sort=False).agg(
        runs=("run", "size"), minutes=("minutes", "mean"), peak=("peak", "max")
    )
    return table.rename(columns={"minutes": "wall minutes, mean", "peak": "peak memory, GiB"}).reset_index()


def of_all(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of POOLED, or all where there are none (one backbone, or none that is whole)."""
    pooled = rows[rows["backbone"] == POOLED]
    return pooled if len(pooled) else rows


def pooled_name(rows: pd.DataFrame) -> str:
    """`mean of the backbones`, or the name of the only one, of rows of `of_all`."""
    names = list(dict.fromkeys(rows["backbone"]))
    return "mean of the backbones" if names == [POOLED] else ", ".join(names)


def of_each(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of single backbones."""
    return rows[rows["backbone"] != POOLED]


def clear(rows: pd.DataFrame) -> tuple[int, int, int]:
    """(rows whose main interval lies above zero, below zero, all rows) of a table of differences."""
    rows = with_main_intervals(rows)
    return int((rows["low"] > 0).sum()), int((rows["high"] < 0).sum()), len(rows)


def points(row: Any) -> str:
    """`+1.23 points [+0.40, +2.10]` of a row of differences, with its main interval."""
    low, high = main_interval(row)
    return f"{100 * row.difference:+.2f} points [{100 * low:+.2f}, {100 * high:+.2f}]"


def over_seeds(row: Any) -> str:
    """`above in 2 of 3 seeds` of a row of differences."""
    return f"above in {row.seeds_above} of {row.seeds} seed{'s' * (row.seeds > 1)}"


def verdict(row: Any) -> str:
    """Whether the main interval leaves zero on one side: `above`, `below` or `not distinguishable from`."""
    low, high = main_interval(row)
    return "above" if low > 0 else "below" if high < 0 else "not distinguishable from"


def stronger_control(differences: pd.DataFrame) -> pd.DataFrame:
    """Of each backbone, setting and metric the row with the smaller difference: against `continued` or `stage1`.

    Past the plateau further training on annotated pairs can fall behind stage 1, so that `continued` alone would
    flatter whatever is compared with it. differences: rows of differences.csv.
    """
    asked = differences[differences["against"].isin(BASELINES) & (differences["setting"] != "continued")]
    smallest = asked.groupby(["backbone", "setting", "metric"], sort=False)["difference"].idxmin()
    return differences.loc[smallest]


def listed(rows: pd.DataFrame, names: Iterable[str]) -> str:
    """`a +1.23 points [+0.40, +2.10]; b ...` of rows of differences and a name for each."""
    return "; ".join(f"{name} {points(row)}" for name, row in zip(names, rows.itertuples(), strict=True))
