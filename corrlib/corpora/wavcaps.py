"""WavCaps (Mei et al., TASLP 2024): four JSON files and four folders of FLAC files, one caption a clip.

json_files/<source>/*_final.json hold {"data": [{"id", "caption", "duration", ...}]}. They and the audio may lie
anywhere below the corpus folder; audio is sought first in folders named after its source, such as `FreeSound` or
`FreeSound_flac`, however deep the archives have put it.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from corrlib.corpora.corpus import Corpus, build, merge
from corrlib.corpora.layouts import NoAudio, Tree
from corrlib.corpora.tables import refuse, refuse_empty_captions, tell

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
    tree = Tree(folder)
    if audio:
        tell(tree.told("wavcaps", SOURCES.values()))
    return merge([_source(tree, source, split, audio) for source in SOURCES])


def _source(tree: Tree, source: str, split: str, audio: bool) -> Corpus:
    path = tree.table([SOURCES[source]])
    if path is None:
        place = tree.folder / "json_files" / source / SOURCES[source]
        raise FileNotFoundError(
            f"WavCaps' {SOURCES[source]} is missing: {place} does not exist; download it there, or leave wavcaps out"
        )
    entries = _entries(path)
    stems = [name.removesuffix(".wav") for name in entries["id"].tolist()]
    key = pd.Series([f"{source}/{stem}" for stem in stems], dtype=str)
    refuse(path, entries["id"][key.duplicated()], "lists the clip '{}' more than once")
    refuse_empty_captions(path, entries["id"], entries["caption"])
    others = {other.lower() for other in SOURCES if other != source}
    what = f"audio folder of {source} is missing: {tree.folder / source}_flac"
    audio_files = tree.audio(what, {source.lower()}, others) if audio else NoAudio()
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
