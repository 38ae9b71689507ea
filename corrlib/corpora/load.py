"""Corpora by name, alone or merged: list what their tables name, audit it, leave out what leaks."""

import difflib
from collections.abc import Callable, Collection
from pathlib import Path

from corrlib.corpora import audiocaps, clotho, folder, leaks, wavcaps
from corrlib.corpora.auditing import audit, lengths_of
from corrlib.corpora.corpus import Corpus, merge
from corrlib.corpora.exclusions import leave_out
from corrlib.corpora.layouts import corpus_folder

CORPORA: dict[str, tuple[Callable[[Path, str, bool], Corpus], tuple[str, ...]]] = {  # name: how to list it, splits
    "clotho": (clotho.list_clotho, clotho.SPLITS),
    "audiocaps": (audiocaps.list_audiocaps, audiocaps.SPLITS),
    "wavcaps": (wavcaps.list_wavcaps, wavcaps.SPLITS),
    "soundscapes": (clotho.list_soundscapes, ("pretraining", *clotho.SPLITS)),
    "folder": (folder.list_folder, folder.SPLITS),
}


def load_corpus(name: str, folder: str | Path, split: str, tolerance: float = 0.0, exclude: str | Path = "") -> Corpus:
    """A split of corpus `name` (`clotho`, `clotho+audiocaps+wavcaps`, ...) in `folder`, audited.

    The folder of a corpus is `folder`/<its name> if there is one, else `folder`. Of merged corpora, training
    (`development`) takes all; the other splits are those of the first named. Clips that are missing, unreadable,
    cut short, empty or listed twice are left out if they are at most the share `tolerance` of their corpus, else
    AuditError. exclude: a CSV of FreeSound ids, whose clips are not trained on (see `exclusions`). Other errors name
    the file, column or name that is wrong, and the mend.
    """
    listed = leave_out(list_corpus(name, folder, split), exclude)
    return audit(listed, tolerance, lengths_of(folder))[0]


def list_corpus(name: str, folder: str | Path, split: str, audio: bool = True) -> Corpus:
    """As `load_corpus`, without opening the audio: `path` is "" where a file is missing, durations are unknown.

    audio=False: the tables alone, for a corpus whose audio is not at hand; every `path` is "".
    """
    names = check_name(name)
    if split not in splits_of(name):
        raise ValueError(f"corpus '{names[0]}' has no split '{split}'{_nearest(split, splits_of(name))}")
    used = names if split == "development" else names[:1]
    listed = {n: CORPORA[n][0](folder_of(folder, n, len(names) > 1), split, audio) for n in used}
    if "wavcaps" in listed and len(listed) > 1:
        listed["wavcaps"] = listed["wavcaps"].without(
            leaks.in_evaluation(listed["wavcaps"], {n: folder_of(folder, n, True) for n in used})
        )
    return merge(list(listed.values())) if len(listed) > 1 else listed[names[0]]


def check_name(name: str) -> list[str]:
    """['clotho', 'wavcaps'] of 'clotho+wavcaps'; ValueError with the nearest right name."""
    names = name.split("+")
    for one in names:
        if one not in CORPORA:
            raise ValueError(f"unknown corpus '{one}'{_nearest(one, CORPORA)}")
    if len(set(names)) < len(names):
        raise ValueError(f"corpus '{name}' names one twice; name each once")
    return names


def splits_of(name: str) -> tuple[str, ...]:
    """The splits of a corpus, or of the first of merged ones."""
    return CORPORA[check_name(name)[0]][1]


def folder_of(folder: str | Path, name: str, merged: bool = False) -> Path:
    """The folder of corpus `name` below `folder` if there is one, else `folder` (of merged corpora always the former).

    It is called `name`, or as other tools call it; see `layouts.corpus_folder`.
    """
    below = corpus_folder(folder, name)
    return below or (Path(folder) / name if merged else Path(folder))


def _nearest(word: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else f"; known: {', '.join(known)}"
