"""The two tables that every corpus becomes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from corrlib.files import digest, digest_files, memory_of

CLIP_COLUMNS = ["clip_id", "path", "start_seconds", "duration_seconds", "corpus", "split"]

COPY = "a copy of a sound of "  # with which the reason begins for a clip that another split holds, by content


class ClipFile(NamedTuple):
    """The part of a file that is a clip; duration nan where it reaches to the end."""

    path: str
    start_seconds: float
    duration_seconds: float


@dataclass(frozen=True)
class Corpus:
    """clips: clip_id, path, start_seconds, duration_seconds, corpus, split; captions: caption_id, clip_id, text.

    `path` is "" or leads nowhere for a clip that the tables name but the folder lacks; a loaded corpus has none of
    these. metadata: what a corpus says of its clips beside, by clip_id (may be empty). excluded: clip_id, path, reason
    of the clips that the audit left out.
    """

    clips: pd.DataFrame
    captions: pd.DataFrame
    metadata: pd.DataFrame = field(default_factory=lambda: pd.DataFrame({"clip_id": []}))
    excluded: pd.DataFrame = field(default_factory=lambda: pd.DataFrame({"clip_id": [], "path": [], "reason": []}))

    def files(self) -> list[ClipFile]:
        """Where each clip lies, by row number."""
        columns = [self.clips[name].tolist() for name in ClipFile._fields]
        return [ClipFile(*row) for row in zip(*columns, strict=True)]

    def fingerprint(self, folder: str | Path) -> str:
        """Short hash of ids, captions and the bytes of audio: equal for equal data, whatever folder it lies in.

        folder: below which the files lie, by which their digests are remembered (see corrlib.files.memory_of).
        """
        audio = digest_files(self.clips["path"], memory_of(folder))
        clips = zip(self.clips["clip_id"], self.clips["start_seconds"].astype(str), audio, strict=True)
        captions = zip(self.captions["clip_id"], self.captions["text"], strict=True)
        return digest([list(clips), list(captions)])[:16]

    def without(self, excluded: pd.DataFrame) -> "Corpus":
        """The corpus without the clips of a table `clip_id, path, reason`, and without their captions."""
        gone = set(excluded["clip_id"])
        parts = [
            table[~table["clip_id"].isin(gone)].reset_index(drop=True)
            for table in (self.clips, self.captions, self.metadata)
        ]
        return Corpus(*parts, excluded=pd.concat([self.excluded, excluded], ignore_index=True))


def build(
    name: str, split: str, files: pd.DataFrame, captions: pd.DataFrame, metadata: pd.DataFrame | None = None
) -> Corpus:
    """A Corpus from `files` (key, path, start_seconds, duration_seconds) and `captions` (key, text), in their order.

    metadata: a table with a column `key` and whatever is known of a clip. The clip's id is corpus/split/key; its
    captions are numbered, so that equal texts stay different captions.
    """
    prefix = f"{name}/{split}/"
    clips = files.assign(clip_id=prefix + files["key"], corpus=name, split=split)[CLIP_COLUMNS].reset_index(drop=True)
    known = pd.Index(files["key"])

    def ids(table: pd.DataFrame) -> pd.Series:
        """Of its rows: the objects that `clips` holds, not as many again; its own for a clip that `files` lacks."""
        row = known.get_indexer(pd.Index(table["key"]))
        return clips["clip_id"].take(row).set_axis(table.index).where(row >= 0, prefix + table["key"])

    clip_id, number = ids(captions), captions.groupby("key", sort=False).cumcount() + 1
    caption_table = pd.DataFrame(
        {"caption_id": clip_id + "#" + number.astype(str), "clip_id": clip_id, "text": captions["text"]}
    )
    if metadata is None:
        metadata = pd.DataFrame({"key": []}, dtype=str)
    metadata = metadata.assign(clip_id=ids(metadata)).drop(columns="key")
    return Corpus(clips, caption_table.reset_index(drop=True), metadata.reset_index(drop=True))


def merge(corpora: Sequence[Corpus]) -> Corpus:
    """Several corpora as one, in their order."""
    tables = [
        pd.concat([getattr(corpus, name) for corpus in corpora], ignore_index=True)
        for name in ("clips", "captions", "metadata", "excluded")
    ]
    return Corpus(*tables)
