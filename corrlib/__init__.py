"""Estimated audio-caption correspondences for language-based audio retrieval."""

from pathlib import Path

# The code as this process found it, read before anything of it is imported: what a run is said to be made by, also
# where a file is edited while the run goes on (see corrlib.study.code).
SOURCES = {
    path.relative_to(Path(__file__).parent).as_posix(): path.read_bytes()
    for path in sorted(Path(__file__).parent.rglob("*.py"))
}
