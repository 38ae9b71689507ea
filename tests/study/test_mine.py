"""Studies of one's own recordings: the template as it stands, and what is said of mistakes before anything runs."""

import wave
from pathlib import Path

import pandas as pd
import pytest

from corrlib.corpora import tables
from corrlib.reports.results import reached
from corrlib.study import inputs
from corrlib.study.fetch import missing_of_study
from corrlib.study.parameters import ParameterError
from corrlib.study.plan import plan_runs
from corrlib.study.reproduce import reproduce
from corrlib.study.study_file import load_study

OWN = """title: My recordings
seeds: [1]
backbones: [passt_tiny, mn_tiny]
data_folder: $DATA
data: {corpus: folder}
"""


@pytest.fixture
def sounds(tmp_path, monkeypatch):
    """A folder of own recordings, given as DATA: 12 to train on, 4 to choose by, 4 to judge by."""
    folder = tmp_path / "sounds"
    folder.mkdir()
    for split, clips in (("development", 12), ("validation", 4), ("evaluation", 4)):
        rows = [{"file": f"{split}-{n}.wav", "caption": f"sound {n} of {split}, near"} for n in range(clips)]
        pd.DataFrame(rows).to_csv(folder / f"{split}.csv", index=False)
        for n, row in enumerate(rows):
            with wave.open(str(folder / row["file"]), "wb") as file:
                file.setparams((1, 2, 16000, 0, "NONE", ""))
                file.writeframes(bytes([n, len(split)]) * 1600)
    monkeypatch.setenv("DATA", str(folder))
    monkeypatch.setenv("CORRLIB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("CORRLIB_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(tables, "_told", set())
    return folder


@pytest.fixture
def studies(tmp_path, monkeypatch):
    """A folder of study files."""
    folder = tmp_path / "studies"
    folder.mkdir()
    monkeypatch.setenv("CORRLIB_STUDIES", str(folder))
    return folder


def of_kind(plans, *kinds):
    return {run: plan.parameters for run, plan in plans.items() if plan.kind in kinds}


def test_the_template_plans_on_any_folder(monkeypatch):
    monkeypatch.setenv("DATA", "/my sounds")
    plans = plan_runs("mine")
    assert {plan.parameters["data"] for plan in plans.values() if plan.kind != "results"} == {"/my sounds"}
    trained = of_kind(plans, "stage1", "stage2")
    assert len(trained) == 2 + 2 * 2
    for parameters in trained.values():  # few clips, each with few captions
        assert parameters["corpus"] == "folder" and parameters["batch_clips"] <= 16


def test_the_template_with_published_networks(monkeypatch, tmp_path):
    """Their recipe in both stages, nothing pretrained, and `make data` knows what is to be fetched."""
    monkeypatch.setenv("DATA", "/my sounds")
    plans = plan_runs("mine-gpu")
    for parameters in of_kind(plans, "stage1", "stage2").values():
        assert (parameters["epochs"], parameters["cosine_epochs"], parameters["learning_rate"]) == (20, 15.0, 2e-5)
        assert parameters["corpus"] == "folder" and parameters["captions_per_clip"] == 1
    weights = ["passt-s-f128-p16-s16-ap.468.pt", "mn10_as_mAP_471.pt"]
    assert [p["weights"] for p in of_kind(plans, "stage1").values()] == [f"weights/{file}" for file in weights]
    study = load_study("mine-gpu")
    monkeypatch.chdir(tmp_path)
    wanted = {str(item.path) for item in missing_of_study(study)}
    assert {f"weights/{file}" for file in weights} < wanted and "weights/roberta-large/model.safetensors" in wanted


def test_without_a_folder_it_says_what_to_give(monkeypatch):
    monkeypatch.delenv("DATA", raising=False)
    with pytest.raises(ParameterError, match=r"needs \$DATA: run `make reproduce STUDY=mine DATA=...`"):
        plan_runs("mine")


# a mistake, the line that is named, and what is said of it
MISTAKES = {
    "no folder": (OWN.replace("data_folder: $DATA\n", ""), 4, "add `data_folder: $DATA` at the top level"),
    "data below data": (OWN.replace("folder}", "folder, data: /x}"), 5, "data cannot give 'data': `data_folder`, at"),
    "data of a stage": (OWN + "stage1:\n  epochs: 3\n  data: /x\n", 8, "stage1 cannot give 'data': `data_folder`"),
    "a seed of a stage": (OWN + "training: {seed: 3}\n", 6, "training cannot give 'seed': `seeds`, at the top level"),
    "a backbone of a stage": (OWN + "stage1: {backbone: mn_tiny}\n", 6, "stage1 cannot give 'backbone': `backbones`"),
    "a target of stage 2": (OWN + "stage2: {target: self}\n", 6, "stage2 cannot give 'target': `settings` and"),
    "relevance of the data": (
        OWN.replace("folder}", "folder, relevance: r.csv}"),
        5,
        "'relevance' is no parameter of data; it belongs at the top level, for all runs of the study",
    ),
    "stage 1 in stage 2": (OWN + "stage2: {text_encoder: tiny}\n", 6, "'text_encoder' is no parameter of stage2; it"),
    "stage 1 in both": (
        OWN + "training: {weights: published}\n",
        6,
        "'weights' is no parameter of training; it belongs",
    ),
    "a temperature": (
        OWN + "stage2:\n  temperature: -1\n",
        7,
        "(stage2.temperature), run 'continued-passt_tiny-seed1'",
    ),
    "one of both": (OWN + "training: {temperature: -1}\n", 6, "(training.temperature), run 'stage1-passt_tiny-seed1'"),
    "one of a variant": (OWN + "variants: {v: {stage2: {epochs: 0}}}\n", 6, "(variants.v.stage2.epochs), run 'contin"),
    "a target": (OWN + "points: {p: {target: enssemble}}\n", 6, "(points.p.target), run 'p-passt_tiny-seed1'"),
    "the truth": (OWN + "settings: [continued, 'true']\n", 6, "(settings), run 'true-passt_tiny-seed1': target 'true'"),
    "an ensemble of one": (OWN.replace("passt_tiny, ", ""), 3, "(backbones), run 'ensemble-mn_tiny-seed1': target"),
    "a number in quotes": (OWN + "stage2: {learning_rate: '1e-3'}\n", 6, "write 1e-3 without quotes"),
    "a decimal comma": (OWN + "stage2: {learning_rate: 0,001}\n", 6, "decimals are written with a point: 0.001"),
    "a bare true": (OWN + "settings: [continued, true]\n", 6, 'write "true", in quotes'),
    "no list": (OWN.replace("[1]", "1"), 2, "write [1]"),
    "an empty section": (OWN + "stage2:\n", 6, "give it a value, or remove the line"),
    "a whole number": (OWN + "stage2: {epochs: 3.0}\n", 6, "write 3"),
    "a key twice": (OWN + "seeds: [2]\n", 6, "key 'seeds' stands there twice"),
    "a key of a section twice": (OWN + "stage2: {epochs: 3, epochs: 4}\n", 6, "key 'epochs' stands there twice"),
}


@pytest.mark.parametrize("text, line, sentence", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_refused_with_its_line_when_the_study_is_planned(text, line, sentence, studies, sounds):
    (studies / "own.yaml").write_text(text)
    with pytest.raises(ParameterError) as caught:
        plan_runs("own")
    assert f"own.yaml, line {line}" in str(caught.value).replace(" is not valid YAML", "")
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


# what is there or not, beside the study file: a mistake that else shows after stage 1 has trained
LACKS = {
    "weights": (
        "stage1: {weights: none.pt}\n",
        "line 6 (stage1.weights), run 'stage1-passt_tiny-seed1': weights names none.pt",
    ),
    "relevance": (
        "stage2: {relevance: none.csv}\n",
        "line 6 (stage2.relevance), run 'continued-passt_tiny-seed1': relevance",
    ),
    "relevance of all": ("relevance: none.csv\n", "line 6 (relevance), run 'stage1-passt_tiny-seed1': relevance"),
    "a folder of CLAP": ("teachers: ['clap:/no/folder']\n", "teachers names /no/folder, which does not exist"),
    "a teacher": (
        "teachers: ['embeddings:none.safetensors']\n",
        "teachers names none.safetensors, which does not exist",
    ),
    "clips": (
        "stage2: {batch_clips: 13}\n",
        "line 6 (stage2.batch_clips), run 'continued-passt_tiny-seed1': batch_clips is 13, but the training split has",
    ),
}


@pytest.mark.parametrize("text, sentence", LACKS.values(), ids=LACKS)
def test_what_stage_two_will_lack_is_refused_before_stage_one(text, sentence, studies, sounds):
    (studies / "own.yaml").write_text(OWN + text)
    with pytest.raises(ParameterError) as caught:
        reproduce("own", 1, dry_run=True)
    assert sentence in str(caught.value)


def test_tables_are_read_before_anything_runs(studies, sounds, monkeypatch):
    (studies / "own.yaml").write_text(OWN)
    (sounds / "evaluation.csv").write_text("file,caption\na.wav,...\n")
    with pytest.raises(
        ParameterError, match="own.yaml, line 4 .data_folder., run 'data-seed1': .*evaluation.csv has an e"
    ):
        reproduce("own", 1, dry_run=True)
    monkeypatch.setenv("DATA", "/no such folder")
    with pytest.raises(
        ParameterError, match="corpus folder /no such folder does not exist; .* give its folder by DATA="
    ):
        reproduce("own", 1, dry_run=True)


def test_a_batch_that_nobody_asked_for_is_said_and_a_folder_that_is_not_used_too(studies, sounds, capsys):
    (studies / "own.yaml").write_text(OWN)
    assert reproduce("own", 1, dry_run=True) == 0
    assert "batch_clips is 64 if not given, and the training split has 12 items" in capsys.readouterr().out
    (studies / "composed.yaml").write_text("title: t\nseeds: [1]\nbackbones: [mn_tiny]\nsettings: [self]\n")
    assert reproduce("composed", 1, dry_run=True) == 0
    said = capsys.readouterr().out
    assert f"DATA={sounds} is not used" in said and "as by `data_folder: $DATA`" in said


def test_what_is_given_once_holds_for_both_stages(studies, sounds):
    (studies / "first.yaml").write_text(OWN + "training: {epochs: 7, temperature: 1e-1}\nstage2: {epochs: 3}\n")
    (studies / "own.yaml").write_text("extends: first\ntraining: {epochs: 5}\nstage1: {temperature: 0.2}\n")
    first, own = plan_runs("first"), plan_runs("own")
    for plans, epochs, temperatures in ((first, (7, 3), (0.1, 0.1)), (own, (5, 5), (0.2, 0.1))):
        one, two = plans["stage1-mn_tiny-seed1"].parameters, plans["ensemble-mn_tiny-seed1"].parameters
        assert (one["epochs"], two["epochs"]) == epochs and (one["temperature"], two["temperature"]) == temperatures


def test_a_mistake_in_what_is_extended_is_named_there(studies, sounds):
    (studies / "first.yaml").write_text(OWN + "stage2: {w_dist: -1.0}\n")
    (studies / "own.yaml").write_text("extends: first\ntitle: another\n")
    with pytest.raises(ParameterError, match=r"first.yaml, line 6 \(stage2.w_dist\)"):
        plan_runs("own")


def test_published_weights_are_named_by_one_word(studies, sounds):
    """For every backbone that has some; where `make data` puts them."""
    text = OWN.replace("passt_tiny,", "passt_s16, mn-all,") + "members: {mn-all: {backbone: mn10, audio_layers: all}}\n"
    (studies / "own.yaml").write_text(text + "stage1: {weights: published}\n")
    found = {run.split("-seed")[0]: p["weights"] for run, p in of_kind(plan_runs("own"), "stage1").items()}
    assert found == {
        "stage1-passt_s16": "weights/passt-s-f128-p16-s16-ap.468.pt",
        "stage1-mn-all": "weights/mn10_as_mAP_471.pt",
        "stage1-mn_tiny": "",
    }


def test_a_folder_of_the_home_and_a_name_in_braces(studies, sounds):
    (studies / "own.yaml").write_text(OWN.replace("$DATA", "${DATA}"))
    assert load_study("own").data_folder == str(sounds)
    (studies / "own.yaml").write_text(OWN.replace("$DATA", "~/sounds"))
    assert load_study("own").data_folder == str(Path.home() / "sounds")


def test_no_ceiling_is_known_of_a_corpus_without_truth():
    row = {"backbone": "a", "setting": "self", "metric": "mAP@10", "mean": 0.5, "low": 0.4, "high": 0.6, "seeds": 1}
    table = reached(pd.DataFrame([row]), {})
    assert table.empty and "share mean" in table


def test_what_has_kept_its_log_mels_is_what_auto_wants():
    """Runs of before `auto` stay what they are; what was told not to keep them, or could not, is another."""
    assert inputs.other_parameters({"cache_log_mel": True}, {"cache_log_mel": "auto"}) == []
    for before, now in ((False, "auto"), ("auto", False), (True, False)):
        assert inputs.other_parameters({"cache_log_mel": before}, {"cache_log_mel": now})
