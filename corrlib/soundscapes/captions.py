"""A paraphrase grammar: captions of a scene, each with the claims that it makes.

`ambiguity` in [0, 1] is the share of short captions: at 0 every caption tells all it can, at 1 only one sound.
"""
from corrlib.soundscapes.scenes import facts

ADVERBS = {"slow": ("slowly", "at a slow pace"), "fast": ("quickly", "rapidly"), "low": ("in a low pitch", "deeply"),
           "high": ("in a high pitch", "shrilly"),
           "near": ("nearby", "close by"), "distant": ("in the distance", "far away"),
           "gentle": ("softly", "gently"), "strong": ("heavily", "strongly")}
WHILE = ("{a} while {b}", "{a} as {b}", "{b} while {a}", "{a} and at the same time {b}")
BACKGROUND = ("{a} with {c} in the background", "{a} as {b}", "{a} while {b}", "{b} and {a}")
THEN = ("{a} and then {b}", "{a}, then {b}", "{a} before {b}", "{b} after {a}")
ALONE = ("{a}", "{a}", "there is {c}", "the sound of {c}", "{c} can be heard")


def _pick(rng, choices):
    return choices[rng.integers(len(choices))]


class Phrase:
    """Words for one sound of a scene, with the attributes it mentions."""

    def __init__(self, rng, sound, classes, attributes):
        noun, verb, ing = _pick(rng, classes[sound["class"]].words)
        mentioned = [sound["attributes"][name] for name in attributes]
        adverbs = "".join(" " + _pick(rng, ADVERBS[value]) for value in mentioned)
        self.finite, self.ing = f"{noun} {verb}{adverbs}", f"{noun} {ing}{adverbs}"
        self.claims = [("present", sound["class"])] + [("attribute", sound["class"], value) for value in mentioned]


def _fill(rng, templates, first, second=None):
    """A sentence of one or two phrases."""
    words = {"a": first.finite, "b": second.finite if second else "", "c": (second or first).ing}
    return _pick(rng, templates).format(**words)


def _mention(rng, sound, chance):
    return [name for name in sorted(sound["attributes"]) if rng.random() < chance]


def write_caption(rng, scene, classes, ambiguity):
    """(text, claims) of one caption: one sound, or two with their relation, with more or fewer attributes."""
    detail = rng.random() >= ambiguity
    chance = 0.45 if detail else 0.08
    event = _pick(rng, scene["events"])
    first = Phrase(rng, event, classes, _mention(rng, event, chance))
    if not detail and rng.random() < ambiguity:
        if rng.random() < 0.2:
            first = Phrase(rng, scene["background"], classes, [])
        text, claims = _fill(rng, ALONE, first), first.claims
    else:
        text, claims = _pair(rng, scene, classes, event, first, chance)
    text = text[0].upper() + text[1:]
    return text + _pick(rng, ("", ".")), claims[:6]


def _pair(rng, scene, classes, event, first, chance):
    """The event and another sound of the scene, in a relation that holds there."""
    holds = facts(scene)
    others = [other for other in scene["events"] if other is not event]
    if others and rng.random() < 0.6:
        other = _pick(rng, others)
        second = Phrase(rng, other, classes, _mention(rng, other, chance))
        for x, y, a, b in ((event, other, first, second), (other, event, second, first)):
            if ("followed by", x["class"], y["class"]) in holds:
                return _fill(rng, THEN, a, b), [("followed by", x["class"], y["class"]), *a.claims, *b.claims]
        if ("while", event["class"], other["class"]) in holds:
            claims = [("while", event["class"], other["class"]), *first.claims, *second.claims]
            return _fill(rng, WHILE, first, second), claims
    below = scene["background"]
    second = Phrase(rng, below, classes, _mention(rng, below, chance))
    return _fill(rng, BACKGROUND, first, second), [*first.claims, *second.claims]
