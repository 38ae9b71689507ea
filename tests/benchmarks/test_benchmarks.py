"""The benchmark's stop watch, gauge and arithmetic; and its notebook, tiny."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from corrlib import benchmarks
from corrlib.benchmarks.corpora import FREESOUND_MEAN, FREESOUND_SHORT, FREESOUND_SHORT_MEAN, freesound_seconds
from corrlib.benchmarks.measure import in_turns, memory, row
from corrlib.study.memory import peak_bytes

ROOT = Path(__file__).parents[2]


def test_ways_are_called_in_turns_after_one_call_that_does_not_count():
    called = []
    found = in_turns({"a": lambda: called.append("a"), "b": lambda: (called.append("b"), time.sleep(0.01))}, 3)
    assert "".join(called) == "ab" + "ababab" and found["b"] >= 0.01 > found["a"]


def test_memory_is_the_peak_of_what_is_held_at_once():
    def two_at_once():
        first = torch.zeros(1 << 26, dtype=torch.uint8)
        second = torch.zeros(1 << 26, dtype=torch.uint8)
        del first
        return torch.zeros(1 << 26, dtype=torch.uint8), second

    assert memory(two_at_once) == pytest.approx(2 / 16, rel=0.01)


def test_a_row_holds_the_ratio_and_the_share_of_the_peak():
    found = row("x", "y", {"ours": 2.0, "usual": 3.0}, "z", gflop=100, peak=200)
    assert found["times_faster"] == 1.5 and found["of_peak"] == 0.25
    assert row("x", "y", {"ours": 2.0}, "z")["usual"] == ""


def test_the_cost_of_training_is_three_times_the_way_forwards():
    table = benchmarks.backbones(["mn_tiny"], 1, 1, 100.0).set_index("part")
    assert table.loc["training step", "gflop"] == pytest.approx(3 * table.loc["embedding", "gflop"])


def test_the_merged_epoch_adds_up():
    table = benchmarks.merged_epoch("mn_tiny").set_index("corpus")  # a network whose cost is that of its seconds
    assert table.loc["all", "padded"] == pytest.approx(table["padded"].drop("all").sum())
    assert table.loc["AudioCaps", "expected"] == pytest.approx(1 / 3)
    assert table.loc["ClothoV2", "expected"] == pytest.approx(
        (20 + 2 * 30) / 3 / (5 * 30), rel=0.01
    )  # 15 to 30 s, once
    assert table.loc["WavCaps: BBC", "at_most"] == 1
    own = table.loc["all"]
    assert own["at_least"] < own["whole_seconds"] < own["expected"] < own["at_most"]


def test_passt_computes_less_of_its_last_block():
    ours, usual = (benchmarks.models.training_gflop("passt_tiny", every) for every in (False, True))
    assert all(a < b for a, b in zip(ours, usual, strict=True)) and ours == sorted(ours)


def test_freesound_is_as_published():
    found = freesound_seconds(20000)
    assert found.mean() == pytest.approx(FREESOUND_MEAN, rel=0.02)
    short = found[found <= 10]
    assert len(short) / len(found) == pytest.approx(FREESOUND_SHORT, abs=0.001)
    assert short.mean() == pytest.approx(FREESOUND_SHORT_MEAN, rel=0.06)  # a fact that was not fitted


def test_extrapolation_grows_with_the_product():
    sizes = [1000, 2000, 4000]
    table = pd.DataFrame(
        {"work": "estimation from disk", "n": sizes, "seconds": [n * 1024 / 1e6 for n in sizes], "gib": 0.1}
    )
    found = benchmarks.extrapolated(table, 40_000)
    assert found["exponent"] == pytest.approx(1) and found["hours"] == pytest.approx(40_000**2 / 1e6 / 3600)


def test_the_notebook_runs_headlessly(tmp_path):
    given = (
        "{backbones: [mn_tiny], clips: 1, repeats: 1, largest: 1000, compiled: false, "
        f"figures: {tmp_path / 'figures'}}}"
    )
    environment = {**os.environ, "CORRLIB_RUNS": str(tmp_path / "runs"), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "papermill",
            "notebooks/90_benchmark.ipynb",
            str(tmp_path / "out.ipynb"),
            "--cwd",
            str(ROOT),
            "-y",
            given,
            "--no-progress-bar",
        ],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    table = pd.read_csv(tmp_path / "figures" / "benchmark.csv")
    assert set(table["part"]) == {"front end", "embedding", "training step", "text", "evaluation", "decoding"}
    assert "all" in set(pd.read_csv(tmp_path / "figures" / "merged_epoch.csv")["corpus"])
    grown = pd.read_csv(tmp_path / "figures" / "benchmark_growth.csv")
    assert (grown["recall"].dropna() > 0).all() and {"estimation", "estimation from disk", "search"} == set(
        grown["work"]
    )
    assert (tmp_path / "runs" / "benchmark" / "benchmark" / "manifest.json").is_file()


def test_a_process_is_charged_its_own_memory_not_its_parents():
    held = b"x" * (3 * 2**29)
    code = "from corrlib.study.memory import peak_bytes as p; own = p(); b = b'x' * 2**29; print(own, p() - own)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    own, grown = (int(word) / 2**30 for word in result.stdout.split())
    assert own < 1 < len(held) / 2**30 < peak_bytes() / 2**30
    assert grown == pytest.approx(0.5, abs=0.1)
