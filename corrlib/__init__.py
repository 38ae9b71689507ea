"""Estimated audio-caption correspondences for language-based audio retrieval."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from corrlib.sharing.model import RetrievalModel

# The code as this process found it, read before anything of it is imported: what a run is said to be made by, also
# where a file is edited while the run goes on (see corrlib.study.code).
SOURCES = {
    path.relative_to(Path(__file__).parent).as_posix(): path.read_bytes()
    for path in sorted(Path(__file__).parent.rglob("*.py"))
}


def load_model(source: str | Path, device: str | None = None, precision: str = "float32") -> "RetrievalModel":
    """A trained model that embeds sounds and captions: a run, an exported folder, or a name on the hub.

    See `corrlib.sharing.load.load_model`, which this is; torch is loaded only when it is called.
    """
    from corrlib.sharing.load import load_model as load

    return load(source, device, precision)
