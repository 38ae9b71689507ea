"""From finished runs to the tables of a study: means with intervals, paired differences, ceilings, costs."""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
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
from corrlib.figures.style import POOLED, main_interval, setting_order, with_main_intervals
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
BASELINES = ("continued", "stage1")
ENSEMBLE = ("ensemble of all", "stage1 ensemble")
ZERO_SHOT = "zero-shot"  # the setting of a teacher from outside, which 05 has judged as it is
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
Queries = dict[tuple[str, str], dict[int, pd.DataFrame]]  # {(backbone, setting): {seed: per-query values}}
Paired = dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]]  # {seed: (values a, values b, clip of each query)}


@dataclass(frozen=True)
class Judged:
    """Per-query values of a study: queries {(backbone, setting): {seed: DataFrame}}.

    Each DataFrame has a row a query: caption_id, clip, and a column a measure (the right side of METRICS).
    same_clips: all seeds were judged on the same clips (a real corpus), not each on its own (the built-in one).
    """

    study: str
    queries: Queries
    same_clips: bool = False


def load(study: str, training_runs: pd.DataFrame) -> Judged:
    """The Judged of a study from `runs.gather(study)`, with its stage-1 ensemble as one more model.

    ValueError where two runs of a setting compete or were judged on different data.
    """
    training_runs = one_run_each(study, training_runs)
    fingerprints = check_same_data(study, training_runs)
    queries = load_queries(study, training_runs)
    beside = {**stage_one_ensemble(study, queries), **zero_shot(study, queries)}
    return Judged(study, {**queries, **beside}, share_clips(fingerprints))


def share_clips(fingerprints: Mapping[int, str]) -> bool:
    """Whether several seeds were all judged on the same data. fingerprints: {seed: data fingerprint}."""
    return len(fingerprints) > 1 and len(set(fingerprints.values())) == 1


def one_run_each(study: str, training_runs: pd.DataFrame) -> pd.DataFrame:
    """One run for each backbone, setting and seed: where there are several (ablations), the one of the study's plan.

    That is the one named `<setting>-<backbone>-seed<seed>`; ValueError names two runs of which neither is.
    """
    chosen = []
    for (backbone, setting, seed), group in training_runs.groupby(["backbone", "setting", "seed"], sort=False):
        planned = group[group["run"] == f"{setting}-{backbone}-seed{seed}"]
        if len(group) > 1 and planned.empty:
            one, other = group["run"].iloc[:2]
            raise ValueError(
                f"runs '{one}' and '{other}' of study '{study}' are both '{setting}' of {backbone}, seed "
                f"{seed}; give one of them a study of its own or name it {setting}-{backbone}-seed{seed}"
            )
        chosen.append(planned if len(planned) else group)
    table = pd.concat(chosen, ignore_index=True)
    order = table["setting"].map(setting_order(table["setting"]).index)
    return table.assign(order=order).sort_values(["order", "backbone", "seed"]).drop(columns="order")


def check_same_data(study: str, training_runs: pd.DataFrame) -> dict[int, str]:
    """{seed: data fingerprint}; ValueError names two runs of one seed that were judged on different data."""
    by_seed: dict[int, str] = {}
    for seed in sorted(training_runs["seed"].unique().tolist()):
        names = training_runs.loc[training_runs["seed"] == seed, "run"]
        prints = {run: runs.read_manifest(study, run)["data_fingerprint"] for run in names}
        one = next(iter(prints))
        by_seed[seed] = prints[one]
        other = next((run for run in prints if prints[run] != prints[one]), None)
        if other:
            raise ValueError(
                f"runs '{one}' and '{other}' of study '{study}' were evaluated on different data; run one of them again"
            )
    return by_seed


def at_last_epoch(judged: Judged, training_runs: pd.DataFrame) -> Judged:
    """The same runs with the weights after their last epoch, whichever epoch was kept; without the ensemble.

    training_runs: as of `load`.
    """
    chosen = one_run_each(judged.study, training_runs)
    return Judged(judged.study, load_queries(judged.study, chosen, "queries-last_epoch.csv"), judged.same_clips)


def load_queries(study: str, training_runs: pd.DataFrame, name: str = "queries.csv") -> Queries:
    """{(backbone, setting): {seed: DataFrame of per-query values}}. name: of the runs' file that holds them."""
    queries: Queries = {}
    keys = training_runs[["backbone", "setting", "seed", "run"]].itertuples(index=False, name=None)
    for backbone, setting, seed, run in keys:
        queries.setdefault((backbone, setting), {})[seed] = runs.read_table(study, run, name)
    return {key: dict(sorted(tables.items())) for key, tables in queries.items()}


def stage_one_ensemble(study: str, queries: Queries) -> Queries:
    """{ENSEMBLE: {seed: per-query values}}: the stage-1 models' mean similarity as one model; {} without 05 runs.

    Warns and leaves a seed out whose 05 run judged another split than the models.
    """
    seeds = sorted({seed for tables in queries.values() for seed in tables})
    reference = {seed: table for tables in queries.values() for seed, table in tables.items()}
    tables = {}
    for seed in seeds:
        run = f"correspondences-seed{seed}"
        if not runs.is_finished(study, run):
            continue
        table = runs.read_table(study, run, "queries.csv")
        if list(table["caption_id"]) == list(reference[seed]["caption_id"]):
            tables[seed] = table
        else:
            warnings.warn(
                f"run '{run}' of study '{study}' judged another split than the models, so the stage-1 "
                f"ensemble of seed {seed} is left out",
                stacklevel=2,
            )
    return {ENSEMBLE: tables} if tables else {}


def zero_shot(study: str, queries: Queries) -> Queries:
    """{(label of a teacher from outside, ZERO_SHOT): {seed: per-query values}}, as the 05 runs have judged them."""
    found: Queries = {}
    for seed in sorted({seed for tables in queries.values() for seed in tables}):
        run = f"correspondences-seed{seed}"
        names = runs.read_manifest(study, run)["artefacts"] if runs.is_finished(study, run) else {}
        for name in sorted(name for name in names if name.startswith(f"{ZERO_SHOT}-")):
            label = name.removeprefix(f"{ZERO_SHOT}-").removesuffix(".csv")
            found.setdefault((label, ZERO_SHOT), {})[seed] = runs.read_table(study, run, name)
    return found


def backbones_of(queries: Queries) -> list[str]:
    """The backbones that were judged, without the stage-1 ensemble, which is none."""
    return list(dict.fromkeys(one for one, setting in queries if setting not in (ENSEMBLE[1], ZERO_SHOT)))


def pooled_queries(queries: Queries) -> Queries:
    """{(POOLED, setting): {seed: per-query values averaged over backbones}} of settings that every backbone has.

    Of the seeds that every backbone has, and of the measures that all know; {} for a single backbone.
    """
    backbones, pooled = backbones_of(queries), {}
    for setting in setting_order(setting for _, setting in queries):
        parts = [queries[backbone, setting] for backbone in backbones if (backbone, setting) in queries]
        if len(parts) < 2 or len(parts) < len(backbones):
            continue
        seeds = sorted(set.intersection(*(set(part) for part in parts)))
        if seeds:
            pooled[POOLED, setting] = {seed: _mean_of_tables([part[seed] for part in parts]) for seed in seeds}
    return pooled


def _mean_of_tables(tables: list[pd.DataFrame]) -> pd.DataFrame:
    keys = ["caption_id", "clip"]
    if any(list(table["caption_id"]) != list(tables[0]["caption_id"]) for table in tables):
        raise ValueError("backbones were judged on different captions, so they have no mean; run the study again")
    shared = [name for name in tables[0] if name not in keys and all(name in table for table in tables)]
    means = np.mean([table[shared].to_numpy(np.float64) for table in tables], axis=0)
    return pd.concat([tables[0][keys], pd.DataFrame(means, columns=shared)], axis=1)


def summarise(judged: Judged, resamples: int, metrics: Mapping[str, str] = METRICS) -> pd.DataFrame:
    """results.csv: study, backbone, setting, metric, mean, low, high, seeds; 95 % bootstrap intervals over clips.

    A setting that every one of several backbones has gets rows of POOLED, too: the mean over backbones, whose interval
    is over clips as the others'. metrics: {name: column of the per-query values}. Means and intervals are shares.
    """
    rows = []
    for (backbone, setting), tables in {**judged.queries, **pooled_queries(judged.queries)}.items():
        for metric, column in metrics.items():
            if not all(column in table for table in tables.values()):
                continue
            mean, low, high = bootstrap_interval(
                [table[column].to_numpy() for table in tables.values()],
                [table["clip"].to_numpy() for table in tables.values()],
                resamples,
                same_clips=judged.same_clips,
            )
            rows.append((judged.study, backbone, setting, metric, mean, low, high, len(tables)))
    return pd.DataFrame(rows, columns=list(RESULT_COLUMNS))


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
        if list(table["caption_id"]) != list(control["caption_id"]):
            raise ValueError(
                f"'{setting}' and '{against}' of {backbone}, seed {seed}, were judged on different "
                "captions; run one of them again"
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
    (95 %, Student's t over the seeds' own differences). metrics: {name: column}, COMPARED where not given.
    """
    rows, backbones = [], backbones_of(judged.queries)
    for metric, column in (metrics or {name: METRICS[name] for name in COMPARED}).items():
        values = {key: paired_values(judged.queries, *key, column) for key in pairs(judged.queries)}
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
        rows += [{**row, "p_holm": float(p)} for row, p in zip(block, adjusted, strict=True)]
    return pd.DataFrame(rows, columns=list(DIFFERENCE_COLUMNS))


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
