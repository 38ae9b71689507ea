"""ClothoV2 (v2.1) as published, which the built-in corpus shares: a folder and a captions table a split.

Both may lie anywhere below the corpus folder; audio is sought first in folders named after its split, such as
`development` or `clotho_audio_development`.

Drossos, Lipping and Virtanen, ICASSP 2020: development 3,839, validation 1,045, evaluation 1,045 clips of 15 to 30 s,
five captions each; `clotho_metadata_<split>.csv` (Latin-1 in some releases) gives FreeSound id, keywords, licence.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from corrlib.corpora.corpus import Corpus, build
from corrlib.corpora.layouts import NoAudio, Tree
from corrlib.corpora.tables import read_csv, refuse, refuse_empty_captions, tell

SPLITS = ("development", "validation", "evaluation")
EXPECTED = {"development": 3839, "validation": 1045, "evaluation": 1045}


def list_clotho(folder: Path, split: str, audio: bool = True, name: str = "clotho") -> Corpus:
    """Corpus of all clips that the captions table names; see `list_corpus`."""
    tree = Tree(folder)
    csv = tree.table([f"clotho_captions_{split}.csv"]) or folder / f"clotho_captions_{split}.csv"
    caption_table = read_csv(csv, ["file_name", *(f"caption_{i}" for i in range(1, 6))])
    names = caption_table["file_name"]
    refuse(csv, names[names.duplicated()], "lists the file '{}' more than once")
    columns = [c for c in caption_table.columns if re.fullmatch(r"caption_\d+", c)]
    captions = caption_table.melt("file_name", columns, value_name="text", ignore_index=False).sort_index(kind="stable")
    captions = captions.rename(columns={"file_name": "key"})[["key", "text"]].reset_index(drop=True)
    refuse_empty_captions(csv, captions["key"], captions["text"])
    others = {other for other in ("pretraining", *SPLITS) if other != split}
    audio_files = tree.audio(f"audio folder {folder / split}", {split}, others) if audio else NoAudio()
    files = pd.DataFrame(
        {
            "key": caption_table["file_name"],
            "path": [audio_files.find(name) for name in caption_table["file_name"]],
            "start_seconds": 0.0,
            "duration_seconds": np.nan,
        }
    )
    if audio and name == "clotho":
        tell(tree.told(name, [f"clotho_captions_{one}.csv" for one in SPLITS]))
    return build(name, split, files, captions, read_metadata(tree, split))


def read_metadata(tree: Tree, split: str) -> pd.DataFrame | None:
    """Table `key` (file name), and of `keywords, freesound_id, licence, author` what is given; None where there is no
    file.
    """
    path = tree.table([f"clotho_metadata_{split}.csv"])
    if path is None:
        return None
    metadata = read_csv(path, ["file_name"])
    given = {"keywords": "keywords", "sound_id": "freesound_id", "license": "licence", "manufacturer": "author"}
    metadata = metadata.rename(columns={"file_name": "key", **given})
    return metadata[["key", *(column for column in given.values() if column in metadata)]]


def list_soundscapes(folder: Path, split: str, audio: bool = True) -> Corpus:
    """The built-in corpus: ClothoV2's layout, with a pretraining split."""
    return list_clotho(folder, split, audio, "soundscapes")
