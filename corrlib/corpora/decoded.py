"""Decoded audio kept on disk: one flat file of 16-bit samples at one rate, made once for a split of a corpus."""

import hashlib
import json
import os
from pathlib import Path
from typing import TypedDict

import numpy as np

from corrlib.corpora.audio import read_clip
from corrlib.corpora.corpus import Corpus
from corrlib.files import locked, replacing, write_atomically


class Record(TypedDict):
    """What is said of the samples beside them: of which clips they are; where each clip ends, in samples."""

    state: str
    stops: list[int]


class DecodedAudio:
    """All clips of a split as int16 in `folder`; made where it is missing, and made again (said aloud) where it is
    stale or damaged.

    It is stale when a clip's file has another size or time of change, or the clips or the rate are others.
    NotWritten where the disk does not take it; errors of the clips are those of `read_clip`.
    """

    def __init__(self, corpus: Corpus, rate_hz: int, folder: str | Path) -> None:
        self.rate_hz = rate_hz
        first = corpus.clips.iloc[0]
        self.path = Path(folder) / f"decoded-{first['corpus']}-{first['split']}-{rate_hz}.i16"
        with locked(self.path):  # two runs want the same cache: one makes it
            state = _state(corpus, rate_hz)
            record = self._record()
            if record is not None and (record["state"], len(record["stops"])) != (state, len(corpus.clips)):
                print(f"{self.path} is stale: the clips have changed; they are decoded again", flush=True)
                record = None
            if record is None:
                record = self._write(corpus, state)
        self.stops = np.array(record["stops"])
        self.samples = np.memmap(self.path, np.int16, "r")

    def _record(self) -> Record | None:
        """What is kept, None where there is nothing or it is damaged."""
        path = self.path.with_suffix(".json")
        if not path.exists():  # it is written last
            return None
        try:
            record = json.loads(path.read_bytes())
            stops = np.array(record["stops"], np.int64)
            samples = self.path.stat().st_size / 2
            rising = stops.ndim == 1 and len(stops) > 0 and bool((np.diff(stops, prepend=0) > 0).all())
            if rising and stops[-1] == samples and isinstance(record["state"], str):
                return record
        except (OSError, ValueError, KeyError, TypeError, OverflowError):
            pass
        print(f"{self.path} or its {path.name} is damaged; the clips are decoded again", flush=True)
        return None

    def _write(self, corpus: Corpus, state: str) -> Record:
        self.path.with_suffix(".json").unlink(missing_ok=True)
        stops, total = [], 0
        with replacing(self.path, "set cache_audio to false") as part, open(part, "wb") as file:
            for path, start_seconds, duration_seconds in corpus.files():
                waveform = read_clip(path, start_seconds, duration_seconds, self.rate_hz)
                file.write((np.clip(waveform, -1, 1) * 32767).round().astype(np.int16).tobytes())
                total += len(waveform)
                stops.append(total)
        record: Record = {"state": state, "stops": stops}
        write_atomically(self.path.with_suffix(".json"), json.dumps(record))
        return record

    def read(self, clip_row: int, offset_seconds: float = 0.0, duration_seconds: float | None = None) -> np.ndarray:
        """float32 waveform (samples,) of a clip (row number), or of a part of it; None: to its end."""
        start, stop = (int(self.stops[clip_row - 1]) if clip_row else 0), int(self.stops[clip_row])
        first = min(start + round(offset_seconds * self.rate_hz), stop)
        last = stop if duration_seconds is None else min(stop, first + round(duration_seconds * self.rate_hz))
        return self.samples[first:last].astype(np.float32) / 32767


def _state(corpus: Corpus, rate_hz: int) -> str:
    """Digest of the clips' names, parts, sizes and times of change."""
    digest = hashlib.sha256(str(rate_hz).encode())
    for clip_id, file in zip(corpus.clips["clip_id"], corpus.files(), strict=True):
        stat = os.stat(file.path)
        digest.update(
            f"{clip_id}\t{file.start_seconds}\t{file.duration_seconds}\t{stat.st_size}\t{stat.st_mtime_ns}\n".encode()
        )
    return digest.hexdigest()
