"""Figures of what an ensemble believes: matrices, agreement with the truth, the most probable clips."""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator
from scipy.cluster.hierarchy import leaves_list, linkage

from corrlib.figures.style import legend, looks, say, use_style


def content_order(matrix):
    """Order of the rows that puts like rows together (average linkage on Euclidean distance)."""
    rows = np.asarray(matrix, np.float64)
    return leaves_list(linkage(rows, "average", optimal_ordering=True)) if len(rows) > 2 else np.arange(len(rows))


def correspondence_matrices(matrices, captions):
    """Heat maps of one block of clips x captions side by side, captions as rows to be readable: {title: matrix}."""
    use_style()
    figure, axes = plt.subplots(
        1,
        len(matrices),
        figsize=(3.4 + 2.7 * len(matrices), 1.6 + 0.135 * len(captions)),
        layout="constrained",
        squeeze=False,
        sharey=True,
    )
    for axis, (title, matrix) in zip(axes[0], matrices.items(), strict=True):
        image = axis.imshow(np.asarray(matrix).T, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        axis.plot(range(len(captions)), range(len(captions)), "o", mfc="none", mec="#D55E00", ms=3.4, mew=0.7)
        axis.set(title=title, xlabel="clips", xticks=[])
        axis.spines[:].set(visible=True, color="0.7")
    names = [textwrap.shorten(caption, 52, placeholder=" …") for caption in captions]
    axes[0, 0].set_yticks(range(len(captions)), names, fontsize=6.5)
    figure.colorbar(image, ax=axes, shrink=0.6, pad=0.01, label="correspondence")
    say(
        figure,
        "One annotated clip a caption is all that training sees; other clips match too",
        "Ringed: annotated pairs. Captions and clips ordered by content; estimates divided by the caption's largest.",
    )
    return figure


def calibration(tables):
    """Mean truth in bins of the estimate, {backbone or 'ensemble': DataFrame bin, truth}."""
    use_style()
    look = looks(tables)
    figure, axis = plt.subplots(figsize=(5.8, 3.4), layout="constrained")
    for name, (shade, marker, title) in look.items():
        axis.plot(tables[name]["bin"], tables[name]["truth"], marker=marker, ms=4, lw=1.3, color=shade, label=title)
    axis.set(xlabel="tenth of the pairs, by estimated similarity", ylabel="mean true correspondence", ylim=(0, None))
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend(figure, axis.get_legend_handles_labels()[0])
    ends = tables["ensemble" if "ensemble" in tables else next(iter(tables))]["truth"]
    say(
        figure,
        f"From the lowest to the highest tenth, the mean truth goes from {ends.iloc[0]:.2f} to {ends.iloc[-1]:.2f}",
        "All pairs of the split, by similarity of each member and of their mean; one seed.",
    )
    return figure


def agreement(table):
    """Agreement of each estimate with the truth. table: columns `estimate of`, average_precision, chance,
    rank_correlation, as written to agreement.csv."""
    use_style()
    look, measures = (
        looks(table["estimate of"]),
        {"average_precision": "average precision of whole matches", "rank_correlation": "rank correlation"},
    )
    figure, axes = plt.subplots(1, 2, figsize=(6.6, 1.7 + 0.22 * len(table)), sharey=True, layout="constrained")
    rows = table.set_index("estimate of").loc[list(look)]
    for axis, (measure, title) in zip(axes, measures.items(), strict=True):
        for line, (name, (shade, marker, _)) in enumerate(look.items()):
            axis.plot([0, rows.loc[name, measure]], [line, line], color=shade, lw=1)
            axis.plot(rows.loc[name, measure], line, marker, color=shade, ms=6)
        axis.axvline(rows["chance"].mean() if measure == "average_precision" else 0, color="0.4", lw=1, ls=":")
        axis.set(title=title, ylim=(len(look) - 0.5, -0.5))
    axes[0].set_yticks(range(len(look)), [name for _, _, name in look.values()])
    best = look[rows["average_precision"].idxmax()][2]
    say(
        figure,
        f"Closest to the truth by average precision: {best}",
        "Only pairs that nobody annotated; means over captions, one seed; dotted: chance.",
    )
    return figure


def top_clips(queries):
    """Bars of the most probable clips of some captions, coloured by truth, the annotated clip marked.

    queries: list of (caption, DataFrame with probability, truth (nan if not known), annotated), best first.
    """
    use_style()
    figure, axes = plt.subplots(
        len(queries), 1, figsize=(7.2, 1.3 + 1.45 * len(queries)), layout="constrained", squeeze=False
    )
    known = all(table["truth"].notna().all() for _, table in queries)
    for axis, (caption, table) in zip(axes[:, 0], queries, strict=True):
        shades = plt.cm.Blues(0.12 + 0.88 * table["truth"]) if known else "0.6"
        axis.bar(range(1, len(table) + 1), table["probability"], color=shades, edgecolor="0.6", lw=0.4)
        marked = np.flatnonzero(table["annotated"])
        axis.plot(
            marked + 1,
            table["probability"].to_numpy()[marked] + 0.06 * table["probability"].max(),
            "v",
            color="#D55E00",
            ms=6,
        )
        place = (
            f"annotated clip at rank {marked[0] + 1}" if len(marked) else f"annotated clip not in the top {len(table)}"
        )
        axis.set_title(f"“{textwrap.shorten(caption, 80, placeholder=' …')}” — {place}", loc="left")
        axis.set(ylabel="p(clip | caption)", xlim=(0.3, len(table) + 0.7), ylim=(0, 1.15 * table["probability"].max()))
    axes[-1, 0].set_xlabel("clips, most probable first")
    if known:
        figure.colorbar(plt.cm.ScalarMappable(cmap="Blues"), ax=axes, shrink=0.6, pad=0.01, label="true correspondence")
    say(
        figure,
        "Probability goes to several clips, not to the annotated one alone",
        "Triangle: the annotated clip. The captions are taken at equal steps through the split, not chosen.",
    )
    return figure
