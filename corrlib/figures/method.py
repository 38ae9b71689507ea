"""`python -m corrlib.figures.method`: the drawn picture of the two stages, one loop with three targets."""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from corrlib.figures.style import COLOURS, save, use_style

CAPTIONS = ("a dog barks", "rain falls", "a dog barks in the rain", "a bell rings")
# how alike the pictured models find clips (rows) and captions: the first three pairs share content, the fourth none
SIMILARITY = {
    "PaSST": [[0.62, 0.16, 0.47, 0.05], [0.12, 0.58, 0.37, 0.02], [0.48, 0.44, 0.6, 0.06], [0.06, 0.1, 0.03, 0.6]],
    "ATST-Frame": [[0.56, 0.24, 0.51, 0.1], [0.2, 0.62, 0.45, 0.08], [0.53, 0.5, 0.62, 0.02], [0.02, 0.06, 0.1, 0.62]],
    "MN": [[0.6, 0.1, 0.43, 0.12], [0.1, 0.52, 0.45, 0.06], [0.46, 0.53, 0.56, 0.1], [0.12, 0.02, 0.06, 0.55]],
}
TEMPERATURE = 0.1
GREY, INK = "0.45", "0.15"
ORANGE = "#E69F00"


def targets() -> dict[str, np.ndarray]:
    """{target: (clips, captions)} of four pairs, summing to 1 over clips: annotated, one model's and the ensemble's
    estimate, by the softmax of (mean) similarity at TEMPERATURE.
    """

    def estimated(similarity: np.ndarray) -> np.ndarray:
        scaled = np.exp(np.asarray(similarity) / TEMPERATURE)
        return scaled / scaled.sum(axis=0)

    members = [np.asarray(member) for member in SIMILARITY.values()]
    return {"annotated": np.eye(4), "self": estimated(members[0]), "ensemble": estimated(np.mean(members, axis=0))}


def method() -> tuple[plt.Figure, pd.DataFrame]:
    """The two stages: encoders, similarity and loss are the same in both, only the target differs.

    Returns the figure and the table behind its matrices: target, clip, caption, probability.
    """
    use_style()
    figure = plt.figure(figsize=(10.4, 4.5))
    axis = figure.add_axes((0, 0, 1, 1), xlim=(0, 104), ylim=(0, 45))
    axis.axis("off")
    matrices = targets()
    _loop(axis)
    _fork(axis, matrices)
    rows = [
        {"target": name, "clip": clip, "caption": CAPTIONS[caption], "probability": value}
        for name, matrix in matrices.items()
        for (clip, caption), value in np.ndenumerate(matrix)
    ]
    return figure, pd.DataFrame(rows)


def _loop(axis: Axes) -> None:
    """Left: clips and captions, encoders, similarity, loss."""
    axis.text(2, 42, "One training loop", fontsize=12, fontweight="bold", color=INK, va="center")
    _waveform(axis, 3, 31)
    axis.text(7.5, 25.6, "clips", ha="center", fontsize=9, color=GREY)
    axis.text(
        7.5, 14.5, '"a dog barks\nin the rain"', ha="center", va="center", style="italic", fontsize=9.5, color=INK
    )
    axis.text(7.5, 9.6, "captions", ha="center", fontsize=9, color=GREY)
    _box(axis, 17, 27.6, 15, 6.8, "audio backbone", "PaSST, ATST-Frame or MN")
    _box(axis, 17, 11.1, 15, 6.8, "text encoder", "RoBERTa")
    _arrow(axis, (12.6, 31), (16.7, 31))
    _arrow(axis, (13.2, 14.5), (16.7, 14.5))
    similarity = np.asarray(SIMILARITY["MN"])
    _matrix(axis, similarity / similarity.max(), 38, 15.9, 13.6, _shades("#0072B2"))
    axis.text(44.8, 31, "cosine similarity", ha="center", fontsize=9.5, color=INK)
    axis.text(44.8, 14.2, "clips × captions", ha="center", va="center", fontsize=8.5, color=GREY)
    _arrow(axis, (32.3, 31), (37.6, 26.4), bend=-0.15)
    _arrow(axis, (32.3, 14.5), (37.6, 19.4), bend=0.15)
    _box(axis, 56.5, 19.3, 11, 6.8, "loss", "cross-entropy")
    _arrow(axis, (52, 22.7), (56.2, 22.7))
    note = "Stage 2 goes on from the weights of stage 1: same encoders, same loss, another target."
    axis.text(2, 3.4, note, fontsize=9, color=GREY, va="center")


def _fork(axis: Axes, matrices: dict[str, np.ndarray]) -> None:
    """Right: the three targets, the fork between them, and where the estimates come from."""
    axis.text(72, 42, "Three targets", fontsize=12, fontweight="bold", color=INK, va="center")
    told = {
        "annotated": ("annotated pairs", "Stage 1, and the control: stage 2 “continued”."),
        "self": ("the model's own estimate", "Stage 2 “self”: softmax of its own stage-1 similarity."),
        "ensemble": ("the ensemble's estimate", "Stage 2 “ensemble”: softmax of the teachers' mean similarity."),
    }
    for (name, (title, text)), y, shade in zip(told.items(), (29, 16, 3), (GREY, "#0072B2", ORANGE), strict=True):
        _matrix(axis, matrices[name], 72, y, 9.6, _shades(shade))
        axis.text(83, y + 8.2, title, fontsize=9.5, fontweight="bold", color=INK, va="center")
        axis.text(83, y + 6.4, textwrap.fill(text, 32), fontsize=8.5, color=GREY, va="top", linespacing=1.35)
        _arrow(axis, (71.6, y + 4.8), (67.9, 22.7 + (y - 16) / 13), bend=(y - 16) / 13 * -0.12, shade=shade)
    for place, shade in enumerate((COLOURS["passt"], COLOURS["atst"], COLOURS["mn"])):
        axis.plot(83.8 + 2.1 * place, 3.9, "o", ms=6, color=shade)
    axis.text(89.8, 3.8, "all backbones teach", fontsize=8, color=GREY, va="center")


def _shades(colour: str) -> Colormap:
    return LinearSegmentedColormap.from_list("own", ["#f6f6f6", colour])


def _matrix(axis: Axes, values: np.ndarray, x: float, y: float, size: float, shades: Colormap) -> None:
    """A small heat map whose lower left corner is (x, y); the first clip is on top."""
    count = len(values)
    edges = np.linspace(0, size, count + 1)
    axis.pcolormesh(x + edges, y + edges, values[::-1], cmap=shades, vmin=0, vmax=1, edgecolors="white", linewidth=1.5)


def _box(axis: Axes, x: float, y: float, width: float, height: float, title: str, text: str) -> None:
    shape = FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0,rounding_size=1.1", fc="#eef3f8", ec="#8aa4bd")
    axis.add_patch(shape)
    axis.text(x + width / 2, y + height * 0.64, title, ha="center", va="center", fontsize=10, color=INK)
    axis.text(x + width / 2, y + height * 0.27, text, ha="center", va="center", fontsize=8, color=GREY)


def _arrow(
    axis: Axes, start: tuple[float, float], end: tuple[float, float], bend: float = 0.0, shade: str = GREY
) -> None:
    style = f"arc3,rad={bend}"
    axis.add_patch(
        FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=11, lw=1.3, color=shade, connectionstyle=style)
    )


def _waveform(axis: Axes, x: float, y: float) -> None:
    """A drawn sound of 9 units: two bursts over a murmur."""
    time = np.linspace(0, 1, 46)
    loud = 0.35 + 2.6 * np.exp(-(((time - 0.28) / 0.1) ** 2)) + 2.0 * np.exp(-(((time - 0.7) / 0.13) ** 2))
    height = loud * (0.55 + 0.45 * np.abs(np.sin(37 * time)))
    axis.vlines(x + 9 * time, y - height, y + height, color="#0072B2", lw=1.6)


if __name__ == "__main__":
    drawn, table = method()
    save(drawn, "figures", "method", table)
