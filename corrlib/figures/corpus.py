"""Figures of a corpus: spectrograms with captions, and how many clips a caption describes."""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from corrlib.figures.style import PALETTE, legend, say, use_style

BINS = (0, 1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)


def spectrogram_sheet(waveforms, rate_hz, columns=7, captions=None, top_hz=8000):
    """Small spectrograms (dB below the loudest) of several sounds: {name: waveform}; captions: {name: text}."""
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
        text = "\n".join(textwrap.wrap(captions[name], 40)[:6]) if captions else ""
        axis.set_title(name, fontsize=7)
        axis.set_xlabel(text, fontsize=7)
    return figure


def decibels(waveform, rate_hz, top_hz, window=512):
    """(frequency, time) power in dB relative to the maximum, up to top_hz."""
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(waveform, (0, window)), window)[:: window // 4]
    power = np.abs(np.fft.rfft(frames * np.hanning(window), axis=1)) ** 2
    shown = power[:, : 1 + int(window * top_hz / rate_hz)].T
    return 10 * np.log10(np.maximum(shown / max(shown.max(), 1e-20), 1e-12))


def contents(splits):
    """How long the clips of each split are, and its captions: (figure, table of clips or captions a bin)."""
    use_style()
    figure, axes = plt.subplots(1, 2, figsize=(7, 2.8), layout="constrained")
    rows = []
    measures = {
        "clip length (s)": lambda c: c.clips["duration_seconds"].dropna(),
        "caption length (words)": lambda c: c.captions["text"].str.split().str.len(),
    }
    for axis, (what, measure) in zip(axes, measures.items(), strict=True):
        values = {split: measure(corpus).to_numpy(float) for split, corpus in splits.items()}
        edges = _edges(np.concatenate(list(values.values())))
        for (split, found), shade in zip(values.items(), PALETTE, strict=False):
            counts = np.histogram(found, edges)[0]
            axis.stairs(100 * counts / max(1, counts.sum()), edges, color=shade, label=split, linewidth=1.4)
            rows += [
                {"what": what, "split": split, "from": a, "to": b, "count": int(n)}
                for a, b, n in zip(edges, edges[1:], counts, strict=False)
                if n
            ]
        axis.set(xlabel=what, ylabel="share of the split (%)")
        if not any(len(v) for v in values.values()):
            axis.text(0.5, 0.5, "audio not at hand", transform=axis.transAxes, ha="center")
    legend(figure, axes[0].get_legend_handles_labels()[0])
    return figure, pd.DataFrame(rows)


def _edges(values, most=30):
    """Whole-numbered bins around all values."""
    low, high = (np.floor(values.min()), np.ceil(values.max())) if len(values) else (0.0, 1.0)
    return np.arange(low, high + 2, max(1.0, np.ceil((high - low) / most))) - 0.5


def ambiguity(truth):
    """How many clips each caption wholly and partly describes: (figure, table). truth: (clips, captions)."""
    use_style()
    counts = {"wholly": (truth >= 1).sum(0), "partly": ((truth > 0) & (truth < 1)).sum(0)}
    edges = [*(b for b in BINS if b <= len(truth)), len(truth) + 1]
    edges = sorted(set(edges))
    names = [f"{a}" if b - a == 1 else f"{a}–{b - 1}" for a, b in zip(edges, edges[1:], strict=False)]
    figure, axis = plt.subplots(figsize=(7, 3.4), layout="constrained")
    for offset, shade, (kind, count) in zip((-0.2, 0.2), ("#0072B2", "#E69F00"), counts.items(), strict=True):
        shares = 100 * np.histogram(count, edges)[0] / len(count)
        axis.bar(np.arange(len(names)) + offset, shares, 0.4, color=shade, label=kind)
    axis.set(xlabel=f"clips, of {len(truth):,}, that a caption describes", ylabel="captions (%)")
    axis.set_xticks(range(len(names)), names, fontsize=8)
    legend(figure, axis.get_legend_handles_labels()[0])
    say(
        figure,
        f"One clip is annotated, but a median of {np.median(counts['wholly']):.0f} fit wholly and "
        f"{np.median(counts['partly']):.0f} in part",
        "The annotated clip is counted among those that fit wholly.",
    )
    return figure, pd.DataFrame({"caption": np.arange(truth.shape[1]), **counts})
