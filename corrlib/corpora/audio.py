"""Decode the needed part of a file, to mono float32 at one rate; crop."""

from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio.functional as AF

RATES_HZ = (1000, 768000)
MOST_SAMPLES = 2**29  # of all channels, read at once: 2 GiB; a header may promise far more than there is


def read_clip(
    path: str | Path, start_seconds: float = 0.0, duration_seconds: float | None = None, rate_hz: int = 32000
) -> np.ndarray:
    """Mono float32 waveform (samples,) of part of a file; `duration_seconds` None reads to its end.

    ValueError or FileNotFoundError names a file that is missing, empty, cut short, too large, or not audio.
    """
    try:
        with soundfile.SoundFile(str(path)) as file:
            if file.frames <= 0 or file.channels <= 0:
                raise ValueError(f"{path} holds no audio; replace or exclude this file")
            if not RATES_HZ[0] <= file.samplerate <= RATES_HZ[1]:
                raise ValueError(f"{path} claims {file.samplerate} samples a second; replace or exclude this file")
            first = min(int(round(start_seconds * file.samplerate)), file.frames)
            wanted = -1 if duration_seconds is None else int(round(duration_seconds * file.samplerate))
            if min(file.frames - first, wanted if wanted >= 0 else file.frames) * file.channels > MOST_SAMPLES:
                raise ValueError(
                    f"{path} claims {file.frames / file.samplerate / 3600:.0f} hours of {file.channels} "
                    "channels, more than is read at once; cut it into clips, or exclude this file"
                )
            file.seek(first)
            samples, file_hz = file.read(wanted, dtype="float32", always_2d=True), file.samplerate
    except soundfile.LibsndfileError as error:
        if not _exists(path):
            raise FileNotFoundError(f"audio file {path} is missing; restore it or exclude its clip") from None
        raise ValueError(f"{path} cannot be decoded ({error.error_string}); replace or exclude this file") from None
    if not len(samples) or (wanted > 0 and len(samples) < 0.9 * wanted):
        raise ValueError(
            f"{path} ends after {len(samples) / file_hz:.2f} s where {duration_seconds or 0:.2f} s from "
            f"{start_seconds:.2f} s were expected; it is truncated: replace or exclude this file"
        )
    if not np.isfinite(samples).all():
        raise ValueError(f"{path} holds samples that are not finite numbers; replace or exclude this file")
    return resample(samples.mean(axis=1), file_hz, rate_hz)


def _exists(path: str | Path) -> bool:
    try:
        open(path, "rb").close()
    except OSError:
        return False
    return True


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
