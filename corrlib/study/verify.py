"""`python -m corrlib.study.verify STUDY`: compute a study again and hold it against its published results.csv."""

import argparse
import os
import sys
import tempfile

import pandas as pd

from corrlib.processes import end_with
from corrlib.study import runs
from corrlib.study.parameters import ParameterError
from corrlib.study.publish import published_folder
from corrlib.study.reproduce import reproduce

KEYS = ["study", "backbone", "setting", "metric"]


def compare(committed: pd.DataFrame, again: pd.DataFrame) -> pd.DataFrame:
    """One row a committed value: KEYS, mean, low, high, again, within (its new mean lies in the committed interval).

    committed, again: tables as results.csv. A value that was not computed again is not within.
    """
    both = committed.merge(again[[*KEYS, "mean"]].rename(columns={"mean": "again"}), on=KEYS, how="left")
    slack = 1e-6  # the CSV holds six digits
    both["within"] = (both["again"] >= both["low"] - slack) & (both["again"] <= both["high"] + slack)
    return both[[*KEYS, "mean", "low", "high", "again", "within"]]


def report(table: pd.DataFrame) -> str:
    """What `compare` found, in words."""
    outside = table[~table["within"]]
    greatest = 100 * (table["again"] - table["mean"]).abs().max()
    lines = [
        f"{int(table['within'].sum())} of {len(table)} committed values were found again within their intervals; the "
        f"greatest difference is {greatest:.4f} points"
    ]
    lines += [
        f"  {row['backbone']}, {row['setting']}, {row['metric']}: committed {100 * row['mean']:.2f} "
        f"[{100 * row['low']:.2f}, {100 * row['high']:.2f}], now {100 * row['again']:.2f}"
        for row in outside.to_dict("records")
    ]
    if len(outside):
        lines.append(
            "The same processor and packages find the same numbers. Others round otherwise, so that training takes "
            "another course, which intervals over clips do not cover (docs/results.md, 'What the intervals leave out')."
        )
    return "\n".join(lines)


def verify(study: str, cores: int) -> int:
    """Compute a study again in a folder of its own, which is removed; returns a process exit status."""
    path = published_folder(study) / "results.csv"
    if not path.is_file():
        raise ParameterError(f"{path} does not exist: study '{study}' has no published results to be held against")
    committed = pd.read_csv(path)
    with tempfile.TemporaryDirectory(prefix="corrlib-verify-", dir=".") as folder:
        os.environ.update(CORRLIB_RUNS=f"{folder}/runs", CORRLIB_DATA=f"{folder}/data")
        status = reproduce(study, cores)
        if status:
            return status
        table = compare(committed, pd.read_csv(runs.figures_folder(study) / "results.csv"))
    print(report(table))
    return 0 if table["within"].all() else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", nargs="?", default="builtin")
    parser.add_argument("--cores", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    try:
        return verify(arguments.study, arguments.cores)
    except ParameterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    end_with(main)
