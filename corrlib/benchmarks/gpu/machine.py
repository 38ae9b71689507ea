"""The machine: its card, and what its matrix products and copies reach at their best."""

import os
from collections.abc import Iterator

import torch

from corrlib.benchmarks.gpu.rows import Row, row
from corrlib.benchmarks.gpu.setup import Setup
from corrlib.benchmarks.measure import seconds
from corrlib.study.runs import processor


def machine(setup: Setup) -> Iterator[Row]:
    """The card, the processor, and the best of both."""
    yield row("torch", torch.__version__, note=f"CUDA {torch.version.cuda}")
    yield row("processor", processor(), note=f"{os.cpu_count()} cores")
    if setup.gpu:
        card = torch.cuda.get_device_properties(setup.device)
        yield row(
            "card", card.name, note=f"{torch.cuda.device_count()} here, compute capability {card.major}.{card.minor}"
        )
        yield row("memory", card.total_memory / 2**30, "GiB")
    for kind in (torch.bfloat16, torch.float32):
        name = str(kind).removeprefix("torch.")
        yield row(f"matrix product, {name}", peak_tflops(setup, kind), "TFLOP/s")
    megabytes = 256 if setup.full else 4
    here = torch.empty(megabytes << 20, dtype=torch.uint8, pin_memory=setup.gpu)
    best = min(seconds(lambda: here.to(setup.device, non_blocking=True, copy=True)) for _ in range(5))
    yield row("copy from page-locked memory", megabytes / 1024 / best, "GiB/s")


def peak_tflops(setup: Setup, kind: torch.dtype) -> float:
    """TFLOP a second of a product of square matrices of a kind, the best of some: what a step is held against."""
    size = 8192 if setup.full else 256
    a, b = (torch.randn(size, size, device=setup.device).to(kind) for _ in range(2))
    return 2 * size**3 / min(seconds(lambda: a @ b) for _ in range(10)) / 1e12
