"""Building blocks of the synthesizers: noise, filters, ringing bodies, scattered and repeated grains, distance."""

from functools import lru_cache

import numpy as np
import scipy  # its parts are loaded when first used: most runs need none


def clock_seconds(rate, seconds):
    return np.arange(int(rate * seconds)) / rate


def band(x, rate, low=None, high=None, order=2):
    """Butterworth band-pass, high-pass (high None) or low-pass (low None)."""
    top = 0.49 * rate
    if low and high:
        kind, edge = "band", (low, min(high, top))
    else:
        kind, edge = ("high", low) if low else ("low", min(high or top, top))
    return np.asarray(scipy.signal.sosfilt(_butterworth(order, edge, kind, rate), x))


@lru_cache(maxsize=256)  # most filters are of a few fixed kinds
def _butterworth(order, edges, kind, rate):
    return scipy.signal.butter(order, edges, kind, fs=rate, output="sos")


def noise(rng, rate, seconds):
    return rng.standard_normal(int(rate * seconds))


def wander(rng, rate, seconds, hz, low=0.0, high=1.0):
    """A smooth random curve between low and high that changes about `hz` times a second."""
    knots = rng.random(max(3, int(seconds * hz) + 3))
    at = np.linspace(0, len(knots) - 1, int(rate * seconds))
    smooth = np.interp(at, np.arange(len(knots)), knots)
    return low + (high - low) * smooth


def ring(rate, seconds, partials):
    """Sum of decaying sines: partials are (hz, level, decay seconds)."""
    t = clock_seconds(rate, seconds)
    return sum(
        (level * np.sin(2 * np.pi * hz * t) * np.exp(-t / decay) for hz, level, decay in partials if hz < 0.48 * rate),
        np.zeros(len(t)),
    )


def buzz(phase, harmonics):
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


def tone(rate, hz):
    """A sine whose frequency follows the curve `hz` (samples,)."""
    return np.sin(2 * np.pi * np.cumsum(hz) / rate)


def scatter(rng, rate, seconds, per_second, grains, low=0.2):
    """Sprinkle random grains at random times and levels: drops, crackles, claps."""
    out = np.zeros(int(rate * seconds))
    for _ in range(rng.poisson(per_second * seconds)):
        grain = grains[rng.integers(len(grains))]
        at = rng.integers(len(out))
        part = grain[: len(out) - at]
        out[at : at + len(part)] += part * (low + (1 - low) * rng.random())
    return out


def repeat(rng, rate, seconds, interval, make, jitter=0.08, start=0.02):
    """`make()` again and again, every `interval` seconds."""
    out, at = np.zeros(int(rate * seconds)), start
    while at < seconds - 0.05:
        piece = make()
        first = int(at * rate)
        part = piece[: len(out) - first]
        out[first : first + len(part)] += part
        at += interval * (1 + jitter * rng.standard_normal())
    return out


def distance(waveform, rate, rng):
    """The same sound from far away: dull, and with the echo of the open. The mix sets its lower level."""
    t = clock_seconds(rate, 0.35)
    echo = rng.standard_normal(len(t)) * np.exp(-t / 0.09) * 0.045 * (16000 / rate) ** 0.5
    echo[0] = 1
    return band(scipy.signal.oaconvolve(waveform, echo)[: len(waveform)], rate, None, 1500, 2)
