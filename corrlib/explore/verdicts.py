"""A reviewer's verdicts on partial matches, kept as relevance that a study can be judged by."""

import copy
from pathlib import Path

import pandas as pd

from corrlib.corpora.tables import read_csv
from corrlib.files import csv_of, without_apostrophe, write_atomically

COLUMNS = ["caption_id", "query", "audio_filenames", "rejected"]


class Verdicts:
    """A CSV `caption_id, query, audio_filenames, rejected`, one row a caption that was looked at, names parted by `;`.

    audio_filenames begins with the clip that the caption was written for; accepted clips follow. As a study's
    `relevance` it is multi-positive relevance. Every verdict is on disk when `give` returns.
    """

    def __init__(self, path: str | Path) -> None:
        """ValueError names a file whose columns are others."""
        self.path = Path(path)
        self.rows = (
            read_csv(self.path, COLUMNS).map(without_apostrophe).set_index("caption_id", drop=False).to_dict("index")
            if self.path.is_file()
            else {}
        )
        self.before: list[tuple[str, dict]] = []  # (caption judged, all rows before it), of this session

    def give(self, caption_id: str, query: str, own: str, clip: str, accepted: bool) -> None:
        """Record that `clip` (a file name) matches the caption or not; a later verdict replaces an earlier one.

        query: the caption's text; own: the clip that it was written for. ValueError where a name holds a semicolon, or
        the first would be taken for the beginning of a list.
        """
        for name in (own, clip):
            if ";" in name:
                raise ValueError(
                    f"the clip's name '{name}' holds a semicolon, which parts names in {self.path}; rename the file"
                )
        if own.startswith("["):
            raise ValueError(f"the clip's name '{own}' begins with [, as a list in {self.path} does; rename the file")
        self.before.append((caption_id, copy.deepcopy(self.rows)))
        row = self.rows.setdefault(
            caption_id, {"caption_id": caption_id, "query": query, "audio_filenames": own, "rejected": ""}
        )
        for column, wanted in (("audio_filenames", accepted), ("rejected", not accepted)):
            names = [n for n in row[column].split(";") if n and n != clip]
            row[column] = ";".join([*names, clip] if wanted else names)
        write_atomically(self.path, csv_of(self.table()))

    def undo(self) -> str:
        """Take the last verdict of this session back; the caption that it was on, or an empty string."""
        if not self.before:
            return ""
        caption_id, self.rows = self.before.pop()
        write_atomically(self.path, self.table().to_csv(index=False))
        return caption_id

    def of(self, caption_id: str, clip: str) -> bool | None:
        """True (accepted), False (rejected) or None (not looked at)."""
        row = self.rows.get(caption_id, {"audio_filenames": "", "rejected": ""})
        if clip in row["audio_filenames"].split(";"):
            return True
        return False if clip in row["rejected"].split(";") else None

    def table(self) -> pd.DataFrame:
        """All verdicts, one row a caption, as they are on disk."""
        return pd.DataFrame(list(self.rows.values()), columns=COLUMNS)
