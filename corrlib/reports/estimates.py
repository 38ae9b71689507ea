"""Looking at an ensemble's estimate of a finished study: members, block to show, agreement with the truth."""

from collections.abc import Mapping
from functools import partial

import numpy as np
import pandas as pd
import torch

from corrlib.corpora.batches import Items
from corrlib.corpora.splits import Corpora
from corrlib.correspondence import ensemble_similarity, estimate
from corrlib.correspondence.quality import agreement, calibration
from corrlib.correspondence.targets import member_weights
from corrlib.correspondence.teachers import held_out_embeddings
from corrlib.evaluation.embeddings import Embeddings
from corrlib.figures import content_order
from corrlib.study import runs
from corrlib.study.outside import is_outside, label
from corrlib.study.parameters import EstimateParameters


class Ensemble:
    """Stage-1 runs of one study and seed, with their embeddings of one split.

    names (M): of the runs; labels (M): of their backbones, or of the runs where two have the same backbone;
    embeddings (M): pairs of clip embeddings (clips, E_m) and caption embeddings (captions, E_m).
    """

    def __init__(self, parameters: EstimateParameters, corpora: Corpora) -> None:
        """FileNotFoundError names a run that is not finished, ValueError one that embedded other data."""
        self.study, self.corpora = parameters.study, corpora
        self.names = parameters.teachers or self._stage_one_runs(parameters.seed)
        backbones = [label(n) if is_outside(n) else runs.read_manifest(self.study, n)["backbone"] for n in self.names]
        alike = len(set(backbones)) < len(backbones)
        self.labels = [name.removeprefix("stage1-") for name in self.names] if alike else backbones
        self.embeddings = [self._load(name, parameters.split) for name in self.names]

    def _load(self, name: str, split: str) -> Embeddings:
        return held_out_embeddings(self.study, name, self.corpora, split)

    def models(self) -> dict[str, Embeddings]:
        """{label of a member, or 'ensemble' for all as one model: embeddings}."""
        return {**dict(zip(self.labels, self.embeddings, strict=True)), "ensemble": self.as_one_model()}

    def zero_shot(self) -> dict[str, Embeddings]:
        """{label: embeddings} of the members that no run has trained."""
        members = zip(self.names, self.labels, self.embeddings, strict=True)
        return {label(name): pair for name, _, pair in members if is_outside(name)}

    def _stage_one_runs(self, seed: int) -> list[str]:
        table = runs.gather(self.study)
        names = table[(table["setting"] == "stage1") & (table["seed"] == seed)]["run"].tolist()
        if not names:
            raise FileNotFoundError(f"study '{self.study}' has no finished stage-1 run of seed {seed}; run 02-04 first")
        return names

    def similarities(self) -> dict[str, torch.Tensor]:
        """{label of a member, or 'ensemble' for their mean: similarity (clips, captions)} of the split."""
        members = dict(zip(self.labels, self._members(), strict=True))
        clip_embeddings, caption_embeddings = zip(*self.embeddings, strict=True)
        mean = ensemble_similarity(list(clip_embeddings), list(caption_embeddings), slice(None), slice(None))
        return {**members, "ensemble": mean}

    def _members(self) -> torch.Tensor:
        """Similarity (M, clips, captions) of every member."""
        return torch.stack([clips @ captions.T for clips, captions in self.embeddings])

    def estimate(self, temperature: float, combine: str, validation: Items) -> tuple[torch.Tensor, torch.Tensor]:
        """Estimated correspondences (clip_given_caption, caption_given_clip) of the split, each (clips, captions).

        combine: as of a stage-2 run; validation: Items of the validation split, on which weights are chosen.
        """
        held_out = partial(self._load, split="validation")
        combine, weights = member_weights(self.study, self.names, combine, validation, held_out)
        return estimate(self._members(), temperature, combine, weights)

    def as_one_model(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeddings (clips, sum of E_m) and (captions, sum of E_m): their inner product is the mean similarity."""
        clip_embeddings = torch.cat([clips for clips, _ in self.embeddings], 1) / len(self.embeddings)
        return clip_embeddings, torch.cat([captions for _, captions in self.embeddings], 1)


def agreement_table(
    similarities: Mapping[str, torch.Tensor],
    clip_given_caption: torch.Tensor,
    truth: np.ndarray,
    annotated: torch.Tensor,
    temperature: float,
    judged: np.ndarray | None = None,
) -> pd.DataFrame:
    """Agreement with the truth off the annotated pairs: one row a member, and one for the ensemble.

    similarities: {label: (clips, captions)}; clip_given_caption: the ensemble's estimate, as it is combined; truth,
    annotated (clips, captions), and judged, where the truth is not known of all pairs. Columns `estimate of` and those
    of `corrlib.correspondence.quality.agreement`.
    """
    rows = []
    for name, similarity in similarities.items():
        probability = clip_given_caption if name == "ensemble" else estimate(similarity[None], temperature)[0]
        rows.append({"estimate of": name, **agreement(probability, truth, annotated, judged=judged)})
    return pd.DataFrame(rows)


def calibration_tables(
    similarities: Mapping[str, torch.Tensor], truth: np.ndarray, bins: int = 10
) -> dict[str, pd.DataFrame]:
    """{label: columns bin, low, high, estimated, truth, pairs}: quantiles of the similarity, and their mean truth."""
    tables = {name: calibration(similarity, truth, bins) for name, similarity in similarities.items()}
    return {name: table.assign(bin=range(1, len(table) + 1)) for name, table in tables.items()}


def member_correlation(similarities: Mapping[str, torch.Tensor]) -> pd.DataFrame:
    """Pearson's correlation (M, M) of the similarities over all pairs, named by member."""
    names = list(similarities)
    correlation = np.corrcoef([similarity.numpy().ravel() for similarity in similarities.values()])
    return pd.DataFrame(np.atleast_2d(correlation), index=names, columns=names)


def error_correlation(
    similarities: Mapping[str, torch.Tensor], annotated: torch.Tensor, truth: np.ndarray | None = None
) -> pd.DataFrame:
    """Pearson's correlation (M, M) of the members' errors on the pairs that nobody annotated, named by member.

    A member's error is what of its similarity the truth does not explain: the rest of a least-squares fit over each
    caption's clips. Where the truth is not known it is the whole similarity, so that what members know correlates, too.
    similarities: {member: (clips, captions)}, an `ensemble` among them is left out; annotated, truth: of that shape.
    """
    names = [name for name in similarities if name != "ensemble"]
    off = ~annotated.bool()
    known = None if truth is None else _standardised(torch.as_tensor(truth, dtype=torch.float32))
    errors = []
    for name in names:
        error = _standardised(similarities[name])
        if known is not None:
            error = error - (error * known).mean(0) * known
        errors.append(error[off].numpy())
    return pd.DataFrame(np.atleast_2d(np.corrcoef(errors)), index=names, columns=names)


def _standardised(matrix: torch.Tensor) -> torch.Tensor:
    """(clips, captions) with zero mean and unit variance over the clips; a constant column stays zero."""
    return (matrix - matrix.mean(0)) / matrix.std(0, correction=0).clamp(min=1e-6)


def independence(errors: pd.DataFrame, retrieval: pd.DataFrame) -> str:
    """How independently the members err, and what averaging them gains, as a sentence with its numbers.

    errors: of `error_correlation`; retrieval: of `retrieval_table`, with the ensemble's row.
    """
    apart = errors.to_numpy()[~np.eye(len(errors), dtype=bool)]
    if not len(apart):
        return ""
    metric = "true mAP@10" if "true mAP@10" in retrieval else "annotated mAP@10"
    members = retrieval[metric].drop("ensemble")
    gain = 100 * (retrieval.loc["ensemble", metric] - members.max())
    return (
        f" Off the annotated pairs the members' errors correlate with {apart.min():.2f} to {apart.max():.2f}; their "
        f"mean is {gain:+.1f} points of {metric} from its best member, {members.idxmax()}."
    )


def retrieval_table(judged: Mapping[str, Mapping[str, Mapping[str, float]]]) -> pd.DataFrame:
    """mAP@10, R@1 and R@10 of several models: one row a model, one column a relevance and metric.

    judged: {model: {relevance: {metric: value in [0, 1]}}}, as `corrlib.evaluation.evaluate.judge` says them. By graded
    relevance nDCG@10 and the rank correlation.
    """
    binary, graded = ("mAP@10", "R@1", "R@10"), ("nDCG@10", "rank correlation")
    rows = {
        model: {
            f"{relevance} {metric}": values[metric]
            for relevance, values in metrics.items()
            for metric in (binary if "mAP@10" in values else graded)
        }
        for model, metrics in judged.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def block(items: Items, clips: int = 24, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers (N,) of some clips and of one caption of each: a block that can be read."""
    rng = np.random.default_rng(seed)
    clip_rows = np.sort(rng.choice(items.clips, min(clips, items.clips), replace=False))
    first = {int(clip): row for row, clip in reversed(list(enumerate(items.clip_of_caption.tolist())))}
    return clip_rows, np.array([first[clip] for clip in clip_rows])


def ordered_block(
    items: Items, annotated: torch.Tensor, clip_given_caption: torch.Tensor, truth: np.ndarray | None
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """A readable block, ordered by content: by its truth, or by its estimate where the truth is not known.

    annotated, clip_given_caption, truth: (clips, captions) of the split. Returns ({annotated, estimated, true: (N, N)},
    clip rows (N,), caption rows (N,)); estimates are divided by the caption's largest.
    """
    clip_rows, caption_rows = block(items)
    by = np.asarray(clip_given_caption if truth is None else truth)[clip_rows][:, caption_rows]
    order = content_order(by.T)
    clip_rows, caption_rows = clip_rows[order], caption_rows[order]
    estimated = clip_given_caption[clip_rows][:, caption_rows]
    shown = {
        "annotated": annotated[clip_rows][:, caption_rows].numpy(),
        "estimated": (estimated / estimated.amax(0)).numpy(),
    }
    if truth is not None:
        shown["true"] = truth[clip_rows][:, caption_rows]
    return shown, clip_rows, caption_rows


def top_of(
    caption: int, clip_given_caption: torch.Tensor, truth: np.ndarray | None, items: Items, count: int = 50
) -> pd.DataFrame:
    """The most probable clips of one caption (row number), best first: columns probability, truth, annotated.

    clip_given_caption, truth: (clips, captions); truth is nan where nobody knows it.
    """
    order = torch.argsort(clip_given_caption[:, caption], descending=True)[:count].numpy()
    return pd.DataFrame(
        {
            "probability": clip_given_caption[order, caption].numpy(),
            "truth": truth[order, caption] if truth is not None else np.nan,
            "annotated": order == int(items.clip_of_caption[caption]),
        }
    )


def long_table(matrices: Mapping[str, np.ndarray], clip_rows: np.ndarray, caption_rows: np.ndarray) -> pd.DataFrame:
    """One row a pair: clip and caption (row numbers), and the value of each matrix (clips, captions)."""
    clip, caption = np.meshgrid(clip_rows, caption_rows, indexing="ij")
    values = {name: np.asarray(matrix).ravel() for name, matrix in matrices.items()}
    return pd.DataFrame({"clip": clip.ravel(), "caption": caption.ravel(), **values})


def stacked(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """{name: DataFrame} as one table with a column `of`."""
    return pd.concat([table.assign(of=name) for name, table in tables.items()], ignore_index=True)


def answer(metrics: Mapping[str, Mapping[str, float]], table: pd.DataFrame | None) -> str:
    """What the ensemble knows, as a sentence with its numbers.

    metrics: {relevance: {metric: value}} of the ensemble as one model; table: as `agreement_table`, None where nobody
    knows the truth.
    """
    text = f"As a model, the ensemble reaches {100 * metrics['annotated']['mAP@10']:.1f} % annotated mAP@10."
    if table is None:
        return text + " The truth of this corpus is not known."
    members, ensemble = table[table["estimate of"] != "ensemble"], table[table["estimate of"] == "ensemble"].iloc[0]
    best = members["average_precision"].max()
    word = "above" if ensemble["average_precision"] > best else "not above"
    return text + (
        f" Among pairs that nobody annotated, it finds wholly matching clips with an average precision of "
        f"{ensemble['average_precision']:.3f} (chance {ensemble['chance']:.3f}), {word} its best member's "
        f"{best:.3f}; rank correlation with the truth {ensemble['rank_correlation']:.3f}."
    )
