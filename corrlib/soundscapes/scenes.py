"""Scenes and what is true of them.

A scene is a plain dict: background (class, strength) and events (class, attributes, start and stop seconds). A claim
is a tuple: ("present", x), ("attribute", x, value), ("while", x, y) or ("followed by", x, y), with class names x, y.
"""
import numpy as np

from corrlib.soundscapes.classes import VALUES


def draw_scene(rng, classes, seconds):
    """A random scene: one background and one to three events of different classes.

    classes: {name: SoundClass}. Two events either overlap or follow one another with a gap.
    """
    backgrounds = [c for c in classes.values() if c.role == "background"]
    events = [c for c in classes.values() if c.role == "event"]
    count = min(int(rng.choice([1, 2, 3], p=[0.3, 0.45, 0.25])), len(events))
    chosen = [events[i] for i in rng.permutation(len(events))[:count]]
    below = backgrounds[rng.integers(len(backgrounds))]
    scene = {"background": {"class": below.name, "attributes": _attributes(rng, below), "grain": int(rng.integers(2**31))},
             "events": []}
    for kind, (start, stop) in zip(chosen, _times(rng, count, seconds), strict=True):
        scene["events"].append({"class": kind.name, "attributes": _attributes(rng, kind), "start": round(start, 3),
                                "stop": round(stop, 3), "grain": int(rng.integers(2**31))})
    return scene


def _attributes(rng, kind):
    return {name: VALUES[name][rng.integers(2)] for name in kind.attributes}


def _times(rng, count, seconds):
    """Start and stop of each event, in seconds: neighbours overlap by half a second or more, or leave a gap."""
    lengths = rng.uniform(0.9, 1.5, count) if count > 1 else rng.uniform(1.0, 2.0, 1)
    times, cursor = [], rng.uniform(0.05, 0.3)
    for i, length in enumerate(lengths):
        if i and rng.random() < 0.5:
            cursor = max(0.0, times[-1][0] + rng.uniform(0.0, 0.25))         # together
        elif i:
            cursor = times[-1][1] + 0.12                                     # one after the other
        times.append((cursor, cursor + length))
    last = max(stop for _, stop in times)
    scale = min(1.0, (seconds - 0.05) / last)
    return [(start * scale, stop * scale) for start, stop in times]


def overlap(a, b):
    """Seconds during which both events sound."""
    return min(a["stop"], b["stop"]) - max(a["start"], b["start"])


def facts(scene):
    """The set of all claims that hold for a scene. The background sounds all the time, so it is `while` every event."""
    background, events = scene["background"], scene["events"]
    found = {("present", s["class"]) for s in (background, *events)}
    found |= {("attribute", s["class"], value) for s in (background, *events) for value in s["attributes"].values()}
    for a in events:
        found |= {("while", a["class"], background["class"]), ("while", background["class"], a["class"])}
        for b in events:
            if a is b:
                continue
            if overlap(a, b) >= 0.3:
                found.add(("while", a["class"], b["class"]))
            elif a["start"] < b["start"] and overlap(a, b) <= 0.1:
                found.add(("followed by", a["class"], b["class"]))
    return found


STEPS = 60      # every share of at most six claims is a whole number of sixtieths


def correspondence(all_facts, captions_claims):
    """True correspondence (clips, captions) in sixtieths, uint8: the share of a caption's claims that hold.

    all_facts: list of sets of claims, one a clip; captions_claims: list of lists of 1 to 6 claims.
    """
    known = {}
    columns = [[known.setdefault(tuple(claim), len(known)) for claim in claims] for claims in captions_claims]
    holds = np.zeros((len(all_facts), len(known)), bool)
    for row, found in enumerate(all_facts):
        holds[row, [known[f] for f in found if f in known]] = True
    out = np.empty((len(all_facts), len(columns)), np.uint8)
    for column, places in enumerate(columns):
        out[:, column] = holds[:, places].sum(1) * STEPS // len(places)
    return out
