"""Figures of what an ensemble believes: matrices, agreement with the truth, the most probable clips, one target."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.cluster.hierarchy import leaves_list, linkage

from corrlib.figures.captions import first_lines, shorten
from corrlib.figures.style import looks, panels, say, use_style

ANNOTATED = "#D55E00"  # of marks on annotated pairs


def content_order(matrix: npt.ArrayLike) -> np.ndarray:
    """Order (N,) of the rows of `matrix` (N, D) that puts like rows together.

    Average linkage on Euclidean distance, its leaves in optimal order.
    """
    rows = np.asarray(matrix, np.float64)
    return leaves_list(linkage(rows, "average", optimal_ordering=True)) if len(rows) > 2 else np.arange(len(rows))


def correspondence_matrices(matrices: Mapping[str, npt.ArrayLike], captions: Sequence[str]) -> Figure:
    """Heat maps of one block of clips and captions side by side, captions as rows to be readable.

    matrices: {title: (N, N) in [0, 1], rows clips, columns captions}; clip i is the one that caption i was written for.
    """
    names = [shorten(caption, 3.2, 6.5) for caption in captions]
    figure, axes = panels(
        1, len(matrices), (2.5, 0.6 + 0.135 * len(captions)), labels=["x" * 40], legend_labels=["0.00"], sharey=True
    )
    for axis, (title, matrix) in zip(axes[0], matrices.items(), strict=True):
        image = axis.imshow(np.asarray(matrix).T, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        axis.plot(range(len(captions)), range(len(captions)), "o", mfc="none", mec=ANNOTATED, ms=3.4, mew=0.7)
        axis.set(title=title, xlabel="clips", xticks=[])
        axis.spines[:].set(visible=True, color="0.7")
    axes[0, 0].set_yticks(range(len(captions)), names, fontsize=6.5)
    figure.colorbar(image, ax=axes, shrink=0.6, pad=0.01, label="correspondence")
    say(
        figure,
        _claim_of_block(matrices, len(captions)),
        "Ringed: annotated pairs. Captions and clips ordered by content; estimates divided by the caption's largest.",
    )
    return figure


def _claim_of_block(matrices: Mapping[str, npt.ArrayLike], count: int) -> str:
    """What the block shows: how often the estimate puts the annotated clip first, and what else is true."""
    claims = []
    if "estimated" in matrices:
        estimated = np.asarray(matrices["estimated"], np.float64)
        others = np.where(np.eye(count, dtype=bool), -np.inf, estimated)
        first = int((np.diagonal(estimated) > others.max(0)).sum())
        claims.append(f"the estimate puts the annotated clip first for {first} of {count} captions")
    if "true" in matrices and count > 1:
        other = np.asarray(matrices["true"])[~np.eye(count, dtype=bool)]
        claims.append(f"{100 * (other >= 1).mean():.1f} % of the pairs that nobody annotated match wholly")
    text = "; ".join(claims) or f"{count} captions and the clips that they were written for"
    return f"Among these {count} clips, {text}" if claims else text


def calibration(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Mean truth in bins of the estimated similarity: {backbone or 'ensemble': columns `bin`, `truth`}."""
    look = looks(tables)
    figure, axes = panels(1, 1, (4.2, 2.8), legend_labels=[label for _, _, label in look.values()])
    axis = axes[0, 0]
    for name, (shade, marker, label) in look.items():
        axis.plot(tables[name]["bin"], tables[name]["truth"], marker=marker, ms=4, lw=1.3, color=shade, label=label)
    axis.set(xlabel="tenth of the pairs, by estimated similarity", ylabel="mean true correspondence", ylim=(0, None))
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend(loc="upper left", bbox_to_anchor=(1.02, 1))  # a figure's legend would meet its title
    chosen = "ensemble" if "ensemble" in tables else next(iter(tables))
    ends = tables[chosen]["truth"]
    claim = f"From the lowest to the highest tenth, the mean truth goes from {ends.iloc[0]:.2f} to {ends.iloc[-1]:.2f}"
    if len(ends) < 2:
        claim = f"All pairs are held to be equally similar; their mean truth is {ends.iloc[0]:.2f}"
    say(figure, f"{claim} ({look[chosen][2]})", "All pairs of the split, by similarity of each model; one seed.")
    return figure


def agreement(table: pd.DataFrame, relevance: str = "") -> Figure:
    """Agreement of each estimate with the truth, or with a relevance of this name, off the annotated pairs.

    table: columns `estimate of`, `average_precision`, `chance`, `rank_correlation`, as written to agreement.csv.
    """
    others = relevance and "No pair that nobody annotated was judged relevant"
    look = looks(table["estimate of"])
    measures = {"average_precision": "average precision of whole matches", "rank_correlation": "rank correlation"}
    labels = [label for _, _, label in look.values()]
    figure, axes = panels(1, 2, (2.6, 0.6 + 0.22 * len(look)), labels=labels, sharey=True)
    rows = table.set_index("estimate of").loc[list(look)]
    for axis, (measure, title) in zip(axes[0], measures.items(), strict=True):
        for line, (name, (shade, marker, _)) in enumerate(look.items()):
            axis.plot([0, rows.loc[name, measure]], [line, line], color=shade, lw=1)
            axis.plot(rows.loc[name, measure], line, marker, color=shade, ms=6)
        axis.axvline(rows["chance"].mean() if measure == "average_precision" else 0, color="0.4", lw=1, ls=":")
        axis.set(title=title, ylim=(len(look) - 0.5, -0.5))
    axes[0, 0].set_yticks(range(len(look)), labels)
    claim = others or "No caption describes wholly a clip that it was not written for"
    if rows["average_precision"].notna().any():
        best = look[str(rows["average_precision"].idxmax())][2]
        claim = f"Closest to {relevance or 'the truth'} by average precision: {best}"
    said = "Only pairs that nobody annotated; means over captions, one seed; dotted: chance."
    if relevance:
        matched, correlated = table["captions_matched"].max(), table["captions_correlated"].max()
        said += f" Judged by {relevance}: {matched} and {correlated} captions."
    say(figure, claim, said)
    return figure


def top_clips(queries: Sequence[tuple[str, pd.DataFrame]]) -> Figure:
    """Bars of the most probable clips of some captions, coloured by truth, the annotated clip marked.

    queries: list of (caption, columns `probability`, `truth` (nan where not known), `annotated`), best first.
    """
    use_style()
    figure, axes = plt.subplots(
        len(queries), 1, figsize=(7.2, 1.2 + 1.7 * len(queries)), layout="constrained", squeeze=False
    )
    known = all(table["truth"].notna().all() for _, table in queries)
    room = 5.2 if known else 6.2  # inches beside the axis's label and, where there is truth, its colour bar
    for axis, (caption, table) in zip(axes[:, 0], queries, strict=True):
        axis.bar(range(1, len(table) + 1), table["probability"], color=_shades(table["truth"]), edgecolor="0.6", lw=0.4)
        place = _mark_annotated(axis, table)
        axis.set_title(f"{first_lines(f'“{caption}”', room, 2)}\n{place}", loc="left")
        axis.set(ylabel="p(clip | caption)", xlim=(0.3, len(table) + 0.7), ylim=(0, 1.2 * table["probability"].max()))
    axes[-1, 0].set_xlabel("clips, most probable first")
    if known:
        _truth_bar(figure, axes)
    holding = [_holding_half(table["probability"].to_numpy()) for _, table in queries]
    say(
        figure,
        f"Clips that together hold half of a caption's probability: {', '.join(holding)}",
        "Triangle: the annotated clip. The captions are taken at equal steps through the split, not chosen.",
    )
    return figure


def _shades(truth: pd.Series) -> list | str:
    """Colours of bars: by their truth in [0, 1], grey where it is not known."""
    return [plt.get_cmap("Blues")(0.12 + 0.88 * value) for value in truth] if truth.notna().all() else "0.7"


def _truth_bar(figure: Figure, axes: np.ndarray) -> None:
    shades = ListedColormap(plt.get_cmap("Blues")(np.linspace(0.12, 1, 256)))  # as the bars are shaded
    figure.colorbar(ScalarMappable(cmap=shades), ax=axes, shrink=0.6, pad=0.01, label="true correspondence")


def _mark_annotated(axis: Axes, table: pd.DataFrame) -> str:
    """Draw the triangle of the annotated clip; returns where it stands, in words."""
    marked = np.flatnonzero(table["annotated"])
    probability = table["probability"].to_numpy()
    axis.plot(marked + 1, probability[marked] + 0.08 * probability.max(), "v", color=ANNOTATED, ms=6)
    return f"annotated clip at rank {marked[0] + 1}" if len(marked) else f"annotated clip not in the top {len(table)}"


def _holding_half(probability: np.ndarray) -> str:
    """How many of the most probable clips (best first) hold half of all probability; `more than n` where n do not."""
    count = int((np.cumsum(probability) < 0.5 - 1e-9).sum()) + 1
    return str(count) if count <= len(probability) else f"more than {len(probability)}"


def target_row(caption: str, table: pd.DataFrame, count: int = 10) -> Figure:
    """One caption's row of a target, over the clips of a batch: annotated and, beside it, estimated.

    table: columns `text` (a caption of the clip), `annotated` (0/1), `estimated` (probability, nan where nothing is
    estimated), `true` (nan where not known); one row a clip of the batch, the most probable first. `count` clips are
    drawn: the most probable ones, and the annotated one in any case.
    """
    best = table.head(count)
    shown = best if best["annotated"].any() else pd.concat([table.head(count - 1), table[table["annotated"] > 0]])
    estimated = bool(table["estimated"].notna().all())
    drawn = ["annotated", "estimated"] if estimated else ["annotated"]
    names = [shorten(text, 3.2, 8) for text in shown["text"]]
    figure, axes = panels(
        1, len(drawn), (2.2, 0.5 + 0.2 * len(shown)), labels=["x" * 42], legend_labels=["0.00"], sharey=True
    )
    for axis, column in zip(axes[0], drawn, strict=True):
        axis.barh(range(len(shown)), shown[column], color=_shades(shown["true"]), edgecolor="0.6", lw=0.4, height=0.7)
        axis.set(title=column, xlabel="p(clip | caption)", xlim=(0, 1.05 * shown[column].max()))
    axes[0, 0].set_yticks(range(len(shown)), names, fontsize=8)
    axes[0, 0].set_ylim(len(shown) - 0.5, -0.5)
    if shown["true"].notna().all():
        _truth_bar(figure, axes)
    how = (
        f"{len(shown)} of the {len(table)} clips of the first batch, the most probable first, each named by one of its "
    )
    how += "own captions; where the annotated clip is not among the most probable, it is the last."
    say(figure, _claim_of_row(caption, table, estimated), how)
    return figure


def _claim_of_row(caption: str, table: pd.DataFrame, estimated: bool) -> str:
    said = f"“{first_lines(caption, 9, 2, 10)}”"
    if not estimated:
        return f"{said}: only the annotated clip counts"
    percent = 100 * float(table.loc[table["annotated"] > 0, "estimated"].sum())
    return f"{said}: {percent:.1f} % for the annotated clip, {100 - percent:.1f} % for the {len(table) - 1} others"
