"""The training loop: targets, schedule, resuming, and what happens when something goes wrong."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

import corrlib
from corrlib import soundscapes
from corrlib.corpora import splits
from corrlib.corpora.splits import open_corpora
from corrlib.correspondence.targets import annotated, build_target, estimated
from corrlib.correspondence.teachers import teacher_embeddings
from corrlib.evaluation.evaluate import embed, judge
from corrlib.evaluation.watched import KINDS
from corrlib.models.build import build_encoder, load_weights, rebuild_encoder
from corrlib.study import runs
from corrlib.study.parameters import ParameterError, StageOneParameters, StageTwoParameters, check
from corrlib.training import checkpoints, stages
from corrlib.training.trainer import DivergenceError, Trainer, learning_rate_at
from tests import layouts
from tests.conftest import SIZES
from tests.hostile import Booby, flip_a_bit
from tests.training.begun import SHORT, stage_one


def finish(run, corpora, encoder):
    log = stages.train_stage_one(run, corpora, encoder)
    return log, stages.report(run, corpora, encoder, "stage1")


def stage_two(data, **changes):
    shared = {k: v for k, v in SHORT.items() if k in StageTwoParameters.model_fields}
    values = {"study": "t", "run": "two", "data": data, "student": "one", "target": "self", **shared, **changes}
    return check(StageTwoParameters, values)


def test_pretraining_hears_waveforms_where_no_log_mels_are_cached(data, tmp_path, monkeypatch):
    losses = []
    for number, cached in enumerate((True, False)):
        monkeypatch.setenv("CORRLIB_DATA", str(tmp_path / f"data-{number}"))  # neither finds what the other has trained
        parameters = check(StageOneParameters, {"study": "t", "data": data, **SHORT, "cache_log_mel": cached})
        run, corpora = runs.Run(parameters, "03_stage1_atst"), open_corpora(parameters)
        losses.append(stages.pretrain_backbone(run, corpora, build_encoder(parameters, corpora).backbone))
        run.let_go()
    assert len(losses[0]) == 1 and losses[1] == pytest.approx(losses[0], rel=1e-3)  # kept in 16 bits, or not at all


def test_a_corpus_without_tags_is_trained_on_after_pretraining_on_composed_clips(tmp_path, monkeypatch):
    """Of one corpus for all: composed once, heard once, whatever one's own clips are."""
    monkeypatch.setattr(splits, "TAGGED_SIZES", {**dict.fromkeys(SIZES, 1), "pretraining": 16})
    for place, split in enumerate(("development", "validation", "evaluation")):
        layouts.sound(tmp_path / "own" / f"{split}.wav", 0.3 + 0.01 * place)
        layouts.table(tmp_path / "own" / f"{split}.csv", ["file", "caption"], [[f"{split}.wav", "a tone"]])
    here = {"study": "t", "corpus": "folder", "data": str(tmp_path / "own"), **SHORT, "pretraining_epochs": 2}
    losses, weights = [], []
    for _ in range(2):
        parameters = check(StageOneParameters, {**here, "backbone": "mn_tiny"})
        run, corpora = runs.Run(parameters, "04_stage1_mn"), open_corpora(parameters)
        backbone = build_encoder(parameters, corpora).backbone
        before = next(backbone.parameters()).detach().clone()
        losses.append(stages.pretrain_backbone(run, corpora, backbone))
        weights.append(next(backbone.parameters()).detach())
        assert not torch.equal(before, weights[-1])
        run.let_go()
    assert len(losses[0]) == 2 and losses[0] == losses[1] and torch.equal(*weights)
    assert (tmp_path / "data" / "pretraining" / "corpus.json").is_file()
    assert sorted(p.name for p in (tmp_path / "own").iterdir() if p.is_dir()) == []
    with pytest.raises(ParameterError, match="'passt_s16' has no weights; name its published ones by weights"):
        check(StageOneParameters, {**here, "backbone": "passt_s16"})


def test_schedule_warms_up_then_follows_a_cosine():
    rates = [learning_rate_at(step, 100, 10, 1.0, 0.1) for step in range(100)]
    assert rates[:10] == pytest.approx(np.arange(1, 11) / 10) and rates[10] == 1.0 and rates[99] == pytest.approx(0.1)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[10 + 89 // 2] == pytest.approx(0.55, abs=0.02)


def test_a_killed_run_resumes_and_ends_at_the_same_numbers(data, monkeypatch):
    log, metrics = finish(*stage_one(data, run="whole"))

    class Killed(Exception):
        pass

    record = Trainer._record

    def stop_after_two(self, *arguments):
        record(self, *arguments)
        if self.epoch == 2:
            raise Killed

    monkeypatch.setattr(Trainer, "_record", stop_after_two)
    run, corpora, encoder = stage_one(data, run="killed")
    with pytest.raises(Killed):
        stages.train_stage_one(run, corpora, encoder)
    assert len(run.checkpoints()) == 2 and not run.path("manifest.json").is_file()
    run.let_go()
    monkeypatch.setattr(Trainer, "_record", record)
    again, found = finish(*stage_one(data, run="killed"))
    pd.testing.assert_frame_equal(again.drop(columns="seconds"), log.drop(columns="seconds"))
    assert found == metrics and not run.checkpoints()
    weights = [
        torch.load(p, weights_only=True) if p.suffix == ".pt" else p.read_bytes()
        for p in (runs.root() / "t" / name / "model.safetensors" for name in ("whole", "killed"))
    ]
    assert weights[0] == weights[1]


def stop_after(epoch, monkeypatch, **parameters):
    """A run that was stopped after an epoch, as by kill -9."""
    checkpoint = Trainer._checkpoint

    def stop(self):
        checkpoint(self)
        if self.epoch == epoch:
            raise InterruptedError

    monkeypatch.setattr(Trainer, "_checkpoint", stop)
    run, corpora, encoder = stage_one(**parameters)
    with pytest.raises(InterruptedError):
        stages.train_stage_one(run, corpora, encoder)
    monkeypatch.setattr(Trainer, "_checkpoint", checkpoint)
    run.let_go()
    return run


def test_other_parameters_do_not_resume_a_checkpoint(data, monkeypatch, capsys):
    run = stop_after(1, monkeypatch, data=data)
    assert len(run.checkpoints()) == 1
    log, _ = finish(*stage_one(data, learning_rate=5e-4))
    said = capsys.readouterr().out
    assert "is of other parameters; this run starts again from its beginning" in said and "resumed" not in said
    assert list(log["epoch"]) == [1, 2, 3]


def test_a_checkpoint_of_other_code_is_not_resumed(data, monkeypatch, capsys):
    """Killed, edited, run again: the numbers are those of the new code from the first epoch on."""
    stop_after(1, monkeypatch, data=data)
    edited = {**corrlib.SOURCES, "training/losses.py": corrlib.SOURCES["training/losses.py"] + b"EDITED = True\n"}
    monkeypatch.setattr(corrlib, "SOURCES", edited)
    log, _ = finish(*stage_one(data))
    said = capsys.readouterr().out
    assert "is of other code; this run starts again from its beginning" in said and "resumed" not in said
    assert list(log["epoch"]) == [1, 2, 3]


def test_a_checkpoint_of_another_stage_one_is_not_resumed(data, monkeypatch, capsys):
    """Stage 2 killed, stage 1 trained anew, stage 2 run again: it starts from the new weights."""

    def student():
        parameters = stage_two(data, target="self", teachers=[])
        run, corpora = runs.Run(parameters, "06_stage2"), open_corpora(parameters)
        return run, corpora, rebuild_encoder("t", "one")

    finish(*stage_one(data))
    checkpoint = Trainer._checkpoint

    def stop(self):
        checkpoint(self)
        raise InterruptedError

    monkeypatch.setattr(Trainer, "_checkpoint", stop)
    run, corpora, encoder = student()
    with pytest.raises(InterruptedError):
        stages.train_stage_two(run, corpora, encoder)
    run.let_go()
    monkeypatch.setattr(Trainer, "_checkpoint", checkpoint)
    monkeypatch.setenv(runs.PLANNED, "t/one")
    finish(*stage_one(data, learning_rate=2e-3))
    capsys.readouterr()
    log = stages.train_stage_two(*student())
    said = capsys.readouterr().out
    assert "is of other parent runs; this run starts again" in said and "resumed" not in said
    assert list(log["epoch"]) == [1, 2, 3]


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-9]),
        lambda path: path.write_bytes(b""),
        lambda path: flip_a_bit(path, 0.5),
        lambda path: flip_a_bit(path, 0.99),
    ],
)
def test_a_damaged_checkpoint_is_noticed_and_the_one_before_it_used(data, monkeypatch, capsys, harm):
    _, metrics = finish(*stage_one(data, run="whole"))
    run = stop_after(2, monkeypatch, data=data)
    harm(run.checkpoints()[0])
    capsys.readouterr()
    log, found = finish(*stage_one(data))
    said = capsys.readouterr().out
    assert "is damaged; the one before it is used" in said and "resumed after epoch 1" in said
    assert found == metrics and list(log["epoch"]) == [1, 2, 3]


def test_where_all_checkpoints_are_damaged_the_run_starts_again(data, monkeypatch, capsys):
    run = stop_after(2, monkeypatch, data=data)
    for path in run.checkpoints():
        path.write_bytes(b"PK half a file")
    log, _ = finish(*stage_one(data))
    assert "starts again from its beginning" in capsys.readouterr().out and list(log["epoch"]) == [1, 2, 3]


def test_a_pickle_in_the_place_of_a_checkpoint_never_runs(data, monkeypatch, tmp_path):
    """Renamed after its own digest, so that it looks whole: still nothing in it is executed."""
    run = stop_after(1, monkeypatch, data=data)
    evil = run.checkpoints()[0]
    torch.save({"epoch": Booby(tmp_path / "executed")}, evil)
    evil.rename(evil.with_name(f"checkpoint-00001-{checkpoints._digest(evil)}.pt"))
    with pytest.raises(ValueError, match="is no checkpoint of this program; delete it"):
        finish(*stage_one(data))
    assert not (tmp_path / "executed").exists()


def test_a_run_folder_has_one_writer(data):
    """Another process is refused; the same one, as in a cell that is run again, is not."""
    run, _, _ = stage_one(data)
    path = run.folder / ".lock"
    held = f"import fcntl, sys; file = open({str(path)!r}, 'w'); fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)"
    assert subprocess.run([sys.executable, "-c", held], capture_output=True).returncode == 1
    stage_one(data)[0].let_go()
    other = subprocess.Popen(
        [sys.executable, "-c", f"{held}; print('held', flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout and other.stdout.readline() == "held\n"
    with pytest.raises(RuntimeError, match="being written by .*; wait for it or stop it"):
        stage_one(data)
    other.communicate()


def test_an_overfitted_batch_is_learnt(data):
    """A few clips seen again and again: they are found again far above chance (13 %)."""
    run, corpora, encoder = stage_one(data, epochs=30, learning_rate=3e-3)
    audio, items = corpora.audio("development", encoder.backbone), corpora.items("development")
    trainer = Trainer(encoder, audio, items, annotated(), run.parameters, (audio, items))
    log = trainer.run_all()
    assert log["validation mAP@10"].max() > 0.4 and log["loss"].iloc[-1] < 0.5 * log["loss"].iloc[0]
    run.let_go()


def test_the_best_epoch_is_kept_not_the_last(data, monkeypatch):
    from corrlib.training import trainer

    scores = iter([0.2, 0.9, 0.1])
    names = ("mAP@10", "R@1", "R@5", "R@10", "spread")
    monkeypatch.setattr(trainer, "validation_score", lambda *a, **k: dict.fromkeys(names, next(scores)))
    run, corpora, encoder = stage_one(data)
    audio = corpora.audio("development", encoder.backbone)
    trainer = Trainer(encoder, audio, corpora.items("development"), annotated(), run.parameters, (None, None))
    states, record = [], trainer._record

    def watch(*arguments):
        states.append({k: v.clone() for k, v in encoder.state_dict().items()})
        record(*arguments)

    trainer._record = watch
    trainer.run_all()
    assert all(torch.equal(v, states[1][k]) for k, v in encoder.state_dict().items())
    assert not all(torch.equal(v, states[2][k]) for k, v in encoder.state_dict().items())
    run.let_go()


def test_divergence_names_step_and_mend(data):
    run, corpora, encoder = stage_one(data)
    with torch.no_grad():
        encoder.audio_projection.weight.fill_(float("nan"))
    with pytest.raises(DivergenceError, match="loss is nan at step 0 .epoch 1.*soundscapes/dev.*lower learning_rate"):
        stages.train_stage_one(run, corpora, encoder)
    run.let_go()


def test_a_gradient_that_is_not_finite_stops_before_the_weights_are_lost(data, monkeypatch):
    """Of a loss that is finite; the last good checkpoint is named, and the weights are as they were."""
    run = stop_after(1, monkeypatch, data=data)
    run, corpora, encoder = stage_one(data)
    encoder.caption_projection.weight.register_hook(lambda gradient: gradient * float("inf"))
    said = f"gradient's norm is .* at step 3 .*last good checkpoint: {run.checkpoints()[0]}"
    with pytest.raises(DivergenceError, match=said):
        stages.train_stage_one(run, corpora, encoder)
    assert all(torch.isfinite(p).all() for p in encoder.parameters())
    run.let_go()


def test_a_collapsed_space_is_warned_of(data, capsys):
    run, corpora, encoder = stage_one(data, epochs=1, warmup_epochs=0.5)
    with torch.no_grad():
        encoder.audio_projection.weight.zero_()
        encoder.audio_projection.bias.fill_(1)
        encoder.caption_projection.weight.zero_()
        encoder.caption_projection.bias.fill_(1)
    for projection in (encoder.audio_projection, encoder.caption_projection):
        projection.requires_grad_(False)
    finish(run, corpora, encoder)
    assert "embedding space has collapsed" in capsys.readouterr().out
    assert "embedding space has collapsed" in run.path("progress.log").read_text()


def target_of(parameters, corpora):
    def embeddings(name):
        return teacher_embeddings(parameters.study, name, corpora)

    return build_target(parameters, corpora.items("development"), embeddings, corpora.truth("development"))


@pytest.fixture
def student(data):
    """A finished stage-1 run `one`."""
    return finish(*stage_one(data))


@pytest.mark.parametrize(
    "target", ["annotated", "self", "ensemble", "captions", "true", "shuffled", "random", "uniform"]
)
def test_every_target_is_a_distribution_over_the_batch(data, student, target):
    taught = {"teachers": ["one", "other"]} if target in ("ensemble", "shuffled") else {}
    if taught:
        finish(*stage_one(data, run="other", initialisation=1, epochs=2))
    parameters = stage_two(data, target=target, **taught)
    corpora = open_corpora(parameters)
    items = corpora.items("development")
    from corrlib.corpora.batches import epoch_batches

    batch = next(epoch_batches(items, 8, 5, 1, 0))
    found = target_of(parameters, corpora)(batch)
    if target == "annotated":
        assert found is None
        return
    by_clip, by_caption = found
    assert by_clip.shape == by_caption.shape == (8, 40)
    torch.testing.assert_close(by_clip.sum(0), torch.ones(40))
    torch.testing.assert_close(by_caption.sum(1), torch.ones(8))
    if target == "true":  # of clips equally true, each gets the same
        truth = torch.as_tensor(corpora.truth("development"))[batch.clip_rows][:, batch.caption_rows]
        torch.testing.assert_close(by_clip, (truth / parameters.temperature).softmax(0))
    if target == "ensemble":
        both = [teacher_embeddings("t", name, corpora) for name in taught["teachers"]]
        mean = sum(clips[batch.clip_rows] @ captions[batch.caption_rows].T for clips, captions in both) / 2
        torch.testing.assert_close(by_caption, (mean / parameters.temperature).softmax(1))
    if target == "uniform":
        torch.testing.assert_close(by_clip, torch.full((8, 40), 1 / 8))


def test_stage_two_at_its_own_estimate_starts_at_the_least_loss(data, student):
    """Self-distillation begins where student and teacher agree: the loss is the targets' entropy, its gradient 0."""
    parameters = stage_two(data, target="self")
    corpora, encoder = open_corpora(parameters), rebuild_encoder("t", "one").eval()
    items = corpora.items("development")
    from corrlib.corpora.batches import epoch_batches
    from corrlib.training.losses import stage_loss

    batch = next(epoch_batches(items, 8, 5, 1, 0))
    target = target_of(parameters, corpora)(batch)
    audio = corpora.audio("development", encoder.backbone)
    clips = encoder.embed_batch(audio.collate(audio.places(batch.clip_rows)))
    captions = encoder.embed_captions([items.texts[i] for i in batch.caption_rows])
    loss = stage_loss(clips @ captions.T, batch.annotated, 0.05, estimated=target, w_sup=0, w_dist=1)
    entropy = sum(-(t * t.log()).sum(axis).mean() / 2 for axis, t in enumerate(target))
    assert loss.item() == pytest.approx(entropy.item(), rel=1e-4)
    loss.backward()
    assert float(encoder.audio_projection.weight.grad.norm()) < 1e-3


def test_a_missing_teacher_is_named_not_skipped(data, student):
    parameters = stage_two(data, target="ensemble", teachers=["one", "two-that-is-not-there"])
    with pytest.raises(FileNotFoundError, match="two-that-is-not-there"):
        target_of(parameters, open_corpora(parameters))


def test_teachers_embed_what_they_were_not_trained_on_once(data, student, tmp_path, capsys):
    """Stage 1 on one corpus, stage 2 on another: the teachers embed the latter's training split."""
    soundscapes.write_corpus(tmp_path / "other", seed=2, sizes=SIZES | {"development": 20}, workers=1)
    other = open_corpora(stage_two(str(tmp_path / "other")))
    clips, captions = teacher_embeddings("t", "one", other)
    assert (len(clips), len(captions)) == (20, 100) and "embedding the training split" in capsys.readouterr().out
    encoder = rebuild_encoder("t", "one").eval()
    with torch.no_grad():
        expected = encoder.embed_captions(other.items("development").texts[:3])
    torch.testing.assert_close(captions[:3], expected, atol=1e-5, rtol=0)
    again = teacher_embeddings("t", "one", other)
    assert torch.equal(again[0], clips) and "embedding" not in capsys.readouterr().out
    own = teacher_embeddings("t", "one", open_corpora(stage_two(data)))
    assert len(own[0]) == 24


def test_a_checkpoint_of_another_model_is_refused(data, student):
    parameters = check(StageOneParameters, {"data": data, **SHORT, "backbone": "mn_tiny"})
    encoder = build_encoder(parameters, open_corpora(parameters))
    with pytest.raises(ValueError, match="model.safetensors does not fit this encoder; the first keys that differ"):
        load_weights(encoder, "t", "one")


def test_shuffled_teachers_are_the_same_up_to_clips():
    generator = torch.Generator().manual_seed(0)
    teacher = (torch.randn(6, 4, generator=generator), torch.randn(6, 4, generator=generator))
    from corrlib.corpora.batches import Batch

    everything = Batch(torch.arange(6), torch.arange(6), torch.eye(6).bool())
    order = torch.tensor([3, 1, 0, 2, 5, 4])
    plain = estimated([teacher], 0.1)(everything)
    mixed = estimated([teacher], 0.1, clip_order=order)(everything)
    torch.testing.assert_close(mixed[0], plain[0][order])


FULL = """
import resource, sys, os
os.environ["CORRLIB_RUNS"] = sys.argv[2]
import torch
from corrlib import files
torch.save({"epoch": 1}, sys.argv[1] + "/before.pt")
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from pathlib import Path
path = Path(sys.argv[1]) / "checkpoint.pt"
os.rename(sys.argv[1] + "/before.pt", path)
try:
    files.replace_with(path, lambda p: torch.save({"w": torch.randn(100000)}, p))
except OSError as error:
    print(error)
print(torch.load(path, weights_only=True), sorted(p.name for p in path.parent.iterdir()))
try:
    files.write_atomically(path, b"x" * 100000)
except OSError as error:
    print(error)
print(torch.load(path, weights_only=True), sorted(p.name for p in path.parent.iterdir()))
"""


def test_a_full_disk_loses_nothing(tmp_path):
    """A limit on file size stands for a full disk: the write fails half-way, the old checkpoint stays."""
    (tmp_path / "folder").mkdir()
    result = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "folder"), str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ},
    )
    lines = result.stdout.splitlines()
    assert result.returncode == 0, result.stderr
    assert len(lines) == 4 and all("free some space and run the same command again" in line for line in lines[::2])
    assert lines[1] == lines[3] == "{'epoch': 1} ['checkpoint.pt']"


def test_manifest_records_what_is_needed_to_repeat(data, student):
    manifest = json.loads((runs.root() / "t" / "one" / "manifest.json").read_text())
    assert manifest["parameters"]["learning_rate"] == StageOneParameters().learning_rate
    assert manifest["captions_seen"] >= 36 * 5
    assert set(manifest["packages"]) >= {"torch", "transformers"} and manifest["data_fingerprint"]
    queries = pd.read_csv(runs.root() / "t" / "one" / "queries.csv")
    assert len(queries) == 60 and (queries["annotated rank"] >= 1).all()
    metrics = json.loads((runs.root() / "t" / "one" / "metrics.json").read_text())
    assert queries["annotated ap@10"].mean() == pytest.approx(metrics["annotated"]["mAP@10"])


def test_two_runs_are_compared_in_one_line(data, student):
    from corrlib.reports.compare import compare

    finish(*stage_one(data, run="other", learning_rate=1e-4))
    table = compare("t/one", "t/other", resamples=200).set_index("metric")
    one, other = (json.loads((runs.root() / "t" / n / "metrics.json").read_text()) for n in ("one", "other"))
    expected = one["annotated"]["mAP@10"] - other["annotated"]["mAP@10"]
    assert table.loc["annotated mAP@10", "difference"] == pytest.approx(expected)
    assert (table["low"] <= table["difference"]).all() and (table["p_holm"] >= table["p"]).all()
    assert "true mAP@10" in table.index
    same = compare("t/one", "t/one", resamples=50)
    assert (same["difference"] == 0).all() and (same["p_holm"] == 1).all()


def test_a_long_epoch_speaks_within_itself(data, monkeypatch, capsys):
    from corrlib.training import trainer

    monkeypatch.setattr(trainer, "SPEAK_SECONDS", -1)
    run, corpora, encoder = stage_one(data, epochs=1, warmup_epochs=0.5)
    finish(run, corpora, encoder)
    assert "epoch 1/1  step 2/3  loss " in capsys.readouterr().out
    assert "epoch 1/1  step 2/3  loss " in run.path("progress.log").read_text()


def test_float16_that_never_gets_finite_gradients_stops(data):
    """Its scaler skips such steps and halves the scale; not for ever."""
    run, corpora, encoder = stage_one(data)
    trainer = Trainer(
        encoder,
        corpora.audio("development", encoder.backbone),
        corpora.items("development"),
        annotated(),
        run.parameters,
        (None, None),
    )
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**-17)
    with pytest.raises(DivergenceError, match="no scale of the loss gives a finite float16 gradient at step 0"):
        trainer._train_epoch()
    run.let_go()


def test_runs_to_be_compared_are_named_whole():
    from corrlib.reports.compare import compare

    with pytest.raises(ValueError, match="'ensemble-mn_tiny-seed1' names no run; write study/run"):
        compare("ensemble-mn_tiny-seed1", "t/two")


def scripted(monkeypatch, annotated_scores, true_scores):
    """Let validation score what is written down, epoch by epoch."""
    from corrlib.training import trainer

    scores = iter(zip(annotated_scores, true_scores, strict=True))

    def score(*arguments, **options):
        annotated_score, true_score = next(scores)
        return dict.fromkeys(("mAP@10", "R@1", "R@5", "R@10", "spread"), annotated_score) | {"true mAP@10": true_score}

    monkeypatch.setattr(trainer, "validation_score", score)


@pytest.mark.parametrize("select_by, kept", [("annotated mAP@10", 1), ("true mAP@10", 2), ("last epoch", 3)])
def test_the_epoch_is_chosen_by_what_the_run_says_and_the_last_stands_beside_it(data, monkeypatch, select_by, kept):
    scripted(monkeypatch, [0.9, 0.2, 0.1], [0.3, 0.5, 0.4])
    run, corpora, encoder = stage_one(data, select_by=select_by)
    states, record = [], Trainer._record

    def watch(self, *arguments):
        states.append({k: v.clone() for k, v in encoder.state_dict().items()})
        record(self, *arguments)

    monkeypatch.setattr(Trainer, "_record", watch)
    log, metrics = finish(run, corpora, encoder)
    assert runs.kept_epoch_of("t", "one") == kept and log["validation true mAP@10"].tolist() == [0.3, 0.5, 0.4]
    assert all(torch.equal(v, states[kept - 1][k]) for k, v in encoder.state_dict().items())
    encoder.load_state_dict(states[2])
    audio, items = corpora.audio("evaluation", encoder.backbone), corpora.items("evaluation")
    last, queries = judge(*embed(encoder, audio, items), items, corpora.truth("evaluation"))
    assert json.loads((run.folder / "last_epoch.json").read_text()) == last
    written = runs.read_table("t", "one", "queries-last_epoch.csv")
    pd.testing.assert_frame_equal(written, queries, check_dtype=False)
    assert (metrics == last) == (kept == 3) and not (run.folder / stages.LAST_EPOCH).exists()


def test_the_last_epoch_of_a_killed_run_is_the_one_that_it_would_have_had(data, monkeypatch):
    scripted(monkeypatch, [0.9, 0.2, 0.1], [0.3, 0.5, 0.4])
    whole, *rest = stage_one(data, run="whole")
    finish(whole, *rest)
    scripted(monkeypatch, [0.9, 0.2, 0.1], [0.3, 0.5, 0.4])
    run, corpora, encoder = stage_one(data, run="killed")
    stages.train_stage_one(run, corpora, encoder)  # and killed here, before its report
    run.let_go()
    finish(*stage_one(data, run="killed"))
    for name in ("last_epoch.json", "queries-last_epoch.csv", "overfit.json", "metrics.json"):
        assert (run.folder / name).read_bytes() == (whole.folder / name).read_bytes()


def test_a_relevance_of_other_clips_is_refused_before_training(data, tmp_path):
    path = tmp_path / "r.csv"
    path.write_text("query,audio_filenames\na dog barks,elsewhere.wav\n")
    run, corpora, encoder = stage_one(data, run="judged", relevance={"dcase": str(path)})
    with pytest.raises(ValueError, match="'elsewhere.wav', which is no clip of this split"):
        stages.train_stage_one(run, corpora, encoder)
    assert not run.checkpoints()


def test_watched_pairs_are_followed_and_change_nothing(data):
    log, metrics = finish(*stage_one(data, run="plain"))
    watched, again = finish(*stage_one(data, run="watched", watched_clips=8))
    assert metrics == again
    extra = [f"{kind} {value}" for kind in KINDS for value in ("similarity", "rank")]
    pd.testing.assert_frame_equal(watched.drop(columns=["seconds", *extra]), log.drop(columns="seconds"))
    assert watched["annotated rank"].between(0, 1).all() and watched["mismatch similarity"].notna().all()
    with pytest.raises(ValueError, match="watched_clips is 999, but the training split has"):
        stages.train_stage_one(*stage_one(data, run="many", watched_clips=999))
