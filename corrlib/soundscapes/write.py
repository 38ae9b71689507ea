"""The built-in corpus on disk: ClothoV2's layout, one truth file, one file of scenes.

corpus.json is written last: a folder without it is half-written, and is written again.
"""

import io
import json
import multiprocessing
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from corrlib.files import digest, digest_files, locked, memory_of, write_atomically, writing
from corrlib.processes import end_with_parent
from corrlib.soundscapes.captions import write_captions
from corrlib.soundscapes.classes import SoundClass
from corrlib.soundscapes.grains import SPLITS, Recorded, Synthetic, open_grains
from corrlib.soundscapes.mix import mix
from corrlib.soundscapes.recordings import find_recordings, fingerprint
from corrlib.soundscapes.scenes import draw_scene
from corrlib.soundscapes.truth import facts, holding

SIZES = {"pretraining": 2048, "development": 3584, "validation": 512, "evaluation": 1000}
CAPTIONS = 5
VERSION = 4  # of the sounds, scenes and grammar: a corpus of another version is not mixed up with it
GRAINS = ".grains.npy"


def write_corpus(
    folder: str | Path,
    seed: int,
    sizes: Mapping[str, int] | None = None,
    sounds: str = "synthetic",
    rate_hz: int = 16000,
    scene_seconds: float = 4.0,
    ambiguity: float = 0.8,
    workers: int = 2,
    leave_out: Sequence[str] | str = (),
    tolerance: float = 0.0,
) -> dict:
    """Compose and write the corpus; a finished one with the same parameters is left as it is.

    sizes: {split: number of clips}, SIZES where None. sounds: "synthetic" or a folder of labelled recordings (see
    `recordings`), of which `leave_out` names the labels not to use, or is "too few"; tolerance: the share of them that
    may be unusable. ambiguity in [0, 1]: how little the captions tell. Returns the dict in corpus.json. The same
    arguments give the same bytes with any number of `workers`. ValueError where an argument is out of range or the
    folder holds a corpus of other parameters; NotWritten where the disk does not take it.
    """
    folder, sizes = Path(folder), SIZES if sizes is None else sizes
    _check(seed, sizes, rate_hz, scene_seconds, ambiguity, workers)
    table = None if sounds == "synthetic" else find_recordings(sounds, leave_out, tolerance)
    wanted = {
        "version": VERSION,
        "seed": int(seed),
        "sizes": {s: int(sizes[s]) for s in SPLITS},
        "sounds": "synthetic" if table is None else "recordings " + fingerprint(table, sounds),
        "rate_hz": int(rate_hz),
        "scene_seconds": float(scene_seconds),
        "ambiguity": float(ambiguity),
    }
    found = _finished(folder, wanted)  # asked before anything is locked: such a folder need not be written to
    if found is not None and _fingerprint(folder) == found.get("fingerprint"):
        return found
    with locked(folder / ".corpus.json"):
        found = _finished(folder, wanted)
        if found is not None:
            if _fingerprint(folder) == found.get("fingerprint"):
                return found
            print(f"{folder} is not as it was written; it is composed again", flush=True)
        with writing(folder):
            return _compose(folder, table, wanted, workers)


def _compose(folder: Path, table: pd.DataFrame | None, wanted: dict, workers: int) -> dict:
    """Write the corpus that corpus.json will say was `wanted`; table: its recordings, None for synthetic sounds."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in (folder / "corpus.json", *folder.glob(".*.part*")):  # parts: of a process that was killed
        left.unlink(missing_ok=True)
    scenes, truths, classes = {}, {}, {}
    for split in SPLITS:
        grains = open_grains(table, wanted["seed"], split, wanted["rate_hz"], wanted["scene_seconds"])
        scenes[split] = _describe(grains.classes, split, wanted)
        classes = {c.name: {"role": c.role, "attributes": list(c.attributes)} for c in grains.classes.values()}
        _render(folder, split, scenes[split], grains, wanted, workers)
        _write_captions(folder, split, scenes[split])
        claims = [c["claims"] for s in scenes[split] for c in s["captions"]]
        truths[f"{split}_holding"] = holding([facts(s) for s in scenes[split]], claims)
        truths[f"{split}_claims"] = np.array([len(c) for c in claims], np.uint8)
    _save_compressed(folder / "true_correspondences.npz", truths)
    (folder / "scenes.json").write_text(json.dumps(scenes))
    content = wanted | {"classes": classes, "fingerprint": _fingerprint(folder)}
    write_atomically(folder / "corpus.json", json.dumps(content, indent=1))
    return content


def _check(
    seed: int, sizes: Mapping[str, int], rate_hz: int, scene_seconds: float, ambiguity: float, workers: int
) -> None:
    for split in sizes:
        if split not in SPLITS:
            raise ValueError(f"sizes names the split '{split}'; splits: {', '.join(SPLITS)}")
    for split in SPLITS:
        if split not in sizes or int(sizes[split]) != sizes[split] or sizes[split] < 1:
            raise ValueError(
                f"sizes gives the split '{split}' {sizes.get(split, 'no')} clips; it needs a whole number, 1 or more"
            )
    bounds = {
        "seed": (seed, 0, 2**63 - 1),
        "rate_hz": (rate_hz, 16000, 96000),
        "scene_seconds": (scene_seconds, 2, 60),
        "ambiguity": (ambiguity, 0, 1),
        "workers": (workers, 1, 1024),
    }
    for name, (value, low, high) in bounds.items():
        if not low <= value <= high:
            raise ValueError(f"{name} is {value}; choose one between {low} and {high}")


def _finished(folder: Path, wanted: dict) -> dict | None:
    """What corpus.json of a finished corpus says; None if there is none yet; ValueError if it is another one."""
    if not (folder / "corpus.json").is_file():
        return None
    try:
        found = json.loads((folder / "corpus.json").read_text())
    except json.JSONDecodeError:
        raise ValueError(f"{folder / 'corpus.json'} is damaged; delete it to have the corpus written again") from None
    differ = [k for k in wanted if found.get(k) != wanted[k]]
    if differ:
        raise ValueError(
            f"{folder} holds a corpus with another {', '.join(differ)}; choose another folder or delete it"
        )
    return found


def _describe(classes: Mapping[str, SoundClass], split: str, wanted: dict) -> list[dict]:
    """The scenes of a split with file names and captions; each scene has its own random stream."""
    scenes = []
    for number in range(wanted["sizes"][split]):
        rng = np.random.default_rng([wanted["seed"], SPLITS.index(split), number])
        scene = draw_scene(rng, classes, wanted["scene_seconds"])
        captions = write_captions(rng, scene, classes, wanted["ambiguity"], CAPTIONS)
        scene |= {"file": f"scene_{number:05d}.wav", "captions": [{"text": t, "claims": c} for t, c in captions]}
        scenes.append(scene)
    return scenes


def _render(
    folder: Path, split: str, scenes: list[dict], grains: Synthetic | Recorded, wanted: dict, workers: int
) -> None:
    """Write the audio of a split with `workers` processes: first each grain that it needs, once; then the scenes."""
    shutil.rmtree(folder / split, ignore_errors=True)
    (folder / split).mkdir()
    keys = sorted({grains.key(sound) for s in scenes for sound in (s["background"], *s["events"])})
    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    pool = ProcessPoolExecutor(workers, context, initializer=end_with_parent) if workers > 1 else None
    try:
        pieces = list(pool.map(grains.make, keys, chunksize=16) if pool else map(grains.make, keys))
        stops = np.cumsum([len(p) for p in pieces])
        np.save(folder / GRAINS, np.concatenate(pieces))  # the workers share it as a memory map
        places = {
            key: (int(stop) - len(piece), int(stop)) for key, piece, stop in zip(keys, pieces, stops, strict=True)
        }
        jobs = [(folder, split, part, grains.key, places, wanted) for part in _parts(scenes, 64)]
        list(pool.map(_render_some, jobs) if pool else map(_render_some, jobs))
    except BrokenProcessPool:
        raise RuntimeError(
            f"a process that composes {folder / split} was killed, perhaps for want of memory; free some, or compose "
            "with fewer workers, and run the same command again"
        ) from None
    finally:
        (folder / GRAINS).unlink(missing_ok=True)
        if pool:
            pool.shutdown(cancel_futures=True)


def _parts(items: list, size: int) -> list[list]:
    return [items[i : i + size] for i in range(0, len(items), size)]


def _render_some(job: tuple) -> None:
    folder, split, scenes, key, places, wanted = job
    pieces = np.load(folder / GRAINS, mmap_mode="r")
    for scene in scenes:
        waveform = mix(
            scene, lambda sound: pieces[slice(*places[key(sound)])], wanted["rate_hz"], wanted["scene_seconds"]
        )
        content = io.BytesIO()  # soundfile waits for the disk at the end of every file
        soundfile.write(content, waveform, wanted["rate_hz"], subtype="PCM_16", format="WAV")
        (folder / split / scene["file"]).write_bytes(content.getbuffer())


def _write_captions(folder: Path, split: str, scenes: list[dict]) -> None:
    rows = [
        {"file_name": s["file"], **{f"caption_{i + 1}": c["text"] for i, c in enumerate(s["captions"])}} for s in scenes
    ]
    pd.DataFrame(rows).to_csv(folder / f"clotho_captions_{split}.csv", index=False)


def _save_compressed(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """As numpy.savez_compressed, at the quickest level: a quarter of the time for a third more bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))  # the same content, the same bytes
            entry.compress_type = zipfile.ZIP_DEFLATED
            setattr(entry, "compress_level" if hasattr(entry, "compress_level") else "_compresslevel", 1)  # from 3.13
            with file.open(entry, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


def _fingerprint(folder: Path) -> str:
    """Short hash of every clip, caption and scene, and of the truth."""
    files = sorted(path for split in SPLITS for path in (folder / split).glob("*.wav"))
    files += [folder / f"clotho_captions_{split}.csv" for split in SPLITS]
    files += [folder / "scenes.json", folder / "true_correspondences.npz"]
    return digest([[path.name for path in files], digest_files(files, memory_of(folder))])[:16]
