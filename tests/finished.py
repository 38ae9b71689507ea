"""Finished runs for tests of what reads them: a folder with the given files and a manifest that says what they are."""

import json
from pathlib import Path

from corrlib.study import runs
from corrlib.study.manifest import sealed


def finish_run(study: str, run: str, files: dict[str, str | bytes] | None = None, **facts: object) -> Path:
    """Write a finished run of `study` into the runs folder; files: {name: content}; facts: fields of its manifest."""
    folder = runs.root() / study / run
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (files or {}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return declare(folder, **facts)


def declare(folder: Path, **facts: object) -> Path:
    """Give a folder of files the manifest of a finished run, whatever lies in it."""
    made_of = {"code": "", "training": "", "data": "", "files": {}, "parents": {}, "listed": None}
    manifest = {
        "study": folder.parent.name,
        "run": folder.name,
        "notebook": "06_stage2",
        "parameters": {"seed": 1},
        "code": {"commit": None, "dirty": None},
        "packages": {},
        "python": "",
        "hardware": {},
        "wall_seconds": 1.0,
        "peak_memory_bytes": 1,
        "repeat": "",
        **facts,
    }
    manifest["made_of"] = {**made_of, **dict(facts.get("made_of", {}))}
    manifest["artefacts"] = runs.artefacts(folder)
    (folder / "manifest.json").write_text(json.dumps(sealed(manifest)))
    return folder


def declare_again(folder: Path, **made_of: object) -> Path:
    """Let the manifest of a finished run say where it is now, what its files are, and what else it is made of."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest |= {"study": folder.parent.name, "run": folder.name, "artefacts": runs.artefacts(folder)}
    manifest["made_of"] |= made_of
    (folder / "manifest.json").write_text(json.dumps(sealed(manifest)))
    return folder
