"""Variants of a study, each with models of its own from stage 1 on: gains, strengths, and when stage 2 helps."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from corrlib.reports import ablations, results
from corrlib.study import runs

WHOLE = "all"  # the study's own models, as one more variant
SHARE = r"^share-([0-9.]+)$"
SHARE_SAME_STEPS = r"^share-([0-9.]+)-steps$"
CAUSES = ("student", "lead", "wholly")
TRUE, ANNOTATED = "share of the oracle's true mAP@10", "annotated mAP@10"  # what strength is measured by


def of(setting: str, variant: str) -> str:
    """The point of a variant's setting: `<setting>-<variant>`, or the setting itself of the study's own models."""
    return setting if variant == WHOLE else f"{setting}-{variant}"


def gains(study: str, variants: Iterable[str], resamples: int, settings: Sequence[str] = ("ensemble",)) -> pd.DataFrame:
    """Each variant's settings compared with its own `continued`; as `ablations.against_control`, with `variant`.

    p values are corrected after Holm over all rows of a metric. The study's own models are the variant `all`.
    FileNotFoundError names what a variant lacks.
    """
    tables = [gains_of(study, variant, resamples, settings) for variant in (WHOLE, *variants)]
    return results.holm_within(pd.concat(tables, ignore_index=True), "metric")


def gains_of(study: str, variant: str, resamples: int, settings: Sequence[str] = ("ensemble",)) -> pd.DataFrame:
    """`gains` of one variant, corrected after Holm over its own rows."""
    judged, _ = ablations.load(
        study,
        [of(setting, variant) for setting in settings],
        of("continued", variant),
        of("stage1", variant),
    )
    table = ablations.against_control(judged, resamples)
    points = [point.removesuffix(f"-{variant}") for point in table["point"]]
    return table.assign(variant=variant, point=points)


def strengths(study: str, variants: Iterable[str]) -> pd.DataFrame:
    """How strong each variant's students and teacher are, and how ambiguous its corpus; means over seeds.

    Columns variant, backbone, measure, student, teacher, wholly, partly. Where the truth is known, `measure` is TRUE,
    student and teacher are shares of what an oracle reaches, wholly is the mean share of the evaluation clips that a
    caption describes wholly, partly that of those described partly. Elsewhere `measure` is ANNOTATED, student and
    teacher are that metric itself, wholly and partly NaN.
    """
    training_runs, rows = runs.gather(study), []
    for variant in (WHOLE, *variants):
        for backbone in sorted(training_runs["backbone"].unique()):
            by_seed = [
                _strength(study, variant, run, seed)
                for seed in sorted(training_runs["seed"].unique())
                if runs.is_finished(study, run := f"{of('stage1', variant)}-{backbone}-seed{seed}")
            ]
            if by_seed:
                table = pd.DataFrame(by_seed)
                means = table.drop(columns="measure").mean().to_dict()
                rows.append({"variant": variant, "backbone": backbone, "measure": table["measure"].iloc[0], **means})
    return pd.DataFrame(rows)


def _strength(study: str, variant: str, run: str, seed: int) -> dict[str, float | str]:
    corpus = _data_metrics(study, variant, seed)
    student = runs.read_metrics(study, run)
    teacher = runs.read_metrics(study, f"{of('correspondences', variant)}-seed{seed}")
    ceiling = corpus.get("ceilings", {}).get("true mAP@10")
    if ceiling is None:
        values = {"student": student["annotated"]["mAP@10"], "teacher": teacher["annotated"]["mAP@10"]}
        return {"measure": ANNOTATED, **values, "wholly": np.nan, "partly": np.nan}
    return {
        "measure": TRUE,
        "student": student["true"]["mAP@10"] / ceiling,
        "teacher": teacher["true"]["mAP@10"] / ceiling,
        "wholly": corpus["mean_wholly"] / corpus["clips"],
        "partly": corpus["share_partly"],
    }


def _data_metrics(study: str, variant: str, seed: int) -> dict:
    own = f"data-{variant}-seed{seed}"
    return runs.read_metrics(study, own if runs.is_finished(study, own) else f"data-seed{seed}")


def when_it_helps(gained: pd.DataFrame, strong: pd.DataFrame) -> pd.DataFrame:
    """`gains` of `ensemble` of single backbones with `strengths` beside them, and `lead`: teacher minus student."""
    rows = results.of_each(gained[gained["point"] == "ensemble"])
    return rows.merge(strong, on=["variant", "backbone"]).assign(lead=lambda t: t["teacher"] - t["student"])


def by_share(gained: pd.DataFrame) -> pd.DataFrame:
    """Rows of the shares of the training data: `value` and `regime` (equal epochs or equal steps); all of it in both.

    Of the backbones that were trained on shares.
    """
    parts = []
    shared = gained.loc[gained["variant"].str.match(r"^share-"), "backbone"]
    gained = gained[gained["backbone"].isin(shared)]
    for regime, pattern in (("equal epochs", SHARE), ("equal steps", SHARE_SAME_STEPS)):
        rows = gained.assign(value=pd.to_numeric(gained["variant"].str.extract(pattern)[0]))
        rows.loc[rows["variant"] == WHOLE, "value"] = 1.0
        rows = rows.dropna(subset="value")
        if (rows["variant"] != WHOLE).any():
            parts.append(rows.assign(regime=regime))
    return pd.concat(parts, ignore_index=True) if parts else gained.iloc[:0].assign(value=[], regime=[])


def explained(table: pd.DataFrame, causes: Sequence[str] = CAUSES) -> pd.DataFrame:
    """Spearman correlation of each cause with the gain over all variants and backbones: metric, points, a cause each.

    table: `when_it_helps`. NaN for fewer than three points or an unknown cause. No claim of cause.
    """
    rows = []
    for metric, part in table.groupby("metric", sort=False):
        ranks = part[["difference", *causes]].rank()
        correlations = ranks.corr().loc["difference"] if len(part) > 2 else pd.Series(np.nan, ranks.columns)
        rows.append({"metric": metric, "points": len(part), **{cause: correlations[cause] for cause in causes}})
    return pd.DataFrame(rows)
