"""Names of what is measured, `<relevance> <measure>`, and which of them a figure or a main table has room for.

A relevance is `annotated`, `true`, `annotated clip-to-caption`, or what a study calls one of its own.
"""

from collections.abc import Iterable

import pandas as pd

MEASURES = {  # and what a run calls the values of its queries
    "mAP@10": "ap@10",
    "mAP@16": "ap@16",
    "R@1": "r@1",
    "R@5": "r@5",
    "R@10": "r@10",
    "nDCG@10": "ndcg@10",
    "rank correlation": "rank_correlation",
}
MAIN = ("annotated mAP@10", "true mAP@10")
CLIP_TO_CAPTION = "annotated clip-to-caption"  # as corrlib.evaluation.evaluate calls it
EVERYWHERE = ("annotated", "true", CLIP_TO_CAPTION)  # relevances that need no file


def relevance_of(metric: str) -> str:
    """`dcase` of `dcase mAP@10`; the whole name where it ends with no known measure."""
    return next((metric.removesuffix(f" {m}") for m in MEASURES if metric.endswith(f" {m}")), metric)


def beyond(metrics: Iterable[str]) -> list[str]:
    """The first measure of each relevance that a study has named: mAP@10, or nDCG@10 where ratings are graded."""
    first: dict[str, str] = {}
    for metric in dict.fromkeys(metrics):
        relevance = relevance_of(metric)
        if relevance not in (*EVERYWHERE, metric) and metric.endswith(("mAP@10", "nDCG@10")):
            first.setdefault(relevance, metric)
    return list(first.values())


def shown(metrics: Iterable[str], most: int | None = None) -> list[str]:
    """MAIN, where they are among the metrics, and `beyond`; no more than `most` of them."""
    there = list(metrics)
    return [*(metric for metric in MAIN if metric in there), *beyond(there)][:most]


def coverage(table: pd.DataFrame) -> dict[str, int]:
    """{relevance that a study has named: over how many queries it judges}; {} of a table that does not tell.

    table: rows of results.csv. Where settings differ (an ensemble is judged by captions of the corpus alone), the most.
    """
    if "queries" not in table:
        return {}
    found: dict[str, int] = {}
    for metric in beyond(table["metric"]):
        found[relevance_of(metric)] = int(table.loc[table["metric"] == metric, "queries"].max())
    return found


def coverage_words(table: pd.DataFrame) -> str:
    """` Queries that were judged: dcase 1,037.` for a caption, of a table of `coverage`; empty where it tells none."""
    words = [f"{name} {count:,}" for name, count in coverage(table).items()]
    return f" Queries that were judged: {', '.join(words)}." if words else ""
