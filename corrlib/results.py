"""From finished runs to the tables of a study: means with intervals, paired differences, ceilings."""
import numpy as np
import pandas as pd

from corrlib import runs
from corrlib.intervals import bootstrap_interval, holm, paired_difference, randomisation_test

METRICS = {"annotated mAP@10": "annotated ap@10", "annotated R@1": "annotated r@1", "annotated R@5": "annotated r@5",
           "annotated R@10": "annotated r@10", "annotated nDCG@10": "annotated ndcg@10", "true mAP@10": "true ap@10",
           "true nDCG@10": "true ndcg@10"}
SETTING_ORDER = ("stage1", "continued", "self", "ensemble")


def load_queries(study, table):
    """{(backbone, setting): [one DataFrame of per-query values a seed]}, seeds in order."""
    found = {}
    for row in table.sort_values("seed").itertuples():
        found.setdefault((row.backbone, row.setting), []).append(runs.read_table(study, row.run, "queries.csv"))
    return found


def check_same_data(study, table):
    """Runs of one seed must have seen the same data; ValueError names two that did not."""
    for _, group in table.groupby("seed"):
        prints = {run: runs.read_manifest(study, run)["data_fingerprint"] for run in group["run"]}
        if len(set(prints.values())) > 1:
            one = next(iter(prints))
            other = next(r for r in prints if prints[r] != prints[one])
            raise ValueError(f"runs '{one}' and '{other}' of study '{study}' were evaluated on different data; "
                             "run one of them again")


def summarise(study, queries, resamples):
    """results.csv: study, backbone, setting, metric, mean, low, high, seeds; one row each."""
    rows = []
    for (backbone, setting), seeds in queries.items():
        for metric, column in METRICS.items():
            if column not in seeds[0]:
                continue
            mean, low, high = bootstrap_interval([q[column].to_numpy() for q in seeds],
                                                 [q["clip"].to_numpy() for q in seeds], resamples)
            rows.append({"study": study, "backbone": backbone, "setting": setting, "metric": metric, "mean": mean,
                         "low": low, "high": high, "seeds": len(seeds)})
    return pd.DataFrame(rows)


def compare(study, queries, resamples, metrics=("annotated mAP@10", "true mAP@10", "true nDCG@10")):
    """differences.csv: each setting against `continued` and `stage1`, paired by query, Holm-corrected per metric."""
    rows = []
    for metric in metrics:
        column, first = METRICS[metric], len(rows)
        for (backbone, setting), seeds in queries.items():
            for against in ("continued", "stage1"):
                base = queries.get((backbone, against))
                if setting not in SETTING_ORDER or base is None or column not in seeds[0] or \
                        SETTING_ORDER.index(setting) <= SETTING_ORDER.index(against):
                    continue
                a, b = ([q[column].to_numpy() for q in side] for side in (seeds, base))
                groups = [q["clip"].to_numpy() for q in seeds]
                difference, low, high = paired_difference(a, b, groups, resamples)
                rows.append({"study": study, "backbone": backbone, "setting": setting, "against": against,
                             "metric": metric, "difference": difference, "low": low, "high": high,
                             "p": randomisation_test(a, b, groups, resamples)})
        adjusted = holm([r["p"] for r in rows[first:]]) if rows[first:] else []
        for row, p in zip(rows[first:], adjusted, strict=True):
            row["p_holm"] = float(p)
    return pd.DataFrame(rows)


def learning_curves(study, table):
    """Validation mAP@10 of every epoch: setting, backbone, seed, epoch, score."""
    parts = []
    for row in table.itertuples():
        log = runs.read_table(study, row.run, "log.csv")
        parts.append(pd.DataFrame({"setting": row.setting, "backbone": row.backbone, "seed": row.seed,
                                   "epoch": log["epoch"], "score": log["validation mAP@10"]}))
    return pd.concat(parts, ignore_index=True)


def ceilings(study, table):
    """Mean over seeds of what an oracle reaches, from the data runs: {metric: value}, {} where no truth is known."""
    found = []
    for seed in sorted(table["seed"].unique()):
        try:
            found.append(runs.read_metrics(study, f"data-seed{seed}").get("ceilings", {}))
        except FileNotFoundError:
            continue
    names = set().union(*found) if found else set()
    return {name: float(np.mean([f[name] for f in found])) for name in sorted(names)}


def teachers(study, seeds):
    """{("ensemble of all", "teachers"): [per-query values a seed]}: the stage-1 ensemble judged as a model."""
    found = []
    for seed in seeds:
        try:
            found.append(runs.read_table(study, f"correspondences-seed{seed}", "queries.csv"))
        except FileNotFoundError:
            return {}
    return {("ensemble of all", "teachers"): found}


def readable(table):
    """Percent with interval, settings as rows, metrics as columns: for a notebook or README."""
    cell = table.apply(lambda r: f"{100 * r['mean']:.1f} [{100 * r['low']:.1f}, {100 * r['high']:.1f}]", axis=1)
    wide = table.assign(cell=cell).pivot_table(index=["backbone", "setting"], columns="metric", values="cell",
                                               aggfunc="first", sort=False)
    return wide


def reached(table, ceilings):
    """Share of the oracle's ceiling that each setting reaches."""
    rows = table[table["metric"].isin(ceilings)].copy()
    rows["ceiling"] = rows["metric"].map(ceilings)
    rows["share of ceiling"] = rows["mean"] / rows["ceiling"]
    return rows[["backbone", "setting", "metric", "mean", "ceiling", "share of ceiling"]]


def answer(differences, seeds):
    """Which differences exclude zero, as sentences with their numbers; either way."""
    lines = []
    for row in differences.itertuples():
        if row.metric == "annotated mAP@10" and row.against == "continued":
            verdict = "above" if row.low > 0 else "below" if row.high < 0 else "not distinguishable from"
            lines.append(f"- {row.backbone}: `{row.setting}` is {verdict} `continued` "
                         f"({100 * row.difference:+.2f} points, 95 % [{100 * row.low:+.2f}, {100 * row.high:+.2f}], "
                         f"{seeds} seeds)")
    return "Annotated mAP@10 on the evaluation split:\n\n" + "\n".join(lines or ["- no setting to compare yet"])
