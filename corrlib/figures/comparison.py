"""Figures that compare runs: settings, paired differences, the oracle's ceiling, learning curves."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from corrlib.figures.style import legend, looks, say, seeds_text, setting_order, use_style


def results(table, ceilings):
    """Each setting's measures with intervals, by backbone, annotated and true side by side.

    table: rows of results.csv; ceilings: {metric: what an oracle reaches}.
    """
    use_style()
    metrics = [m for m in ("annotated mAP@10", "true mAP@10", "true nDCG@10") if m in set(table["metric"])]
    own = table[table["setting"] != "stage1 ensemble"]
    look, settings = looks(own["backbone"]), setting_order(own["setting"])
    width = max(3.2, 0.75 * len(settings))
    figure, axes = plt.subplots(
        1, len(metrics), figsize=(1.6 + max(4, width * len(metrics)), 3.7), layout="constrained", squeeze=False
    )
    for axis, metric in zip(axes[0], metrics, strict=True):
        _dots(axis, own[own["metric"] == metric], look, settings)
        together = table[(table["setting"] == "stage1 ensemble") & (table["metric"] == metric)]
        if len(together):
            axis.axhline(
                100 * together["mean"].iloc[0], color="#333333", lw=1, ls="--", label="stage-1 ensemble itself"
            )
        above = f"\noracle: {100 * ceilings[metric]:.1f} %" if metric in ceilings else ""
        axis.set(title=metric + above, xticks=range(len(settings)), ylabel="%")
        axis.set_xticklabels(settings, rotation=0 if len(settings) <= 4 else 30)
    legend(figure, axes[0, 0].get_legend_handles_labels()[0])
    best = own[own["metric"] == metrics[0]]
    best = best.loc[best["mean"].idxmax()]
    say(
        figure,
        f"Best {metrics[0]}: {look[best['backbone']][2]}, {best['setting']}, {100 * best['mean']:.1f} % "
        f"[{100 * best['low']:.1f}, {100 * best['high']:.1f}]",
        f"Dots: mean of {seeds_text(own['seeds'])}; bars: 95 % bootstrap interval over clips. Intervals of paired "
        "differences are narrower than these: see differences.",
    )
    return figure


def _dots(axis, rows, look, settings):
    spread = np.linspace(-0.22, 0.22, len(look)) if len(look) > 1 else [0]
    for offset, (backbone, (shade, marker, name)) in zip(spread, look.items(), strict=True):
        part = rows[rows["backbone"] == backbone]
        x = [settings.index(s) + offset for s in part["setting"]]
        below, above = part["mean"] - part["low"], part["high"] - part["mean"]
        axis.errorbar(
            x,
            100 * part["mean"],
            100 * np.array([below, above]),
            fmt=marker,
            ms=4.5,
            color=shade,
            label=name,
            capsize=2,
            lw=1.3,
        )


def differences(table, metrics=("annotated mAP@10", "true mAP@10")):
    """Forest plot of paired differences in percentage points, grouped by comparison; annotated and true side by side.

    table: rows of differences.csv. Thick bars: 95 % interval over clips; thin: over seeds. Filled dots: the thick one
    excludes zero.
    """
    use_style()
    metrics = [m for m in metrics if m in set(table["metric"])]
    look, places = looks(table["backbone"]), _forest_rows(table)
    lines = 1 + max(places.values())
    figure, axes = plt.subplots(
        1,
        len(metrics),
        figsize=(1.8 + 3.2 * len(metrics), 1.5 + 0.19 * lines),
        sharey=True,
        layout="constrained",
        squeeze=False,
    )
    for axis, metric in zip(axes[0], metrics, strict=True):
        axis.axvline(0, color="0.4", lw=1, zorder=0)
        for row in table[table["metric"] == metric].itertuples():
            shade, marker, _ = look[row.backbone]
            y, clear = places[row.against, row.setting, row.backbone], row.low > 0 or row.high < 0
            axis.plot([100 * row.low, 100 * row.high], [y, y], color=shade, lw=2.2)
            axis.plot([100 * row.seeds_low, 100 * row.seeds_high], [y, y], "|-", color=shade, lw=0.7, ms=4, zorder=1)
            axis.plot(100 * row.difference, y, marker, color=shade, ms=5.5, mfc=shade if clear else "white", mew=1.3)
        axis.set(title=metric, xlabel="difference (percentage points)")
    names = [f"{key[1]} − {key[0]}" if key[2] is None else look[key[2]][2] for key in places]
    axes[0, 0].set_yticks(list(places.values()), names)
    for tick, key in zip(axes[0, 0].get_yticklabels(), places, strict=True):
        tick.set_fontweight("bold" if key[2] is None else "normal")
    axes[0, 0].set_ylim(lines - 0.4, -0.6)
    axes[0, 0].tick_params(axis="y", length=0)
    say(
        figure,
        _forest_claim(table, metrics),
        f"Paired by caption; {seeds_text(table['seeds'])}; thick bars: 95 % "
        "bootstrap interval over clips; filled: it excludes zero. Thin bars: 95 % Student's t interval over seeds, "
        "which covers other courses of training.",
    )
    return figure


def _forest_rows(table):
    """{(against, setting, backbone or None for the group's heading): line}, from the top."""
    look, places, line = looks(table["backbone"]), {}, 0
    for against in dict.fromkeys(table["against"]):
        for setting in setting_order(table.loc[table["against"] == against, "setting"]):
            here = set(table.loc[(table["against"] == against) & (table["setting"] == setting), "backbone"])
            for backbone in [None, *(b for b in look if b in here)]:
                places[against, setting, backbone] = line
                line += 1
            line += 0.4
    return places


def _forest_claim(table, metrics):
    """How many differences from `continued` (or what there is) exclude zero, by metric."""
    against = "continued" if "continued" in set(table["against"]) else table["against"].iloc[0]
    rows = table[table["against"] == against]
    parts = []
    for metric in metrics:
        own = rows[rows["metric"] == metric]
        up, down = int((own["low"] > 0).sum()), int((own["high"] < 0).sum())
        parts.append(f"{metric} {up} of {len(own)} clearly above" + (f", {down} below" if down else ""))
    return f"Against {against}: " + "; ".join(parts)


def ceiling(table):
    """Share of the oracle's ceiling reached, by setting and backbone. table: rows of ceiling.csv."""
    use_style()
    metrics = [m for m in ("annotated mAP@10", "true mAP@10") if m in set(table["metric"])]
    own = table[table["setting"] != "stage1 ensemble"]
    look, settings = looks(own["backbone"]), setting_order(own["setting"])
    figure, axes = plt.subplots(
        1,
        len(metrics),
        figsize=(1.4 + max(4, 3.0 * len(metrics)), 3.5),
        sharey=True,
        layout="constrained",
        squeeze=False,
    )
    for axis, metric in zip(axes[0], metrics, strict=True):
        rows = own[own["metric"] == metric].drop(columns="mean")
        _dots(axis, rows.rename(columns=lambda c: c.removeprefix("share ")), look, settings)
        axis.axhline(100, color="0.4", lw=1, ls=":")
        axis.set(
            title=f"{metric}\noracle: {100 * rows['ceiling'].iloc[0]:.1f} %", xticks=range(len(settings)), ylim=(0, 105)
        )
        axis.set_xticklabels(settings, rotation=0 if len(settings) <= 4 else 30)
    axes[0, 0].set_ylabel("share of the oracle's value (%)")
    legend(figure, axes[0, 0].get_legend_handles_labels()[0])
    best = own.loc[own[own["metric"] == metrics[-1]]["share mean"].idxmax()]
    say(
        figure,
        f"At best {100 * best['share mean']:.0f} % of the oracle's {metrics[-1]} is reached "
        f"({look[best['backbone']][2]}, {best['setting']})",
        f"Oracle: ranks by the truth, ties at random. Mean of {seeds_text(own['seeds'])}, 95 % interval over clips.",
    )
    return figure


def learning_curves(logs):
    """Validation mAP@10 by epoch; a line a seed, a panel a setting. logs: setting, backbone, seed, epoch, score."""
    use_style()
    settings, look = setting_order(logs["setting"]), looks(logs["backbone"])
    figure, axes = plt.subplots(
        1,
        len(settings),
        figsize=(1.2 + max(4, 2.1 * len(settings)), 3.0),
        sharey=True,
        layout="constrained",
        squeeze=False,
    )
    for axis, setting in zip(axes[0], settings, strict=True):
        for (backbone, _), rows in logs[logs["setting"] == setting].groupby(["backbone", "seed"], sort=False):
            best = rows.loc[rows["score"].idxmax()]
            axis.plot(rows["epoch"], 100 * rows["score"], color=look[backbone][0], lw=1.1, alpha=0.75)
            axis.plot(best["epoch"], 100 * best["score"], look[backbone][1], color=look[backbone][0], ms=4)
        axis.set(title=setting, xlabel="epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0, 0].set_ylabel("validation mAP@10 (%)")
    handles = [Line2D([], [], color=shade, marker=marker, label=name, ms=4) for shade, marker, name in look.values()]
    legend(figure, handles)
    last = logs.sort_values("epoch").groupby(["setting", "backbone", "seed"]).tail(1).index
    best = logs.groupby(["setting", "backbone", "seed"])["score"].idxmax()
    say(
        figure,
        f"{int(best.isin(last).sum())} of {len(best)} runs are best at their last epoch",
        f"A line a run, {seeds_text([logs['seed'].nunique()])}; dot: the epoch that is kept.",
    )
    return figure
