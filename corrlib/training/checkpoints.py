"""Checkpoints of a run in progress: whole or not there, checked when read, the one before kept in reserve.

Nothing that is read here is ever unpickled.
"""

import json
import os
from pathlib import Path
from typing import Any

import torch

from corrlib.files import digest_file, replace_with
from corrlib.study.inputs import ASIDE, PLACES
from corrlib.study.runs import RunFolder

KEPT = 2


def save(run: RunFolder, epoch: int, state: dict[str, Any]) -> None:
    """Write `checkpoint-<epoch>-<digest>.pt` into the run's folder; older ones go, but for the one before.

    The name holds the digest of the file's bytes, so that damage shows. OSError, with what was there intact, where the
    disk is full.
    """
    part, content = run.path(".checkpoint.part"), {**state, "made_of": _made_of(run)}
    replace_with(part, lambda path: torch.save(content, path))
    os.replace(part, run.path(f"checkpoint-{epoch:05d}-{_digest(part)}.pt"))
    run.forget_checkpoints(kept=KEPT)


def load(run: RunFolder, device: torch.device) -> dict[str, Any] | None:
    """The state of the newest whole checkpoint of this very run, None where there is none.

    A damaged one is named and passed over, and so is one of other parameters, code, data or parent runs. ValueError
    where a whole one is not of this program.
    """
    found = run.checkpoints()
    for place, path in enumerate(found, start=1):
        then = "the one before it is used" if place < len(found) else "this run starts again from its beginning"
        if path.is_dir() or not path.stem.endswith(_digest(path)):
            print(f"{path} is damaged; {then}", flush=True)
            continue
        state = _read(path, device)
        other = _differences(state.pop("made_of", None), _made_of(run))
        if not other:
            return state
        print(f"{path} is of {other}; {then}", flush=True)
    return None


def _made_of(run: RunFolder) -> str:
    """What decides a run, as text: parameters but for places, code, data, and the runs that it has read by now."""
    parameters = run.parameters.model_dump()
    made_of = {name: value for name, value in run.made_of().items() if name != "parents_data"}  # which `data` tells
    return json.dumps({"parameters": {k: v for k, v in parameters.items() if k not in (*PLACES, *ASIDE)}, **made_of})


def _differences(before: str | None, now: str) -> str:
    """In which respects a checkpoint is of another run, in words; "" where it is of this one."""
    if before is None:
        return "an older program"
    then, this = json.loads(before), json.loads(now)
    if then.keys() != this.keys():
        return "an older program"
    differ = [name for name in this if then[name] != this[name] and name not in ("training", "listed")]
    words = {"code": "other code", "data": "other data", "files": "other files", "parents": "other parent runs"}
    return ", ".join(words.get(name, f"other {name}") for name in differ)


def _read(path: Path, device: torch.device) -> dict[str, Any]:
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except Exception:  # whole, yet not of this program: nothing in it is executed
        raise ValueError(f"{path} is no checkpoint of this program; delete it and run the same command again") from None


def _digest(path: Path) -> str:
    return digest_file(path)[:16]
