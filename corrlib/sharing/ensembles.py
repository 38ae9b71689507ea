"""Which models estimate a study's correspondences, on which captions and clips, at which temperature."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corrlib.corpora.corpus import Corpus
from corrlib.corpora.splits import Corpora
from corrlib.evaluation.embeddings import StoredEmbeddings, stored_embeddings
from corrlib.study import runs
from corrlib.study.outside import is_outside
from corrlib.study.parameters import EstimateParameters, StageOneParameters, StageTwoParameters

LIKE_MEAN_SIMILARITY = ("mean_similarity", "geometric_mean")  # the same estimate, see corrlib.correspondence.estimate


@dataclass(frozen=True)
class Ensemble:
    """Members (run names) of a study, their embeddings of a split, and the corpus of these.

    clip_embeddings, caption_embeddings: one StoredEmbeddings (clips, E_m) and (captions, E_m) a member; results:
    {member: digest of its embeddings file}; data: the folder below which clips lie.
    """

    study: str
    members: tuple[str, ...]
    temperature: float
    split: str
    corpus: Corpus
    data: Path
    clip_embeddings: list[StoredEmbeddings]
    caption_embeddings: list[StoredEmbeddings]
    results: dict[str, str]


def open_ensemble(
    study: str,
    split: str = "development",
    seed: int | None = None,
    members: Sequence[str] = (),
    temperature: float | None = None,
) -> Ensemble:
    """The Ensemble that taught a study's students, or another one of its stage-1 runs.

    seed: the first one of the study, if not given. members, temperature: if not given, those of the seed's students
    (`ensemble-<backbone>-seed<seed>`), else of its `correspondences-seed<seed>`, else all its stage-1 runs.

    ValueError where these disagree, where a member has not embedded this split, or where the data are no longer those
    that the members embedded; FileNotFoundError where a run is missing.
    """
    if not members or temperature is None:
        taught = _taught(study, seed)
        members, temperature = members or taught[0], taught[1] if temperature is None else temperature
    manifests = {name: runs.read_manifest(study, name) for name in members}
    pairs = [_stored(study, name, split) for name in manifests]
    first = manifests[members[0]]["parameters"]
    corpora = Corpora(runs.read_parameters(study, members[0], StageOneParameters))
    corpus = corpora.corpus(split)
    _refuse_other_data(manifests, split, corpora.fingerprint(split), first["data"])
    for name, (clips, captions) in zip(members, pairs, strict=True):
        if (len(clips), len(captions)) != (len(corpus.clips), len(corpus.captions)):
            raise ValueError(
                f"run {study}/{name} embedded {len(clips)} clips and {len(captions)} captions of the {split} split, in "
                f"{first['data']} there are {len(corpus.clips)} and {len(corpus.captions)}; restore these data"
            )
    results = {name: manifest["artefacts"]["embeddings.safetensors"] for name, manifest in manifests.items()}
    clips, captions = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return Ensemble(study, tuple(members), temperature, split, corpus, Path(first["data"]), clips, captions, results)


def _taught(study: str, seed: int | None) -> tuple[tuple[str, ...], float]:
    """(members, temperature) by what the study's runs of a seed say."""
    finished = runs.finished(study)
    firsts = {name: content for name, content in finished.items() if content.get("setting") == "stage1"}
    if not firsts:
        raise FileNotFoundError(f"study '{study}' has no finished stage-1 run in {runs.root() / study}")
    seed = min(content["parameters"]["seed"] for content in firsts.values()) if seed is None else seed
    said = {
        (tuple(p.teachers), p.target_temperature or p.temperature, p.combine)
        for name, content in finished.items()
        if content.get("setting") == "ensemble" and name.startswith("ensemble-") and name.endswith(f"-seed{seed}")
        for p in [runs.read_parameters(study, name, StageTwoParameters)]
    }
    if not said and f"correspondences-seed{seed}" in finished:
        p = runs.read_parameters(study, f"correspondences-seed{seed}", EstimateParameters)
        said = {(tuple(p.teachers), p.temperature, p.combine)}
    if not said:
        own = {name: content["parameters"] for name, content in firsts.items() if content["parameters"]["seed"] == seed}
        if not own:
            raise FileNotFoundError(f"study '{study}' has no finished stage-1 run of seed {seed}; choose another seed")
        said = {(tuple(own), p["temperature"], "mean_similarity") for p in own.values()}
    if len(said) > 1:
        raise ValueError(
            f"the runs of seed {seed} of study '{study}' were taught by {len(said)} different ensembles; name members "
            "and temperature"
        )
    [(members, temperature, combine)] = said
    if outside := [name for name in members if is_outside(name)]:
        raise ValueError(
            f"the students of study '{study}' were taught by '{outside[0]}', too, which no run has stored; name "
            "members and temperature to share the estimate of the study's own"
        )
    if combine not in LIKE_MEAN_SIMILARITY:
        raise ValueError(
            f"the students of study '{study}' were taught by '{combine}', which is not computed block by block; name "
            "members and temperature to share their mean similarity instead"
        )
    return members, temperature


def _stored(study: str, name: str, split: str) -> tuple[StoredEmbeddings, StoredEmbeddings]:
    try:
        return stored_embeddings(study, name, split)
    except KeyError:
        raise ValueError(
            f"run {study}/{name} has not embedded the {split} split; choose another split, or members of stage 1"
        ) from None


def _refuse_other_data(manifests: dict[str, Any], split: str, now: str, folder: str) -> None:
    """ValueError where a member's manifest tells the fingerprint of a split, and it is another than now."""
    for name, content in manifests.items():
        judged = content["parameters"].get("evaluate_on") == split
        then = content["development_fingerprint"] if split == "development" else content["data_fingerprint"]
        if (judged or split == "development") and then != now:
            raise ValueError(
                f"run {name} embedded other data than the {split} split in {folder} now holds; restore it, or run the "
                "study again"
            )
