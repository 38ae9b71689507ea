"""When stage 2 helps: gains beside the strength of student and teacher and the ambiguity of the corpus, on one page."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from corrlib.figures.style import (
    PALETTE,
    interval_words,
    legend,
    looks,
    panel_title,
    panels,
    say,
    seeds_text,
    with_main_intervals,
    wrap,
)

CAUSES = {
    "student": "student after stage 1: {measure} (%)",
    "lead": "teacher − student: {measure} (points)",
    "wholly": "share of clips that a caption describes wholly (%)",
}
KINDS = {
    "all": "the study itself",
    "ambiguity": "other ambiguity",
    "share": "less data, equal epochs",
    "steps": "less data, equal steps",
    "swapped": "wrong captions",
    "other": "another variant",
}
SHADES = dict(zip(KINDS, ("0.2", *PALETTE, "#56B4E9"), strict=True))


def kind_of(variant: str) -> str:
    """Key of KINDS that a variant's name says, `other` where it says none."""
    if variant.endswith("-steps"):
        return "steps"
    return next((kind for kind in KINDS if variant == kind or variant.startswith(f"{kind}-")), "other")


def when_it_helps(
    table: pd.DataFrame, explained: pd.DataFrame, metrics: Sequence[str] = ("annotated mAP@10", "true mAP@10")
) -> Figure:
    """Gain of `ensemble` over `continued` in every variant, against what might explain it; a row of panels a metric.

    table: of reports.variants.when_it_helps (a cause that is not known is NaN and gets no panel); explained: of
    reports.variants.explained, whose rank correlations stand in the titles.
    """
    words, table = interval_words(table), with_main_intervals(table)
    metrics, look = [metric for metric in metrics if metric in set(table["metric"])], looks(table["backbone"])
    causes = [cause for cause in CAUSES if table[cause].notna().any()]
    shades = {variant: SHADES[kind_of(variant)] for variant in table["variant"].unique()}
    kinds = [kind for kind in KINDS if kind in {kind_of(variant) for variant in shades}]
    handles = [Line2D([], [], ls="", marker="o", ms=4.5, color=SHADES[kind], label=KINDS[kind]) for kind in kinds]
    if len(look) > 1:
        handles += [
            Line2D([], [], ls="", marker=mark, ms=4.5, color="0.6", label=name) for _, mark, name in look.values()
        ]
    width = 2.6
    figure, axes = panels(
        len(metrics),
        len(causes),
        (width, 2.6),
        legend_labels=[str(handle.get_label()) for handle in handles],
        sharey="row",
        sharex="col",
    )
    for line, metric in zip(axes, metrics, strict=True):
        for axis, cause in zip(line, causes, strict=True):
            axis.axhline(0, color="0.4", lw=1, zorder=0)
            rows: Any = table[table["metric"] == metric].itertuples()
            for row in rows:
                axis.errorbar(
                    100 * getattr(row, cause),
                    100 * row.difference,
                    100 * np.array([[row.difference - row.low], [row.high - row.difference]]),
                    fmt=look[row.backbone][1],
                    ms=4.5,
                    color=shades[row.variant],
                    lw=1,
                    capsize=1.5,
                    alpha=0.85,
                )
            rho = explained.loc[explained["metric"] == metric, cause].iloc[0]
            panel_title(axis, f"{metric}, ρ " + (f"{rho:+.2f}" if np.isfinite(rho) else "unknown"), width)
        line[0].set_ylabel("ensemble − continued\n(points)")
    for axis, cause in zip(axes[-1], causes, strict=True):
        axis.set_xlabel(wrap(CAUSES[cause].format(measure=table["measure"].iloc[0]), width - 0.2))
    legend(figure, handles)
    first = table[table["metric"] == metrics[0]]
    above, below = int((first["low"] > 0).sum()), int((first["high"] < 0).sum())
    say(
        figure,
        f"Stage 2 on the estimate, {metrics[0]}: clearly above continued in {above} of {len(first)} cases, below in "
        f"{below}",
        f"A dot a variant of the study and backbone; {seeds_text(table['seeds'])}; percentage points, bars: "
        f"{words}; ρ: Spearman's rank correlation. The variants were not drawn at random: correlations describe them, "
        "they do not prove a cause.",
    )
    return figure
