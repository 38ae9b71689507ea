"""`python -m corrlib.benchmarks.gpu.worker FOLDER PART ...`: some parts in this process, in order.

Events go to standard output, a JSON object a line; what parts print goes where errors do. A part that fails is said,
and the next begins; where the GPU itself is lost, the process ends, for another to go on.
"""

import argparse
import gc
import json
import os
import sys
import time
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from corrlib.benchmarks.gpu.parts import AGAIN, HOMES
from corrlib.benchmarks.gpu.setup import Setup


class Events:
    """Standard output, for events alone."""

    def __init__(self) -> None:
        self.file = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)  # also of processes that parts start

    def say(self, **event: Any) -> None:
        """One event."""
        self.file.write(json.dumps(event, default=float) + "\n")
        self.file.flush()


def run_part(name: str, setup: Setup, events: Events) -> bool:
    """Whether the device is still there afterwards."""
    started, state = time.time(), "done"
    events.say(begin=name)
    try:
        for found in getattr(import_module(f"corrlib.benchmarks.gpu.{HOMES[name]}"), name)(setup):
            events.say(row=found)
    except Exception as error:
        traceback.print_exc()
        state = f"failed: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
    gc.collect()
    there = True
    if setup.gpu:
        try:
            torch.cuda.set_sync_debug_mode(0)
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
        except RuntimeError:
            there = False
    events.say(end=state, seconds=time.time() - started)
    return there


def main() -> int:
    """The parts that the command line names; returns an exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rehearse", action="store_true")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("parts", nargs="+")
    chosen = parser.parse_args()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # the same numbers each time, where asked for
    events = Events()
    if chosen.device == "cuda" and not torch.cuda.is_available():
        events.say(refused="torch finds no GPU here; to rehearse on the CPU, add --device cpu")
        return 1
    setup = Setup(torch.device(chosen.device), chosen.rehearse, chosen.processes, chosen.folder)
    for name in chosen.parts:
        if not run_part(name, setup, events):
            return AGAIN
    return 0


if __name__ == "__main__":
    sys.exit(main())
