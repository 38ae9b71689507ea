"""Read back what is known of a written corpus: scenes, true correspondences, tags."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from corrlib.soundscapes.classes import VALUES
from corrlib.soundscapes.truth import facts


def _finished(folder: str | Path, split: str | None = None) -> dict:
    """corpus.json of a finished corpus, whose `split` is known."""
    path = Path(folder) / "corpus.json"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no finished built-in corpus; run the notebook 01_data on it first")
    corpus = _read_json(path)
    if split is not None and split not in corpus["sizes"]:
        raise ValueError(f"the corpus {folder} has no split '{split}'; splits: {', '.join(corpus['sizes'])}")
    return corpus


def load_scenes(folder: str | Path) -> dict[str, list[dict]]:
    """{split: list of scenes} as drawn (see `scenes`), each with `file` and `captions` [{text, claims}].

    FileNotFoundError if the corpus is not finished.
    """
    _finished(folder)
    return _read_json(Path(folder) / "scenes.json")


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except ValueError:
        raise ValueError(f"{path} is damaged; delete {path.parent} to have the corpus written again") from None


def load_truth(folder: str | Path, split: str, clips: Any = slice(None), captions: Any = slice(None)) -> np.ndarray:
    """True correspondence float32 (clips, captions) of a split in [0, 1], captions clip-major as in the tables.

    clips, captions: row numbers of a part that is wanted, which spares memory.
    FileNotFoundError if the corpus is not finished, ValueError if it has no such split.
    """
    _finished(folder, split)
    path = Path(folder) / "true_correspondences.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            return file[f"{split}_holding"][clips][:, captions].astype(np.float32) / file[f"{split}_claims"][captions]
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile):
        raise ValueError(f"{path} is damaged; delete {folder} to have the corpus written again") from None


def load_tags(folder: str | Path, split: str, attributes: bool = False) -> tuple[list[str], list[str], np.ndarray]:
    """(file names, tag names, float32 (clips, tags)): which classes sound in a clip.

    With `attributes` also a tag `class:value` for each of their attributes. The tags are the same for every split.
    FileNotFoundError if the corpus is not finished, ValueError if it has no such split.
    """
    classes, scenes = _finished(folder, split)["classes"], load_scenes(folder)[split]
    tags = {("present", name): name for name in sorted(classes)}
    if attributes:
        tags |= {
            ("attribute", name, value): f"{name}:{value}"
            for name in sorted(classes)
            for attribute in classes[name]["attributes"]
            for value in VALUES[attribute]
        }
    table = np.array([[tag in found for tag in tags] for found in map(facts, scenes)], np.float32)
    return [scene["file"] for scene in scenes], list(tags.values()), table
