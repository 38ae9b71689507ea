"""`make check`: what would stop a study is said first and all at once, and its hours are those of its steps."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from corrlib.benchmarks.check import splits
from corrlib.benchmarks.check.forecast import Forecast, Machine, disk_of_runs, largest_part, memory_of_step
from corrlib.benchmarks.check.models import Sizes, build, key_of, sizes_of, training_of
from corrlib.benchmarks.check.report import Report
from corrlib.benchmarks.check.splits import Split
from corrlib.benchmarks.check.steps import Cost, captions
from corrlib.study.plan import plan_runs
from tests import layouts

STUDY = """
title: A check
seeds: [1, 2]
backbones: [passt_tiny, mn_tiny]
settings: [continued, ensemble]
data_folder: $DATA
data: {corpus: clotho}
stage1: {pretraining_epochs: 0, epochs: 4, warmup_epochs: 1.0, cosine_epochs: 3.0, batch_clips: 64,
         captions_per_clip: 1, cache_log_mel: false, learning_rate: 1.0e-3}
stage2: {epochs: 3, batch_clips: 64, captions_per_clip: 5, cache_log_mel: false, learning_rate: 1.0e-3}
"""


@pytest.fixture
def studies(tmp_path, monkeypatch):
    """A folder for study files; nothing is fetched, finished or kept outside of the test's own folder."""
    monkeypatch.setenv("CORRLIB_STUDIES", str(tmp_path / "studies"))
    monkeypatch.setenv("CORRLIB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("CORRLIB_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("DATA", str(tmp_path / "corpus"))
    (tmp_path / "studies").mkdir()
    return tmp_path / "studies"


def planned(studies, content=STUDY):
    (studies / "x.yaml").write_text(content)
    plans = plan_runs("x")
    return plans, splits.look_at(plans.values())[0]


def cost(unit, update, forward, weights=0, trained=0, unit_bytes=0.0):
    return Cost(1, 1, [1.0], unit, update, forward, unit_bytes, 0.0, Sizes(weights, trained), "float32")


def costs_of(plans, audio, text):
    """Every backbone costs the same."""
    found = {}
    for plan in plans.values():
        if plan.kind in ("stage1", "stage2"):
            p = training_of(plan, plans)
            found |= {key_of(p, "audio"): audio, key_of(p, "text"): text}
    return found


def test_hours_are_those_of_the_steps(studies):
    """ClothoV2 as published: 3,839 / 1,045 / 1,045 clips of 15 to 30 s, so of 20 or 30 s that are computed."""
    plans, corpora = planned(studies)
    costs = costs_of(plans, cost(1e-3, 0.1, 1e-4), cost(1e-2, 0.2, 1e-3))
    found = Forecast(plans, corpora, costs, lambda *_: 0.0, Machine(True, 8, 1))
    mean = corpora["clotho", str(studies.parent / "corpus")]["development"].computed(30.0).mean()
    assert mean == pytest.approx((20 + 2 * 30) / 3, rel=0.01)
    for name, captions_per_clip, epochs in (("stage1-mn_tiny-seed1", 1, 4), ("ensemble-mn_tiny-seed1", 5, 3)):
        items = 3839 * 5 // captions_per_clip
        steps = items // 64 + (items % 64 >= 32)
        epoch = items * mean * 1e-3 + 3839 * 5 * 1e-2 + steps * 0.3
        epoch += 1045 * mean * 1e-4 + 5225 * 1e-3  # validation
        judged = (3 if name.startswith("ensemble") else 3 + 3839 / 1045) * (1045 * mean * 1e-4 + 5225 * 1e-3)
        run = found.runs[name]
        assert run.steps == steps and run.seconds == pytest.approx(epochs * epoch + judged, rel=1e-3)
    one, two = found.runs["stage1-mn_tiny-seed1"].seconds, found.runs["ensemble-mn_tiny-seed1"].seconds
    assert found.wall_seconds(list(found.runs)) == pytest.approx(4 * one + 8 * two)
    many = Forecast(plans, corpora, costs, lambda *_: 0.0, Machine(False, 100, 100))
    assert many.wall_seconds(list(many.runs)) == pytest.approx(one + two)  # a student waits for its teachers


def test_threads_read_while_a_step_is_computed(studies):
    plain = planned(studies)
    costs = costs_of(plain[0], cost(1e-3, 0.0, 0.0), cost(0.0, 0.0, 0.0))
    seconds = {}
    for workers in (0, 4):
        plans, corpora = planned(studies, STUDY.replace("epochs: 4,", f"epochs: 4, workers: {workers},"))
        reading = Forecast(plans, corpora, costs, lambda *_: 1.0, Machine(True, 8, 1))
        seconds[workers] = reading.runs["stage1-mn_tiny-seed1"]
    items, computed = 5 * 3839, 5 * 3839 * (80 / 3) * 1e-3
    others = 3839 + 3 * 1045 + 4 * 1045  # embedded once, and after every epoch
    assert seconds[0].seconds == pytest.approx(4 * (computed + items) + others, rel=0.01)
    assert seconds[4].seconds == pytest.approx((4 * items + others) / 4, rel=0.01) and seconds[4].waits_for_files


def test_auto_is_what_the_clips_allow(studies):
    """ClothoV2's clips differ in length: with `auto` they are decoded in every epoch, and nothing stops that."""
    plans, corpora = planned(studies, STUDY.replace("cache_log_mel: false", "cache_log_mel: auto"))
    [splits_of] = corpora.values()
    p = training_of(plans["stage1-mn_tiny-seed1"], plans)
    assert p.cache_log_mel == "auto" and not splits_of["development"].keeps_log_mels(p)
    alike = Split(np.full(3, 5), np.array([4.0]), "counted")
    assert alike.keeps_log_mels(p) and not alike.keeps_log_mels(p.model_copy(update={"cache_log_mel": False}))
    costs = costs_of(plans, cost(1e-3, 0.1, 1e-4), cost(1e-2, 0.2, 1e-3))
    slow, quick = (Forecast(plans, corpora, costs, lambda *_, s=s: s, Machine(True, 8, 1)) for s in (1.0, 0.0))
    assert slow.runs["stage1-mn_tiny-seed1"].seconds > quick.runs["stage1-mn_tiny-seed1"].seconds + 4 * 3839
    assert not any("cache_log_mel" in sentence for sentence in Report("x", 1, 0.0).problems)


def test_relevances_by_name_that_are_not_there_are_named(studies):
    (studies / "x.yaml").write_text(f"{STUDY}relevance: {{mine: nowhere.csv, dcase: lists/metadata_eval.csv}}\n")
    found = Report("x", 1, 0.0).problems
    assert any("relevance.mine names nowhere.csv, which does not exist" in sentence for sentence in found)
    assert not any("metadata_eval" in sentence for sentence in found)  # `make data` brings it


HEADS = STUDY.replace("cache_log_mel: false,", "cache_log_mel: false, train_audio: heads, train_text: heads,", 1)


def test_features_are_counted_once_however_many_runs_use_them(studies):
    plans, corpora = planned(studies, HEADS)
    costs = costs_of(plans, cost(1e-5, 0.0, 1e-2), cost(1e-6, 0.0, 1e-3))
    found = Forecast(plans, corpora, costs, lambda *_: 0.0, Machine(False, 2, 2))
    clips, mean = 3839 + 2 * 1045, 80 / 3
    assert found.features == pytest.approx(2 * clips * mean * 1e-2 + 5 * clips * 1e-3, rel=0.01)  # two backbones
    run = found.runs["stage1-mn_tiny-seed2"]
    assert run.seconds == pytest.approx(4 * 5 * 3839 * 1.1e-5, rel=0.01)


def test_memory_of_a_step_and_the_part_that_fits(studies):
    plans, corpora = planned(studies)
    p = training_of(plans["stage1-mn_tiny-seed1"], plans)
    costs = costs_of(plans, cost(0, 0, 0, 100, 100, 5.0), cost(0, 0, 0, 1000, 200, 7.0))
    one = corpora["clotho", p.data]
    # weights, gradients and two moments; 64 clips of 30 s, a caption each
    assert memory_of_step(p, one, costs) == 100 + 1000 + 3 * 300 + 64 * (30 * 5 + 7)
    assert largest_part(p, one, costs, 2000 + 17 * 157) == 16 and largest_part(p, one, costs, 2000) == 0
    assert memory_of_step(p, one, costs, 16) == 2000 + 16 * 157


def test_a_run_leaves_what_the_forecast_of_the_disk_says(studies):
    plans, corpora = planned(studies)
    sizes = {"audio": Sizes(1000, 900), "text": Sizes(500, 400)}
    found = disk_of_runs(plans, corpora, lambda _, tower: sizes[tower], Path("runs"), 2)
    rows = 6 * 1045 * 128 * 4
    assert found.kept == 4 * (1500 + 2 * rows + 6 * 3839 * 128 * 4) + 8 * (1300 + 2 * rows)
    assert found.passing == 2 * 3 * 4 * 1300  # two runs; of each three checkpoints of four copies


def test_sizes_are_those_of_the_networks():
    p = training_of(next(p for p in plan_runs("smoke").values() if p.kind == "stage1"), {})
    for device in ("meta", "cpu"):
        encoder = build(p, "audio", torch.device(device))
        found = sizes_of(encoder, "audio")
        network = (*encoder.backbone.parameters(), *encoder.audio_projection.parameters())
        assert found.trained == 4 * sum(x.numel() for x in network) < found.weights
    assert [len(text.split()) for text in captions(50, np.array([3, 9]))] != [3] * 50


@pytest.mark.parametrize(
    "seconds, computed, whole",
    [(4.2, 5, True), (10.0, 10, True), (10.1, 20, True), (10.1, 11, False), (28, 30, True), (99, 30, True)],
)
def test_seconds_that_are_computed(seconds, computed, whole):
    one = Split(np.array([5]), np.array([seconds]), "counted")
    assert one.computed(30.0, whole).tolist() == [computed]


def test_corpora_that_are_there_are_counted_and_others_taken_as_published(studies, tmp_path):
    layouts.clotho(tmp_path / "corpus" / "clotho", names=("a.wav", "b.wav", "c.wav", "d.wav"))
    plans, corpora = planned(studies, STUDY.replace("corpus: clotho", "corpus: clotho+audiocaps"))
    (found,) = corpora.values()
    assert found["development"].clips == 4 + 49838 and found["development"].captions.sum() == 4 * 5 + 49838
    assert found["validation"].clips == 4 and found["validation"].known == "counted"
    assert found["validation"].seconds.tolist() == pytest.approx([0.4, 0.5, 0.6, 0.7])
    assert found["development"].known == "counted and as published"


EVERYTHING = """
title: All that is wrong
seeds: [1]
backbones: [mn10, passt_tiny, other]
settings: [continued]
data_folder: $DATA
data: {corpus: clotho}
members: {other: {backbone: "hf:nowhere/such-a-model", pretraining_epochs: 0}}
teachers: ["embeddings:nowhere.safetensors"]
stage1: {text_encoder: roberta-large, text_weights: nowhere/roberta-large, pretraining_epochs: 0, cache_log_mel: true}
stage2: {cache_log_mel: true, relevance: nowhere.csv}
backbone_stage1: {mn10: {weights: nowhere/mn10_as_mAP_471.pt}, passt_tiny: {weights: nowhere/mine.pt}}
"""


def test_everything_that_would_stop_a_study_is_said_at_once(studies, tmp_path, capsys, monkeypatch):
    (studies / "x.yaml").write_text(EVERYTHING)
    layouts.clotho(tmp_path / "corpus")
    (tmp_path / "corpus" / "evaluation" / "b.wav").unlink()
    monkeypatch.setattr(Report, "_measured", lambda self: {})  # what is not there cannot be timed
    assert Report("x", 2, 0.0).tell() == 1
    printed = capsys.readouterr().out
    found = [line[2:] for line in printed.splitlines() if line.startswith("- ")]
    for words in (  # mn10's weights and five files of the text encoder are published
        "lacks 6 published files.*`make data STUDY=x DATA=.*gets them .about 1.4 GB",
        "1 of 3 clips of clotho evaluation have no audio file, first clotho/evaluation/b.wav; put them there",
        "the weights nowhere/mine.pt of passt_tiny are not there",
        "the backbone hf:nowhere/such-a-model is not at hand",
        "cache_log_mel needs clips of one length",
        "relevance names nowhere.csv, which does not exist",
        "the teacher's file nowhere.safetensors does not exist",
    ):
        assert sum(bool(re.search(words, line)) for line in found) == 1, (words, found)
    assert len(found) == 7 and printed.index("What would stop it") < printed.index("Corpora:")


def test_a_study_of_own_data_without_its_folder_says_so(studies, monkeypatch, capsys):
    monkeypatch.delenv("DATA")
    (studies / "x.yaml").write_text(STUDY.replace("clotho", "folder"))
    assert Report("x", 1, 0.0).tell() == 1
    printed = capsys.readouterr().out
    assert "needs $DATA: run `make reproduce STUDY=x DATA=...`" in printed and "can be told when" in printed
    assert printed.count("\n- ") == 1  # and no word of a folder that nobody named


def test_the_command_on_a_corpus_that_is_there(studies, tmp_path):
    """As `make check` runs it: tiny presets, steps that are really taken, hours, and a status of 0."""
    layouts.clotho(tmp_path / "corpus")
    (studies / "x.yaml").write_text(STUDY.replace("batch_clips: 64", "batch_clips: 3"))
    command = [sys.executable, "-m", "corrlib.benchmarks.check", "--cores", "1", "--seconds", "30", "--", "x"]
    result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert "Nothing that can be seen beforehand would stop it." in lines
    assert any(re.search(r"development +3 clips +15 captions  0.4 to 0.6 s, counted", line) for line in lines)
    timed = [re.match(r"  (\w+) .*\(a whole batch\): ([\d.e-]+ ?){3} s$", line) for line in lines]
    assert [match[1] for match in timed if match] == ["passt_tiny", "mn_tiny", "tiny"]
    runs = [line for line in lines if re.match(r"  stage [12] \w+_tiny: [24] x", line)]
    assert len(runs) == 4 and any(line.startswith("In all ") for line in lines)
    assert not (tmp_path / "runs").exists()
