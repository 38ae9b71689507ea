"""Stop watch and memory gauge."""

import gc
import importlib.util
import itertools
import statistics
import time

import torch
from torch.profiler import ProfilerActivity, profile

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def installed(*packages):
    """Whether what is compared with is there."""
    return all(importlib.util.find_spec(p) for p in packages)


def seconds(function):
    """Wall time of one call, the GPU's work included."""
    _wait()
    started = time.perf_counter()
    function()
    _wait()
    return time.perf_counter() - started


def _wait():
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def in_turns(functions, repeats):
    """Median seconds of each of {name: function}, called in turns after one call each that does not count.

    In turns, as a machine is not equally fast at all times: the ratios can be trusted more than the seconds.
    """
    for function in functions.values():
        function()
    times = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            times[name].append(seconds(function))
    return {name: statistics.median(found) for name, found in times.items()}


def memory(function):
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


def peak_gflops(size=3072, repeats=4):
    """GFLOP a second of a float32 matrix product at its best: what the machine can do."""
    a, b = (torch.randn(size, size, device=DEVICE) for _ in range(2))
    return 2 * size**3 / min(seconds(lambda: a @ b) for _ in range(repeats)) / 1e9


def row(part, work, found, usual="", gflop=None, peak=None, **gib):
    """A row of the table. found: {"ours": seconds, "usual": seconds}; usual: what that is; gflop of ours; peak:
    GFLOP/s.
    """
    ours, other = found["ours"], found.get("usual")
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
