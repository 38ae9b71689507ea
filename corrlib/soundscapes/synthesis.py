"""Building blocks of the synthesizers: noise, filters, ringing bodies, scattered and repeated grains, distance."""

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import scipy  # its parts are loaded when first used: most runs need none


def clock_seconds(rate_hz: int, seconds: float) -> np.ndarray:
    """The time (samples,) of every sample, in seconds."""
    return np.arange(int(rate_hz * seconds)) / rate_hz


def band(
    x: np.ndarray, rate_hz: int, low: float | None = None, high: float | None = None, order: int = 2
) -> np.ndarray:
    """Butterworth band-pass, high-pass (high None) or low-pass (low None)."""
    top = 0.49 * rate_hz
    if low and high:
        kind, edge = "band", (low, min(high, top))
    else:
        kind, edge = ("high", low) if low else ("low", min(high or top, top))
    return np.asarray(scipy.signal.sosfilt(_butterworth(order, edge, kind, rate_hz), x))


@lru_cache(maxsize=256)  # most filters are of a few fixed kinds
def _butterworth(order: int, edges: float | tuple[float, float], kind: str, rate_hz: int) -> np.ndarray:
    return np.asarray(scipy.signal.butter(order, edges, kind, fs=rate_hz, output="sos"))


def noise(rng: np.random.Generator, rate_hz: int, seconds: float) -> np.ndarray:
    """White noise (samples,) of unit power."""
    return rng.standard_normal(int(rate_hz * seconds))


def wander(
    rng: np.random.Generator, rate_hz: int, seconds: float, hz: float, low: float = 0.0, high: float = 1.0
) -> np.ndarray:
    """A smooth random curve between low and high that changes about `hz` times a second."""
    knots = rng.random(max(3, int(seconds * hz) + 3))
    at = np.linspace(0, len(knots) - 1, int(rate_hz * seconds))
    smooth = np.interp(at, np.arange(len(knots)), knots)
    return low + (high - low) * smooth


def ring(rate_hz: int, seconds: float, partials: Sequence[tuple[float, float, float]]) -> np.ndarray:
    """Sum of decaying sines: partials are (hz, level, decay seconds)."""
    t = clock_seconds(rate_hz, seconds)
    return sum(
        (
            level * np.sin(2 * np.pi * hz * t) * np.exp(-t / decay)
            for hz, level, decay in partials
            if hz < 0.48 * rate_hz
        ),
        np.zeros(len(t)),
    )


def buzz(phase: np.ndarray, harmonics: int) -> np.ndarray:
    """sum over k = 1..harmonics of sin(k phase) / k, by sin(k x) = 2 cos(x) sin((k - 1) x) - sin((k - 2) x)."""
    first, twice = np.sin(phase), 2 * np.cos(phase)
    out = first.copy()
    for start in range(0, len(out), 4096):  # parts that stay in the processor's cache
        part = slice(start, start + 4096)
        before, now = 0.0, first[part]
        for k in range(2, harmonics + 1):
            before, now = now, twice[part] * now - before
            out[part] += now / k
    return out


def tone(rate_hz: int, hz: np.ndarray) -> np.ndarray:
    """A sine whose frequency follows the curve `hz` (samples,)."""
    return np.sin(2 * np.pi * np.cumsum(hz) / rate_hz)


def scatter(
    rng: np.random.Generator,
    rate_hz: int,
    seconds: float,
    per_second: float,
    grains: Sequence[np.ndarray],
    low: float = 0.2,
) -> np.ndarray:
    """Sprinkle random grains at random times and levels: drops, crackles, claps."""
    out = np.zeros(int(rate_hz * seconds))
    for _ in range(rng.poisson(per_second * seconds)):
        grain = grains[int(rng.integers(len(grains)))]
        at = rng.integers(len(out))
        part = grain[: len(out) - at]
        out[at : at + len(part)] += part * (low + (1 - low) * rng.random())
    return out


def repeat(
    rng: np.random.Generator,
    rate_hz: int,
    seconds: float,
    interval: float,
    make: Callable[[], np.ndarray],
    jitter: float = 0.08,
    start: float = 0.02,
) -> np.ndarray:
    """`make()` again and again, every `interval` seconds."""
    out, at = np.zeros(int(rate_hz * seconds)), start
    while at < seconds - 0.05:
        piece = make()
        first = int(at * rate_hz)
        part = piece[: len(out) - first]
        out[first : first + len(part)] += part
        at += interval * (1 + jitter * rng.standard_normal())
    return out


def distance(waveform: np.ndarray, rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """The same sound from far away: dull, and with the echo of the open. The mix sets its lower level."""
    t = clock_seconds(rate_hz, 0.35)
    echo = rng.standard_normal(len(t)) * np.exp(-t / 0.09) * 0.045 * (16000 / rate_hz) ** 0.5
    echo[0] = 1
    return band(scipy.signal.oaconvolve(waveform, echo)[: len(waveform)], rate_hz, None, 1500, 2)
