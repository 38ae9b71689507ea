"""Dual encoders of runs: built from parameters, kept in a run's folder, built again from it."""

import torch
from safetensors.torch import save_file

from corrlib.corpora.splits import Corpora
from corrlib.files import read_tensors, replace_with
from corrlib.models.backbone import Backbone
from corrlib.models.backbones import build_backbone
from corrlib.models.dual_encoder import DualEncoder
from corrlib.models.text import TextEncoder, build_text_encoder, load_text_encoder
from corrlib.study import runs
from corrlib.study.backbones import HUB
from corrlib.study.parameters import StageOneParameters

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def build_encoder(parameters: StageOneParameters, corpora: Corpora) -> DualEncoder:
    """The stage-1 dual encoder: published weights where the parameters name them, else seeded random ones."""
    torch.manual_seed(parameters.seed)
    backbone = build_backbone(parameters.backbone)
    if parameters.initialisation:
        torch.manual_seed(parameters.draw_seed())
    if parameters.weights:
        backbone.load_published(parameters.weights)
    text = build_text_encoder(
        parameters.text_encoder,
        corpora.items("development").texts,
        parameters.text_weights,
        parameters.text_dropout,
        max_tokens=parameters.max_tokens,
        clean_captions=parameters.clean_captions,
    )
    return _encoder(parameters, backbone, text)


def _encoder(parameters: StageOneParameters, backbone: Backbone, text: TextEncoder) -> DualEncoder:
    encoder = DualEncoder(
        backbone,
        text,
        parameters.embedding_size,
        parameters.whole_segments,
        parameters.head_layers,
        parameters.audio_layers,
    ).to(DEVICE)
    encoder.train_only(parameters.train_audio, parameters.train_text)
    return encoder


def rebuild_encoder(study: str, run: str) -> DualEncoder:
    """The dual encoder of a finished stage-1 or stage-2 run, with its weights."""
    root = stage_one_of(study, run)
    parameters = runs.read_parameters(study, root, StageOneParameters)
    text = load_text_encoder(
        runs.artefact(study, root, "text"), max_tokens=parameters.max_tokens, clean_captions=parameters.clean_captions
    )
    if parameters.backbone.startswith(HUB):
        from corrlib.models.hub import rebuild_hub  # see build_backbone

        backbone = rebuild_hub(runs.artefact(study, root, "audio"))
    else:
        backbone = build_backbone(parameters.backbone)
    encoder = _encoder(parameters, backbone, text)
    for name in dict.fromkeys((root, run) if encoder.fixed_towers else (run,)):
        load_weights(encoder, study, name)
    return encoder


def stage_one_of(study: str, run: str) -> str:
    """The stage-1 run at which a chain of students begins."""
    parameters = runs.read_manifest(study, run)["parameters"]
    return stage_one_of(study, parameters["student"]) if "student" in parameters else run


def save_model(run: runs.RunFolder, encoder: DualEncoder) -> None:
    """Weights, text configuration and tokenizer of a trained encoder into its run's folder, and what else rebuilds it.

    Of stage 2 only weights that training can change: what no student ever trains lies with its stage-1 run.
    """
    state = encoder.trained_state() if hasattr(run.parameters, "student") else encoder.state_dict()
    state = {name: value.contiguous() for name, value in state.items()}
    replace_with(run.path("model.safetensors"), lambda path: save_file(state, path))
    encoder.text.save(run.path("text"))
    encoder.backbone.save(run.path("audio"))


def load_weights(encoder: DualEncoder, study: str, run: str) -> None:
    """Load a finished run's weights strictly into an encoder; ValueError where it is not of the same shape.

    A stage-2 run holds no weights of a tower that is not trained: those of the encoder stay.
    """
    path = runs.artefact(study, run, "model.safetensors")
    state, own = read_tensors(path), encoder.state_dict()
    if "student" in runs.read_manifest(study, run)["parameters"]:
        state = {**{name: own[name] for name in own.keys() - encoder.trained_state().keys()}, **state}
    wrong = [k for k in sorted({*state, *own}) if k not in state or k not in own or state[k].shape != own[k].shape]
    if wrong:
        raise ValueError(f"{path} does not fit this encoder; the first keys that differ: {wrong[:3]}")
    encoder.load_state_dict(state)
