"""Rendered blocks on the regime of a study: how far stage 1 went, headroom, the last epoch, the course, the map."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from corrlib.figures.course import places
from corrlib.figures.measures import MAIN
from corrlib.figures.style import POOLED, intervals_over, looks, main_interval, seeds_text, setting_order
from corrlib.reports.blocks import (
    GLUE,
    NONE,
    Published,
    backbone_name,
    block,
    difference,
    markdown,
    on_the_mean,
    signed,
    stands,
)
from corrlib.reports.results import stronger_control


@block
def overfit(published: Published, study: str) -> str:
    """How far stage 1 went: the epoch that was kept, and the overfit index."""
    table = published.table(study, "overfit")
    rows = []
    for backbone, part in table.groupby("backbone", sort=False):
        kept, near = part["kept epoch"], part["within noise"]
        index = part["overfit index"]
        rows.append(
            [
                backbone_name(backbone),
                f"{kept.min()} to {kept.max()} of {part['epochs'].max()}",
                f"{near.min()} to {near.max()}",
                f"{100 * part['training mAP@10'].mean():.1f}",
                f"{100 * part['validation mAP@10'].mean():.1f}",
                f"{index.mean():.2f} ({index.min():.2f} to {index.max():.2f})",
            ]
        )
    header = ["stage 1", "epoch kept", "within noise from", "training (%)", "validation (%)", "overfit index"]
    return markdown(header, rows) + (
        f"\n\nAnnotated mAP@10 on galleries of one size, means of {seeds_text([table['seed'].nunique()])}; *within "
        "noise from*: the first epoch whose validation mAP@10 is within one standard error of the best one's."
    )


@block
def finding(published: Published, study: str, setting: str = "ensemble") -> str:
    """One sentence: whether a setting is above both controls, and which share of the headroom it reaches."""
    smaller = stronger_control(on_the_mean(published.table(study, "differences")))
    rows = smaller[(smaller["setting"] == setting) & smaller["metric"].isin(MAIN)]
    said = [
        f"{stands(row)} its stronger control by {row.metric} ({difference(row)} points, `{row.against}`)"
        for row in rows.itertuples()
    ]
    text = f"`{setting}` is {' and '.join(said)}"
    shares = on_the_mean(published.table(study, "headroom"))
    share = shares[(shares["setting"] == setting) & (shares["metric"] == "true mAP@10")]
    if len(share) and pd.notna(share["share"].iloc[0]):
        text += f"; it reaches {100 * share['share'].iloc[0]:.0f} % of what training on the truth itself brings"
    return f"**{text}.**"


@block
def headroom(published: Published, study: str) -> str:
    """Which share of the true target's gain over `continued` each setting reaches."""
    table = published.table(study, "headroom")
    metrics = [metric for metric in MAIN if metric in set(table["metric"])]
    rows = []
    for backbone in sorted(looks(table["backbone"]), key=lambda name: name != POOLED):
        own = table[table["backbone"] == backbone]
        for setting in setting_order(own["setting"]):
            part = own[own["setting"] == setting].set_index("metric")
            rows.append([backbone_name(backbone), f"`{setting}`"])
            rows[-1] += [_share(part.loc[metric]) if metric in part.index else NONE for metric in metrics]
    pooled = on_the_mean(table).drop_duplicates("metric").set_index("metric")
    bounds = ", ".join(f"{signed(pooled.loc[m, 'headroom'])} points of {m}" for m in metrics)
    return markdown(["backbone", "setting", *(f"{m}: share" for m in metrics)], rows, right=2) + (
        f"\n\nThe headroom, the gain of `true` over `continued`, is {bounds} on the mean of the backbones. Shares in "
        f"percent, in brackets 95 % intervals of the ratio over seeds (Fieller); {seeds_text(table['seeds'])}."
    )


def _share(row: Any) -> str:
    if pd.isna(row["share"]):
        return "no headroom"
    interval = NONE if pd.isna(row["low"]) else f"{GLUE}[{100 * row['low']:.0f},{GLUE}{100 * row['high']:.0f}]"
    return f"{100 * row['share']:.0f}{interval}".replace("-", "−")


@block
def last_epoch(published: Published, study: str) -> str:
    """Differences from `continued` of the epoch that is best on validation, and of the last one."""
    kept, last = (on_the_mean(published.table(study, name)) for name in ("differences", "last_epoch"))
    kept, last = (table[table["against"] == "continued"] for table in (kept, last))
    metrics = [metric for metric in MAIN if metric in set(last["metric"])]
    rows = []
    for setting in setting_order(last["setting"]):
        rows.append([f"`{setting}` − `continued`"])
        for metric in metrics:
            for table in (kept, last):
                own = table[(table["setting"] == setting) & (table["metric"] == metric)]
                rows[-1].append(difference(next(own.itertuples())) if len(own) else NONE)
    header = ["comparison", *(f"{metric}, {which}" for metric in metrics for which in ("best epoch", "last epoch"))]
    return markdown(header, rows) + (
        f"\n\nMean over backbones; percentage points, in brackets 95 % intervals {intervals_over(last)}; "
        f"{seeds_text(last['seeds'])}."
    )


@block
def course(published: Published, study: str) -> str:
    """Where unannotated matches of the training split stand before and after stage 2."""
    table = published.table(study, "course")
    means, rows = places(table), []
    for setting in setting_order(set(means["setting"]) - {"stage1"}):
        own = means[means["setting"] == setting].set_index("epoch")
        ends = own.loc[[0, own.index.max()]]
        shown = (("place", 1), ("annotated place", 1), ("margin", 3))
        rows.append([f"`{setting}`", *(_from_to(ends[column], digits) for column, digits in shown)])
    header = ["setting", "place of unannotated matches (%)", "of annotated pairs (%)", "cosine above mismatches"]
    return markdown(header, rows) + (
        f"\n\nFrom the epoch of stage 1 that was kept to the last of stage 2; watched clips of the training split, "
        f"means over backbones and {seeds_text([table['seed'].nunique()])}. Place: 0 is first of the watched clips, 50 "
        "chance."
    )


def _from_to(values: Iterable[float], digits: int) -> str:
    return " → ".join("unknown" if pd.isna(value) else f"{value:.{digits}f}" for value in values)


@block
def regimes(published: Published, setting: str = "ensemble") -> str:
    """The map: gain in true mAP@10 over `continued` by epochs of stage 1 and clips, with the overfit index."""
    table = published.table("map", "map")
    table = table[(table["setting"] == setting) & (table["metric"] == "true mAP@10") & (table["wrong"] == 0)]
    table = table[(table["ambiguity"] == table["ambiguity"].max())]
    backbone = str(table.groupby("backbone").size().idxmax())
    table = table[table["backbone"] == backbone]
    columns = sorted(table["clips"].unique())
    rows = []
    for epochs in sorted(table["epochs"].unique()):
        own = table[table["epochs"] == epochs].set_index("clips")
        rows.append([f"{epochs:g}", *(_of_cell(own, clips) for clips in columns)])
    return markdown(["epochs of stage 1", *(f"{clips:g} clips" for clips in columns)], rows) + (
        f"\n\n{backbone_name(backbone)}, {seeds_text(table['seeds'])}: gain of `{setting}` in points with its 95 % "
        "interval over seeds; in parentheses the overfit index of its stage 1. What was not run is blank."
    )


def _of_cell(own: pd.DataFrame, clips: float) -> str:
    if clips not in own.index:
        return NONE
    row = own.loc[clips]
    low, high = main_interval(row)
    return f"{signed(row['difference'])} [{signed(low)}, {signed(high)}] ({row['overfit index']:.1f})"
