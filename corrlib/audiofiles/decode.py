"""Decode a part of an audio file, by libsndfile, or by PyAV where that does not know the format.

How long a file is, is what decodes of it: headers of compressed formats hold estimates, or more than there is.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile

AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".aif", ".aiff", ".opus", ".m4a", ".mp4", ".aac", ".webm")
RATES_HZ = (1000, 768000)
MOST_SAMPLES = 2**29  # of all channels, read at once: 2 GiB; a header may promise far more than there is
LEAD = 16 * 1152  # samples decoded before a part of an MP3, whose frames need those before them; without, it fades in
NEEDS_PYAV = "MP4, M4A, AAC and WebM need PyAV: pip install 'corrlib[av]'"
CONTAINERS = {b"\x1aE\xdf\xa3": "matroska", b"ID3": "aac"}


def read(
    path: str | Path,
    start_seconds: float = 0.0,
    duration_seconds: float | None = None,
    dtype: Literal["float32", "float64"] = "float32",
) -> tuple[np.ndarray, int]:
    """(samples, channels) of part of a file, and its rate in Hz; `duration_seconds` None reads to its end.

    What PyAV decodes has its channels averaged to one. Fewer samples than asked for are returned where the file ends.
    ValueError or FileNotFoundError names a file that is missing, empty, too large, or not audio.
    """
    try:
        with soundfile.SoundFile(str(path)) as file:
            if file.frames <= 0 or file.channels <= 0:
                raise ValueError(f"{path} holds no audio; replace or exclude this file")
            _check_rate(path, file.samplerate)
            first = min(int(round(start_seconds * file.samplerate)), file.frames)
            wanted = -1 if duration_seconds is None else int(round(duration_seconds * file.samplerate))
            if min(file.frames - first, wanted if wanted >= 0 else file.frames) * file.channels > MOST_SAMPLES:
                raise ValueError(
                    f"{path} claims {file.frames / file.samplerate / 3600:.0f} hours of {file.channels} "
                    "channels, more than is read at once; cut it into clips, or exclude this file"
                )
            lead = min(first, LEAD) if file.subtype.startswith("MPEG") else 0
            file.seek(first - lead)
            read = file.read(wanted if wanted < 0 else lead + wanted, dtype=dtype, always_2d=True)
            return read[lead:], file.samplerate
    except soundfile.LibsndfileError as error:
        reason = error.error_string
    if not _exists(path):
        raise FileNotFoundError(f"audio file {path} is missing; restore it or exclude its clip")
    try:
        if container(path):
            return _read_by_pyav(path, start_seconds, duration_seconds, dtype)
    except PyAVError as error:
        reason = str(error)
    raise ValueError(f"{path} cannot be decoded ({reason or 'it is damaged'}); replace or exclude this file")


class PyAVError(Exception):
    """PyAV cannot decode a file, or is not there; the message names no file."""


def container(path: str | Path) -> str:
    """The format, as PyAV calls it, that a file's first bytes tell; "" where they tell none that it is asked for.

    PyAV is told the format and given an open file, so that no file can have it look at another one.
    """
    with open(path, "rb") as file:
        first = file.read(12)
    if first[4:8] in (b"ftyp", b"moov", b"mdat"):
        return "mov"
    if first[:1] == b"\xff" and first[1:2] and first[1] & 0xF6 == 0xF0:
        return "aac"
    return next((name for magic, name in CONTAINERS.items() if first.startswith(magic)), "")


def mono_parts(path: str | Path, promise: list[float] | None = None) -> Iterator[tuple[np.ndarray, int]]:
    """Yield ((samples,) float32, rate in Hz) of a file from its beginning on, decoded by PyAV and averaged to mono.

    promise: a list to which the seconds are added that the file says it holds, where it says so. PyAVError where it
    cannot be decoded, which may show after some parts.
    """
    try:
        import av
    except ImportError:
        raise PyAVError(NEEDS_PYAV) from None
    try:
        with open(path, "rb") as file, av.open(file, "r", container(path)) as opened:
            if not opened.streams.audio:
                raise PyAVError("it holds no sound")
            stream = opened.streams.audio[0]
            if promise is not None and opened.duration:
                promise.append(float(opened.duration) / 1e6)
            as_float = None
            for frame in opened.decode(stream):
                frames = [frame]
                if frame.format.name not in ("flt", "fltp"):
                    as_float = as_float or av.AudioResampler("fltp", frame.layout, frame.sample_rate)
                    frames = as_float.resample(frame)
                for part in frames:
                    samples = part.to_ndarray()
                    if not part.format.is_planar:
                        samples = samples.reshape(-1, part.layout.nb_channels).T
                    yield samples.mean(axis=0, dtype=np.float32), part.sample_rate
    except (av.FFmpegError, OSError, ValueError, ArithmeticError) as error:
        raise PyAVError(getattr(error, "strerror", "") or str(error)) from None


def _read_by_pyav(
    path: str | Path, start_seconds: float, duration_seconds: float | None, dtype: str
) -> tuple[np.ndarray, int]:
    """As `read`. From the file's beginning on: where these formats seek to is not exact to the sample."""
    parts, rate_hz, at, first, last = [], 0, 0, 0, MOST_SAMPLES
    for samples, rate in mono_parts(path):
        if not rate_hz:
            _check_rate(path, rate)
            rate_hz, first = rate, int(round(start_seconds * rate))
            last = MOST_SAMPLES if duration_seconds is None else first + int(round(duration_seconds * rate))
        if rate != rate_hz:
            raise PyAVError(f"its rate changes from {rate_hz} to {rate} Hz")
        parts.append(samples[max(0, first - at) : max(0, last - at)])
        at += len(samples)
        if at >= last:
            break
    if not rate_hz:
        raise ValueError(f"{path} holds no audio; replace or exclude this file")
    return np.concatenate(parts).astype(dtype)[:, None], rate_hz


def _check_rate(path: str | Path, rate_hz: int) -> None:
    if not RATES_HZ[0] <= rate_hz <= RATES_HZ[1]:
        raise ValueError(f"{path} claims {rate_hz} samples a second; replace or exclude this file")


def _exists(path: str | Path) -> bool:
    with suppress(OSError), open(path, "rb"):
        return True
    return False
