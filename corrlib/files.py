"""Files that hold their old content or their new, never half of it."""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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


class NotWritten(OSError):
    """A file could not be written, said in one sentence with what to do."""


def write_atomically(path: str | Path, content: str | bytes) -> None:
    """Write text (as UTF-8) or bytes so that `path` holds the old content or the new, never half of it.

    Its folder is made where it is missing. NotWritten as in `writing`.
    """
    with replacing(path) as part:
        part.write_bytes(content if isinstance(content, bytes) else content.encode())


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
        finally:
            if part.exists():  # asked first: where its folder is a file, unlinking fails with an error of its own
                part.unlink()


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

    What a killed process left half-made is removed. NotWritten where the folder cannot be written to.
    """
    path = Path(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = open(path.with_suffix(".lock"), "w")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in path.parent.glob(f".*.part.{path.name}"):
            left.unlink()
        yield


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
