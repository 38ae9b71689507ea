"""`python -m corrlib.study.reproduce STUDY`: a study from nothing to its figures, through Snakemake and papermill."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from corrlib.study import runs, warm
from corrlib.study.parameters import ParameterError, nearest
from corrlib.study.plan import plan_runs
from corrlib.study.study_file import load_study

# of every run's processes: one thread each, nothing downloaded, and memory that is kept for the next step: giving it
# back and taking it again costs a twelfth of a step
HEADLESS = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": os.environ.get("HF_HUB_OFFLINE", "1"),
    "TOKENIZERS_PARALLELISM": "false",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
}


class Prefixed:
    """A text stream that puts the run's name before every line, so that parallel runs can be told apart."""

    def __init__(self, name, stream):
        self.name, self.stream, self.rest = name, stream, ""

    def write(self, text):
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            if line.strip():
                self.stream.write(f"[{self.name}] {line}\n")
        self.stream.flush()

    def flush(self):
        self.stream.flush()


def execute(study, run, kernel=None):
    """Run one planned notebook through papermill; its executed copy is kept in the run's folder either way.

    kernel: a corrlib.study.kernels.ForkedKernel that waits for it; a new process, where there is none.
    """
    # jsonschema would build a grammar of URIs for a format check that notebooks do not use: two seconds a run
    sys.modules.setdefault("rfc3987_syntax", None)  # pyrefly: ignore[no-matching-overload]
    import papermill
    from traitlets.config import Config

    plan = plan_runs(study)[run]
    folder = runs.root() / study / run
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.update(HEADLESS)
    if kernel:
        from corrlib.study.kernels import use

        use(kernel)
    started = time.time()
    print(f"[{run}] starts ({plan.notebook})", flush=True)
    try:
        with tempfile.TemporaryDirectory(prefix="corrlib-") as sockets:  # a folder a kernel: files, no ports to clash
            kernel = Config(KernelManager={"transport": "ipc", "ip": f"{sockets}/kernel"})
            papermill.execute_notebook(
                plan.notebook,
                folder / "notebook.ipynb",
                parameters=plan.parameters,
                progress_bar=False,
                log_output=False,
                kernel_name="python3",
                stdout_file=Prefixed(run, sys.stdout),
                cwd=".",
                config=kernel,
            )
    except papermill.PapermillExecutionError as error:
        print(f"[{run}] failed: {error.ename}: {error.evalue}", flush=True)
        (runs.root() / study / run / "manifest.json").unlink(missing_ok=True)
        return 1
    if not runs.is_finished(study, run):
        print(f"[{run}] failed: its notebook ended without finishing the run", flush=True)
        return 1
    plans = plan_runs(study)
    done = sum(runs.is_finished(study, name) for name in plans)
    print(
        f"[{run}] done in {time.time() - started:.0f} s; {done} of {len(plans)} runs of '{study}' are finished",
        flush=True,
    )
    return 0


def adopt(study, plans, studies="studies"):
    """Take over the finished runs of the study's base with the very same parameters and code; returns their names.

    A run's files are linked, not copied; only its manifest says whose it is now.
    """
    base = load_study(study, studies).base
    taken = []
    for name, plan in plans.items() if base else ():
        if plan.kind not in ("data", "stage1", "stage2", "estimate") or runs.is_finished(study, name):
            continue
        if runs.is_finished(base, name) and _same(plan, runs.read_manifest(base, name)):
            runs.take_over(base, study, name)
            taken.append(name)
    return taken


def _same(plan, manifest):
    same_code = manifest["code"].get("fingerprint") == runs.code_fingerprint()
    return same_code and {**manifest["parameters"], "study": plan.parameters["study"]} == plan.parameters


def needed(plans, wanted):
    """Names of the wanted runs and of all that they need; ParameterError names one that is not planned."""
    found, waiting = [], list(wanted)
    while waiting:
        name = waiting.pop()
        if name not in plans:
            raise ParameterError(f"the study has no run '{name}'{nearest(name, plans)}")
        if name not in found:
            found.append(name)
            waiting += plans[name].needs
    return found


@contextmanager
def warm_start(wanted):
    """The environment in which Snakemake's jobs find a process to fork runs from (see corrlib.study.warm)."""
    if not wanted or not warm.can_fork():
        yield dict(os.environ)
        return
    os.environ.update({**HEADLESS, **warm.ENVIRONMENT})  # the fork server's, and so its runs'
    with warm.listening() as address:
        yield {**os.environ, "CORRLIB_WARM": address}


def profiles():
    """{name: folder} of the Snakemake profiles that send runs to a cluster."""
    return {p.parent.name: str(p.parent) for p in Path("studies/profiles").glob("*/config.yaml")}


def _where(cores, profile):
    """Snakemake's arguments that say where runs are done: on this machine, or as a profile says."""
    if not profile:
        return ["--cores", str(cores)]
    if profile not in profiles() and not Path(profile, "config.yaml").is_file():
        raise ParameterError(f"there is no profile '{profile}'{nearest(profile, profiles())}")
    return ["--workflow-profile", profiles().get(profile, profile)]


def reproduce(study, cores, dry_run=False, only=(), profile=""):
    """Run what is not finished yet, in parallel; name the runs that failed. Returns a process exit status.

    only: runs to which this is restricted, with what they need; all, if none is named. profile: of studies/profiles, or
    a folder: the cluster to which runs are sent.
    """
    plans = plan_runs(study)
    if only:
        kept = needed(plans, only)
        plans = {name: plan for name, plan in plans.items() if name in kept}
    taken = adopt(study, plans)
    todo = [name for name in plans if not runs.is_finished(study, name)]
    print(
        f"study '{study}': {len(plans)} runs, {len(plans) - len(todo)} finished"
        + (f" ({len(taken)} taken over from another study)" if taken else ""),
        flush=True,
    )
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        "Snakefile",
        *_where(cores, profile),
        "--keep-going",
        "--rerun-incomplete",
        "--nolock",
        "--scheduler",
        "greedy",
        "--quiet",
        "all",
        "--rerun-triggers",
        "mtime",
        "params",
        "input",
        "--config",
        f"study={study}",
        f"only={' '.join(only)}",
    ]
    started = time.time()
    with warm_start(len(todo) > 1 and not dry_run and not profile) as environment:
        result = subprocess.run(command + (["--dry-run"] if dry_run else []), env=environment)
    failed = [name for name in plans if not runs.is_finished(study, name)]
    if failed and not dry_run:
        print(f"\n{len(failed)} of {len(plans)} runs are not finished:")
        for name in failed:
            notebook = runs.root() / study / name / "notebook.ipynb"
            waits = [n for n in plans[name].needs if n in failed]
            print(f"  {name}: " + (f"waits for {waits[0]}" if waits else f"failed, see {notebook}"))
        return 1
    if not dry_run:
        nothing = "nothing to do, " if not todo else ""
        print(
            f"study '{study}': {nothing}all {len(plans)} runs finished ({time.time() - started:.0f} s); tables and "
            f"figures are in {Path(next(reversed(plans.values())).parameters.get('figures', runs.root() / study))}"
        )
    return result.returncode


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study")
    parser.add_argument("--run", help="only this run, in this process")
    parser.add_argument("--cores", type=int, default=os.cpu_count())
    parser.add_argument("--only", nargs="+", default=[], help="only these runs, and what they need")
    parser.add_argument("--profile", default="", help="the cluster to which runs are sent: one of studies/profiles")
    parser.add_argument("--dry-run", action="store_true")
    arguments = parser.parse_args()
    try:
        if arguments.run:
            return execute(arguments.study, arguments.run)
        return reproduce(arguments.study, arguments.cores, arguments.dry_run, arguments.only, arguments.profile)
    except ParameterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
