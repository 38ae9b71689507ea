"""Figures of ensembles: what groups of members know, how alike members are, what an estimate costs."""

import matplotlib.pyplot as plt
import numpy as np

from corrlib.figures.style import NAMES, PALETTE, family, say, seeds_text, use_style

MEASURES = {"annotated mAP@10": 100, "rank_correlation": 1, "average_precision": 1}
TITLES = {
    "annotated mAP@10": "annotated mAP@10 (%)",
    "rank_correlation": "rank correlation with the truth",
    "average_precision": "average precision of whole matches",
}


def short(group):
    """`PaSST + PaSST 2` of `passt_tiny + passt_tiny-2`."""
    parts = [(NAMES.get(family(name), name), name.partition("-")[2]) for name in group.split(" + ")]
    return " + ".join(f"{name} {number}".strip() for name, number in parts)


def knowledge(table):
    """What the estimate of each group of members knows, a dot a seed and a bar their mean.

    table: ensembles.knowledge.
    """
    use_style()
    shown = [m for m in MEASURES if m in table]
    means = (
        table.groupby("group")[["members", *shown]].mean().sort_values(["members", shown[-1]], ascending=[False, True])
    )
    figure, axes = plt.subplots(
        1,
        len(shown),
        figsize=(2 + 2.9 * len(shown), 1.4 + 0.24 * len(means)),
        sharey=True,
        layout="constrained",
        squeeze=False,
    )
    for axis, measure in zip(axes[0], shown, strict=True):
        for place, (group, row) in enumerate(means.iterrows()):
            shade = PALETTE[(int(row["members"]) - 1) % len(PALETTE)]
            values = MEASURES[measure] * table.loc[table["group"] == group, measure]
            axis.plot(values, np.full(len(values), place), "o", ms=3, color=shade, alpha=0.5)
            axis.plot(values.mean(), place, "|", ms=13, mew=2.5, color=shade)
        axis.set(xlabel=TITLES[measure])
        axis.grid(axis="x", color="0.92")
    axes[0, 0].set_yticks(range(len(means)), [short(g) for g in means.index])
    axes[0, 0].tick_params(axis="y", length=0)
    best = means[shown[-1]].idxmax()
    say(
        figure,
        f"{TITLES[shown[-1]].capitalize()}: best {short(best)}, {means.loc[best, shown[-1]]:.3f}",
        f"A dot a seed ({seeds_text([table['seed'].nunique()])}), bar: mean; pairs of the evaluation split that are "
        "not annotated. One colour a number of members.",
    )
    return figure


def likeness(matrix):
    """Correlation of the members' similarities, as a labelled matrix."""
    use_style()
    names, values = [short(n) for n in matrix.columns], matrix.to_numpy()
    apart = values[~np.eye(len(values), dtype=bool)]
    figure, axis = plt.subplots(figsize=(2.6 + 0.6 * len(values), 1.8 + 0.5 * len(values)), layout="constrained")
    low = apart.min() if len(apart) else 0
    axis.imshow(values, cmap="Blues", vmin=low - 0.3 * (1 - low), vmax=1)
    for row, column in np.ndindex(*values.shape):
        axis.text(
            column,
            row,
            f"{values[row, column]:.2f}",
            ha="center",
            va="center",
            fontsize=8,
            color="white" if values[row, column] > (1 + low) / 2 else "0.15",
        )
    axis.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axis.set_yticks(range(len(names)), names)
    for side in axis.spines.values():
        side.set_visible(False)
    axis.tick_params(length=0)
    if len(apart):
        a, b = np.unravel_index(np.argmax(np.where(np.eye(len(values), dtype=bool), -2, values)), values.shape)
        say(figure, f"Most alike: {names[a]}, {names[b]}", "Pearson, all pairs of the evaluation split, mean of seeds.")
    return figure


def cost(table):
    """Seconds and bytes of an estimate by the number of members. table: ensembles.cost."""
    use_style()
    figure, axes = plt.subplots(1, 3, figsize=(8.4, 2.7), layout="constrained")
    columns = {
        "training seconds": ("training the members (minutes)", 60),
        "bytes": ("stored embeddings (MiB)", 2**20),
        "estimating seconds": ("estimating (seconds)", 1),
    }
    for axis, (column, (name, unit)), shade in zip(axes, columns.items(), PALETTE, strict=False):
        means = table.groupby("members")[column].mean() / unit
        axis.plot(means.index, means, "o-", ms=4, color=shade, lw=1.3)
        axis.set(xlabel="members", title=name, ylim=(0, None), xticks=means.index)
    last = table[table["members"] == table["members"].max()].mean(numeric_only=True)
    say(
        figure,
        f"Beside {last['training seconds'] / 60:.1f} minutes of training {int(last['members'])} members, estimating "
        f"takes {last['estimating seconds']:.1f} s",
        "The 50 most probable clips of every training caption, from stored "
        "embeddings, on the machine that made this figure; mean of seeds.",
    )
    return figure
