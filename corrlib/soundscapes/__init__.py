"""The built-in corpus: composed sound scenes whose true audio-caption correspondences are known."""
from corrlib.soundscapes.classes import SYNTHETIC
from corrlib.soundscapes.scenes import facts
from corrlib.soundscapes.write import example, load_scenes, load_tags, load_truth, write_corpus

__all__ = ["SYNTHETIC", "example", "facts", "load_scenes", "load_tags", "load_truth", "write_corpus"]
