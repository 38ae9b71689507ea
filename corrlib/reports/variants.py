"""Variants of a study, each with models of its own from stage 1 on: gains, strengths, and when stage 2 helps."""

import numpy as np
import pandas as pd

from corrlib.reports import ablations, results
from corrlib.study import runs

WHOLE = "all"  # the study's own models, as one more variant
SHARE = r"^share-([0-9.]+)$"
SHARE_SAME_STEPS = r"^share-([0-9.]+)-steps$"


def _of(setting, variant):
    return setting if variant == WHOLE else f"{setting}-{variant}"


def gains(study, variants, resamples, settings=("ensemble",)):
    """Each variant's settings compared with its own `continued`; as `ablations.against_control`, with `variant`.

    p values are corrected after Holm over all rows of a metric. The study's own models are the variant `all`.
    """
    tables = []
    for variant in (WHOLE, *variants):
        judged, _ = ablations.load(
            study, [_of(s, variant) for s in settings], _of("continued", variant), _of("stage1", variant)
        )
        table = ablations.against_control(judged, resamples)
        tables.append(table.assign(variant=variant, point=[p.removesuffix(f"-{variant}") for p in table["point"]]))
    table = pd.concat(tables, ignore_index=True)
    return results.holm_within(table, "metric")


def strengths(study, variants, metric="true mAP@10"):
    """How strong each variant's students and teacher are, and how ambiguous its corpus; means over seeds.

    Columns variant, backbone, student, teacher (shares of the oracle's `metric`), wholly (mean share of the evaluation
    clips that a caption describes wholly), partly, same_steps (whether training was prolonged).
    """
    relevance, measure = metric.split(" ")
    found, rows = runs.gather(study), []
    for variant in (WHOLE, *variants):
        for backbone in sorted(found["backbone"].unique()):
            own = []
            for seed in sorted(found["seed"].unique()):
                run = f"{_of('stage1', variant)}-{backbone}-seed{seed}"
                if not runs.is_finished(study, run):
                    continue
                corpus = _data_metrics(study, variant, seed)
                ensemble = runs.read_metrics(study, f"{_of('correspondences', variant)}-seed{seed}")
                ceiling = corpus["ceilings"][metric]
                own.append(
                    {
                        "student": runs.read_metrics(study, run)[relevance][measure] / ceiling,
                        "teacher": ensemble[relevance][measure] / ceiling,
                        "wholly": corpus["mean_wholly"] / corpus["clips"],
                        "partly": corpus["share_partly"],
                    }
                )
            if own:
                rows.append({"variant": variant, "backbone": backbone, **pd.DataFrame(own).mean().to_dict()})
    return pd.DataFrame(rows)


def _data_metrics(study, variant, seed):
    own = f"data-{variant}-seed{seed}"
    return runs.read_metrics(study, own if runs.is_finished(study, own) else f"data-seed{seed}")


def when_it_helps(gained, strong):
    """One row a variant, backbone and metric: the gain of `ensemble` over `continued` beside the strengths."""
    own = gained[(gained["point"] == "ensemble") & (gained["backbone"] != results.POOLED)]
    return own.merge(strong, on=["variant", "backbone"]).assign(lead=lambda t: t["teacher"] - t["student"])


def by_share(gained):
    """Rows of the shares of the training data: `value` and `regime` (equal epochs or equal steps); all of it in both.

    Of the backbones that were trained on shares.
    """
    parts, shared = [], gained.loc[gained["variant"].str.match(r"^share-"), "backbone"]
    gained = gained[gained["backbone"].isin(shared)]
    for regime, pattern in (("equal epochs", SHARE), ("equal steps", SHARE_SAME_STEPS)):
        own = gained.assign(value=pd.to_numeric(gained["variant"].str.extract(pattern)[0]))
        own.loc[own["variant"] == WHOLE, "value"] = 1.0
        own = own.dropna(subset="value")
        if (own["variant"] != WHOLE).any():
            parts.append(own.assign(regime=regime))
    return pd.concat(parts, ignore_index=True) if parts else gained.iloc[:0].assign(value=[], regime=[])


def explained(table, causes=("student", "lead", "wholly")):
    """Spearman correlation of each cause with the gain over all variants and backbones, by metric; no claim of
    cause.
    """
    rows = []
    for metric, own in table.groupby("metric", sort=False):
        ranks = own[["difference", *causes]].rank()
        found = ranks.corr().loc["difference"] if len(own) > 2 else pd.Series(np.nan, ranks.columns)
        rows.append({"metric": metric, "points": len(own), **{cause: found[cause] for cause in causes}})
    return pd.DataFrame(rows)


def answer(table, shares, rounds):
    """The answer of 10, rendered from its tables, as Markdown. rounds: rows of the second round, or empty."""
    lines = []
    for metric in ("annotated mAP@10", "true mAP@10"):
        own = table[table["metric"] == metric]
        clear = own[(own["low"] > 0)]
        lines.append(
            f"- **{metric}**: `ensemble` clearly above `continued` in {len(clear)} of {len(own)} variants and "
            f"backbones, clearly below in {int((own['high'] < 0).sum())}."
        )
        for regime, part in shares[shares["metric"] == metric].groupby("regime"):
            part = part[part["backbone"] != results.POOLED].sort_values("value")
            lines.append(
                f"  - Share of the training data, {regime}: "
                + "; ".join(f"{row.value:g} {results.points(row)}" for row in part.itertuples())
                + "."
            )
        other = own[own["variant"].str.match("swapped|ambiguity")]
        lines += [f"  - {row.variant}, {row.backbone}: {results.points(row)}." for row in other.itertuples()]
    lines += [
        f"- Second round, {row.metric}, `{row.point}` against as much training: {results.points(row)}."
        for row in rounds.itertuples()
        if row.metric in ("annotated mAP@10", "true mAP@10")
    ]
    return "\n".join(lines)
