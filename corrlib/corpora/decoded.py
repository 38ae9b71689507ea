"""Decoded audio kept on disk: one flat file of 16-bit samples at one rate, made once for a split of a corpus."""

from pathlib import Path

import numpy as np

from corrlib import SOURCES
from corrlib.corpora.audio import read_clip
from corrlib.corpora.corpus import Corpus
from corrlib.files import derived, digest

MADE_BY = ("audiofiles/decode.py", "corpora/audio.py", "corpora/decoded.py")  # the code that decodes


class DecodedAudio:
    """All clips of a split as int16 in `folder`, and behind them where each ends; made where it is missing or damaged.

    The file is named after the bytes of the clips, their parts that are used, the rate and the code that decodes.
    NotWritten where the disk does not take it; errors of the clips are those of `read_clip`.
    """

    def __init__(self, corpus: Corpus, rate_hz: int, folder: str | Path) -> None:
        self.rate_hz = rate_hz
        first, durations = corpus.clips.iloc[0], corpus.clips["duration_seconds"].tolist()
        heard = corpus.fingerprint(Path(folder).parent)
        key = [
            heard,
            durations,
            rate_hz,
            *(SOURCES[file] for file in MADE_BY),
        ]
        name = f"decoded-{first['corpus']}-{first['split']}-{rate_hz}-{digest(key)[:16]}.i16"
        self.path = Path(folder) / name
        derived(
            self.path,
            lambda part: self._write(part, corpus),
            "set cache_audio to false",
            lambda: corpus.fingerprint(Path(folder).parent) == heard,
        )
        behind = 8 * len(corpus.clips)
        with open(self.path, "rb") as file:
            file.seek(-behind, 2)
            self.stops = np.frombuffer(file.read(), np.int64)
        self.samples = np.memmap(self.path, np.int16, "r", shape=(int(self.stops[-1]),))

    def _write(self, part: Path, corpus: Corpus) -> None:
        stops, total = [], 0
        with open(part, "wb") as file:
            for path, start_seconds, duration_seconds in corpus.files():
                waveform = read_clip(path, start_seconds, duration_seconds, self.rate_hz)
                file.write((np.clip(waveform, -1, 1) * 32767).round().astype(np.int16).tobytes())
                total += len(waveform)
                stops.append(total)
            file.write(np.array(stops, np.int64).tobytes())

    def read(self, clip_row: int, offset_seconds: float = 0.0, duration_seconds: float | None = None) -> np.ndarray:
        """float32 waveform (samples,) of a clip (row number), or of a part of it; None: to its end."""
        start, stop = (int(self.stops[clip_row - 1]) if clip_row else 0), int(self.stops[clip_row])
        first = min(start + round(offset_seconds * self.rate_hz), stop)
        last = stop if duration_seconds is None else min(stop, first + round(duration_seconds * self.rate_hz))
        return self.samples[first:last].astype(np.float32) / 32767
