"""What is true of a scene, and how much of a caption holds for it.

A claim is a tuple: ("present", x), ("attribute", x, value), ("while", x, y) or ("followed by", x, y), with class names
x and y. The true correspondence of a clip and a caption is the share of the caption's claims that hold for the clip.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

Claim = tuple[str, ...]
Sound = dict[str, Any]  # of a scene: see `scenes`
Scene = dict[str, Any]

TOGETHER_SECONDS, APART_SECONDS = 0.3, 0.1


def overlap(a: Sound, b: Sound) -> float:
    """Seconds during which both events sound; negative: the gap between them."""
    return min(a["offset_seconds"], b["offset_seconds"]) - max(a["onset_seconds"], b["onset_seconds"])


def facts(scene: Scene) -> set[Claim]:
    """The set of all claims that hold for a scene (a dict, see `scenes`).

    Two events sound `while` one another if they share TOGETHER_SECONDS, and one is `followed by` the other if they
    share at most APART_SECONDS; between the two neither is claimed. The background always sounds, so that a relation
    with it would say no more than its presence: there is none.
    """
    sounds, events = [scene["background"], *scene["events"]], scene["events"]
    true_claims: set[Claim] = {("present", s["class"]) for s in sounds}
    true_claims |= {("attribute", s["class"], value) for s in sounds for value in s["attributes"].values()}
    for a in events:
        for b in events:
            if a is not b and overlap(a, b) >= TOGETHER_SECONDS:
                true_claims.add(("while", a["class"], b["class"]))
            elif a["onset_seconds"] < b["onset_seconds"] and overlap(a, b) <= APART_SECONDS:
                true_claims.add(("followed by", a["class"], b["class"]))
    return true_claims


def holding(all_facts: Sequence[set[Claim]], captions_claims: Sequence[Sequence[Claim]]) -> np.ndarray:
    """How many claims of each caption hold for each clip: uint8 (clips, captions).

    all_facts: list of sets of claims, one a clip; captions_claims: list of lists of claims, one a caption.
    """
    known: dict[Claim, int] = {}
    places = [[known.setdefault(tuple(claim), len(known)) for claim in claims] for claims in captions_claims]
    holds = np.zeros((len(known), len(all_facts)), np.uint8)
    for clip, found in enumerate(all_facts):
        holds[[known[f] for f in found if f in known], clip] = 1
    return np.stack([holds[rows].sum(0, dtype=np.uint8) for rows in places], axis=1)
