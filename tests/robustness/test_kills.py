"""kill -9 at any moment: the same command goes on and ends at the same numbers, bit for bit."""

import multiprocessing
import os
import random
import shutil
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.robustness import killed

KILLS = 16
PRELOADED = ["scipy.stats", "scipy.signal", "corrlib.training.stages", "corrlib.figures", "corrlib.reports.results"]


@pytest.fixture(scope="module")
def processes():
    """Children that have everything imported: a kill must hit the study, not the imports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    kept = dict(os.environ)
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    yield context
    os.environ.clear()
    os.environ.update(kept)


def start(processes, folder):
    child = processes.Process(target=killed.study, args=(str(folder),))
    child.start()
    return child


def kill_once(processes, folder, seconds, draw):
    """Kill a study at a random moment of its `seconds`, wherever it then is; returns the stage. None: it was faster."""
    child = start(processes, folder)
    child.join(draw.uniform(0, seconds))
    if not child.is_alive():
        assert child.exitcode == 0
        return None
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    return (folder / "stage").read_text() if (folder / "stage").is_file() else "start"


def timed(processes, folder):
    started, child = time.time(), start(processes, folder)
    child.join()
    assert child.exitcode == 0
    return time.time() - started


def copy_of_the_corpus(source, folder):
    """The corpus alone, without what runs keep beside it: most of a study's time is its composition."""
    shutil.copytree(source / "corpus", folder / "corpus", ignore=shutil.ignore_patterns("cache"), copy_function=os.link)


def test_killed_studies_end_at_the_same_numbers(processes, tmp_path):
    """Most are killed after their corpus was composed, every fifth at any moment from the very beginning."""
    whole, again = tmp_path / "whole", tmp_path / "again"
    timed(processes, tmp_path / "first")  # the server's first child waits for its imports
    whole_seconds = timed(processes, whole)
    copy_of_the_corpus(whole, again)
    seconds = timed(processes, again)
    expected = killed.outcome(whole)
    assert expected == killed.outcome(tmp_path / "first") == killed.outcome(again)

    def once(number):
        for attempt in range(9):
            folder, draw = tmp_path / f"killed-{number}-{attempt}", random.Random(100 * number + attempt)
            if number % 5:
                copy_of_the_corpus(whole, folder)
            stage = kill_once(processes, folder, seconds if number % 5 else whole_seconds, draw)
            if stage:
                break
        timed(processes, folder)
        found = killed.outcome(folder)
        differ = [name for name in expected if found.get(name) != expected[name]] + [
            n for n in found if n not in expected
        ]
        assert stage and not differ, f"after kill {number} in '{stage}' these differ: {differ}"
        return stage

    with ThreadPoolExecutor(2) as pool:
        stages = Counter(pool.map(once, range(KILLS)))
    print(f"{KILLS} of {KILLS} killed studies ended at the same numbers; killed in: {dict(stages)}")
    assert len(set(stages) & set(killed.STAGES)) >= 3 and sum(stages.values()) == KILLS


def test_damage_while_a_run_rests_is_mended(processes, tmp_path):
    """Half a manifest, a leftover part, an empty log: what a killed machine may leave of files that were just
    written.
    """
    timed(processes, tmp_path / "whole")
    expected = killed.outcome(tmp_path / "whole")
    folder = tmp_path / "whole" / "runs" / "tiny" / killed.RESULTS[1]
    (folder / "manifest.json").unlink()
    (folder / ".model.safetensors.123.part").write_bytes(b"half")
    (folder / ".123.part.model.safetensors").write_bytes(b"half")
    (folder / "log.csv").write_bytes(b"")
    timed(processes, tmp_path / "whole")
    assert killed.outcome(tmp_path / "whole") == expected
    assert not list(folder.glob(".*part*"))
