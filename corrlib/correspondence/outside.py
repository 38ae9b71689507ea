"""Embeddings of teachers that no run has trained: CLAP models of transformers, and files of any framework's.

Clips and captions are matched by their ids, never by their order. What a CLAP model embeds is computed once and kept.
"""

import json
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open

from corrlib.corpora.batches import WaveformAudio
from corrlib.corpora.splits import Corpora
from corrlib.evaluation.embeddings import Embeddings, read_embeddings, save_embeddings
from corrlib.files import cache_of, derived, digest, digest_folder
from corrlib.study.code import closure_fingerprint
from corrlib.study.outside import parts

SPLITS = ("development", "validation", "evaluation")
LONGEST = 30.0  # seconds of a clip that are heard where a run does not say it (05)
SHOWN = 3  # ids that an error names
CAPTIONS = 64  # that are embedded at a time


def outside_embeddings(teacher: str, corpora: Corpora, split: str) -> Embeddings:
    """(clip_embeddings (N, E), caption_embeddings (C, E)) of a split as it is used, float32 of unit length.

    teacher: `clap:<folder or hub name>`, any ClapModel with its processor, or `embeddings:<file>`, a safetensors file
    of `clips` (N, E) and `captions` (C, E) whose metadata holds their ids as JSON lists, `clip_ids` and `caption_ids`.
    Ids are those of the corpus's tables; a file may hold several splits. ValueError names ids that are missing, there
    twice, or of no clip and caption of the corpus; FileNotFoundError says what is not there.
    """
    kind, place = parts(teacher)
    if kind == "embeddings":
        return _of_file(Path(place), corpora, split)
    return _of_clap(place, corpora, split)


def _of_file(path: Path, corpora: Corpora, split: str) -> Embeddings:
    tensors, ids = _read(path)
    whole = [corpora.whole(one) for one in SPLITS]
    known = {
        "clips": {one for corpus in whole for one in corpus.clips["clip_id"]},
        "captions": {one for corpus in whole for one in corpus.captions["caption_id"]},
    }
    items = corpora.items(split)
    wanted = {"clips": items.clip_ids, "captions": items.caption_ids}
    clips, captions = (
        _rows(f"{path}, {name}", tensors[name], ids[name], wanted[name], known[name]) for name in ("clips", "captions")
    )
    if clips.shape[1] != captions.shape[1]:
        raise ValueError(
            f"{path}: clips have {clips.shape[1]} dimensions and captions {captions.shape[1]}; give both of one space"
        )
    return clips, captions


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, list[str]]]:
    """({clips, captions}, their ids) of a file; errors name what it lacks."""
    if not path.is_file():
        raise FileNotFoundError(f"the teacher's file {path} does not exist; give a safetensors file of embeddings")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in ("clips", "captions") if name in file.keys()}
            ids = {"clips": json.loads(metadata["clip_ids"]), "captions": json.loads(metadata["caption_ids"])}
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{path} is no safetensors file with ids ({str(error)[:100]}); write it anew") from None
    except KeyError as error:
        raise ValueError(
            f"{path} has no {error.args[0]!r} in its metadata; save clip_ids and caption_ids there, as JSON lists"
        ) from None
    if lacking := [name for name in ("clips", "captions") if name not in tensors]:
        raise ValueError(f"{path} holds no tensor '{lacking[0]}'; it needs clips (N, E) and captions (C, E)")
    return tensors, ids


def _rows(where: str, values: torch.Tensor, ids: Any, wanted: Sequence[str], known: set[str]) -> torch.Tensor:
    """The rows of `wanted` ids, float32 of unit length; ValueError names ids that do not fit."""
    if values.ndim != 2 or not isinstance(ids, list) or len(ids) != len(values):
        raise ValueError(f"{where}: embeddings are {tuple(values.shape)}, but there must be one row for each id")
    doubled = [one for one, count in Counter(ids).items() if count > 1]
    foreign = [one for one in ids if one not in known]
    places = {one: row for row, one in enumerate(ids)}
    missing = [one for one in wanted if one not in places]
    for what, wrong in (("are there twice", doubled), ("are not of this corpus", foreign), ("are missing", missing)):
        if wrong:
            shown = ", ".join(map(str, wrong[:SHOWN]))
            raise ValueError(f"{where}: {len(wrong)} ids {what}, such as {shown}; mend the file")
    rows = values[torch.tensor([places[one] for one in wanted])].float()
    if not bool(torch.isfinite(rows).all()) or not bool(rows.norm(dim=1).gt(0).all()):
        raise ValueError(f"{where}: some embeddings are not finite, or nothing but zeros; write the file anew")
    return F.normalize(rows, dim=1)


def _of_clap(place: str, corpora: Corpora, split: str) -> Embeddings:
    p, fingerprint = corpora.parameters, corpora.fingerprint(split)
    model = digest_folder(place) or place  # a model of the hub is known by its name
    key = digest([model, fingerprint, getattr(p, "clip_seconds", LONGEST), closure_fingerprint((__name__,))])
    path = cache_of(corpora.folder) / f"clap-{key[:16]}.safetensors"

    def compute(part: Path) -> None:
        print(f"embedding the {split} split with {place}, once", flush=True)
        save_embeddings(part, {split: _embed(place, corpora, split)})

    return read_embeddings(derived(path, compute), split)


@torch.no_grad()
def _embed(place: str, corpora: Corpora, split: str) -> Embeddings:
    from transformers import AutoProcessor, ClapModel  # no other teacher needs them

    try:
        model = ClapModel.from_pretrained(place, trust_remote_code=False).eval()
        processor = AutoProcessor.from_pretrained(place, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"'{place}' is no folder or hub name of a CLAP model ({str(error).splitlines()[0][:120]}); "
            "download it, or name another"
        ) from None
    extractor, tokenizer = processor.feature_extractor, processor.tokenizer
    seconds = getattr(corpora.parameters, "clip_seconds", LONGEST)
    audio, items = WaveformAudio(corpora.corpus(split), extractor.sampling_rate, seconds), corpora.items(split)
    whole = int(extractor.sampling_rate * extractor.max_length_s)
    hear = partial(_hear, model, extractor, whole)
    clips = torch.stack([hear(audio.read(part)) for part in audio.places(range(items.clips))])
    captions = []
    for start in range(0, items.captions, CAPTIONS):
        texts = items.texts[start : start + CAPTIONS]
        tokens = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        captions.append(_tensor(model.get_text_features(**tokens)))
    return F.normalize(clips, dim=1), F.normalize(torch.cat(captions), dim=1)


def _hear(model: Any, extractor: Any, whole: int, waveform: np.ndarray) -> torch.Tensor:
    """One clip -> (E,): the mean over its segments of `whole` samples, so that the extractor draws no part of it."""
    pieces = [waveform[start : start + whole] for start in range(0, max(1, len(waveform)), whole)]
    inputs = extractor(pieces, sampling_rate=extractor.sampling_rate, return_tensors="pt")
    inputs["is_longer"] = torch.zeros(len(pieces), 1, dtype=torch.bool)  # the extractor says it of one piece at random
    return F.normalize(_tensor(model.get_audio_features(**inputs)), dim=1).mean(0)


def _tensor(found: Any) -> torch.Tensor:
    """Features as they are, or out of an output object, as transformers gives them from its fifth version on."""
    return found if isinstance(found, torch.Tensor) else found.pooler_output
