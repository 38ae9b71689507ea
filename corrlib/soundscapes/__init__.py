"""The built-in corpus: composed sound scenes whose true audio-caption correspondences are known."""

from corrlib.soundscapes.classes import SYNTHETIC
from corrlib.soundscapes.grains import example
from corrlib.soundscapes.load import load_scenes, load_tags, load_truth
from corrlib.soundscapes.truth import facts
from corrlib.soundscapes.write import write_corpus

__all__ = ["SYNTHETIC", "example", "facts", "load_scenes", "load_tags", "load_truth", "write_corpus"]
