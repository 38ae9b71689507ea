"""Figures of a corpus: spectrograms with captions, and how many clips a caption describes."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from corrlib.figures.captions import first_lines, shorten
from corrlib.figures.style import PALETTE, panels, say, use_style

BINS = (0, 1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)


def spectrogram_sheet(
    waveforms: Mapping[str, np.ndarray],
    rate_hz: int,
    columns: int = 7,
    captions: Mapping[str, str] | None = None,
    top_hz: int = 8000,
) -> Figure:
    """Small spectrograms (dB below the loudest) of several sounds, 0 to `top_hz`.

    waveforms: {name: (samples,) at rate_hz}; captions: {name: text below it}.
    """
    use_style()
    columns = min(columns, len(waveforms))
    rows = -(-len(waveforms) // columns)
    wide = 1.35 if not captions else 2.6
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(wide * columns, (1.25 if not captions else 2.4) * rows),
        layout="constrained",
        squeeze=False,
    )
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    for axis, (name, waveform) in zip(axes.flat, waveforms.items(), strict=False):
        axis.imshow(
            decibels(np.asarray(waveform), rate_hz, top_hz),
            origin="lower",
            aspect="auto",
            cmap="magma",
            vmin=-70,
            vmax=0,
        )
        text = first_lines(captions[name], wide - 0.2, 5, 7) if captions else ""
        axis.set_title(shorten(name, wide - 0.3, 7), fontsize=7)
        axis.set_xlabel(text, fontsize=7)
    return figure


def decibels(waveform: np.ndarray, rate_hz: int, top_hz: int, window: int = 512) -> np.ndarray:
    """(frequency, time) power in dB relative to the maximum, up to top_hz. waveform (samples,); window in samples."""
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(waveform, (0, window)), window)[:: window // 4]
    power = np.abs(np.fft.rfft(frames * np.hanning(window), axis=1)) ** 2
    shown = power[:, : 1 + int(window * top_hz / rate_hz)].T
    return 10 * np.log10(np.maximum(shown / max(shown.max(), 1e-20), 1e-12))


def contents(splits: Mapping[str, Any]) -> tuple[Figure, pd.DataFrame]:
    """How long the clips of each split are, and its captions: (figure, table of clips or captions a bin).

    splits: {split: Corpus}.
    """
    figure, grid = panels(1, 2, (2.8, 2.2), legend_labels=list(splits))
    axes = grid[0]
    rows = []
    measures = {
        "clip length (s)": lambda c: c.clips["duration_seconds"].dropna(),
        "caption length (words)": lambda c: c.captions["text"].str.split().str.len(),
    }
    for axis, (what, measure) in zip(axes, measures.items(), strict=True):
        values = {split: measure(corpus).to_numpy(float) for split, corpus in splits.items()}
        edges = _edges(np.concatenate(list(values.values())))
        for (split, lengths), shade in zip(values.items(), PALETTE, strict=False):
            counts = np.histogram(lengths, edges)[0]
            axis.stairs(100 * counts / max(1, counts.sum()), edges, color=shade, label=split, linewidth=1.4)
            rows += [
                {"what": what, "split": split, "from": a, "to": b, "count": int(n)}
                for a, b, n in zip(edges, edges[1:], counts, strict=False)
                if n
            ]
        axis.set(xlabel=what, ylabel="share of the split (%)")
        if not any(len(v) for v in values.values()):
            axis.text(0.5, 0.5, "audio not at hand", transform=axis.transAxes, ha="center")
    axes[1].legend(*axes[0].get_legend_handles_labels(), loc="upper left", bbox_to_anchor=(1.02, 1))
    return figure, pd.DataFrame(rows)


def _edges(values: np.ndarray, most: int = 30) -> np.ndarray:
    """Whole-numbered bins around all values."""
    low, high = (np.floor(values.min()), np.ceil(values.max())) if len(values) else (0.0, 1.0)
    return np.arange(low, high + 2, max(1.0, np.ceil((high - low) / most))) - 0.5


def ambiguity(truth: np.ndarray) -> tuple[Figure, pd.DataFrame]:
    """How many clips each caption wholly and partly describes: (figure, table of one row a caption).

    truth: (clips, captions) true correspondence in [0, 1].
    """
    counts = {"wholly": (truth >= 1).sum(0), "partly": ((truth > 0) & (truth < 1)).sum(0)}
    edges = [*(b for b in BINS if b <= len(truth)), len(truth) + 1]
    edges = sorted(set(edges))
    names = [f"{a}" if b - a == 1 else f"{a}–{b - 1}" for a, b in zip(edges, edges[1:], strict=False)]
    figure, axes = panels(1, 1, (5.8, 2.8), legend_labels=list(counts))
    axis = axes[0, 0]
    for offset, shade, (kind, count) in zip((-0.2, 0.2), ("#0072B2", "#E69F00"), counts.items(), strict=True):
        shares = 100 * np.histogram(count, edges)[0] / len(count)
        axis.bar(np.arange(len(names)) + offset, shares, 0.4, color=shade, label=kind)
    axis.set(xlabel=f"clips, of {len(truth):,}, that a caption describes", ylabel="captions (%)")
    axis.set_xticks(range(len(names)), names, fontsize=8)
    axis.legend(loc="upper left", bbox_to_anchor=(1.02, 1))
    say(
        figure,
        f"A caption describes a median of {np.median(counts['wholly']):.0f} clips wholly and "
        f"{np.median(counts['partly']):.0f} in part; it was written for one",
        "The clip that it was written for is counted among those that it describes wholly.",
    )
    return figure, pd.DataFrame({"caption": np.arange(truth.shape[1]), **counts})
