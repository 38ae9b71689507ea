"""Looking at an ensemble's estimate of a finished study: members, block to show, agreement with the truth."""

import numpy as np
import pandas as pd
import torch

from corrlib.correspondence import ensemble_similarity, estimate
from corrlib.correspondence.quality import agreement, calibration
from corrlib.correspondence.targets import best_validation_score
from corrlib.evaluation.embeddings import load_embeddings
from corrlib.study import runs


class Ensemble:
    """Stage-1 runs of one study and seed, with their embeddings of one split."""

    def __init__(self, parameters):
        self.study = parameters.study
        self.names = parameters.teachers or self._stage_one_runs(parameters.seed)
        self.backbones = [runs.read_manifest(self.study, name)["backbone"] for name in self.names]
        self.embeddings = [load_embeddings(self.study, name, parameters.split) for name in self.names]

    def _stage_one_runs(self, seed):
        table = runs.gather(self.study)
        found = table[(table["setting"] == "stage1") & (table["seed"] == seed)]["run"].tolist()
        if not found:
            raise FileNotFoundError(f"study '{self.study}' has no finished stage-1 run of seed {seed}; run 02-04 first")
        return found

    def similarities(self):
        """{member backbone or 'ensemble': similarity (clips, captions)}: one split only, for looking at."""
        members = {
            name: clips @ captions.T for name, (clips, captions) in zip(self.backbones, self.embeddings, strict=True)
        }
        clips, captions = zip(*self.embeddings, strict=True)
        everything = ensemble_similarity(list(clips), list(captions), slice(None), slice(None))
        return {**members, "ensemble": everything}

    def estimate(self, temperature, combine):
        """Estimated correspondences (clip_given_caption, caption_given_clip) of the split."""
        members = torch.stack([clips @ captions.T for clips, captions in self.embeddings])
        weights = [best_validation_score(self.study, name) for name in self.names] if combine == "best" else None
        return estimate(members, temperature, combine, weights)

    def as_one_model(self):
        """Embeddings whose inner product is the members' mean similarity."""
        clips = torch.cat([c for c, _ in self.embeddings], 1) / len(self.embeddings)
        return clips, torch.cat([t for _, t in self.embeddings], 1)


def agreement_table(similarities, truth, annotated, temperature):
    """Agreement with the truth off the annotated pairs, for each member and the ensemble."""
    rows = []
    for name, similarity in similarities.items():
        given_caption, _ = estimate(similarity[None], temperature)
        found = agreement(given_caption, truth, annotated)
        rows.append({"estimate of": name, **found})
    return pd.DataFrame(rows)


def calibration_tables(similarities, truth, bins=10):
    """{name: DataFrame bin, estimated, truth, pairs}: deciles of the similarity against the mean truth."""
    tables = {name: calibration(similarity, truth, bins) for name, similarity in similarities.items()}
    return {name: table.assign(bin=range(1, len(table) + 1)) for name, table in tables.items()}


def member_correlation(similarities):
    """Correlation of the members' similarities over all pairs."""
    return pd.DataFrame(
        np.corrcoef([s.numpy().ravel() for s in similarities.values()]),
        index=list(similarities),
        columns=list(similarities),
    )


def block(items, clips=24, seed=0):
    """Rows and caption numbers of a readable block: some clips and one caption of each."""
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(items.clips, min(clips, items.clips), replace=False))
    first = {int(c): i for i, c in reversed(list(enumerate(items.clip_of_caption.tolist())))}
    return rows, np.array([first[r] for r in rows])


def top_of(caption, clip_given_caption, truth, items, count=50):
    """The most probable clips of one caption: probability, truth, annotated."""
    order = torch.argsort(clip_given_caption[:, caption], descending=True)[:count].numpy()
    return pd.DataFrame(
        {
            "probability": clip_given_caption[order, caption].numpy(),
            "truth": truth[order, caption] if truth is not None else np.nan,
            "annotated": order == int(items.clip_of_caption[caption]),
        }
    )


def long_table(matrices, rows, columns):
    """One row a pair: clip, caption, and the value of each matrix."""
    clip, caption = np.meshgrid(rows, columns, indexing="ij")
    return pd.DataFrame(
        {
            "clip": clip.ravel(),
            "caption": caption.ravel(),
            **{name: np.asarray(m).ravel() for name, m in matrices.items()},
        }
    )


def stacked(tables):
    """{name: DataFrame} as one table with a column `of`."""
    return pd.concat([t.assign(of=name) for name, t in tables.items()], ignore_index=True)


def answer(metrics, table):
    """What the ensemble knows, as a sentence with its numbers."""
    text = f"As a model, the ensemble reaches {100 * metrics['annotated']['mAP@10']:.1f} % annotated mAP@10."
    if table is None:
        return text + " The truth of this corpus is not known."
    members, own = table[table["estimate of"] != "ensemble"], table[table["estimate of"] == "ensemble"].iloc[0]
    best = members["average_precision"].max()
    word = "above" if own["average_precision"] > best else "not above"
    return text + (
        f" Among pairs that nobody annotated, it finds wholly matching clips with an average precision of "
        f"{own['average_precision']:.3f} (chance {own['chance']:.3f}), {word} its best member's "
        f"{best:.3f}; rank correlation with the truth {own['rank_correlation']:.3f}."
    )
