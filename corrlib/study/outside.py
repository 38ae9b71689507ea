"""Teachers that no run of a study has trained, by name: `clap:<folder or hub name>` and `embeddings:<file>`."""

import re
from pathlib import Path

PATTERN = r"^(clap|embeddings):\S.*$"


def is_outside(teacher: str) -> bool:
    """Whether a teacher's name is one of these, and not that of a run."""
    return re.match(PATTERN, teacher) is not None


def parts(teacher: str) -> tuple[str, str]:
    """(kind, place) of such a name: `clap` or `embeddings`, and the folder, hub name or file."""
    kind, _, place = teacher.partition(":")
    return kind, place


def label(teacher: str) -> str:
    """A short name for tables and files: `clap-<last part of the place>`, of letters, digits, dots and hyphens."""
    kind, place = parts(teacher)
    name = place.rstrip("/").rpartition("/")[2].removesuffix(".safetensors")
    return f"{kind}-{re.sub(r'[^A-Za-z0-9.]+', '-', name).strip('-.')}"


def files(teachers: object) -> dict[str, str]:
    """{name of a teacher: the file or folder that it reads}, of those that lie on this disk."""
    names = [teacher for teacher in teachers if is_outside(str(teacher))] if isinstance(teachers, list) else []
    return {name: parts(name)[1] for name in names if Path(parts(name)[1]).exists()}
