"""Seconds and memory of every part of the work, beside what a user would pick instead, measured in turns."""

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
