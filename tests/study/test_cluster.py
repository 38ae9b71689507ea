"""A study on a cluster: the Slurm profile plans it, and a run that is submitted as a job of its own finishes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from corrlib.study.parameters import ParameterError
from corrlib.study.plan import plan_runs
from corrlib.study.reproduce import reproduce

GENERIC = """executor: cluster-generic
cluster-generic-submit-cmd: "sh -c '\\"$0\\" >/dev/null 2>&1 & echo $!'"
jobs: 2
latency-wait: 10
seconds-between-status-checks: 1
"""


def study(tmp_path, *arguments):
    environment = {**os.environ, "CORRLIB_RUNS": str(tmp_path / "runs"), "CORRLIB_DATA": str(tmp_path / "data")}
    return subprocess.run(
        [sys.executable, "-m", "corrlib.study.reproduce", "smoke", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def test_the_slurm_profile_plans_every_run(tmp_path):
    pytest.importorskip("snakemake_executor_plugin_slurm")
    result = study(tmp_path, "--profile", "slurm", "--dry-run")
    assert result.returncode == 0 and "profiles/slurm" in result.stderr
    planned = [line for line in (result.stdout + result.stderr).splitlines() if line.split()[:1] == ["run"]]
    assert planned and int(planned[0].split()[1]) == len(plan_runs("smoke"))


SUBMITTED = pytest.param(False, marks=pytest.mark.full_size, id="submitted")  # half a minute of waiting for a job


@pytest.mark.parametrize("planned", [True, SUBMITTED])
def test_a_run_that_is_submitted_as_a_job_finishes(tmp_path, planned):
    pytest.importorskip("snakemake_executor_plugin_cluster_generic")
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster" / "config.yaml").write_text(GENERIC)
    arguments = ["--profile", str(tmp_path / "cluster"), "--only", "data-seed1", *["--dry-run"][:planned]]
    result = study(tmp_path, *arguments)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "study 'smoke': 1 runs, 0 finished" in result.stdout
    assert not planned or "data-seed1" in result.stdout + result.stderr
    assert (tmp_path / "runs" / "smoke" / "data-seed1" / "manifest.json").is_file() is not planned


def test_an_unknown_profile_is_named():
    with pytest.raises(ParameterError, match="there is no profile 'slurn'; did you mean 'slurm'"):
        reproduce("smoke", 1, profile="slurn")
