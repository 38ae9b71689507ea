"""One style for all figures: colours, order and names of what is drawn, captions, room for text, the saver.

Text is text: names and captions come from corpora and studies, so `use_style` turns off matplotlib's mathematics. A
`$`, `_`, `^` or `%` is drawn as it stands, and no figure needs to escape anything.
"""

import glob
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from corrlib.files import csv_of, replacing, write_atomically, writing

COLOURS = {"passt": "#0072B2", "atst": "#D55E00", "mn": "#009E73", "ensemble": "#333333", "all": "#333333"}
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")  # of anything but backbones
OTHER = "#CC79A7"  # a backbone that is new here; Okabe and Ito (2008)
NAMES = {"passt": "PaSST", "atst": "ATST-Frame", "mn": "MN", "all": "all backbones", "ensemble": "stage-1 ensemble"}
MARKERS = {"passt": "oph8", "atst": "sXPd", "mn": "^v<>", "all": "D", "ensemble": "D", "": "*HP"}
SETTING_ORDER = (
    "stage1",
    "continued",
    "self",
    "ensemble",
    "mixture",
    "true",
    "label_smoothing",
    "random_teacher",
)  # others come behind, in alphabetical order
POOLED = "all backbones"  # the mean over backbones, in every table that has a column `backbone`
ENOUGH_SEEDS = 3  # for an interval over seeds: with two, Student's t is 12.7 standard errors wide
STYLE = {
    "figure.dpi": 110,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.hashsalt": "corrlib",
    "text.parse_math": False,
}


def use_style() -> None:
    """Set the style for all figures to come; text is never read as mathematics, also not in a notebook's tables."""
    plt.rcParams.update(STYLE)
    pd.set_option("display.html.use_mathjax", False)
    pd.set_option("styler.html.mathjax", False)


def save(figure: Figure, folder: str | Path, name: str, table: pd.DataFrame) -> None:
    """Write <name>.png (150 dpi), <name>.svg and the table behind it as <name>.csv; equal content, equal bytes.

    NotWritten where the folder does not take them.
    """
    folder = Path(folder)
    with writing(folder), plt.rc_context({"svg.hashsalt": "corrlib"}):
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(f".*.part.{glob.escape(name)}.*"):  # of a process that was killed as it drew this
            left.unlink(missing_ok=True)
        with replacing(folder / f"{name}.png") as part:
            figure.savefig(part, dpi=150, metadata={"Software": None})
        with replacing(folder / f"{name}.svg") as part:
            figure.savefig(part, metadata={"Date": None, "Creator": None})
        write_atomically(folder / f"{name}.csv", csv_of(table, "%.6g"))


def main_interval(row: Any) -> tuple[float, float]:
    """(low, high) of a row of paired differences: over seeds where there are ENOUGH_SEEDS, else over clips.

    Seeds cover another course of training, and another corpus where each has its own; clips cover other clips alone.
    """
    low, high = getattr(row, "seeds_low", np.nan), getattr(row, "seeds_high", np.nan)
    return (low, high) if row.seeds >= ENOUGH_SEEDS and np.isfinite(low) else (row.low, row.high)


def with_main_intervals(table: pd.DataFrame) -> pd.DataFrame:
    """Paired differences whose `low` and `high` are `main_interval`; `clips_low` and `clips_high` are over clips."""
    main = np.array([main_interval(row) for row in table.itertuples()]).reshape(len(table), 2)
    return table.assign(clips_low=table["low"], clips_high=table["high"], low=main[:, 0], high=main[:, 1])


def intervals_over(table: pd.DataFrame) -> str:
    """What the main intervals of paired differences are over: `over seeds` or `over clips`."""
    over_seeds = "seeds_low" in table and bool(((table["seeds"] >= ENOUGH_SEEDS) & table["seeds_low"].notna()).all())
    return "over seeds" if over_seeds else "over clips"


def interval_words(table: pd.DataFrame) -> str:
    """What the main intervals of paired differences are, for a figure's caption."""
    kinds = {"over seeds": "Student's t", "over clips": "bootstrap"}
    over = intervals_over(table)
    return f"95 % {kinds[over]} interval {over}"


def family(backbone: str) -> str:
    """Key of COLOURS that a backbone's name begins with, or an empty string."""
    return next((key for key in COLOURS if str(backbone).startswith(key)), "")


def colour(backbone: str) -> str:
    """The colour of a backbone, the same in every figure."""
    return COLOURS.get(family(backbone), OTHER)


def looks(backbones: Iterable[str]) -> dict[str, tuple[str, str, str]]:
    """{backbone: (colour, marker, label)} in the order of COLOURS; presets of one family differ in marker and label."""
    order = list(COLOURS)
    known = sorted(dict.fromkeys(backbones), key=lambda b: (order.index(family(b)) if family(b) else 9, str(b)))
    families = [family(backbone) for backbone in known]
    result = {}
    for place, (backbone, own) in enumerate(zip(known, families, strict=True)):
        single = own and families.count(own) == 1
        markers = MARKERS[own]
        result[backbone] = (
            colour(backbone),
            markers[families[:place].count(own) % len(markers)],
            NAMES[own] if single else str(backbone),
        )
    return result


def setting_order(settings: Iterable[str]) -> list[str]:
    """Settings in SETTING_ORDER, those that it does not name behind."""
    places = {setting: place for place, setting in enumerate(SETTING_ORDER)}
    return sorted(dict.fromkeys(settings), key=lambda setting: (places.get(setting, len(places)), setting))


def seeds_text(seeds: Iterable[int]) -> str:
    """`1 seed`, `3 seeds` or `2 to 3 seeds`."""
    counts = [int(count) for count in seeds]
    low, high = min(counts), max(counts)
    return f"{low} to {high} seeds" if low < high else f"{high} seed" + "s" * (high > 1)


def text_inches(text: str, size: float = 9, bold: bool = False) -> float:
    """Width in inches of the widest line of a text at `size` points."""
    font = FontProperties(size=size, weight="bold" if bold else "normal")
    return max(text_to_path.get_text_width_height_descent(line, font, False)[0] for line in text.split("\n")) / 72


def wrap(text: str, inches: float, size: float = 9, bold: bool = False) -> str:
    """The text with line breaks, so that no line is wider than `inches`; a longer word is broken."""
    letters = len(text) or 1
    while letters > 8:
        lines = textwrap.wrap(text, letters)
        widest = text_inches("\n".join(lines) or " ", size, bold)
        if widest <= inches:
            return "\n".join(lines)
        longest = max(len(line) for line in lines)
        letters = min(longest - 1, int(longest * inches / widest) + 1)
    return "\n".join(textwrap.wrap(text, 8))


def panels(
    rows: int,
    columns: int,
    size: tuple[float, float],
    labels: Sequence[str] = (),
    legend_labels: Sequence[str] = (),
    **options: Any,
) -> tuple[Figure, np.ndarray]:
    """(figure, axes (rows, columns)): panels of `size` inches each, with room beside them for the text that they need.

    labels: of the vertical axis of the leftmost panels; legend_labels: of the legend on the right; options: as of
    `plt.subplots`.
    """
    use_style()
    left = max((text_inches(label) for label in labels), default=0)
    right = _legend_inches(legend_labels)
    width, height = max(4.5, left + 0.4 + columns * size[0] + right), rows * size[1] + 0.9
    return plt.subplots(rows, columns, figsize=(width, height), layout="constrained", squeeze=False, **options)


def panel_title(axis: Axes, text: str, inches: float) -> None:
    """A panel's title, in as many lines as a panel of `inches` needs."""
    axis.set_title("\n".join(wrap(line, inches) for line in text.split("\n")))


def ticks_width(names: Sequence[str], least: float, most: float) -> float:
    """Inches for a panel in which `name_ticks` need not turn the names, between `least` and `most`."""
    return min(max(least, len(names) * (max(map(text_inches, names)) + 0.1)), most)


def name_ticks(axis: Axes, names: Sequence[str], inches: float) -> None:
    """Name the places 0, 1, 2 ... of the horizontal axis of a panel of `inches`; turned where they would meet."""
    free = inches / max(1, len(names)) - 0.08
    turned = any(text_inches(name) > free for name in names)
    axis.set_xticks(range(len(names)), names)
    if turned:
        axis.set_xticklabels(names, rotation=35, ha="right", rotation_mode="anchor")
    axis.set_xlim(-0.5, len(names) - 0.5)


def say(figure: Figure, claim: str, how: str) -> None:
    """The figure's caption: what it shows in one sentence, above, and how to read it, below.

    Comes once, and after `legend`, which it leaves its corner. Further lines make the figure higher, no panel lower.
    """
    room = figure.get_figwidth() * 0.98 - 0.05
    beside = max((_legend_inches(text.get_text() for text in own.texts) for own in figure.legends), default=0)
    above, below = wrap(claim, room - beside, 10, bold=True), wrap(how, room, 8)
    figure.suptitle(above, fontsize=10, x=0.01, ha="left", fontweight="bold")
    figure.supxlabel(below, fontsize=8, x=0.01, ha="left", color="0.35")
    figure.set_figheight(figure.get_figheight() + 0.17 * above.count("\n") + 0.14 * below.count("\n"))


def legend(figure: Figure, handles: Sequence[Any]) -> None:
    """One legend for the whole figure, right of its panels and clear of the data."""
    figure.legend(handles=handles, loc="outside right upper")


def _legend_inches(labels: Iterable[str]) -> float:
    """Width of a legend of these labels: its text, and 0.55 for handles and padding."""
    return max((text_inches(label, 8) + 0.55 for label in labels), default=0)
