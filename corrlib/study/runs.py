"""Run folders `runs/<study>/<run>/`: the only module that knows their paths and files."""

import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, TypeVar

import pandas as pd
import yaml

from corrlib.corpora.content import content_digest
from corrlib.files import csv_of, digest_file, file_state, held_by, take, write_atomically, written
from corrlib.study import code, inputs, manifest
from corrlib.study.memory import peak_bytes
from corrlib.study.parameters import DataParameters, ParameterError, Parameters, check, from_notebook

PACKAGES = ("torch", "torchaudio", "transformers", "numpy", "pandas", "soundfile")
CHECKPOINT = "checkpoint-*.pt"
LAST_MAKING = "06"  # number of the last notebook that makes models and estimates; those after it compare them
BEGUN = "begun.json"  # what a run in progress is: its notebook and parameters
PLANNED = "CORRLIB_PLANNED"  # in the environment: `study/run` that a study's plan wants, whatever was there before

P = TypeVar("P", bound=Parameters)

_locks: dict[Path, IO[str]] = {}  # run folders that this process holds
_read: dict[tuple[str, str], str] = {}  # runs that were read since the last one was begun: digests of their results
_read_data: dict[tuple[str, str], str] = {}  # and digests of the data that these runs are made of
_listed: dict[str, list[str]] = {}  # studies whose finished runs were listed since then
_whole: dict[Path, tuple[str, str]] = {}  # artefacts whose digest was found right: as they were, and the digest


def root() -> Path:
    """The folder of all runs: `runs/` of the repository, or what CORRLIB_RUNS names (tests use it)."""
    return Path(os.environ.get("CORRLIB_RUNS", "runs"))


def figures_folder(study: str) -> Path:
    """Where a study's runs write its tables and figures: never what is published (see corrlib.study.publish)."""
    return root() / study / "figures"


def enter_repository() -> None:
    """Make the repository's root the working directory, wherever a notebook was started."""
    for folder in (Path.cwd(), *Path.cwd().parents, Path(__file__).resolve().parents[2]):
        if (folder / "pyproject.toml").is_file() and (folder / "corrlib").is_dir():
            os.chdir(folder)
            return


class RunFolder:
    """The folder of a run in progress, its checked parameters, and what it is made of."""

    def __init__(self, parameters: Parameters, notebook: str) -> None:
        self.parameters: Any = parameters  # of the run's kind
        self.notebook = notebook
        self.folder = root() / parameters.study / parameters.run_name()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(
                f"the run's folder {self.folder} cannot be made ({error.strerror}); set CORRLIB_RUNS to a folder that "
                "can be written"
            ) from None
        self.code = code.fingerprints(notebook)
        self._inputs = inputs.of_parameters(parameters.model_dump())

    def made_of(self) -> dict[str, Any]:
        """What this run is made of so far (see corrlib.study.manifest.MadeOf): it grows with the runs that are read."""
        if not self._inputs.get("data", "-"):  # the corpus was composed after the start
            self._inputs = inputs.of_parameters(self.parameters.model_dump())
        own = (self.parameters.study, self.parameters.run_name())
        read = [key for key in sorted(_read) if key != own]
        parents = {run if study == own[0] else f"{study}/{run}": _read[study, run] for study, run in read}
        return {
            "code": self.code["fingerprint"],
            "training": self.code["training"],
            **self._inputs,
            "parents": parents,
            "parents_data": {run if s == own[0] else f"{s}/{run}": _read_data.get((s, run), "") for s, run in read},
            "listed": _listed.get(own[0]),
        }

    def checkpoints(self) -> list[Path]:
        """Paths of the checkpoints of this run in progress, newest first."""
        return sorted(self.folder.glob(CHECKPOINT), reverse=True)

    def forget_checkpoints(self, kept: int = 0) -> None:
        """Remove all but the newest `kept`."""
        for path in self.checkpoints()[kept:]:
            path.unlink(missing_ok=True)

    def path(self, name: str) -> Path:
        """Path of a file of this run that is to be written."""
        return self.folder / name

    def write_json(self, name: str, content: object) -> None:
        write_atomically(self.path(name), json.dumps(content, indent=1, default=float))

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        write_atomically(self.path(name), csv_of(table))


class Run(RunFolder):
    """A run that this process alone may write, from its start to its manifest.

    A finished run of that name stays finished until this one writes its first file.
    """

    def __init__(self, parameters: Parameters, notebook: str, names: dict[str, Any] | None = None) -> None:
        """names: the notebook's `globals()`, in which IPython keeps the cells that were run."""
        super().__init__(parameters, notebook)
        self._names = names or {}
        _read.clear()
        _read_data.clear()
        _listed.clear()
        written.clear()
        self._hold()
        self._refuse_to_replace()
        self._started = time.time()
        self.finished = False
        for left in self.folder.glob(".*.part*"):  # of a process that was killed as it wrote
            left.unlink(missing_ok=True)
        begun = {"notebook": notebook, "parameters": parameters.model_dump()}
        write_atomically(self.folder / BEGUN, json.dumps(begun, indent=1))

    def _hold(self) -> None:
        """Hold the folder; a second start in the same process (a cell run again) holds it already."""
        key = self.folder.resolve()
        if key in _locks:
            return
        lock = take(self.folder / ".lock")
        if lock is None:
            raise RuntimeError(
                f"{self.folder} is being written by {held_by(self.folder / '.lock')}; wait for it or stop it"
            )
        _locks[key] = lock
        if not (self.folder / "manifest.json").exists():  # what a killed run left would pass for a part of this one
            for path in left_behind(self.folder):
                path.unlink(missing_ok=True)

    def _refuse_to_replace(self) -> None:
        """ParameterError where a finished run of this name has other parameters, and no plan wants it otherwise."""
        path = self.folder / "manifest.json"
        if path.is_dir():
            raise ParameterError(f"{path} is a folder, in whose place a run writes its manifest; remove it")
        name = f"{self.parameters.study}/{self.parameters.run_name()}"
        if not path.is_file() or os.environ.get(PLANNED) == name:
            return
        differences = inputs.other_parameters(manifest.read(path)["parameters"], self.parameters.model_dump())
        if differences:
            raise ParameterError(
                f"run '{name}' is finished with other parameters ({differences[0]}); give this one a name of its own "
                f"(`run`), or remove {self.folder}"
            )

    def path(self, name: str) -> Path:
        """Path of a file that is to be written now; a finished run in this folder is none from now on."""
        if not self.finished:
            self._withdraw()
        return super().path(name)

    def _withdraw(self) -> None:
        """Remove what a finished run left here: nothing of it may be taken for a part of this one."""
        path = self.folder / "manifest.json"
        if not path.is_file():
            return
        try:
            left = manifest.read(path)["artefacts"]
        except ValueError:  # of another program: its files are not known
            left = {}
        path.unlink()
        for name in left:
            if name not in manifest.BESIDE:
                (self.folder / name).unlink(missing_ok=True)

    def finish(self, **facts: object) -> Path:
        """Write manifest.json, which says that the run is complete, and hand the folder back.

        facts: of this kind of run, such as its setting. The code is that of the run's start; where it was edited
        meanwhile, this is said.
        """
        seconds = time.time() - self._started
        if isinstance(self.parameters, DataParameters):  # which may have made the data itself
            self._inputs = inputs.of_parameters(self.parameters.model_dump())
        made_of = self.made_of()
        other = code.other_cells(self.notebook, list(self._names.get("In", [])))
        if other:
            print(
                f"cells were run that are not those of notebooks/{self.notebook}.ipynb: the run is of other code",
                flush=True,
            )
            made_of["code"] = other
        edited = code.edited(self.notebook, self.code)
        if edited:
            print(
                f"the code of {self.notebook} was edited while this run went on: the run is of the code before; "
                "the next `make reproduce` makes it again",
                flush=True,
            )
        content = {
            "study": self.parameters.study,
            "run": self.parameters.run_name(),
            "notebook": self.notebook,
            "parameters": self.parameters.model_dump(),
            "code": {**commit(), **self.code, "edited_meanwhile": edited},
            "made_of": made_of,
            "artefacts": artefacts(self.folder),
            "figures": self._drawn(),
            "packages": {p: version(p) for p in PACKAGES},
            "python": platform.python_version(),
            "hardware": hardware(),
            "wall_seconds": round(seconds, 1),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "peak_memory_bytes": peak_bytes(),
            "repeat": repeat_command(self.notebook, self.parameters),
            **facts,
        }
        self.write_json("manifest.json", manifest.sealed(content))
        self.finished = True
        self.forget_checkpoints()
        self.let_go()
        return self.folder

    def _drawn(self) -> dict[str, str]:
        """{name: digest} of the tables and figures that this run has written into the study's own folder for them."""
        folder = os.path.abspath(figures_folder(self.parameters.study))
        return {
            os.path.basename(path): digest_file(path) for path in sorted(written) if os.path.dirname(path) == folder
        }

    def let_go(self) -> None:
        """Hand the folder back without finishing: another process may go on with this run."""
        held = _locks.pop(self.folder.resolve(), None)
        if held:
            held.close()


def start(model: type[Parameters], notebook: str, names: dict[str, Any]) -> Run:
    """Begin the run that a notebook describes; `names` is the notebook's `globals()`.

    An empty `figures` of the notebook becomes the study's own folder, for its cells to write into. ValueError where
    it is to read runs of different code and has not been told `mix_code`; ParameterError where it would replace a
    finished run of other parameters.
    """
    if names.get("figures") == "":
        names["figures"] = str(figures_folder(names["study"]))
    parameters = from_notebook(model, names)
    if not getattr(parameters, "mix_code", True):
        check_same_code(parameters.study)
        check_parents(parameters.study)
    return Run(parameters, notebook, names)


def repeat_command(notebook: str, parameters: Parameters) -> str:
    shown = {k: v for k, v in parameters.model_dump().items() if v != type(parameters).model_fields[k].default}
    text = yaml.safe_dump(shown, default_flow_style=True, width=10**6).strip()
    return f"papermill notebooks/{notebook}.ipynb out.ipynb -y {shlex.quote(text)}"


def commit() -> dict[str, Any]:
    """Commit and dirty flag of the code, where the repository is a git checkout."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], capture_output=True, text=True, cwd=Path(__file__).parent).stdout.strip()

    if not shutil.which("git") or not git("rev-parse", "HEAD"):
        return {"commit": None, "dirty": None}
    return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "--untracked-files=no"))}


def hardware() -> dict[str, Any]:
    """Machine, processor, cores and GPU; results are found again bit for bit on the same processor only."""
    torch = sys.modules.get("torch")  # a run that never loaded it used no GPU
    gpu = torch.cuda.get_device_name(0) if torch and torch.cuda.is_available() else None
    return {"machine": platform.machine(), "processor": processor(), "cores": os.cpu_count(), "gpu": gpu}


def processor() -> str:
    """The processor's name, as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def check_same_code(study: str) -> None:
    """ValueError names two training runs of a study that were made by different code, and the mend."""
    first: dict[str, Any] | None = None
    for found in finished(study).values():
        if not found.get("setting"):
            continue
        first = first or found
        if first["made_of"]["training"] != found["made_of"]["training"]:
            made = [f"'{m['run']}' ({commit_of(m)})" for m in (first, found)]
            raise ValueError(
                f"runs {made[0]} and {made[1]} of study '{study}' were made by different code; run "
                f"`make reproduce STUDY={study}`, which makes those again that are of other code than today's, or set "
                "mix_code to True"
            )


def check_parents(study: str) -> None:
    """ValueError names a finished run of a study that was made of another parent than there is now, and the mend."""
    there = finished(study)
    for run, content in there.items():
        if content["notebook"][:2] > LAST_MAKING:
            continue
        for name, right in content["made_of"]["parents"].items():
            if "/" not in name and (name not in there or manifest.result(there[name]["artefacts"]) != right):
                raise ValueError(
                    f"run '{run}' of study '{study}' was made of another run '{name}' than there is now; run "
                    f"`make reproduce STUDY={study}`, which makes it again, or set mix_code to True"
                )


def check_data(study: str, run: str) -> None:
    """ValueError where the data of a finished run, its truth included, are no longer those that it was made of.

    For what reads a run's embeddings beside captions, scenes or truth as they are now.
    """
    content = read_manifest(study, run)
    corpus, _ = inputs.places(content["parameters"])
    if corpus and content_digest(*corpus) != content["made_of"]["data"]:
        raise ValueError(
            f"the data in {corpus[1]} are not those that run '{run}' of study '{study}' was made of; restore them, or "
            f"run `make reproduce STUDY={study}`"
        )


def commit_of(content: dict[str, Any]) -> str:
    """The commit that a manifest names, in words."""
    return f"commit {str(content['code'].get('commit'))[:8]}{', changed' if content['code'].get('dirty') else ''}"


def left_behind(folder: Path) -> list[Path]:
    """Files of a run that is not finished, but for what it goes on from and what a user wrote."""
    return [folder / name for name in artefacts(folder) if name not in manifest.BESIDE]


def artefacts(folder: Path) -> dict[str, str]:
    """{name: digest} of every file in a run's folder but hidden ones, checkpoints, tracked epochs, the manifest and
    the notebook.
    """
    names = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }
    kept = {name: path for name, path in names.items() if not (path.match(CHECKPOINT) or path.match(manifest.EVENTS))}
    for name in ("manifest.json", "notebook.ipynb", "progress.log", BEGUN, *manifest.USERS):
        kept.pop(name, None)
    return {name: digest_file(path) for name, path in kept.items()}


def damaged(folder: Path, content: dict[str, Any]) -> list[str]:
    """Names of the artefacts, and of the study's figures, of a finished run that are missing or no longer what its
    manifest says.
    """
    drawn = figures_folder(folder.parent.name)
    found = [name for name, right in content["artefacts"].items() if not _is_whole(folder / name, right)]
    return found + [name for name, right in content.get("figures", {}).items() if not _is_whole(drawn / name, right)]


def _is_whole(path: Path, right: str) -> bool:
    """Whether a file has the digest; of an unchanged file that is computed once a process."""
    state = file_state(path)
    if state is None:
        return False
    if _whole.get(path) != (state, right):
        if digest_file(path) != right:
            return False
        _whole[path] = state, right
    return True


def folder_of(study: str, run: str) -> Path:
    """The folder of a finished run; FileNotFoundError says which run is missing and how to make it.

    The run that is under way is from now on made of it, too.
    """
    return _found(study, run)[0]


def artefact(study: str, run: str, name: str) -> Path:
    """Path of a file, or a folder of files, of a finished run, found to be as the run wrote it.

    ValueError names an artefact that is damaged, and the mend.
    """
    folder, content = _found(study, run)
    chosen = {a: right for a, right in content["artefacts"].items() if a == name or a.startswith(f"{name}/")}
    if not chosen:
        raise ValueError(f"run '{run}' of study '{study}' wrote no {name}; it wrote {sorted(content['artefacts'])}")
    for part, right in chosen.items():
        if not _is_whole(folder / part, right):
            raise ValueError(
                f"{folder / part} is damaged or missing (its digest is not that of its manifest); remove {folder} "
                "and run the study again"
            )
    return folder / name


def _found(study: str, run: str) -> tuple[Path, dict[str, Any]]:
    folder = root() / study / run
    if not (folder / "manifest.json").is_file():
        state = "is not finished" if folder.is_dir() else "does not exist"
        raise FileNotFoundError(
            f"run '{run}' of study '{study}' {state} (looked in {folder}); run its notebook "
            f"first, or the whole study with `make reproduce STUDY={study}`"
        )
    content = manifest.read(folder / "manifest.json")
    _read[study, run] = manifest.result(content["artefacts"])
    _read_data[study, run] = content["made_of"]["data"]
    return folder, content


def is_finished(study: str, run: str) -> bool:
    return (root() / study / run / "manifest.json").is_file()


def finished(study: str) -> dict[str, dict[str, Any]]:
    """{run: manifest} of all finished runs of a study; ValueError names a manifest that is none."""
    paths = sorted((root() / study).glob("*/manifest.json"))
    return {path.parent.name: manifest.read(path) for path in paths}


def same_parents(base: str, study: str, run: str) -> bool:
    """Whether the runs that a finished run of `base` read are, in `study`, the very same."""
    there = finished(study)
    parents = manifest.read(root() / base / run / "manifest.json")["made_of"]["parents"]
    return all(
        "/" in name or (name in there and manifest.result(there[name]["artefacts"]) == right)
        for name, right in parents.items()
    )


def take_over(base: str, study: str, run: str) -> bool:
    """Make a finished run of study `base` one of `study`, too, with files of its own; False where that is under way.

    False, too, where the copy is not what the base's manifest says. A run that was begun in `study`, and has
    checkpoints or a process that writes it, stays. Tensors are linked where the disk can, as they are only ever
    replaced as a whole; everything else is copied, so that nothing that is written in one study shows in the other.
    """
    source, content = _found(base, run)
    folder = root() / study / run
    folder.mkdir(parents=True, exist_ok=True)
    lock = take(folder / ".lock")
    if lock is None:
        return False
    with lock:
        if list(folder.glob(CHECKPOINT)):
            return False
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != ".lock":
                path.unlink()
        left = shutil.ignore_patterns("manifest.json", ".*", CHECKPOINT)
        shutil.copytree(source, folder, copy_function=_take, ignore=left, dirs_exist_ok=True)
        if artefacts(folder) != content["artefacts"]:  # it was made again meanwhile, or the copy is damaged
            return False
        content["parameters"]["study"] = content["study"] = study
        write_atomically(
            folder / "manifest.json", json.dumps(manifest.sealed({**content, "taken_from": base}), indent=1)
        )
    return True


def _take(source: str, target: str) -> None:
    try:
        if Path(source).suffix != ".safetensors":
            raise OSError
        os.link(source, target)
    except OSError:  # not to be linked, another disk, or one without links
        shutil.copy2(source, target)


def read_manifest(study: str, run: str) -> dict[str, Any]:
    """The manifest of a finished run (see corrlib.study.manifest.Manifest)."""
    return _found(study, run)[1]


def started(study: str, run: str, models: Iterable[type[Parameters]]) -> RunFolder:
    """RunFolder of a run that was begun and not yet finished, for a process that works on it beside the first.

    Of `models`, its parameters are one's. FileNotFoundError where it was never begun.
    """
    path = root() / study / run / BEGUN
    if not path.is_file():
        raise FileNotFoundError(
            f"run '{run}' of study '{study}' was never begun ({path} does not exist); begin it by its notebook"
        )
    begun = json.loads(path.read_text(encoding="utf-8"))
    model = next(m for m in models if set(begun["parameters"]) == set(m.model_fields))
    return RunFolder(check(model, begun["parameters"]), begun["notebook"])


def read_parameters(study: str, run: str, model: type[P]) -> P:
    """The parameters of a finished run, as a checked `model`."""
    return check(model, read_manifest(study, run)["parameters"])


def read_metrics(study: str, run: str) -> dict[str, Any]:
    return json.loads(artefact(study, run, "metrics.json").read_text(encoding="utf-8"))


def read_table(study: str, run: str, name: str) -> pd.DataFrame:
    return pd.read_csv(artefact(study, run, name))


def gather(study: str) -> pd.DataFrame:
    """All finished training runs of a study: study, run, backbone, setting, seed, folder, manifest, one row each."""
    rows = [
        {
            "study": study,
            "run": run,
            "backbone": content["backbone"],
            "setting": content["setting"],
            "seed": content["parameters"]["seed"],
            "folder": str(root() / study / run),
            "wall_seconds": content["wall_seconds"],
            "peak_memory_bytes": content["peak_memory_bytes"],
        }
        for run, content in finished(study).items()
        if content.get("setting")
    ]
    _listed[study] = [row["run"] for row in rows]
    if not rows:
        raise FileNotFoundError(
            f"study '{study}' has no finished training run in {root() / study}; "
            f"run `make reproduce STUDY={study}` first"
        )
    return pd.DataFrame(rows)


def kept_epoch(log: pd.DataFrame, select_by: str = "annotated mAP@10") -> int:
    """The epoch of a log (a row an epoch, log.csv) that is kept: the first that is best on validation, or the last.

    select_by: `annotated mAP@10`, `true mAP@10` (where the log has it) or `last epoch`.
    """
    if select_by == "last epoch":
        return int(log["epoch"].iloc[-1])
    column = f"validation {select_by.removeprefix('annotated ')}"
    return int(log["epoch"].iloc[int(log[column].to_numpy().argmax())])


def kept_epoch_of(study: str, run: str) -> int:
    """The epoch whose weights are a finished training run's model."""
    chosen = read_manifest(study, run)["parameters"].get("select_by", "annotated mAP@10")
    return kept_epoch(read_table(study, run, "log.csv"), chosen)
