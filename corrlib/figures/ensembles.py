"""Figures of ensembles: what groups of members know, how alike members are, what an estimate costs."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from corrlib.figures.style import NAMES, PALETTE, family, legend, name_ticks, panel_title, panels, say, seeds_text

MEASURES = {"annotated mAP@10": 100, "rank_correlation": 1, "average_precision": 1}
TITLES = {
    "annotated mAP@10": "annotated mAP@10 (%)",
    "rank_correlation": "rank correlation with the truth",
    "average_precision": "average precision of whole matches",
}


def short(group: str) -> str:
    """`PaSST + PaSST 2` of `passt_tiny + passt_tiny-2`."""
    parts = [(NAMES.get(family(name), name), name.partition("-")[2]) for name in group.split(" + ")]
    return " + ".join(f"{name} {number}".strip() for name, number in parts)


def short_names(groups: list[str]) -> list[str]:
    """`short` of each group, or all as they stand where two would be called the same (presets of one family)."""
    names = [short(group) for group in groups]
    return names if len(set(names)) == len(set(groups)) else list(groups)


def knowledge(table: pd.DataFrame) -> Figure:
    """What the estimate of each group of members knows, a dot a seed and a bar their mean.

    table: of reports.ensembles.knowledge: seed, group, members, annotated mAP@10 and where known the agreement with the
    truth.
    """
    shown = [measure for measure in MEASURES if measure in table]
    means = table.groupby("group")[["members", *shown]].mean()
    means = means.sort_values(["members", shown[-1]], ascending=[False, True])
    names = dict(zip(means.index, short_names(list(means.index)), strict=True))
    sizes = sorted(int(size) for size in means["members"].unique())
    shades = {size: PALETTE[place % len(PALETTE)] for place, size in enumerate(sizes)}
    labels = {size: f"{size} member" + "s" * (size > 1) for size in sizes}
    figure, axes = panels(
        1,
        len(shown),
        (2.5, 0.5 + 0.24 * len(means)),
        labels=list(names.values()),
        legend_labels=list(labels.values()),
        sharey=True,
    )
    for axis, measure in zip(axes[0], shown, strict=True):
        for place, group in enumerate(means.index):
            rows = table[table["group"] == group]
            shade = shades[int(rows["members"].iloc[0])]
            values = MEASURES[measure] * rows[measure]
            axis.plot(values, np.full(len(values), place), "o", ms=3, color=shade, alpha=0.5)
            axis.plot(values.mean(), place, "|", ms=11, mew=2.5, color=shade)
        axis.set_xlabel(TITLES[measure])
        axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.grid(axis="x", color="0.92")
    axes[0, 0].set_yticks(range(len(means)), list(names.values()))
    axes[0, 0].set_ylim(-0.6, len(means) - 0.4)
    axes[0, 0].tick_params(axis="y", length=0)
    handles = [Line2D([], [], color=shades[s], marker="o", ls="", ms=4, label=labels[s]) for s in sizes]
    legend(figure, handles)
    best = means[shown[-1]].idxmax()
    value = MEASURES[shown[-1]] * means[shown[-1]].max()
    pairs = "pairs of the evaluation split that are not annotated" if len(shown) > 1 else "captions of the split"
    say(
        figure,
        f"{TITLES[shown[-1]]} is highest for {names[best]}: {value:.3g}",
        f"A dot a seed ({seeds_text([table['seed'].nunique()])}), bar: mean; {pairs}.",
    )
    return figure


def likeness(matrix: pd.DataFrame) -> Figure:
    """Correlation (M, M) of the members' similarities, as a labelled matrix."""
    names, values = short_names([str(name) for name in matrix.columns]), matrix.to_numpy()
    different = ~np.eye(len(values), dtype=bool)
    apart = values[different]
    side = max(0.6, 0.5 * len(values))
    figure, axes = panels(1, 1, (side, side + 0.6), labels=names)
    axis, low = axes[0, 0], apart.min() if len(apart) else 0
    axis.imshow(values, cmap="Blues", vmin=low - 0.3 * (1 - low), vmax=1)
    for row, column in np.ndindex(*values.shape):
        dark = values[row, column] > (1 + low) / 2
        text = f"{values[row, column]:.2f}"
        axis.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if dark else "0.15")
    name_ticks(axis, names, side)
    axis.set_yticks(range(len(names)), names)
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    claim = "There is one member only"
    if len(apart):
        first, second = np.unravel_index(np.argmax(np.where(different, values, -2)), values.shape)
        claim = f"Most alike: {names[first]} and {names[second]}, {apart.max():.2f}"
    say(figure, claim, "Pearson correlation of similarities, all pairs of the evaluation split, mean of seeds.")
    return figure


def cost(table: pd.DataFrame) -> Figure:
    """Seconds and bytes of an estimate by the number of members. table: of reports.ensembles.cost, with `seed`."""
    columns = {
        "training seconds": ("training the members (minutes)", 60),
        "bytes": ("stored embeddings (MiB)", 2**20),
        "estimating seconds": ("estimating (seconds)", 1),
    }
    figure, axes = panels(1, 3, (2.3, 2.0))
    for axis, (column, (name, unit)), shade in zip(axes[0], columns.items(), PALETTE, strict=False):
        each, means = table[column] / unit, table.groupby("members")[column].mean() / unit
        axis.plot(table["members"], each, "o", ms=3, color=shade, alpha=0.5)
        axis.plot(means.index, means, "-", color=shade, lw=1.3)
        panel_title(axis, name, 2.3)
        axis.set(xlabel="members", ylim=(0, None), xticks=means.index)
    last = table[table["members"] == table["members"].max()].mean(numeric_only=True)
    members = int(last["members"])
    say(
        figure,
        f"{members} member{'s' * (members > 1)}: {last['training seconds'] / 60:.1f} minutes of training, "
        f"{last['estimating seconds']:.2g} s of estimating",
        "The 50 most probable clips of every training caption, from stored embeddings, on the machine that made this "
        f"figure; a dot a seed ({seeds_text([table['seed'].nunique()])}), line: mean.",
    )
    return figure
