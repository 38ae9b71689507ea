"""Run folders `runs/<study>/<run>/`: the only module that knows their paths and files."""

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from functools import cache
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from corrlib.files import write_atomically
from corrlib.study.memory import peak_bytes
from corrlib.study.parameters import check, from_notebook

PACKAGES = ("torch", "torchaudio", "transformers", "numpy", "pandas", "soundfile")
CHECKPOINT = "checkpoint-*.pt"
# what only looks at finished runs, or starts them, changes no numbers of a run
LOOKING = {"figures", "explore", "reports", "benchmarks", "study"}


def root():
    """The folder of all runs: `runs/` of the repository, or what CORRLIB_RUNS names (tests use it)."""
    return Path(os.environ.get("CORRLIB_RUNS", "runs"))


def figures_folder(study):
    """Where a study's runs write its tables and figures: never what is published (see corrlib.study.publish)."""
    return root() / study / "figures"


def enter_repository():
    """Make the repository's root the working directory, wherever a notebook was started."""
    for folder in (Path.cwd(), *Path.cwd().parents, Path(__file__).resolve().parents[2]):
        if (folder / "pyproject.toml").is_file() and (folder / "corrlib").is_dir():
            os.chdir(folder)
            return


class RunFolder:
    """The folder of a run in progress, and its checked parameters."""

    def __init__(self, parameters):
        self.parameters = parameters
        self.folder = root() / parameters.study / parameters.run_name()
        self.folder.mkdir(parents=True, exist_ok=True)

    def checkpoints(self):
        """Paths of the checkpoints of this run in progress, newest first."""
        return sorted(self.folder.glob(CHECKPOINT), reverse=True)

    def forget_checkpoints(self, kept=0):
        """Remove all but the newest `kept`."""
        for path in self.checkpoints()[kept:]:
            path.unlink(missing_ok=True)

    def path(self, name):
        return self.folder / name

    def write_json(self, name, content):
        write_atomically(self.path(name), json.dumps(content, indent=1, default=float))

    def write_table(self, name, table):
        write_atomically(self.path(name), table.to_csv(index=False))


class Run(RunFolder):
    """A run that this process alone may write, from its start to its manifest."""

    def __init__(self, parameters, notebook):
        super().__init__(parameters)
        self.notebook = notebook
        self._lock = open(self.folder / ".lock", "w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RuntimeError(f"{self.folder} is being written by another process; wait for it or stop it") from None
        self._started = time.time()
        (self.folder / "manifest.json").unlink(missing_ok=True)
        for left in self.folder.glob(".*.part*"):  # of a process that was killed as it wrote
            left.unlink(missing_ok=True)
        self._forget_other_parameters()

    def _forget_other_parameters(self):
        """A checkpoint is resumed only under the very parameters that wrote it."""
        record, now = self.folder / "parameters.json", self.parameters.model_dump_json(indent=1)
        if not record.is_file() or record.read_text() != now:
            self.forget_checkpoints()
            write_atomically(record, now)

    def finish(self, **facts):
        """Write manifest.json, which says that the run is complete, and hand the folder back."""
        seconds = time.time() - self._started
        self.write_json(
            "manifest.json",
            {
                "study": self.parameters.study,
                "run": self.parameters.run_name(),
                "notebook": self.notebook,
                "parameters": self.parameters.model_dump(),
                "code": commit(),
                "packages": {p: version(p) for p in PACKAGES},
                "python": platform.python_version(),
                "hardware": hardware(),
                "wall_seconds": round(seconds, 1),
                "peak_memory_bytes": peak_bytes(),
                "repeat": repeat_command(self.notebook, self.parameters),
                **facts,
            },
        )
        self.forget_checkpoints()
        self._lock.close()
        return self.folder


def start(model, notebook, names):
    """Begin the run that a notebook describes; `names` is the notebook's `globals()`.

    An empty `figures` of the notebook becomes the study's own folder, for its cells to write into.
    ValueError where it is to read runs of different code and has not been told `mix_code`.
    """
    if names.get("figures") == "":
        names["figures"] = str(figures_folder(names["study"]))
    parameters = from_notebook(model, names)
    if not getattr(parameters, "mix_code", True):
        check_same_code(parameters.study)
    return Run(parameters, notebook)


def repeat_command(notebook, parameters):
    shown = {k: v for k, v in parameters.model_dump().items() if v != type(parameters).model_fields[k].default}
    yaml_text = json.dumps(shown)
    return f"papermill notebooks/{notebook}.ipynb out.ipynb -y '{yaml_text}'"


def commit():
    """Commit and dirty flag of the code, where the repository is a git checkout."""

    def git(*words):
        return subprocess.run(["git", *words], capture_output=True, text=True, cwd=Path(__file__).parent).stdout.strip()

    if not shutil.which("git") or not git("rev-parse", "HEAD"):
        return {"commit": None, "dirty": None, "fingerprint": code_fingerprint()}
    return {
        "commit": git("rev-parse", "HEAD"),
        "dirty": bool(git("status", "--porcelain", "--untracked-files=no")),
        "fingerprint": code_fingerprint(),
    }


@cache
def code_fingerprint():
    """Short hash of the code that a run's numbers depend on, committed or not."""
    digest, home = hashlib.sha256(), Path(__file__).parents[1]
    for path in sorted(home.rglob("*.py")):
        place = path.relative_to(home)
        if place.parts[0].removesuffix(".py") not in LOOKING:
            digest.update(f"{place.as_posix()}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def check_same_code(study):
    """ValueError names two training runs of a study that were made by different code, and the mend."""
    first = None
    for path in sorted((root() / study).glob("*/manifest.json")):
        manifest = _manifest(path)
        if "setting" not in manifest:
            continue
        first = first or manifest
        one, other = ((m["run"], m.get("code") or {}) for m in (first, manifest))
        if one[1].get("fingerprint") != other[1].get("fingerprint"):
            made = [
                f"'{name}' (commit {str(code.get('commit'))[:8]}{', changed' if code.get('dirty') else ''})"
                for name, code in (one, other)
            ]
            raise ValueError(
                f"runs {made[0]} and {made[1]} of study '{study}' were made by different code; remove the "
                f"folder of one in {root() / study} and run the study again, or set mix_code to True"
            )


def hardware():
    torch = sys.modules.get("torch")  # a run that never loaded it used no GPU
    gpu = torch.cuda.get_device_name(0) if torch and torch.cuda.is_available() else None
    return {"machine": platform.machine(), "processor": processor(), "cores": os.cpu_count(), "gpu": gpu}


def processor():
    """The processor's model name; on systems that do not tell it, its kind (`arm64`)."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def folder_of(study, run):
    """The folder of a finished run; FileNotFoundError says which run is missing and how to make it."""
    folder = root() / study / run
    if not (folder / "manifest.json").is_file():
        state = "is not finished" if folder.is_dir() else "does not exist"
        raise FileNotFoundError(
            f"run '{run}' of study '{study}' {state} (looked in {folder}); run its notebook "
            f"first, or the whole study with `make reproduce STUDY={study}`"
        )
    return folder


def is_finished(study, run):
    return (root() / study / run / "manifest.json").is_file()


def take_over(base, study, run):
    """Make a finished run of study `base` one of `study`, too: its files are linked (copied across disks)."""
    source, folder = folder_of(base, run), root() / study / run
    shutil.rmtree(folder, ignore_errors=True)
    own = shutil.ignore_patterns("manifest.json", "parameters.json", ".*")
    shutil.copytree(source, folder, copy_function=_link, ignore=own)
    manifest = read_manifest(base, run)
    manifest["parameters"]["study"] = manifest["study"] = study
    write_atomically(folder / "parameters.json", json.dumps(manifest["parameters"], indent=1))
    write_atomically(folder / "manifest.json", json.dumps({**manifest, "taken_from": base}, indent=1))


def _link(source, target):
    try:
        if Path(source).suffix == ".ipynb":  # papermill would write through a link
            raise OSError
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copy2(source, target)


def read_manifest(study, run):
    return _manifest(folder_of(study, run) / "manifest.json")


def _manifest(path):
    """What a manifest.json says; ValueError where it is damaged."""
    try:
        found = json.loads(path.read_text())
    except ValueError:
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("parameters", {}), dict):
        raise ValueError(f"{path} is damaged; remove its folder and run the study again") from None
    return found


def started(study, run, models):
    """RunFolder of a run that was begun and not yet finished; of `models`, its parameters are one's.

    FileNotFoundError where it was never begun.
    """
    path = root() / study / run / "parameters.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"run '{run}' of study '{study}' was never begun ({path} does not exist); begin it by its notebook"
        )
    values = json.loads(path.read_text())
    return RunFolder(check(next(m for m in models if set(values) == set(m.model_fields)), values))


def read_parameters(study, run, model):
    return check(model, read_manifest(study, run)["parameters"])


def read_metrics(study, run):
    return json.loads((folder_of(study, run) / "metrics.json").read_text())


def read_table(study, run, name):
    return pd.read_csv(folder_of(study, run) / name)


def gather(study):
    """All finished training runs of a study: study, run, backbone, setting, seed, folder, manifest, one row each."""
    rows = []
    for path in sorted((root() / study).glob("*/manifest.json")):
        manifest = _manifest(path)
        if "setting" in manifest:
            rows.append(
                {
                    "study": study,
                    "run": manifest["run"],
                    "backbone": manifest["backbone"],
                    "setting": manifest["setting"],
                    "seed": manifest["parameters"]["seed"],
                    "folder": str(path.parent),
                    "wall_seconds": manifest["wall_seconds"],
                    "peak_memory_bytes": manifest["peak_memory_bytes"],
                }
            )
    if not rows:
        raise FileNotFoundError(
            f"study '{study}' has no finished training run in {root() / study}; "
            f"run `make reproduce STUDY={study}` first"
        )
    return pd.DataFrame(rows)
