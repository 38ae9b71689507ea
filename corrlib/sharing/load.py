"""Where a model comes from: a finished run, an exported folder, or the hub."""

import re
from pathlib import Path

import torch

from corrlib.files import digest
from corrlib.models.build import rebuild_encoder, stage_one_of
from corrlib.models.dual_encoder import DualEncoder
from corrlib.sharing import exported
from corrlib.sharing.model import RetrievalModel
from corrlib.study import runs
from corrlib.study.manifest import read as read_manifest

PRECISIONS = ("float32", "bfloat16", "float16")


def load_model(source: str | Path, device: str | None = None, precision: str = "float32") -> RetrievalModel:
    """A trained model that embeds sounds and captions.

    source: a finished run (`runs/builtin/ensemble-passt_tiny-seed101`, or without `runs/`), a folder that
    `python -m corrlib export` wrote, or such a folder's name on the hub (`owner/name`, fetched once). device: `cpu`,
    `cuda`, ...; a GPU where there is one, if not given. precision: see RetrievalModel.

    FileNotFoundError says where was looked; ValueError names a file that is damaged or does not fit.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision is '{precision}'; choose one of {', '.join(PRECISIONS)}")
    chosen = _device(device)
    folder = Path(source)
    if (folder / exported.CONFIG).is_file():
        return _of_folder(folder, folder.resolve().name, chosen, precision)
    run = find_run(source)
    if run:
        return _of_run(*run, chosen, precision)
    if folder.exists() or not re.fullmatch(r"[\w.-]+/[\w.-]+", str(source)):
        raise FileNotFoundError(
            f"{source} is neither a finished run (below {runs.root()}) nor an exported folder (with "
            f"{exported.CONFIG}); name one of these, or a model on the hub as owner/name"
        )
    return _of_folder(_fetched(str(source)), str(source), chosen, precision)


def find_run(source: str | Path) -> tuple[str, str] | None:
    """(study, run) of a finished run that is named by its path or as `study/run`; None where there is none."""
    if len(Path(source).parts) < 2:
        return None
    study, run = Path(source).parts[-2:]
    folder = runs.root() / study / run
    named = str(source).strip("/") in (f"{study}/{run}", f"runs/{study}/{run}")
    if not (named or Path(source).resolve() == folder.resolve()) or not (folder / "manifest.json").is_file():
        return None
    read_manifest(folder / "manifest.json")  # says what is wrong with it
    return study, run


def fingerprint(weights_digest: str, recipe: dict) -> str:
    """Short hash of all that decides embeddings: the weights' digest and how the encoder is built around them."""
    return digest([weights_digest, recipe])[:16]


def _of_run(study: str, run: str, device: torch.device, precision: str) -> RetrievalModel:
    manifest = runs.read_manifest(study, run)
    if "model.safetensors" not in manifest["artefacts"]:
        raise ValueError(f"run {study}/{run} trained no model; name a run of stage 1 or stage 2")
    parameters = exported.stage_one_parameters(study, stage_one_of(study, run))
    encoder = rebuild_encoder(study, run)
    recipe = exported.recipe(encoder, parameters.backbone, manifest["parameters"]["clip_seconds"])
    return RetrievalModel(
        f"{study}/{run}",
        fingerprint(manifest["artefacts"]["model.safetensors"], recipe.model_dump()),
        _ready(encoder, device),
        manifest["parameters"]["clip_seconds"],
        precision,
        exported.provenance(study, run),
    )


def _of_folder(folder: Path, name: str, device: torch.device, precision: str) -> RetrievalModel:
    config = exported.read_config(folder)
    encoder = exported.build(folder, config)
    return RetrievalModel(
        name,
        fingerprint(config.files[exported.WEIGHTS], config.model.model_dump()),
        _ready(encoder, device),
        config.model.clip_seconds,
        precision,
        config.provenance,
    )


def _ready(encoder: DualEncoder, device: torch.device) -> DualEncoder:
    return encoder.to(device).eval().requires_grad_(False)


def _device(name: str | None) -> torch.device:
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device '{name}' cannot be used ({str(error).splitlines()[0]}); choose 'cpu'") from None
    return device


def _fetched(name: str) -> Path:
    """The folder of a model on the hub, fetched into the hub's own cache."""
    from huggingface_hub import snapshot_download  # asks the network; nothing else here does

    try:
        files = [exported.CONFIG, exported.WEIGHTS, f"{exported.TEXT}/*"]
        return Path(snapshot_download(name, allow_patterns=files))
    except Exception as error:  # of many kinds, by what fails
        raise FileNotFoundError(
            f"{name} is no finished run below {runs.root()}, no folder, and was not fetched from the hub "
            f"({str(error).splitlines()[0][:120]}); look at the name"
        ) from None
