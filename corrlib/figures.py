"""One style, one saver, and every plot of the study as a function of tables and arrays, never of models."""
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from scipy.cluster.hierarchy import leaves_list, linkage

COLOURS = {"passt": "#0072B2", "atst": "#D55E00", "mn": "#009E73", "ensemble": "#333333"}     # Okabe and Ito 2008
NAMES = {"passt": "PaSST", "atst": "ATST-Frame", "mn": "MN"}
SETTINGS = ("stage1", "continued", "self", "ensemble")
STYLE = {"figure.dpi": 110, "savefig.dpi": 150, "font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
         "svg.hashsalt": "corrlib", "axes.titlesize": 9, "legend.frameon": False}


def use_style():
    plt.rcParams.update(STYLE)


def family(backbone):
    """Key of COLOURS: the backbone's name up to the first underscore or digit."""
    return next((f for f in COLOURS if backbone.startswith(f)), "ensemble")


def label(backbone):
    return NAMES.get(family(backbone), backbone)


def save(figure, folder, name, table):
    """Write <name>.png, <name>.svg and the table behind it as <name>.csv; the same content gives the same bytes."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.png", metadata={"Software": None})
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None})
    table.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g")


def results(table, ceilings, seeds):
    """Each setting's measure with its 95 % interval, by backbone; the oracle's ceiling as a dotted line.

    table: rows of results.csv; ceilings: {metric: value}.
    """
    use_style()
    metrics = [m for m in ("annotated mAP@10", "true mAP@10", "true nDCG@10") if m in set(table["metric"])]
    backbones = [b for b in dict.fromkeys(table["backbone"]) if family(b) != "ensemble"]
    figure, axes = plt.subplots(1, len(metrics), figsize=(3.1 * len(metrics), 3.0), layout="constrained", squeeze=False)
    for axis, metric in zip(axes[0], metrics, strict=True):
        for offset, backbone in zip(np.linspace(-0.2, 0.2, len(backbones)), backbones, strict=True):
            rows = table[(table["backbone"] == backbone) & (table["metric"] == metric)].set_index("setting")
            shown = [s for s in SETTINGS if s in rows.index]
            rows = 100 * rows.loc[shown, ["mean", "low", "high"]]
            x = np.array([SETTINGS.index(s) for s in shown]) + offset
            axis.errorbar(x, rows["mean"], [rows["mean"] - rows["low"], rows["high"] - rows["mean"]], fmt="o", ms=4,
                          color=COLOURS[family(backbone)], label=label(backbone), capsize=2)
        together = table[(table["setting"] == "teachers") & (table["metric"] == metric)]
        if len(together):
            axis.axhline(100 * together["mean"].iloc[0], color="#333333", lw=1, ls="--", label="stage-1 ensemble itself")
        if metric in ceilings:
            axis.set_title(f"{metric} (oracle {100 * ceilings[metric]:.0f} %)")
        else:
            axis.set_title(metric)
        axis.set_xticks(range(len(SETTINGS)), SETTINGS)
        axis.set_ylabel("%")
    axes[0, 0].legend(fontsize=7)
    figure.suptitle(f"Retrieval by setting: mean of {seeds} seeds, 95 % bootstrap interval over clips", fontsize=9)
    return figure


def differences(table, metric="annotated mAP@10"):
    """Forest plot of paired differences (percentage points) with their 95 % intervals."""
    use_style()
    rows = table[table["metric"] == metric].reset_index(drop=True)
    figure, axis = plt.subplots(figsize=(5.6, 0.9 + 0.26 * len(rows)), layout="constrained")
    for place, row in rows.iterrows():
        colour = COLOURS[family(row["backbone"])]
        axis.plot([100 * row["low"], 100 * row["high"]], [place, place], color=colour, lw=2)
        axis.plot(100 * row["difference"], place, "o", color=colour, ms=5)
    axis.set_yticks(range(len(rows)), [f"{label(r.backbone)}: {r.setting} − {r.against}" for r in rows.itertuples()])
    axis.axvline(0, color="0.5", lw=1)
    axis.invert_yaxis()
    axis.set(xlabel=f"difference in {metric} (percentage points)", title="Paired differences, 95 % interval over clips")
    return figure


def learning_curves(logs):
    """Validation mAP@10 by epoch; one line a seed, one panel a setting. logs: setting, backbone, seed, epoch, score."""
    use_style()
    settings = [s for s in SETTINGS if s in set(logs["setting"])]
    figure, axes = plt.subplots(1, len(settings), figsize=(2.5 * len(settings), 2.7), sharey=True, layout="constrained",
                                squeeze=False)
    for axis, setting in zip(axes[0], settings, strict=True):
        for (backbone, seed), rows in logs[logs["setting"] == setting].groupby(["backbone", "seed"], sort=False):
            first = seed == logs["seed"].min()
            axis.plot(rows["epoch"], 100 * rows["score"], color=COLOURS[family(backbone)], lw=1.2, alpha=0.8,
                      label=label(backbone) if first else None)
        axis.set(title=setting, xlabel="epoch")
    axes[0, 0].set_ylabel("validation mAP@10 (%)")
    axes[0, 0].legend(fontsize=7)
    return figure


def content_order(matrix):
    """Order of the rows that puts like rows together (average linkage on correlation distance)."""
    rows = np.asarray(matrix, np.float64)
    if len(rows) < 3:
        return np.arange(len(rows))
    rows = rows + 1e-9 * np.arange(rows.shape[1])       # a constant row has no correlation
    return leaves_list(linkage(rows, "average"))


def correspondence_matrices(matrices, captions):
    """Side-by-side heat maps of one block of clips x captions: {title: matrix}, in the order given."""
    use_style()
    figure, axes = plt.subplots(1, len(matrices), figsize=(3.2 * len(matrices) + 1.6, 4.4), layout="constrained")
    for place, (axis, (title, matrix)) in enumerate(zip(np.atleast_1d(axes), matrices.items(), strict=True)):
        sns.heatmap(matrix.T, ax=axis, cmap="magma_r", vmin=0, cbar=False, xticklabels=False, square=False,
                    yticklabels=[c[:38] for c in captions] if not place else False)
        axis.set(title=title, xlabel="clips")
        axis.tick_params(axis="y", labelsize=6)
    return figure


def calibration(tables):
    """Mean truth in bins of the estimate, {name: DataFrame estimated, truth}: higher estimate, truer pair?"""
    use_style()
    figure, axis = plt.subplots(figsize=(3.6, 3.0), layout="constrained")
    for name, table in tables.items():
        axis.plot(table["bin"], table["truth"], marker="o", ms=3, color=COLOURS[family(name)], label=label(name))
    axis.set(xlabel="decile of the estimate", ylabel="mean true correspondence", title="Calibration against the truth")
    axis.legend(fontsize=7)
    return figure


def top_clips(queries):
    """Bars of the most probable clips of some captions, coloured by truth, the annotated clip marked.

    queries: list of (caption, DataFrame with probability, truth, annotated), best first.
    """
    use_style()
    figure, axes = plt.subplots(len(queries), 1, figsize=(7, 1.7 * len(queries)), layout="constrained", squeeze=False)
    for axis, (caption, table) in zip(axes[:, 0], queries, strict=True):
        axis.bar(range(1, len(table) + 1), table["probability"], color=plt.cm.viridis_r(table["truth"].fillna(0)))
        for place in np.flatnonzero(table["annotated"]):
            axis.annotate("annotated", (place + 1, table["probability"].iloc[place]), (0, 10), ha="center", fontsize=7,
                          textcoords="offset points", arrowprops={"arrowstyle": "-", "lw": 0.8})
        axis.set(title=f"“{caption}”", ylabel="p(clip | caption)")
        axis.margins(y=0.3)
    axes[-1, 0].set_xlabel("clip, by rank (colour: true correspondence, dark = 1)")
    return figure


def spectrogram_sheet(waveforms, rate_hz, columns=7):
    """Small spectrograms of several sounds: {name: waveform}."""
    use_style()
    rows = -(-len(waveforms) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(1.5 * columns, 1.35 * rows), layout="constrained", squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, (name, waveform) in zip(axes.flat, waveforms.items(), strict=False):
        axis.specgram(waveform + 1e-6 * np.random.default_rng(0).standard_normal(len(waveform)), NFFT=512, Fs=rate_hz,
                      noverlap=384, cmap="magma", vmin=-120, vmax=-30)
        axis.set_title(name, fontsize=7)
    return figure


def ambiguity(truth, annotated):
    """How many clips each caption wholly and partly describes. truth, annotated (clips, captions)."""
    use_style()
    whole, partly = (truth >= 1).sum(0), ((truth > 0) & (truth < 1)).sum(0)
    figure, axis = plt.subplots(figsize=(4.4, 2.8), layout="constrained")
    bins = np.logspace(0, np.log10(max(2, len(truth))), 24)
    axis.hist(whole, bins, alpha=0.8, color="#0072B2", label="wholly")
    axis.hist(partly, bins, alpha=0.6, color="#E69F00", label="partly")
    axis.set(xscale="log", xlabel="clips that a caption describes", ylabel="captions")
    axis.set_title(f"One clip is annotated, a median of {np.median(whole):.0f} fit wholly")
    axis.legend()
    return figure, pd.DataFrame({"caption": np.arange(truth.shape[1]), "wholly": whole, "partly": partly})
