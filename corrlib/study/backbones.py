"""Every backbone by name: its family, the notebook that trains it, the checkpoint that is published for it.

The one list of backbones for whatever plans a study or checks parameters, which loads no network. What a name builds
is in `PRESETS` of corrlib.models.backbones, which has an entry for each name here.
"""

import difflib
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """Backbones of one network: what it is called in prose, its stage-1 notebook, who publishes its checkpoints."""

    title: str
    notebook: str
    published_at: str


FAMILIES = {
    "passt": Family("PaSST", "02_stage1_passt", "releases of kkoutini/PaSST"),
    "atst": Family("ATST-Frame", "03_stage1_atst", "Audio-WestlakeU/audiossl"),
    "mn": Family("MN", "04_stage1_mn", "release v0.0.1 of fschmid56/EfficientAT"),
}


@dataclass(frozen=True)
class Entry:
    """A backbone: its family, and the file of its published weights (empty: there is none, as for the tiny ones)."""

    family: str
    published_file: str = ""


BACKBONES = {
    "passt_s16": Entry("passt", "passt-s-f128-p16-s16-ap.468.pt"),
    "passt_s10": Entry("passt", "passt-s-f128-p16-s10-ap.476-swa.pt"),
    "atst_base": Entry("atst", "atstframe_base.ckpt"),
    "mn04": Entry("mn", "mn04_as_mAP_432.pt"),
    "mn10": Entry("mn", "mn10_as_mAP_471.pt"),
    "mn20": Entry("mn", "mn20_as_mAP_478.pt"),
    "mn40": Entry("mn", "mn40_as_ext_mAP_487.pt"),
    "passt_tiny": Entry("passt"),
    "atst_tiny": Entry("atst"),
    "mn_tiny": Entry("mn"),
}


HUB = "hf:"  # before the folder or hub name of an audio encoder of transformers (see corrlib.models.hub)
OF_HUB = Family("an audio encoder of transformers", "04_stage1_other", "huggingface.co")


def slug(backbone: str) -> str:
    """A backbone's name as part of a run's: that of a model of transformers without its owner and what else it has."""
    if not backbone.startswith(HUB):
        return backbone
    return "hf-" + re.sub(r"[^a-z0-9.]+", "-", backbone.rstrip("/").rpartition("/")[2].lower()).strip("-.")


def published_weights(backbone: str) -> str:
    """Where `make data` puts the published weights of a backbone; "" where there are none, as for the tiny ones."""
    file = BACKBONES[backbone].published_file if backbone in BACKBONES else ""
    return f"weights/{file}" if file else ""


def family(backbone: str) -> Family:
    """The family of a backbone; ValueError names the known backbone that is most like an unknown one."""
    if backbone.startswith(HUB):
        return OF_HUB
    if backbone not in BACKBONES:
        close = difflib.get_close_matches(backbone, list(BACKBONES), n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(BACKBONES)}"
        raise ValueError(f"unknown backbone '{backbone}'; {hint}")
    return FAMILIES[BACKBONES[backbone].family]
