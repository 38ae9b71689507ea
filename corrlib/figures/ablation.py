"""Figures of ablations: targets against students, where a target's probability lies, a measure along a parameter."""

import matplotlib.pyplot as plt
import numpy as np

from corrlib.figures.style import PALETTE, legend, looks, say, seeds_text, use_style

POOLED = "all backbones"


DESTROYED = -0.05  # a difference below it would hide all others


def targets_and_students(
    table, metrics=("annotated mAP@10", "true mAP@10", "true nDCG@10"), measure="rank_correlation"
):
    """Each student's difference from `continued`, ordered by its target's agreement with the truth.

    table: point, backbone, metric, difference, low, high, seeds and `measure`. Targets that destroy retrieval are
    named in the caption, as their differences would hide all others.
    """
    own = table[table["backbone"] != POOLED]
    lowest = own.groupby("point")["difference"].min()
    lost = lowest[lowest < DESTROYED].index if (lowest >= DESTROYED).any() else []
    means = own.groupby("point")[measure].mean()
    shown = own[~own["point"].isin(lost)].copy()
    shown = shown.assign(agreement=shown["point"].map(means)).sort_values("agreement", kind="stable")
    shown["label"] = shown["point"] + shown["agreement"].map(" ({:.2f})".format)
    figure = points(shown, metrics, "label")
    first = own[own["metric"] == metrics[0]].groupby("point")["difference"].mean().sort_values()
    off = ", ".join(f"{point} {100 * first[point]:+.1f}" for point in lost)
    say(
        figure,
        f"Best for {metrics[0]}: {first.index[-1]}, {100 * first.iloc[-1]:+.1f} points over continued",
        "In brackets: rank correlation of target and truth over training pairs that are not annotated. Paired by "
        f"caption; {seeds_text(table['seeds'])}; bars: 95 % bootstrap interval over clips; filled: it excludes zero."
        + (f" Off the scale ({metrics[0]}): {off} points." if off else ""),
    )
    return figure


def probability_mass(quality, kinds=("annotated", "wholly", "partly", "not")):
    """Stacked bars: which share of a target's probability lies on which kind of pair. quality: a row a run."""
    use_style()
    means = quality.groupby("point", sort=False)[list(kinds)].mean().iloc[::-1]
    figure, axis = plt.subplots(figsize=(7, 1.3 + 0.24 * len(means)), layout="constrained")
    left = np.zeros(len(means))
    names = {
        "annotated": "annotated",
        "wholly": "another clip, matches wholly",
        "partly": "matches partly",
        "not": "does not match",
    }
    for kind, shade in zip(kinds, (PALETTE[0], PALETTE[2], PALETTE[1], "0.8"), strict=True):
        axis.barh(means.index, 100 * means[kind], left=left, color=shade, label=names[kind])
        left += 100 * means[kind].to_numpy()
    axis.set(xlabel="share of the target's probability (%)", xlim=(0, 100))
    axis.tick_params(axis="y", length=0)
    legend(figure, axis.get_legend_handles_labels()[0])
    say(
        figure,
        "What each target tells the student about a caption's clips",
        "Mean over captions of 256 training clips, over backbones and seeds; clips given a caption.",
    )
    return figure


def along(table, xlabel, reference=None, metrics=("annotated mAP@10", "true nDCG@10"), by="backbone"):
    """Difference from `continued` along a parameter (`value`, log axis), with interval bands; a line for each `by`."""
    use_style()
    shown = [m for m in metrics if m in set(table["metric"])]
    look = (
        looks(table[by])
        if by == "backbone"
        else {
            name: (PALETTE[place % len(PALETTE)], "os^D"[place % 4], name)
            for place, name in enumerate(table[by].unique())
        }
    )
    figure, axes = plt.subplots(1, len(shown), figsize=(3.6 * len(shown) + 1, 3.2), layout="constrained", squeeze=False)
    for axis, metric in zip(axes[0], shown, strict=True):
        axis.axhline(0, color="0.4", lw=1, zorder=0)
        for name, (shade, marker, label) in look.items():
            rows = table[(table["metric"] == metric) & (table[by] == name)].sort_values("value")
            axis.plot(rows["value"], 100 * rows["difference"], marker=marker, ms=4, color=shade, label=label, lw=1.3)
            axis.fill_between(rows["value"], 100 * rows["low"], 100 * rows["high"], color=shade, alpha=0.12, lw=0)
        values = sorted(table["value"].unique())
        axis.set(title=metric, xlabel=xlabel, ylabel="student − continued (percentage points)", xscale="log")
        axis.set_xticks(values, [f"{v:g}" for v in values])
        axis.minorticks_off()
        if reference is not None:
            axis.axvline(reference, color="0.7", lw=1, ls=":")
    legend(figure, axes[0, 0].get_legend_handles_labels()[0])
    best = table[table["metric"] == shown[0]].nlargest(1, "difference").iloc[0]
    say(
        figure,
        f"Best for {shown[0]}: {xlabel} {best['value']:g} ({look[best[by]][2]})",
        f"Paired by caption; {seeds_text(table['seeds'])}; bands: 95 % bootstrap interval over clips.",
    )
    return figure


def points(table, metrics=("annotated mAP@10", "true mAP@10"), label="point"):
    """Difference of each point from its control with interval, a line a point; a colour a backbone. Order as given."""
    use_style()
    shown = [m for m in metrics if m in set(table["metric"])]
    own = table[table["backbone"] != POOLED]
    look, names = looks(own["backbone"]), list(dict.fromkeys(own[label]))
    spread = np.linspace(-0.2, 0.2, len(look)) if len(look) > 1 else [0]
    size = (2.4 + 3 * len(shown), 1.3 + 0.27 * len(names) * max(1, len(look) / 2))
    figure, axes = plt.subplots(1, len(shown), figsize=size, sharey=True, layout="constrained", squeeze=False)
    for axis, metric in zip(axes[0], shown, strict=True):
        axis.axvline(0, color="0.4", lw=1, zorder=0)
        for offset, (backbone, (shade, marker, _)) in zip(spread, look.items(), strict=True):
            for row in own[(own["metric"] == metric) & (own["backbone"] == backbone)].itertuples():
                y, clear = names.index(getattr(row, label)) + offset, row.low > 0 or row.high < 0
                axis.plot([100 * row.low, 100 * row.high], [y, y], color=shade, lw=1.8)
                axis.plot(100 * row.difference, y, marker, color=shade, ms=5, mfc=shade if clear else "white", mew=1.3)
        axis.set(title=metric, xlabel="difference (percentage points)")
    axes[0, 0].set_yticks(range(len(names)), names)
    axes[0, 0].set_ylim(len(names) - 0.5, -0.5)
    axes[0, 0].tick_params(axis="y", length=0)
    if len(look) > 1:
        legend(figure, [plt.Line2D([], [], color=c, marker=m, label=n, ms=4) for c, m, n in look.values()])
    first = own[own["metric"] == shown[0]]
    say(
        figure,
        f"{shown[0]}: {int((first['low'] > 0).sum())} of {len(first)} clearly above their control, "
        f"{int((first['high'] < 0).sum())} below",
        f"Paired by caption; {seeds_text(table['seeds'])}; bars: 95 % bootstrap "
        "interval over clips; filled: it excludes zero.",
    )
    return figure
