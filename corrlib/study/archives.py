"""Split archives, as WavCaps is published in (X.z01, X.z02, ..., X.zip): joined, unpacked, checked.

Libraries read no archive of several parts, so `zip` or `7z` joins them.
"""

import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from corrlib.corpora.layouts import Tree
from corrlib.corpora.wavcaps import SOURCES
from corrlib.study.download import Damaged, FetchError, extract, need_room, unpack_into

TOOLS = ("zip", "7z", "7zz", "7za")
END, LONGEST_COMMENT = b"PK\5\6", 65_557  # of an archive's last record, with the comment behind it


def unpack_wavcaps(folder: Path) -> None:
    """Unpack WavCaps' archives below its folder, each beside itself, where a source's audio is not there yet.

    FetchError in one sentence where a part is missing, or what joins parts is not installed; what was unpacked stays.
    """
    if not folder.is_dir():
        return
    tree = Tree(folder)
    for archive in sorted(folder.rglob("*.zip")):
        below = {part.lower() for part in archive.relative_to(folder).with_suffix("").parts}
        source = next((name for name in SOURCES if name.lower() in below), None)
        if source is None or archive.name.startswith(".") or tree.has_audio([source.lower()]):
            continue
        parts = parts_of(archive)
        print(f"unpacking {archive}" + (f" and its {len(parts)} parts" if parts else ""), flush=True)
        unpack_into(archive.with_suffix(""), lambda part, a=archive, p=parts: _unpack(a, p, part))


def parts_of(archive: Path) -> list[Path]:
    """The parts that come before the last one of a split archive, X.zip; [] of a whole one.

    FetchError names the first that is not there.
    """
    with open(archive, "rb") as file:
        file.seek(max(0, archive.stat().st_size - LONGEST_COMMENT))
        tail = file.read()
    place = tail.rfind(END)
    if place < 0 or len(tail) < place + 6:
        raise FetchError(f"{archive} is no zip archive, or cut short; fetch it again")
    (last,) = struct.unpack_from("<H", tail, place + 4)
    parts = [archive.with_suffix(f".z{number:02d}") for number in range(1, last + 1)]
    missing = [part for part in parts if not part.is_file()]
    if missing:
        raise FetchError(
            f"{archive} is the last of {len(parts) + 1} parts, and {missing[0].name} is not beside it"
            f"{f' (nor {len(missing) - 1} more)' if len(missing) > 1 else ''}; fetch it, and run the same command again"
        )
    return parts


def _unpack(archive: Path, parts: list[Path], part: Path) -> None:
    """What an archive holds into the folder `part`."""
    if not parts:
        extract(archive, part, audio_only=True)
        return
    tool = next((found for name in TOOLS if (found := shutil.which(name))), None)
    if tool is None:
        raise FetchError(
            f"{archive} has {len(parts)} more parts, which only `zip` or `7z` joins, and neither is installed; install "
            "one of them, and run the same command again"
        )
    size = sum(path.stat().st_size for path in (archive, *parts))
    need_room(part, 2 * size, f"joining and unpacking {archive.name}")
    if Path(tool).name == "zip":
        with _joined(tool, archive) as whole:
            try:
                extract(whole, part, audio_only=True)
            except Damaged:
                raise FetchError(
                    f"{archive} is damaged, or one of its {len(parts)} parts; fetch them again, and run the same "
                    "command again"
                ) from None
        return
    _run([tool, "x", "-y", "-bso0", "-bsp0", f"-o{part}", str(archive)], archive)
    for path in part.rglob("*"):  # what no check has seen before it was written
        if path.is_symlink() or not path.resolve().is_relative_to(part.resolve()):
            raise FetchError(f"{archive} holds a link, '{path.name[:80]}', and is not unpacked; get it elsewhere")


@contextmanager
def _joined(tool: str, archive: Path) -> Iterator[Path]:
    """A split archive as a whole one, for as long as it is needed."""
    whole = archive.with_name(f".{archive.stem}.joined.zip")
    whole.unlink(missing_ok=True)
    try:
        _run([tool, "-q", "-s", "0", str(archive), "--out", str(whole)], archive)
        yield whole
    finally:
        for path in archive.parent.glob(f".{archive.stem}.joined.*"):
            path.unlink()


def _run(command: list[str], archive: Path) -> None:
    """A tool that asks nobody anything; FetchError says what it complained of."""
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if result.returncode:
        said = " ".join((result.stderr or result.stdout).split())[-120:]
        raise FetchError(
            f"{archive} and its parts could not be joined by {Path(command[0]).name} ({said or result.returncode}); "
            "fetch them again, and run the same command again"
        )
