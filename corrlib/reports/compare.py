"""Two finished runs in one line: `compare("builtin/ensemble-mn_tiny-seed101", "builtin/continued-mn_tiny-seed101")`."""

import pandas as pd

from corrlib.evaluation.intervals import holm, paired_difference, randomisation_test
from corrlib.reports.results import METRICS
from corrlib.study import runs


def compare(run_a: str, run_b: str, resamples: int = 2000) -> pd.DataFrame:
    """Paired difference a - b of every metric that both runs know: metric, a, b, difference, low, high, p, p_holm.

    Runs are named `study/run`. 95 % interval by bootstrap over clips, p by randomisation test over clips, corrected
    after Holm over the metrics. ValueError where the two were judged on different captions.
    """
    one, two = (_queries(name) for name in (run_a, run_b))
    if list(one["caption_id"]) != list(two["caption_id"]):
        raise ValueError(f"{run_a} and {run_b} were judged on different captions; compare runs of one split and seed")
    rows = []
    for metric, column in METRICS.items():
        if column in one and column in two:
            a, b, clips = one[column].to_numpy(), two[column].to_numpy(), one["clip"].to_numpy()
            difference, low, high = paired_difference(a, b, clips, resamples)
            rows.append(
                {
                    "metric": metric,
                    "a": a.mean(),
                    "b": b.mean(),
                    "difference": difference,
                    "low": low,
                    "high": high,
                    "p": randomisation_test(a, b, clips, resamples),
                }
            )
    table = pd.DataFrame(rows)
    return table.assign(p_holm=holm(table["p"].tolist()))


def _queries(name: str) -> pd.DataFrame:
    study, slash, run = name.partition("/")
    if not slash:
        raise ValueError(f"'{name}' names no run; write study/run")
    return runs.read_table(study, run, "queries.csv")
