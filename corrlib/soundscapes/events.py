"""Synthetic events: sounds that begin and end, each from a simple physical picture of its source.

An event is `f(rng, rate_hz, seconds, pace, pitch) -> waveform (samples,)` at any level; `pace` is 0.5 (slow) or
2 (fast), `pitch` 0.7 (low) or 1.45 (high), and 1 where the class has no such attribute. Intervals are short enough
for even a slow sound to come twice in its second or more.
"""

from itertools import cycle

import numpy as np

from corrlib.soundscapes.synthesis import band, clock_seconds, noise, repeat, ring, scatter, tone, wander


def thunder(rng: np.random.Generator, rate_hz: int, seconds: float, pace: float, pitch: float) -> np.ndarray:
    """A crack, then a long rolling low rumble."""
    t = clock_seconds(rate_hz, seconds)
    roll = (
        band(noise(rng, rate_hz, seconds), rate_hz, 30, 220, 1)
        * np.exp(-t / 0.7)
        * wander(rng, rate_hz, seconds, 6, 0.3, 1)
    )
    crack = band(noise(rng, rate_hz, seconds), rate_hz, 200, 3000, 1) * np.exp(-t / 0.08)
    return 2.2 * roll + 0.5 * crack


def dog(rng: np.random.Generator, rate_hz: int, seconds: float, pace: float, pitch: float) -> np.ndarray:
    """Barks: a harsh voiced burst with falling pitch and an open-mouth resonance."""
    t = clock_seconds(rate_hz, 0.18)
    hz = 420 * pitch * (1 + 0.5 * np.exp(-t / 0.03) - t)
    throat, mouth = np.sign(tone(rate_hz, hz)), np.sin(np.pi * t / 0.18) ** 0.6

    def bark() -> np.ndarray:
        return band(throat + 0.6 * rng.standard_normal(len(t)), rate_hz, 500 * pitch, 1900 * pitch) * mouth

    return repeat(rng, rate_hz, seconds, 0.36 / pace, bark)


def bird(rng: np.random.Generator, rate_hz: int, seconds: float, pace: float, pitch: float) -> np.ndarray:
    """Song: quick whistled sweeps."""
    shape, t, length = rng.integers(3), clock_seconds(rate_hz, 0.11), 0.11
    sweep = {0: 1 + 2.5 * t, 1: 1.3 - 2.5 * t, 2: 1 + 0.12 * np.sin(2 * np.pi * 28 * t)}[int(shape)]
    note = tone(rate_hz, 2900 * pitch * sweep) * np.sin(np.pi * t / length)
    return repeat(rng, rate_hz, seconds, 0.22 / pace, lambda: note, 0.15)


def frog(rng: np.random.Generator, rate_hz: int, seconds: float, pace: float, pitch: float) -> np.ndarray:
    """Croak: a train of pulses through a throat resonance."""
    t = clock_seconds(rate_hz, 0.2)
    open_, throat = np.sin(2 * np.pi * 42 * t) > 0.75, np.sin(np.pi * t / 0.2)

    def croak() -> np.ndarray:
        return band(open_ * rng.standard_normal(len(t)), rate_hz, 480 * pitch, 900 * pitch) * throat

    return repeat(rng, rate_hz, seconds, 0.4 / pace, croak)


def siren(rng: np.random.Generator, rate_hz: int, seconds: float, pace: float, pitch: float) -> np.ndarray:
    """A tone that rises and falls steadily."""
    t = clock_seconds(rate_hz, seconds)
    hz = 800 * pitch * (1 + 0.3 * np.sin(2 * np.pi * 1.1 * pace * t + rng.uniform(0, 6)))
    x = tone(rate_hz, hz)
    return x + 0.4 * x**3


def bell(rng: np.random.Generator, rate_hz: int, seconds: float, pace: float, pitch: float) -> np.ndarray:
    """A struck bell: inharmonic partials that ring on."""
    base = 520 * pitch * rng.uniform(0.95, 1.05)
    partials = [
        (base * r, a, d)
        for r, a, d in (
            (0.5, 0.4, 1.2),
            (1, 1, 0.9),
            (1.19, 0.5, 0.6),
            (1.5, 0.4, 0.5),
            (2, 0.5, 0.4),
            (2.74, 0.3, 0.25),
            (4.1, 0.15, 0.15),
        )
    ]
    stroke = ring(rate_hz, seconds, partials)
    return repeat(rng, rate_hz, seconds, 0.55 / pace, lambda: stroke)


def clock(rng: np.random.Generator, rate_hz: int, seconds: float, pace: float, pitch: float) -> np.ndarray:
    """Tick and tock: two tiny resonant clicks in turn."""
    turns = cycle([ring(rate_hz, 0.06, [(hz, 1, 0.008), (hz * 1.7, 0.6, 0.005)]) for hz in (2600, 2000)])
    return repeat(rng, rate_hz, seconds, 0.32 / pace, lambda: next(turns), 0.0)


def phone(rng: np.random.Generator, rate_hz: int, seconds: float, pace: float, pitch: float) -> np.ndarray:
    """An electric ringer: two tones, warbled 20 times a second, in bursts."""
    t = clock_seconds(rate_hz, seconds)
    burst = np.clip(20 * np.minimum((t * 1.6) % 1, 0.6 - (t * 1.6) % 1), 0, 1)
    tones = sum(np.sin(2 * np.pi * hz * pitch * t) + 0.3 * np.sin(6 * np.pi * hz * pitch * t) for hz in (950, 1180))
    return burst * tones * np.clip(0.5 + 1.5 * np.sin(2 * np.pi * 20 * t), 0, 1)


def knock(rng: np.random.Generator, rate_hz: int, seconds: float, pace: float, pitch: float) -> np.ndarray:
    """Knuckles on wood: a short thump with a board's resonances."""
    board, touch = rng.uniform(0.9, 1.1), rate_hz // 400
    thump = ring(rate_hz, 0.15, [(190 * board, 1, 0.03), (410 * board, 0.7, 0.02), (900 * board, 0.3, 0.01)])
    return repeat(
        rng,
        rate_hz,
        seconds,
        0.26 / pace,
        lambda: thump + np.pad(0.2 * rng.standard_normal(touch), (0, len(thump) - touch)),
    )


def footsteps(rng: np.random.Generator, rate_hz: int, seconds: float, pace: float, pitch: float) -> np.ndarray:
    """Heel, then sole: a thump and a scrape."""

    def step() -> np.ndarray:
        n = int(rate_hz * 0.14)
        heel = np.exp(-np.linspace(0, 16, n)) * band(rng.standard_normal(n), rate_hz, 90, 600)
        sole = np.roll(np.exp(-np.linspace(0, 9, n)), n // 3) * band(rng.standard_normal(n), rate_hz, 1500, 5000)
        return 2 * heel + 0.35 * sole

    return repeat(rng, rate_hz, seconds, 0.42 / pace, step, 0.04)


def engine(rng: np.random.Generator, rate_hz: int, seconds: float, pace: float, pitch: float) -> np.ndarray:
    """Firing pulses: many harmonics of a slightly uneven rate, throbbing, with the hiss of moving parts."""
    phase = np.cumsum(62 * pitch * wander(rng, rate_hz, seconds, 2, 0.95, 1.08)) / rate_hz
    pulses = sum(np.sin(2 * np.pi * k * phase + k * k) / k**0.5 for k in range(1, 31))
    throb = 1 + 0.4 * np.sin(np.pi * phase)
    return band(pulses * throb, rate_hz, 50, 1400, 1) + 0.3 * band(noise(rng, rate_hz, seconds), rate_hz, 300, 2500, 1)


def helicopter(rng: np.random.Generator, rate_hz: int, seconds: float, pace: float, pitch: float) -> np.ndarray:
    """Blade slap: bursts of low noise some ten times a second, over the turbine's soft noise."""
    slap = np.maximum(0, np.sin(2 * np.pi * 11 * pace**0.7 * clock_seconds(rate_hz, seconds))) ** 6
    turbine = band(noise(rng, rate_hz, seconds), rate_hz, 400, 2500, 1)
    return 3 * slap * band(noise(rng, rate_hz, seconds), rate_hz, 60, 900, 1) + 0.12 * turbine


def drip(rng: np.random.Generator, rate_hz: int, seconds: float, pace: float, pitch: float) -> np.ndarray:
    """A drop into water: a bubble's quick rising chirp."""

    def drop() -> np.ndarray:
        t = clock_seconds(rate_hz, 0.09)
        hz = 900 * rng.uniform(0.9, 1.15)
        return np.sin(2 * np.pi * (hz * t + hz * 5 * t * t)) * np.exp(-t / 0.022)

    return repeat(rng, rate_hz, seconds, 0.38 / pace, drop, 0.2)


def typing(rng: np.random.Generator, rate_hz: int, seconds: float, pace: float, pitch: float) -> np.ndarray:
    """Keys: down-click and up-click, irregular."""

    def key() -> np.ndarray:
        n = int(rate_hz * 0.07)
        click = np.exp(-np.linspace(0, 26, n)) * band(rng.standard_normal(n), rate_hz, 1800, 6000)
        return click + 0.4 * np.roll(click, n // 2)

    return repeat(rng, rate_hz, seconds, 0.15 / pace, key, 0.35)


def glass(rng: np.random.Generator, rate_hz: int, seconds: float, pace: float, pitch: float) -> np.ndarray:
    """Breaking: a burst, then shards that ring high and fall."""
    shards = [ring(rate_hz, 0.25, [(hz, 1, 0.05), (hz * 1.6, 0.5, 0.03)]) for hz in rng.uniform(2600, 6200, 14)]
    t = clock_seconds(rate_hz, seconds)
    falling = scatter(rng, rate_hz, seconds, 45, shards) * np.exp(-t / 0.35)
    return falling + band(noise(rng, rate_hz, seconds), rate_hz, 2000, None) * np.exp(-t / 0.04)


def whistle(rng: np.random.Generator, rate_hz: int, seconds: float, pace: float, pitch: float) -> np.ndarray:
    """A referee's whistle: a high tone that a rattling pea trills, with some breath."""
    t = clock_seconds(rate_hz, seconds)
    pea = np.sin(2 * np.pi * rng.uniform(26, 36) * t)
    on = np.clip(np.minimum((t * 1.4) % 1, 0.8 - (t * 1.4) % 1) / 0.03, 0, 1)
    breath = band(noise(rng, rate_hz, seconds), rate_hz, 1500, 5000)
    return on * (tone(rate_hz, 2300 * pitch * (1 + 0.025 * pea)) * (1 + 0.6 * pea) + 0.04 * breath)


def horn(rng: np.random.Generator, rate_hz: int, seconds: float, pace: float, pitch: float) -> np.ndarray:
    """A car's horn: two reedy tones, a third apart, in blasts."""
    t = clock_seconds(rate_hz, seconds)
    beat = (t * 1.3 * pace) % 1
    on = np.clip(np.minimum(beat, 0.7 - beat) / 0.03, 0, 1)
    reed = sum(
        np.sin(2 * np.pi * k * hz * pitch * t) / k**0.7
        for hz in (350, 440)
        for k in range(1, 9)
        if k * hz * pitch < 0.45 * rate_hz
    )
    return on * reed


def saw(rng: np.random.Generator, rate_hz: int, seconds: float, pace: float, pitch: float) -> np.ndarray:
    """Sawing wood: toothed noise, bright when pushed, duller and softer when pulled."""
    t = clock_seconds(rate_hz, seconds)
    stroke = np.sin(2 * np.pi * 1.3 * pace * t)
    teeth = 0.6 + 0.4 * np.sin(2 * np.pi * 95 * t)
    push = np.maximum(0, stroke) ** 1.5 * band(noise(rng, rate_hz, seconds), rate_hz, 1400, 5200)
    pull = np.maximum(0, -stroke) ** 1.5 * band(noise(rng, rate_hz, seconds), rate_hz, 600, 2200)
    return teeth * (push + 0.6 * pull)


def hammer(rng: np.random.Generator, rate_hz: int, seconds: float, pace: float, pitch: float) -> np.ndarray:
    """Hammer on metal: a bright inharmonic ping."""
    base = 1350 * rng.uniform(0.95, 1.05)
    blow = [
        (base, 1, 0.09),
        (base * 1.52, 0.8, 0.06),
        (base * 2.31, 0.6, 0.05),
        (base * 3.4, 0.4, 0.03),
        (180, 1, 0.02),
    ]
    ping = ring(rate_hz, 0.4, blow)
    return repeat(rng, rate_hz, seconds, 0.38 / pace, lambda: ping, 0.05)


def owl(rng: np.random.Generator, rate_hz: int, seconds: float, pace: float, pitch: float) -> np.ndarray:
    """Hoots: soft low tones that swell, with a faint overtone."""
    length = 0.3 / pace**0.4
    t = clock_seconds(rate_hz, length)
    hz = 420 * pitch * (1 - 0.12 * t / length)
    hoot = (tone(rate_hz, hz) + 0.15 * tone(rate_hz, 2 * hz)) * np.sin(np.pi * t / length) ** 1.3
    return repeat(rng, rate_hz, seconds, 0.45 / pace, lambda: hoot, 0.05)
