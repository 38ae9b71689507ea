"""From finished runs to the tables of a study: means with intervals, paired differences, ceilings, costs."""

import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd

from corrlib.evaluation.intervals import (
    bootstrap_interval,
    holm,
    interval_over_seeds,
    paired_difference,
    randomisation_test,
)
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
SETTING_ORDER = ("stage1", "continued", "self", "ensemble")
ENSEMBLE = ("ensemble of all", "stage1 ensemble")
POOLED = "all backbones"


@dataclass(frozen=True)
class Judged:
    """Per-query values of a study: queries {(backbone, setting): {seed: DataFrame}}.

    same_clips: all seeds were judged on the same clips (a real corpus), not each on its own (the built-in one).
    """

    study: str
    queries: dict
    same_clips: bool = False


def load(study, found):
    """The Judged of a study from `runs.gather(study)`, with its stage-1 ensemble as one more model."""
    found = one_run_each(study, found)
    fingerprints = check_same_data(study, found)
    queries = load_queries(study, found)
    same = len(fingerprints) > 1 and len(set(fingerprints.values())) == 1
    return Judged(study, {**queries, **stage_one_ensemble(study, queries)}, same)


def one_run_each(study, found):
    """One run for each backbone, setting and seed: where there are several (ablations), the one of the study's plan.

    That is the one named `<setting>-<backbone>-seed<seed>`; ValueError names two runs of which neither is.
    """
    chosen = []
    for (backbone, setting, seed), group in found.groupby(["backbone", "setting", "seed"], sort=False):
        planned = group[group["run"] == f"{setting}-{backbone}-seed{seed}"]
        if len(group) > 1 and planned.empty:
            one, other = group["run"].iloc[:2]
            raise ValueError(
                f"runs '{one}' and '{other}' of study '{study}' are both '{setting}' of {backbone}, seed "
                f"{seed}; give one of them a study of its own or name it {setting}-{backbone}-seed{seed}"
            )
        chosen.append(planned if len(planned) else group)
    places = {setting: place for place, setting in enumerate(SETTING_ORDER)}
    table = pd.concat(chosen, ignore_index=True)
    order = table["setting"].map(lambda s: places.get(s, len(places)))
    return table.assign(order=order).sort_values(["order", "setting", "backbone", "seed"]).drop(columns="order")


def check_same_data(study, found):
    """{seed: data fingerprint}; ValueError names two runs of one seed that were judged on different data."""
    by_seed = {}
    for seed, group in found.groupby("seed"):
        prints = {run: runs.read_manifest(study, run)["data_fingerprint"] for run in group["run"]}
        one = next(iter(prints))
        by_seed[seed] = prints[one]
        other = next((run for run in prints if prints[run] != prints[one]), None)
        if other:
            raise ValueError(
                f"runs '{one}' and '{other}' of study '{study}' were evaluated on different data; run one of them again"
            )
    return by_seed


def load_queries(study, found):
    """{(backbone, setting): {seed: DataFrame of per-query values}}."""
    queries = {}
    for row in found.sort_values("seed", kind="stable").itertuples():
        queries.setdefault((row.backbone, row.setting), {})[row.seed] = runs.read_table(
            study, str(row.run), "queries.csv"
        )
    return {(row.backbone, row.setting): queries[row.backbone, row.setting] for row in found.itertuples()}


def stage_one_ensemble(study, queries):
    """{ENSEMBLE: {seed: per-query values}}: the stage-1 models' mean similarity as one model; {} without 05 runs."""
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


def summarise(judged, resamples, metrics=METRICS):
    """results.csv: study, backbone, setting, metric, mean, low, high, seeds; 95 % bootstrap intervals over clips."""
    rows = []
    for (backbone, setting), tables in judged.queries.items():
        for metric, column in metrics.items():
            if not all(column in table for table in tables.values()):
                continue
            mean, low, high = bootstrap_interval(
                [t[column].to_numpy() for t in tables.values()], _clips(tables), resamples, same_clips=judged.same_clips
            )
            rows.append(
                {
                    "study": judged.study,
                    "backbone": backbone,
                    "setting": setting,
                    "metric": metric,
                    "mean": mean,
                    "low": low,
                    "high": high,
                    "seeds": len(tables),
                }
            )
    return pd.DataFrame(rows)


def _clips(tables):
    return [table["clip"].to_numpy() for table in tables.values()]


def pairs(queries):
    """[(backbone, setting, against)] to be compared: every stage-2 setting with each baseline of its backbone."""
    return [
        (backbone, setting, against)
        for against in BASELINES
        for backbone, setting in queries
        if setting not in ("stage1", against, ENSEMBLE[1]) and (backbone, against) in queries
    ]


def paired_values(queries, backbone, setting, against, column):
    """{seed: (a, b, clips)} over the seeds that both have; ValueError where they are not of the same captions."""
    a, b = queries[backbone, setting], queries[backbone, against]
    found = {}
    for seed in sorted(set(a) & set(b)):
        if list(a[seed]["caption_id"]) != list(b[seed]["caption_id"]):
            raise ValueError(
                f"'{setting}' and '{against}' of {backbone}, seed {seed}, were judged on different "
                "captions; run one of them again"
            )
        if column in a[seed] and column in b[seed]:
            found[seed] = (a[seed][column].to_numpy(), b[seed][column].to_numpy(), a[seed]["clip"].to_numpy())
    return found


def pooled_values(parts):
    """As `paired_values`, averaged per query over backbones; of the seeds that every backbone has."""
    seeds = sorted(set.intersection(*(set(part) for part in parts)))
    return {
        seed: (*(np.mean([part[seed][side] for part in parts], axis=0) for side in (0, 1)), parts[0][seed][2])
        for seed in seeds
    }


def compare(judged, resamples, metrics=None):
    """differences.csv: each stage-2 setting minus `continued` and minus `stage1`, paired by query.

    Columns study, backbone (and POOLED, the mean over backbones), setting, against, metric, difference, low, high
    (95 %, bootstrap over clips), p (randomisation test), p_holm (Holm over all rows of the metric), seeds, seeds_above
    (the number of seeds whose own difference is above 0), seeds_low, seeds_high (95 %, Student's t over the seeds' own
    differences). metrics: {name: column}, COMPARED where not given.
    """
    rows = []
    for metric, column in (metrics or {name: METRICS[name] for name in COMPARED}).items():
        values = {key: paired_values(judged.queries, *key, column) for key in pairs(judged.queries)}
        values = {key: found for key, found in values.items() if found}
        for setting, against in dict.fromkeys(key[1:] for key in values):
            parts = [found for key, found in values.items() if key[1:] == (setting, against)]
            pooled = pooled_values(parts) if len(parts) > 1 else {}
            if pooled:
                values[POOLED, setting, against] = pooled
        block = [
            {
                "study": judged.study,
                **dict(zip(("backbone", "setting", "against"), key, strict=True)),
                "metric": metric,
                **_difference(found, resamples, judged.same_clips),
            }
            for key, found in values.items()
        ]
        adjusted = holm([row["p"] for row in block]) if block else []
        rows += [{**row, "p_holm": float(p)} for row, p in zip(block, adjusted, strict=True)]
    columns = [
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
    ]
    return pd.DataFrame(rows, columns=columns)


def holm_within(table, column):
    """The table with `p_holm` corrected over all rows of equal `column`, for tables that were put together."""
    adjusted = table["p_holm"].copy()
    for _, rows in table.groupby(column):
        adjusted[rows.index] = holm(rows["p"])
    return table.assign(p_holm=adjusted)


def _difference(found, resamples, same_clips):
    a, b, clips = (list(side) for side in zip(*found.values(), strict=True))
    difference, low, high = paired_difference(a, b, clips, resamples, same_clips=same_clips)
    by_seed = [x.mean() - y.mean() for x, y in zip(a, b, strict=True)]
    seeds_low, seeds_high = interval_over_seeds(by_seed)
    return {
        "difference": difference,
        "low": low,
        "high": high,
        "p": randomisation_test(a, b, clips, resamples, same_clips=same_clips),
        "seeds": len(found),
        "seeds_above": sum(bool(own > 0) for own in by_seed),
        "seeds_low": seeds_low,
        "seeds_high": seeds_high,
    }


def learning_curves(study, found):
    """Validation mAP@10 of every epoch: setting, backbone, seed, epoch, score."""
    parts = []
    for row in found.itertuples():
        log = runs.read_table(study, row.run, "log.csv")
        parts.append(
            pd.DataFrame(
                {
                    "setting": row.setting,
                    "backbone": row.backbone,
                    "seed": row.seed,
                    "epoch": log["epoch"],
                    "score": log["validation mAP@10"],
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def ceilings(study, found):
    """Mean over seeds of what an oracle reaches, from the data runs: {metric: value}; {} where no truth is known."""
    names = [f"data-seed{seed}" for seed in sorted(found["seed"].unique())]
    tables = [runs.read_metrics(study, name).get("ceilings", {}) for name in names if runs.is_finished(study, name)]
    known = set.intersection(*(set(table) for table in tables)) if tables else set()
    return {metric: float(np.mean([table[metric] for table in tables])) for metric in METRICS if metric in known}


def reached(table, ceilings):
    """ceiling.csv: share of the oracle's ceiling that each setting reaches, with the interval's share."""
    rows = table[table["metric"].isin(ceilings)].copy()
    rows["ceiling"] = rows["metric"].map(ceilings)
    for name in ("mean", "low", "high"):
        rows[f"share {name}"] = rows[name] / rows["ceiling"].where(rows["ceiling"] > 0)
    return rows[["backbone", "setting", "metric", "mean", "ceiling", "share mean", "share low", "share high", "seeds"]]


def costs(found):
    """Runs, mean wall time and peak memory by setting and backbone."""
    table = found.assign(minutes=found["wall_seconds"] / 60, peak=found["peak_memory_bytes"] / 2**30)
    table = table.groupby(["setting", "backbone"], sort=False).agg(
        runs=("run", "size"), minutes=("minutes", "mean"), peak=("peak", "max")
    )
    return table.rename(columns={"minutes": "wall minutes, mean", "peak": "peak memory, GiB"}).reset_index()


def readable(table):
    """Percent with interval, settings as rows, metrics as columns: for a notebook or README."""
    cell = table.apply(lambda r: f"{100 * r['mean']:.1f} [{100 * r['low']:.1f}, {100 * r['high']:.1f}]", axis=1)
    return (
        table.assign(cell=cell)
        .pivot_table(index=["backbone", "setting"], columns="metric", values="cell", aggfunc="first", sort=False)
        .fillna("")
    )


def points(row):
    """`+1.23 points [+0.40, +2.10]` of a row of differences."""
    return f"{100 * row.difference:+.2f} points [{100 * row.low:+.2f}, {100 * row.high:+.2f}]"


def over_seeds(row):
    """` (-0.10 to +0.90)` of a row of differences; empty for one seed."""
    return f" ({100 * row.seeds_low:+.2f} to {100 * row.seeds_high:+.2f})" if row.seeds > 1 else ""


def verdict(row):
    """Whether the interval leaves zero on one side: `above`, `below` or `not distinguishable from`."""
    return "above" if row.low > 0 else "below" if row.high < 0 else "not distinguishable from"


def answer(differences, reached=None):
    """Which differences from `continued` exclude zero and which do not, with their numbers, as Markdown."""
    rows = differences[differences["against"] == "continued"]
    if rows.empty:
        return "No stage-2 setting can be compared with `continued` yet."
    lines = []
    for metric in rows["metric"].unique():
        part = rows[rows["metric"] == metric]
        clear = int(((part["low"] > 0) | (part["high"] < 0)).sum())
        lines.append(
            f"**{metric}**: {clear} of {len(part)} differences from `continued` exclude zero (95 % intervals "
            "over clips, in round brackets over seeds; p after Holm).\n"
        )
        lines += [
            f"- {row.backbone}: `{row.setting}` is {verdict(row)} `continued`: {points(row)}, p = "
            f"{row.p_holm:.2g}, above in {row.seeds_above} of {row.seeds} seeds{over_seeds(row)}"
            for row in part.itertuples()
        ]
        lines.append("")
    if reached is not None and (reached["metric"] == "true mAP@10").any():
        best = reached[reached["metric"] == "true mAP@10"]
        top = best.loc[best["share mean"].idxmax()]
        lines.append(
            f"Of the oracle's true mAP@10, `{top['setting']}` of {top['backbone']} reaches most: "
            f"{100 * top['share mean']:.0f} %."
        )
    return "\n".join(lines)
