"""How much of what true correspondences would bring each setting reaches: the share of the headroom."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import scipy  # its parts are loaded when first used: most runs need none

from corrlib.figures.style import POOLED, setting_order
from corrlib.reports import results
from corrlib.reports.queries import Judged, Queries, backbones_of

BOUND, CONTROL = "true", "continued"
COLUMNS = ("backbone", "setting", "metric", "gain", "headroom", "share", "low", "high", "seeds")


def headroom(judged: Judged, metrics: Sequence[str] = ()) -> pd.DataFrame:
    """headroom.csv: each stage-2 setting's gain over `continued` as a share of that of the true target.

    A row a backbone (and POOLED), setting and metric: gain and headroom (shares of 1, means over the seeds that have
    all three settings), their ratio, and its 95 % interval over seeds (`ratio_interval`). No row where `true` or
    `continued` was not run; share NaN where the headroom is not above 0. metrics: those of `results.compare`, if none
    is given.
    """
    rows = []
    for queries, metric, column in _measured(judged, metrics):
        by_backbone = {backbone: _means(queries, backbone, column) for backbone in backbones_of(queries)}
        by_backbone = {backbone: means for backbone, means in by_backbone.items() if {BOUND, CONTROL} <= set(means)}
        if len(by_backbone) > 1 and len(by_backbone) == len(backbones_of(queries)):
            by_backbone[POOLED] = _pooled(list(by_backbone.values()))
        for backbone, means in by_backbone.items():
            for setting in setting_order(set(means) - {BOUND, CONTROL, "stage1"}):
                seeds = sorted(set(means[setting]) & set(means[BOUND]) & set(means[CONTROL]))
                control = np.array([means[CONTROL][seed] for seed in seeds])
                gains = np.array([means[setting][seed] for seed in seeds]) - control
                bounds = np.array([means[BOUND][seed] for seed in seeds]) - control
                share = gains.mean() / bounds.mean() if bounds.mean() > 0 else float("nan")
                interval = ratio_interval(gains, bounds)
                row = (backbone, setting, metric, gains.mean(), bounds.mean(), share, *interval, len(seeds))
                rows.append(dict(zip(COLUMNS, row, strict=True)))
    return pd.DataFrame(rows, columns=list(COLUMNS))


Means = dict[str, dict[int, float]]  # {setting: {seed: mean over queries}}


def _measured(judged: Judged, metrics: Sequence[str]) -> Iterator[tuple[Queries, str, str]]:
    """(per-query values, metric, their column) of the metrics."""
    for queries, columns in results.measured(judged):
        for metric, column in columns.items():
            if metric in metrics or not metrics and results.is_compared(metric):
                yield queries, metric, column


def _means(queries: Queries, backbone: str, column: str) -> Means:
    return {
        setting: {seed: float(table[column].mean()) for seed, table in tables.items()}
        for (own, setting), tables in queries.items()
        if own == backbone and all(column in table for table in tables.values())
    }


def _pooled(parts: list[Means]) -> Means:
    """Means over backbones, of the settings and seeds that all have."""
    settings = set.intersection(*(set(part) for part in parts))
    seeds = {setting: set.intersection(*(set(part[setting]) for part in parts)) for setting in settings}
    return {
        setting: {seed: float(np.mean([part[setting][seed] for part in parts])) for seed in seeds[setting]}
        for setting in settings
    }


def ratio_interval(gains: np.ndarray, bounds: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Fieller's interval of the ratio of two paired means, mean(gains) / mean(bounds), over seeds (Fieller 1954).

    gains, bounds (seeds,). (NaN, NaN) for fewer than three seeds, or where the mean of `bounds` is not told apart from
    zero, as then no ratio can be excluded.
    """
    count = len(gains)
    if count < 3:
        return float("nan"), float("nan")
    squared = scipy.stats.t.ppf(0.5 + level / 2, count - 1) ** 2 / count
    (of_gains, both), (_, of_bounds) = squared * np.cov(gains, bounds)
    # the ratios r for which (mean gain - r mean bound) is within its own interval of zero: a r^2 - 2 b r + c <= 0
    a = bounds.mean() ** 2 - of_bounds
    b = gains.mean() * bounds.mean() - both
    c = gains.mean() ** 2 - of_gains
    if a <= 0:
        return float("nan"), float("nan")
    half = np.sqrt(max(0.0, b**2 - a * c))
    return float((b - half) / a), float((b + half) / a)
