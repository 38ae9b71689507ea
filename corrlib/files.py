"""Files that hold their old content or their new, never half of it, and digests of what they hold."""

import csv
import errno
import fcntl
import hashlib
import json
import os
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pandas as pd

FORMULA = re.compile(r"'*[=+\-@\t\r\n]")  # how a text begins that a spreadsheet runs, or one that was kept from it
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
COARSEST = 2  # seconds: the steps of file times on FAT; 0.01 on most disks
SPEAK_AFTER, SPEAK_EVERY = 3, 60  # seconds of waiting for a lock, before and between words about it
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FULL_IN_WORDS = (  # of numpy, safetensors and torch, which tell it by exceptions of their own
    "no space",
    "not enough free space",
    "requested and",
    "os error 27",
    "os error 28",
    "inline_container",
    "iostream error",
)


written: set[str] = set()  # files that this process wrote as a whole, since somebody emptied it


class NotWritten(OSError):
    """A file could not be written, said in one sentence with what to do."""


def write_atomically(path: str | Path, content: str | bytes) -> None:
    """Write text (as UTF-8) or bytes so that `path` holds the old content or the new, never half of it.

    Its folder is made where it is missing. NotWritten as in `writing`.
    """
    with replacing(path) as part:
        part.write_bytes(content if isinstance(content, bytes) else content.encode())


def csv_of(table: pd.DataFrame, float_format: str | None = None) -> str:
    """A table as CSV that a spreadsheet may open: a text that it would take for a formula has an apostrophe before it.

    `without_apostrophe` gives the text back. Numbers stay, and so does text that is one.
    """
    table, bare = table.copy(deep=False), False
    for place, kind in enumerate(table.dtypes):
        if not pd.api.types.is_numeric_dtype(kind):
            cells = [_as_text(cell) if isinstance(cell, str) else cell for cell in table.iloc[:, place]]
            table.isetitem(place, cells)
            bare |= any("\r" in cell for cell in cells if isinstance(cell, str))
    quoting = csv.QUOTE_NONNUMERIC if bare else csv.QUOTE_MINIMAL  # which leaves a carriage return without quotes
    return table.to_csv(index=False, float_format=float_format, quoting=quoting)


def _as_text(cell: str) -> str:
    return f"'{cell}" if FORMULA.match(cell) and not NUMBER.fullmatch(cell) else cell


def without_apostrophe(cell: str) -> str:
    """The text of a cell that `csv_of` wrote."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell) and not NUMBER.fullmatch(cell) else cell


def replace_with(path: str | Path, writer: Callable[[Path], object]) -> None:
    """As `write_atomically`, for content that `writer(temporary path)` writes by itself (safetensors, figures)."""
    with replacing(path) as part:
        writer(part)


@contextmanager
def replacing(path: str | Path, otherwise: str = "") -> Iterator[Path]:
    """Gives a temporary path beside `path`, of the same suffix; what is written there takes `path`'s place at the end.

    Where the block raises, `path` is as it was and nothing is left behind. otherwise: see `writing`.
    """
    path = Path(path)
    part = temporary(path)
    with writing(path, otherwise, ": what was there before is intact"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
            with open(part, "rb") as file:
                os.fsync(file.fileno())  # a renamed file must not be empty after a power cut
            os.replace(part, path)
            written.add(os.path.abspath(path))
        finally:
            if part.exists():  # asked first: where its folder is a file, unlinking fails with an error of its own
                part.unlink()


def there(path: Path) -> Path:
    """The folder, or the nearest above it that exists: on whose disk what is written below `path` will lie."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())


def temporary(path: Path) -> Path:
    """Where this process writes what will be `path`; a folder's `.*.part*` are of processes that were killed."""
    return path.with_name(f".{os.getpid()}.part.{path.name}")


@contextmanager
def writing(path: str | Path, otherwise: str = "", comfort: str = "") -> Iterator[None]:
    """One sentence where the block cannot write `path` (a file, or a folder of many): NotWritten says what to do.

    Errors about other files, such as one that is read meanwhile, pass as they are. otherwise: what else would help,
    as in "set cache_audio to false". comfort: how the sentence ends.
    """
    try:
        yield
    except NotWritten:
        raise
    except Exception as error:
        reason, mend = _unwritable(error, Path(path))
        if not reason:
            raise
        mends = ", or ".join(filter(None, [mend, otherwise]))
        raise NotWritten(
            f"could not write {path} ({reason}); {mends} and run the same command again{comfort}"
        ) from None


def _unwritable(error: Exception, path: Path) -> tuple[str, str]:
    """(why `path` cannot be written, the mend) as an error tells it; empty where it is about something else."""
    number, name = getattr(error, "errno", None), getattr(error, "filename", None)
    if number in FULL:
        return os.strerror(number), "free some space"
    if number is None:
        full = any(words in str(error).lower() for words in FULL_IN_WORDS)
        return ("the disk took only part of it", "free some space") if full else ("", "")
    named = Path(os.fsdecode(name)) if isinstance(name, str | bytes | os.PathLike) else None
    if named is None:
        ours = number == errno.EIO
    else:
        ours = path in (named, *named.parents) or named in (temporary(path), path.with_suffix(".lock"), *path.parents)
    if ours:
        return os.strerror(number), "see that its folder can be written to"
    return "", ""


@contextmanager
def locked(path: str | Path) -> Iterator[None]:
    """Only one process at a time makes `path`; another one that wants it waits here until it is made.

    A wait of more than a few seconds says who is waited for. What a killed process left half-made is removed.
    NotWritten where the folder cannot be written to.
    """
    path = Path(path)
    file = path.with_suffix(".lock")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = take(file)
    started, speak = time.monotonic(), SPEAK_AFTER
    while lock is None:
        time.sleep(0.1)
        lock = take(file)
        if lock is None and time.monotonic() - started > speak:
            print(f"waiting for {held_by(file)}, which makes {path}", flush=True)
            speak += SPEAK_EVERY
    with lock:
        for left in path.parent.glob(f".*.part.{path.name}"):
            left.unlink()
        yield


def take(path: str | Path) -> IO[str] | None:
    """Lock the file at `path` and write into it who holds it: the open file, which holds it until it is closed.

    None where another process holds it; `held_by` says who. The system frees what a process held that has ended,
    however it did. NotWritten where the disk knows no locks.
    """
    lock = open(path, "a+", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    except OSError as error:
        lock.close()
        raise NotWritten(
            f"{path} cannot be locked ({error.strerror}); choose a folder on a disk that knows file locks"
        ) from None
    lock.truncate(0)
    lock.write(f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M')}")
    lock.flush()
    return lock


def held_by(path: str | Path) -> str:
    """Who holds the lock at `path`, in words: which process, on which machine, since when."""
    try:
        holder = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        holder = ""
    match = re.match(r"process (\d+) on (\S+) since", holder)
    if match and match[2] == socket.gethostname():
        try:
            os.kill(int(match[1]), 0)
        except ProcessLookupError:
            return f"a process that was left behind by {holder}"
        except OSError:
            pass
    return holder or "another process"


def reserve(path: str | Path, size: int) -> None:
    """Take `size` bytes on disk for a file now: a memory map that runs out of room kills the process without a word.

    OSError where there is no such room, NotWritten within `replacing`.
    """
    if hasattr(os, "posix_fallocate"):  # not on macOS
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, size)


def read_tensors(path: str | Path) -> dict[str, Any]:
    """{name: tensor} of a finished run's safetensors file, on the CPU; ValueError where it is damaged."""
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
    same. Where it cannot be written this only takes longer the next time. What has just been changed is not kept: it
    may be changed again before its time becomes another.
    """
    names = [os.path.abspath(path) if str(path) else "" for path in paths]
    known = _remembered(memory)
    found, fresh = {}, {}
    for name in dict.fromkeys(names):
        state = file_state(name)
        if state is None:
            found[name] = ""
        elif known.get(name, ("",))[0] == state:
            found[name] = known[name][1]
        else:
            found[name] = digest_file(name)
            if _rests(name):
                fresh[name] = (state, found[name])
    if memory is not None and fresh:
        _remember(Path(memory), {**known, **fresh})
    return [found[name] for name in names]


def memory_of(folder: str | Path, what: str = "digests") -> Path:
    """Where digests of the files below `folder` are kept, or `what` else is known of them: in `cache/digests/` of the
    data folder (CORRLIB_DATA).
    """
    home = Path(os.environ.get("CORRLIB_DATA", "data")) / "cache" / what
    return home / f"{digest(os.path.abspath(folder))[:16]}.csv"


def cache_of(folder: str | Path) -> Path:
    """Where is kept what is derived from a corpus in `folder`: its `cache/`, or where it may not be written to, a
    folder in `cache/of/` of the data folder (CORRLIB_DATA).
    """
    own = Path(folder) / "cache"
    if not Path(folder).exists() or os.access(own if own.exists() else folder, os.W_OK):
        return own
    home = Path(os.environ.get("CORRLIB_DATA", "data")) / "cache" / "of"
    return home / digest(os.path.abspath(folder))[:16]


def digest_folder(folder: str | Path) -> str:
    """Short hash of all files below a folder (or of one file), by their names and bytes; "" where there is nothing."""
    folder = Path(folder)
    paths = sorted(p for p in folder.rglob("*") if p.is_file()) if folder.is_dir() else [folder]
    digests = digest_files(paths, memory_of(folder))
    if not any(digests):
        return ""
    return digest([[p.relative_to(folder).as_posix(), d] for p, d in zip(paths, digests, strict=True)])


def derived(
    path: str | Path, make: Callable[[Path], object], otherwise: str = "", still: Callable[[], bool] = lambda: True
) -> Path:
    """The file at `path`, which `make(temporary path)` writes where it is missing or damaged (which is said).

    Its name must tell all that it is derived from; still: whether that is still so, which is asked once it is made.
    ValueError where it is not: what was read meanwhile would be kept under a wrong name for ever. Its digest is kept
    beside it and checked once a process. Of several processes one makes it, and the others wait. otherwise: see
    `writing`.
    """
    path = Path(path)
    record = path.with_name(f"{path.name}.digest")
    with locked(path):
        if path.exists() and record.is_file():
            if path.is_file() and (
                _checked.get(path) == file_state(str(path)) or digest_file(path).encode() == record.read_bytes()
            ):
                _checked[path] = file_state(str(path))
                return path
            print(f"{path} is damaged; it is made again", flush=True)
        with replacing(path, otherwise) as part:
            make(part)
            if not still():
                raise ValueError(f"what {path} is made of was changed while it was made; run the same command again")
        write_atomically(record, digest_file(path))
        _checked[path] = file_state(str(path))
    return path


_checked: dict[Path, str | None] = {}  # derived files whose digest was found right, as they were then


def file_state(name: str | Path) -> str | None:
    """What changes when a file does: size, times of change (of its content, of its entry) and inode."""
    try:
        stat = os.stat(name)
    except (OSError, ValueError):
        return None
    return f"{stat.st_size}-{stat.st_mtime_ns}-{stat.st_ctime_ns}-{stat.st_ino}"


def _rests(name: str) -> bool:
    """Whether a file was last changed so long ago that its times would tell another change."""
    try:
        stat = os.stat(name)
    except OSError:
        return False
    return abs(time.time() - max(stat.st_mtime, stat.st_ctime)) > COARSEST


def _remembered(memory: str | Path | None) -> dict[str, tuple[str, str]]:
    """{path: (state, digest)}; nothing where the memory is missing or damaged."""
    if memory is None or not Path(memory).is_file() or not Path(f"{memory}.digest").is_file():
        return {}
    try:
        if Path(f"{memory}.digest").read_text() != digest_file(memory):
            return {}
        table = pd.read_csv(memory, dtype=str, keep_default_na=False)
        return dict(zip(table["path"], zip(table["state"], table["digest"], strict=True), strict=True))
    except (OSError, ValueError, KeyError):
        return {}


def _remember(memory: Path, known: dict[str, tuple[str, str]]) -> None:
    rows = [(path, state, found) for path, (state, found) in known.items()]
    try:
        table = pd.DataFrame(rows, columns=["path", "state", "digest"]).to_csv(index=False)
        write_atomically(memory, table)
        write_atomically(f"{memory}.digest", digest(table))
    except OSError:
        pass
