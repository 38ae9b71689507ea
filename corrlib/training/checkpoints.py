"""Checkpoints of a run in progress: whole or not there, checked when read, the one before kept in reserve.

Nothing that is read here is ever unpickled.
"""

import hashlib
import os
from pathlib import Path
from typing import Any

import torch

from corrlib.files import replace_with
from corrlib.study.runs import RunFolder

KEPT = 2


def save(run: RunFolder, epoch: int, state: dict[str, Any]) -> None:
    """Write `checkpoint-<epoch>-<digest>.pt` into the run's folder; older ones go, but for the one before.

    The name holds the digest of the file's bytes, so that damage shows. OSError, with what was there intact, where the
    disk is full.
    """
    part = run.path(".checkpoint.part")
    replace_with(part, lambda path: torch.save(state, path))
    os.replace(part, run.path(f"checkpoint-{epoch:05d}-{_digest(part)}.pt"))
    run.forget_checkpoints(kept=KEPT)


def load(run: RunFolder, device: torch.device) -> dict[str, Any] | None:
    """The state of the newest whole checkpoint, None where there is none. A damaged one is named and passed over.

    ValueError where a whole one is not of this program.
    """
    found = run.checkpoints()
    for place, path in enumerate(found, start=1):
        if path.stem.endswith(_digest(path)):
            return _read(path, device)
        then = "the one before it is used" if place < len(found) else "this run starts again from its beginning"
        print(f"{path} is damaged; {then}", flush=True)
    return None


def _read(path: Path, device: torch.device) -> dict[str, Any]:
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except Exception:  # whole, yet not of this program: nothing in it is executed
        raise ValueError(f"{path} is no checkpoint of this program; delete it and run the same command again") from None


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
