"""Files that hold their old content or their new, never half of it."""

import os
from pathlib import Path

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
