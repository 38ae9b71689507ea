"""Mix the grains of a scene to its waveform."""

from collections.abc import Callable

import numpy as np

from corrlib.soundscapes.truth import Scene, Sound

# level of a sound, whose grain has unit power; a distant event is 7 dB softer, a distant background 6 dB
EVENT = {"near": 1.0, "distant": 0.45}
BACKGROUND = {"gentle": 0.08, "strong": 0.2, "near": 1.0, "distant": 0.5}
PLAIN_BACKGROUND = 0.15  # where recordings have no strength
JITTER_DB, HEADROOM, FULL_SCALE = 2.0, 0.9, 4.0


def mix(scene: Scene, grain_of: Callable[[Sound], np.ndarray], rate_hz: int, seconds: float) -> np.ndarray:
    """float32 waveform (samples,) of a scene: its background, and its events faded out at their ends.

    grain_of: function from a scene's sound to its waveform. One fixed gain keeps near louder than distant from scene
    to scene; only scenes with peaks beyond FULL_SCALE are scaled down, to a peak of HEADROOM.
    """
    rng = np.random.default_rng([scene["background"]["grain"], *(e["grain"] for e in scene["events"])])
    samples = round(seconds * rate_hz)
    below = grain_of(scene["background"])
    values = scene["background"]["attributes"]
    level = BACKGROUND.get(values.get("strength"), PLAIN_BACKGROUND) * BACKGROUND[values["distance"]]
    start = int(rng.integers(max(1, len(below) - samples)))
    out = level * np.resize(below[start : start + samples], samples)
    for event in scene["events"]:
        first, last = (round(event[k] * rate_hz) for k in ("onset_seconds", "offset_seconds"))
        piece = np.array(grain_of(event)[: min(last, samples) - first])
        n = min(len(piece) // 4, rate_hz // 30)
        piece[len(piece) - n :] *= np.linspace(1, 0, n, dtype=np.float32)
        gain = EVENT[event["attributes"]["distance"]] * 10 ** (rng.uniform(-JITTER_DB, JITTER_DB) / 20)
        out[first : first + len(piece)] += gain * piece
    return (HEADROOM * out / max(FULL_SCALE, float(np.abs(out).max()))).astype(np.float32)
