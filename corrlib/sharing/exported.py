"""A model as a folder that needs nothing else: what rebuilds it, its weights, its tokenizer, and a card."""

import inspect
import json
import shutil
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from corrlib.files import NotWritten, digest, digest_file, replace_with, write_atomically
from corrlib.models.backbone import Backbone
from corrlib.models.backbones import PRESETS, build_backbone
from corrlib.models.build import rebuild_encoder, stage_one_of
from corrlib.models.dual_encoder import DualEncoder
from corrlib.models.text import load_text_encoder
from corrlib.sharing.cards import model_card
from corrlib.study import runs
from corrlib.study.inputs import PLACES
from corrlib.study.parameters import StageOneParameters, StageTwoParameters, check

CONFIG, WEIGHTS, TEXT, CARD = "config.json", "model.safetensors", "text", "README.md"
FORMAT = 1  # what a reader must know to read a folder; raised when the meaning of a field changes
LEFT_OUT = (CONFIG, CARD)  # of a folder's digests: the first holds them, the second is for people to edit


class Recipe(BaseModel):
    """All that rebuilds a dual encoder around its weights.

    backbone: name of a preset; backbone_arguments: all constructor arguments of its class, so that a preset may change
    later; front_end: what its log-mel says of itself, against which a rebuilt one is held; clip_seconds: of a longer
    clip this much is heard.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    backbone: str
    backbone_arguments: dict[str, Any]
    front_end: dict[str, Any]
    embedding_size: int
    whole_segments: bool
    clip_seconds: float
    max_tokens: int
    clean_captions: bool
    head_layers: Literal[1, 2] = 1
    audio_layers: list[int] = []


class Config(BaseModel):
    """What config.json holds. files: digest of every other file that counts; digest: of all the rest of it."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    library_name: str
    format: int
    model: Recipe
    provenance: dict[str, Any]
    files: dict[str, str]
    digest: str


def export(study: str, run: str, to: str | Path, licence: str = "") -> Path:
    """Write a finished run's model as a folder that `load_model` reads where there are no runs.

    It holds config.json, model.safetensors, text/ (tokenizer and configuration of the text encoder) and README.md, a
    model card of the hub's kind. licence: the hub's short name of one; if not given, `mit` for what is made of the
    built-in corpus alone, else `other`. FileExistsError where `to` holds something other than an exported model,
    FileNotFoundError where the run is not finished.
    """
    folder = Path(to)
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / CONFIG).is_file())):
        raise FileExistsError(f"{folder} holds something else than an exported model; name a new folder")
    root = stage_one_of(study, run)
    parameters = stage_one_parameters(study, root)
    if parameters.backbone not in PRESETS:
        raise ValueError(f"run {study}/{run} has the backbone '{parameters.backbone}'; only presets can be exported")
    encoder = rebuild_encoder(study, run)
    model = recipe(encoder, parameters.backbone, runs.read_manifest(study, run)["parameters"]["clip_seconds"])
    origin = provenance(study, run)
    try:
        (folder / CONFIG).unlink(missing_ok=True)  # from here to the end the folder is no exported model
        shutil.rmtree(folder / TEXT, ignore_errors=True)
        shutil.copytree(runs.artefact(study, root, "text"), folder / TEXT)
        if encoder.fixed_towers:  # a student's own file holds its heads alone
            state = {name: value.contiguous() for name, value in encoder.state_dict().items()}
            replace_with(folder / WEIGHTS, lambda part: save_file(state, part))
        else:
            shutil.copyfile(runs.artefact(study, run, WEIGHTS), folder / WEIGHTS)
    except OSError as error:
        raise NotWritten(
            f"could not write {folder} ({error.strerror or error}); see that it can be written and has room"
        ) from None
    write_atomically(folder / CARD, model_card(study, run, parameters, origin, licence))
    content = {
        "library_name": "corrlib",
        "format": FORMAT,
        "model": model.model_dump(),
        "provenance": origin,
        "files": _digests(folder),
    }
    write_atomically(folder / CONFIG, json.dumps({**content, "digest": digest(_plain(content))}, indent=1))
    return folder


def push(folder: str | Path, name: str, token: str, public: bool = False) -> str:
    """Upload an exported folder to the hub as `owner/name`, private unless told; returns where it is.

    token: one that may write. ValueError where it is empty, or the folder is damaged.
    """
    if not token:
        raise ValueError("pushing needs a token that may write; set HF_TOKEN to it")
    read_config(folder)
    import huggingface_hub  # asks the network; nothing else here does

    api = huggingface_hub.HfApi(token=token)
    api.create_repo(name, private=not public, exist_ok=True)
    return str(api.upload_folder(repo_id=name, folder_path=folder, commit_message="A model exported by corrlib"))


def stage_one_parameters(study: str, run: str) -> StageOneParameters:
    return runs.read_parameters(study, run, StageOneParameters)


def recipe(encoder: DualEncoder, backbone: str, clip_seconds: float) -> Recipe:
    """The Recipe of an encoder whose backbone is the preset of that name, as it is read back from JSON."""
    kind, chosen = PRESETS[backbone]
    defaults = {
        name: parameter.default for name, parameter in list(inspect.signature(kind.__init__).parameters.items())[1:]
    }
    content = {
        "backbone": backbone,
        "backbone_arguments": {**defaults, **chosen},
        "front_end": encoder.backbone.front_end.settings(),
        "embedding_size": encoder.embedding_size,
        "whole_segments": encoder.whole_segments,
        "clip_seconds": float(clip_seconds),
        "max_tokens": encoder.text.max_tokens,
        "clean_captions": encoder.text.clean_captions,
        "head_layers": encoder.head_layers,
        "audio_layers": encoder.audio_layers,
    }
    return Recipe.model_validate(_plain(content))


def read_config(folder: str | Path) -> Config:
    """The Config of an exported folder, its files found to be as they were written; ValueError names one that is not.

    The card, which is for people to edit, may change.
    """
    folder = Path(folder)
    path = folder / CONFIG
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{folder} has no {CONFIG}; it is no exported model") from None
    except (OSError, ValueError):
        raise ValueError(f"{path} is damaged; export the model again") from None
    if not isinstance(content, dict) or content.get("library_name") != "corrlib":
        raise ValueError(f"{path} is not of a model that corrlib exported; choose a folder of `corrlib export`")
    if content.get("format") != FORMAT:
        raise ValueError(f"{path} has format {content.get('format')}, this corrlib reads {FORMAT}; use a fitting one")
    try:
        config = Config.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{path} does not fit ({where}: {first['msg']}); export the model again") from None
    if digest({name: value for name, value in content.items() if name != "digest"}) != config.digest:
        raise ValueError(f"{path} was changed (its digest is not that of its content); export the model again")
    found = _digests(folder)
    for name, right in config.files.items():
        if found.get(name) != right:
            state = "damaged (its digest is not the one in config.json)" if name in found else "missing"
            raise ValueError(f"{folder / name} is {state}; fetch or export the model again")
    return config


def build(folder: str | Path, config: Config) -> DualEncoder:
    """The dual encoder of an exported folder, on the CPU; ValueError names keys that are missing or unknown."""
    folder, model = Path(folder), config.model
    try:
        backbone = build_backbone(model.backbone, **_tuples(model.backbone_arguments))
    except TypeError as error:
        raise ValueError(f"{folder / CONFIG} does not fit this corrlib ({error}); use the one that wrote it") from None
    _refuse_other_front_end(backbone, model, folder)
    text = load_text_encoder(folder / TEXT, max_tokens=model.max_tokens, clean_captions=model.clean_captions)
    encoder = DualEncoder(
        backbone, text, model.embedding_size, model.whole_segments, model.head_layers, model.audio_layers
    )
    try:
        state, own = load_file(folder / WEIGHTS), encoder.state_dict()
    except SafetensorError as error:
        raise ValueError(f"{folder / WEIGHTS} is no safetensors file ({error}); export the model again") from None
    wrong = [f"{key} (missing)" for key in own if key not in state]
    wrong += [f"{key} (unknown)" for key in state if key not in own]
    wrong += [
        f"{key} {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    if wrong:
        raise ValueError(
            f"{folder / WEIGHTS} does not fit {CONFIG}: {len(wrong)} keys differ, first {'; '.join(wrong[:3])}; "
            "use the corrlib that wrote it"
        )
    encoder.load_state_dict(state)
    return encoder


def provenance(study: str, run: str) -> dict[str, Any]:
    """Where a model comes from, as its run's manifest says, without the places of this machine."""
    content = runs.read_manifest(study, run)
    kind = StageTwoParameters if "student" in content["parameters"] else StageOneParameters
    parameters = check(kind, content["parameters"])  # of a run of an earlier version it may be fewer
    places = {
        name: name.upper()
        for name in PLACES
        if name not in ("study", "run") and Path(str(getattr(parameters, name, "") or "")).is_absolute()
    }
    shown = parameters.model_copy(update=places)
    kept = ("study", "run", "setting", "backbone", "notebook", "code", "made_of", "data_fingerprint", "packages")
    return _plain(
        {
            **{name: content.get(name) for name in (*kept, "python")},
            "parameters": shown.model_dump(),
            "repeat": runs.repeat_command(content["notebook"], shown),
        }
    )


def _digests(folder: Path) -> dict[str, str]:
    paths = [folder / WEIGHTS, *sorted((folder / TEXT).rglob("*"))]
    names = {path.relative_to(folder).as_posix(): path for path in paths if path.is_file()}
    return {name: digest_file(path) for name, path in names.items() if name not in LEFT_OUT}


def _refuse_other_front_end(backbone: Backbone, model: Recipe, folder: Path) -> None:
    now = _plain(backbone.front_end.settings())
    other = [name for name in sorted({*now, *model.front_end}) if now.get(name) != model.front_end.get(name)]
    if other:
        raise ValueError(
            f"{folder / CONFIG} was made with another front end ({other[0]} was {model.front_end.get(other[0])}, is "
            f"{now.get(other[0])} here); use the corrlib that wrote it"
        )


def _plain(content: Any) -> Any:
    """As it is read back from JSON: lists in place of tuples."""
    return json.loads(json.dumps(content, default=float))


def _tuples(content: Any) -> Any:
    """Tuples in place of lists, as constructors are given them."""
    if isinstance(content, dict):
        return {name: _tuples(value) for name, value in content.items()}
    return tuple(map(_tuples, content)) if isinstance(content, list) else content
