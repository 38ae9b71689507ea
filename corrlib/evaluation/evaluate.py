"""Embed each clip and each caption once, rank, and write the metrics of a run."""

import numpy as np
import pandas as pd
import torch

from corrlib.corpora.ahead import load_ahead
from corrlib.evaluation.metrics import per_query, retrieval_metrics, summarise
from corrlib.models.distributed import gather, share
from corrlib.models.precision import autocast
from corrlib.models.text import distinct


@torch.no_grad()
def embed(encoder, audio, items, batch=128, precision="float32", workers=0):
    """All embeddings of a corpus: clips (N, E) and captions (C, E), float32 on the CPU, unit length.

    Each clip is embedded once, and so is a caption that several clips share.

    workers: threads that read audio ahead. Several processes share the clips and end with the same embeddings.
    """
    was_training = encoder.training
    encoder.eval()
    device = next(encoder.parameters()).device
    with autocast(device, precision):
        requests = ((None, [audio.places(part)]) for part in share(torch.arange(items.clips)).split(batch))
        clips = torch.cat([encoder.embed_batch(part).float() for _, (part,) in load_ahead(audio, requests, workers)])
        tokens, index = distinct(encoder.text.tokenize(items.texts))
        order = np.argsort([len(t) for t in tokens], kind="stable")  # like lengths together: little padding
        captions = torch.empty(len(tokens), encoder.embedding_size)
        for part in np.array_split(order, max(1, len(order) // (2 * batch))):
            captions[torch.as_tensor(part)] = encoder.embed_tokens([tokens[i] for i in part]).float().cpu()
    encoder.train(was_training)
    return gather(clips, items.clips).cpu(), captions[index]


def annotated_relevance(items, captions=slice(None)):
    """(clips, captions) float: 1 where the caption was written for the clip."""
    return (torch.arange(items.clips)[:, None] == items.clip_of_caption[captions][None, :]).float()


def validation_score(encoder, audio, items, precision="float32", workers=0):
    """Annotated caption-to-clip metrics of the encoder as it stands, and the standard deviation of its similarities."""
    clips, captions = embed(encoder, audio, items, precision=precision, workers=workers)
    similarity = clips @ captions.T
    return retrieval_metrics(similarity, annotated_relevance(items)) | {"spread": float(similarity.std())}


def judge(clips, captions, items, truth=None):
    """Metrics of embeddings in both directions, and one row a caption; no more than a block of similarities at a time.

    Returns ({"annotated" | "true" | "annotated clip-to-caption": metrics}, DataFrame of per-query values with
    columns `<relevance> <value>`, caption_id and clip (row number)).
    """
    tables = {"annotated": _in_blocks(clips, captions, lambda part: annotated_relevance(items, part))}
    if truth is not None:
        truth = torch.as_tensor(np.asarray(truth), dtype=torch.float32)
        tables["true"] = _in_blocks(clips, captions, lambda part: truth[:, part])
    columns = {"caption_id": items.caption_ids, "clip": items.clip_of_caption.numpy()}
    for name, table in tables.items():
        columns |= {f"{name} {column}": table[column].to_numpy() for column in table.columns}
    back = _in_blocks(captions, clips, lambda part: (items.clip_of_caption[:, None] == part[None, :]).float())
    metrics = {name: summarise(table) for name, table in {**tables, "annotated clip-to-caption": back}.items()}
    return metrics, pd.DataFrame(columns)


def _in_blocks(ranked, queries, relevance_of, block=512):
    """`metrics.per_query` of embeddings (items, E) and (queries, E); relevance_of(columns) -> (items, columns)."""
    parts = torch.arange(len(queries)).split(block)
    return pd.concat([per_query(ranked @ queries[part].T, relevance_of(part)) for part in parts], ignore_index=True)
