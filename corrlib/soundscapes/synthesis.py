"""Synthetic sounds of everyday classes, each from a simple physical picture of its source.

A synthesizer is `f(rng, rate_hz, seconds, pace, pitch) -> waveform (samples,)`, any level. `pace` is 0.55 (slow) or
1.7 (fast), `pitch` 0.7 (low) or 1.45 (high), 1 where the class has no such attribute; for a background `pace` is
its density (gentle or strong).
"""
import numpy as np
from scipy.signal import butter, fftconvolve, sosfilt


def _time(rate, seconds):
    return np.arange(int(rate * seconds)) / rate


def band(x, rate, low=None, high=None, order=2):
    """Butterworth band-pass, high-pass (high None) or low-pass (low None)."""
    top = 0.49 * rate
    if low and high:
        return sosfilt(butter(order, [low, min(high, top)], "band", fs=rate, output="sos"), x)
    kind, edge = ("high", low) if low else ("low", min(high, top))
    return sosfilt(butter(order, edge, kind, fs=rate, output="sos"), x)


def _noise(rng, rate, seconds):
    return rng.standard_normal(int(rate * seconds))


def _slow(rng, rate, seconds, hz, low=0.0, high=1.0):
    """A smooth random curve between low and high that changes about `hz` times a second."""
    knots = rng.random(max(3, int(seconds * hz) + 3))
    at = np.linspace(0, len(knots) - 1, int(rate * seconds))
    smooth = np.interp(at, np.arange(len(knots)), knots)
    return low + (high - low) * smooth


def _ring(rate, seconds, partials):
    """Sum of decaying sines: partials are (hz, level, decay seconds)."""
    t = _time(rate, seconds)
    return sum(level * np.sin(2 * np.pi * hz * t) * np.exp(-t / decay) for hz, level, decay in partials
               if hz < 0.48 * rate)


def _tone(rate, hz):
    """A sine whose frequency follows the curve `hz` (samples,)."""
    return np.sin(2 * np.pi * np.cumsum(hz) / rate)


def _scatter(rng, rate, seconds, per_second, grains, low=0.2):
    """Sprinkle random grains at random times and levels: drops, crackles, claps."""
    out = np.zeros(int(rate * seconds))
    for _ in range(rng.poisson(per_second * seconds)):
        grain = grains[rng.integers(len(grains))]
        at = rng.integers(len(out))
        part = grain[:len(out) - at]
        out[at:at + len(part)] += part * (low + (1 - low) * rng.random())
    return out


def _repeat(rng, rate, seconds, interval, make, jitter=0.08, start=0.02):
    """`make()` again and again, every `interval` seconds."""
    out, at = np.zeros(int(rate * seconds)), start
    while at < seconds - 0.05:
        piece = make()
        first = int(at * rate)
        part = piece[:len(out) - first]
        out[first:first + len(part)] += part
        at += interval * (1 + jitter * rng.standard_normal())
    return out


# backgrounds ---------------------------------------------------------------------------------------------------

def rain(rng, rate, seconds, pace, pitch):
    """Hiss of many drops, with single drops on top."""
    drops = [band(rng.standard_normal(int(rate * 0.012)), rate, 1800, 6500) * np.exp(-np.linspace(0, 7, int(rate * 0.012)))
             for _ in range(12)]
    hiss = band(_noise(rng, rate, seconds), rate, 1200, 7000)
    return 0.5 * hiss + 1.6 * _scatter(rng, rate, seconds, 130 * pace, drops)


def wind(rng, rate, seconds, pace, pitch):
    """Broad low noise whose colour and strength wander, with a faint whistle."""
    x = band(_noise(rng, rate, seconds), rate, 60, 500, 1) * _slow(rng, rate, seconds, 0.8 * pace, 0.25, 1)
    whistle = _tone(rate, _slow(rng, rate, seconds, 1.2 * pace, 420, 760)) * _slow(rng, rate, seconds, 1, 0, 0.12)
    return x + 0.6 * whistle * np.abs(x).mean()


def waves(rng, rate, seconds, pace, pitch):
    """Surf: noise that swells and breaks every few seconds."""
    t, period = _time(rate, seconds), 2.6 / pace
    swell = ((t / period + rng.random()) % 1) ** 2 * np.exp(-3 * ((t / period + rng.random() * 0.1) % 1 > 0.93))
    return band(_noise(rng, rate, seconds), rate, 150, 3200, 1) * (0.15 + swell)


def stream(rng, rate, seconds, pace, pitch):
    """Bubbles: short rising sines, over soft noise."""
    def bubble():
        hz, length = rng.uniform(500, 2200), rng.uniform(0.015, 0.05)
        t = _time(rate, length)
        return np.sin(2 * np.pi * (hz * t + hz * 4 * t * t)) * np.exp(-t / (length / 3))
    bubbles = [bubble() for _ in range(24)]
    return _scatter(rng, rate, seconds, 90 * pace, bubbles) + 0.12 * band(_noise(rng, rate, seconds), rate, 400, 3000, 1)


def fire(rng, rate, seconds, pace, pitch):
    """Crackles of random strength over a low rumble."""
    cracks = [rng.standard_normal(n) * np.exp(-np.linspace(0, 8, n)) for n in rng.integers(20, 160, 16)]
    rumble = band(_noise(rng, rate, seconds), rate, 40, 240, 1)
    return 1.5 * _scatter(rng, rate, seconds, 22 * pace, cracks, 0.05) + 0.7 * rumble


def crickets(rng, rate, seconds, pace, pitch):
    """Several insects, each a pure high tone chopped into regular chirps."""
    t, out = _time(rate, seconds), 0
    for _ in range(4):
        hz, chirps = rng.uniform(3900, 5200), rng.uniform(1.6, 2.6) * pace
        gate = ((t * chirps + rng.random()) % 1 < 0.4) * (0.5 + 0.5 * np.sin(2 * np.pi * 38 * t))
        out = out + rng.uniform(0.4, 1) * gate * np.sin(2 * np.pi * hz * t)
    return out + 0.02 * _noise(rng, rate, seconds)


def traffic(rng, rate, seconds, pace, pitch):
    """Cars that pass: noise of tyres that swells and darkens, over a low hum."""
    t, out = _time(rate, seconds), 0.15 * band(_noise(rng, rate, seconds), rate, 50, 300, 1)
    for _ in range(max(1, int(seconds * 0.6 * pace))):
        centre, width = rng.uniform(0, seconds), rng.uniform(0.4, 0.9)
        near = np.exp(-((t - centre) / width) ** 2)
        out = out + near * (band(_noise(rng, rate, seconds), rate, 300, 1700, 1) * 0.8
                            + 0.15 * np.sign(np.sin(2 * np.pi * rng.uniform(70, 110) * t)))
    return out


def applause(rng, rate, seconds, pace, pitch):
    """Many hands: claps are short bursts, each coloured by its own cupped palm."""
    claps = [band(rng.standard_normal(int(rate * 0.02)), rate, c, c * 2.2) * np.exp(-np.linspace(0, 6, int(rate * 0.02)))
             for c in rng.uniform(600, 1800, 20)]
    return _scatter(rng, rate, seconds, 110 * pace, claps)


# events --------------------------------------------------------------------------------------------------------

def thunder(rng, rate, seconds, pace, pitch):
    """A crack, then a long rolling low rumble."""
    t = _time(rate, seconds)
    roll = band(_noise(rng, rate, seconds), rate, 30, 220, 1) * np.exp(-t / 0.7) * _slow(rng, rate, seconds, 6, 0.3, 1)
    crack = band(_noise(rng, rate, seconds), rate, 200, 3000, 1) * np.exp(-t / 0.08)
    return 2.2 * roll + 0.5 * crack


def dog(rng, rate, seconds, pace, pitch):
    """Barks: a harsh voiced burst with falling pitch and an open-mouth resonance."""
    def bark():
        t = _time(rate, 0.2)
        hz = 420 * pitch * (1 + 0.5 * np.exp(-t / 0.03) - t)
        voice = np.sign(_tone(rate, hz)) + 0.6 * rng.standard_normal(len(t))
        return band(voice, rate, 500 * pitch, 1900 * pitch) * np.sin(np.pi * t / 0.2) ** 0.6
    return _repeat(rng, rate, seconds, 0.42 / pace, bark)


def bird(rng, rate, seconds, pace, pitch):
    """Song: quick whistled sweeps."""
    shape = rng.integers(3)

    def note():
        t, length = _time(rate, 0.11), 0.11
        sweep = {0: 1 + 2.5 * t, 1: 1.3 - 2.5 * t, 2: 1 + 0.12 * np.sin(2 * np.pi * 28 * t)}[int(shape)]
        return _tone(rate, 2900 * pitch * sweep) * np.sin(np.pi * t / length)
    return _repeat(rng, rate, seconds, 0.22 / pace, note, 0.15)


def frog(rng, rate, seconds, pace, pitch):
    """Croak: a train of pulses through a throat resonance."""
    def croak():
        t = _time(rate, 0.28)
        pulses = (np.sin(2 * np.pi * 42 * t) > 0.75) * rng.standard_normal(len(t))
        return band(pulses, rate, 480 * pitch, 900 * pitch) * np.sin(np.pi * t / 0.28)
    return _repeat(rng, rate, seconds, 0.5 / pace, croak)


def siren(rng, rate, seconds, pace, pitch):
    """A tone that rises and falls steadily."""
    t = _time(rate, seconds)
    hz = 800 * pitch * (1 + 0.3 * np.sin(2 * np.pi * 1.1 * pace * t + rng.uniform(0, 6)))
    x = _tone(rate, hz)
    return x + 0.4 * x ** 3


def bell(rng, rate, seconds, pace, pitch):
    """A struck bell: inharmonic partials that ring on."""
    base = 520 * pitch * rng.uniform(0.95, 1.05)
    partials = [(base * r, a, d) for r, a, d in ((0.5, 0.4, 1.2), (1, 1, 0.9), (1.19, 0.5, 0.6), (1.5, 0.4, 0.5),
                                                 (2, 0.5, 0.4), (2.74, 0.3, 0.25), (4.1, 0.15, 0.15))]
    return _repeat(rng, rate, seconds, 0.8 / pace, lambda: _ring(rate, seconds, partials))


def clock(rng, rate, seconds, pace, pitch):
    """Tick and tock: two tiny resonant clicks in turn."""
    turn = iter(range(1000))

    def tick():
        hz = (2600, 2000)[next(turn) % 2]
        return _ring(rate, 0.06, [(hz, 1, 0.008), (hz * 1.7, 0.6, 0.005)])
    return _repeat(rng, rate, seconds, 0.32 / pace, tick, 0.0)


def phone(rng, rate, seconds, pace, pitch):
    """Ringing: two tones chopped at 20 a second."""
    t = _time(rate, seconds)
    on = (t * 1.6 * pace) % 1 < 0.6
    tones = np.sin(2 * np.pi * 1250 * pitch * t) + np.sin(2 * np.pi * 1550 * pitch * t)
    return on * tones * (np.sin(2 * np.pi * 20 * t) > 0)


def knock(rng, rate, seconds, pace, pitch):
    """Knuckles on wood: a short thump with a board's resonances."""
    board = rng.uniform(0.9, 1.1)
    return _repeat(rng, rate, seconds, 0.26 / pace, lambda: _ring(
        rate, 0.15, [(190 * board, 1, 0.03), (410 * board, 0.7, 0.02), (900 * board, 0.3, 0.01)])
        + np.pad(0.2 * rng.standard_normal(40), (0, int(rate * 0.15) - 40)))


def footsteps(rng, rate, seconds, pace, pitch):
    """Heel, then sole: a thump and a scrape."""
    def step():
        n = int(rate * 0.14)
        heel = np.exp(-np.linspace(0, 16, n)) * band(rng.standard_normal(n), rate, 90, 600)
        sole = np.roll(np.exp(-np.linspace(0, 9, n)), n // 3) * band(rng.standard_normal(n), rate, 1500, 5000)
        return 2 * heel + 0.35 * sole
    return _repeat(rng, rate, seconds, 0.5 / pace, step, 0.04)


def engine(rng, rate, seconds, pace, pitch):
    """Firing pulses, many harmonics, slightly uneven."""
    hz = 62 * pitch * _slow(rng, rate, seconds, 2, 0.95, 1.08)
    phase = np.cumsum(hz) / rate
    x = sum(np.sin(2 * np.pi * k * phase) / k ** 0.7 for k in range(1, 16))
    return band(x, rate, 50, 2500, 1) + 0.25 * band(_noise(rng, rate, seconds), rate, 200, 1500, 1)


def helicopter(rng, rate, seconds, pace, pitch):
    """Blade slap: bursts of low noise twelve or so times a second."""
    t = _time(rate, seconds)
    slap = np.maximum(0, np.sin(2 * np.pi * 11 * pace ** 0.5 * t)) ** 6
    return slap * band(_noise(rng, rate, seconds), rate, 60, 900, 1) * 3 + 0.1 * _noise(rng, rate, seconds)


def drip(rng, rate, seconds, pace, pitch):
    """A drop into water: a bubble's quick rising chirp."""
    def drop():
        t = _time(rate, 0.09)
        hz = 900 * rng.uniform(0.9, 1.15)
        return np.sin(2 * np.pi * (hz * t + hz * 5 * t * t)) * np.exp(-t / 0.022)
    return _repeat(rng, rate, seconds, 0.45 / pace, drop, 0.2)


def typing(rng, rate, seconds, pace, pitch):
    """Keys: down-click and up-click, irregular."""
    def key():
        n = int(rate * 0.07)
        click = np.exp(-np.linspace(0, 26, n)) * band(rng.standard_normal(n), rate, 1800, 6000)
        return click + 0.4 * np.roll(click, n // 2)
    return _repeat(rng, rate, seconds, 0.15 / pace, key, 0.35)


def glass(rng, rate, seconds, pace, pitch):
    """Breaking: a burst, then shards that ring high and fall."""
    shards = [_ring(rate, 0.25, [(hz, 1, 0.05), (hz * 1.6, 0.5, 0.03)]) for hz in rng.uniform(2600, 6200, 14)]
    t = _time(rate, seconds)
    falling = _scatter(rng, rate, seconds, 45, shards) * np.exp(-t / 0.35)
    return falling + band(_noise(rng, rate, seconds), rate, 2000, None) * np.exp(-t / 0.04)


def whistle(rng, rate, seconds, pace, pitch):
    """A referee's whistle: a high tone with a rattling pea."""
    t = _time(rate, seconds)
    on = np.clip(np.minimum(t, seconds - t) / 0.03, 0, 1)
    return on * _tone(rate, 2300 * pitch * (1 + 0.03 * np.sign(np.sin(2 * np.pi * 32 * t)))) * (
        1 + 0.5 * np.sin(2 * np.pi * 32 * t)) + on * 0.08 * _noise(rng, rate, seconds)


def horn(rng, rate, seconds, pace, pitch):
    """A car's horn: two buzzing tones held together."""
    t = _time(rate, seconds)
    on = (t * 1.5 * pace) % 1 < 0.75
    buzz = sum(np.sign(np.sin(2 * np.pi * hz * pitch * t)) for hz in (350, 440))
    return band(buzz * on, rate, 250, 3500, 1)


def saw(rng, rate, seconds, pace, pitch):
    """Sawing wood: noise pushed and pulled."""
    t = _time(rate, seconds)
    stroke = np.abs(np.sin(2 * np.pi * 1.1 * pace * t)) ** 1.5
    teeth = 0.6 + 0.4 * np.sin(2 * np.pi * 95 * t)
    return stroke * teeth * band(_noise(rng, rate, seconds), rate, 900, 4200)


def hammer(rng, rate, seconds, pace, pitch):
    """Hammer on metal: a bright inharmonic ping."""
    base = 1350 * rng.uniform(0.95, 1.05)
    blow = [(base, 1, 0.09), (base * 1.52, 0.8, 0.06), (base * 2.31, 0.6, 0.05), (base * 3.4, 0.4, 0.03), (180, 1, 0.02)]
    return _repeat(rng, rate, seconds, 0.42 / pace, lambda: _ring(rate, 0.4, blow), 0.05)


def owl(rng, rate, seconds, pace, pitch):
    """Hoots: soft low tones that swell."""
    def hoot():
        t = _time(rate, 0.36)
        return _tone(rate, 390 * pitch * (1 - 0.12 * t / 0.36)) * np.sin(np.pi * t / 0.36) ** 1.3
    return _repeat(rng, rate, seconds, 0.55 / pace, hoot, 0.05)


def distance(waveform, rate, rng):
    """The same sound from far away: dull and with the echo of the open (gain is set in the mix)."""
    t = _time(rate, 0.35)
    echo = rng.standard_normal(len(t)) * np.exp(-t / 0.09) * 0.05
    echo[0] = 1
    return band(fftconvolve(waveform, echo)[:len(waveform)], rate, None, 1800, 1)
