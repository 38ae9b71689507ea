"""Anybody's own data: a CSV a split with the columns `file` and `caption`, one row a caption.

`<split>.csv` (or captions.csv with a column `split`) lies in the corpus folder; `file` is a path below it. Optional
columns `start_seconds` and `duration_seconds` make a clip of a part of a file.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from corrlib.corpora.corpus import Corpus, build
from corrlib.corpora.tables import need, read_csv, refuse_empty_captions, shown

SPLITS = ("development", "validation", "evaluation")


def list_folder(folder: Path, split: str, audio: bool = True) -> Corpus:
    """Corpus of all clips that the table names; see `list_corpus`."""
    need(folder, "corpus folder", "put the corpus there or set `data` to its folder")
    csv = folder / f"{split}.csv"
    if csv.is_file():
        caption_table = read_csv(csv, ["file", "caption"])
    else:
        csv = need(
            folder / "captions.csv", "captions table", f"write it, or {split}.csv, with columns file and caption"
        )
        caption_table = read_csv(csv, ["file", "caption", "split"])
        caption_table = caption_table[caption_table["split"] == split]
        if caption_table.empty:
            raise ValueError(f"{csv} has no row of the split '{split}'; give some rows that split")
    refuse_empty_captions(csv, caption_table["file"], caption_table["caption"])
    parts = pd.DataFrame(
        {
            "start_seconds": _seconds(csv, caption_table, "start_seconds", 0.0),
            "duration_seconds": _seconds(csv, caption_table, "duration_seconds", np.nan),
        },
        index=caption_table.index,
    )
    cut = (parts["start_seconds"] > 0) | parts["duration_seconds"].notna()
    part = "@" + parts["start_seconds"].map("{:g}".format) + "+" + parts["duration_seconds"].map("{:g}".format)
    key = caption_table["file"] + part.where(cut, "")
    paths = [_path(csv, folder, file) if audio else "" for file in caption_table["file"]]
    files = parts.assign(key=key, path=paths).drop_duplicates("key")
    return build("folder", split, files, pd.DataFrame({"key": key, "text": caption_table["caption"]}))


def _path(csv: Path, folder: Path, file: str) -> str:
    path = folder / file
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{csv} names '{shown(file)}', which lies outside its folder; put the file inside")
    return str(path) if path.is_file() else ""


def _seconds(csv: Path, caption_table: pd.DataFrame, column: str, default: float) -> pd.Series:
    if column not in caption_table:
        return pd.Series(default, index=caption_table.index)
    given = caption_table[column].replace("", str(default))
    values = pd.to_numeric(given, errors="coerce")
    wrong = (values.isna() & (given != "nan")) | (values < 0) | np.isinf(values)
    if wrong.any():
        raise ValueError(
            f"{csv} gives '{shown(caption_table['file'][wrong].iloc[0])}' the {column} "
            f"'{shown(given[wrong].iloc[0])}'; it must be a number of seconds, 0 or more"
        )
    return values
