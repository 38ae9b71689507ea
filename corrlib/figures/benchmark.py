"""How much faster than what is usual, and growth with the number of clips."""

import matplotlib.pyplot as plt
from matplotlib.ticker import LogFormatter, LogLocator, NullFormatter, NullLocator, ScalarFormatter

from corrlib.figures.style import PALETTE, legend, say, use_style


def speedups(table):
    """A dot a row that has something to be compared with. table: rows of corrlib.benchmarks.measure.row."""
    use_style()
    shown = table[table["times_faster"].notna()].iloc[::-1].reset_index(drop=True)
    figure, axis = plt.subplots(figsize=(7.2, 1.4 + 0.34 * len(shown)), layout="constrained")
    axis.axvline(1, color="0.6", lw=1)
    faster = shown["times_faster"] >= 1
    axis.scatter(shown["times_faster"], shown.index, c=[PALETTE[0] if f else PALETTE[1] for f in faster], zorder=3)
    for place, row in shown.iterrows():
        axis.annotate(
            f"{row.times_faster:.2f}",
            (row.times_faster, place),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axis.set_yticks(shown.index, [f"{r.part}: {r.work}\nagainst {r.usual}" for r in shown.itertuples()], fontsize=7)
    axis.set(xscale="log", xlabel="times faster (logarithmic)", ylim=(-0.6, len(shown) - 0.4))
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5)))
    axis.xaxis.set_major_formatter(ScalarFormatter())
    axis.xaxis.set_minor_locator(NullLocator())
    axis.margins(x=0.12)
    say(
        figure,
        f"{int(faster.sum())} of {len(shown)} parts take no longer than what is usual",
        "Median of calls made in turns, on one machine; left of the line: slower.",
    )
    return figure


def growth(table):
    """Seconds and memory of estimation, seconds of search, over N, all logarithmic. table: columns work, way, n, ..."""
    use_style()
    panels = [
        ("estimation", "seconds", "seconds"),
        ("estimation", "gib", "memory (GiB)"),
        ("search", "seconds", "seconds"),
    ]
    figure, axes = plt.subplots(1, 3, figsize=(9.6, 3.2), layout="constrained")
    ways = list(dict.fromkeys(table["way"]))
    looks = {
        way: {"color": PALETTE[i % len(PALETTE)], "ls": ("-", "--", ":")[i // len(PALETTE)], "marker": "o", "ms": 3.5}
        for i, way in enumerate(ways)
    }
    for axis, (work, value, label) in zip(axes, panels, strict=True):
        for way, own in table[table["work"].str.startswith(work)].groupby("way", sort=False):
            axis.plot(own["n"], own[value], label=way, **looks[way])
        axis.set(
            xscale="log",
            yscale="log",
            ylabel=label,
            title=work,
            xlabel="clips, and as many captions" if work == "estimation" else "clips",
        )
        for scale in (axis.xaxis, axis.yaxis):
            scale.set_major_formatter(LogFormatter(labelOnlyBase=True))  # plain text, as all of a figure is
            scale.set_minor_formatter(NullFormatter())
    legend(figure, [plt.Line2D([], [], label=way, **looks[way]) for way in ways])
    say(
        figure,
        "Block by block, estimation needs no room for the matrix, from disk none for embeddings",
        "Best 50 clips of a caption by three members of size 256; from disk: of size 1,024, one block of captions, all "
        "memory of the process (else: what is added to that of the embeddings). Search: ten best for 64 queries.",
    )
    return figure
