"""Tasks that no run was chosen for: captions of a clip, clips like a clip, tagging by class names. Does a gain carry
over?

Tables have one row a query with the columns `caption_id` (the query), `clip` (what is resampled: a clip, or a class in
tagging) and `value`, so that `results` can pair them.
"""

from functools import cache

import numpy as np
import pandas as pd
import torch

from corrlib import soundscapes
from corrlib.corpora.splits import open_corpora
from corrlib.evaluation.embeddings import load_embeddings
from corrlib.evaluation.metrics import per_query
from corrlib.models.build import rebuild_encoder
from corrlib.reports import results
from corrlib.study import runs
from corrlib.study.parameters import StageOneParameters, StageTwoParameters, check

TASKS = {
    "clip-to-caption mAP@10": "captions of a clip, annotated ones relevant",
    "clip-to-clip nDCG@10": "other clips, gain: the share of facts that two scenes have in common",
    "zero-shot tagging mAP": "clips of a class, by the similarity to its bare name",
}
SETTINGS = ("stage1", "continued", "self", "ensemble")


def clip_to_caption(clips, captions, clip_of_caption):
    """AP@10 of each clip's own captions among all. clips (N, E), captions (C, E), clip_of_caption (C,)."""
    relevance = (clip_of_caption[:, None] == torch.arange(len(clips))[None, :]).float()
    return _table(per_query(captions @ clips.T, relevance)["ap@10"])


def scene_overlap(all_facts):
    """(N, N) float32: facts that two scenes share, as a share of those that either has (Jaccard). all_facts: N sets."""
    names = {fact: place for place, fact in enumerate(sorted({f for facts in all_facts for f in facts}))}
    table = np.zeros((len(all_facts), len(names)), np.float32)
    for row, facts in enumerate(all_facts):
        table[row, [names[f] for f in facts]] = 1
    shared, size = table @ table.T, table.sum(1)
    return shared / np.maximum(size[:, None] + size[None, :] - shared, 1)


def clip_to_clip(clips, overlap):
    """nDCG@10 of each clip as a query for the others, their `overlap` (N, N) with it as gain; itself left out."""
    similarity, gain = clips @ clips.T, torch.as_tensor(overlap).clone()
    similarity.fill_diagonal_(-2)  # below every cosine
    gain.fill_diagonal_(0)
    return _table(per_query(similarity, gain)["ndcg@10"])


def tagging(clips, names, tags):
    """Average precision of every class that occurs: all clips ranked by similarity to its name.

    clips (N, E), names (classes, E), tags (N, classes) of 0 and 1. Ties in row order.
    """
    scores, tags = (clips @ names.T).numpy(), np.asarray(tags) > 0
    found = [average_precision(scores[:, c], tags[:, c]) for c in range(tags.shape[1]) if tags[:, c].any()]
    return _table(np.array(found))


def average_precision(scores, relevant):
    """Mean over the relevant items of the precision at their rank, ties in row order; scores, relevant (N,)."""
    hits = np.asarray(relevant, bool)[np.argsort(-np.asarray(scores), kind="stable")]
    return float((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())


def _table(values):
    numbers = np.arange(len(values))
    return pd.DataFrame({"caption_id": numbers, "clip": numbers, "value": np.asarray(values)})


@cache
def _scenes(folder, split):
    """(overlap (N, N), class names, tags (N, classes)) of a split of the built-in corpus."""
    scenes = soundscapes.load_scenes(folder)[split]
    _, names, tags = soundscapes.load_tags(folder, split)
    return scene_overlap([soundscapes.facts(scene) for scene in scenes]), names, tags


@torch.no_grad()
def judge_run(study, run):
    """{task: table} of a finished training run; of a corpus without known scenes only clip-to-caption."""
    given = runs.read_manifest(study, run)["parameters"]
    parameters = check(StageTwoParameters if "student" in given else StageOneParameters, given)
    corpora, split = open_corpora(parameters), parameters.evaluate_on
    clips, captions = load_embeddings(study, run, split)
    names = iter(TASKS)
    found = {next(names): clip_to_caption(clips, captions, corpora.items(split).clip_of_caption)}
    if corpora.name == "soundscapes":
        overlap, classes, tags = _scenes(str(corpora.folder), split)
        found[next(names)] = clip_to_clip(clips, overlap)
        encoder = rebuild_encoder(study, run).eval()
        found[next(names)] = tagging(clips, encoder.embed_captions(classes).float().cpu(), tags)
    return found


def judge_study(study):
    """{task: results.Judged} of all finished runs of the four settings."""
    found = results.one_run_each(study, runs.gather(study))
    found = found[found["setting"].isin(SETTINGS)]
    prints = results.check_same_data(study, found)
    tables = {}
    for row in found.itertuples():
        for task, table in judge_run(study, row.run).items():
            tables.setdefault(task, {}).setdefault((row.backbone, row.setting), {})[row.seed] = table
    same = len(prints) > 1 and len(set(prints.values())) == 1
    return {task: results.Judged(study, queries, same) for task, queries in tables.items()}


def summarise(judged, resamples):
    """As results.summarise, one metric a task."""
    return pd.concat(
        [results.summarise(own, resamples, {task: "value"}) for task, own in judged.items()], ignore_index=True
    )


def compare(judged, resamples):
    """As results.compare, Holm's correction within a task."""
    return pd.concat(
        [results.compare(own, resamples, {task: "value"}) for task, own in judged.items()], ignore_index=True
    )


def answer(differences):
    """Does the gain of `ensemble` over `continued` carry over? One line a task, as Markdown."""
    lines = []
    rows = differences[(differences["against"] == "continued") & (differences["setting"] == "ensemble")]
    for task in rows["metric"].unique():
        own = rows[rows["metric"] == task]
        up, down = int((own["low"] > 0).sum()), int((own["high"] < 0).sum())
        parts = "; ".join(f"{row.backbone} {results.points(row)}" for row in own.itertuples())
        lines.append(
            f"- **{task}**: `ensemble` clearly above `continued` in {up} of {len(own)} comparisons, clearly below "
            f"in {down}. {parts}."
        )
    return "\n".join(lines)
