"""A study's own results beside what was published on the same test split: rows of literature.csv, with their source.

Caption-to-clip retrieval by the annotated pairs, in percent. What was published has one seed each and no interval.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from corrlib.figures.style import looks
from corrlib.files import csv_of, write_atomically
from corrlib.study import runs

MEASURES = ("mAP@10", "R@1", "R@5", "R@10")
HERE = "this study"
CORPORA = {"clotho": "ClothoV2", "audiocaps": "AudioCaps", "wavcaps": "WavCaps"}


def published(corpus: str) -> pd.DataFrame:
    """What was published on the test split of a corpus: columns backbone, setting, what, MEASURES, seeds, source.

    what: the corpora that a model was trained on. No rows of a corpus that literature.csv does not know.
    """
    table = pd.read_csv(Path(__file__).with_name("literature.csv"))
    return table[table["corpus"] == corpus].drop(columns="corpus").reset_index(drop=True)


def beside(study: str, training_runs: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """literature.csv of a study: `published`, and below it the study's own rows, of source HERE.

    training_runs: of runs.gather; table: of results.summarise. No rows where a run was judged on another corpus than
    the others, on its validation split, or on one of which nothing was published.
    """
    manifests = [runs.read_manifest(study, run)["parameters"] for run in training_runs["run"]]
    judged_on = {(p["corpus"].split("+")[0], p["evaluate_on"]) for p in manifests}
    corpus, split = judged_on.pop() if len(judged_on) == 1 else ("", "")
    known = published(corpus if split == "evaluation" else "")
    if known.empty:
        return known
    values = table.assign(measure=table["metric"].str.removeprefix("annotated "))
    values = values[table["metric"].isin([f"annotated {m}" for m in MEASURES])]
    rows = values.pivot_table(index=["backbone", "setting"], columns="measure", values="mean", sort=False)
    labels = {name: label for name, (_, _, label) in looks(table["backbone"]).items()}
    own = [
        {
            "backbone": labels[backbone],
            "setting": setting,
            "what": _trained_on(manifests),
            **{m: 100 * row[m] for m in MEASURES if m in row},
            "seeds": int(table[(table["backbone"] == backbone) & (table["setting"] == setting)]["seeds"].max()),
            "source": HERE,
        }
        for (backbone, setting), row in zip(rows.index, rows.to_dict("records"), strict=True)
    ]
    return pd.concat([known, pd.DataFrame(own)], ignore_index=True)


def save(table: pd.DataFrame, figures: str | Path) -> None:
    """Write literature.csv into the folder of a study's tables. NotWritten where it does not take it."""
    write_atomically(Path(figures) / "literature.csv", csv_of(table, "%.6g"))


def _trained_on(manifests: Iterable[dict[str, Any]]) -> str:
    """`ClothoV2, AudioCaps and WavCaps` of the corpora that the runs' parameters name."""
    *some, last = dict.fromkeys(CORPORA.get(name, name) for p in manifests for name in p["corpus"].split("+"))
    return f"{', '.join(some)} and {last}" if some else last


def answer(table: pd.DataFrame) -> str:
    """What was published and what was found here of the same backbone and setting, as a sentence; else empty."""
    found = table[table["source"] == HERE]
    both = table[table["source"] != HERE].merge(found, on=["backbone", "setting"], suffixes=(" published", " here"))
    told = [
        f"{row['backbone']} `{row['setting']}` (trained on {row['what published']}) {row['mAP@10 published']:.1f} % "
        f"published, {row['mAP@10 here']:.1f} % here"
        for row in both.to_dict("records")
        if row["what published"] == row["what here"]
    ]
    return f" By annotated mAP@10, {'; '.join(told)}; what was published has one seed." if told else ""
