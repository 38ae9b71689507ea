"""The built-in corpus on disk: ClothoV2's layout, one truth file, one file of scenes.

corpus.json is written last; a folder without it is half-written and is written again.
"""
import json
import multiprocessing
import os
import shutil
import zlib
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from corrlib.soundscapes.captions import write_caption
from corrlib.soundscapes.library import SPLITS, open_library
from corrlib.soundscapes.scenes import STEPS, correspondence, draw_scene, facts

SIZES = {"pretraining": 2048, "development": 2048, "validation": 512, "evaluation": 1000}
CAPTIONS = 5
VERSION = 1


def write_corpus(folder, seed, sizes=None, sounds="synthetic", rate_hz=16000, scene_seconds=4.0, ambiguity=0.5, workers=2):
    """Compose and write the corpus; a finished one with the same parameters is left as it is.

    Returns the dict in corpus.json. The same arguments give the same bytes, whatever the number of workers.
    ValueError where the folder holds a corpus of other parameters.
    """
    folder = Path(folder)
    wanted = {"version": VERSION, "seed": seed, "sizes": {s: (sizes or SIZES)[s] for s in SPLITS}, "sounds": str(sounds),
              "rate_hz": rate_hz, "scene_seconds": scene_seconds, "ambiguity": ambiguity}
    if (folder / "corpus.json").is_file():
        found = json.loads((folder / "corpus.json").read_text())
        if found == wanted:
            return found
        differ = [k for k in wanted if found.get(k) != wanted[k]]
        raise ValueError(f"{folder} holds a corpus with another {', '.join(differ)}; choose another folder or delete it")
    folder.mkdir(parents=True, exist_ok=True)
    truths, scenes = {}, {}
    for split in SPLITS:
        scenes[split] = _describe(seed, split, wanted)
        _render_all(folder, split, scenes[split], wanted, workers)
        _write_captions(folder, split, scenes[split])
        truths[split] = correspondence([facts(s) for s in scenes[split]],
                                       [c["claims"] for s in scenes[split] for c in s["captions"]])
    np.savez_compressed(folder / "true_correspondences.npz", **truths)
    (folder / "scenes.json").write_text(json.dumps(scenes))
    part = folder / ".corpus.json.part"
    part.write_text(json.dumps(wanted, indent=1))
    os.replace(part, folder / "corpus.json")
    return wanted


def _describe(seed, split, wanted):
    """The scenes of a split with file names and captions; each scene has its own random stream."""
    classes = open_library(wanted["sounds"], seed, split, wanted["rate_hz"]).classes
    scenes = []
    for number in range(wanted["sizes"][split]):
        rng = np.random.default_rng([seed, SPLITS.index(split), number])
        scene = draw_scene(rng, classes, wanted["scene_seconds"])
        captions = [write_caption(rng, scene, classes, wanted["ambiguity"]) for _ in range(CAPTIONS)]
        scene |= {"file": f"scene_{number:05d}.wav", "captions": [{"text": t, "claims": c} for t, c in captions]}
        scenes.append(scene)
    return scenes


def _render_all(folder, split, scenes, wanted, workers):
    """Write the audio of a split with `workers` processes."""
    shutil.rmtree(folder / split, ignore_errors=True)
    (folder / split).mkdir()
    jobs = [(str(folder / split), split, scenes[i:i + 64], wanted) for i in range(0, len(scenes), 64)]
    if workers > 1 and len(jobs) > 1:
        with multiprocessing.get_context("fork").Pool(workers) as pool:
            pool.map(_render_some, jobs, chunksize=max(1, len(jobs) // workers))
    else:
        for job in jobs:
            _render_some(job)


def _render_some(job):
    folder, split, scenes, wanted = job
    library = _library(wanted["sounds"], wanted["seed"], split, wanted["rate_hz"])
    for scene in scenes:
        waveform = render(scene, library, wanted["rate_hz"], wanted["scene_seconds"])
        soundfile.write(Path(folder) / scene["file"], waveform, wanted["rate_hz"], subtype="PCM_16")


_library = lru_cache(maxsize=8)(open_library)

LEVELS = {"near": 1.0, "distant": 0.3, "gentle": 0.12, "strong": 0.3}


def render(scene, library, rate_hz, seconds):
    """float32 waveform (samples,) of a scene: its background, and its events faded in and out at their times."""
    rng = np.random.default_rng(zlib.crc32(json.dumps([scene["background"], scene["events"]]).encode()))
    samples = int(round(seconds * rate_hz))
    below = library.grain(scene["background"])
    start = int(rng.integers(max(1, len(below) - samples)))
    level = LEVELS.get(scene["background"]["attributes"].get("strength"), 0.2)
    out = level * np.resize(below[start:start + samples], samples)
    for event in scene["events"]:
        first, last = (int(event[k] * rate_hz) for k in ("start", "stop"))
        piece = np.array(library.grain(event)[:last - first])
        fade = min(len(piece) // 4, rate_hz // 30)
        piece[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
        gain = LEVELS[event["attributes"]["distance"]] * 10 ** (rng.uniform(-2, 2) / 20)
        piece = piece[:samples - first]
        out[first:first + len(piece)] += gain * piece
    return (0.9 * out / max(4.0, float(np.abs(out).max()))).astype(np.float32)


def _write_captions(folder, split, scenes):
    rows = [{"file_name": s["file"], **{f"caption_{i + 1}": c["text"] for i, c in enumerate(s["captions"])}} for s in scenes]
    pd.DataFrame(rows).to_csv(folder / f"clotho_captions_{split}.csv", index=False)


def load_scenes(folder):
    """{split: list of scenes} as written; FileNotFoundError if the corpus is not finished."""
    path = Path(folder) / "scenes.json"
    if not (Path(folder) / "corpus.json").is_file():
        raise FileNotFoundError(f"{folder} holds no finished built-in corpus; run the notebook 01_data on it first")
    return json.loads(path.read_text())


def load_truth(folder, split):
    """True correspondence float32 (clips, captions) of a split, captions clip-major as in the corpus's tables."""
    load_path = Path(folder) / "true_correspondences.npz"
    if not load_path.is_file():
        raise FileNotFoundError(f"{load_path} does not exist; run the notebook 01_data on this folder first")
    with np.load(load_path, allow_pickle=False) as file:
        return file[split].astype(np.float32) / STEPS


def load_tags(folder, split, attributes=False):
    """(file names, tag names, float32 (clips, tags)): which classes sound in a clip, and with which attributes."""
    scenes = load_scenes(folder)[split]
    sets = [{f[1] if f[0] == "present" else f"{f[1]}: {f[2]}" for f in facts(s)
             if f[0] == "present" or (attributes and f[0] == "attribute")} for s in scenes]
    names = sorted(set().union(*sets))
    return [s["file"] for s in scenes], names, np.array([[n in found for n in names] for found in sets], np.float32)


def example(name, seed=0, rate_hz=16000, split="development", **attributes):
    """Waveform of one synthetic class, for looking and listening; attributes not given take their first value."""
    from corrlib.soundscapes.classes import SYNTHETIC, VALUES

    if name not in SYNTHETIC:
        raise ValueError(f"unknown class '{name}'; known: {', '.join(SYNTHETIC)}")
    full = {a: attributes.get(a, VALUES[a][1 if a == "strength" else 0]) for a in SYNTHETIC[name].attributes}
    return open_library("synthetic", seed, split, rate_hz).grain({"class": name, "attributes": full, "grain": 0})
