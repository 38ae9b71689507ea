"""Embed each clip and each caption once, rank, and write the metrics of a run."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch

from corrlib.corpora.ahead import load_ahead
from corrlib.corpora.batches import AudioSource, Items
from corrlib.evaluation.embeddings import Embeddings
from corrlib.evaluation.metrics import per_query, retrieval_metrics, summarise
from corrlib.models.distributed import gather, share
from corrlib.models.dual_encoder import DualEncoder
from corrlib.models.precision import autocast
from corrlib.models.text import distinct

CLIP_TO_CAPTION = "annotated clip-to-caption"  # what a clip is to find: every caption that was written for it


@torch.no_grad()
def embed(
    encoder: DualEncoder,
    audio: AudioSource,
    items: Items,
    batch: int = 128,
    precision: str = "float32",
    workers: int = 0,
    clip_rows: torch.Tensor | None = None,
) -> Embeddings:
    """Embeddings of a whole corpus: clip_embeddings (N, E), caption_embeddings (C, E), float32 on the CPU, unit length.

    clip_rows: of these N clips alone, in this order, and of their captions, in the order of `captions_of`.

    Each clip is embedded once, and so is a caption that several clips share. batch: clips at a time, and half as many
    as captions. precision: `float32`, `bfloat16` or `float16` (see corrlib.models.precision.autocast).
    workers: threads that read audio ahead. Several processes share the clips and end with the same embeddings.
    """
    was_training = encoder.training
    encoder.eval()
    device = next(encoder.parameters()).device
    texts = items.texts if clip_rows is None else [items.texts[row] for row in captions_of(items, clip_rows).tolist()]
    clip_rows = torch.arange(items.clips) if clip_rows is None else clip_rows
    with autocast(device, precision):
        requests = ((None, [audio.places(part)]) for part in share(clip_rows).split(batch))
        clip_embeddings = torch.cat(
            [encoder.embed_batch(part).float() for _, (part,) in load_ahead(audio, requests, workers)]
        )
        tokens, index = distinct(encoder.text.tokenize(texts))
        order = np.argsort([len(t) for t in tokens], kind="stable")  # like lengths together: little padding
        different = torch.empty(len(tokens), encoder.embedding_size)
        for part in np.array_split(order, max(1, len(order) // (2 * batch))):
            different[torch.as_tensor(part)] = encoder.embed_tokens([tokens[i] for i in part]).float().cpu()
    encoder.train(was_training)
    return gather(clip_embeddings, len(clip_rows)).cpu(), different[index]


def captions_of(items: Items, clip_rows: torch.Tensor) -> torch.Tensor:
    """Rows (C,) of all captions of some clips, in the order of the corpus's table of captions."""
    return torch.isin(items.clip_of_caption, clip_rows).nonzero()[:, 0]


def annotated_relevance(items: Items, caption_rows: torch.Tensor | slice = slice(None)) -> torch.Tensor:
    """(clips, captions) float32: 1 where the caption was written for the clip, else 0; of all captions or of some."""
    return (torch.arange(items.clips)[:, None] == items.clip_of_caption[caption_rows][None, :]).float()


def validation_score(
    encoder: DualEncoder,
    audio: AudioSource,
    items: Items,
    truth: np.ndarray | None = None,
    precision: str = "float32",
    workers: int = 0,
) -> dict[str, float]:
    """Annotated caption-to-clip metrics of the encoder as it stands, `true mAP@10` where the `truth` (clips, captions)
    is given, and `spread`, the standard deviation of its similarities. Other arguments as in `embed`.
    """
    clip_embeddings, caption_embeddings = embed(encoder, audio, items, precision=precision, workers=workers)
    similarity = clip_embeddings @ caption_embeddings.T
    scores = retrieval_metrics(similarity, annotated_relevance(items)) | {"spread": float(similarity.std())}
    if truth is not None:
        scores["true mAP@10"] = retrieval_metrics(similarity, truth)["mAP@10"]
    return scores


def judge(
    clip_embeddings: torch.Tensor,
    caption_embeddings: torch.Tensor,
    items: Items,
    truth: np.ndarray | torch.Tensor | None = None,
) -> tuple[dict[str, dict[str, float]], pd.DataFrame]:
    """Metrics of embeddings in both directions, and one row a caption; no more than a block of similarities at a time.

    clip_embeddings (N, E), caption_embeddings (C, E); truth (N, C), where it is known. Returns ({"annotated" | "true" |
    "annotated clip-to-caption": metrics}, DataFrame of per-query values with columns `<relevance> <value>`, caption_id
    and clip (row number)).
    """
    tables = {
        "annotated": _in_blocks(clip_embeddings, caption_embeddings, lambda part: annotated_relevance(items, part))
    }
    if truth is not None:
        relevance = torch.as_tensor(np.asarray(truth), dtype=torch.float32)
        tables["true"] = _in_blocks(clip_embeddings, caption_embeddings, lambda part: relevance[:, part])
    columns = {"caption_id": items.caption_ids, "clip": items.clip_of_caption.numpy()}
    for name, values in tables.items():
        columns |= {f"{name} {column}": values[column].to_numpy() for column in values.columns}
    tables[CLIP_TO_CAPTION] = _of_clips(clip_embeddings, caption_embeddings, items)
    metrics = {name: summarise(values) for name, values in tables.items()}
    return metrics, pd.DataFrame(columns)


def judge_clips(clip_embeddings: torch.Tensor, caption_embeddings: torch.Tensor, items: Items) -> pd.DataFrame:
    """One row a clip, for which captions are ranked: clip_id, clip (row number), `annotated clip-to-caption <value>`.

    All captions of a clip are relevant to it. Embeddings as in `judge`.
    """
    values = _of_clips(clip_embeddings, caption_embeddings, items).add_prefix(f"{CLIP_TO_CAPTION} ")
    return pd.concat([pd.DataFrame({"clip_id": items.clip_ids, "clip": range(items.clips)}), values], axis=1)


def _of_clips(clip_embeddings: torch.Tensor, caption_embeddings: torch.Tensor, items: Items) -> pd.DataFrame:
    return _in_blocks(
        caption_embeddings, clip_embeddings, lambda part: (items.clip_of_caption[:, None] == part[None, :]).float()
    )


def _in_blocks(
    ranked: torch.Tensor,
    queries: torch.Tensor,
    relevance_of: Callable[[torch.Tensor], torch.Tensor],
    block: int = 512,
) -> pd.DataFrame:
    """`metrics.per_query` of embeddings (items, E) and (queries, E); relevance_of(columns) -> (items, columns)."""
    parts = torch.arange(len(queries)).split(block)
    return pd.concat([per_query(ranked @ queries[part].T, relevance_of(part)) for part in parts], ignore_index=True)
