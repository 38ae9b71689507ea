"""Synthetic backgrounds: textures that go on, each from a simple physical picture of its source.

A texture is `f(rng, rate_hz, seconds, density) -> waveform (samples,)` at any level; `density` is 0.45 (gentle) or
1.6 (strong): how many drops, bubbles, claps or gusts there are, and how fierce they are.
"""

import numpy as np

from corrlib.soundscapes.synthesis import band, buzz, clock_seconds, noise, scatter, tone, wander


def rain(rng: np.random.Generator, rate_hz: int, seconds: float, density: float) -> np.ndarray:
    """Hiss of very many drops, with single near drops on top."""
    n = int(rate_hz * 0.012)
    drops = [band(rng.standard_normal(n), rate_hz, 1800, 6500) * np.exp(-np.linspace(0, 7, n)) for _ in range(12)]
    hiss = band(noise(rng, rate_hz, seconds), rate_hz, 1200, 7000)
    return 0.5 * density**0.5 * hiss + 1.6 * scatter(rng, rate_hz, seconds, 110 * density, drops)


def wind(rng: np.random.Generator, rate_hz: int, seconds: float, density: float) -> np.ndarray:
    """Broad low noise whose strength wanders with the gusts, and a howl that follows it."""
    gust = wander(rng, rate_hz, seconds, 0.8 * density + 0.4, 0.15, 1)
    body = band(noise(rng, rate_hz, seconds), rate_hz, 60, 420, 1)
    howl = tone(rate_hz, 420 + 380 * gust + wander(rng, rate_hz, seconds, 3, 0, 60)) * wander(
        rng, rate_hz, seconds, 20, 0.4, 1
    )
    return gust * body + 0.35 * gust**2 * howl * np.std(body) * min(1.5, density + 0.3)


def waves(rng: np.random.Generator, rate_hz: int, seconds: float, density: float) -> np.ndarray:
    """Surf: every few seconds noise swells, brightens at its crest, and washes out."""
    phase = (clock_seconds(rate_hz, seconds) / (2.6 / density**0.3) + rng.random()) % 1
    swell = np.where(phase < 0.6, (phase / 0.6) ** 2, np.exp(-(phase - 0.6) / 0.14))
    body = band(noise(rng, rate_hz, seconds), rate_hz, 120, 1200, 1) * (0.12 + swell)
    return body + 0.55 * density**0.5 * band(noise(rng, rate_hz, seconds), rate_hz, 1500, 6000, 1) * swell**2


def stream(rng: np.random.Generator, rate_hz: int, seconds: float, density: float) -> np.ndarray:
    """Bubbles: short rising sines (the pitch rises as a bubble nears the surface), over soft noise."""

    def bubble() -> np.ndarray:
        hz, length = rng.uniform(500, 2200), rng.uniform(0.015, 0.05)
        t = clock_seconds(rate_hz, length)
        return np.sin(2 * np.pi * (hz * t + hz * 4 * t * t)) * np.exp(-t / (length / 3))

    bubbles = [bubble() for _ in range(32)]
    return scatter(rng, rate_hz, seconds, 80 * density, bubbles) + 0.12 * band(
        noise(rng, rate_hz, seconds), rate_hz, 400, 3000, 1
    )


def fire(rng: np.random.Generator, rate_hz: int, seconds: float, density: float) -> np.ndarray:
    """Crackles of random strength over a low rumble."""
    cracks = [
        rng.standard_normal(n) * np.exp(-np.linspace(0, 8, n))
        for n in (rng.uniform(0.001, 0.01, 16) * rate_hz).astype(int)
    ]
    rumble = band(noise(rng, rate_hz, seconds), rate_hz, 40, 240, 1)
    return 2.2 * scatter(rng, rate_hz, seconds, 16 * density, cracks, 0.05) + 0.5 * rumble


def crickets(rng: np.random.Generator, rate_hz: int, seconds: float, density: float) -> np.ndarray:
    """Several insects, each a pure high tone chopped into chirps of a few pulses."""
    t = clock_seconds(rate_hz, seconds)
    out = np.zeros(len(t))
    for _ in range(2 if density < 1 else 6):
        hz, chirps, pulses = rng.uniform(3900, 5200), rng.uniform(1.6, 2.6), rng.uniform(32, 44)
        envelope = np.clip(0.4 - (t * chirps + rng.random()) % 1, 0, 0.03) / 0.03
        heard = envelope > 0  # less than half of the time
        at = t[heard]
        wings = (0.5 - 0.5 * np.cos(2 * np.pi * pulses * at)) * np.sin(2 * np.pi * hz * at)
        out[heard] += rng.uniform(0.4, 1) * envelope[heard] * wings
    return out + 0.01 * noise(rng, rate_hz, seconds)


def traffic(rng: np.random.Generator, rate_hz: int, seconds: float, density: float) -> np.ndarray:
    """Cars that pass: tyre noise and an engine's buzz that swell and fade, over the hum of the road."""
    t, out = clock_seconds(rate_hz, seconds), 0.2 * band(noise(rng, rate_hz, seconds), rate_hz, 50, 300, 1)
    for _ in range(max(1, round(seconds * 0.6 * density))):
        centre, width, hz = rng.uniform(0, seconds), rng.uniform(0.4, 0.9), rng.uniform(70, 110)
        near = np.exp(-(((t - centre) / width) ** 2))
        engine = buzz(2 * np.pi * hz * (t - 0.03 * (t - centre)), 7)
        out = out + near * (0.8 * band(noise(rng, rate_hz, seconds), rate_hz, 300, 1700, 1) + 0.12 * engine)
    return out


def applause(rng: np.random.Generator, rate_hz: int, seconds: float, density: float) -> np.ndarray:
    """Many hands: claps are short bursts, each coloured by its own cupped palm."""
    n = int(rate_hz * 0.02)
    claps = [
        band(rng.standard_normal(n), rate_hz, hz, 2.2 * hz) * np.exp(-np.linspace(0, 6, n))
        for hz in rng.uniform(600, 1800, 20)
    ]
    return scatter(rng, rate_hz, seconds, 90 * density, claps)
