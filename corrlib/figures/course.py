"""Figures of the course of training: what becomes of matches that nobody annotated, and how far stage 1 overfits."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from corrlib.figures import measures
from corrlib.figures.style import (
    ENOUGH_SEEDS,
    legend,
    looks,
    panel_title,
    panels,
    say,
    seeds_text,
    setting_order,
)

# Okabe and Ito (2008); those of backbones are other figures'
SHADES = {
    "stage1": "0.55",
    "continued": "#D55E00",
    "self": "#E69F00",
    "ensemble": "#0072B2",
    "mixture": "#56B4E9",
    "true": "#009E73",
    "label_smoothing": "#CC79A7",
    "random_teacher": "#999999",
}
DASHES = {"label_smoothing": "--", "random_teacher": ":"}
MATCH, MISMATCH = "unannotated match", "mismatch"  # kinds of pairs of corrlib.evaluation.watched
WIDEST = 150  # percent of the headroom, on either side of none and all of it, that are drawn


def course(table: pd.DataFrame) -> Figure:
    """Where pairs of the training split that match and are not annotated stand, epoch by epoch; a line a setting.

    table: of reports.course.watched. Left: by how much their cosine is above that of pairs that do not match; right:
    their mean place in the rankings of their captions, in percent of the watched clips (0: first).
    """
    means = places(table)
    settings = [setting for setting in setting_order(means["setting"]) if setting in SHADES]
    figure, axes = panels(1, 2, (3.1, 2.6), legend_labels=settings)
    for axis, column, title in zip(
        axes[0], ("margin", "place"), ("cosine above that of mismatches", "mean place in the ranking (%)"), strict=True
    ):
        last_of_stage_one = means.loc[means["setting"] == "stage1", "epoch"].max()
        for setting in settings:
            rows = means[means["setting"] == setting].sort_values("epoch")
            epochs = rows["epoch"] - (last_of_stage_one if setting == "stage1" else 0)
            axis.plot(epochs, rows[column], color=SHADES[setting], ls=DASHES.get(setting, "-"), lw=1.5, label=setting)
        axis.axvline(0, color="0.8", lw=0.8, zorder=0)
        panel_title(axis, title, 3.1)
        axis.set_xlabel("epoch of stage 2 (below 0: of stage 1)")
        axis.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    axes[0, 1].invert_yaxis()
    legend(figure, [Line2D([], [], color=SHADES[s], ls=DASHES.get(s, "-"), label=s, lw=1.5) for s in settings])
    ends = {setting: float(rows.sort_values("epoch")["place"].iloc[-1]) for setting, rows in means.groupby("setting")}
    told = ", ".join(f"{setting} {ends[setting]:.1f} %" for setting in settings if setting != "stage1")
    say(
        figure,
        f"Place of unannotated matches of the training split after stage 2: {told}",
        f"Pairs that match wholly by the truth and are not annotated, of watched training clips; mean over backbones, "
        f"{seeds_text([table['seed'].nunique()])}. Stage 2 begins at the epoch of stage 1 that was kept.",
    )
    return figure


def places(table: pd.DataFrame) -> pd.DataFrame:
    """Where pairs stand, by setting and epoch, means over backbones and seeds. table: of reports.course.watched.

    Columns setting, epoch, margin (by how much the cosine of unannotated matches is above that of mismatches), place
    and annotated place (mean place in the ranking of unannotated matches and of annotated pairs, in percent).
    """
    wide = table.pivot_table(
        index=["setting", "backbone", "seed", "epoch"], columns="kind", values=["similarity", "rank"]
    )
    values = pd.DataFrame(
        {
            "margin": wide["similarity", MATCH] - wide["similarity", MISMATCH],
            "place": 100 * wide["rank", MATCH],
            "annotated place": 100 * wide["rank", "annotated"],
        }
    )
    return values.groupby(["setting", "epoch"]).mean().reset_index()


def overfit(table: pd.DataFrame) -> Figure:
    """Which epoch of stage 1 was kept, and how much better the training split is retrieved than the validation split.

    table: of reports.course.overfit. Hollow: the first epoch within a standard error of the best one.
    """
    look = looks(table["backbone"])
    labels = [label for _, _, label in look.values()]
    figure, axes = panels(1, 2, (2.8, 0.7 + 0.3 * len(look)), labels=labels, sharey=True)
    for line, (backbone, (shade, marker, _)) in enumerate(look.items()):
        rows = table[table["backbone"] == backbone]
        places = [line] * len(rows)
        axes[0, 0].plot(rows["within noise"], places, marker, color=shade, mfc="white", ms=5, ls="")
        axes[0, 0].plot(rows["kept epoch"], places, marker, color=shade, ms=5, ls="")
        axes[0, 1].plot(rows["overfit index"], places, marker, color=shade, ms=5, ls="")
    axes[0, 0].set_xlim(0.5, table["epochs"].max() + 0.5)
    axes[0, 0].xaxis.set_major_locator(MaxNLocator(7, integer=True))
    axes[0, 1].axvline(1, color="0.4", lw=1, zorder=0)
    axes[0, 0].set_yticks(range(len(look)), labels)
    axes[0, 0].set_ylim(len(look) - 0.5, -0.5)
    panel_title(axes[0, 0], f"epoch kept, of {table['epochs'].max()}", 2.8)
    panel_title(axes[0, 1], "overfit index", 2.8)
    thirds = (3 * table["within noise"] <= 2 * table["epochs"]).sum()
    say(
        figure,
        f"Overfit index of stage 1: {table['overfit index'].min():.2f} to {table['overfit index'].max():.2f}; "
        f"{thirds} of {len(table)} runs were as good after two thirds of their epochs",
        "mAP@10 of the training split over that of the validation split, on galleries of one size. Filled: the epoch "
        "that is best on validation; hollow: the first within one standard error of it. A dot a run.",
    )
    return figure


def headroom(table: pd.DataFrame, metrics: tuple[str, ...] = ()) -> Figure:
    """Share of the true target's gain over `continued` that each setting reaches, by backbone, with intervals.

    table: of reports.headroom.headroom; metrics: others than annotated, true, and of the first of each relevance.
    """
    metrics = metrics or tuple(measures.shown(table["metric"], 3))
    shown = table[table["metric"].isin(metrics) & table["share"].notna()]
    metrics = tuple(metric for metric in metrics if metric in set(shown["metric"]))
    look, settings = looks(shown["backbone"]), setting_order(shown["setting"])
    labels, width = [label for _, _, label in look.values()], 2.6
    line = max(0.4, 0.16 * len(look))
    figure, axes = panels(
        1, len(metrics), (width, 0.6 + line * len(settings)), labels=settings, legend_labels=labels, sharey=True
    )
    for axis, metric in zip(axes[0], metrics, strict=True):
        for place, (backbone, (shade, marker, _)) in enumerate(look.items()):
            rows = shown[(shown["metric"] == metric) & (shown["backbone"] == backbone)]
            offset = (place - (len(look) - 1) / 2) * 0.7 / max(1, len(look))
            lines = [settings.index(setting) + offset for setting in rows["setting"]]
            axis.hlines(lines, 100 * rows["low"], 100 * rows["high"], color=shade, lw=1.5)
            axis.plot(100 * rows["share"], lines, marker, color=shade, ms=4.5, ls="")
        axis.axvline(0, color="0.4", lw=1, zorder=0)
        axis.axvline(100, color="0.4", lw=1, ls=":", zorder=0)
        panel_title(axis, metric, width)
        axis.set_xlabel("share of the headroom (%)")
        axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.margins(x=0.12)
        left, right = axis.get_xlim()
        axis.set_xlim(max(left, -WIDEST), min(right, 100 + WIDEST))
    axes[0, 0].set_yticks(range(len(settings)), settings)
    axes[0, 0].set_ylim(len(settings) - 0.5, -0.5)
    legend(figure, [Line2D([], [], color=c, marker=m, label=n, ms=4, ls="") for c, m, n in look.values()])
    few = bool((shown["seeds"] < ENOUGH_SEEDS).any())
    best = shown[shown["metric"] == metrics[-1]].sort_values("share", kind="stable").iloc[-1]
    say(
        figure,
        f"Of what true targets bring in {metrics[-1]}, {best['setting']} reaches {100 * best['share']:.0f} % at most",
        f"Gain over continued, in percent of that of the true target; {seeds_text(shown['seeds'])}; bars: 95 % "
        f"interval of the ratio over seeds (Fieller){', where there are three' * few}; some leave the panel where the "
        "headroom is small.",
    )
    return figure
