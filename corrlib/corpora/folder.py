"""Anybody's own data: a CSV a split with the columns `file` and `caption`, one row a caption.

`<split>.csv` (or captions.csv with a column `split`) lies in the corpus folder; `file` is a path below it. Optional
columns `start_seconds` and `duration_seconds` make a clip of a part of a file.
"""

import numpy as np
import pandas as pd

from corrlib.corpora.corpus import build
from corrlib.corpora.tables import need, read_csv, refuse_empty_captions, shown

SPLITS = ("development", "validation", "evaluation")


def list_folder(folder, split, audio=True):
    """Corpus of all clips that the table names; see `list_corpus`."""
    need(folder, "corpus folder", "put the corpus there or set `data` to its folder")
    csv = folder / f"{split}.csv"
    if csv.is_file():
        table = read_csv(csv, ["file", "caption"])
    else:
        csv = need(
            folder / "captions.csv", "captions table", f"write it, or {split}.csv, with columns file and caption"
        )
        table = read_csv(csv, ["file", "caption", "split"])
        table = table[table["split"] == split]
        if table.empty:
            raise ValueError(f"{csv} has no row of the split '{split}'; give some rows that split")
    refuse_empty_captions(csv, table["file"], table["caption"])
    parts = pd.DataFrame(
        {
            "start_seconds": _seconds(csv, table, "start_seconds", 0.0),
            "duration_seconds": _seconds(csv, table, "duration_seconds", np.nan),
        },
        index=table.index,
    )
    cut = (parts["start_seconds"] > 0) | parts["duration_seconds"].notna()
    part = "@" + parts["start_seconds"].map("{:g}".format) + "+" + parts["duration_seconds"].map("{:g}".format)
    key = table["file"] + part.where(cut, "")
    paths = [_path(csv, folder, file) if audio else "" for file in table["file"]]
    files = parts.assign(key=key, path=paths).drop_duplicates("key")
    return build("folder", split, files, pd.DataFrame({"key": key, "text": table["caption"]}))


def _path(csv, folder, file):
    path = folder / file
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{csv} names '{shown(file)}', which lies outside its folder; put the file inside")
    return str(path) if path.is_file() else ""


def _seconds(csv, table, column, default):
    if column not in table:
        return pd.Series(default, index=table.index)
    given = table[column].replace("", str(default))
    values = pd.to_numeric(given, errors="coerce")
    wrong = (values.isna() & (given != "nan")) | (values < 0) | np.isinf(values)
    if wrong.any():
        raise ValueError(
            f"{csv} gives '{shown(table['file'][wrong].iloc[0])}' the {column} "
            f"'{shown(given[wrong].iloc[0])}'; it must be a number of seconds, 0 or more"
        )
    return values
