"""One style for all figures: the colour of a backbone, captions, the saver."""

import textwrap
from pathlib import Path

import matplotlib.pyplot as plt

COLOURS = {"passt": "#0072B2", "atst": "#D55E00", "mn": "#009E73", "ensemble": "#333333", "all": "#333333"}
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")  # of anything but backbones
OTHER = "#CC79A7"  # a backbone that is new here; Okabe and Ito (2008)
NAMES = {"passt": "PaSST", "atst": "ATST-Frame", "mn": "MN", "all": "all backbones", "ensemble": "stage-1 ensemble"}
MARKERS = "osD^v"  # presets of one backbone family share its colour
SETTINGS = ("stage1", "continued", "self", "ensemble")
STYLE = {
    "figure.dpi": 110,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.hashsalt": "corrlib",
}


def use_style():
    plt.rcParams.update(STYLE)


def save(figure, folder, name, table):
    """Write <name>.png (150 dpi), <name>.svg and the table behind it as <name>.csv; equal content, equal bytes."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with plt.rc_context({"svg.hashsalt": "corrlib"}):
        figure.savefig(folder / f"{name}.png", dpi=150, metadata={"Software": None})
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None})
    table.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g")


def family(backbone):
    """Key of COLOURS that a backbone's name begins with, or an empty string."""
    return next((key for key in COLOURS if str(backbone).startswith(key)), "")


def colour(backbone):
    return COLOURS.get(family(backbone), OTHER)


def looks(backbones):
    """{backbone: (colour, marker, label)} in the order of COLOURS; presets of one family are told apart."""
    order = list(COLOURS)
    known = sorted(dict.fromkeys(backbones), key=lambda b: (order.index(family(b)) if family(b) else 9, str(b)))
    families = [family(b) for b in known]
    found = {}
    for place, (backbone, own) in enumerate(zip(known, families, strict=True)):
        single = own and families.count(own) == 1
        found[backbone] = (
            colour(backbone),
            MARKERS[families[:place].count(own) % len(MARKERS)],
            NAMES[own] if single else str(backbone),
        )
    return found


def setting_order(settings):
    """Settings in the order of the study, those that are not part of it behind."""
    return sorted(dict.fromkeys(settings), key=lambda s: (SETTINGS.index(s) if s in SETTINGS else 9, s))


def seeds_text(seeds):
    """`1 seed`, `3 seeds` or `2 to 3 seeds`."""
    low, high = int(min(seeds)), int(max(seeds))
    return f"{low} to {high} seeds" if low < high else f"{high} seed" + "s" * (high > 1)


def say(figure, claim, how):
    """The figure's caption: its claim, and how to read it."""
    width = figure.get_figwidth()  # inches; bold 10 point is about 11 letters an inch
    figure.suptitle("\n".join(textwrap.wrap(claim, int(11 * width))), fontsize=10, x=0.01, ha="left", fontweight="bold")
    figure.supxlabel("\n".join(textwrap.wrap(how, int(15 * width))), fontsize=8, x=0.01, ha="left", color="0.35")


def legend(figure, handles):
    """One legend for the whole figure, right of its panels and clear of the data."""
    figure.legend(handles=handles, loc="outside right upper")
