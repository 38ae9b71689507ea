"""How much of each audio file decodes: all files in one pass, in parallel, and remembered.

Samples that are stored as they are (PCM) need no decoding: the size of the file tells. Of FLAC, Ogg and MP3 the end is
decoded, and the whole where it is not there; what PyAV decodes, as a whole.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import soundfile

from corrlib.audiofiles.decode import NEEDS_PYAV, RATES_HZ, PyAVError, container, mono_parts
from corrlib.files import NotWritten, digest_file, replacing, write_atomically

MANY = 500  # files from which on what was found is kept on disk, for the next time
KEY = ["path", "size", "changed"]
LONGEST_SECONDS = 48 * 3600.0
TAIL = 2**14  # frames that are decoded at a file's end
BLOCK = 2**12  # frames decoded at a time: of a block that ends in an error, none counts
LITTLE = (0.05, 2304)  # of what a compressed file promises, and frames: less may lack of it; encoders' delays do
ENCODED = ("MPEG", "VORBIS", "OPUS", "ALAC", "ADPCM", "GSM", "VOX", "G72", "NMS", "DWVW", "DPCM")  # of subtypes
PAGE = 65307 + 4  # bytes: the largest page of an Ogg file
DAMAGED = "unreadable: it does not decode to its end"


class Probed(NamedTuple):
    """What decodes of a file: frames, rate in Hz, and a problem or "".

    A problem is `missing`, `zero-length`, `unreadable` or `cut short`, and behind a colon what more is known. Of what
    is cut short, frames are those that are there.
    """

    frames: int
    rate_hz: int
    problem: str


def probe_all(
    paths: Sequence[str], memory: str | Path | None = None, look: Callable[[str, int], Probed] | None = None
) -> pd.DataFrame:
    """DataFrame frames, rate_hz, problem of each file, in their order; a path "" is missing.

    memory: a CSV in which what was found of many files is kept, and found again while a file's size and time of change
    are the same. Of files with a problem only what `remember_damaged` has written is kept: others may be readable on
    another day. look: what is asked of a path and its size, `probe` if not given; each has a memory of its own.
    """
    states = np.array([_state(name) for name in paths], np.int64).reshape(-1, 2)
    files = pd.DataFrame({"path": list(paths), "size": states[:, 0], "changed": states[:, 1]})
    probed = pd.DataFrame({"frames": 0, "rate_hz": 0, "problem": "missing"}, index=files.index)
    unknown = files["size"] >= 0
    if memory is not None and Path(memory).is_file():
        known = files.merge(_known(Path(memory)), how="left", on=KEY)
        same = known["problem"].notna() & unknown
        for name in Probed._fields:
            probed.loc[same, name] = known[name][same].astype(probed[name].dtype)
        unknown &= ~same
    fresh = _probe_some(files["path"][unknown].tolist(), files["size"][unknown].tolist(), look or probe)
    probed.loc[unknown] = pd.DataFrame(fresh, columns=probed.columns, index=files.index[unknown])
    if memory is not None and fresh and len(files) > MANY:
        found = pd.concat([files, probed], axis=1)[unknown]
        _remember(Path(memory), found[found["problem"] == ""])
    return probed


def probe(path: str, size: int, whole: bool = False) -> Probed:
    """What decodes of one file of `size` bytes; whole: found by decoding all of it."""
    if _damaged and (path, *_state(path)) in _damaged:
        return Probed(0, 0, DAMAGED)
    if not size:
        return Probed(0, 0, "zero-length")
    try:
        with soundfile.SoundFile(path) as file:
            return _probe_open(path, size, file, whole)
    except soundfile.LibsndfileError:
        pass
    try:
        return _probe_by_pyav(path) if container(path) else Probed(0, 0, "unreadable")
    except OSError:
        return Probed(0, 0, "unreadable")


def seconds_of(path: str | Path) -> float:
    """How long a file is, by what decodes; 0 where it cannot be read, which is told where it is read."""
    size, _ = _state(str(path))
    found = probe(str(path), size) if size > 0 else Probed(0, 0, "missing")
    return found.frames / found.rate_hz if found.rate_hz else 0.0


def remember_damaged(path: str | Path, memory: str | Path) -> bool:
    """Decode all of a file that could not be read; whether that fails, which is then remembered.

    A file of another size or time of change is another one.
    """
    size, changed = _state(str(path))
    if (str(path), size, changed) in _damaged:
        return True
    if size < 0 or not probe(str(path), size, whole=True).problem:
        return False
    _damaged.add((str(path), size, changed))
    row = {"path": str(path), "size": size, "changed": changed, "frames": 0, "rate_hz": 0, "problem": DAMAGED}
    _remember(Path(memory), pd.DataFrame([row]))
    return True


_damaged: set[tuple[str, int, int]] = set()  # path, size, change: also where no memory can be written


def probe_whole(path: str, size: int) -> Probed:
    """`probe` of a file that is read as a whole."""
    return probe(path, size, whole=True)


def _probe_some(paths: list[str], sizes: list[int], look: Callable[[str, int], Probed]) -> list[Probed]:
    """`look` at each; decoding lets other threads work."""
    workers = min(8, os.cpu_count() or 1)
    if len(paths) < 4 * workers:
        return [look(path, size) for path, size in zip(paths, sizes, strict=True)]
    parts = [(paths[at : at + 16], sizes[at : at + 16]) for at in range(0, len(paths), 16)]
    with ThreadPoolExecutor(workers, "probe") as pool:
        of_parts = pool.map(lambda part: [look(path, size) for path, size in zip(*part, strict=True)], parts)
        return [found for part in of_parts for found in part]


def _probe_open(path: str, size: int, file: soundfile.SoundFile, whole: bool) -> Probed:
    low, high = RATES_HZ
    promised, rate_hz, endless = file.frames, file.samplerate, file.frames >= 2**62
    too_long = not endless and promised > LONGEST_SECONDS * rate_hz
    if file.channels < 1 or not low <= rate_hz <= high or promised < 0 or too_long:
        return Probed(0, 0, "unreadable")
    if _is_cut(path, size):
        return Probed(promised, rate_hz, "cut short")
    if not promised:
        return Probed(0, 0, "zero-length")
    flac = file.format == "FLAC"
    if not flac and not file.subtype.startswith(ENCODED):
        return Probed(promised, rate_hz, "")
    if not whole and not endless and _tail_decodes(file):
        return Probed(promised, rate_hz, "")
    frames = _count(path)
    share, few = LITTLE
    if not frames:
        return Probed(0, 0, "unreadable")
    if not endless and promised - frames > (0 if flac else max(share * promised, few)):
        return Probed(
            frames, rate_hz, f"cut short: {frames / rate_hz:.2f} of {promised / rate_hz:.2f} s can be decoded"
        )
    return Probed(frames, rate_hz, "")


def _tail_decodes(file: soundfile.SoundFile) -> bool:
    tail = min(TAIL, file.frames)
    try:
        file.seek(file.frames - tail)
        return len(file.read(tail, dtype="float32")) == tail
    except soundfile.LibsndfileError:
        return False


def _count(path: str) -> int:
    """Frames of a file that decode one after the other."""
    frames = 0
    try:
        with soundfile.SoundFile(path) as file:
            while read := len(file.read(BLOCK, dtype="float32")):
                frames += read
    except soundfile.LibsndfileError:
        pass
    return frames


def _probe_by_pyav(path: str) -> Probed:
    promise: list[float] = []
    frames, rates, damaged = 0, set(), ""
    try:
        for samples, rate_hz in mono_parts(path, promise):
            frames += len(samples)
            rates.add(rate_hz)
    except PyAVError as error:
        if str(error) == NEEDS_PYAV:
            return Probed(0, 0, f"unreadable: {NEEDS_PYAV}")
        damaged = str(error)
    if len(rates) != 1 or not RATES_HZ[0] <= max(rates) <= RATES_HZ[1]:
        return Probed(0, 0, "unreadable" if damaged or rates else "zero-length")
    rate_hz, (share, few) = rates.pop(), LITTLE
    seconds, promised = frames / rate_hz, max(promise, default=0.0)
    if damaged or promised - seconds > max(share * promised, few / rate_hz):
        return Probed(frames, rate_hz, f"cut short: {seconds:.2f} s can be decoded")
    return Probed(frames, rate_hz, "")


def _is_cut(path: str, size: int) -> bool:
    """Whether a WAV or AIFF file lacks a part of its samples, or an Ogg file its last page: decoders say nothing."""
    with open(path, "rb") as file:
        kind = file.read(12)
        if kind[:4] in (b"RIFF", b"RIFX", b"FORM"):
            order, wanted = ("little" if kind[:4] == b"RIFF" else "big"), (b"data", b"SSND")
            for _ in range(1000):  # chunks before the samples
                head = file.read(8)
                length = int.from_bytes(head[4:], order)
                if len(head) < 8 or head[:4] in wanted:
                    open_end = length in (0, 2**32 - 1, 2**31 - 1)  # written by a program that could not go back
                    return len(head) == 8 and not open_end and file.tell() + length > size
                file.seek(length + length % 2, 1)
        if kind[:4] == b"OggS":
            file.seek(max(0, size - PAGE))
            end = file.read()
            last = end.rfind(b"OggS")
            return last < 0 or last + 6 > len(end) or not end[last + 5] & 4  # the flag "end of stream"
    return False


def _state(name: str) -> tuple[int, int]:
    """(size, time of change in ns) of a file, -1 where there is none."""
    try:
        state = os.stat(name)
    except (OSError, ValueError):
        return -1, -1
    return state.st_size, state.st_ctime_ns  # unlike the time of its content's change, nobody can set it


def _known(path: Path) -> pd.DataFrame:
    """What was found before: path, size, changed, frames, rate_hz, problem; without rows where there is nothing."""
    kinds = {name: np.int64 for name in ("size", "changed", "frames", "rate_hz")} | {"path": str, "problem": str}
    try:
        if path.with_name(f"{path.name}.digest").read_text() != digest_file(path):
            raise ValueError
        parts = pd.read_csv(path, dtype=kinds, keep_default_na=False, chunksize=20000)  # in less memory
        return pd.concat(parts, ignore_index=True)[list(kinds)].drop_duplicates(KEY)
    except (OSError, ValueError, KeyError):
        return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in kinds.items()})


def _remember(path: Path, found: pd.DataFrame) -> None:
    """Keep what was found, beside what is known of other files; a folder that cannot be written only costs time."""
    try:
        with replacing(path) as part:
            pd.concat([found, _known(path)], ignore_index=True).drop_duplicates("path").to_csv(part, index=False)
        write_atomically(path.with_name(f"{path.name}.digest"), digest_file(path))
    except NotWritten:
        pass
