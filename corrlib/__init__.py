"""Estimated audio-caption correspondences for language-based audio retrieval."""

import sys
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from corrlib.sharing.model import RetrievalModel

HOME = Path(__file__).parent


def read_sources() -> dict[str, bytes]:
    """{path below this folder: content} of every source file, as it is now."""
    return {p.relative_to(HOME).as_posix(): p.read_bytes() for p in sorted(HOME.rglob("*.py")) if p.is_file()}


# The code as this process found it, read before anything of it is imported: what a run is said to be made by, also
# where a file is edited while the run goes on (see corrlib.study.code).
SOURCES = read_sources()


class _AsFound(MetaPathFinder):
    """Finds no module, but refuses one whose file is no longer as this process found it: runs would mix two codes."""

    def __init__(self) -> None:
        self.sources = dict(SOURCES)

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        if not fullname.startswith("corrlib."):
            return
        name = fullname.removeprefix("corrlib.").replace(".", "/")
        for file in (f"{name}.py", f"{name}/__init__.py"):
            found = (HOME / file).read_bytes() if (HOME / file).is_file() else None
            if found != self.sources.get(file):
                raise ImportError(f"corrlib/{file} was changed after this process began; start it again", name=fullname)


sys.meta_path.insert(0, _AsFound())


def load_model(source: str | Path, device: str | None = None, precision: str = "float32") -> "RetrievalModel":
    """A trained model that embeds sounds and captions: a run, an exported folder, or a name on the hub.

    See `corrlib.sharing.load.load_model`, which this is; torch is loaded only when it is called.
    """
    from corrlib.sharing.load import load_model as load

    return load(source, device, precision)
