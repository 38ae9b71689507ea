"""A folder of anybody's sounds, embedded once by a model, and searched by caption, by a recording, or by both."""

import json
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TextIO

import numpy as np
import pandas as pd
import soundfile
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tqdm import tqdm

from corrlib.audiofiles.decode import AUDIO_SUFFIXES
from corrlib.audiofiles.probe import seconds_of
from corrlib.evaluation.search import nearest
from corrlib.files import derived, digest, digest_file, digest_files, locked, memory_of
from corrlib.sharing.approximate import CAPTIONS, ApproximateIndex
from corrlib.sharing.model import RetrievalModel

LARGEST_BYTES = 2**32  # of a file that is looked into: its content has to be read whole to be known again
AT_ONCE, SHARE = 512, 64  # sounds after which the index is written, or a 64th of it: this much a kill may cost
BATCH, READERS = 16, 4
DIGEST_BYTES = 16  # of a content digest (corrlib.files)
APPROXIMATE_FROM = 200_000  # different sounds: an exact search of fewer takes less than a tenth of a second


@dataclass
class _Stored:
    """What an index file holds, by content digest: embeddings (N, E), seconds, and why others were skipped."""

    embeddings: torch.Tensor
    digests: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


class SoundFolder:
    """The sounds in a folder and below, as `model` hears them: each content is embedded once and found again.

    sounds: DataFrame `file` (below the folder), `seconds`; skipped: DataFrame `file`, `reason` of what is no sound,
    cannot be read or is too large; embedded: how many sounds were embedded now. Hidden files and folders are left
    alone, and links to folders not followed. Of sounds longer than the model's `clip_seconds` only the start is heard;
    longer: how many these are.

    The index lies in `cache/search/` of the data folder (CORRLIB_DATA), under the model's name. A file that comes or
    changes costs its own embedding only; one that goes or is renamed costs none. From APPROXIMATE_FROM different sounds
    on the search is approximate, where faiss is installed; approximate: that index, which says how much it finds, or
    None. progress: True shows what is done and the time left on the standard error, a file shows it there.

    FileNotFoundError where there is no such folder, ValueError where it holds no sound, NotWritten where the index
    cannot be written.
    """

    def __init__(
        self,
        model: RetrievalModel,
        folder: str | Path,
        largest_bytes: int = LARGEST_BYTES,
        progress: bool | TextIO = False,
    ) -> None:
        self.model, self.folder, self._progress = model, Path(folder), progress
        if not self.folder.is_dir():
            raise FileNotFoundError(f"{folder} is no folder; name one that holds sounds")
        reasons = {
            name: reason or _refused(self.folder / name, largest_bytes) for name, reason in sorted(_listed(self.folder))
        }
        digests = self._digested([name for name, reason in reasons.items() if not reason], reasons)
        stored = self._index({found: name for name, found in digests.items()})
        row_of = {found: row for row, found in enumerate(stored.digests)}
        kept = {name: row_of[found] for name, found in digests.items() if found in row_of}
        reasons |= {name: stored.skipped[found] for name, found in digests.items() if found in stored.skipped}
        self.skipped = pd.DataFrame(
            [(_printable(name), reason) for name, reason in reasons.items() if reason], columns=["file", "reason"]
        )
        if not kept:
            raise ValueError(f"{folder} holds no sound that can be read ({len(self.skipped)} files were skipped)")
        self._rows, self._stored_embeddings, self._row_of = np.array(list(kept.values())), stored.embeddings, row_of
        self.sounds = pd.DataFrame({"file": list(kept), "seconds": [stored.seconds[row] for row in kept.values()]})
        self._by_row = np.argsort(self._rows, kind="stable")  # files of equal content lie side by side
        self.approximate = self._approximate(stored)

    @property
    def embeddings(self) -> torch.Tensor:
        """(N, E) of the rows of `sounds`."""
        return self._stored_embeddings[self._rows]

    @property
    def longer(self) -> int:
        return int((self.sounds["seconds"] > self.model.clip_seconds).sum())

    def search(
        self, caption: str = "", like: str | Path | None = None, weight: float = 0.5, top: int = 20
    ) -> pd.DataFrame:
        """The `top` sounds that fit best: rank, similarity, file, seconds.

        caption: what is to be heard; like: a sound file, in the folder or not, that others should resemble (it is not
        found itself). With both, `similarity` is weight x that of the caption + (1 - weight) x that of the sound.
        ValueError where neither is given or the weight is not in [0, 1].
        """
        if not caption.strip() and like is None:
            raise ValueError("nothing to search for; give a caption, a sound that others should be like, or both")
        if not 0 <= weight <= 1:
            raise ValueError(f"weight is {weight}; it must lie between 0 (the sound alone) and 1 (the caption alone)")
        if top < 1:
            raise ValueError(f"top is {top}; it must be 1 or more")
        shares = (1.0, 0.0) if like is None else (weight, 1 - weight) if caption.strip() else (0.0, 1.0)
        query, itself = torch.zeros(1, self.model.embedding_size), None
        if caption.strip():
            query = query + shares[0] * self.model.embed_captions([caption])
        if like is not None:
            itself = self._row_of.get(digest_files([like])[0])
            heard = self._stored_embeddings[[itself]] if itself is not None else self.model.embed_audio([like])
            query = query + shares[1] * heard
        wanted = min(top + (itself is not None), len(self._stored_embeddings))
        if self.approximate:
            similarity, rows = self.approximate.nearest(query, wanted)
        else:
            similarity, rows = nearest(query, self._stored_embeddings, wanted)
        pairs = zip(similarity[0].tolist(), rows[0].tolist(), strict=True)
        found = [(score, place) for score, row in pairs if row != itself for place in self._files(row)]
        table = self.sounds.iloc[[place for _, place in found]].reset_index(drop=True)
        table.insert(0, "similarity", [score for score, _ in found])
        table.insert(0, "rank", range(1, len(table) + 1))
        return table.head(top)

    def _files(self, row: int) -> list[int]:
        """Rows of `sounds` that hold a content (row of the stored embeddings)."""
        first, end = np.searchsorted(self._rows, [row, row + 1], sorter=self._by_row)
        return self._by_row[first:end].tolist()

    def _bar(self, total: int, unit: str, what: str) -> tqdm:
        """A bar with the time left, where one is wanted and there is something to do."""
        file = None if isinstance(self._progress, bool) else self._progress
        quiet = self._progress is False or not total
        return tqdm(total=total, unit=unit, desc=what, file=file, disable=quiet, dynamic_ncols=file is None)

    def _digested(self, names: list[str], reasons: dict[str, str]) -> dict[str, str]:
        """{name: digest of what the file holds}; of those that cannot be read, `reasons` says why."""
        found, memory = {}, memory_of(self.folder)
        step = max(2048, -(-len(names) // 8))  # what is known is looked up anew for each part
        with self._bar(len(names), "file", "looking for changes") as bar:
            for start in range(0, len(names), step):
                part = names[start : start + step]
                try:
                    found |= zip(part, digest_files([self.folder / name for name in part], memory), strict=True)
                except OSError:  # one of them; the others are read one by one
                    found |= {name: _digest_of(self.folder / name, name, reasons) for name in part}
                bar.update(len(part))
        reasons |= {name: reasons[name] or "it is gone" for name, own in found.items() if not own}
        return {name: own for name, own in found.items() if own}

    def _home(self) -> Path:
        home = Path(os.environ.get("CORRLIB_DATA", "data")) / "cache" / "search"
        name = re.sub(r"[^\w.-]+", "_", self.model.name)
        return home / f"{name}-{self.model.fingerprint}" / digest(os.path.abspath(self.folder))[:16]

    def _index(self, wanted: dict[str, str]) -> _Stored:
        """What is stored of the wanted contents, {digest: name}, after those that were not known are embedded."""
        home = self._home()
        with locked(home / "index"):
            before = [stored for path in _whole(home) if (stored := _read(path, whole=False))]
            known = {found for stored in before for found in (*stored.digests, *stored.skipped)} & set(wanted)
            new = [found for found in wanted if found not in known]
            self.embedded = start = 0
            with self._bar(len(new), "sound", "embedding") as bar:
                while True:
                    part = {found: wanted[found] for found in new[start : start + max(AT_ONCE, len(known) // SHARE)]}
                    known |= set(part)
                    stored = self._stored(home, known, part, bar)
                    start += len(part)
                    if start >= len(new):
                        return stored

    def _stored(self, home: Path, known: set[str], new: dict[str, str], bar: tqdm) -> _Stored:
        """The index file of `known` contents, of which `new` are to be embedded; those of other sets are removed."""
        path = home / f"{digest(sorted(known))[:16]}.safetensors"

        def make(part: Path) -> None:
            before = [stored for old in _whole(home) if (stored := _read(old))]
            made = _joined(before, known, self.model.embedding_size)
            with ThreadPoolExecutor(READERS) as pool:
                for start in range(0, len(new), BATCH):
                    self._add(made, dict(list(new.items())[start : start + BATCH]), bar, pool)
            _write(made, part)

        stored = _read(derived(path, make))
        if stored is None:
            raise ValueError(f"{path} cannot be read; remove it")
        _remove_others(home, ".safetensors", path.stem)
        return stored

    def _add(self, made: _Stored, new: dict[str, str], bar: tqdm, pool: ThreadPoolExecutor) -> None:
        """Embed some sounds, {digest: name}, or note why they cannot be."""
        waveforms, kept = [], []
        for found, heard in zip(new, pool.map(self._heard, new.values()), strict=True):
            if isinstance(heard, str):
                made.skipped[found] = heard
                continue
            waveforms.append((heard[0], self.model.sample_rate_hz))
            kept.append((found, heard[1]))
        made.embeddings = torch.cat([made.embeddings, self.model.embed_audio(waveforms, BATCH)])
        made.digests += [found for found, _ in kept]
        made.seconds += [seconds for _, seconds in kept]
        self.embedded += len(kept)
        bar.update(len(new))

    def _heard(self, name: str) -> tuple[np.ndarray, float] | str:
        """(waveform, seconds of the whole file), or why there is none."""
        path = self.folder / name
        try:
            return self.model.read(path), seconds_of(path)
        except (ValueError, OSError, RuntimeError, MemoryError) as error:  # what a file says of itself may be anything
            return " ".join(str(error).replace(str(path), "it").split()) or type(error).__name__

    def _approximate(self, stored: _Stored) -> ApproximateIndex | None:
        if len(stored.digests) < APPROXIMATE_FROM:
            return None
        home, name = self._home(), digest(stored.digests)[:16]
        try:
            index = ApproximateIndex(stored.embeddings, self.model.embed_captions(CAPTIONS), home, name)
        except ImportError:
            return None  # an exact search finds the same, and more slowly
        for kind in (".faiss", ".recall.json"):
            _remove_others(home, kind, name)
        return index


def _listed(folder: Path) -> Iterator[tuple[str, str]]:
    """(name below the folder, "") of all that is no folder; (name, why) of folders that are not entered. Hidden ones
    are left out.
    """
    closed: list[OSError] = []
    for place, folders, names in os.walk(folder, onerror=closed.append):
        folders[:] = [name for name in folders if not name.startswith(".")]
        linked = [name for name in folders if os.path.islink(os.path.join(place, name))]
        for name in (*names, *linked):
            if not name.startswith("."):
                reason = "it is a link to a folder; name that folder itself" if name in linked else ""
                yield Path(place, name).relative_to(folder).as_posix(), reason
    for error in closed:
        yield Path(error.filename).relative_to(folder).as_posix(), f"its files cannot be listed ({error.strerror})"


def _digest_of(path: Path, name: str, reasons: dict[str, str]) -> str:
    try:
        return digest_file(path)
    except OSError as error:
        reasons[name] = f"it cannot be read ({error.strerror})"
        return ""


def _refused(path: Path, largest_bytes: int) -> str:
    """Why a file is not even looked into; "" where it is."""
    if _printable(str(path)) != str(path):
        return "its name cannot be written as text; rename it"
    try:
        if not path.is_file():
            return "it is no file, or a link that leads nowhere"
        size = path.stat().st_size
    except OSError as error:
        return f"it cannot be looked at ({error.strerror})"
    if not os.access(path, os.R_OK):
        return "it may not be read"
    if path.suffix.lower() not in _suffixes():
        return f"its name ends in '{path.suffix}', as no sound's does"
    if size > largest_bytes:
        return f"it has {size} bytes, more than {largest_bytes}; cut it into clips"
    return "" if size else "it is empty"


@cache
def _suffixes() -> frozenset[str]:
    of_libsndfile = {f".{name.lower()}" for name in soundfile.available_formats()}
    return frozenset({*AUDIO_SUFFIXES, ".aifc", ".oga", *of_libsndfile} - {".raw"})


def _printable(name: str) -> str:
    """A stranger's file name as it may be shown: no control characters, nothing that is no text."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name)


def _write(made: _Stored, path: Path) -> None:
    """Digests and seconds as tensors: of a million sounds they would be too long for the header of the file."""
    digests = np.frombuffer(bytes.fromhex("".join(made.digests)), np.uint8).reshape(-1, DIGEST_BYTES)
    content = {
        "embeddings": made.embeddings,
        "digests": torch.from_numpy(digests.copy()),
        "seconds": torch.tensor(made.seconds, dtype=torch.float64),
    }
    save_file(content, path, {"skipped": json.dumps(made.skipped)})


def _read(path: Path, whole: bool = True) -> _Stored | None:
    """What an index file holds; None where it is damaged. whole: with its embeddings."""
    try:
        with safe_open(path, "pt") as file:
            skipped = json.loads(file.metadata()["skipped"])
            digests, seconds = file.get_tensor("digests").numpy(), file.get_tensor("seconds").tolist()
            embeddings = file.get_tensor("embeddings") if whole else torch.empty(0, 0)
        return _Stored(embeddings, [row.tobytes().hex() for row in digests], seconds, skipped)
    except Exception:  # of many kinds, by what is damaged; it is made again
        return None


def _remove_others(home: Path, ending: str, name: str) -> None:
    """Remove the derived files of an ending but that of `name`."""
    for old in home.glob(f"*{ending}"):
        if old.name != f"{name}{ending}":
            for left in (old, Path(f"{old}.digest"), old.with_suffix(".lock")):
                left.unlink(missing_ok=True)


def _whole(home: Path) -> list[Path]:
    """The index files in a folder that are as they were written; a damaged one is made again."""
    paths = [(path, Path(f"{path}.digest")) for path in sorted(home.glob("*.safetensors"))]
    return [path for path, said in paths if said.is_file() and digest_file(path) == said.read_text(encoding="utf-8")]


def _joined(before: list[_Stored], known: set[str], size: int) -> _Stored:
    """What several index files hold of the known contents, each once."""
    made, parts, missing = _Stored(torch.empty(0, size)), [torch.empty(0, size)], set(known)
    for stored in before:
        rows = [row for row, found in enumerate(stored.digests) if found in missing]
        missing -= set(stored.digests)
        parts.append(stored.embeddings[rows])
        made.digests += [stored.digests[row] for row in rows]
        made.seconds += [stored.seconds[row] for row in rows]
        made.skipped |= {found: reason for found, reason in stored.skipped.items() if found in known}
    made.embeddings = torch.cat(parts)
    return made
