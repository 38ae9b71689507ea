"""AudioCaps (Kim et al., NAACL 2019): train.csv, val.csv, test.csv and audio in one of the layouts in use.

Tables: audiocap_id, youtube_id, start_time, caption; one caption a clip in train, five in val and test. Published
sizes: 49,838 / 495 / 975 clips; many are no longer on YouTube. Both may lie anywhere below the corpus folder; audio is
sought first in folders named `train`, `val` (`validation`) and `test`. Names are the YouTube id, with or without a `Y`
before it and its start, or start and end, behind it (in seconds or milliseconds), or the `audiocap_id`; in any audio
format.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from corrlib.corpora.corpus import Corpus, build
from corrlib.corpora.layouts import NoAudio, Tree
from corrlib.corpora.tables import read_csv, refuse_empty_captions, shown, tell

FILES = {"development": ("train",), "validation": ("val", "validation"), "evaluation": ("test",)}
SPLITS = tuple(FILES)
SECONDS = 10  # of a clip
EXPECTED = {"development": 49838, "validation": 495, "evaluation": 975}


def list_audiocaps(folder: Path, split: str, audio: bool = True) -> Corpus:
    """Corpus of all clips that the table names; see `list_corpus`."""
    tree = Tree(folder)
    csv = tree.table([f"{word}.csv" for word in FILES[split]])
    if csv is None:
        place = folder / f"{FILES[split][0]}.csv"
        raise FileNotFoundError(f"captions table {place} does not exist; put AudioCaps' CSV files there")
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
    own = {*FILES[split], split}
    others = {word for other, words in FILES.items() if other != split for word in (*words, other)}
    what = f"audio folder {folder / 'audio' / FILES[split][0]}"
    audio_files = tree.audio(what, own, others) if audio else NoAudio()
    numbers = caption_table["audiocap_id"] if "audiocap_id" in caption_table else ""
    clips = pd.DataFrame(
        {"key": keys, "id": caption_table["youtube_id"], "start": starts.astype(int), "number": numbers}
    )
    clips = clips.drop_duplicates("key")
    paths = [
        audio_files.find_stem(*_stems(*row))
        for row in zip(clips["id"], clips["start"].tolist(), clips["number"], strict=True)
    ]
    files = clips[["key"]].assign(path=paths, start_seconds=0.0, duration_seconds=np.nan)
    if audio:
        tell(tree.told("audiocaps", [f"{word}.csv" for words in FILES.values() for word in words]))
    metadata = pd.DataFrame({"key": clips["key"], "youtube_id": clips["id"]})
    captions = pd.DataFrame({"key": keys, "text": caption_table["caption"]})
    return build("audiocaps", split, files, captions, metadata)


def _stems(youtube_id: str, start: int, number: str) -> list[str]:
    """The names that a clip's file may have, without suffix, as the programs that fetch AudioCaps give them."""
    stop = start + SECONDS
    times = [f"{start}", f"{start}_{stop}", f"{1000 * start}", f"{1000 * start}_{1000 * stop}"]
    times += [f"{start}.000_{stop}.000"]
    stems = [youtube_id, *(f"{youtube_id}_{time}" for time in times)]
    stems = [name for stem in stems for name in (f"Y{stem}", stem)]
    return [*stems, f"{youtube_id}.wav", *([number] if number else [])]
