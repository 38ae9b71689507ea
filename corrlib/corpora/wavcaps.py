"""WavCaps (Mei et al., TASLP 2024): four JSON files and four folders of FLAC files, one caption a clip.

json_files/<source>/*_final.json hold {"data": [{"id", "caption", "duration", ...}]}; audio is in
<source>_flac, <source> or <source>/flac below the corpus folder, `waveforms`, `Zip_files` or `audio`.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from corrlib.corpora.corpus import Corpus, build, merge
from corrlib.corpora.tables import Folder, NoAudio, need, refuse, refuse_empty_captions

SPLITS = ("development",)
SOURCES = {
    "FreeSound": "fsd_final.json",
    "BBC_Sound_Effects": "bbc_final.json",
    "SoundBible": "sb_final.json",
    "AudioSet_SL": "as_final.json",
}
EXPECTED = {"FreeSound": 262300, "BBC_Sound_Effects": 31201, "SoundBible": 1232, "AudioSet_SL": 108317}


def list_wavcaps(folder: Path, split: str, audio: bool = True) -> Corpus:
    """Corpus of all clips that the JSON files name; see `list_corpus`."""
    need(folder, "corpus folder", "put the corpus there or set `data` to its folder")
    return merge([_source(folder, source, split, audio) for source in SOURCES])


def _source(folder: Path, source: str, split: str, audio: bool) -> Corpus:
    path = _first(
        folder,
        f"WavCaps' {SOURCES[source]}",
        [f"json_files/{source}/{SOURCES[source]}", f"json_files/{SOURCES[source]}", SOURCES[source]],
    )
    entries = _entries(path)
    stems = [name.removesuffix(".wav") for name in entries["id"].tolist()]
    key = pd.Series([f"{source}/{stem}" for stem in stems], dtype=str)
    refuse(path, entries["id"][key.duplicated()], "lists the clip '{}' more than once")
    refuse_empty_captions(path, entries["id"], entries["caption"])
    places = [
        f"{root}{source}{end}"
        for root in ("", "waveforms/", "audio/", "Zip_files/", "flac/")
        for end in ("_flac", "", "/flac")
    ]
    audio_files = Folder(_first(folder, f"audio folder of {source}", places)) if audio else NoAudio()
    files = pd.DataFrame(
        {
            "key": key,
            "path": [audio_files.find_stem(stem) for stem in stems],
            "start_seconds": 0.0,
            "duration_seconds": np.nan,
        }
    )
    metadata = pd.DataFrame({"key": key, "source": source, "id": pd.Series(stems, dtype=str)})
    return build("wavcaps", split, files, pd.DataFrame({"key": key, "text": entries["caption"]}), metadata)


def _first(folder: Path, what: str, places: Sequence[str]) -> Path:
    for place in places:
        if (folder / place).exists():
            return folder / place
    raise FileNotFoundError(
        f"{what} is missing: {folder / places[0]} does not exist; download it there, or leave wavcaps out"
    )


def _entries(path: Path) -> pd.DataFrame:
    """DataFrame id, caption. Of an entry nothing else is kept in memory: the files tell much more."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_hook=_slim)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}); download it again") from None
    except RecursionError:
        raise ValueError(f"{path} is not valid JSON of clips (it is nested without end); download it again") from None
    data = content.get("data") if isinstance(content, dict) else content
    if not isinstance(data, list) or not data or set(map(type, data)) != {tuple}:
        raise ValueError(f"{path} holds no list of clips under 'data'; download it again")
    columns = dict(zip(("id", "caption"), zip(*data, strict=True), strict=True))
    for name, values in columns.items():
        if not set(map(type, values)) <= {str, int}:
            number = next(n for n, value in enumerate(values, 1) if type(value) not in (str, int))
            raise ValueError(f"{path} has no {name} in its entry {number}; download it again")
    return pd.DataFrame({name: list(map(str, values)) for name, values in columns.items()}, dtype=str)


def _slim(entry: dict) -> dict | tuple[Any, Any]:
    """(id, caption) of an entry; the object that holds them all stays a dict."""
    return entry if "data" in entry else (entry.get("id"), entry.get("caption"))
