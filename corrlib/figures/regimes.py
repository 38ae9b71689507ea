"""The map of regimes: where an estimate gains over further training, and how far stage 1 overfits there."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from corrlib.figures.style import (
    interval_words,
    legend,
    looks,
    panel_title,
    panels,
    say,
    seeds_text,
    with_main_intervals,
)

PUBLISHED = (20, 1024)  # the published number of epochs, and the clips at which tiny presets overfit as much
METRICS = ("annotated mAP@10", "true mAP@10")


def regimes(table: pd.DataFrame, beside: pd.DataFrame | None = None, setting: str = "ensemble") -> Figure:
    """Gain of a setting over `continued` by epochs of stage 1 and clips, by wrong captions and ambiguity, and by the
    overfit index.

    table: of reports.regimes.cells, of which a backbone with most cells makes the map; beside: of
    reports.regimes.of_study, further studies as points. Cells that were not run are blank.
    """
    words = interval_words(table)
    table = with_main_intervals(table[table["setting"] == setting])
    usual = table[(table["wrong"] == 0) & table["ambiguity"].isin([table["ambiguity"].max(), np.nan])]
    backbone = str(usual.groupby("backbone").size().idxmax())
    of_map = usual[usual["backbone"] == backbone]
    metrics = [metric for metric in METRICS if metric in set(table["metric"])]
    look = looks(table["backbone"])
    labels = [label for _, _, label in look.values()]
    figure, axes = panels(2, 2, (3.4, 2.7), legend_labels=labels)
    limit = 100 * float(table["difference"].abs().max()) or 1.0
    for axis, metric in zip(axes[0], metrics, strict=False):
        rows = of_map[of_map["metric"] == metric]
        _cells(axis, rows, "epochs", "clips", limit)
        _contours(axis, rows)
        panel_title(axis, f"{metric}: gain (points)", 3.4)
        axis.set(xlabel="epochs of stage 1", ylabel="training clips")
    published = usual[(usual["epochs"] == PUBLISHED[0]) & (usual["clips"] == PUBLISHED[1])]
    noisy = table[(table["epochs"] == PUBLISHED[0]) & (table["clips"] == PUBLISHED[1])]
    noisy = noisy[(noisy["metric"] == metrics[-1]) & (noisy["backbone"] == backbone)]
    axes[1, 0].set_visible(bool(len(noisy)))
    if len(noisy):
        _cells(axes[1, 0], noisy, "wrong", "ambiguity", limit)
        panel_title(axes[1, 0], f"{metrics[-1]}: gain (points)", 3.4)
        axes[1, 0].set(xlabel="share of wrong captions", ylabel="ambiguity of captions")
    _by_overfit(axes[1, 1], table[table["metric"] == metrics[-1]], look)
    if beside is not None and len(beside):
        _beside(axes[1, 1], beside[beside["metric"].isin(metrics[-1:])])
    panel_title(axes[1, 1], f"{metrics[-1]}: gain by overfit index", 3.4)
    axes[1, 1].set(xlabel="overfit index of stage 1", ylabel="gain (points)")
    if len(metrics) < 2:
        axes[0, 1].set_visible(False)
    legend(figure, [Line2D([], [], color=c, marker=m, label=n, ms=4, ls="") for c, m, n in look.values()])
    main = of_map[of_map["metric"] == metrics[-1]]
    above, below = int((main["low"] > 0).sum()), int((main["high"] < 0).sum())
    say(
        figure,
        f"{metrics[-1]}: {setting} clearly above continued in {above} of {len(main)} cells, below in {below}",
        f"Maps: {look[backbone][2]}; {seeds_text(table['seeds'])}; bold: the {words} leaves zero on one side; in "
        "parentheses and as contours: overfit index of stage 1; framed: the published number of epochs"
        f"{'' if len(published) else ' (not run)'}. Blank cells were not run. A star is another study.",
    )
    return figure


def _cells(axis: Axes, rows: pd.DataFrame, across: str, up: str, limit: float) -> None:
    """Coloured squares with their numbers, one a value of `across` and `up`."""
    columns, lines = sorted(rows[across].unique()), sorted(rows[up].unique())
    grid = np.full((len(lines), len(columns)), np.nan)
    named: Any = rows.rename(columns={"overfit index": "overfit"}).itertuples()
    for row in named:
        place = lines.index(getattr(row, up)), columns.index(getattr(row, across))
        grid[place] = 100 * row.difference
        clear = row.low > 0 or row.high < 0
        text = f"{grid[place]:+.2f}\n({row.overfit:.1f})"
        weight = "bold" if clear else "normal"
        axis.text(place[1], place[0], text, ha="center", va="center", fontsize=8, fontweight=weight)
        if (row.epochs, row.clips) == PUBLISHED and across == "epochs":
            axis.add_patch(_frame(place[1], place[0]))
    axis.imshow(grid, cmap="PuOr_r", vmin=-limit, vmax=limit, origin="lower", aspect="auto", alpha=0.7)
    axis.set_xticks(range(len(columns)), [f"{value:g}" for value in columns])
    axis.set_yticks(range(len(lines)), [f"{value:g}" for value in lines])


def _frame(column: int, line: int) -> Rectangle:
    return Rectangle((column - 0.49, line - 0.49), 0.98, 0.98, fill=False, lw=1.8, color="black")


def _contours(axis: Axes, rows: pd.DataFrame) -> None:
    """Lines of equal overfit index over the cells, where all of a rectangle of them are known."""
    grid = rows.pivot_table(index="clips", columns="epochs", values="overfit index")
    if grid.shape[0] < 2 or grid.shape[1] < 2 or grid.notna().sum().sum() < 4:
        return
    axis.contour(np.ma.masked_invalid(grid.to_numpy()), colors="0.25", linewidths=0.7, levels=5)


def _by_overfit(axis: Axes, rows: pd.DataFrame, look: dict[str, tuple[str, str, str]]) -> None:
    axis.axhline(0, color="0.4", lw=1, zorder=0)
    for backbone, (shade, marker, _) in look.items():
        own = rows[rows["backbone"] == backbone]
        bars = 100 * np.array([own["difference"] - own["low"], own["high"] - own["difference"]])
        axis.errorbar(
            own["overfit index"], 100 * own["difference"], bars, fmt=marker, ms=4, color=shade, lw=0.9, alpha=0.85
        )


def _beside(axis: Axes, rows: pd.DataFrame) -> None:
    for row in rows.to_dict("records"):
        place = row["overfit index"], 100 * row["difference"]
        axis.plot(*place, "*", ms=9, color="black")
        name = f"{row['study']}, {row['backbone']}"
        axis.annotate(name, place, fontsize=7, xytext=(4, 4), textcoords="offset points")
