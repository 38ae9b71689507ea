"""Figures of ablations: targets against students, where a target's probability lies, a measure along a parameter."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from corrlib.figures.comparison import DESTROYED
from corrlib.figures.style import (
    PALETTE,
    POOLED,
    interval_words,
    legend,
    looks,
    panel_title,
    panels,
    say,
    seeds_text,
    with_main_intervals,
)

MASS_NAMES = {
    "annotated": "annotated",
    "wholly": "another clip, matches wholly",
    "partly": "matches partly",
    "not": "does not match",
}


def targets_and_students(
    table: pd.DataFrame,
    metrics: Sequence[str] = ("annotated mAP@10", "true mAP@10", "true nDCG@10"),
    measure: str = "rank_correlation",
) -> Figure:
    """Each student's difference from `continued`, ordered by its target's agreement with the truth.

    table: point, backbone, metric, difference, low, high, seeds and `measure`, which is NaN where the truth is not
    known (then the order is as given). Targets that destroy retrieval are named in the caption, as their differences
    would hide all others.
    """
    how, table = _how(table), with_main_intervals(table)
    single = table[table["backbone"] != POOLED]
    metrics = [metric for metric in metrics if metric in set(single["metric"])]
    lowest = single.groupby("point")["difference"].min()
    lost = lowest[lowest < DESTROYED].index if (lowest >= DESTROYED).any() else []
    agreement = single.groupby("point")[measure].mean()
    shown = single[~single["point"].isin(lost)]
    shown = shown.assign(agreement=shown["point"].map(agreement)).sort_values("agreement", kind="stable")
    known = bool(shown["agreement"].notna().any())
    shown["label"] = shown["point"] + shown["agreement"].map(" ({:.2f})".format) if known else shown["point"]
    figure = _points(shown, metrics, "label")
    first = single[single["metric"] == metrics[0]]
    means = first.groupby("point")["difference"].mean().sort_values()
    off = ", ".join(f"{point} {100 * means[point]:+.1f}" for point in lost)
    brackets = "In brackets: rank correlation of target and truth over training pairs that are not annotated. "
    say(
        figure,
        f"{metrics[0]}, mean difference from continued: at most {100 * means.iloc[-1]:+.1f} points "
        f"({means.index[-1]}); {_clear(first)}",
        brackets * known + how + (f" Off the scale ({metrics[0]}): {off} points." if off else ""),
    )
    return figure


def _clear(rows: pd.DataFrame) -> str:
    above, below = int((rows["low"] > 0).sum()), int((rows["high"] < 0).sum())
    return f"{above} of {len(rows)} clearly above, {below} below"


def _how(table: pd.DataFrame) -> str:
    return (
        f"Percentage points, paired by caption; {seeds_text(table['seeds'])}; bars: {interval_words(table)}; filled: "
        "it excludes zero."
    )


def probability_mass(quality: pd.DataFrame, kinds: Sequence[str] = tuple(MASS_NAMES)) -> Figure:
    """Stacked bars: which share of a target's probability lies on which kind of pair.

    quality: a row a run with `point` and the `kinds`, shares that sum to 1.
    """
    means = quality.groupby("point", sort=False)[list(kinds)].mean().iloc[::-1]
    names = [MASS_NAMES[kind] for kind in kinds]
    figure, axes = panels(1, 1, (4.2, 0.5 + 0.24 * len(means)), labels=list(means.index), legend_labels=names)
    axis, left, handles = axes[0, 0], np.zeros(len(means)), []
    for kind, name, shade in zip(kinds, names, (PALETTE[0], PALETTE[2], PALETTE[1], "0.8"), strict=True):
        axis.barh(means.index, 100 * means[kind], left=left, color=shade, label=name)
        handles.append(Patch(color=shade, label=name))
        left += 100 * means[kind].to_numpy()
    axis.set(xlabel="share of the target's probability (%)", xlim=(0, 100))
    axis.tick_params(axis="y", length=0)
    legend(figure, handles)
    say(
        figure,
        "Where each target puts its probability for the clips of a caption",
        "Mean over captions of at most 256 training clips, over backbones and seeds; clips given a caption.",
    )
    return figure


def along(
    table: pd.DataFrame,
    xlabel: str,
    reference: float | None = None,
    metrics: Sequence[str] = ("annotated mAP@10", "true nDCG@10"),
    by: str = "backbone",
) -> Figure:
    """Difference from `continued` along a parameter (`value`, log axis), with interval bands; a line for each `by`."""
    words, table = interval_words(table), with_main_intervals(table)
    shown = [metric for metric in metrics if metric in set(table["metric"])]
    names = list(table[by].unique())
    look = looks(names)
    if by != "backbone":
        look = {name: (PALETTE[i % len(PALETTE)], "os^D"[i % 4], str(name)) for i, name in enumerate(names)}
    values, width = sorted(table["value"].unique()), max(2.6, 0.45 * table["value"].nunique())
    labels = [label for _, _, label in look.values()]
    figure, axes = panels(1, len(shown), (width, 2.5), legend_labels=labels)
    for axis, metric in zip(axes[0], shown, strict=True):
        axis.axhline(0, color="0.4", lw=1, zorder=0)
        for name, (shade, marker, label) in look.items():
            rows = table[(table["metric"] == metric) & (table[by] == name)].sort_values("value")
            axis.plot(rows["value"], 100 * rows["difference"], marker=marker, ms=4, color=shade, label=label, lw=1.3)
            axis.fill_between(rows["value"], 100 * rows["low"], 100 * rows["high"], color=shade, alpha=0.12, lw=0)
        panel_title(axis, metric, width)
        axis.set(xlabel=xlabel, xscale="log")
        axis.set_xticks(values, [f"{value:g}" for value in values])
        axis.minorticks_off()
        if reference is not None:
            axis.axvline(reference, color="0.7", lw=1, ls=":")
    axes[0, 0].set_ylabel("difference (points)")
    legend(figure, [Line2D([], [], color=c, marker=m, label=n, ms=4) for c, m, n in look.values()])
    rows = list(table[table["metric"] == shown[0]].sort_values("difference", kind="stable").itertuples())
    best: Any = rows[-1]
    say(
        figure,
        f"{shown[0]}: {100 * best.difference:+.1f} points [{100 * best.low:+.1f}, {100 * best.high:+.1f}] at most, for "
        f"{xlabel} {best.value:g} ({look[getattr(best, by)][2]})",
        f"Student minus continued in percentage points, paired by caption; {seeds_text(table['seeds'])}; bands: "
        f"{words}.",
    )
    return figure


def points(
    table: pd.DataFrame, metrics: Sequence[str] = ("annotated mAP@10", "true mAP@10"), label: str = "point"
) -> Figure:
    """Difference of each point from its control with interval, a line a point; a colour a backbone. Order as given."""
    how, table = _how(table), with_main_intervals(table)
    metrics = [metric for metric in metrics if metric in set(table["metric"])]
    figure, first = (
        _points(table, metrics, label),
        table[(table["metric"] == metrics[0]) & (table["backbone"] != POOLED)],
    )
    say(figure, f"{metrics[0]}, difference from the control: {_clear(first)}", how)
    return figure


def _points(table: pd.DataFrame, metrics: Sequence[str], label: str) -> Figure:
    """What `points` draws, without its caption."""
    single = table[table["backbone"] != POOLED]
    look, names = looks(single["backbone"]), list(dict.fromkeys(single[label]))
    line, width = max(0.27, 0.13 * len(look)), 2.6
    offsets = np.linspace(-0.27, 0.27, len(look)) if len(look) > 1 else [0]
    labels = [text for _, _, text in look.values()]
    figure, axes = panels(
        1, len(metrics), (width, 0.55 + line * len(names)), labels=names, legend_labels=labels, sharey=True
    )
    for axis, metric in zip(axes[0], metrics, strict=True):
        axis.axvline(0, color="0.4", lw=1, zorder=0)
        for offset, (backbone, (shade, marker, _)) in zip(offsets, look.items(), strict=True):
            rows: Any = single[(single["metric"] == metric) & (single["backbone"] == backbone)].itertuples()
            for row in rows:
                y, clear = names.index(getattr(row, label)) + offset, row.low > 0 or row.high < 0
                axis.plot([100 * row.low, 100 * row.high], [y, y], color=shade, lw=1.8)
                axis.plot(100 * row.difference, y, marker, color=shade, ms=5, mfc=shade if clear else "white", mew=1.3)
        panel_title(axis, metric, width)
        axis.set_xlabel("difference (points)")
        axis.xaxis.set_major_locator(MaxNLocator(5))
    axes[0, 0].set_yticks(range(len(names)), names)
    axes[0, 0].set_ylim(len(names) - 0.5, -0.5)
    axes[0, 0].tick_params(axis="y", length=0)
    legend(figure, [Line2D([], [], color=c, marker=m, label=n, ms=4, ls="") for c, m, n in look.values()])
    return figure
