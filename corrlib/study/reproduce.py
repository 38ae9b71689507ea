"""`python -m corrlib.study.reproduce STUDY`: a study from nothing to its figures, through Snakemake and papermill."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from corrlib.files import NotWritten, held_by, take
from corrlib.processes import end_with, guarded
from corrlib.study import code, identity, runs, warm
from corrlib.study.fetch import advice, default_folder
from corrlib.study.pages import write_page
from corrlib.study.parameters import ParameterError, nearest
from corrlib.study.plan import Plan, needed, plan_runs
from corrlib.study.publish import beside_published
from corrlib.study.ready import refuse_unready
from corrlib.study.study_file import load_study, studies_folder, variables

if TYPE_CHECKING:
    from corrlib.study.kernels import ForkedKernel

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
TAKEN = ("data", "stage1", "stage2", "estimate")  # kinds of runs that a study takes over from its base
SHOWN = 8  # reasons for which finished runs are made again, before the rest is only counted


class Prefixed:
    """A text stream that puts the run's name before every line, so that parallel runs can be told apart."""

    def __init__(self, name: str, stream: TextIO) -> None:
        self.name, self.stream, self.rest = name, stream, ""

    def write(self, text: str) -> None:
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            if line.strip():
                self.stream.write(f"[{self.name}] {line}\n")
        self.stream.flush()

    def flush(self) -> None:
        self.stream.flush()


def execute(study: str, run: str, kernel: "ForkedKernel | None" = None) -> int:
    """Run one planned notebook through papermill, unless the run is what its plan wants; returns an exit status.

    The executed copy is kept in the run's folder either way. kernel: a process that waits to become the notebook's
    kernel (see corrlib.study.warm); a new one, where there is none.
    """
    plans = plan_runs(study)
    plan = plans[run]
    if not identity.reasons(study, plan):
        print(f"[{run}] is as the plan wants it", flush=True)
        return 0
    # jsonschema would build a grammar of URIs for a format check that notebooks do not use: two seconds a run
    sys.modules.setdefault("rfc3987_syntax", None)  # pyrefly: ignore[no-matching-overload]
    import papermill
    from traitlets.config import Config

    folder = runs.root() / study / run
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.update({**HEADLESS, runs.PLANNED: f"{study}/{run}"})
    if kernel:
        from corrlib.study.kernels import use

        use(kernel)
    started = time.time()
    print(f"[{run}] starts ({plan.notebook})", flush=True)
    try:
        with warm.socket_folder() as sockets:
            papermill.execute_notebook(
                write_page(plan.notebook, folder / "notebook.ipynb", plan.parameters),
                folder / "notebook.ipynb",
                progress_bar=False,
                log_output=False,
                kernel_name="python3",
                stdout_file=Prefixed(run, sys.stdout),
                cwd=".",
                config=Config(
                    KernelManager={"transport": "ipc", "ip": f"{sockets}/kernel"},
                    NotebookClient={
                        "kernel_manager_class": "corrlib.study.kernels.QuietKernelManager",
                        "extra_arguments": ["--IPKernelApp.log_level=50"],  # of itself it speaks in a notebook only
                    },
                ),
            )
    except papermill.PapermillExecutionError as error:
        if not _finished_since(folder, started):
            print(f"[{run}] failed: {error.ename}: {error.evalue}", flush=True)
            return 1
        # what follows a run's end only tells of it: hours of training are not thrown away for a sentence
        print(f"[{run}] is finished, but its notebook then failed: {error.ename}: {error.evalue}", flush=True)
    if not _finished_since(folder, started):
        print(f"[{run}] failed: its notebook ended without finishing the run", flush=True)
        return 1
    done = sum(runs.is_finished(study, name) for name in plans)
    print(
        f"[{run}] done in {time.time() - started:.0f} s; {done} of {len(plans)} runs of '{study}' are finished",
        flush=True,
    )
    return 0


def _finished_since(folder: Path, started: float) -> bool:
    path = folder / "manifest.json"
    return path.is_file() and path.stat().st_mtime >= started


def adopt(study: str, plans: dict[str, Plan], studies: str | Path | None = None) -> list[str]:
    """Take over the finished runs of the study's base that are just what the plan wants; returns their names."""
    base = load_study(study, studies).base
    taken = []
    for name, plan in plans.items() if base else ():
        if plan.kind not in TAKEN or not runs.is_finished(base, name) or not identity.reasons(study, plan):
            continue
        if (
            not identity.reasons(base, plan)
            and runs.same_parents(base, study, name)
            and runs.take_over(base, study, name)
        ):
            taken.append(name)
    return taken


@contextmanager
def only_one(study: str) -> Iterator[None]:
    """Hold a study for this process; ParameterError says who holds it already."""
    path = runs.root() / study / ".lock"
    if set("{}") & set(str(path)):
        raise ParameterError(f"the runs folder {runs.root()} has braces in its name; set CORRLIB_RUNS to one without")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = take(path)
    except NotWritten as error:
        raise ParameterError(f"{error}, by CORRLIB_RUNS") from None
    except OSError as error:
        raise ParameterError(
            f"the runs folder {path.parent} cannot be written ({error.strerror}); set CORRLIB_RUNS to one that can"
        ) from None
    if lock is None:
        raise ParameterError(f"study '{study}' is being reproduced by {held_by(path)}; wait for it, or stop it")
    with lock:
        try:
            yield
        finally:
            lock.truncate(0)


@contextmanager
def warm_start(wanted: bool) -> Iterator[dict[str, str]]:
    """The environment in which Snakemake's jobs find a process to fork runs from (see corrlib.study.warm)."""
    if not wanted or not warm.can_fork():
        yield dict(os.environ)
        return
    os.environ.update({**HEADLESS, **warm.ENVIRONMENT})  # the fork server's, and so its runs'
    with warm.listening() as address:
        yield {**os.environ, "CORRLIB_WARM": address}


def profiles() -> dict[str, str]:
    """{name: folder} of the Snakemake profiles that send runs to a cluster."""
    return {p.parent.name: str(p.parent) for p in Path("studies/profiles").glob("*/config.yaml")}


def _where(cores: int, profile: str) -> list[str]:
    """Snakemake's arguments that say where runs are done: on this machine, or as a profile says."""
    if not profile:
        return ["--cores", str(cores)]
    if profile not in profiles() and not Path(profile, "config.yaml").is_file():
        raise ParameterError(f"there is no profile '{profile}'{nearest(profile, profiles())}")
    return ["--workflow-profile", profiles().get(profile, profile)]


def stamps(study: str) -> Path:
    """The folder by which Snakemake sees what is done: an empty file for each run that this call need not look at."""
    return runs.root() / study / ".stamps"


def _set_stamps(study: str, plans: dict[str, Plan], todo: Iterable[str]) -> None:
    folder = stamps(study)
    folder.mkdir(parents=True, exist_ok=True)
    for name in plans:
        if name in todo:
            (folder / name).unlink(missing_ok=True)
        else:
            (folder / name).touch()


def reproduce(study: str, cores: int, dry_run: bool = False, only: Iterable[str] = (), profile: str = "") -> int:
    """Make every run that is not what the plan wants, in parallel; name those that failed. Returns an exit status.

    only: runs to which this is restricted, with what they need; all, if none is named. profile: of studies/profiles, or
    a folder: the cluster to which runs are sent.
    """
    given = [name for name in ("DATA", "SOUNDS") if os.environ.get(name)]
    if "DATA" not in os.environ and Path(default_folder()).is_dir():
        os.environ["DATA"] = default_folder()  # where `make data` puts what it fetches
    try:
        plans = plan_runs(study)
        _say_unused(study, given)
    except ParameterError:
        if "DATA" not in os.environ and (studies_folder() / f"{study}.yaml").is_file() and (lacking := advice(study)):
            raise ParameterError(lacking) from None
        raise
    beyond = identity.beyond(study, plans)
    if only:
        kept = needed(plans, only)
        plans = {name: plan for name, plan in plans.items() if name in kept}
    where = _where(cores, profile)
    with only_one(study):
        _say_beyond(study, beyond)
        return _reproduce(study, plans, where, dry_run, parallel=not profile)


def _reproduce(study: str, plans: dict[str, Plan], where: list[str], dry_run: bool, parallel: bool) -> int:
    started = time.time()
    code.hand_on({Path(plan.notebook).stem for plan in plans.values()})
    taken = [] if dry_run else adopt(study, plans)
    stale = identity.stale(study, plans)
    todo = identity.with_dependants(plans, stale)
    print(
        f"study '{study}': {len(plans)} runs, {len(plans) - len(stale)} finished"
        + (f" ({len(taken)} taken over from another study)" if taken else ""),
        flush=True,
    )
    _say_why(study, stale)
    status = 0
    if len(todo) == len(plans) and (lacking := advice(study)):  # nothing is finished: it is begun
        raise ParameterError(lacking)
    refuse_unready(study, {name: plans[name] for name in todo})
    if dry_run and parallel:
        for name in todo:
            print(f"  {name} would be {'made' if name in stale else 'looked at, once the runs that it needs are made'}")
        return status
    if todo:
        _set_stamps(study, plans, todo)
        command = [sys.executable, "-m", "snakemake", "--snakefile", "Snakefile", *where, "--keep-going", "--nolock"]
        command += ["--scheduler", "greedy", "--quiet", "all", "--rerun-triggers", "mtime", "--ignore-incomplete"]
        command += ["--config", f"study={json.dumps(study)}", f"only={json.dumps(' '.join(plans))}"]
        with warm_start(len(todo) > 1 and parallel) as environment:
            status = _run(command + (["--dry-run"] if dry_run else []), environment, local=parallel)
    if dry_run:
        return status
    failed = identity.stale(study, plans) if todo else {}
    if failed:
        print(f"\n{len(failed)} of {len(plans)} runs are not finished:")
        for name, why in failed.items():
            notebook = runs.root() / study / name / "notebook.ipynb"
            waits = [n for n in plans[name].needs if n in failed]
            reason = "" if why == ["it is not finished"] else f" ({why[0]})"
            print(f"  {name}: " + (f"waits for {waits[0]}" if waits else f"failed, see {notebook}{reason}"))
        return 1
    nothing = "nothing to do, " if not todo else ""
    print(
        f"study '{study}': {nothing}all {len(plans)} runs finished ({time.time() - started:.0f} s); tables and "
        f"figures are in {Path(next(reversed(plans.values())).parameters.get('figures', runs.root() / study))}"
    )
    if "results" in plans:
        print("".join(f"{line}\n" for line in beside_published(study)), end="", flush=True)
    return status


def _say_unused(study: str, given: list[str]) -> None:
    """Name the folders that are given to a study which asks for none of that name."""
    for name in given:
        if name not in variables(study):
            key = "data_folder: $DATA" if name == "DATA" else "data: {sounds: $SOUNDS}"
            path = studies_folder() / f"{study}.yaml"
            print(f"{name}={os.environ[name]} is not used: {path} does not ask for it, as by `{key}`", flush=True)


def _say_why(study: str, stale: dict[str, list[str]]) -> None:
    """Name the finished runs that are made again, with a reason each."""
    again = {name: why for name, why in stale.items() if runs.is_finished(study, name)}
    for name, why in list(again.items())[:SHOWN]:
        print(f"  {name} is made again: {'; '.join(why[:2])}", flush=True)
    if len(again) > SHOWN:
        print(f"  and {len(again) - SHOWN} more (`python -m corrlib.study.why {study}/RUN` says why)", flush=True)


def _say_beyond(study: str, names: list[str]) -> None:
    """Name the finished runs that the plan does not name and the study's tables count."""
    for name in names[:SHOWN]:
        folder = runs.root() / study / name
        print(f"  {name} is not in the plan, but the tables count it; remove {folder} if they should not", flush=True)
    if len(names) > SHOWN:
        print(f"  and {len(names) - SHOWN} more", flush=True)


def _run(command: list[str], environment: dict[str, str], local: bool) -> int:
    """Exit status of a command in a session of its own; where this process is interrupted or killed, nothing of it
    is left.

    local: its processes are all of this machine, and end at once; else it is told to call its jobs off, and waited for.
    """
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        with guarded(process, group=local):
            return process.wait()
    except KeyboardInterrupt:
        if local:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.send_signal(signal.SIGINT)
        process.wait()
        raise


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study")
    parser.add_argument("--run", help="only this run, in this process")
    parser.add_argument("--cores", type=int, default=os.cpu_count())
    parser.add_argument("--only", nargs="+", default=[], help="only these runs, and what they need")
    parser.add_argument("--profile", default="", help="the cluster to which runs are sent: one of studies/profiles")
    parser.add_argument("--dry-run", action="store_true")
    arguments = parser.parse_args()
    # a job that is called off ends as one that is interrupted
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if arguments.run:
            return execute(arguments.study, arguments.run)
        return reproduce(arguments.study, arguments.cores, arguments.dry_run, arguments.only, arguments.profile)
    except ParameterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; finished runs and epochs are kept, the same command goes on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    end_with(main)
