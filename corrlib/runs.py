"""Run folders `runs/<study>/<run>/`: the only module that knows their paths and files."""
import fcntl
import json
import os
import platform
import resource
import shutil
import subprocess
import time
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from corrlib.parameters import check, from_notebook

PACKAGES = ("torch", "torchaudio", "transformers", "numpy", "pandas", "soundfile")
FULL_DISK = ("os error 27", "os error 28", "no space", "inline_container", "iostream error")


def root():
    """The folder of all runs: `runs/` of the repository, or what CORRLIB_RUNS names (tests use it)."""
    return Path(os.environ.get("CORRLIB_RUNS", "runs"))


def write_atomically(path, content):
    """Write text or bytes so that `path` holds the old content or the new, never half of it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(temporary, "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _not_written(path, error.strerror) from None


def replace_with(path, writer):
    """As `write_atomically`, for content that `writer(temporary path)` writes by itself (safetensors, figures)."""
    path = Path(path)
    temporary = path.with_name(f".{os.getpid()}.part.{path.name}")
    try:
        writer(temporary)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _not_written(path, error.strerror or error) from None
    except Exception as error:       # safetensors and torch report a full disk as exceptions of their own
        temporary.unlink(missing_ok=True)
        if not any(sign in str(error).lower() for sign in FULL_DISK):
            raise
        raise _not_written(path, "the disk took only part of it") from None


def _not_written(path, reason):
    return OSError(f"could not write {path} ({reason}); free some space and run the same command again: what was there "
                   "before is intact")


def enter_repository():
    """Make the repository's root the working directory, wherever a notebook was started."""
    for folder in (Path.cwd(), *Path.cwd().parents, Path(__file__).resolve().parents[1]):
        if (folder / "pyproject.toml").is_file() and (folder / "corrlib").is_dir():
            os.chdir(folder)
            return


class Run:
    """A run in progress: its checked parameters and its folder, locked against a second process."""

    def __init__(self, parameters, notebook):
        self.parameters, self.notebook = parameters, notebook
        self.folder = root() / parameters.study / parameters.run_name()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = open(self.folder / ".lock", "w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RuntimeError(f"{self.folder} is being written by another process; wait for it or stop it") from None
        self._started = time.time()
        (self.folder / "manifest.json").unlink(missing_ok=True)
        self._forget_other_parameters()

    def _forget_other_parameters(self):
        """A checkpoint is resumed only under the very parameters that wrote it."""
        record, now = self.folder / "parameters.json", self.parameters.model_dump_json(indent=1)
        if not record.is_file() or record.read_text() != now:
            (self.folder / "checkpoint.pt").unlink(missing_ok=True)
            write_atomically(record, now)

    def path(self, name):
        return self.folder / name

    def write_json(self, name, content):
        write_atomically(self.path(name), json.dumps(content, indent=1, default=float))

    def write_table(self, name, table):
        write_atomically(self.path(name), table.to_csv(index=False))

    def finish(self, **facts):
        """Write manifest.json, which says that the run is complete, and hand the folder back."""
        seconds = time.time() - self._started
        self.write_json("manifest.json", {
            "study": self.parameters.study, "run": self.parameters.run_name(), "notebook": self.notebook,
            "parameters": self.parameters.model_dump(), "code": commit(), "packages": {p: version(p) for p in PACKAGES},
            "python": platform.python_version(), "hardware": hardware(), "wall_seconds": round(seconds, 1),
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "repeat": repeat_command(self.notebook, self.parameters), **facts})
        self.path("checkpoint.pt").unlink(missing_ok=True)
        self._lock.close()
        return self.folder


def start(model, notebook, names):
    """Begin the run that a notebook describes; `names` is the notebook's `globals()`."""
    return Run(from_notebook(model, names), notebook)


def repeat_command(notebook, parameters):
    shown = {k: v for k, v in parameters.model_dump().items() if v != type(parameters).model_fields[k].default}
    yaml_text = json.dumps(shown)
    return f"papermill notebooks/{notebook}.ipynb out.ipynb -y '{yaml_text}'"


def commit():
    """Commit and dirty flag of the code, where the repository is a git checkout."""
    def git(*words):
        return subprocess.run(["git", *words], capture_output=True, text=True, cwd=Path(__file__).parent).stdout.strip()

    if not shutil.which("git") or not git("rev-parse", "HEAD"):
        return {"commit": None, "dirty": None}
    return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "--untracked-files=no"))}


def hardware():
    import torch
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {"machine": platform.machine(), "cores": os.cpu_count(), "gpu": gpu}


def folder_of(study, run):
    """The folder of a finished run; FileNotFoundError says which run is missing and how to make it."""
    folder = root() / study / run
    if not (folder / "manifest.json").is_file():
        state = "is not finished" if folder.is_dir() else "does not exist"
        raise FileNotFoundError(f"run '{run}' of study '{study}' {state} (looked in {folder}); run its notebook "
                                f"first, or the whole study with `make reproduce STUDY={study}`")
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
        if Path(source).suffix == ".ipynb":                  # papermill would write through a link
            raise OSError
        os.link(source, target)
    except OSError:                                          # another disk, or one without links
        shutil.copy2(source, target)


def read_manifest(study, run):
    return json.loads((folder_of(study, run) / "manifest.json").read_text())


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
        manifest = json.loads(path.read_text())
        if "setting" in manifest:
            rows.append({"study": study, "run": manifest["run"], "backbone": manifest["backbone"],
                         "setting": manifest["setting"], "seed": manifest["parameters"]["seed"],
                         "folder": str(path.parent), "wall_seconds": manifest["wall_seconds"],
                         "peak_memory_bytes": manifest["peak_memory_bytes"]})
    if not rows:
        raise FileNotFoundError(f"study '{study}' has no finished training run in {root() / study}; "
                                f"run `make reproduce STUDY={study}` first")
    return pd.DataFrame(rows)
