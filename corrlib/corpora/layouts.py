"""Where a corpus's tables and audio files lie: sought below its folder, in whatever layout they were unpacked."""

import html
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from functools import cached_property
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from corrlib.audiofiles.decode import AUDIO_SUFFIXES
from corrlib.corpora.tables import PUT, need, shown

FORBIDDEN = re.compile(r'[:*?"<>|]')  # what some file systems cannot hold, and archives write otherwise
SHOWN = 4  # places of audio that a line names
CORPUS_NAMES = re.compile(r"[^a-z0-9]|v2\.?1?$")


def plain(name: str) -> str:
    """What is left of a file name when HTML entities, case, Unicode composition and trailing dots are set aside."""
    name = unicodedata.normalize("NFC", html.unescape(name)).casefold().strip()
    stem, dot, suffix = name.rpartition(".")
    return f"{stem.rstrip('. ')}.{suffix}" if dot and "." + suffix in AUDIO_SUFFIXES else name.rstrip(". ")


def loose(name: str) -> str:
    """What is left of a plain name when all that is neither letter nor digit counts as one character."""
    return re.sub(r"[\W_]+", "_", plain(name))


def corpus_folder(folder: str | Path, name: str) -> Path | None:
    """The folder of corpus `name` below `folder`, also as other tools call it (`CLOTHO_v2.1`, `AUDIOCAPS`, `WavCaps`).

    None where there is none; ValueError names two.
    """
    if (Path(folder) / name).is_dir():
        return Path(folder) / name
    if not Path(folder).is_dir():
        return None
    found = [
        path
        for path in sorted(Path(folder).iterdir())
        if path.is_dir() and CORPUS_NAMES.sub("", path.name.lower()) == name
    ]
    if len(found) > 1:
        raise ValueError(f"{name} may lie in {found[0]} or in {found[1]}; keep one of them")
    return found[0] if found else None


class Tree:
    """All folders below one, with the names of their files. Hidden folders and `cache` are not looked into."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = need(folder, "corpus folder", PUT)
        self.files: dict[str, list[str]] = {}  # folder below: its files, but for audio
        self.sounds: dict[str, Counter[str]] = {}  # folders that hold audio: how many files of each suffix
        self._scan("", set())

    def _scan(self, below: str, seen: set[tuple[int, int]]) -> None:
        path = os.path.join(self.folder, below)
        state = os.stat(path)
        if (state.st_dev, state.st_ino) in seen:  # a link to a folder above
            return
        seen.add((state.st_dev, state.st_ino))
        names, folders, sounds = [], [], Counter[str]()
        with os.scandir(path) as entries:  # no question to the disk for each of 400,000 files, and no name of them kept
            for entry in entries:
                if entry.name.lower().endswith(AUDIO_SUFFIXES):
                    sounds[entry.name[entry.name.rindex(".") :].lower()] += 1
                elif entry.is_dir():
                    folders.append(entry.name)
                elif entry.is_file():
                    names.append(entry.name)
        self.files[below] = names
        if sounds:
            self.sounds[below] = sounds
        for name in sorted(folders):
            if not name.startswith(".") and name != "cache":
                self._scan(f"{below}/{name}" if below else name, seen)

    def table(self, names: Collection[str]) -> Path | None:
        """The one file with one of the names; None where there is none, ValueError that names two."""
        found = [
            f"{below}/{name}" if below else name
            for below, files in self.files.items()
            for name in names
            if name in files
        ]
        if len(found) > 1:
            raise ValueError(
                f"{self.folder} holds two tables for one split, {found[0]} and {found[1]}; keep one of them"
            )
        return self.folder / found[0] if found else None

    def told(self, name: str, tables: Collection[str]) -> str:
        """What of corpus `name` lies where, in one line: its tables by name, and how much audio in which folders."""
        there = [
            f"{below}/{file}".lstrip("/") for below, files in self.files.items() for file in files if file in tables
        ]
        found = Counter[str]()
        for below, suffixes in self.sounds.items():
            found.update({f"{below}/*{suffix}".lstrip("/"): count for suffix, count in suffixes.items()})
        audio = [f"{place} ({count:,})" for place, count in found.most_common(SHOWN)]
        audio += [f"{len(found) - SHOWN} more kinds and folders"] if len(found) > SHOWN else []
        return f"{name} in {self.folder}: {', '.join(there) or 'no table'}; audio {', '.join(audio) or 'none'}"

    def has_audio(self, words: Iterable[str] = ()) -> bool:
        """Whether there is any audio file, or one in a folder that is the own one of `words` (see `audio`)."""
        return any(not words or _named(below, words) for below in self.sounds)

    def audio(self, what: str, own: Iterable[str], others: Iterable[str] = ()) -> "Audio":
        """The audio files of a split: first of the folders that are its own, then of those that are nobody's.

        own: words of the split; a folder is its own where its name, or that of one above it, is such a word, alone or
        before or behind a `_`. others: words of other splits. what: as it is called where there is no audio at all.
        """
        mine = [below for below in self.sounds if _named(below, own)]
        nobodys = [below for below in self.sounds if below not in mine and not _named(below, others)]
        if not mine and not nobodys:
            raise FileNotFoundError(f"{what} does not exist; put the audio there, or its archives unpacked")
        return Audio(Files(self, mine), Files(self, nobodys))


def _named(below: str, words: Iterable[str]) -> bool:
    parts = PurePosixPath(below.lower()).parts
    return any(
        part == word or part.startswith(f"{word}_") or part.endswith(f"_{word}") for word in words for part in parts
    )


class Files:
    """The audio files of some folders (not their subfolders), found by the names that tables give them."""

    def __init__(self, tree: Tree, folders: Collection[str]) -> None:
        self.tree = tree
        self.places: dict[str, str] = {}  # name: folder
        self.twice: dict[str, str] = {}  # name: another folder with a file of that name
        self.links: set[str] = set()
        for folder in folders:
            with os.scandir(os.path.join(tree.folder, folder)) as entries:
                for entry in entries:
                    if entry.name.lower().endswith(AUDIO_SUFFIXES) and entry.is_file():
                        if entry.is_symlink():
                            self.links.add(entry.name)
                        if self.places.setdefault(entry.name, folder) != folder:
                            self.twice[entry.name] = folder

    @cached_property
    def by_stem(self) -> dict[str, str]:
        """{name without suffix: name of the file}, "" where several share it."""
        names: dict[str, str] = {}
        for name in self.places:
            stem = name[: name.rindex(".")]
            names[stem] = "" if stem in names else name
        return names

    # only needed for names that are not there as the tables write them
    @cached_property
    def by_plain(self) -> dict[str, list[str]]:
        """{plain name: names}."""
        return self._grouped(plain)

    @cached_property
    def by_plain_stem(self) -> dict[str, list[str]]:
        """{plain name without suffix: names}."""
        return self._grouped(lambda name: plain(name).rpartition(".")[0])

    @cached_property
    def by_loose(self) -> dict[str, list[str]]:
        """{loose name: names}."""
        return self._grouped(loose)

    @cached_property
    def by_loose_stem(self) -> dict[str, list[str]]:
        """{loose name without suffix: names}."""
        return self._grouped(lambda name: loose(name[: name.rindex(".")]))

    def _grouped(self, key: Callable[[str], str]) -> dict[str, list[str]]:
        names: dict[str, list[str]] = {}
        for name in sorted(self.places):
            names.setdefault(key(name), []).append(name)
        return names

    def find(self, name: str) -> str:
        """Path of the file that a table calls `name`, or ""; ValueError where that is unclear or leaves the folder."""
        if name in self.places:
            return self._path(name)
        for wanted in (plain(name), plain(unquote(name))):
            if wanted in self.by_plain:
                return self._path(self._only(name, self.by_plain[wanted]))
        if FORBIDDEN.search(html.unescape(name)) and loose(name) in self.by_loose:
            return self._path(self._only(name, self.by_loose[loose(name)]))
        return ""

    def find_stem(self, *stems: str) -> str:
        """Path of the file whose name without suffix is one of `stems`, or "". Errors are those of `find`."""
        for stem in stems:
            if name := self.by_stem.get(stem):
                return self._path(name)
            for wanted in (plain(stem), stem.casefold()):
                if wanted in self.by_plain_stem:
                    return self._path(self._only(stem, self.by_plain_stem[wanted]))
            if FORBIDDEN.search(stem) and loose(stem) in self.by_loose_stem:
                return self._path(self._only(stem, self.by_loose_stem[loose(stem)]))
        return ""

    def _only(self, name: str, files: list[str]) -> str:
        """The one file of several that is meant; ValueError where that is unclear."""
        exact = [file for file in files if file.rpartition(".")[0] == name]
        if len(files) > 1 and len(exact) != 1:
            listed = ", ".join(shown(self._below(file)) for file in files[:3])
            raise ValueError(
                f"{self.tree.folder} holds {len(files)} files for '{shown(name)}': {listed}; keep one of them"
            )
        return exact[0] if len(files) > 1 else files[0]

    def _below(self, name: str) -> str:
        return f"{self.places[name]}/{name}" if self.places[name] else name

    def _path(self, name: str) -> str:
        if name in self.twice:
            raise ValueError(
                f"{self.tree.folder} holds two files for '{shown(name)}': {self._below(name)} and "
                f"{self.twice[name]}/{name}; keep one of them"
            )
        path = f"{self.tree.folder}/{self._below(name)}"
        if name in self.links and not Path(path).resolve().is_relative_to(Path(path).parent.resolve()):
            raise ValueError(f"{path} is a link to a file outside its folder; put the file itself there")
        return path


class Audio:
    """The audio files of a split: its own, and where a clip is not among them, nobody's."""

    def __init__(self, own: Files, others: Files) -> None:
        self.tiers = (own, others)

    def find(self, name: str) -> str:
        """Path of the file that a table calls `name`, if need be in another format, or "".

        ValueError where the name leaves the folder, or several files may be meant.
        """
        if "/" in name or "\\" in name or name in ("..", "."):
            raise ValueError(
                f"the tables name '{shown(name)}', which lies outside {self.tiers[0].tree.folder}; a clip's name must "
                "be a plain file name"
            )
        found = next((path for tier in self.tiers if (path := tier.find(name))), "")
        stem, dot, suffix = name.rpartition(".")
        return found or (self.find_stem(stem) if f"{dot}{suffix.lower()}" in AUDIO_SUFFIXES else "")

    def find_stem(self, *stems: str) -> str:
        """Path of the file whose name without suffix is one of `stems`, or "". Errors are those of `find`."""
        return next((path for tier in self.tiers if (path := tier.find_stem(*stems))), "")


class NoAudio:
    """In place of `Audio` where only the text side of a corpus is wanted."""

    def find(self, name: str) -> str:
        """No path: ""."""
        return ""

    def find_stem(self, *stems: str) -> str:
        """No path: ""."""
        return ""
