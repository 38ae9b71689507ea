"""A model as MTEB asks it: the scores of a task of its kind are those of our own metrics, without its decoder."""

import dataclasses
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

import corrlib
from corrlib.corpora import load_corpus
from corrlib.evaluation import retrieval_metrics
from corrlib.sharing.mteb_encoder import MtebEncoder
from tests.sharing.conftest import STUDENT, STUDY

CAPTIONS = ["a dog barks", "rain falls on a tent", "wind"]
REASON = "mteb is not installed (corrlib's extra `mteb`): no task of its own is run"


@pytest.fixture
def encoder(finished):
    return MtebEncoder(f"{STUDY}/{STUDENT}", device="cpu")


class Rows(dict):
    """What is asked of a datasets.Dataset, of columns in memory."""

    features = {"audio": None}
    column_names = property(list)

    def __len__(self):
        return len(next(iter(self.values())))

    def __getitem__(self, key):
        if isinstance(key, slice):
            return {name: values[key] for name, values in self.items()}
        return super().__getitem__(key)


def test_rows_in_every_form_are_embedded_as_files_are(encoder, sounds):
    paths = [str(sounds / name) for name in ("a.wav", "b.flac", "d.mp3")]
    mono, rate_hz = soundfile.read(paths[0], dtype="float32")
    stereo, other_hz = soundfile.read(paths[1], dtype="float32")
    audio = [
        {"array": mono.astype(float), "sampling_rate": rate_hz},
        {"array": stereo.T.tolist(), "sampling_rate": other_hz},  # as datasets decodes it: (channels, samples)
        {"bytes": Path(paths[2]).read_bytes(), "path": "d.mp3"},
        {"bytes": None, "path": paths[0]},
    ]
    found = encoder.encode(SimpleNamespace(dataset=Rows(audio=audio)), batch_size=3, hf_split="test")
    right = encoder.model.embed_audio([*paths, paths[0]])
    torch.testing.assert_close(found, right, atol=1e-5, rtol=0)
    texts = encoder.encode(SimpleNamespace(dataset=Rows(text=CAPTIONS)), task_metadata=None)
    assert torch.equal(texts, encoder.model.embed_captions(CAPTIONS))
    assert torch.equal(encoder.similarity(found.numpy(), texts), found @ texts.T)
    torch.testing.assert_close(encoder.similarity_pairwise(texts, found[:3]), (found[:3] @ texts.T).diagonal())
    both = encoder.encode(SimpleNamespace(dataset=Rows(audio=audio[:3], text=CAPTIONS)))
    torch.testing.assert_close((both * found[:3]).sum(1), (both * texts).sum(1))  # as near to the one as to the other
    with pytest.raises(ValueError, match="sound of row 1 cannot be decoded"):
        encoder.encode(SimpleNamespace(dataset=Rows(audio=[audio[2], {"bytes": b"no sound", "path": None}])))
    with pytest.raises(ValueError, match="neither text nor audio in image"):
        encoder.encode(SimpleNamespace(dataset=Rows(image=[0])))
    with pytest.raises(ValueError, match="leave the revision out"):
        MtebEncoder(encoder.model, "main")


def test_without_mteb_it_says_how_to_get_it(encoder, monkeypatch):
    monkeypatch.setitem(sys.modules, "mteb", None)
    with pytest.raises(ImportError, match="extra `mteb`"):
        _ = encoder.mteb_model_meta


@pytest.fixture
def task(data):
    """(tasks of mteb's kind from captions to clips and back, over the evaluation split; its corpus)."""
    pytest.importorskip("mteb", reason=REASON)
    import datasets
    from mteb.abstasks import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata

    corpus = load_corpus("soundscapes", data, "evaluation")
    captions = corpus.captions
    audio = [{"bytes": Path(path).read_bytes(), "path": None} for path in corpus.clips["path"]]
    clips = {"id": corpus.clips["clip_id"].tolist(), "audio": audio}
    features = datasets.Features({"id": datasets.Value("string"), "audio": datasets.Audio()})
    heard = datasets.Dataset.from_dict(clips, features)
    read = datasets.Dataset.from_dict({"id": captions["caption_id"].tolist(), "text": captions["text"].tolist()})
    pairs = list(zip(captions["caption_id"], captions["clip_id"], strict=True))

    def made(category):
        of_captions = category == "t2a"
        queries, documents = (read, heard) if of_captions else (heard, read)
        relevant: dict[str, dict[str, int]] = {}
        for caption, clip in pairs:
            query, document = (caption, clip) if of_captions else (clip, caption)
            relevant.setdefault(query, {})[document] = 1

        class Task(AbsTaskRetrieval):
            metadata = TaskMetadata(
                name=f"Scenes{category.upper()}",
                description="Composed scenes and their captions.",
                dataset={"path": "nowhere", "revision": "1"},
                type="Any2AnyRetrieval",
                category=category,
                modalities=["audio", "text"],
                eval_splits=["test"],
                eval_langs=["eng-Latn"],
                main_score="hit_rate_at_5",
            )

            def load_data(self, **given):
                self.queries, self.corpus = {"test": queries}, {"test": documents}
                self.relevant_docs, self.data_loaded = {"test": relevant}, True

        return Task()

    return [made("t2a"), made("a2t")], corpus


def test_its_scores_are_those_of_our_metrics(encoder, task, monkeypatch, tmp_path):
    mteb = pytest.importorskip("mteb", reason=REASON)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    tasks, corpus = task
    similarity = encoder.model.similarity(corpus.clips["path"].tolist(), corpus.captions["text"].tolist())
    own = corpus.captions["clip_id"].to_numpy()[None] == corpus.clips["clip_id"].to_numpy()[:, None]
    relevance = torch.from_numpy(own.astype(np.float32))
    for chosen, right in (
        (tasks[0], retrieval_metrics(similarity, relevance)),
        (tasks[1], retrieval_metrics(similarity.T, relevance.T)),
    ):
        result = mteb.evaluate(encoder, [chosen], cache=None, show_progress_bar=False)
        [scores] = result.task_results[0].scores["test"]
        assert result.model_name == f"{STUDY}/{STUDENT}" and result.model_revision == encoder.model.fingerprint
        assert scores["ndcg_at_10"] == pytest.approx(right["nDCG@10"], abs=1e-4)
        assert scores["map_at_10"] == pytest.approx(right["mAP@10"], abs=1e-4)
    assert encoder.mteb_model_meta.training_datasets is None


def test_what_it_was_trained_on_is_told(finished):
    pytest.importorskip("mteb", reason=REASON)
    model = corrlib.load_model(f"{STUDY}/{STUDENT}", "cpu")
    of_clotho = dataclasses.replace(model, name="mine", provenance={"parameters": {"corpus": "clotho+wavcaps"}})
    meta = MtebEncoder(of_clotho).mteb_model_meta
    assert meta.name == "corrlib/mine" and "ClothoT2ARetrieval.v2" in meta.training_datasets
