"""Stop watch and memory gauge."""

import gc
import importlib.util
import itertools
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def installed(*packages: str) -> bool:
    """Whether what is compared with is there."""
    return all(importlib.util.find_spec(p) for p in packages)


def seconds(function: Callable[[], object]) -> float:
    """Wall time of one call, the GPU's work included."""
    _wait()
    started = time.perf_counter()
    function()
    _wait()
    return time.perf_counter() - started


def _wait() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def in_turns(functions: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each of {name: function}, called in turns after one call each that does not count.

    In turns, as a machine is not equally fast at all times: the ratios can be trusted more than the seconds.
    """
    for function in functions.values():
        function()
    times = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            times[name].append(seconds(function))
    return {name: statistics.median(of_calls) for name, of_calls in times.items()}


def memory(function: Callable[[], object]) -> float:
    """GiB that torch holds at the peak of a call, beyond what it held before."""
    gc.collect()
    if DEVICE.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        function()
        return (torch.cuda.max_memory_allocated() - before) / 2**30
    # what a process holds says little: freed memory stays with it, and is used again
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as watched:
        function()
    assert watched.profiler is not None and watched.profiler.kineto_results is not None
    events = [e for e in watched.profiler.kineto_results.events() if e.name() == "[memory]"]
    ordered = sorted(events, key=lambda e: e.start_ns())
    held = itertools.accumulate(e.nbytes() for e in ordered)  # pyrefly: ignore[missing-attribute]
    return max(held, default=0) / 2**30


def peak_gflops(size: int = 3072, repeats: int = 4) -> float:
    """GFLOP a second of a float32 product of size x size matrices at its best: what the machine can do."""
    a, b = (torch.randn(size, size, device=DEVICE) for _ in range(2))
    return 2 * size**3 / min(seconds(lambda: a @ b) for _ in range(repeats)) / 1e9


def row(
    part: str,
    work: str,
    medians: Mapping[str, float],
    usual: str = "",
    gflop: float | None = None,
    peak: float | None = None,
    **gib: float,
) -> dict[str, Any]:
    """A row of the table.

    medians: {"ours": seconds, "usual": seconds}, the latter where there is something to compare with; usual: what that
    is; gflop: of ours; peak: GFLOP a second of the machine; gib: memory, by the column's name.
    """
    ours, other = medians["ours"], medians.get("usual")
    return {
        "part": part,
        "work": work,
        "seconds": ours,
        "usual": usual if other else "",
        "usual_seconds": other,
        "times_faster": other / ours if other else None,
        "gflop": gflop,
        "of_peak": gflop / ours / peak if gflop and peak else None,
        **gib,
    }
