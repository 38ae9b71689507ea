"""Figures that compare runs: settings, paired differences, the oracle's ceiling, learning curves."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from corrlib.figures.measures import MAIN, beyond, coverage_words, shown
from corrlib.figures.style import (
    POOLED,
    interval_words,
    legend,
    looks,
    name_ticks,
    panel_title,
    panels,
    say,
    seeds_text,
    setting_order,
    text_inches,
    ticks_width,
    with_main_intervals,
)

ENSEMBLE = "stage1 ensemble"  # the setting of the stage-1 models' mean, which is drawn as a line
MOST, MOST_BESIDE = 4, 3  # panels of a figure of means, and of differences, which stand side by side
WIDEST = 10.2  # inches of panels side by side; more stand below each other
DESTROYED = -0.05  # a difference below it would hide all others
Looks = dict[str, tuple[str, str, str]]  # {backbone: (colour, marker, label)}


def results(table: pd.DataFrame, ceilings: Mapping[str, float]) -> Figure:
    """Each setting's measures with intervals, by backbone: annotated, true, and the first of each named relevance.

    table: rows of results.csv; ceilings: {metric: what an oracle reaches}. Settings that destroy retrieval are named in
    the caption, as the differences of all others would vanish beside them.
    """
    there = set(table["metric"])
    metrics = [metric for metric in (*MAIN, *beyond(table["metric"]), "true nDCG@10") if metric in there][:MOST]
    settings_of_backbones = table[table["setting"] != ENSEMBLE]
    lost = _lost(settings_of_backbones[settings_of_backbones["metric"] == metrics[0]])
    settings_of_backbones = settings_of_backbones[~settings_of_backbones["setting"].isin(list(lost))]
    look, settings = looks(settings_of_backbones["backbone"]), setting_order(settings_of_backbones["setting"])
    width = _panel_width(settings, look)
    together = table[table["setting"] == ENSEMBLE].set_index("metric")["mean"]
    labels = [label for _, _, label in look.values()] + ["stage-1 ensemble itself"] * bool(len(together))
    figure, axes = panels(*_shape(len(metrics), width), (width, 2.9), legend_labels=labels)
    for axis, metric in zip(axes.flat, metrics, strict=True):
        _dots(axis, settings_of_backbones[settings_of_backbones["metric"] == metric], look, settings)
        if metric in together:
            axis.axhline(100 * together[metric], color="#333333", lw=1, ls="--", zorder=0)
        above = f"\noracle: {100 * ceilings[metric]:.1f} %" if metric in ceilings else ""
        panel_title(axis, metric + above, width)
        axis.set_ylabel("%")
        name_ticks(axis, settings, width - 0.5)
    handles = _handles(look)
    if len(together):
        handles.append(Line2D([], [], color="#333333", lw=1, ls="--", label=labels[-1]))
    legend(figure, handles)
    say(
        figure,
        _best(settings_of_backbones, metrics[0], look),
        f"Dots: mean of {seeds_text(table['seeds'])}; bars: 95 % bootstrap interval over clips. Intervals of paired "
        "differences are narrower than these: see differences."
        + coverage_words(table)
        + _off_the_scale(metrics[0], {setting: f"{100 * mean:.1f} %" for setting, mean in lost.items()}),
    )
    return figure


def _shape(count: int, width: float) -> tuple[int, int]:
    """(rows, columns) of so many panels: side by side as far as there is room, four else two by two."""
    if width * count < WIDEST:
        return 1, count
    return (2, 2) if count == 4 and 2 * width < WIDEST else (count, 1)


def _lost(rows: pd.DataFrame) -> dict[str, float]:
    """{setting: mean} of those that fall below half of the best, from rows of one metric."""
    means = rows.groupby("setting")["mean"].mean()
    return {str(setting): float(mean) for setting, mean in means[means < 0.5 * means.max()].items()}


def _off_the_scale(metric: str, values: Mapping[str, str]) -> str:
    return f" Off the scale ({metric}): " + ", ".join(f"{k} {v}" for k, v in values.items()) + "." if values else ""


def _panel_width(settings: Sequence[str], look: Looks) -> float:
    """Inches for a panel in which each setting has a place for a dot of every backbone."""
    for_dots = len(settings) * max(0.45, 0.15 * len(look))
    return 0.5 + max(for_dots, ticks_width(settings, 1.9, 3.4))


def _best(table: pd.DataFrame, metric: str, look: Looks) -> str:
    rows = list(table[table["metric"] == metric].sort_values("mean", kind="stable").itertuples())
    best: Any = rows[-1]
    return (
        f"{metric} is highest for {look[best.backbone][2]}, {best.setting}: {100 * best.mean:.1f} % "
        f"[{100 * best.low:.1f}, {100 * best.high:.1f}]"
    )


def _handles(look: Looks) -> list[Line2D]:
    return [
        Line2D([], [], color=shade, marker=marker, label=label, ms=4.5, ls="") for shade, marker, label in look.values()
    ]


def _dots(axis: Axes, rows: pd.DataFrame, look: Looks, settings: Sequence[str]) -> None:
    """Means with intervals (columns mean, low, high), a place a setting and beside each other the backbones."""
    offsets = np.linspace(-0.27, 0.27, len(look)) if len(look) > 1 else [0]
    for offset, (backbone, (shade, marker, _)) in zip(offsets, look.items(), strict=True):
        part = rows[rows["backbone"] == backbone]
        places = [settings.index(setting) + offset for setting in part["setting"]]
        bars = 100 * np.array([part["mean"] - part["low"], part["high"] - part["mean"]])
        axis.errorbar(
            places, 100 * part["mean"], bars, fmt=marker, ms=4.5, color=shade, capsize=2, lw=1.3, label=backbone
        )


def differences(table: pd.DataFrame, metrics: Sequence[str] = ()) -> Figure:
    """Forest plot of paired differences in percentage points: the mean of the backbones first, then each; annotated and
    true side by side, and the first measure of each named relevance.

    table: rows of differences.csv; metrics: others than these. Thick bars: 95 % interval over seeds, where there are
    enough; thin: over clips. Filled dots: the thick one excludes zero. Settings that destroy retrieval are named in the
    caption, as they would hide all others.
    """
    words = interval_words(table)
    table = with_main_intervals(table)
    metrics = [metric for metric in metrics or shown(table["metric"], MOST_BESIDE) if metric in set(table["metric"])]
    highest = table.groupby("setting")["difference"].max()
    lost = list(highest[highest < DESTROYED].index) if (highest >= DESTROYED).any() else []
    off = table[table["setting"].isin(lost) & (table["metric"] == metrics[0])].groupby("setting")["difference"].mean()
    table = table[~table["setting"].isin(lost)]
    look, places = looks(table["backbone"]), _forest_rows(table)
    names = [f"{look[key][2]}, − {against}" if setting is None else setting for against, key, setting in places]
    lines, width = 1 + max(places.values()), 2.5
    figure, axes = panels(1, len(metrics), (width, 0.5 + 0.19 * lines), labels=names, sharey=True)
    for axis, metric in zip(axes[0], metrics, strict=True):
        axis.axvline(0, color="0.4", lw=1, zorder=0)
        rows: Any = table[table["metric"] == metric].itertuples()
        for row in rows:
            shade, marker, _ = look[row.backbone]
            y, clear = places[row.against, row.backbone, row.setting], row.low > 0 or row.high < 0
            axis.plot([100 * row.low, 100 * row.high], [y, y], color=shade, lw=2.2)
            axis.plot([100 * row.clips_low, 100 * row.clips_high], [y, y], "|-", color=shade, lw=0.7, ms=4, zorder=1)
            axis.plot(100 * row.difference, y, marker, color=shade, ms=5.5, mfc=shade if clear else "white", mew=1.3)
        panel_title(axis, metric, width)
        axis.set_xlabel("difference (points)")
        axis.xaxis.set_major_locator(MaxNLocator(5))
    axes[0, 0].set_yticks(list(places.values()), names)
    for tick, key in zip(axes[0, 0].get_yticklabels(), places, strict=True):
        tick.set_fontweight("bold" if key[2] is None else "normal")
    axes[0, 0].set_ylim(lines - 0.4, -0.6)
    axes[0, 0].tick_params(axis="y", length=0)
    thin = " Thin bars: 95 % bootstrap interval over clips, which knows nothing of another course of training."
    say(
        figure,
        _forest_claim(table, metrics),
        f"Percentage points, paired by caption; {seeds_text(table['seeds'])}; thick bars: {words}; filled: it excludes "
        "zero."
        + coverage_words(table)
        + thin * ("seeds" in words)
        + _off_the_scale(metrics[0], {str(setting): f"{100 * mean:+.1f} points" for setting, mean in off.items()}),
    )
    return figure


def _forest_rows(table: pd.DataFrame) -> dict[tuple[str, str, str | None], float]:
    """{(against, backbone, setting or None for the group's heading): line}, from the top; the pooled group first."""
    places, line = {}, 0.0
    for against in dict.fromkeys(table["against"]):
        own = table[table["against"] == against]
        for backbone in sorted(looks(own["backbone"]), key=lambda name: name != POOLED):
            for setting in [None, *setting_order(own.loc[own["backbone"] == backbone, "setting"])]:
                places[against, backbone, setting] = line
                line += 1
            line += 0.4
    return places


def _forest_claim(table: pd.DataFrame, metrics: Sequence[str]) -> str:
    """How many differences from `continued` (or what there is) exclude zero, by metric."""
    against = "continued" if "continued" in set(table["against"]) else table["against"].iloc[0]
    rows = table[table["against"] == against]
    parts = []
    for metric in metrics:
        own = rows[rows["metric"] == metric]
        above, below = int((own["low"] > 0).sum()), int((own["high"] < 0).sum())
        parts.append(f"{metric} {above} of {len(own)} clearly above" + (f", {below} below" if below else ""))
    return f"Against {against}: " + "; ".join(parts)


def ceiling(table: pd.DataFrame) -> Figure:
    """Share of the oracle's ceiling reached, by setting and backbone. table: rows of ceiling.csv."""
    metrics = [metric for metric in MAIN if metric in set(table["metric"])]
    shares = table[table["setting"] != ENSEMBLE].drop(columns=["mean", "low", "high"], errors="ignore")
    shares = shares.rename(columns=lambda name: name.removeprefix("share "))
    look, settings = looks(shares["backbone"]), setting_order(shares["setting"])
    width = _panel_width(settings, look)
    labels = [label for _, _, label in look.values()]
    figure, axes = panels(1, len(metrics), (width, 2.9), legend_labels=labels, sharey=True)
    for axis, metric in zip(axes[0], metrics, strict=True):
        rows = shares[shares["metric"] == metric]
        _dots(axis, rows, look, settings)
        axis.axhline(100, color="0.4", lw=1, ls=":")
        panel_title(axis, f"{metric}\noracle: {100 * rows['ceiling'].iloc[0]:.1f} %", width)
        axis.set_ylim(0, max(105, 105 * shares["high"].max()))
        name_ticks(axis, settings, width - 0.5)
    axes[0, 0].set_ylabel("share of the oracle's value (%)")
    legend(figure, _handles(look))
    rows = list(shares[shares["metric"] == metrics[-1]].sort_values("mean", kind="stable").itertuples())
    best: Any = rows[-1]
    say(
        figure,
        f"At best {100 * best.mean:.0f} % of the oracle's {metrics[-1]} is reached "
        f"({look[best.backbone][2]}, {best.setting})",
        f"Oracle: ranks by the truth, ties at random. Mean of {seeds_text(shares['seeds'])}, 95 % bootstrap interval "
        "over clips.",
    )
    return figure


def learning_curves(logs: pd.DataFrame) -> Figure:
    """Validation mAP@10 by epoch; a line a seed, a panel a setting.

    logs: setting, backbone, seed, epoch, score and `kept`, whether the run is what it was after this epoch.
    """
    settings, look = setting_order(logs["setting"]), looks(logs["backbone"])
    width = max(1.7, *(text_inches(setting) for setting in settings))
    figure, axes = panels(
        1, len(settings), (width, 2.2), legend_labels=[label for _, _, label in look.values()], sharey=True
    )
    for axis, setting in zip(axes[0], settings, strict=True):
        for (backbone, _), rows in logs[logs["setting"] == setting].groupby(["backbone", "seed"], sort=False):
            shade, marker, _ = look[str(backbone)]
            kept = rows[rows["kept"]]
            axis.plot(rows["epoch"], 100 * rows["score"], color=shade, lw=1.1, alpha=0.75)
            axis.plot(kept["epoch"], 100 * kept["score"], marker, color=shade, ms=4)
        axis.set(title=setting, xlabel="epoch")
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes[0, 0].set_ylabel("validation mAP@10 (%)")
    legend(figure, _handles(look))
    last = logs.sort_values("epoch").groupby(["setting", "backbone", "seed"]).tail(1)
    first = logs[logs["kept"] & (logs["setting"] == settings[0])]["epoch"]
    say(
        figure,
        f"{int(last['kept'].sum())} of {len(last)} runs are best at their last epoch; {settings[0]} at epoch "
        f"{first.min():.0f} to {first.max():.0f}",
        f"A line a run, {seeds_text([logs['seed'].nunique()])}; dot: the epoch that is kept.",
    )
    return figure
