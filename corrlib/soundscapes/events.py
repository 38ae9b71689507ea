"""Synthetic events: sounds that begin and end, each from a simple physical picture of its source.

An event is `f(rng, rate_hz, seconds, pace, pitch) -> waveform (samples,)` at any level; `pace` is 0.5 (slow) or
2 (fast), `pitch` 0.7 (low) or 1.45 (high), and 1 where the class has no such attribute. Intervals are short enough
for even a slow sound to come twice in its second or more.
"""

from itertools import cycle

import numpy as np

from corrlib.soundscapes.synthesis import band, clock_seconds, noise, repeat, ring, scatter, tone, wander


def thunder(rng, rate, seconds, pace, pitch):
    """A crack, then a long rolling low rumble."""
    t = clock_seconds(rate, seconds)
    roll = band(noise(rng, rate, seconds), rate, 30, 220, 1) * np.exp(-t / 0.7) * wander(rng, rate, seconds, 6, 0.3, 1)
    crack = band(noise(rng, rate, seconds), rate, 200, 3000, 1) * np.exp(-t / 0.08)
    return 2.2 * roll + 0.5 * crack


def dog(rng, rate, seconds, pace, pitch):
    """Barks: a harsh voiced burst with falling pitch and an open-mouth resonance."""
    t = clock_seconds(rate, 0.18)
    hz = 420 * pitch * (1 + 0.5 * np.exp(-t / 0.03) - t)
    throat, mouth = np.sign(tone(rate, hz)), np.sin(np.pi * t / 0.18) ** 0.6

    def bark():
        return band(throat + 0.6 * rng.standard_normal(len(t)), rate, 500 * pitch, 1900 * pitch) * mouth

    return repeat(rng, rate, seconds, 0.36 / pace, bark)


def bird(rng, rate, seconds, pace, pitch):
    """Song: quick whistled sweeps."""
    shape, t, length = rng.integers(3), clock_seconds(rate, 0.11), 0.11
    sweep = {0: 1 + 2.5 * t, 1: 1.3 - 2.5 * t, 2: 1 + 0.12 * np.sin(2 * np.pi * 28 * t)}[int(shape)]
    note = tone(rate, 2900 * pitch * sweep) * np.sin(np.pi * t / length)
    return repeat(rng, rate, seconds, 0.22 / pace, lambda: note, 0.15)


def frog(rng, rate, seconds, pace, pitch):
    """Croak: a train of pulses through a throat resonance."""
    t = clock_seconds(rate, 0.2)
    open_, throat = np.sin(2 * np.pi * 42 * t) > 0.75, np.sin(np.pi * t / 0.2)

    def croak():
        return band(open_ * rng.standard_normal(len(t)), rate, 480 * pitch, 900 * pitch) * throat

    return repeat(rng, rate, seconds, 0.4 / pace, croak)


def siren(rng, rate, seconds, pace, pitch):
    """A tone that rises and falls steadily."""
    t = clock_seconds(rate, seconds)
    hz = 800 * pitch * (1 + 0.3 * np.sin(2 * np.pi * 1.1 * pace * t + rng.uniform(0, 6)))
    x = tone(rate, hz)
    return x + 0.4 * x**3


def bell(rng, rate, seconds, pace, pitch):
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
    stroke = ring(rate, seconds, partials)
    return repeat(rng, rate, seconds, 0.55 / pace, lambda: stroke)


def clock(rng, rate, seconds, pace, pitch):
    """Tick and tock: two tiny resonant clicks in turn."""
    turns = cycle([ring(rate, 0.06, [(hz, 1, 0.008), (hz * 1.7, 0.6, 0.005)]) for hz in (2600, 2000)])
    return repeat(rng, rate, seconds, 0.32 / pace, lambda: next(turns), 0.0)


def phone(rng, rate, seconds, pace, pitch):
    """An electric ringer: two tones, warbled 20 times a second, in bursts."""
    t = clock_seconds(rate, seconds)
    burst = np.clip(20 * np.minimum((t * 1.6) % 1, 0.6 - (t * 1.6) % 1), 0, 1)
    tones = sum(np.sin(2 * np.pi * hz * pitch * t) + 0.3 * np.sin(6 * np.pi * hz * pitch * t) for hz in (950, 1180))
    return burst * tones * np.clip(0.5 + 1.5 * np.sin(2 * np.pi * 20 * t), 0, 1)


def knock(rng, rate, seconds, pace, pitch):
    """Knuckles on wood: a short thump with a board's resonances."""
    board, touch = rng.uniform(0.9, 1.1), rate // 400
    thump = ring(rate, 0.15, [(190 * board, 1, 0.03), (410 * board, 0.7, 0.02), (900 * board, 0.3, 0.01)])
    return repeat(
        rng,
        rate,
        seconds,
        0.26 / pace,
        lambda: thump + np.pad(0.2 * rng.standard_normal(touch), (0, len(thump) - touch)),
    )


def footsteps(rng, rate, seconds, pace, pitch):
    """Heel, then sole: a thump and a scrape."""

    def step():
        n = int(rate * 0.14)
        heel = np.exp(-np.linspace(0, 16, n)) * band(rng.standard_normal(n), rate, 90, 600)
        sole = np.roll(np.exp(-np.linspace(0, 9, n)), n // 3) * band(rng.standard_normal(n), rate, 1500, 5000)
        return 2 * heel + 0.35 * sole

    return repeat(rng, rate, seconds, 0.42 / pace, step, 0.04)


def engine(rng, rate, seconds, pace, pitch):
    """Firing pulses: many harmonics of a slightly uneven rate, throbbing, with the hiss of moving parts."""
    phase = np.cumsum(62 * pitch * wander(rng, rate, seconds, 2, 0.95, 1.08)) / rate
    pulses = sum(np.sin(2 * np.pi * k * phase + k * k) / k**0.5 for k in range(1, 31))
    throb = 1 + 0.4 * np.sin(np.pi * phase)
    return band(pulses * throb, rate, 50, 1400, 1) + 0.3 * band(noise(rng, rate, seconds), rate, 300, 2500, 1)


def helicopter(rng, rate, seconds, pace, pitch):
    """Blade slap: bursts of low noise some ten times a second, over the turbine's soft noise."""
    slap = np.maximum(0, np.sin(2 * np.pi * 11 * pace**0.7 * clock_seconds(rate, seconds))) ** 6
    turbine = band(noise(rng, rate, seconds), rate, 400, 2500, 1)
    return 3 * slap * band(noise(rng, rate, seconds), rate, 60, 900, 1) + 0.12 * turbine


def drip(rng, rate, seconds, pace, pitch):
    """A drop into water: a bubble's quick rising chirp."""

    def drop():
        t = clock_seconds(rate, 0.09)
        hz = 900 * rng.uniform(0.9, 1.15)
        return np.sin(2 * np.pi * (hz * t + hz * 5 * t * t)) * np.exp(-t / 0.022)

    return repeat(rng, rate, seconds, 0.38 / pace, drop, 0.2)


def typing(rng, rate, seconds, pace, pitch):
    """Keys: down-click and up-click, irregular."""

    def key():
        n = int(rate * 0.07)
        click = np.exp(-np.linspace(0, 26, n)) * band(rng.standard_normal(n), rate, 1800, 6000)
        return click + 0.4 * np.roll(click, n // 2)

    return repeat(rng, rate, seconds, 0.15 / pace, key, 0.35)


def glass(rng, rate, seconds, pace, pitch):
    """Breaking: a burst, then shards that ring high and fall."""
    shards = [ring(rate, 0.25, [(hz, 1, 0.05), (hz * 1.6, 0.5, 0.03)]) for hz in rng.uniform(2600, 6200, 14)]
    t = clock_seconds(rate, seconds)
    falling = scatter(rng, rate, seconds, 45, shards) * np.exp(-t / 0.35)
    return falling + band(noise(rng, rate, seconds), rate, 2000, None) * np.exp(-t / 0.04)


def whistle(rng, rate, seconds, pace, pitch):
    """A referee's whistle: a high tone that a rattling pea trills, with some breath."""
    t = clock_seconds(rate, seconds)
    pea = np.sin(2 * np.pi * rng.uniform(26, 36) * t)
    on = np.clip(np.minimum((t * 1.4) % 1, 0.8 - (t * 1.4) % 1) / 0.03, 0, 1)
    breath = band(noise(rng, rate, seconds), rate, 1500, 5000)
    return on * (tone(rate, 2300 * pitch * (1 + 0.025 * pea)) * (1 + 0.6 * pea) + 0.04 * breath)


def horn(rng, rate, seconds, pace, pitch):
    """A car's horn: two reedy tones, a third apart, in blasts."""
    t = clock_seconds(rate, seconds)
    beat = (t * 1.3 * pace) % 1
    on = np.clip(np.minimum(beat, 0.7 - beat) / 0.03, 0, 1)
    reed = sum(
        np.sin(2 * np.pi * k * hz * pitch * t) / k**0.7
        for hz in (350, 440)
        for k in range(1, 9)
        if k * hz * pitch < 0.45 * rate
    )
    return on * reed


def saw(rng, rate, seconds, pace, pitch):
    """Sawing wood: toothed noise, bright when pushed, duller and softer when pulled."""
    t = clock_seconds(rate, seconds)
    stroke = np.sin(2 * np.pi * 1.3 * pace * t)
    teeth = 0.6 + 0.4 * np.sin(2 * np.pi * 95 * t)
    push = np.maximum(0, stroke) ** 1.5 * band(noise(rng, rate, seconds), rate, 1400, 5200)
    pull = np.maximum(0, -stroke) ** 1.5 * band(noise(rng, rate, seconds), rate, 600, 2200)
    return teeth * (push + 0.6 * pull)


def hammer(rng, rate, seconds, pace, pitch):
    """Hammer on metal: a bright inharmonic ping."""
    base = 1350 * rng.uniform(0.95, 1.05)
    blow = [
        (base, 1, 0.09),
        (base * 1.52, 0.8, 0.06),
        (base * 2.31, 0.6, 0.05),
        (base * 3.4, 0.4, 0.03),
        (180, 1, 0.02),
    ]
    ping = ring(rate, 0.4, blow)
    return repeat(rng, rate, seconds, 0.38 / pace, lambda: ping, 0.05)


def owl(rng, rate, seconds, pace, pitch):
    """Hoots: soft low tones that swell, with a faint overtone."""
    length = 0.3 / pace**0.4
    t = clock_seconds(rate, length)
    hz = 420 * pitch * (1 - 0.12 * t / length)
    hoot = (tone(rate, hz) + 0.15 * tone(rate, 2 * hz)) * np.sin(np.pi * t / length) ** 1.3
    return repeat(rng, rate, seconds, 0.45 / pace, lambda: hoot, 0.05)
