"""Features of what is not trained, computed once for a whole split and kept on disk.

A run of nothing but heads then takes seconds, and its numbers are those of training with the frozen networks in place:
a clip's features are the mean over its segments, a caption's those of its pooled tokens, as in evaluation.
"""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from corrlib.corpora.ahead import load_ahead
from corrlib.corpora.batches import AudioSource, FeatureAudio
from corrlib.corpora.splits import Corpora
from corrlib.files import cache_of, derived, digest, read_tensors
from corrlib.models.dual_encoder import DualEncoder
from corrlib.models.precision import autocast
from corrlib.models.text import distinct
from corrlib.study.code import closure_fingerprint

CLIPS, CAPTIONS = 64, 256  # that are computed at a time


def audio_of(encoder: DualEncoder, corpora: Corpora, split: str) -> AudioSource:
    """What gives a batch of a split its audio: features, where the encoder's backbone is not trained.

    Else log-mels or waveforms, as the run's parameters say. Features of all layers are kept in `cache/` of the data
    folder under a name that tells the network with its weights, the data and how it is heard.
    """
    if "backbone" not in encoder.fixed_towers:
        return corpora.audio(split, encoder.backbone)
    p = corpora.parameters
    layers = range(len(encoder.backbone.layers) + 1)
    kept = corpora.keeps_log_mels(split, encoder.backbone)
    heard = [encoder.whole_segments, kept, p.clip_seconds, p.precision, corpora.fingerprint(split)]
    path = _path(corpora, "audio", [digest_of(encoder.backbone), encoder.backbone.front_end.settings(), heard])

    def compute(part: Path) -> None:
        audio, rows = corpora.audio(split, encoder.backbone), torch.arange(corpora.items(split).clips)
        print(f"computing the features of {len(rows)} {split} clips, once", flush=True)
        requests = ((None, [audio.places(some)]) for some in rows.split(CLIPS))
        batches = (batch for _, (batch,) in load_ahead(audio, requests, p.workers))
        _save(part, encoder, (encoder.audio_features(batch, layers) for batch in batches), p.precision)

    features = read_tensors(derived(path, compute))["features"]
    places = torch.arange(features.shape[1]).split([encoder.feature_size_of([layer]) for layer in layers])
    return FeatureAudio(features[:, torch.cat([places[layer] for layer in encoder.audio_layers or (0,)])])


def remember_captions(encoder: DualEncoder, corpora: Corpora, splits: Iterable[str]) -> None:
    """Let an encoder know the features of all captions of some splits, where its text encoder is not trained."""
    if "text" not in encoder.fixed_towers:
        return
    text, network, precision = encoder.text, digest_of(encoder.text), corpora.parameters.precision
    encoder.known_captions, encoder.known_features = {}, None
    known: dict[tuple[int, ...], int] = {}
    features: list[Tensor] = []
    for split in splits:
        counted = text.seen_captions, text.cut_captions
        tokens, _ = distinct(text.tokenize(corpora.items(split).texts))
        text.seen_captions, text.cut_captions = counted  # they count when they are used
        tokens.sort(key=len)
        path = _path(corpora, "captions", [network, text.pooling, precision, tokens])
        derived(path, partial(_embed_captions, encoder=encoder, tokens=tokens, precision=precision))
        rows = sum(map(len, features))
        known |= {tuple(ids): rows + row for row, ids in enumerate(tokens)}
        features.append(read_tensors(path)["features"])
    encoder.known_captions = known
    encoder.known_features = torch.cat(features).to(next(encoder.parameters()).device)


def _embed_captions(path: Path, encoder: DualEncoder, tokens: list[list[int]], precision: str) -> None:
    print(f"computing the features of {len(tokens)} captions, once", flush=True)
    parts = (tokens[i : i + CAPTIONS] for i in range(0, len(tokens), CAPTIONS))
    _save(path, encoder, (encoder.caption_features(some) for some in parts), precision)


def digest_of(network: nn.Module) -> str:
    """Short hash of a network: its class and configuration, and the bytes of its weights."""
    config = getattr(getattr(network, "model", network), "config", None)
    weights = [
        [name, digest(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())]
        for name, value in network.state_dict().items()
    ]
    return digest([type(network).__name__, config.to_dict() if config else None, weights])


def _path(corpora: Corpora, kind: str, made_of: list) -> Path:
    name = digest([*made_of, closure_fingerprint((__name__,))])[:16]
    return cache_of(corpora.folder) / f"features-{kind}-{name}.safetensors"


@torch.no_grad()
def _save(path: Path, encoder: DualEncoder, parts: Iterable[Tensor], precision: str) -> None:
    """Write features (N, D) that are computed in parts, in evaluation mode."""
    was_training = encoder.training
    encoder.eval()
    with autocast(next(encoder.parameters()).device, precision):
        features = torch.cat([part.float().cpu() for part in parts])
    encoder.train(was_training)
    save_file({"features": features}, path)
