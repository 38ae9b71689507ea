"""Backbones by name: the published ones and tiny presets of the same classes."""

from typing import Any

from corrlib.models.atst import AtstFrame
from corrlib.models.backbone import Backbone
from corrlib.models.mobilenet import MobileNet
from corrlib.models.passt import PaSST
from corrlib.study.backbones import BACKBONES, HUB, family

# The tiny presets hear the built-in corpus at its own 16 kHz; fewer and longer frames keep them quick. Their log-mels
# have about zero mean and unit variance there. No frequency warping: it would blur pitch, which captions name.
# PaSST's patches span the mel axis: at this size a fine grid in time is worth more than one in frequency.
TINY_MEL: dict[str, Any] = {
    "rate_hz": 16000,
    "n_fft": 512,
    "window": 400,
    "hop": 320,
    "f_max": 7800.0,
    "jitter_low": 10,
    "jitter_high": 400,
}
TINY_BLOCKS = (
    (8, 3, 8, 16, False, "RE", 2),
    (16, 3, 48, 24, False, "RE", 2),
    (24, 3, 72, 24, True, "HS", 1),
    (24, 5, 96, 40, True, "HS", 2),
    (40, 3, 120, 40, True, "HS", 1),
)

# what each name of corrlib.study.backbones builds: a network and arguments of its constructor
PRESETS: dict[str, tuple[type[Backbone], dict[str, Any]]] = {
    "passt_s16": (PaSST, {}),
    "passt_s10": (PaSST, {"stride": (10, 10), "frames": 998}),
    "atst_base": (AtstFrame, {}),
    "mn04": (MobileNet, {"width": 0.4}),
    "mn10": (MobileNet, {"width": 1.0}),
    "mn20": (MobileNet, {"width": 2.0}),
    "mn40": (MobileNet, {"width": 4.0}),
    "passt_tiny": (
        PaSST,
        {
            "width": 64,
            "depth": 3,
            "heads": 4,
            "mlp_ratio": 2,
            "patch": (64, 4),
            "stride": (64, 4),
            "mels": 64,
            "frames": 500,
            "patchout": (30, 0),
            "tags": None,
            "front_end": TINY_MEL,
        },
    ),
    "atst_tiny": (
        AtstFrame,
        {
            "width": 80,
            "depth": 3,
            "heads": 4,
            "mlp_ratio": 2,
            "positions": 125,
            "warp": 1.0,
            "front_end": {"rate_hz": 16000, "hop": 320, "decibels": (-27.5, 7.7)},
        },
    ),
    "mn_tiny": (
        MobileNet,
        {"width": 1.0, "blocks": TINY_BLOCKS, "mels": 64, "tags": None, "last": 6, "front_end": TINY_MEL},
    ),
}


def build_backbone(name: str, **overrides: Any) -> Backbone:
    """A Backbone with random weights, by its name; `overrides` are constructor arguments of its class.

    One of transformers, `hf:<folder or hub name>`, comes with its published weights and takes none.
    ValueError names the known backbone that is most like an unknown one.
    """
    if name.startswith(HUB):
        from corrlib.models.hub import load_hub  # loads transformers' audio models, which no other backbone needs

        return load_hub(name)
    publisher = family(name).published_at
    network, arguments = PRESETS[name]
    backbone = network(**{**arguments, **overrides})
    backbone.published_file, backbone.published_at = BACKBONES[name].published_file, publisher
    return backbone
