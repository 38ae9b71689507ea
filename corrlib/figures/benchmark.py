"""How much faster than what is usual, and growth with the number of clips."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatter, LogLocator, NullFormatter, NullLocator, ScalarFormatter

from corrlib.figures.style import PALETTE, legend, panels, say

PANELS = (("estimation", "seconds", "seconds"), ("estimation", "gib", "memory (GiB)"), ("search", "seconds", "seconds"))


def speedups(table: pd.DataFrame) -> Figure:
    """A dot a row that has something to be compared with. table: rows of corrlib.benchmarks.measure.row."""
    shown = table[table["times_faster"].notna()].iloc[::-1].reset_index(drop=True)
    names = [f"{row.part}: {row.work}\nagainst {row.usual}" for row in shown.itertuples()]
    figure, axes = panels(1, 1, (4.2, 0.6 + 0.36 * len(shown)), labels=names)
    axis, faster = axes[0, 0], shown["times_faster"] >= 1
    axis.axvline(1, color="0.6", lw=1)
    axis.scatter(shown["times_faster"], shown.index, c=[PALETTE[0] if f else PALETTE[1] for f in faster], zorder=3)
    for place, value in enumerate(shown["times_faster"]):
        axis.annotate(
            f"{value:.2f}", (value, place), xytext=(6, 0), textcoords="offset points", va="center", fontsize=8
        )
    axis.set_yticks(range(len(shown)), names, fontsize=7)
    axis.set(xscale="log", xlabel="times faster (logarithmic)", ylim=(-0.6, len(shown) - 0.4))
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(ScalarFormatter())
    axis.xaxis.set_minor_locator(NullLocator())
    axis.margins(x=0.12)
    say(
        figure,
        f"{int(faster.sum())} of {len(shown)} parts take no longer than what is usual",
        "Median of calls made in turns, on one machine; left of the line: slower.",
    )
    return figure


def growth(table: pd.DataFrame) -> Figure:
    """Seconds and memory of estimation, seconds of search, over N, all logarithmic.

    table: work, way, n (clips), seconds, gib.
    """
    ways = list(dict.fromkeys(table["way"]))
    lines = {
        way: {"color": PALETTE[i % len(PALETTE)], "ls": ("-", "--", ":")[i // len(PALETTE)], "marker": "o", "ms": 3.5}
        for i, way in enumerate(ways)
    }
    figure, axes = panels(1, 3, (2.5, 2.3), legend_labels=ways)
    for axis, (work, value, label) in zip(axes[0], PANELS, strict=True):
        for way, rows in table[table["work"].str.startswith(work)].groupby("way", sort=False):
            axis.plot(rows["n"], rows[value], label=way, **lines[str(way)])
        counted = "clips, and as many captions" if work == "estimation" else "clips"
        axis.set(xscale="log", yscale="log", ylabel=label, title=work, xlabel=counted)
        for scale in (axis.xaxis, axis.yaxis):
            scale.set_major_formatter(LogFormatter(labelOnlyBase=True))  # plain text, as all of a figure is
            scale.set_minor_formatter(NullFormatter())
    legend(figure, [Line2D([], [], label=way, **lines[way]) for way in ways])
    say(
        figure,
        f"Estimation and search of {int(table['n'].min()):,} to {int(table['n'].max()):,} clips",
        "Best 50 clips of a caption by three members of size 256; from disk: of size 1,024, one block of captions, all "
        "memory of the process (else: what is added to that of the embeddings). Search: ten best for 64 queries.",
    )
    return figure
