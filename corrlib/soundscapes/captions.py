"""A paraphrase grammar: captions of a scene, each with the claims that it makes.

How much a caption tells is its detail in [0, 1], drawn as u ** (ambiguity / (1 - ambiguity)) with u uniform: with
ambiguity 0 every caption tells all it can, with 1/2 detail is uniform, with 1 every caption names a sound and no more.
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from corrlib.soundscapes.classes import SoundClass
from corrlib.soundscapes.truth import Claim, Scene, Sound, facts

T = TypeVar("T")

ADVERBS = {
    "slow": ("slowly", "at a slow pace"),
    "fast": ("quickly", "rapidly"),
    "low": ("in a low pitch", "deeply"),
    "high": ("in a high pitch", "shrilly"),
    "near": ("nearby", "close by"),
    "distant": ("in the distance", "far away"),
    "gentle": ("softly", "gently"),
    "strong": ("heavily", "strongly"),
}
ALONE = ("{a}", "{a}", "there {is} {c}", "the sound of {c}", "{c} can be heard")
WHILE = ("{a} while {b}", "{a} as {b}", "{b} while {a}", "{a} and at the same time {b}")
THEN = ("{a} and then {b}", "{a}, then {b}", "{a} before {b}", "{b} after {a}")
OVER = ("{a} with {d} in the background", "{a} with {d}", "{a}, and {b}", "{b}, and {a}")
PAIR_OVER = ("{a} with {d} in the background", "{a} with {d}", "{d}, and {a}", "{a}, and {b}")
TWO_SOUNDS, THREE_SOUNDS = 0.35, 0.8  # detail from which a caption names two sounds, or three
ATTRIBUTES = 0.75  # chance of an attribute at detail 1 below THREE_SOUNDS; above it is 1


def write_captions(
    rng: np.random.Generator, scene: Scene, classes: Mapping[str, SoundClass], ambiguity: float, count: int
) -> list[tuple[str, list[Claim]]]:
    """[(text, claims)] of `count` captions of different texts, as far as the scene gives so many.

    classes: {name: SoundClass} of the scene's sounds; ambiguity in [0, 1]: see the module.
    """
    captions: list[tuple[str, list[Claim]]] = []
    texts = set()
    for _ in range(20 * count):
        text, claims = _caption(rng, scene, classes, ambiguity)
        if text not in texts:
            texts.add(text)
            captions.append((text, claims))
        if len(captions) == count:
            return captions
    return (captions * count)[:count]


def _caption(
    rng: np.random.Generator, scene: Scene, classes: Mapping[str, SoundClass], ambiguity: float
) -> tuple[str, list[Claim]]:
    power = ambiguity / (1 - ambiguity) if ambiguity < 1 else float("inf")
    u = rng.random()
    detail = 1.0 if power == 0 else u**power
    phrase = _Phrases(rng, scene, classes, 1.0 if detail >= 0.95 else ATTRIBUTES * detail)
    first = _pick(rng, scene["events"])
    others = [e for e in scene["events"] if e is not first]
    if detail < TWO_SOUNDS:
        text, claims = phrase.alone(scene["background"] if rng.random() < 0.2 else first)
    elif others and (detail >= THREE_SOUNDS or rng.random() < 0.6):
        text, claims = phrase.pair(first, _pick(rng, others))
        if detail >= THREE_SOUNDS:
            text, claims = phrase.over(text, claims, PAIR_OVER)
    else:
        text, claims = phrase.over(*phrase.finite(first), OVER)
    return text[0].upper() + text[1:] + _pick(rng, ("", ".")), claims


def _pick(rng: np.random.Generator, choices: Sequence[T]) -> T:
    return choices[int(rng.integers(len(choices)))]


class _Phrases:
    """The parts of one caption; every method returns (text, claims) and mentions an attribute by `chance`."""

    def __init__(
        self, rng: np.random.Generator, scene: Scene, classes: Mapping[str, SoundClass], chance: float
    ) -> None:
        self.rng, self.scene, self.classes, self.chance = rng, scene, classes, chance
        self.facts = facts(scene)

    def _words(self, sound: Sound) -> tuple[str, str, list[Claim], str]:
        """(finite clause, noun with -ing form, claims, verb's number) of a sound."""
        noun, verb, ing = _pick(self.rng, self.classes[sound["class"]].words)
        values = [v for _, v in sorted(sound["attributes"].items(), reverse=True) if self.rng.random() < self.chance]
        adverbs = [_pick(self.rng, ADVERBS[value]) for value in values]
        claims: list[Claim] = [("present", sound["class"]), *(("attribute", sound["class"], value) for value in values)]
        number = "is" if verb.split()[0].endswith("s") else "are"
        return " ".join((noun, verb, *adverbs)), " ".join(w for w in (noun, ing, *adverbs) if w), claims, number

    def finite(self, sound: Sound) -> tuple[str, list[Claim]]:
        text, _, claims, _ = self._words(sound)
        return text, claims

    def alone(self, sound: Sound) -> tuple[str, list[Claim]]:
        text, ing, claims, number = self._words(sound)
        number = "is" if not self.classes[sound["class"]].synthesize else number
        return _pick(self.rng, ALONE).format(a=text, c=ing, **{"is": number}), claims

    def pair(self, one: Sound, two: Sound) -> tuple[str, list[Claim]]:
        """Two events in the relation that holds; joined by a bare `and` where none does."""
        if ("followed by", two["class"], one["class"]) in self.facts:
            one, two = two, one
        (a, first), (b, second) = self.finite(one), self.finite(two)
        claims = [(relation, one["class"], two["class"]) for relation in ("followed by", "while")]
        holds = [claim for claim in claims if claim in self.facts][:1]
        templates = {"followed by": THEN, "while": WHILE}[holds[0][0]] if holds else ("{a} and {b}",)
        return _pick(self.rng, templates).format(a=a, b=b), [*first, *second, *holds]

    def over(self, text: str, claims: list[Claim], templates: Sequence[str]) -> tuple[str, list[Claim]]:
        """A clause over the scene's background."""
        finite, ing, more, _ = self._words(self.scene["background"])
        templates = templates[1:] if ing.endswith(ADVERBS["near"] + ADVERBS["distant"]) else templates
        return _pick(self.rng, templates).format(a=text, b=finite, d=ing), [*claims, *more]
