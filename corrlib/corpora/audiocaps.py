"""AudioCaps (Kim et al., NAACL 2019): train.csv, val.csv, test.csv and audio in one of the layouts in use.

Tables: audiocap_id, youtube_id, start_time, caption; one caption a clip in train, five in val and test. Published
sizes: 49,838 / 495 / 975 clips; many are no longer on YouTube. Audio: a folder `train`, `val`, `test` (or `validation`,
also below `audio`, `waveforms`, `audio_32000Hz`), or all clips in one folder; names are the YouTube id, with or without
a `Y` before it and the start second behind it, in any audio format.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from corrlib.corpora.corpus import Corpus, build
from corrlib.corpora.tables import Folder, NoAudio, need, read_csv, refuse_empty_captions, shown

FILES = {"development": ("train",), "validation": ("val", "validation"), "evaluation": ("test",)}
SPLITS = tuple(FILES)
EXPECTED = {"development": 49838, "validation": 495, "evaluation": 975}
ROOTS = ("", "audio", "waveforms", "audio_32000Hz", "wav", "wavs")


def list_audiocaps(folder: Path, split: str, audio: bool = True) -> Corpus:
    """Corpus of all clips that the table names; see `list_corpus`."""
    need(folder, "corpus folder", "put the corpus there or set `data` to its folder")
    csv = _table_of(folder, split)
    caption_table = read_csv(csv, ["youtube_id", "start_time", "caption"])
    refuse_empty_captions(csv, caption_table["youtube_id"], caption_table["caption"])
    starts = pd.to_numeric(caption_table["start_time"], errors="coerce")
    if starts.isna().any():
        row = caption_table[starts.isna()].iloc[0]
        raise ValueError(
            f"{csv} gives '{shown(row['youtube_id'])}' the start_time '{shown(row['start_time'])}'; "
            "it must be a number of seconds"
        )
    keys = caption_table["youtube_id"] + "_" + starts.astype(int).astype(str)
    audio_files = Folder(_audio_folder(folder, split)) if audio else NoAudio()
    clips = pd.DataFrame({"key": keys, "id": caption_table["youtube_id"]}).drop_duplicates("key")
    paths = [
        audio_files.find_stem("Y" + youtube_id, youtube_id, "Y" + key, key, f"{youtube_id}.wav")
        for youtube_id, key in zip(clips["id"], clips["key"], strict=True)
    ]
    files = clips.assign(path=paths, start_seconds=0.0, duration_seconds=np.nan)
    metadata = pd.DataFrame({"key": clips["key"], "youtube_id": clips["id"]})
    captions = pd.DataFrame({"key": keys, "text": caption_table["caption"]})
    return build("audiocaps", split, files, captions, metadata)


def _table_of(folder: Path, split: str) -> Path:
    places = [
        folder / sub / f"{word}.csv" for sub in ("", "dataset", "csv_files_v1", "csv_files") for word in FILES[split]
    ]
    for path in places:
        if path.is_file():
            return path
    raise FileNotFoundError(f"captions table {places[0]} does not exist; put AudioCaps' CSV files there")


def _audio_folder(folder: Path, split: str) -> Path:
    """The folder of a split's audio, or one that holds all clips."""
    roots = [folder / r for r in ROOTS]
    for path in [root / word for root in roots for word in (*FILES[split], split)]:
        if path.is_dir():
            return path
    for root in roots[1:]:
        if root.is_dir():
            return root
    raise FileNotFoundError(
        f"audio folder {folder / 'audio' / FILES[split][0]} does not exist; put the audio of the split there"
    )
