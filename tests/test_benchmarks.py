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
from corrlib.benchmarks.measure import in_turns, memory, row

ROOT = Path(__file__).parents[1]


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
    table = benchmarks.merged_epoch().set_index("corpus")
    assert table.loc["all", "padded"] == pytest.approx(table["padded"].drop("all").sum())
    assert table.loc["AudioCaps", "at_most"] == pytest.approx(10.4 / 30)
    assert table.loc["ClothoV2", "at_least"] == pytest.approx(22.9 / (5 * 30))         # encoded once for five captions
    assert (table["at_least"] <= table["at_most"]).all() and table.loc["all", "at_least"] < 0.5 < table.loc["all", "at_most"]


def test_extrapolation_grows_with_the_product():
    sizes = [1000, 2000, 4000]
    table = pd.DataFrame({"work": "estimation", "way": "block by block", "n": sizes, "seconds": [n * n / 1e6 for n in sizes],
                          "gib": 0.1})
    found = benchmarks.extrapolated(table, 40_000)
    assert found["exponent"] == pytest.approx(2) and found["hours"] == pytest.approx(1600 / 3600)


def test_the_notebook_runs_headlessly(tmp_path):
    given = ("{backbones: [mn_tiny], clips: 1, repeats: 1, largest: 1000, compiled: false, "
             f"figures: {tmp_path / 'figures'}}}")
    environment = {**os.environ, "CORRLIB_RUNS": str(tmp_path / "runs"), "OMP_NUM_THREADS": "1"}
    result = subprocess.run([sys.executable, "-m", "papermill", "notebooks/90_benchmark.ipynb", str(tmp_path / "out.ipynb"),
                             "--cwd", str(ROOT), "-y", given, "--no-progress-bar"], cwd=ROOT, env=environment,
                            capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    table = pd.read_csv(tmp_path / "figures" / "benchmark.csv")
    assert set(table["part"]) == {"front end", "embedding", "training step", "text", "evaluation", "decoding"}
    grown = pd.read_csv(tmp_path / "figures" / "benchmark_growth.csv")
    assert (grown["recall"].dropna() > 0).all() and {"estimation", "search"} == set(grown["work"])
    assert (tmp_path / "runs" / "benchmark" / "benchmark" / "manifest.json").is_file()
