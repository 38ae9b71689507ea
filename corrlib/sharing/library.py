"""A folder of anybody's sounds, embedded once by a model, and searched by caption, by a recording, or by both."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

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
from corrlib.sharing.model import RetrievalModel

LARGEST_BYTES = 2**32  # of a file that is looked into: its content has to be read whole to be known again
AT_ONCE = 512  # sounds after which the index is written: what was done until then survives a kill
BATCH = 16


@dataclass
class _Stored:
    """What an index file holds, by content digest: embeddings (N, E), seconds, and why others were skipped."""

    embeddings: torch.Tensor
    digests: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


class SoundFolder:
    """The sounds in a folder and below, as `model` hears them: each content is embedded once and found again.

    sounds: DataFrame `file` (below the folder), `seconds`; embeddings (N, E) of its rows; skipped: DataFrame `file`,
    `reason` of what is no sound, cannot be read or is too large; embedded: how many sounds were embedded now. Hidden
    files and folders are left alone, and links to folders not followed. Of sounds longer than the model's
    `clip_seconds` only the start is heard; longer: how many these are.

    The index lies in `cache/search/` of the data folder (CORRLIB_DATA), under the model's name. A file that comes or
    changes costs its own embedding only; one that goes or is renamed costs none. FileNotFoundError where there is no
    such folder, ValueError where it holds no sound, NotWritten where the index cannot be written.
    """

    def __init__(
        self,
        model: RetrievalModel,
        folder: str | Path,
        largest_bytes: int = LARGEST_BYTES,
        progress: bool = False,
    ) -> None:
        self.model, self.folder = model, Path(folder)
        if not self.folder.is_dir():
            raise FileNotFoundError(f"{folder} is no folder; name one that holds sounds")
        listed = sorted(_listed(self.folder))
        reasons = {name: _refused(self.folder / name, largest_bytes) for name in listed}
        names = [name for name in listed if not reasons[name]]
        digests = digest_files([self.folder / name for name in names], memory_of(self.folder))
        stored = self._index(dict(zip(digests, names, strict=True)), progress)
        row_of = {found: row for row, found in enumerate(stored.digests)}
        kept = [(name, row_of[found]) for name, found in zip(names, digests, strict=True) if found in row_of]
        reasons |= {name: stored.skipped[f] for name, f in zip(names, digests, strict=True) if f in stored.skipped}
        self.skipped = pd.DataFrame(
            [(_printable(name), reasons[name]) for name in listed if reasons[name]], columns=["file", "reason"]
        )
        if not kept:
            raise ValueError(f"{folder} holds no sound that can be read ({len(self.skipped)} files were skipped)")
        rows = [row for _, row in kept]
        self.sounds = pd.DataFrame({"file": [n for n, _ in kept], "seconds": [stored.seconds[row] for row in rows]})
        self.embeddings = stored.embeddings[rows]
        self._digests = [stored.digests[row] for row in rows]

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
        query, known = torch.zeros(1, self.model.embedding_size), ""
        if caption.strip():
            query = query + shares[0] * self.model.embed_captions([caption])
        if like is not None:
            query = query + shares[1] * self.model.embed_audio([like])
            [known] = digest_files([like])
        own = sum(found == known for found in self._digests)
        similarity, rows = nearest(query, self.embeddings, min(top + own, len(self.embeddings)))
        pairs = zip(similarity[0].tolist(), rows[0].tolist(), strict=True)
        found = [(score, row) for score, row in pairs if self._digests[row] != known]
        table = self.sounds.iloc[[row for _, row in found]].reset_index(drop=True)
        table.insert(0, "similarity", [score for score, _ in found])
        table.insert(0, "rank", range(1, len(table) + 1))
        return table[["rank", "similarity", "file", "seconds"]].head(top)

    def _index(self, wanted: dict[str, str], progress: bool) -> _Stored:
        """What is stored of the wanted contents, {digest: name}, after those that were not known are embedded."""
        home = Path(os.environ.get("CORRLIB_DATA", "data")) / "cache" / "search"
        name = re.sub(r"[^\w.-]+", "_", self.model.name)
        home = home / f"{name}-{self.model.fingerprint}" / digest(os.path.abspath(self.folder))[:16]
        with locked(home / "index"):
            before = [stored for path in _whole(home) if (stored := _read(path, whole=False))]
            known = {found for stored in before for found in (*stored.digests, *stored.skipped)} & set(wanted)
            new = [found for found in wanted if found not in known]
            self.embedded, stored = 0, _Stored(torch.empty(0, self.model.embedding_size))
            with tqdm(total=len(new), unit="sound", disable=not progress or not new) as bar:
                for start in range(0, max(1, len(new)), AT_ONCE):
                    part = {found: wanted[found] for found in new[start : start + AT_ONCE]}
                    known |= set(part)
                    stored = self._stored(home, known, part, bar)
        return stored

    def _stored(self, home: Path, known: set[str], new: dict[str, str], bar: tqdm) -> _Stored:
        """The index file of `known` contents, of which `new` are to be embedded; those of other sets are removed."""
        path = home / f"{digest(sorted(known))[:16]}.safetensors"

        def make(part: Path) -> None:
            before = [stored for old in _whole(home) if (stored := _read(old))]
            made = _joined(before, known, self.model.embedding_size)
            for start in range(0, len(new), BATCH):
                self._add(made, dict(list(new.items())[start : start + BATCH]), bar)
            said = {"digests": made.digests, "seconds": made.seconds, "skipped": made.skipped}
            save_file({"embeddings": made.embeddings}, part, {"index": json.dumps(said)})

        stored = _read(derived(path, make))
        if stored is None:
            raise ValueError(f"{path} cannot be read; remove it")
        for old in home.glob("*.safetensors"):
            if old != path:
                for left in (old, Path(f"{old}.digest"), old.with_suffix(".lock")):
                    left.unlink(missing_ok=True)
        return stored

    def _add(self, made: _Stored, new: dict[str, str], bar: tqdm) -> None:
        """Embed some sounds, {digest: name}, or note why they cannot be."""
        waveforms, kept = [], []
        for found, name in new.items():
            path = self.folder / name
            try:
                waveforms.append((self.model.read(path), self.model.sample_rate_hz))
                kept.append((found, seconds_of(path)))
            except (ValueError, OSError) as error:
                made.skipped[found] = " ".join(str(error).replace(str(path), "it").split())
        made.embeddings = torch.cat([made.embeddings, self.model.embed_audio(waveforms, BATCH)])
        made.digests += [found for found, _ in kept]
        made.seconds += [seconds for _, seconds in kept]
        self.embedded += len(kept)
        bar.update(len(new))


def _listed(folder: Path) -> Iterator[str]:
    """Names below the folder of all that is no folder, hidden ones left out."""
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith("."):
                yield Path(place, name).relative_to(folder).as_posix()


def _refused(path: Path, largest_bytes: int) -> str:
    """Why a file is not even looked into; "" where it is."""
    if not path.is_file():
        return "it is no file, or a link that leads nowhere"
    if not os.access(path, os.R_OK):
        return "it may not be read"
    if _printable(str(path)) != str(path):
        return "its name cannot be written as text; rename it"
    if path.suffix.lower() not in _suffixes():
        return f"its name ends in '{path.suffix}', as no sound's does"
    size = path.stat().st_size
    if size > largest_bytes:
        return f"it has {size} bytes, more than {largest_bytes}; cut it into clips"
    return "" if size else "it is empty"


def _suffixes() -> set[str]:
    return {*AUDIO_SUFFIXES, ".aifc", ".oga", *(f".{name.lower()}" for name in soundfile.available_formats())} - {
        ".raw"
    }


def _printable(name: str) -> str:
    """A stranger's file name as it may be shown: no control characters, nothing that is no text."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name)


def _read(path: Path, whole: bool = True) -> _Stored | None:
    """What an index file holds; None where it is damaged. whole: with its embeddings."""
    try:
        with safe_open(path, "pt") as file:
            said = json.loads(file.metadata()["index"])
            embeddings = file.get_tensor("embeddings") if whole else torch.empty(0, 0)
        return _Stored(embeddings, said["digests"], said["seconds"], said["skipped"])
    except Exception:  # of many kinds, by what is damaged; it is made again
        return None


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
