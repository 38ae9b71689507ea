"""Tables of results as a reader wants them: percent with interval, grouped by backbone, the rest behind a fold."""

import html
from collections.abc import Sequence
from typing import Any

import pandas as pd
from pandas.io.formats.style import Styler

from corrlib.figures.measures import coverage_words, shown
from corrlib.figures.style import POOLED, family, looks, main_interval, setting_order

VALUE, CHANGE = "percent", "points against continued"
NOTE = (
    "Percent, with 95 % intervals over clips, and percentage points against continued, with 95 % intervals over seeds "
    "where there are three or more; *: it leaves zero on one side."
)


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """Percent with interval as text; rows (backbone, setting), columns the metrics. table: rows of results.csv."""
    cells = [_percent(row) for row in table.itertuples()]
    return (
        table.assign(cell=cells)
        .pivot_table(index=["backbone", "setting"], columns="metric", values="cell", aggfunc="first", sort=False)
        .fillna("")
    )


def main_table(table: pd.DataFrame, differences: pd.DataFrame, metrics: Sequence[str] = ()) -> pd.DataFrame:
    """The table that answers a study: means, and paired differences from `continued`, as text with 95 % intervals.

    table, differences: rows of results.csv and differences.csv. Rows (backbone, setting): first POOLED, then each
    backbone, then the stage-1 ensemble. Columns (metric, VALUE or CHANGE), of the `metrics` that are known: where none
    is given, annotated, true, and the first of each relevance of the study. A
    difference whose main interval (corrlib.figures.style.main_interval) leaves zero on one side carries an asterisk.
    """
    against = differences[differences["against"] == "continued"]
    backbones = [name for name in looks(table["backbone"]) if name != POOLED]
    order = [POOLED, *(name for name in backbones if family(name) != "ensemble"), *backbones]
    keys = [
        (backbone, setting)
        for backbone in dict.fromkeys(order)
        for setting in setting_order(table.loc[table["backbone"] == backbone, "setting"])
    ]
    columns = {}
    for metric in (name for name in metrics or shown(table["metric"]) if name in set(table["metric"])):
        means = table[table["metric"] == metric].itertuples()
        changes = against[against["metric"] == metric].itertuples()
        percents = {(row.backbone, row.setting): _percent(row) for row in means}
        points = {(row.backbone, row.setting): _points(row) for row in changes}
        columns[metric, VALUE] = [percents.get(key, "") for key in keys]
        if points:
            columns[metric, CHANGE] = [points.get(key, "") for key in keys]
    return pd.DataFrame(columns, index=pd.MultiIndex.from_tuples(keys, names=["backbone", "setting"]))


def note(table: pd.DataFrame) -> str:
    """NOTE, and over how many queries each relevance of the study judges. table: rows of results.csv."""
    return NOTE + coverage_words(table)


def _percent(row: Any) -> str:
    return f"{100 * row.mean:.1f} [{100 * row.low:.1f}, {100 * row.high:.1f}]"


def _points(row: Any) -> str:
    low, high = main_interval(row)
    mark = " *" if low > 0 or high < 0 else ""
    return f"{100 * row.difference:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]{mark}"


def styled(table: pd.DataFrame, caption: str = "") -> Styler:
    """A table of `main_table` or `readable` for a page: a line above each group, numbers aligned, asterisks bold."""
    groups = table.index.get_level_values(0)
    first = {key: key[0] != groups[place - 1] or place == 0 for place, key in enumerate(table.index)}
    line = "border-top: 1px solid #888"
    return (
        table.style.apply(lambda row: [line if first[row.name] else ""] * len(row), axis=1)
        .apply_index(lambda level: [line if first[key] else "" for key in table.index], axis=0)
        .map(lambda text: "font-weight: bold" if str(text).endswith("*") else "")
        .set_properties(**{"text-align": "right", "white-space": "nowrap" if table.shape[1] <= 4 else "normal"})
        .set_table_styles([{"selector": "th", "props": "text-align: left; vertical-align: top"}])
        .set_caption(caption)
        .format(escape="html")
        .set_uuid("main")  # equal content, equal page
    )


def folded(summary: str, table: pd.DataFrame, digits: int = 4) -> str:
    """HTML of a whole table behind a line that opens it. summary: what it holds, as text; digits: after the point."""
    body = table.round(digits).to_html(index=not isinstance(table.index, pd.RangeIndex), na_rep="", border=0)
    return f"<details><summary>{html.escape(summary)} ({len(table)} rows)</summary>{body}</details>"
