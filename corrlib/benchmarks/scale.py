"""Growth with the number of clips and captions: estimation and search."""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file
from torch import Tensor

from corrlib.benchmarks.measure import in_turns, installed, memory, seconds
from corrlib.correspondence import estimate, member_similarities, top_correspondences
from corrlib.evaluation.embeddings import StoredEmbeddings
from corrlib.evaluation.search import FaissIndex, nearest, recall
from corrlib.study.memory import peak_bytes

MEMBERS, SIZE, K = 3, 256, 50
PUBLISHED_SIZE, CAPTIONS = 1024, 1024  # of an embedding in the published recipe; captions of one block


def unit(rows: int, seed: int, size: int = SIZE) -> Tensor:
    """Unit embeddings (rows, size) in clusters, as trained ones are: a caption's clips are near one another."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(max(1, rows // 100), size, generator=torch.Generator().manual_seed(0))
    near = centres[torch.randint(len(centres), (rows,), generator=generator)]
    return torch.nn.functional.normalize(near + torch.randn(rows, size, generator=generator), dim=-1)


def _dense(clips: list[Tensor], captions: list[Tensor], temperature: float) -> object:
    probability = estimate(member_similarities(clips, captions, slice(None), slice(None)), temperature)[0]
    return probability.topk(K, dim=0)


def estimation(sizes: Sequence[int], dense_up_to: int, temperature: float = 0.05) -> pd.DataFrame:
    """Best 50 clips of every caption by an ensemble of three, N x N: block by block, beside the dense matrix."""
    rows = []
    for n in sizes:
        clips, captions = ([unit(n, seed + m) for m in range(MEMBERS)] for seed in (1, 7))
        calls: dict[str, Callable[[], object]] = {
            "block by block": partial(top_correspondences, clips, captions, temperature, K)
        }
        if n <= dense_up_to:
            calls["dense"] = partial(_dense, clips, captions, temperature)
        for way, call in calls.items():
            gib = memory(call) if n > 1000 else (call(), memory(call))[1]
            rows.append({"work": "estimation", "way": way, "n": n, "seconds": seconds(call), "gib": max(gib, 0.0)})
    return pd.DataFrame(rows)


def stored_estimation(sizes: Sequence[int]) -> pd.DataFrame:
    """As `estimation`, of embeddings of the published size that stay on disk: one block of captions against N clips.

    GiB are all that a process of its own takes, which does nothing else.
    """
    rows = []
    for n in sizes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "embeddings.safetensors"
            save_file({str(m): unit(n, 1 + m, PUBLISHED_SIZE) for m in range(MEMBERS)}, path)
            call = _stored(path)
            call()
            alone = subprocess.run(
                [sys.executable, "-m", "corrlib.benchmarks.scale", path], capture_output=True, text=True, check=True
            )
            rows.append(
                {
                    "work": "estimation from disk",
                    "way": f"from disk, {CAPTIONS:,} captions",
                    "n": n,
                    "seconds": min(seconds(call) for _ in range(3)),
                    "gib": float(alone.stdout),
                }
            )
    return pd.DataFrame(rows)


def _stored(path: str | Path, temperature: float = 0.05) -> Callable[[], object]:
    """Estimation of CAPTIONS captions from the clips' embeddings in a file."""
    clips = [StoredEmbeddings(path, str(m)) for m in range(MEMBERS)]
    captions = [unit(CAPTIONS, 7 + m, clips[0].shape[1]) for m in range(MEMBERS)]
    return partial(top_correspondences, clips, captions, temperature, K)


def extrapolated(table: pd.DataFrame, n: int = 400_000) -> dict[str, Any]:
    """Hours and GiB of estimation from disk, n x n, from the largest number of clips that was measured.

    Work is proportional to clips x captions: `exponent` is the slope of log seconds over log clips of the three
    largest, 1 if linear in the product. Memory is that of a process with one block, which does not grow, and of what
    is found: K probabilities and places a caption, held twice while the blocks are put together.
    """
    measured = table[table["work"] == "estimation from disk"].sort_values("n")
    last, tail = measured.iloc[-1], measured.tail(3)
    slope = np.polyfit(np.log(tail["n"]), np.log(tail["seconds"]), 1)[0] if len(tail) > 1 else np.nan
    hours = last["seconds"] * (n / last["n"]) * (n / CAPTIONS) / 3600
    return {"n": n, "hours": hours, "exponent": slope, "gib": last["gib"] + 2 * n * K * 12 / 2**30}


def searching(sizes: Sequence[int], queries: int = 64, probes: Sequence[int] = (4, 16, 64)) -> pd.DataFrame:
    """Ten best of N for some queries: exactly, by sorting everything, and through faiss, with what it finds of the
    exact.
    """
    rows, asked = [], unit(queries, 5)
    for n in sizes:
        embeddings = unit(n, 1)
        exact = nearest(asked, embeddings, 10)[1]
        calls = {
            "exact": lambda e=embeddings: nearest(asked, e, 10),
            "sort everything": lambda e=embeddings: (asked @ e.T).argsort(dim=1, descending=True)[:, :10],
        }
        found = {way: (s, 1.0) for way, s in in_turns(calls, 3).items()}
        if installed("faiss"):
            index = FaissIndex(embeddings)
            for number in probes:
                index.probes = number
                call = {"x": lambda i=index: i.nearest(asked, 10)}
                found[f"faiss, {number} probes"] = (in_turns(call, 3)["x"], recall(index.nearest(asked, 10)[1], exact))
        rows += [
            {"work": "search", "way": way, "n": n, "seconds": s, "recall": share} for way, (s, share) in found.items()
        ]
    return pd.DataFrame(rows)


if __name__ == "__main__":
    _stored(sys.argv[1])()
    print(peak_bytes() / 2**30)
