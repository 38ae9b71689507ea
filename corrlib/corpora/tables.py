"""Tables and files of a corpus as they are out there: encodings, odd names, nothing outside the folder."""

import html
import os
import unicodedata
from collections.abc import Collection, Iterator
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

import pandas as pd

AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".aif", ".aiff", ".opus", ".m4a")


def need(path: str | Path, what: str, mend: str) -> Path:
    """The path, or FileNotFoundError that says what is missing and the mend."""
    if not Path(path).exists():
        raise FileNotFoundError(f"{what} {path} does not exist; {mend}")
    return Path(path)


def read_csv(path: str | Path, columns: Collection[str]) -> pd.DataFrame:
    """A CSV as text, UTF-8 or else Latin-1, with at least `columns`; ValueError names file, line or column."""
    need(path, "table", "put the corpus there or set `data` to its folder")
    if not Path(path).stat().st_size:
        raise ValueError(f"{path} is empty; restore the published file")
    try:
        try:
            rows = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
        except UnicodeDecodeError:
            rows = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="latin-1")
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(
            f"{path} is not a well-formed CSV ({shown(str(error).strip().splitlines()[-1])}); mend that line"
        ) from None
    for column in columns:
        if column not in rows:
            raise ValueError(
                f"{path} has no column '{column}', only {shown(', '.join(rows.columns))}; rename the column"
            )
    if rows.empty:
        raise ValueError(f"{path} lists no clips; restore the published file")
    return rows


def shown(name: object) -> str:
    """A name from a stranger's table as it may stand in a message: one line, not endless."""
    text = " ".join(str(name).split())
    return text if len(text) <= 80 else text[:77] + "..."


def refuse(path: str | Path, culprits: pd.Series, sentence: str) -> None:
    """ValueError about the first of `culprits` (a Series), if there is any."""
    if len(culprits):
        more = f" (and {len(culprits) - 1} more)" if len(culprits) > 1 else ""
        raise ValueError(f"{path} {sentence.format(shown(culprits.iloc[0]))}{more}; restore the file or mend that line")


def refuse_empty_captions(path: str | Path, keys: pd.Series, texts: pd.Series) -> None:
    """ValueError about the first clip (by `keys`) that has a caption of nothing but blanks."""
    refuse(path, keys[texts.str.strip() == ""], "has an empty caption of '{}'")


def plain(name: str) -> str:
    """What is left of a file name when HTML entities, case, Unicode composition and trailing dots are set aside."""
    name = unicodedata.normalize("NFC", html.unescape(name)).casefold().strip()
    stem, dot, suffix = name.rpartition(".")
    return f"{stem.rstrip('. ')}.{suffix}" if dot and "." + suffix in AUDIO_SUFFIXES else name.rstrip(". ")


class Folder:
    """The audio files of one folder (not its subfolders), found by the names that tables give them."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = need(folder, "audio folder", "put the corpus there or set `data` to its folder")
        with os.scandir(self.folder) as entries:  # no question to the disk for each of 400,000 files
            self.names = {entry.name: entry.is_symlink() for entry in entries if entry.is_file()}  # whether a link
        self._text = str(self.folder)

    @cached_property
    def by_stem(self) -> dict[str, str]:
        """{name without suffix: name of the audio file}, "" where several share it."""
        names: dict[str, str] = {}
        for name in self._audio():
            stem = name[: name.rindex(".")]
            names[stem] = "" if stem in names else name
        return names

    @cached_property
    def by_plain(self) -> dict[str, list[str]]:
        """{plain name: names}; only needed for names that are not there as the tables write them."""
        names: dict[str, list[str]] = {}
        for name in sorted(self.names):
            names.setdefault(plain(name), []).append(name)
        return names

    @cached_property
    def by_plain_stem(self) -> dict[str, list[str]]:
        """As `by_plain`, of audio files, without their suffix."""
        names: dict[str, list[str]] = {}
        for name in sorted(self._audio()):
            names.setdefault(plain(name).rpartition(".")[0], []).append(name)
        return names

    def _audio(self) -> Iterator[str]:
        return (name for name in self.names if name.lower().endswith(AUDIO_SUFFIXES))

    def find(self, name: str) -> str:
        """Path of the file that a table calls `name`, or "".

        ValueError where the name leaves the folder or is unclear.
        """
        if "/" in name or "\\" in name or name in ("..", "."):
            raise ValueError(
                f"the tables name '{shown(name)}', which lies outside {self.folder}; a clip's name must be "
                "a plain file name"
            )
        if name in self.names:
            return self._inside(name)
        for wanted in (plain(name), plain(unquote(name))):
            if wanted in self.by_plain:
                return self._inside(self._only(name, self.by_plain[wanted]))
        return ""

    def find_stem(self, *stems: str) -> str:
        """Path of the file whose name without suffix is one of `stems`, or ""."""
        for stem in stems:
            if name := self.by_stem.get(stem):
                return self._inside(name)
            for wanted in (plain(stem), stem.casefold()):
                if wanted in self.by_plain_stem:
                    return self._inside(self._only(stem, self.by_plain_stem[wanted]))
        return ""

    def _only(self, name: str, files: list[str]) -> str:
        """The one file of several that is meant; ValueError where that is unclear."""
        exact = [file for file in files if file.rpartition(".")[0] == name]
        if len(files) > 1 and len(exact) != 1:
            raise ValueError(
                f"{self.folder} holds {len(files)} files for '{shown(name)}': "
                f"{', '.join(map(shown, files[:3]))}; keep one of them"
            )
        return exact[0] if len(files) > 1 else files[0]

    def _inside(self, name: str) -> str:
        if not self.names[name]:
            return f"{self._text}/{name}"
        path = self.folder / name
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise ValueError(f"{path} is a link to a file outside its folder; put the file itself there")
        return str(path)


class NoAudio:
    """In place of a `Folder` where only the text side of a corpus is wanted."""

    def find(self, name: str) -> str:
        """No path: ""."""
        return ""

    def find_stem(self, *stems: str) -> str:
        """No path: ""."""
        return ""
