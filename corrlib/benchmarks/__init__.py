"""Seconds and memory of every part of the work, beside what a user would pick instead, measured in turns.

Each is loaded when it is first asked for: `corrlib.benchmarks.gpu` starts processes, and needs nothing else itself.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from corrlib.benchmarks.corpora import decoding, evaluation, merged_epoch
    from corrlib.benchmarks.measure import peak_gflops
    from corrlib.benchmarks.models import backbones, clap, front_ends, text, training_options
    from corrlib.benchmarks.scale import estimation, extrapolated, searching, stored_estimation

__all__ = [
    "backbones",
    "clap",
    "decoding",
    "estimation",
    "evaluation",
    "extrapolated",
    "front_ends",
    "merged_epoch",
    "peak_gflops",
    "searching",
    "stored_estimation",
    "text",
    "training_options",
]
HOMES = {
    "corpora": ("decoding", "evaluation", "merged_epoch"),
    "measure": ("peak_gflops",),
    "models": ("backbones", "clap", "front_ends", "text", "training_options"),
    "scale": ("estimation", "extrapolated", "searching", "stored_estimation"),
}


def __getattr__(name: str) -> Any:
    for home, names in HOMES.items():
        if name in names:
            return getattr(import_module(f"corrlib.benchmarks.{home}"), name)
    raise AttributeError(f"corrlib.benchmarks hands out no '{name}'; it hands out {', '.join(__all__)}")
