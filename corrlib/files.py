"""Files that hold their old content or their new, never half of it, and digests of what they hold."""

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd

FULL_DISK = ("os error 27", "os error 28", "no space", "inline_container", "iostream error")


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
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())  # a renamed file must not be empty after a power cut
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _not_written(path, error.strerror or error) from None
    except Exception as error:  # safetensors and torch report a full disk as exceptions of their own
        temporary.unlink(missing_ok=True)
        if not any(sign in str(error).lower() for sign in FULL_DISK):
            raise
        raise _not_written(path, "the disk took only part of it") from None


def _not_written(path, reason):
    return OSError(
        f"could not write {path} ({reason}); free some space and run the same command again: what was there "
        "before is intact"
    )


def read_tensors(path):
    """{name: tensor} of a finished run's safetensors file; ValueError where it is damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file  # loads torch, which a plan does without

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(
            f"{path} is damaged or no safetensors file ({error}); remove its folder and run the study again"
        ) from None


def digest(content: str | bytes | dict | list) -> str:
    """Short hash of text, bytes, or plain values (dicts and lists as JSON)."""
    if not isinstance(content, str | bytes):
        content = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()[:32]


def digest_file(path: str | Path) -> str:
    """Short hash of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def digest_files(paths: Iterable[str | Path], memory: str | Path | None = None) -> list[str]:
    """Short hash of each file's bytes, "" where there is none.

    memory: a CSV in which digests are kept, and found again while a file's size, times of change and inode are the
    same. Where it cannot be written this only takes longer the next time.
    """
    names = [os.path.abspath(path) if str(path) else "" for path in paths]
    known = _remembered(memory)
    found, fresh = {}, {}
    for name in dict.fromkeys(names):
        state = _state(name)
        if state is None:
            found[name] = ""
        elif known.get(name, ("",))[0] == state:
            found[name] = known[name][1]
        else:
            found[name] = digest_file(name)
            fresh[name] = (state, found[name])
    if memory is not None and fresh:
        _remember(Path(memory), {**known, **fresh})
    return [found[name] for name in names]


def memory_of(folder: str | Path) -> Path:
    """Where digests of the files below `folder` are kept: in `cache/digests/` of the data folder (CORRLIB_DATA)."""
    home = Path(os.environ.get("CORRLIB_DATA", "data")) / "cache" / "digests"
    return home / f"{digest(os.path.abspath(folder))[:16]}.csv"


def digest_folder(folder: str | Path) -> str:
    """Short hash of all files below a folder (or of one file), by their names and bytes; "" where there is nothing."""
    folder = Path(folder)
    paths = sorted(p for p in folder.rglob("*") if p.is_file()) if folder.is_dir() else [folder]
    digests = digest_files(paths, memory_of(folder))
    return (
        digest([[p.relative_to(folder).as_posix(), d] for p, d in zip(paths, digests, strict=True)])
        if any(digests)
        else ""
    )


def derived(path: str | Path, make: Callable[[Path], None]) -> Path:
    """The file at `path`, which `make(temporary path)` writes where it is missing or damaged (which is said).

    Its name must tell all that it is derived from. Its digest is kept beside it and checked once a process. Of several
    processes one makes it, and the others wait.
    """
    path = Path(path)
    record = path.with_name(f"{path.name}.digest")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = open(path.with_name(f"{path.name}.lock"), "w")
    except OSError as error:
        raise _not_written(path, error.strerror) from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.is_file() and record.is_file():
            if _checked.get(path) == _state(str(path)) or digest_file(path) == record.read_text():
                _checked[path] = _state(str(path))
                return path
            print(f"{path} is damaged; it is made again", flush=True)
        replace_with(path, make)
        write_atomically(record, digest_file(path))
        _checked[path] = _state(str(path))
    return path


_checked: dict[Path, str | None] = {}  # derived files whose digest was found right, as they were then


def _state(name: str) -> str | None:
    """What changes when a file does: size, times of change (of its content, of its entry) and inode."""
    try:
        stat = os.stat(name)
    except (OSError, ValueError):
        return None
    return f"{stat.st_size}-{stat.st_mtime_ns}-{stat.st_ctime_ns}-{stat.st_ino}"


def _remembered(memory: str | Path | None) -> dict[str, tuple[str, str]]:
    """{path: (state, digest)}; nothing where the memory is missing or damaged."""
    if memory is None or not Path(memory).is_file():
        return {}
    try:
        table = pd.read_csv(memory, dtype=str, keep_default_na=False)
        return dict(zip(table["path"], zip(table["state"], table["digest"], strict=True), strict=True))
    except (OSError, ValueError, KeyError):
        return {}


def _remember(memory: Path, known: dict[str, tuple[str, str]]) -> None:
    rows = [(path, state, found) for path, (state, found) in known.items()]
    try:
        write_atomically(memory, pd.DataFrame(rows, columns=["path", "state", "digest"]).to_csv(index=False))
    except OSError:
        pass
