"""What the Matches page shows: a block of the matrix, the partial matches, and the clips of both to hear and to see."""

import base64
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from corrlib.explore import Session, matrix, models
from corrlib.explore.sound import mp3_bytes, spectrogram_webp, waveform_of
from corrlib.study import runs

BLOCK, PAIRS, BEST = 100, 200, 10  # clips of the matrix; partial matches; what a caption's and a clip's page list
BYTES_A_SECOND, PICTURE_BYTES, LONGEST_SECONDS = 3500, 6000, 30.0  # of a clip, as corrlib.explore.sound makes them


def open_session(study: str, seed: int) -> Session:
    """The first model of a seed (see `corrlib.explore.models`); FileNotFoundError where none is finished."""
    found = [name for name in models().get(study, []) if name.endswith(f"-seed{seed}")]
    if not found:
        raise FileNotFoundError(
            f"study '{study}' has no finished model of seed {seed} in {runs.root() / study}; run `make reproduce "
            f"STUDY={study}`, or choose another seed"
        )
    return Session(study, found[0])


def write(session: Session, folder: Path, audio: str, most_bytes: int) -> dict[str, Any]:
    """Write sound and picture of the clips that are shown into `folder`; the page's data, fit for JSON.

    Fewer partial matches are shown where the clips of all would take more than `most_bytes`.
    """
    rows, columns = matrix.block(session, min(BLOCK, session.items.clips))
    pairs = session.partial_matches(PAIRS)
    home = session.items.clip_of_caption
    shown = dict.fromkeys(rows.tolist())
    free = most_bytes - sum(_bytes(session, clip, audio) for clip in shown)
    kept = 0
    for clip, caption in zip(pairs["clip"], pairs["caption"], strict=True):
        new = {int(clip), int(home[caption])} - set(shown)
        free -= sum(_bytes(session, one, audio) for one in new)
        if free < 0:
            break
        shown |= dict.fromkeys(sorted(new))
        kept += 1
    pairs = pairs.iloc[:kept]
    return _Page(session, list(shown), rows, columns).content(pairs, _files(session, shown, folder, audio), audio)


def _bytes(session: Session, clip: int, audio: str) -> float:
    seconds = session.corpus.clips["duration_seconds"].iloc[clip]
    seconds = min(seconds, LONGEST_SECONDS) if seconds > 0 else LONGEST_SECONDS
    return PICTURE_BYTES + (seconds * BYTES_A_SECOND if audio != "none" else 0)


def _files(session: Session, clips: Iterable[int], folder: Path, audio: str) -> dict[int, dict[str, Any]]:
    """{clip row: its files' names below the site and its seconds}. The names are numbers: a corpus's say too much."""
    folder.mkdir(parents=True, exist_ok=True)

    def make(clip: int) -> dict[str, Any]:
        waveform = waveform_of(session.corpus, clip, LONGEST_SECONDS)
        (folder / f"{clip}.webp").write_bytes(spectrogram_webp(waveform))
        if audio != "none":
            (folder / f"{clip}.mp3").write_bytes(mp3_bytes(waveform))
        sound = f"{folder.name}/{clip}.mp3" if audio != "none" else None
        return {"sound": sound, "picture": f"{folder.name}/{clip}.webp", "seconds": round(len(waveform) / 16000, 2)}

    clips = list(clips)
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(clips, pool.map(make, clips), strict=True))


class _Page:
    """The page's data, in which clips and captions have numbers of its own: their places in its lists."""

    def __init__(self, session: Session, shown: list[int], rows: torch.Tensor, columns: torch.Tensor) -> None:
        self.session, self.shown, self.rows, self.columns = session, shown, rows, columns
        self.clips: dict[int, int] = {}
        self.captions: dict[int, int] = {}

    def content(self, pairs: Any, files: dict[int, dict[str, Any]], audio: str) -> dict[str, Any]:
        """See `write`. Captions of shown clips come with the clips that they find; other clips have a name alone."""
        s, home = self.session, self.session.items.clip_of_caption
        for clip in self.shown:
            self._clip(clip)
        own = torch.isin(home, torch.tensor(self.shown)).nonzero()[:, 0].tolist()
        asked = [*self.columns.tolist(), *(int(c) for c in pairs["caption"])]
        for caption in (*asked, *own):
            self._caption(caption)
        found = {caption: self._best_clips(caption) for caption in dict.fromkeys(asked)}
        described = {clip: self._best_captions(clip) for clip in self.shown}
        shown_pairs = [self._pair(pair) for pair in pairs.itertuples()]
        own_clip = {c: self._clip(int(home[c])) for c in self.captions}
        captions_of: dict[int, list[int]] = {}
        for caption, number in self.captions.items():
            captions_of.setdefault(int(home[caption]), []).append(number)
        return {
            "title": f"Study {s.study}, model {s.model}: {s.items.clips:,} clips and {s.items.captions:,} captions of "
            f"{s.parameters.corpus} ({s.split}); the estimate is that of {len(s.teachers)} stage-1 models.",
            "study": s.study,
            "key": f"{s.study}/{s.split}/{s.manifest['data_fingerprint']}",
            "audio": audio != "none",
            "truth": s.truth is not None,
            "clips": [
                {
                    "name": s.name(clip),
                    "captions": captions_of.get(clip, []),
                    "labels": s.labels(clip),
                    "best": described.get(clip, []),
                    **files.get(clip, {"sound": None, "picture": None, "seconds": None}),
                }
                for clip in self.clips
            ],
            "captions": [
                {
                    "id": s.items.caption_ids[c],
                    "text": s.items.texts[c],
                    "clip": own_clip[c],
                    "best": found.get(c, []),
                }
                for c in self.captions
            ],
            "pairs": shown_pairs,
            "block": self._block(),
        }

    def _clip(self, row: int) -> int:
        return self.clips.setdefault(row, len(self.clips))

    def _caption(self, row: int) -> int:
        return self.captions.setdefault(row, len(self.captions))

    def _true(self, clip: int, caption: int) -> float | None:
        truth = self.session.truth
        return None if truth is None else rounded(truth[clip, caption])

    def _best_clips(self, caption: int) -> list[list[Any]]:
        """[[clip, estimated, true]] of a caption, most probable first."""
        s = self.session
        value, clips = s.clip_given_caption[:, caption].topk(min(BEST, s.items.clips))
        return [
            [self._clip(c), rounded(v), self._true(c, caption)]
            for c, v in zip(clips.tolist(), value.tolist(), strict=True)
        ]

    def _best_captions(self, clip: int) -> list[list[Any]]:
        """[[caption, estimated, true]] of a clip, most probable first."""
        table: Any = self.session.best_captions(clip, BEST).itertuples()
        return [[self._caption(r.caption), rounded(r.estimated), self._true(clip, r.caption)] for r in table]

    def _pair(self, pair: Any) -> dict[str, Any]:
        s, own = self.session, int(self.session.items.clip_of_caption[pair.caption])
        return {
            "clip": self._clip(pair.clip),
            "caption": self._caption(pair.caption),
            "estimated": rounded(pair.estimated),
            "estimated_own": rounded(s.clip_given_caption[own, pair.caption]),
            "disagreement": rounded(pair.disagreement),
            "similarity": rounded(pair.similarity),
            "true": self._true(pair.clip, pair.caption),
            "phrases": [
                [phrase, None if np.isnan(drop) else rounded(drop)] for phrase, drop in s.phrases(pair.text, pair.clip)
            ],
            "claims": s.claims(pair.clip, pair.caption),
        }

    def _block(self) -> dict[str, Any]:
        """The matrices of the block: float32 in base64, clip by clip."""
        s = self.session
        kinds = {"estimated": "clip", **({"true": "true"} if s.truth is not None else {})}
        values = {name: matrix.values(s, kind)[self.rows][:, self.columns] for name, kind in kinds.items()}
        return {
            "clips": [self.clips[r] for r in self.rows.tolist()],
            "captions": [self.captions[c] for c in self.columns.tolist()],
            **{k: base64.b64encode(v.numpy().astype("<f4").tobytes()).decode() for k, v in values.items()},
        }


def rounded(value: Any) -> float:
    """Four digits that count."""
    return float(f"{float(value):.4g}")
