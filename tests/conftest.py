import os
import re
import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest
import torch
from xdist.scheduler import LoadFileScheduling

matplotlib.use("Agg")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
torch.set_num_threads(1)


def asks_for_the_study(path):
    """Whether a file's tests ask for the fixture `study` below, and not for one of their own of that name."""
    text = path.read_text(encoding="utf-8")
    return bool(re.search(r"def test\w+\(.*\bstudy\b", text)) and not re.search(r"^def study\(", text, re.M)


class ByFile(LoadFileScheduling):
    """For several workers: a file's tests stay together, as do all files with tests of the finished study.

    xdist's own groups (`--dist loadgroup`) do nothing with pytest 9.2.
    """

    study = {path.name for path in Path(__file__).parent.rglob("test_*.py") if asks_for_the_study(path)}

    def _split_scope(self, nodeid):
        file = super()._split_scope(nodeid)
        return "study" if Path(file).name in self.study else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    return ByFile(config, log)


def pytest_collection_modifyitems(items):
    """The study first: it takes longest."""
    items.sort(key=lambda item: item.path.name not in ByFile.study)


@pytest.fixture(autouse=True)
def in_repository():
    """Tests run from the repository's root, as notebooks do."""
    from corrlib.study import runs

    runs.enter_repository()


SIZES = {"pretraining": 16, "development": 24, "validation": 12, "evaluation": 12}


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Folder of a composed corpus of SIZES: the least on which training can be shown."""
    from corrlib import soundscapes

    folder = tmp_path_factory.mktemp("data")
    soundscapes.write_corpus(folder, seed=1, sizes=SIZES, ambiguity=0.5, workers=1)
    return str(folder)


def reproduce(environment, *words):
    command = [sys.executable, "-m", "corrlib.study.reproduce", "smoke", "--cores", "2", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    """(runs folder of a finished smoke study, its environment, what the command printed)."""
    folder = tmp_path_factory.mktemp("study")
    environment = {**os.environ, "CORRLIB_RUNS": str(folder / "runs"), "CORRLIB_DATA": str(folder / "data")}
    result = reproduce(environment)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder / "runs" / "smoke", environment, result.stdout
