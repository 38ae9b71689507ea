"""The classes of sound: synthesizer, attributes, and the words of captions.

`words` are (noun phrase, verb, -ing form), synonyms of one another; an attribute is named in claims by its value.
"""

from collections.abc import Callable
from dataclasses import dataclass

from corrlib.soundscapes import events, textures

VALUES = {
    "pace": ("slow", "fast"),
    "pitch": ("low", "high"),
    "distance": ("near", "distant"),
    "strength": ("gentle", "strong"),
}
FACTORS = {"slow": 0.5, "fast": 2.0, "low": 0.7, "high": 1.45, "gentle": 0.45, "strong": 1.6}  # for synthesizers


@dataclass(frozen=True)
class SoundClass:
    """role: `background` or `event`; attributes: names out of VALUES; words: see the module."""

    name: str
    role: str
    attributes: tuple[str, ...]
    words: tuple[tuple[str, str, str], ...]
    synthesize: Callable | None = None


def _background(name: str, *words: tuple[str, str, str]) -> SoundClass:
    return SoundClass(name, "background", ("strength", "distance"), words, getattr(textures, name))


def _event(name: str, attributes: tuple[str, ...], *words: tuple[str, str, str]) -> SoundClass:
    return SoundClass(name, "event", (*attributes, "distance"), words, getattr(events, name))


# fmt: off
SYNTHETIC = {sound.name: sound for sound in (
    _background("rain", ("rain", "falls", "falling"), ("rain", "pours down", "pouring down"), ("a shower", "patters", "pattering")),
    _background("wind", ("wind", "blows", "blowing"), ("a breeze", "howls", "howling"), ("the wind", "whooshes", "whooshing")),
    _background("waves", ("waves", "break on a beach", "breaking on a beach"), ("the sea", "washes ashore", "washing ashore"),
                ("surf", "rolls in", "rolling in")),
    _background("stream", ("a stream", "flows", "flowing"), ("a brook", "babbles", "babbling"), ("water", "trickles", "trickling")),
    _background("fire", ("a fire", "crackles", "crackling"), ("flames", "burn", "burning"), ("a campfire", "pops", "popping")),
    _background("crickets", ("crickets", "chirp", "chirping"), ("insects", "buzz", "buzzing"), ("cicadas", "sing", "singing")),
    _background("traffic", ("traffic", "passes", "passing"), ("cars", "drive by", "driving by"), ("vehicles", "go past", "going past")),
    _background("applause", ("a crowd", "applauds", "applauding"), ("people", "clap", "clapping"), ("an audience", "cheers", "cheering")),
    _event("thunder", (), ("thunder", "rumbles", "rumbling"), ("a thunderclap", "booms", "booming"), ("thunder", "rolls", "rolling")),
    _event("dog", ("pace", "pitch"), ("a dog", "barks", "barking"), ("a hound", "yaps", "yapping"), ("a puppy", "woofs", "woofing")),
    _event("bird", ("pace", "pitch"), ("a bird", "sings", "singing"), ("a songbird", "tweets", "tweeting"), ("a bird", "warbles", "warbling")),
    _event("frog", ("pace", "pitch"), ("a frog", "croaks", "croaking"), ("a toad", "ribbits", "ribbiting")),
    _event("siren", ("pace", "pitch"), ("a siren", "wails", "wailing"), ("an ambulance", "blares", "blaring"), ("an alarm", "sounds", "sounding")),
    _event("bell", ("pace", "pitch"), ("a bell", "rings", "ringing"), ("a church bell", "tolls", "tolling"), ("a gong", "chimes", "chiming")),
    _event("clock", ("pace",), ("a clock", "ticks", "ticking"), ("a watch", "ticks away", "ticking away")),
    _event("phone", ("pitch",), ("a phone", "rings out", "ringing out"), ("a telephone", "trills", "trilling")),
    _event("knock", ("pace",), ("someone", "knocks", "knocking"), ("a door", "is knocked on", "being knocked on"), ("a fist", "raps on wood", "rapping on wood")),
    _event("footsteps", ("pace",), ("footsteps", "approach", "approaching"), ("a person", "walks", "walking"), ("shoes", "step on the floor", "stepping on the floor")),
    _event("engine", ("pitch",), ("an engine", "runs", "running"), ("a motor", "idles", "idling"), ("a machine", "hums", "humming")),
    _event("helicopter", ("pace",), ("a helicopter", "flies over", "flying over"), ("a chopper", "hovers", "hovering")),
    _event("drip", ("pace",), ("water", "drips", "dripping"), ("a tap", "drips", "dripping"), ("a faucet", "leaks", "leaking")),
    _event("typing", ("pace",), ("someone", "types", "typing"), ("a keyboard", "clacks", "clacking"), ("keys", "are pressed", "being pressed")),
    _event("glass", (), ("glass", "shatters", "shattering"), ("a window", "breaks", "breaking"), ("a bottle", "smashes", "smashing")),
    _event("whistle", ("pitch",), ("a whistle", "blows", "blowing"), ("a referee", "whistles", "whistling")),
    _event("horn", ("pace", "pitch"), ("a horn", "honks", "honking"), ("a car", "beeps", "beeping")),
    _event("saw", ("pace",), ("a saw", "cuts wood", "cutting wood"), ("someone", "saws a plank", "sawing a plank")),
    _event("hammer", ("pace",), ("a hammer", "strikes metal", "striking metal"), ("someone", "hammers", "hammering"), ("metal", "is struck", "being struck")),
    _event("owl", ("pace", "pitch"), ("an owl", "hoots", "hooting"), ("an owl", "calls", "calling")),
)}
