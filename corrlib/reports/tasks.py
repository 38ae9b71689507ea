"""Tasks that no run was chosen for: captions of a clip, clips like a clip, tagging by class names. Does a gain carry
over?

Tables have one row a query with the columns `caption_id` (the query), `clip` (what is resampled: a clip, or a class in
tagging) and `value`, so that `results` can pair them.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
import pandas as pd
import torch

from corrlib import soundscapes
from corrlib.corpora.splits import open_corpora
from corrlib.evaluation.embeddings import load_embeddings
from corrlib.evaluation.metrics import per_query
from corrlib.figures.style import SETTING_ORDER
from corrlib.models.build import rebuild_encoder
from corrlib.reports import results
from corrlib.reports.queries import Judged, check_same_data, one_run_each, share_clips
from corrlib.study import runs
from corrlib.study.parameters import StageOneParameters, StageTwoParameters, check

TASKS = {
    "clip-to-caption mAP@10": "captions of a clip, annotated ones relevant",
    "clip-to-clip nDCG@10": "other clips, gain: the share of facts that two scenes have in common",
    "zero-shot tagging mAP": "clips of a class, by the similarity to its bare name",
}


def clip_to_caption(
    clip_embeddings: torch.Tensor, caption_embeddings: torch.Tensor, clip_of_caption: torch.Tensor
) -> pd.DataFrame:
    """AP@10 of each clip's own captions among all. Embeddings (N, E) and (C, E), clip_of_caption (C,)."""
    relevance = (clip_of_caption[:, None] == torch.arange(len(clip_embeddings))[None, :]).float()
    return _table(per_query(caption_embeddings @ clip_embeddings.T, relevance)["ap@10"])


def scene_overlap(all_facts: Sequence[set]) -> np.ndarray:
    """(N, N) float32: facts that two scenes share, as a share of those that either has (Jaccard). all_facts: N sets."""
    column_of = {fact: place for place, fact in enumerate(sorted({fact for facts in all_facts for fact in facts}))}
    has_fact = np.zeros((len(all_facts), len(column_of)), np.float32)
    for row, facts in enumerate(all_facts):
        has_fact[row, [column_of[fact] for fact in facts]] = 1
    shared, size = has_fact @ has_fact.T, has_fact.sum(1)
    return shared / np.maximum(size[:, None] + size[None, :] - shared, 1)


def clip_to_clip(clip_embeddings: torch.Tensor, overlap: np.ndarray) -> pd.DataFrame:
    """nDCG@10 of each clip (N, E) as a query for the others; gain: their `overlap` (N, N) with it. Itself left out."""
    similarity, gain = clip_embeddings @ clip_embeddings.T, torch.as_tensor(overlap).clone()
    similarity.fill_diagonal_(-2)  # below every cosine
    gain.fill_diagonal_(0)
    return _table(per_query(similarity, gain)["ndcg@10"])


def tagging(clip_embeddings: torch.Tensor, name_embeddings: torch.Tensor, tags: np.ndarray) -> pd.DataFrame:
    """Average precision of every class that occurs: all clips ranked by similarity to its name.

    Embeddings (N, E) and (classes, E), tags (N, classes) of 0 and 1. Ties in row order.
    """
    scores, tagged = (clip_embeddings @ name_embeddings.T).numpy(), np.asarray(tags) > 0
    occurring = np.flatnonzero(tagged.any(0))
    return _table(np.array([average_precision(scores[:, c], tagged[:, c]) for c in occurring]))


def average_precision(scores: Sequence[float] | np.ndarray, relevant: Sequence[int] | np.ndarray) -> float:
    """Mean over the relevant items of the precision at their rank, ties in row order; scores, relevant (N,)."""
    hits = np.asarray(relevant, bool)[np.argsort(-np.asarray(scores), kind="stable")]
    return float((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())


def _table(values: pd.Series | np.ndarray) -> pd.DataFrame:
    numbers = np.arange(len(values))
    return pd.DataFrame({"caption_id": numbers, "clip": numbers, "value": np.asarray(values)})


@cache
def _scenes(folder: str, split: str) -> tuple[np.ndarray, list[str], np.ndarray]:
    """(overlap (N, N), class names, tags (N, classes)) of a split of the built-in corpus."""
    scenes = soundscapes.load_scenes(folder)[split]
    _, names, tags = soundscapes.load_tags(folder, split)
    return scene_overlap([soundscapes.facts(scene) for scene in scenes]), names, tags


@torch.no_grad()
def judge_run(study: str, run: str) -> dict[str, pd.DataFrame]:
    """{task: table} of a finished training run; of a corpus without known scenes only clip-to-caption.

    ValueError where the corpus is no longer that of the run.
    """
    runs.check_data(study, run)
    given = runs.read_manifest(study, run)["parameters"]
    parameters = check(StageTwoParameters if "student" in given else StageOneParameters, given)
    corpora, split = open_corpora(parameters), parameters.evaluate_on
    clip_embeddings, caption_embeddings = load_embeddings(study, run, split)
    names = iter(TASKS)
    clip_of_caption = corpora.items(split).clip_of_caption
    tables = {next(names): clip_to_caption(clip_embeddings, caption_embeddings, clip_of_caption)}
    if corpora.name == "soundscapes":
        overlap, classes, tags = _scenes(str(corpora.folder), split)
        tables[next(names)] = clip_to_clip(clip_embeddings, overlap)
        encoder = rebuild_encoder(study, run).eval()
        tables[next(names)] = tagging(clip_embeddings, encoder.embed_captions(classes).float().cpu(), tags)
    return tables


def judge_study(study: str) -> dict[str, Judged]:
    """{task: Judged} of all finished runs of the settings in SETTING_ORDER."""
    training_runs = one_run_each(study, runs.gather(study))
    training_runs = training_runs[training_runs["setting"].isin(SETTING_ORDER)]
    fingerprints = check_same_data(study, training_runs)
    by_task: dict[str, results.Queries] = {}
    keys = training_runs[["run", "backbone", "setting", "seed"]].itertuples(index=False, name=None)
    for run, backbone, setting, seed in keys:
        for task, table in judge_run(study, run).items():
            by_task.setdefault(task, {}).setdefault((backbone, setting), {})[seed] = table
    same_clips = share_clips(fingerprints)
    return {task: Judged(study, queries, same_clips) for task, queries in by_task.items()}


def summarise(judged: dict[str, Judged], resamples: int) -> pd.DataFrame:
    """As results.summarise, one metric a task."""
    tables = [results.summarise(own, resamples, {task: "value"}) for task, own in judged.items()]
    return pd.concat(tables, ignore_index=True)


def compare(judged: dict[str, Judged], resamples: int) -> pd.DataFrame:
    """As results.compare, Holm's correction within a task."""
    tables = [results.compare(own, resamples, {task: "value"}) for task, own in judged.items()]
    return pd.concat(tables, ignore_index=True)
