"""Embeddings of finished runs on disk: written once, read whole or block by block."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from corrlib.files import file_state, read_tensors, replace_with
from corrlib.study import runs

Embeddings = tuple[torch.Tensor, torch.Tensor]  # clip_embeddings (N, E), caption_embeddings (C, E), of unit length


def save_embeddings(path: str | Path, embeddings: Mapping[str, Embeddings]) -> None:
    """{split: (clip_embeddings (N, E), caption_embeddings (C, E))} -> a safetensors file.

    Its tensors are named `<split>/clips` and `<split>/captions`. NotWritten where the disk does not take it.
    """
    flat = {
        f"{split}/{kind}": tensor.contiguous()
        for split, pair in embeddings.items()
        for kind, tensor in zip(("clips", "captions"), pair, strict=True)
    }
    replace_with(path, lambda part: save_file(flat, part))


def load_embeddings(study: str, run: str, split: str, fingerprint: str = "") -> Embeddings:
    """(clip_embeddings (N, E), caption_embeddings (C, E)) of a finished run, float32 on the CPU.

    fingerprint: of the split that they are to be of (see Corpora.fingerprint). ValueError where they are of other data,
    where the file is damaged, or says which splits there are.
    """
    embedded = runs.read_manifest(study, run).get("fingerprints", {})
    if fingerprint and embedded.get(split, fingerprint) != fingerprint:
        raise ValueError(
            f"the {split} split is not the one that run '{run}' of study '{study}' embedded: its audio or captions "
            f"have changed; restore them, or run `make reproduce STUDY={study}`"
        )
    return read_embeddings(runs.artefact(study, run, "embeddings.safetensors"), split)


def read_embeddings(path: str | Path, split: str) -> Embeddings:
    """The embeddings of a split from a file of `save_embeddings`; ValueError says which splits there are."""
    tensors = read_tensors(path)
    if f"{split}/clips" not in tensors:
        known = sorted({name.split("/")[0] for name in tensors})
        raise ValueError(f"{path} holds no embeddings of split '{split}', only of {known}")
    return tensors[f"{split}/clips"], tensors[f"{split}/captions"]


class StoredEmbeddings:
    """Embeddings (N, E) in a safetensors file, of which only the rows asked for are read: `stored[start:stop]`, `len`.

    What `correspondence.top_correspondences` needs of embeddings that do not fit into memory. KeyError names what the
    file holds instead of `name`, `<split>/clips` or `<split>/captions`. ValueError where the file has become another
    since: a run that is made again meanwhile would mix two models.
    """

    def __init__(self, path: str | Path, name: str) -> None:
        self.path, self.name, self._state = path, name, file_state(path)
        with safe_open(path, "pt") as file:
            if name not in file.keys():
                raise KeyError(f"{path} holds no '{name}', only {sorted(file.keys())}")
            self.shape: tuple[int, ...] = tuple(file.get_slice(name).get_shape())

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of all rows, as they would be in memory."""
        return len(self) * self[:1].nbytes

    def __getitem__(self, rows: slice) -> torch.Tensor:
        if file_state(self.path) != self._state:
            raise ValueError(f"{self.path} was changed while it was read block by block; run the same command again")
        with safe_open(self.path, "pt") as file:  # opened anew: pages of a kept map would count as memory
            return file.get_slice(self.name)[rows].clone()


def stored_embeddings(study: str, run: str, split: str) -> tuple[StoredEmbeddings, StoredEmbeddings]:
    """As `load_embeddings`, but read block by block."""
    path = runs.artefact(study, run, "embeddings.safetensors")
    return StoredEmbeddings(path, f"{split}/clips"), StoredEmbeddings(path, f"{split}/captions")
