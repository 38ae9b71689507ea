"""Figure of human ratings: by kind of pair, and against similarity of text alone."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from corrlib.figures.style import panels, say

KINDS = {"annotated": "#0072B2", "near": "#E69F00", "random": "#999999"}


def human_ratings(pairs: pd.DataFrame, agreement: pd.DataFrame, bins: int = 12) -> Figure:
    """Left: ratings of annotated, near and random pairs; right: mean rating by sentence similarity.

    pairs: columns `group` (names of KINDS), `rating` 0 to 100, `similarity` in [-1, 1]; agreement: rows of
    `corrlib.correspondence.ratings.agreement`; bins: points of a line at the right, each of equally many pairs.
    """
    figure, axes = panels(1, 2, (2.9, 2.6), legend_labels=list(KINDS))
    left, right = axes[0]
    edges = np.arange(0, 101, 10)
    for offset, (kind, shade) in zip((-3, 0, 3), KINDS.items(), strict=True):
        counts, _ = np.histogram(pairs.loc[pairs["group"] == kind, "rating"], edges)
        left.bar(edges[:-1] + 5 + offset, 100 * counts / max(1, counts.sum()), 3, color=shade, label=kind)
    left.set(xlabel="human rating", ylabel="pairs of this kind (%)")
    for kind in ("near", "annotated"):
        ordered = pairs[pairs["group"] == kind].sort_values("similarity")
        parts = [p for p in np.array_split(np.arange(len(ordered)), bins) if len(p)]
        right.plot(
            [ordered["similarity"].iloc[p].mean() for p in parts],
            [ordered["rating"].iloc[p].mean() for p in parts],
            marker="o",
            ms=4,
            lw=1.3,
            color=KINDS[kind],
        )
    right.set(xlabel="similarity of caption and\nthe clip's captions", ylabel="mean human rating", ylim=(0, 100))
    right.legend(*left.get_legend_handles_labels(), loc="upper left", bbox_to_anchor=(1.02, 1))
    best = agreement[(agreement["split"] == "all splits") & (agreement["clips"] == "near clips only")].iloc[0]
    say(
        figure,
        f"Text alone and people, in the order of near clips: rank correlation {best['rank correlation']:.2f} "
        f"[{best['low']:.2f}, {best['high']:.2f}]",
        f"TAU Audio-Text Graded Relevances 2023; {best['queries']} captions of ClothoV2, 17 rated clips each; "
        "95 % bootstrap interval over captions.",
    )
    return figure
