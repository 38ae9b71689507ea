"""A trained model as MTEB, the benchmark of embeddings, asks it: its retrieval tasks of audio and text."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from tqdm import tqdm

from corrlib.sharing.load import load_model
from corrlib.sharing.model import RetrievalModel, Sound

# whose training clips are those of a benchmark's corpus, as a result page must know
TRAINED_ON = {
    "clotho": ["ClothoA2TRetrieval", "ClothoA2TRetrieval.v2", "ClothoT2ARetrieval", "ClothoT2ARetrieval.v2"],
    "audiocaps": ["AudioCapsA2TRetrieval", "AudioCapsT2ARetrieval"],
}


class MtebEncoder:
    """What `mteb.evaluate` takes for a model (mteb's EncoderProtocol), around a RetrievalModel or what `load_model`
    finds by its name.

    Audio is decoded here, by the libraries that corrlib reads files with, and not by those of `datasets`, which ask for
    an installed FFmpeg.

    >>> import mteb  # doctest: +SKIP
    >>> tasks = mteb.get_tasks(tasks=["ClothoT2ARetrieval.v2"])  # doctest: +SKIP
    >>> mteb.evaluate(MtebEncoder("my-model"), tasks)  # doctest: +SKIP
    """

    def __init__(
        self, model: RetrievalModel | str | Path, revision: str | None = None, *, device: str | None = None
    ) -> None:
        self.model = model if isinstance(model, RetrievalModel) else load_model(model, device)
        if revision not in (None, self.model.fingerprint):
            raise ValueError(f"{self.model.name} is {self.model.fingerprint}, not {revision}; leave the revision out")

    def encode(
        self, inputs: Any, *, batch_size: int = 32, show_progress_bar: bool = True, **given: Any
    ) -> torch.Tensor:
        """Embeddings (N, E) of a torch DataLoader over a `datasets.Dataset` with a column `text`, `audio`, or both.

        Of both, the direction of their sum. ValueError where there is neither, or a row cannot be embedded; given: what
        mteb says of the task, which changes nothing.
        """
        rows, parts = inputs.dataset, []
        if "text" in rows.column_names:
            parts.append(self.model.embed_captions(list(rows["text"]), progress=show_progress_bar))
        if "audio" in rows.column_names:
            sounds, found = _Audio(rows), []
            with tqdm(total=len(rows), unit="sound", disable=not show_progress_bar) as bar:
                for start in range(0, len(rows), batch_size):
                    found.append(self.model.embed_audio(sounds.between(start, start + batch_size), batch_size))
                    bar.update(len(found[-1]))
            parts.append(torch.cat(found))
        if not parts:
            raise ValueError(f"there is neither text nor audio in {', '.join(rows.column_names)}; choose another task")
        return parts[0] if len(parts) == 1 else torch.nn.functional.normalize(parts[0] + parts[1])

    def similarity(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """Cosines (N, M) of embeddings (N, E) and (M, E)."""
        return torch.as_tensor(embeddings1) @ torch.as_tensor(embeddings2).T

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """Cosines (N,) of embeddings (N, E), each with the other's of the same row."""
        return (torch.as_tensor(embeddings1) * torch.as_tensor(embeddings2)).sum(-1)

    @property
    def mteb_model_meta(self) -> Any:
        """mteb's ModelMeta: name, weights by their fingerprint, and on which of the benchmark's corpora it was trained.

        ImportError says how to get mteb.
        """
        try:
            from mteb.models import ModelMeta  # pyrefly: ignore[missing-import]
        except ModuleNotFoundError as error:
            if str(error.name).split(".")[0] != "mteb":
                raise
            raise ImportError("mteb is not installed; `pip install mteb`, or corrlib's extra `mteb`") from None
        model, text = self.model, self.model.encoder.text
        state = list(model.encoder.parameters())
        corpora = str(model.provenance.get("parameters", {}).get("corpus", "")).split("+")
        return ModelMeta(
            loader=None,
            name=model.name if "/" in model.name else f"corrlib/{model.name}",
            revision=model.fingerprint,
            release_date=None,
            languages=["eng-Latn"],
            modalities=["audio", "text"],
            n_parameters=sum(values.numel() for values in state),
            memory_usage_mb=sum(values.numel() * values.element_size() for values in state) / 2**20,
            max_tokens=text.max_tokens,
            embed_dim=model.embedding_size,
            license=None,
            open_weights=None,
            public_training_code=None,
            public_training_data=None,
            framework=["PyTorch"],
            similarity_fn_name="cosine",
            use_instructions=False,
            training_datasets={task for corpus in corpora for task in TRAINED_ON.get(corpus, [])} or None,
        )


class _Audio:
    """The column `audio` of a dataset as sounds, read when they are asked for."""

    def __init__(self, rows: Any) -> None:
        feature = rows.features["audio"]
        if hasattr(feature, "decode"):  # datasets.Audio: what the file holds, instead of what its decoder makes of it
            rows = rows.cast_column("audio", type(feature)(decode=False))
        self.rows = rows

    def between(self, first: int, last: int) -> list[Sound]:
        entries: Iterable[dict[str, Any]] = self.rows[first:last]["audio"]
        return [_sound(entry, row) for row, entry in enumerate(entries, start=first)]


def _sound(entry: dict[str, Any], row: int) -> Sound:
    if "array" in entry:
        array = np.asarray(entry["array"], dtype=np.float32)
        return (array.T if array.ndim == 2 else array), int(entry["sampling_rate"])  # (channels, samples) of datasets
    if entry["bytes"] is None:
        return entry["path"]
    try:
        return soundfile.read(io.BytesIO(entry["bytes"]), dtype="float32")
    except soundfile.LibsndfileError as error:
        raise ValueError(f"the sound of row {row} cannot be decoded ({error}); take that row out") from None
