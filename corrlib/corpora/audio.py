"""Decode the needed part of a file, to mono float32 at one rate; crop."""

from pathlib import Path

import numpy as np
import torch
import torchaudio.functional as AF

from corrlib.audiofiles import decode


class ClipError(ValueError):
    """A clip cannot be read. path: its file."""

    def __init__(self, sentence: str, path: str | Path) -> None:
        super().__init__(sentence)
        self.path = str(path)


def read_clip(
    path: str | Path, start_seconds: float = 0.0, duration_seconds: float | None = None, rate_hz: int = 32000
) -> np.ndarray:
    """Mono float32 waveform (samples,) of part of a file; `duration_seconds` None reads to its end.

    ClipError (a ValueError) or FileNotFoundError names a file that is missing, empty, cut short, too large, or not
    audio.
    """
    samples, file_hz = _read(path, start_seconds, duration_seconds)
    wanted = 0 if duration_seconds is None else int(round(duration_seconds * file_hz))
    if not len(samples) or len(samples) < 0.9 * wanted:
        raise ClipError(
            f"{path} ends after {len(samples) / file_hz:.2f} s where {duration_seconds or 0:.2f} s from "
            f"{start_seconds:.2f} s were expected; it is truncated: replace or exclude this file",
            path,
        )
    return _mono(path, samples, file_hz, rate_hz)


def read_start(path: str | Path, longest_seconds: float, rate_hz: int) -> np.ndarray:
    """As `read_clip`, the start of a file: so much of it, or all that there is."""
    samples, file_hz = _read(path, 0.0, None if np.isinf(longest_seconds) else longest_seconds)
    if not len(samples):
        raise ClipError(f"{path} holds no audio; replace or exclude this file", path)
    return _mono(path, samples, file_hz, rate_hz)


def _read(path: str | Path, start_seconds: float, duration_seconds: float | None) -> tuple[np.ndarray, int]:
    try:
        return decode.read(path, start_seconds, duration_seconds)
    except ValueError as error:
        raise ClipError(str(error), path) from None


def _mono(path: str | Path, samples: np.ndarray, file_hz: int, rate_hz: int) -> np.ndarray:
    if not np.isfinite(samples).all():
        raise ClipError(f"{path} holds samples that are not finite numbers; replace or exclude this file", path)
    return resample(samples.mean(axis=1), file_hz, rate_hz)


def resample(waveform: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """float32 (samples,) at another rate (torchaudio's windowed sinc)."""
    if from_hz == to_hz:
        return np.ascontiguousarray(waveform)
    return AF.resample(torch.from_numpy(np.ascontiguousarray(waveform)), from_hz, to_hz).numpy()


def crop_seconds(
    duration_seconds: float, wanted_seconds: float, generator: torch.Generator | None = None
) -> tuple[float, float | None]:
    """(offset, seconds) of a crop: a random part where a generator is given (training), else the first.

    A clip no longer than the crop keeps its duration; one of unknown duration (nan) is read to its end: None.
    """
    spare = duration_seconds - wanted_seconds
    if not spare > 0:
        return 0.0, None if np.isnan(duration_seconds) else duration_seconds
    offset = 0.0 if generator is None else float(torch.rand((), generator=generator)) * spare
    return offset, wanted_seconds
