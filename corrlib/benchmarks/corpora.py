"""Evaluation of a corpus, decoding, and the cost of an epoch on the published corpora."""

import math
import statistics
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import torch

from corrlib.benchmarks.measure import DEVICE, in_turns, row
from corrlib.benchmarks.models import _roberta, captions_of, training_gflop
from corrlib.corpora.ahead import load_ahead
from corrlib.corpora.audio import read_clip
from corrlib.corpora.batches import Items, WaveformAudio
from corrlib.corpora.corpus import Corpus, build
from corrlib.evaluation.evaluate import embed
from corrlib.models.backbones import build_backbone
from corrlib.models.dual_encoder import DualEncoder

# published facts: clips and captions a clip (ClothoV2 and AudioCaps as published, WavCaps' card)
PUBLISHED = {
    "ClothoV2": (3839, 5),
    "AudioCaps": (49838, 1),
    "WavCaps: AudioSet": (108317, 1),
    "WavCaps: SoundBible": (1232, 1),
    "WavCaps: BBC": (31201, 1),
    "WavCaps: FreeSound": (262300, 1),
}
# of FreeSound's clips in WavCaps: the mean, the share of up to ten seconds, and the mean of these
FREESOUND_MEAN, FREESOUND_SHORT, FREESOUND_SHORT_MEAN = 85.98, 0.351, 4.09


def corpus_of_noise(folder: str, clips: int, seconds: float, rate_hz: int, captions: int = 5) -> Corpus:
    """Clips of noise in `folder`, as FLAC, each with `captions`."""
    draw, names = np.random.default_rng(0), [f"{i:03d}.flac" for i in range(clips)]
    for name in names:
        soundfile.write(Path(folder) / name, 0.1 * draw.standard_normal(int(seconds * rate_hz)), rate_hz)
    files = pd.DataFrame(
        {
            "key": names,
            "path": [str(Path(folder) / n) for n in names],
            "start_seconds": 0.0,
            "duration_seconds": float(seconds),
        }
    )
    texts = pd.DataFrame({"key": np.repeat(names, captions), "text": captions_of(clips * captions)})
    return build("noise", "evaluation", files, texts)


def evaluation(name: str, clips: int, repeats: int) -> pd.DataFrame:
    """Embedding a corpus of five captions a clip: each clip once, beside its audio once for every caption."""
    with tempfile.TemporaryDirectory() as folder:
        encoder = DualEncoder(build_backbone(name), _roberta(256), 256).to(DEVICE).eval()
        corpus = corpus_of_noise(folder, clips, 10, encoder.backbone.sample_rate_hz)
        items, audio = Items(corpus), WaveformAudio(corpus, encoder.backbone.sample_rate_hz, 10.0)

        @torch.no_grad()
        def once_a_caption() -> None:
            for start in range(0, items.captions, 8):
                rows = items.clip_of_caption[start : start + 8]
                encoder.embed_batch(audio.collate([audio.read(p) for p in audio.places(rows)]))
                encoder.embed_captions(items.texts[start : start + 8])

        found = in_turns({"ours": lambda: embed(encoder, audio, items, batch=8), "usual": once_a_caption}, repeats)
    return pd.DataFrame(
        [row("evaluation", f"{name}, {clips} clips of 10 s, five captions each", found, "audio once a caption")]
    )


def decoding(clips: int, repeats: int, workers: int = 2, rate_hz: int = 44100, to_hz: int = 32000) -> pd.DataFrame:
    """Ten seconds of each clip of thirty, resampled: only that part, beside all of it; and by threads, beside by
    none.
    """
    with tempfile.TemporaryDirectory() as folder:
        corpus = corpus_of_noise(folder, clips, 30, rate_hz, 1)
        audio = WaveformAudio(corpus, to_hz, 10.0)
        paths = corpus.clips["path"].tolist()

        def by(threads: int) -> None:
            list(load_ahead(audio, [(None, [audio.places(range(clips))])], threads))

        part = in_turns(
            {"ours": lambda: by(0), "usual": lambda: [read_clip(p, 0.0, None, to_hz)[: 10 * to_hz] for p in paths]},
            repeats,
        )
        threads = in_turns({"ours": lambda: by(workers), "usual": lambda: by(0)}, repeats)
    return pd.DataFrame(
        [
            row("decoding", f"10 s of {clips} FLAC files of 30 s", part, "the whole file"),
            row("decoding", f"the same by {workers} threads", threads, "no threads"),
        ]
    )


def freesound_seconds(quantiles: int = 2000) -> np.ndarray:
    """Lengths of FreeSound's clips in WavCaps (quantiles,), as far as they are published.

    The log-normal distribution with the published mean and the published share of short clips; it gives these a mean of
    4.3 s, published is 4.09 s.
    """
    normal = statistics.NormalDist()
    z = -normal.inv_cdf(FREESOUND_SHORT)
    # mu + sigma**2 / 2 = log mean and mu - z sigma = log 10
    sigma = -z + math.sqrt(z * z + 2 * math.log(FREESOUND_MEAN / 10))
    mu = math.log(10) + z * sigma
    return np.exp([mu + sigma * normal.inv_cdf((i + 0.5) / quantiles) for i in range(quantiles)])


def lengths_of(corpus: str, long_seconds: float | None = None) -> np.ndarray:
    """Seconds of a corpus's clips, each standing for equally many; long_seconds: of FreeSound's clips beyond ten."""
    if corpus.endswith("FreeSound"):
        lengths = freesound_seconds()
        return lengths if long_seconds is None else np.where(lengths > 10, long_seconds, lengths)
    return {
        "ClothoV2": np.linspace(15, 30, 301),
        "WavCaps: BBC": np.array([115.04]),
        "WavCaps: SoundBible": np.array([13.12]),
    }.get(corpus, np.array([10.0]))


def merged_epoch(name: str = "passt_s16", crop_seconds: int = 30) -> pd.DataFrame:
    """GFLOP of the audio in a training epoch of ClothoV2 + AudioCaps + WavCaps, beside every item padded to the crop.

    Padded: every caption's clip as three segments of 10 s, of which the backbone computes every token to the end.
    Ours: a clip up to a segment is padded to whole seconds, a longer one to whole segments; once for all of its
    captions. How long FreeSound's clips are is published in part: `expected` takes `freesound_seconds`, `at_least` and
    `at_most` take all that are beyond ten seconds as ten and as the crop; `whole_seconds` is as expected, with
    `whole_segments` off. Returns one row a corpus and `all`; these four as shares of padded.
    """
    short = np.array([0.0, *training_gflop(name)])  # of 0, 1, ... 10 s
    whole, usual = short[-1], training_gflop(name, every_token=True)[-1]

    def ours(seconds: np.ndarray, whole_segments: bool = True) -> float:
        seconds = np.minimum(seconds, crop_seconds)
        full, tail = np.divmod(np.ceil(seconds).astype(int), 10)
        if whole_segments:
            return np.where(seconds > 10, whole * np.ceil(seconds / 10), whole * full + short[tail]).mean()
        return (whole * full + short[tail]).mean()

    rows = []
    for corpus, (clips, captions) in PUBLISHED.items():
        shares = {"at_least": 10.0, "expected": None, "at_most": crop_seconds}
        rows.append(
            {
                "corpus": corpus,
                "padded": clips * captions * usual * math.ceil(crop_seconds / 10),
                **{kind: clips * ours(lengths_of(corpus, long)) for kind, long in shares.items()},
                "whole_seconds": clips * ours(lengths_of(corpus), whole_segments=False),
            }
        )
    table = pd.DataFrame(rows)
    table.loc[len(table)] = ["all", *table.drop(columns="corpus").sum()]
    return table.assign(**{kind: table[kind] / table["padded"] for kind in table.columns[2:]})
