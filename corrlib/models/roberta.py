"""RoBERTa without padding: the tokens of all captions lie side by side, and only attention knows which belong together.

The modules are those of transformers' RobertaModel, in the same order and with the same names; what differs is that
nothing is computed of padding, nor in the last layer of any token but the first, which alone becomes the caption's
features.
"""

from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from typing import Any, TypeGuard, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import RobertaModel

LEAST = {"cpu": 32, "cuda": 64}  # captions worth an attention of their own: on a GPU few take as long as many


@dataclass
class Group:
    """Captions whose attention is computed together, with so many `tokens` of their own.

    padded (captions * longest,): which of these each token is; real (captions, longest): whether it is one; kept
    (tokens,): where in `padded` the real ones are; None where all are equally long.
    """

    tokens: int
    captions: int
    padded: Tensor | None = None
    real: Tensor | None = None
    kept: Tensor | None = None  # as numbers: to count what a mask holds, the CPU would wait for the GPU


def fits(model: nn.Module) -> TypeGuard[RobertaModel]:
    """Whether an encoder can be computed here: an encoder-only RobertaModel."""
    return type(model) is RobertaModel and not model.config.is_decoder


def first_tokens(model: RobertaModel, token_ids: list[list[int]]) -> Tensor:
    """RobertaModel, list of B id lists ordered by length -> (B, D), what it makes of each first token."""
    device, lengths = next(model.parameters()).device, [len(ids) for ids in token_ids]
    stops = list(accumulate(lengths))
    # through numpy, which reads lists quicker than torch
    flat = torch.from_numpy(np.fromiter(chain.from_iterable(token_ids), np.int64, stops[-1]))
    ids = flat.to(device, non_blocking=True)[None]
    places = np.arange(stops[-1]) - np.repeat(np.array(stops) - lengths, lengths)
    padding = model.config.pad_token_id
    assert padding is not None  # RoBERTa counts positions from the one behind it
    positions = torch.from_numpy(places).to(device, non_blocking=True)[None] + padding + 1
    x = model.embeddings(input_ids=ids, position_ids=positions, token_type_ids=torch.zeros_like(ids))[0]
    groups = _groups(lengths, stops, LEAST.get(device.type, 64), device)
    *layers, last = model.encoder.layer
    for layer in layers:
        save = getattr(layer, "gradient_checkpointing", False) and torch.is_grad_enabled()
        if save:
            x = cast(Tensor, checkpoint(_through, layer, x, groups, None, use_reentrant=False))
        else:
            x = _through(layer, x, groups, None)
    return _through(last, x, groups, torch.tensor([0, *stops[:-1]]).to(device, non_blocking=True))


def _groups(lengths: list[int], stops: list[int], least: int, device: torch.device) -> list[Group]:
    """Groups of captions of one length; rare lengths are put together with longer ones, until there are `least`."""
    edges, groups = [0], []
    for place in range(1, len(lengths)):
        if lengths[place] != lengths[place - 1] and place - edges[-1] >= least:
            edges.append(place)
    for first, end in pairwise([*edges, len(lengths)]):
        own, longest, start = lengths[first:end], lengths[end - 1], stops[first] - lengths[first]
        layout = []
        if own[0] != longest:
            own, last = torch.tensor(own)[:, None], torch.tensor(stops[first:end])[:, None] - start
            steps = torch.arange(longest)
            padded, real = (last - own + steps.minimum(own - 1)).flatten(), steps < own
            layout = [part.to(device, non_blocking=True) for part in (padded, real, real.flatten().nonzero()[:, 0])]
        groups.append(Group(stops[end - 1] - start, end - first, *layout))
    return groups


def _through(layer: Any, x: Tensor, groups: list[Group], firsts: Tensor | None) -> Tensor:
    """One layer: tokens (N, D) -> (N, D), or -> (B, D) of the rows `firsts` alone."""
    asking = x if firsts is None else x[firsts]
    mixed = _attention(layer.attention.self, x, asking, groups, firsts is not None)
    return layer.feed_forward_chunk(layer.attention.output(mixed, asking))


def _attention(attention: Any, x: Tensor, asking: Tensor, groups: list[Group], first_only: bool) -> Tensor:
    """Attention of the tokens `asking`, all or each caption's first, to their own caption's: (their number, D)."""

    def heads(rows: Tensor) -> Tensor:
        return rows.unflatten(-1, (-1, attention.attention_head_size)).transpose(1, 2)

    dropout, found = attention.dropout.p if attention.training else 0.0, []
    sizes = [group.tokens for group in groups]  # split, as slices would each leave a gradient of full size
    asked = [group.captions for group in groups] if first_only else sizes
    parts = (attention.query(asking).split(asked), attention.key(x).split(sizes), attention.value(x).split(sizes))
    for group, query, key, value in zip(groups, *parts, strict=True):
        questions = query[:, None] if first_only else _padded(query, group)
        mask = None if group.real is None else group.real[:, None, None]
        mixed = F.scaled_dot_product_attention(
            heads(questions), heads(_padded(key, group)), heads(_padded(value, group)), mask, dropout
        )
        mixed = mixed.transpose(1, 2).flatten(2).flatten(0, 1)
        found.append(mixed if first_only or group.kept is None else mixed.index_select(0, group.kept))
    return torch.cat(found)


def _padded(rows: Tensor, group: Group) -> Tensor:
    """(tokens, D) of a group -> (captions, longest, D); what is beyond a caption's end repeats its last token."""
    rows = rows if group.padded is None else rows.index_select(0, group.padded)
    return rows.unflatten(0, (group.captions, -1))
