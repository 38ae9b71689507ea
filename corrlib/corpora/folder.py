"""Anybody's own data: a CSV a split with the columns `file` and `caption`, one row a caption.

`<split>.csv` (or captions.csv with a column `split`) lies in the corpus folder; `file` is a path below it. Optional
columns `start_seconds` and `duration_seconds` make a clip of a part of a file. A missing file has the path at which it
was sought.
"""

import os
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd

from corrlib.corpora.corpus import COPY, Corpus, build
from corrlib.corpora.tables import PUT, need, read_csv, refuse, refuse_empty_captions, shown, tell
from corrlib.files import digest_files, memory_of

SPLITS = ("development", "validation", "evaluation")


def list_folder(folder: Path, split: str, audio: bool = True) -> Corpus:
    """Corpus of all clips that the table names; see `list_corpus`.

    A clip that another split's table names as well is an error. One whose sound is, byte for byte, that of a clip by
    which models are chosen or judged is left out here, as `excluded`: the audit holds it against the tolerance.
    """
    need(folder, "corpus folder", PUT)
    clips = {name: table for name in SPLITS if (table := _clips(folder, name, needed=name == split)) is not None}
    own = clips[split]
    files = own.drop_duplicates("key")
    for other, table in clips.items():
        twice = files["key"][files["key"].isin(table["key"])] if other != split else files["key"].head(0)
        if len(twice):
            raise ValueError(
                f"'{shown(twice.iloc[0])}' is in two splits of {folder}, {split} and {other}"
                f"{f' (and {len(twice) - 1} more)' if len(twice) > 1 else ''}; leave each clip in one of them"
            )
    corpus = build("folder", split, files.assign(path=files["path"] if audio else ""), own[["key", "text"]])
    return corpus.without(_heard_elsewhere(corpus, folder, split, clips)) if audio else corpus


def _clips(folder: Path, split: str, needed: bool) -> pd.DataFrame | None:
    """key, path, start_seconds, duration_seconds, text of a split, one row a caption; None where it has no table."""
    csv = folder / f"{split}.csv"
    if csv.is_file():
        caption_table = read_csv(csv, ["file", "caption"])
    elif not needed and not (folder / "captions.csv").is_file():
        return None
    else:
        csv = need(
            folder / "captions.csv", "captions table", f"write it, or {split}.csv, with columns file and caption"
        )
        caption_table = read_csv(csv, ["file", "caption", "split"])
        caption_table["split"] = caption_table["split"].str.strip().str.lower()
        unknown = caption_table["split"][~caption_table["split"].isin(SPLITS)]
        refuse(csv, unknown, f"has a split '{{}}', which is none of {', '.join(SPLITS)}")
        caption_table = caption_table[caption_table["split"] == split]
        if caption_table.empty and not needed:
            return None
        if caption_table.empty:
            raise ValueError(f"{csv} has no row of the split '{split}'; give some rows that split")
    refuse_empty_captions(csv, caption_table["file"], caption_table["caption"])
    start = _seconds(csv, caption_table, "start_seconds", 0.0)
    duration = _seconds(csv, caption_table, "duration_seconds", np.nan)
    part = "@" + start.map("{:g}".format) + "+" + duration.map("{:g}".format)
    names = {file: _inside(csv, folder, file) for file in caption_table["file"].unique()}
    files = caption_table["file"].map(names).astype(str)
    return pd.DataFrame(
        {
            "key": files + part.where((start > 0) | duration.notna(), ""),
            "path": [f"{folder}/{file}" for file in files],
            "start_seconds": start,
            "duration_seconds": duration,
            "text": caption_table["caption"],
        }
    )


def _inside(csv: Path, folder: Path, file: str) -> str:
    """A file as the table names it (`a\\b.wav`, `./a/../b.wav`, or from the root on) as a path below the folder."""
    if "\\" in file and not (folder / file).is_file():
        tell(f"{csv}: backslashes in paths are read as slashes")
        file = file.replace("\\", "/")
    path = Path(os.path.normpath(folder / _on_disk(folder, file)))
    root = Path(os.path.normpath(folder))
    if path != root and path.is_relative_to(root) and path.resolve().is_relative_to(folder.resolve()):
        return path.relative_to(root).as_posix()
    inside = path.resolve()
    if inside == folder.resolve():
        raise ValueError(f"{csv} has a row that names no file; fill it or remove it")
    if not inside.is_relative_to(folder.resolve()):
        raise ValueError(f"{csv} names '{shown(file)}', which lies outside its folder; put the file inside")
    return inside.relative_to(folder.resolve()).as_posix()


def _on_disk(folder: Path, file: str) -> str:
    """A file's name as the disk has it: systems compose letters differently, and cells have blanks around them."""
    spellings = [file, file.strip(), *(unicodedata.normalize(form, file.strip()) for form in ("NFC", "NFD"))]
    return next((name for name in dict.fromkeys(spellings) if (folder / name).is_file()), file)


def _heard_elsewhere(corpus: Corpus, folder: Path, split: str, clips: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """clip_id, path, reason of the clips that a later split (by which is chosen, or judged) holds too, by content."""
    later = {name: clips[name] for name in SPLITS[SPLITS.index(split) + 1 :] if name in clips}
    held = pd.concat([table.assign(split=name) for name, table in later.items()]) if later else None
    nothing = pd.DataFrame({"clip_id": [], "path": [], "reason": []}, dtype=str)
    if held is None or corpus.clips.empty:
        return nothing
    own = corpus.clips.assign(size=[_size(path) for path in corpus.clips["path"]])
    held = held.drop_duplicates("key").assign(size=[_size(path) for path in held.drop_duplicates("key")["path"]])
    own, held = own[own["size"].isin(held["size"]) & (own["size"] > 0)], held[held["size"].isin(own["size"])]
    digests = digest_files([*own["path"], *held["path"]], memory_of(folder))
    own, held = own.assign(sound=digests[: len(own)]), held.assign(sound=digests[len(own) :])
    pairs = own.merge(held, on="sound", suffixes=("", "_held"))
    end, end_held = (pairs[f"start_seconds{x}"] + pairs[f"duration_seconds{x}"].fillna(np.inf) for x in ("", "_held"))
    pairs = pairs[(pairs["start_seconds"] < end_held) & (pairs["start_seconds_held"] < end)]  # parts that overlap
    if pairs.empty:
        return nothing
    pairs = pairs.drop_duplicates("clip_id")
    return pairs.assign(reason=f"{COPY}" + pairs["split_held"] + ": " + pairs["path_held"])[
        ["clip_id", "path", "reason"]
    ]


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return -1


def _seconds(csv: Path, caption_table: pd.DataFrame, column: str, default: float) -> pd.Series:
    if column not in caption_table:
        return pd.Series(default, index=caption_table.index)
    given = caption_table[column].replace("", str(default))
    values = pd.to_numeric(given.str.replace(",", ".", regex=False), errors="coerce")
    wrong = (values.isna() & (given != "nan")) | (values < 0) | np.isinf(values)
    if wrong.any():
        raise ValueError(
            f"{csv} gives '{shown(caption_table['file'][wrong].iloc[0])}' the {column} "
            f"'{shown(given[wrong].iloc[0])}'; it must be a number of seconds, 0 or more"
        )
    return values
