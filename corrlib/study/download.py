"""One published file: downloaded, resumed, retried, checked before use, and unpacked; nothing is left half-written."""

import json
import os
import shutil
import stat
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from corrlib.audiofiles.decode import AUDIO_SUFFIXES
from corrlib.files import there, write_atomically, writing
from corrlib.study.sources import GB, Source

TRIES = 5  # in a row that bring nothing new
PATIENCE = 60  # seconds of silence after which a connection counts as lost
LONGEST_WAIT = 120  # seconds that a server may ask for
CHUNK = 2**20
GOES_ON = "run the same command again: it goes on where it stopped"


class FetchError(Exception):
    """Why a file could not be fetched, in one sentence with what to do."""


class Damaged(FetchError):
    """An archive that cannot be read."""


def mirrored(source: Source, group: str) -> str:
    """The address of a source: its own, or CORRLIB_MIRROR/<group>/<file name> where that is set."""
    mirror = os.environ.get("CORRLIB_MIRROR", "").rstrip("/")
    return f"{mirror}/{group}/{source.file}" if mirror else source.url


def records() -> Path:
    """Where checksums of what nobody published a checksum of are kept: `downloads.json` in CORRLIB_DATA."""
    return Path(os.environ.get("CORRLIB_DATA", "data")) / "downloads.json"


def checksum_of(source: Source) -> str:
    """The published checksum, or the one recorded at the first download; "" where there is none yet."""
    return source.checksum or _recorded().get(source.url, {}).get("checksum", "")


def check(source: Source, path: Path) -> None:
    """FetchError where a file that is there is not the published one."""
    import pooch

    known = checksum_of(source)
    if source.size and path.stat().st_size != source.size:
        raise FetchError(
            f"{path} has {path.stat().st_size:,} bytes where {source.size:,} are published; remove it and run the "
            "same command again"
        )
    if known and not pooch.hashes.hash_matches(path, known):
        whose = "published" if source.checksum else "recorded at the first download"
        raise FetchError(
            f"{path} is not the file whose {known[:20]}... is {whose}; remove it and run the same command again"
        )


def download(source: Source, group: str, path: Path) -> None:
    """Bring a source to `path`, which holds it whole and checked in the end, or is not there.

    What has come so far lies beside it in a hidden `.part` file, and the next call goes on from there. FetchError says
    in one sentence what failed; NotWritten where the disk is full.
    """
    import pooch
    import requests

    url, known = mirrored(source, group), checksum_of(source)
    pooch.get_logger().setLevel("ERROR")

    def resumed(_url: str, fname: object, _pooch: object) -> None:
        part = path.with_name(f".{path.name}.part")
        _receive(source, url, part, path)
        os.replace(part, str(fname))

    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            pooch.retrieve(url, known or None, path.name, path.parent, downloader=resumed)  # pyrefly: ignore[bad-argument-type]
        except requests.RequestException as error:
            raise FetchError(f"{url} could not be fetched ({_short(error)}); {GOES_ON}") from None
        except ValueError:
            whose = "published" if source.checksum else "recorded at the first download"
            raise FetchError(
                f"{url} brought another file than the one whose {known.partition(':')[0]} is {whose}: it was thrown "
                f"away; run the same command again, or put the right file to {path}"
            ) from None


def record(source: Source, path: Path) -> None:
    """Keep the checksum of a file that was found good, where its publisher gives none."""
    import pooch

    if not checksum_of(source):
        entry = {
            "checksum": f"sha256:{pooch.file_hash(str(path), alg='sha256')}",
            "bytes": path.stat().st_size,
        }
        write_atomically(records(), json.dumps({**_recorded(), source.url: entry}, indent=1, sort_keys=True) + "\n")


def _recorded() -> dict[str, dict]:
    if not records().is_file():
        return {}
    try:
        return dict(json.loads(records().read_text(encoding="utf-8")))
    except ValueError:
        raise FetchError(f"{records()} is damaged; mend or remove it") from None


def _receive(source: Source, url: str, part: Path, path: Path) -> None:
    """Fill the part file to its end, over as many connections as it takes."""
    import requests
    from urllib3.exceptions import HTTPError

    failures, reason, wait = 0, "", 0.0
    while failures < TRIES:
        if failures:
            pause(max(wait, 2.0 ** (failures - 1)))
        before, wait = _size(part), 0.0
        try:
            with requests.get(url, headers=_ask(part), stream=True, timeout=PATIENCE) as answer:
                if answer.status_code in (404, 403, 410, 401):
                    raise FetchError(
                        f"{url} is not there any more ({answer.status_code} {answer.reason}); get {source.file} "
                        f"elsewhere and put it to {path}, or set CORRLIB_MIRROR"
                    )
                if answer.status_code == 416:  # there is no more than what is here, or another file there now
                    total = answer.headers.get("Content-Range", "").rpartition("/")[2]
                    if total.isdigit() and int(total) == before:
                        return
                    part.unlink()
                    raise requests.ConnectionError("it has changed meanwhile")
                if answer.status_code not in (200, 206):
                    wait = min(float(_number(answer.headers.get("Retry-After", ""))), LONGEST_WAIT)
                    raise requests.HTTPError(f"{answer.status_code} {answer.reason}")
                _write(source, answer, part, url)
            return
        except (requests.ConnectionError, requests.Timeout, requests.HTTPError, HTTPError) as error:
            reason = _short(error)
        failures = 1 if _size(part) > before else failures + 1
    raise FetchError(
        f"{url} could not be fetched ({reason}); see to the network or its proxy, set CORRLIB_MIRROR, or put "
        f"{source.file} to {path}, and {GOES_ON}"
    )


def _ask(part: Path) -> dict[str, str]:
    """Headers that ask for the rest of a file, as long as it is the one that was begun."""
    headers = {"Accept-Encoding": "identity"}
    if size := _size(part):
        headers["Range"] = f"bytes={size}-"
        tag = part.with_name(f"{part.name}.tag")
        if tag.is_file():
            headers["If-Range"] = tag.read_text(encoding="ascii", errors="ignore")
    return headers


def _write(source: Source, answer, part: Path, url: str) -> None:  # noqa: ANN001 (requests is imported when needed)
    """What a server sends, behind what is here."""
    import requests
    from tqdm import tqdm

    if answer.headers.get("Content-Type", "").startswith("text/html") and not source.file.endswith(".html"):
        raise FetchError(
            f"{url} answered with a page instead of {source.file}; open it in a browser, and put the file to "
            f"{part.with_name(part.name[1:].removesuffix('.part'))}"
        )
    begun = _size(part) if answer.status_code == 206 else 0
    if begun and not answer.headers.get("Content-Range", f"bytes {begun}-").startswith(f"bytes {begun}-"):
        raise requests.ConnectionError("it went on at another place than asked for")
    length = _number(answer.headers.get("Content-Length", ""))
    if source.size and length and begun + length != source.size:
        raise FetchError(
            f"{url} has {begun + length:,} bytes where {source.size:,} are published; get {source.file} elsewhere, or "
            "set CORRLIB_MIRROR"
        )
    tag = part.with_name(f"{part.name}.tag")
    tag.write_text(answer.headers.get("ETag", "") or answer.headers.get("Last-Modified", ""), encoding="ascii")
    if not tag.stat().st_size or tag.read_text().startswith("W/"):
        tag.unlink()
    with (
        open(part, "ab" if begun else "wb") as file,
        tqdm(
            total=begun + length if length else None,
            initial=begun,
            desc=source.file,
            unit="B",
            unit_scale=True,
            disable=not sys.stderr.isatty(),
        ) as bar,
    ):
        while chunk := answer.raw.read1(CHUNK):  # as it comes: what a lost connection has brought is kept to the byte
            file.write(chunk)
            bar.update(len(chunk))
        file.flush()
        os.fsync(file.fileno())
    if length and _size(part) != begun + length:
        raise requests.ConnectionError("the connection ended early")
    tag.unlink(missing_ok=True)


def pause(seconds: float) -> None:
    """Wait before the next try."""
    time.sleep(seconds)


def _number(text: str) -> int:
    return int(text) if text.strip().isdigit() else 0


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _short(error: Exception) -> str:
    """An error of a connection in a few words, without the objects that it quotes."""
    cause: BaseException = error
    while inner := cause.__cause__ or cause.__context__:
        cause = inner
    text = " ".join(str(getattr(cause, "strerror", None) or cause).split())
    return text[:100] or type(error).__name__


def need_room(folder: Path, wanted: int, what: str) -> None:
    """FetchError where the disk of `folder` has less than `wanted` bytes left."""
    free = shutil.disk_usage(there(folder)).free
    if free < wanted:
        raise FetchError(
            f"{what} takes {wanted / GB:.1f} GB, and the disk of {folder} has {free / GB:.1f} GB left; free space, "
            "or name another folder by DATA=..., and run the same command again"
        )


def unpack(source: Source, archive: Path) -> Path:
    """Unpack an archive beside itself, and rename what comes of it into place; returns the folder.

    Damaged for an archive that cannot be read; FetchError for one that holds links or members outside its folder, or
    for which the disk has no room. Then nothing that was unpacked is left.
    """
    assert source.unpacks
    return unpack_into(archive.parent / source.unpacks[0], lambda part: extract(archive, part, source.audio_only))


def unpack_into(target: Path, extract_to: Callable[[Path], object]) -> Path:
    """Let `extract_to` fill a folder beside `target`, and rename it, or the one of that name in it, into place."""
    if target.is_dir() and any(target.iterdir()):
        raise FetchError(f"{target} is there already and holds no audio; move it away and run the same command again")
    part = target.parent / f".{target.name}.part"
    shutil.rmtree(part, ignore_errors=True)
    try:
        with writing(target.parent):
            part.mkdir()
            extract_to(part)
            inner = part / target.name
            if target.is_dir():
                target.rmdir()
            os.replace(inner if inner.is_dir() and len(list(part.iterdir())) == 1 else part, target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target


def extract(archive: Path, part: Path, audio_only: bool) -> None:
    """The members of a zip or 7z archive into the folder `part`; of a zip the audio alone, where that is asked for."""
    with _damage_named(archive):
        if archive.suffix == ".7z":
            import py7zr

            with py7zr.SevenZipFile(archive) as opened:
                for member in opened.files:
                    _refuse_outside(archive, member.filename, member.is_symlink or member.is_junction)
                need_room(
                    part, sum(m.uncompressed for m in opened.files if not m.is_directory), f"unpacking {archive.name}"
                )
                opened.extractall(part)
            return
        with zipfile.ZipFile(archive) as opened:
            members = [m for m in opened.infolist() if not audio_only or m.filename.lower().endswith(AUDIO_SUFFIXES)]
            for member in opened.infolist():
                _refuse_outside(archive, member.filename, stat.S_ISLNK(member.external_attr >> 16))
            need_room(part, sum(member.file_size for member in members), f"unpacking {archive.name}")
            opened.extractall(part, members)


@contextmanager
def _damage_named(archive: Path) -> Iterator[None]:
    """Damaged in place of what the libraries raise for an archive that cannot be read."""
    try:
        yield
    except (FetchError, OSError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:80]
        raise Damaged(
            f"{archive} is damaged ({type(error).__name__}: {reason}); remove it if it is still there, and run the "
            "same command again to fetch it anew"
        ) from None


def _refuse_outside(archive: Path, name: str, link: bool) -> None:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if link or ".." in parts or name.startswith(("/", "\\")) or (parts and parts[0].endswith(":")):
        what = "a link" if link else "a file outside its folder"
        raise FetchError(f"{archive} holds {what}, '{name[:80]}', and is not unpacked; get it from its publisher")
