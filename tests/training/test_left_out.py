"""A clip that cannot be read while a run goes on: named, counted, and within the tolerance left out from then on."""

import shutil

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from corrlib.corpora import AuditError, load_corpus
from corrlib.corpora.ahead import load_ahead
from corrlib.corpora.audio import ClipError
from corrlib.corpora.batches import Batch
from corrlib.corpora.splits import open_corpora
from corrlib.models.build import build_encoder
from corrlib.study import runs
from corrlib.study.parameters import StageOneParameters, check
from corrlib.training import stages
from corrlib.training.left_out import LeftOut
from corrlib.training.trainer import Trainer
from tests import layouts

CLIPS, BAD = 16, 5
VALUES = {
    "study": "t",
    "corpus": "folder",
    "backbone": "mn_tiny",
    "pretraining_epochs": 0,
    "epochs": 3,
    "batch_clips": 4,
    "captions_per_clip": 1,
    "clip_seconds": 2.0,  # of 3: every crop holds the middle
    "cache_log_mel": False,
    "embedding_size": 16,
    "tolerance": 0.1,
}


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """A folder of FLAC files of noise, one of which is damaged in its middle."""
    folder, draw = tmp_path_factory.mktemp("own"), np.random.default_rng(0)
    for split, count in (("development", CLIPS), ("validation", 4), ("evaluation", 4)):
        rows = [[f"{split}-{n}.flac", f"noise {n} of {split}"] for n in range(count) for _ in range(2)]
        layouts.table(folder / f"{split}.csv", ["file", "caption"], rows)
        for n in range(count):
            soundfile.write(folder / f"{split}-{n}.flac", 0.1 * draw.standard_normal(48000), 16000)
    layouts.noise_in_the_middle(folder / f"development-{BAD}.flac")
    return folder


def begin(folder, run, **changes):
    parameters = check(StageOneParameters, {**VALUES, "run": run, "data": str(folder), **changes})
    corpora = open_corpora(parameters)
    return runs.Run(parameters, "04_stage1_mn"), corpora, build_encoder(parameters, corpora)


def weights(encoder):
    return torch.cat([value.detach().flatten() for value in encoder.parameters()])


def test_it_is_left_out_from_then_on_and_a_resumed_run_ends_at_the_same_numbers(sounds, tmp_path, monkeypatch, capsys):
    folder = shutil.copytree(sounds, tmp_path / "own")  # what is known of its files is by their paths
    run, corpora, encoder = begin(folder, "whole")
    assert corpora.items("development").clips == CLIPS  # the audit decodes the ends of training clips
    log = stages.train_stage_one(run, corpora, encoder)
    said = capsys.readouterr().out
    assert said.count("left out from now on: folder/development/development-5.flac (unreadable: ") == 1
    left = pd.read_csv(run.folder / "left_out.csv")
    assert left["clip_id"].tolist() == ["folder/development/development-5.flac"]
    trained = weights(encoder)
    run.let_go()

    class Killed(Exception):
        pass

    record = Trainer._record

    def stop(self, *arguments):
        record(self, *arguments)
        if self.epoch == 2:
            raise Killed

    monkeypatch.setattr(Trainer, "_record", stop)
    run, corpora, encoder = begin(folder, "killed", workers=2)
    with pytest.raises(Killed):
        stages.train_stage_one(run, corpora, encoder)
    run.let_go()
    monkeypatch.setattr(Trainer, "_record", record)
    run, corpora, encoder = begin(folder, "killed", workers=2)
    again = stages.train_stage_one(run, corpora, encoder)
    assert again["loss"].tolist() == log["loss"].tolist() and torch.equal(weights(encoder), trained)
    # the finished run is of the corpus without it, and so is every later one
    stages.report(run, corpora, encoder, "stage1")
    assert "left_out.csv" in runs.read_manifest("t", "killed")["artefacts"]
    assert corpora.items("development").clips == CLIPS - 1
    corpus = load_corpus("folder", folder, "development", tolerance=0.1)
    assert len(corpus.clips) == CLIPS - 1
    assert corpus.excluded["reason"].tolist() == ["unreadable: it does not decode to its end"]
    assert len(runs.read_manifest("t", "killed")["fingerprints"]) == 3


def test_more_than_the_tolerance_stop_the_run(sounds, tmp_path):
    folder = shutil.copytree(sounds, tmp_path / "own")
    sentence = "1 of 16 clips of folder cannot be used .1 unreadable; first: .*development-5.flac, .*cannot be decoded"
    with pytest.raises(AuditError, match=sentence):
        stages.train_stage_one(*begin(folder, "one", tolerance=0.05))
    (folder / "development-2.flac").unlink()  # the audit's own losses count, too
    with pytest.raises(AuditError, match="2 of 16 clips of folder cannot be used .*at least 0.125"):
        stages.train_stage_one(*begin(folder, "two"))


def test_the_loss_is_that_of_the_batch_without_it(sounds, tmp_path):
    """Whatever stands in its place: the rows and columns of what is left are those of the batch itself."""
    folder = shutil.copytree(sounds, tmp_path / "own")
    _, corpora, _ = begin(folder, "one")
    items, corpus = corpora.items("development"), corpora.corpus("development")
    left = LeftOut(corpus, corpora.whole("development"), 0.1)
    clip_rows, caption_rows = torch.tensor([3, BAD, 8]), torch.tensor([6, 7, 2 * BAD, 17])
    batch = Batch(clip_rows, caption_rows, items.annotated(clip_rows, caption_rows))
    similarity = torch.randn(3, 4, requires_grad=True)
    same, untouched = left.without(batch, items, similarity)
    assert same is batch and untouched is similarity
    assert left.add({BAD: "why"}) == [corpus.clips["clip_id"][BAD]] and left.add({BAD: "again"}) == []
    found, kept = left.without(batch, items, similarity)
    assert found.clip_rows.tolist() == [3, 8] and found.caption_rows.tolist() == [6, 7, 17]
    assert torch.equal(kept, similarity[[0, 2]][:, [0, 1, 3]])
    assert torch.equal(found.annotated, items.annotated(found.clip_rows, found.caption_rows))
    kept.sum().backward()
    assert similarity.grad is not None and not similarity.grad[1].any() and not similarity.grad[:, 2].any()


def test_only_training_is_lenient(sounds, tmp_path):
    folder = shutil.copytree(sounds, tmp_path / "own")
    _, corpora, encoder = begin(folder, "one")
    audio = corpora.audio("development", encoder.backbone)
    for workers in (0, 2):
        with pytest.raises(ClipError, match="development-5.flac cannot be decoded"):
            list(load_ahead(audio, [(None, [audio.places(range(BAD - 1, BAD + 2))])], workers))
        [(_, [part])] = load_ahead(audio, [(None, [audio.places([4, BAD, 6])])], workers, lenient=True)
        assert list(part.unread) == [1] and torch.equal(part.waveform[1], part.waveform[0])
    layouts.noise_in_the_middle(folder / "validation-1.flac")
    with pytest.raises(AuditError, match="1 of 4 clips .*1 cut short; first: .*validation-1.flac, "):
        begin(folder, "two")[1].items("validation")  # what chooses and judges is decoded as a whole
