"""Evaluation of a corpus, decoding, and the cost of an epoch on the published corpora."""
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import torch

from corrlib.ahead import load_ahead
from corrlib.audio import read_clip
from corrlib.backbones import build_backbone
from corrlib.batches import Items, WaveformAudio
from corrlib.benchmarks.measure import DEVICE, in_turns, row
from corrlib.benchmarks.models import WORDS, _roberta
from corrlib.clips.corpus import build
from corrlib.dual_encoder import DualEncoder
from corrlib.evaluate import embed

# published facts: clips and mean seconds (WavCaps' card; ClothoV2 and AudioCaps as published), captions a clip
PUBLISHED = {"ClothoV2": (3839, 22.4, 5), "AudioCaps": (49838, 9.9, 1), "WavCaps: AudioSet": (108317, 10.0, 1),
             "WavCaps: SoundBible": (1232, 13.12, 1), "WavCaps: BBC": (31201, 115.04, 1),
             "WavCaps: FreeSound": (262300, 85.98, 1)}


def _corpus(folder, clips, seconds, rate_hz, captions=5):
    """Clips of noise in `folder`, as FLAC, each with `captions`."""
    draw, names = np.random.default_rng(0), [f"{i:03d}.flac" for i in range(clips)]
    for name in names:
        soundfile.write(Path(folder) / name, 0.1 * draw.standard_normal(int(seconds * rate_hz)), rate_hz)
    files = pd.DataFrame({"key": names, "path": [str(Path(folder) / n) for n in names], "start_seconds": 0.0,
                          "duration_seconds": float(seconds)})
    texts = pd.DataFrame({"key": np.repeat(names, captions), "text": [WORDS[i % 5] for i in range(clips * captions)]})
    return build("noise", "evaluation", files, texts)


def evaluation(name, clips, repeats):
    """Embedding a corpus of five captions a clip: each clip once, beside its audio once for every caption."""
    with tempfile.TemporaryDirectory() as folder:
        encoder = DualEncoder(build_backbone(name), _roberta(256), 256).to(DEVICE).eval()
        corpus = _corpus(folder, clips, 10, encoder.backbone.sample_rate_hz)
        items, audio = Items(corpus), WaveformAudio(corpus, encoder.backbone.sample_rate_hz, 10.0)

        @torch.no_grad()
        def once_a_caption():
            for start in range(0, items.captions, 8):
                rows = items.clip_of_caption[start:start + 8]
                audio.embed(encoder, audio.collate([audio.read(p) for p in audio.places(rows)]))
                encoder.embed_captions(items.texts[start:start + 8])

        found = in_turns({"ours": lambda: embed(encoder, audio, items, batch=8), "usual": once_a_caption}, repeats)
    return pd.DataFrame([row("evaluation", f"{name}, {clips} clips of 10 s, five captions each", found,
                             "audio once a caption")])


def decoding(clips, repeats, workers=2, rate_hz=44100, to_hz=32000):
    """Ten seconds of each clip of thirty, resampled: only that part, beside all of it; and by threads, beside by none."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = _corpus(folder, clips, 30, rate_hz, 1)
        audio = WaveformAudio(corpus, to_hz, 10.0)
        paths = corpus.clips["path"].tolist()

        def by(threads):
            list(load_ahead(audio, [(None, [audio.places(range(clips))])], threads))

        part = in_turns({"ours": lambda: by(0), "usual": lambda: [read_clip(p, 0.0, None, to_hz)[:10 * to_hz]
                                                                  for p in paths]}, repeats)
        threads = in_turns({"ours": lambda: by(workers), "usual": lambda: by(0)}, repeats)
    return pd.DataFrame([row("decoding", f"10 s of {clips} FLAC files of 30 s", part, "the whole file"),
                         row("decoding", f"the same by {workers} threads", threads, "no threads")])


def merged_epoch(crop_seconds=30.0, short_share=0.351, short_seconds=4.09):
    """Seconds of audio that an epoch of ClothoV2 + AudioCaps + WavCaps computes, beside every item padded to the crop.

    A clip is padded to whole seconds (half a second more on average) and encoded once for all of its captions. How long
    FreeSound's clips are beyond their mean is published only in part: of its clips `short_share` have no more than 10 s
    (`short_seconds` on average). The rest is taken as at least the crop (`at_most`, an upper bound) and as 10 s
    (`at_least`). Returns one row a corpus and `all`, with both as shares of the padded epoch.
    """
    rows = []
    for corpus, (clips, mean, captions) in PUBLISHED.items():
        low = high = clips * min(mean + 0.5, crop_seconds)
        if mean > crop_seconds and corpus.endswith("FreeSound"):
            short = short_share * clips * (short_seconds + 0.5)
            low, high = (short + (1 - short_share) * clips * s for s in (min(10.0, crop_seconds), crop_seconds))
        rows.append({"corpus": corpus, "padded": clips * captions * crop_seconds, "at_least": low, "at_most": high})
    table = pd.DataFrame(rows)
    total = table.drop(columns="corpus").sum()
    table.loc[len(table)] = ["all", *total]
    return table.assign(**{name: table[name] / table["padded"] for name in ("at_least", "at_most")})
