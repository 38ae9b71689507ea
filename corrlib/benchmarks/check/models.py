"""The models that a study trains, with random weights of the sizes that it names."""

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from corrlib.benchmarks.gpu.probe import LARGE, VOCABULARY
from corrlib.benchmarks.models import captions_of
from corrlib.models.backbone import Backbone
from corrlib.models.backbones import build_backbone
from corrlib.models.dual_encoder import DualEncoder
from corrlib.models.text import (
    TINY,
    TextEncoder,
    build_text_encoder,
    load_text_encoder,
    random_roberta,
    train_tokenizer,
)
from corrlib.study.backbones import HUB
from corrlib.study.parameters import StageOneParameters, TrainingParameters
from corrlib.study.plan import Plan

Tower = Literal["audio", "text"]
OWN = {  # the parameters that decide what a step of one tower costs, beside those of both
    "audio": ("backbone", "train_audio", "audio_layers", "cache_log_mel"),
    "text": ("text_encoder", "text_weights", "text_dropout", "max_tokens", "clean_captions", "train_text"),
}
BOTH = ("head_layers", "embedding_size", "precision", "checkpoint_activations", "threads")
ROBERTA = {"roberta-large": LARGE, "roberta-base": {}}  # what is known of text encoders that are not at hand


@dataclass(frozen=True)
class Sizes:
    """Bytes of a tower's weights and buffers, and of those parameters that are trained."""

    weights: int
    trained: int


def training_of(plan: Plan, plans: dict[str, Plan]) -> StageOneParameters:
    """The parameters by which a run of either stage trains, with the model of the stage-1 run at which it begins."""
    root = plan
    while "student" in root.parameters:
        root = plans[root.parameters["student"]]
    own = {name: plan.parameters[name] for name in TrainingParameters.model_fields if name not in ("study", "run")}
    return StageOneParameters(**{**root.parameters, **own})


def key_of(p: StageOneParameters, tower: Tower) -> tuple:
    """What decides how long a step of a tower takes."""
    return tower, *(repr(getattr(p, name)) for name in (*OWN[tower], *BOTH))


def hears_features(p: StageOneParameters) -> bool:
    """Whether a run trains on features that are computed once."""
    return p.train_audio == "heads"


def reads_features(p: StageOneParameters) -> bool:
    """Whether the features of its captions are computed once."""
    return p.train_text == "heads"


def build(p: StageOneParameters, tower: Tower, device: torch.device) -> DualEncoder:
    """A dual encoder of which one tower is the run's, and the other one so small that it costs next to nothing."""
    with torch.device(device) if device.type == "meta" else nullcontext():
        if tower == "audio":
            backbone, text = _backbone(p.backbone, device), _text("tiny", "", 0.0, device)
        else:
            backbone, text = build_backbone("mn_tiny"), _text(p.text_encoder, p.text_weights, p.text_dropout, device)
            text.max_tokens, text.clean_captions = p.max_tokens, p.clean_captions
        layers = p.audio_layers if tower == "audio" else []
        encoder = DualEncoder(backbone, text, p.embedding_size, p.whole_segments, p.head_layers, layers)
    if tower == "audio":
        encoder.train_only(p.train_audio, "all")
    else:
        encoder.train_only("heads", p.train_text)
    return encoder if device.type == "meta" else encoder.to(device)


def _backbone(name: str, device: torch.device) -> Backbone:
    if not name.startswith(HUB):
        try:
            return build_backbone(name)
        except RuntimeError:  # a front end that looks at its filters when it is built, on the meta device
            if device.type != "meta":
                raise
    with torch.device("cpu"):
        return build_backbone(name).to(device)


def _text(name: str, weights: str, dropout: float, device: torch.device) -> TextEncoder:
    """The text encoder `name`; where its files are not at hand, RoBERTa of its size, or of the large one's."""
    if name == "tiny":
        tokenizer = train_tokenizer(captions_of(500))
        return TextEncoder(random_roberta(len(tokenizer), dropout, **TINY), tokenizer)
    if name == "minilm" and not weights:
        with torch.device("cpu"):
            return build_text_encoder(name, dropout=dropout).to(device)
    if weights and all((Path(weights) / file).is_file() for file in ("config.json", "tokenizer.json")):
        return load_text_encoder(weights)
    tokenizer, sizes = train_tokenizer(captions_of(500)), ROBERTA.get(name, LARGE)
    return TextEncoder(random_roberta(VOCABULARY, dropout, positions=514, **sizes), tokenizer)


def tower_of(encoder: DualEncoder, tower: Tower) -> list[nn.Module]:
    """The modules of a tower: network and projection."""
    return (
        [encoder.backbone, encoder.audio_projection] if tower == "audio" else [encoder.text, encoder.caption_projection]
    )


def sizes_of(encoder: DualEncoder, tower: Tower) -> Sizes:
    """How large a tower is."""
    tensors = [t for module in tower_of(encoder, tower) for t in (*module.parameters(), *module.buffers())]
    return Sizes(
        sum(tensor.nbytes for tensor in tensors), sum(tensor.nbytes for tensor in tensors if tensor.requires_grad)
    )


def distinct(parameters: Iterable[StageOneParameters], tower: Tower) -> dict[tuple, StageOneParameters]:
    """{key: parameters} of the different towers among those of some runs."""
    found: dict[tuple, StageOneParameters] = {}
    for p in parameters:
        found.setdefault(key_of(p, tower), p)
    return found
