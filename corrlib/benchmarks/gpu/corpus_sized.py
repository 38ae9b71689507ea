"""What grows with the corpus: decoding enough for the GPU, and the estimate of all clips and captions."""

import csv
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from corrlib.benchmarks.corpora import corpus_of_noise
from corrlib.benchmarks.gpu.rows import Row, at_least, at_most, only_if, row
from corrlib.benchmarks.gpu.setup import Setup
from corrlib.benchmarks.measure import memory, seconds
from corrlib.corpora.ahead import load_ahead
from corrlib.corpora.batches import WaveformAudio
from corrlib.corpora.decoded import DecodedAudio
from corrlib.correspondence import top_correspondences

ASKED = 1500.0  # segments a second in training, where that was not measured
K, MEMBERS, SIZE = 50, 3, 1024


def feeding(setup: Setup) -> Iterator[Row]:
    """Segments of 10 s that all cores read, decode, resample and collate in a second, beside what a step needs."""
    clips, rounds, duration = (64, 6, 30) if setup.full else (4, 2, 3)
    cores, need = os.cpu_count() or 1, _need(setup.folder)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # each of the reading threads has one core
    try:
        for rate_hz in (44100, 32000):
            with tempfile.TemporaryDirectory() as folder:
                corpus = corpus_of_noise(folder, clips, duration, rate_hz, 1)
                ways: dict[str, Any] = {f"FLAC of {rate_hz} Hz": None}
                if rate_hz == 44100:
                    ways["decoded once (cache_audio)"] = DecodedAudio(corpus, 32000, Path(folder) / "cache")
                for way, store in ways.items():
                    audio = WaveformAudio(corpus, 32000, duration, store)
                    requests = [(None, [audio.places(range(clips))])] * rounds

                    def read(audio: WaveformAudio = audio, requests: list[Any] = requests) -> None:
                        for _ in load_ahead(audio, requests, cores):
                            pass

                    read()
                    found = clips * rounds * duration / 10 / seconds(read)
                    note = f"{cores} cores; {need:,.0f} are needed"
                    yield only_if(setup.full, at_least(way, found, need, "segments/s", note))
    finally:
        torch.set_num_threads(threads)


def _need(folder: Path) -> float:
    """Segments a second that the step of `training` was found to take, or what is asked of it."""
    path = folder / "results.csv"
    if not path.is_file():
        return ASKED
    with open(path, newline="", encoding="utf-8") as file:
        found = [
            r["value"] for r in csv.DictReader(file) if r["part"] == "training" and r["what"].startswith("training,")
        ]
    return float(found[0]) if found else ASKED


def estimate(setup: Setup) -> Iterator[Row]:
    """The 50 most probable of all clips for every caption, by three members of the published size."""
    count, size = (100_000, SIZE) if setup.full else (1500, 32)
    draw = torch.Generator(setup.device).manual_seed(0)

    def members() -> list[torch.Tensor]:
        rows = [torch.randn(count, size, device=setup.device, generator=draw) for _ in range(MEMBERS)]
        return [torch.nn.functional.normalize(r, dim=-1) for r in rows]

    clips, captions = members(), members()
    held = sum(member.nbytes for member in (*clips, *captions)) / 2**30
    for block in (1024, 8192) if setup.full else (512,):
        found: list[Any] = []
        taken = seconds(
            lambda block=block, found=found: found.append(top_correspondences(clips, captions, 0.05, K, block))
        )
        yield row(f"top {K} of {count:,} x {count:,}, blocks of {block:,}", taken, "s")
    beyond = memory(lambda: top_correspondences(clips, [c[:8192] for c in captions], 0.05, K, 1024))
    yield row("memory beyond the embeddings", beyond, "GiB", f"they are {held:.2f} GiB")
    few = [c[:64].cpu() for c in captions]
    probability, rows = top_correspondences([c.cpu() for c in clips], few, 0.05, K)
    apart = float((found[0][0][:64].cpu() - probability).abs().max() / probability.max())
    yield at_most("probabilities against the CPU, of 64 captions", apart, 1e-3)
    same = (pd.DataFrame(found[0][1][:64].cpu().numpy()) == pd.DataFrame(rows.numpy())).to_numpy().mean()
    yield at_least("clips against the CPU, of 64 captions", float(same), 0.99, "the same")
