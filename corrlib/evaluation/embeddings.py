"""Embeddings of finished runs on disk: written once, read whole or block by block."""

from safetensors import safe_open
from safetensors.torch import save_file

from corrlib.files import read_tensors, replace_with
from corrlib.study import runs


def save_embeddings(path, embeddings):
    """`{split: (clips, captions)}` -> a safetensors file."""
    flat = {
        f"{split}/{kind}": t.contiguous()
        for split, pair in embeddings.items()
        for kind, t in zip(("clips", "captions"), pair, strict=True)
    }
    replace_with(path, lambda part: save_file(flat, part))


def load_embeddings(study, run, split):
    """(clips (N, E), captions (C, E)) of a finished run; ValueError says which splits there are."""
    return read_embeddings(runs.artefact(study, run, "embeddings.safetensors"), split)


def read_embeddings(path, split):
    """(clips (N, E), captions (C, E)) of a split from what `save_embeddings` wrote; ValueError says which there are."""
    found = read_tensors(path)
    if f"{split}/clips" not in found:
        known = sorted({k.split("/")[0] for k in found})
        raise ValueError(f"{path} holds no embeddings of split '{split}', only of {known}")
    return found[f"{split}/clips"], found[f"{split}/captions"]


class StoredEmbeddings:
    """Embeddings (N, E) in a safetensors file, of which only the rows asked for are read: `stored[start:stop]`, `len`.

    What `correspondence.top_correspondences` needs of embeddings that do not fit into memory. KeyError names what the
    file holds instead of `name`, `<split>/clips` or `<split>/captions`.
    """

    def __init__(self, path, name):
        self.path, self.name = path, name
        with safe_open(path, "pt") as file:
            if name not in file.keys():
                raise KeyError(f"{path} holds no '{name}', only {sorted(file.keys())}")
            self.shape = tuple(file.get_slice(name).get_shape())

    def __len__(self):
        return self.shape[0]

    @property
    def nbytes(self):
        return len(self) * self[:1].nbytes

    def __getitem__(self, rows):
        with safe_open(self.path, "pt") as file:  # opened anew: pages of a kept map would count as memory
            return file.get_slice(self.name)[rows].clone()


def stored_embeddings(study, run, split):
    """As `load_embeddings`, but read block by block: (clips, captions), each a StoredEmbeddings."""
    path = runs.artefact(study, run, "embeddings.safetensors")
    return StoredEmbeddings(path, f"{split}/clips"), StoredEmbeddings(path, f"{split}/captions")
