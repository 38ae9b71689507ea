import os
import subprocess
import sys

import matplotlib
import pytest
import torch

matplotlib.use("Agg")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def in_repository():
    """Tests run from the repository's root, as notebooks do."""
    from corrlib import runs
    runs.enter_repository()


def reproduce(environment, *words):
    return subprocess.run([sys.executable, "-m", "corrlib.reproduce", "smoke", "--cores", "2", *words], env=environment,
                          capture_output=True, text=True)


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    """(runs folder of a finished smoke study, its environment, what the command printed)."""
    folder = tmp_path_factory.mktemp("study")
    environment = {**os.environ, "CORRLIB_RUNS": str(folder / "runs"), "CORRLIB_DATA": str(folder / "data")}
    result = reproduce(environment)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder / "runs" / "smoke", environment, result.stdout
