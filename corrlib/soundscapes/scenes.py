"""Draw scenes. A scene is a plain dict, as in scenes.json:

    {"background": {"class", "attributes", "grain"},
     "events": [{"class", "attributes", "grain", "onset_seconds", "offset_seconds"}, ...]}

`attributes` is {attribute: value}; `grain` is a number that chooses the variant or recording of the class.
"""

from collections.abc import Mapping

import numpy as np

from corrlib.soundscapes.classes import VALUES, SoundClass
from corrlib.soundscapes.truth import Scene, Sound

COUNTS, SHARES = (1, 2, 3), (0.3, 0.45, 0.25)
GAP_SECONDS = 0.12


def draw_scene(rng: np.random.Generator, classes: Mapping[str, SoundClass], seconds: float) -> Scene:
    """A random scene: one background and one to three events of different classes ({name: SoundClass})."""
    backgrounds = [c for c in classes.values() if c.role == "background"]
    events = [c for c in classes.values() if c.role == "event"]
    count = min(int(rng.choice(COUNTS, p=SHARES)), len(events))
    chosen = [events[i] for i in rng.permutation(len(events))[:count]]
    scene = {"background": _sound(rng, backgrounds[rng.integers(len(backgrounds))]), "events": []}
    for kind, (onset, offset) in zip(chosen, _times(rng, count, seconds), strict=True):
        times = {"onset_seconds": round(onset, 3), "offset_seconds": round(offset, 3)}
        scene["events"].append(_sound(rng, kind) | times)
    return scene


def _sound(rng: np.random.Generator, kind: SoundClass) -> Sound:
    attributes = {name: VALUES[name][rng.integers(2)] for name in kind.attributes}
    return {"class": kind.name, "attributes": attributes, "grain": int(rng.integers(2**31))}


def _times(rng: np.random.Generator, count: int, seconds: float) -> list[tuple[float, float]]:
    """[(onset, offset)] in seconds: an event begins with the one before it, or after all before it have ended."""
    lengths = rng.uniform(1.2, 1.8, count) if count > 1 else rng.uniform(1.4, 2.0, 1)
    times, start = [], rng.uniform(0.05, 0.3)
    for i, length in enumerate(lengths):
        if i and rng.random() < 0.5:
            start = times[-1][0] + rng.uniform(0.0, 0.25)
        elif i:
            start = max(stop for _, stop in times) + GAP_SECONDS
        times.append((start, start + length))
    # three in a row may not fit: they are moved closer and cut shorter, all by the same share
    scale = min(1.0, (seconds - 0.05) / max(stop for _, stop in times))
    return [(start * scale, stop * scale) for start, stop in times]
