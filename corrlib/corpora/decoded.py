"""Decoded audio kept on disk: one flat file of 16-bit samples at one rate, made once for a split of a corpus."""

import fcntl
import hashlib
import json
import os
from pathlib import Path

import numpy as np

from corrlib.corpora.audio import read_clip
from corrlib.files import write_atomically


class DecodedAudio:
    """All clips of a split as int16 in `folder`; made where it is missing, and made again (said aloud) where stale.

    It is stale when a clip's file has another size or time of change, or the clips or the rate are others.
    """

    def __init__(self, corpus, rate_hz, folder):
        self.rate_hz = rate_hz
        first = corpus.clips.iloc[0]
        self.path = Path(folder) / f"decoded-{first['corpus']}-{first['split']}-{rate_hz}.i16"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path.with_suffix(".lock"), "w") as lock:  # two runs want the same cache: one makes it
            fcntl.flock(lock, fcntl.LOCK_EX)
            state = _state(corpus, rate_hz)
            record = self._record()
            if record is None or record["state"] != state:
                if record is not None:
                    print(f"{self.path} is stale: the clips have changed; they are decoded again", flush=True)
                record = self._write(corpus, state)
        self.stops = np.array(record["stops"])
        self.samples = np.memmap(self.path, np.int16, "r")

    def _record(self):
        path = self.path.with_suffix(".json")
        if not path.is_file() or not self.path.is_file():
            return None
        record = json.loads(path.read_text())
        whole = self.path.stat().st_size == 2 * (record["stops"] or [0])[-1]
        return record if whole else {"state": "cut short"}

    def _write(self, corpus, state):
        self.path.with_suffix(".json").unlink(missing_ok=True)
        stops, total, part = [], 0, self.path.with_suffix(f".{os.getpid()}.part")
        try:
            with open(part, "wb") as file:
                for row in corpus.clips.itertuples():
                    waveform = read_clip(row.path, row.start_seconds, row.duration_seconds, self.rate_hz)
                    file.write((np.clip(waveform, -1, 1) * 32767).round().astype(np.int16).tobytes())
                    total += len(waveform)
                    stops.append(total)
            os.replace(part, self.path)
        except OSError as error:
            raise OSError(
                f"could not write {self.path} ({error.strerror or error}); free some space, or set cache_audio to false"
            ) from None
        finally:
            part.unlink(missing_ok=True)
        record = {"state": state, "stops": stops}
        write_atomically(self.path.with_suffix(".json"), json.dumps(record))
        return record

    def read(self, clip, offset_seconds=0.0, seconds=None):
        """float32 waveform (samples,) of a clip (row number), or of a part of it."""
        start, stop = (int(self.stops[clip - 1]) if clip else 0), int(self.stops[clip])
        first = min(start + round(offset_seconds * self.rate_hz), stop)
        last = stop if seconds is None else min(stop, first + round(seconds * self.rate_hz))
        return self.samples[first:last].astype(np.float32) / 32767


def _state(corpus, rate_hz):
    digest = hashlib.sha256(str(rate_hz).encode())
    for row in corpus.clips.itertuples():
        stat = os.stat(row.path)
        digest.update(
            f"{row.clip_id}\t{row.start_seconds}\t{row.duration_seconds}\t{stat.st_size}\t{stat.st_mtime_ns}\n".encode()
        )
    return digest.hexdigest()
