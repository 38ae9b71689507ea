"""Variants: parts of the training split, wrong captions, models of their own; what was finished elsewhere is taken
over.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from corrlib import soundscapes
from corrlib.corpora import list_corpus
from corrlib.corpora.parts import swap_captions, take
from corrlib.corpora.splits import open_corpora
from corrlib.files import replace_with
from corrlib.models.backbones import build_backbone
from corrlib.models.build import build_encoder
from corrlib.reports import ablations, results, variants
from corrlib.study import code, reproduce, runs
from corrlib.study.parameters import ParameterError, StageOneParameters, check
from corrlib.study.plan import plan_runs
from corrlib.training import stages
from tests.finished import declare_again, finish_run
from tests.reports.test_ablations import write_run

SIZES = {"pretraining": 8, "development": 20, "validation": 4, "evaluation": 4}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    soundscapes.write_corpus(folder, seed=1, sizes=SIZES, workers=1)
    return str(folder)


@pytest.fixture
def corpus(data):
    return list_corpus("soundscapes", data, "development")


def test_a_share_is_part_of_a_greater_one_and_keeps_order(corpus):
    half, rows, captions = take(corpus, 0.5, 3)
    assert len(half.clips) == 10 and len(half.captions) == 50
    assert half.clips["clip_id"].tolist() == corpus.clips["clip_id"].iloc[rows].tolist()
    assert half.captions["text"].tolist() == corpus.captions["text"].iloc[captions].tolist()
    assert set(take(corpus, 0.25, 3)[1]) < set(rows) and set(take(corpus, 0.5, 4)[1]) != set(rows)
    with pytest.raises(ValueError, match="development_share 0.01 of 20 clips is no clip"):
        take(corpus, 0.01, 3)


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_swapped_captions_are_of_other_clips_and_none_is_lost(corpus, share):
    swapped, texts = swap_captions(corpus, share, 3)
    own = corpus.captions["clip_id"].to_numpy()
    moved = texts != np.arange(len(own))
    assert moved.sum() == pytest.approx(share * len(own), abs=6) and (own[texts[moved]] != own[moved]).all()
    assert sorted(texts) == list(range(len(own)))
    assert swapped.captions["text"].tolist() == corpus.captions["text"].iloc[texts].tolist()
    assert swapped.captions["caption_id"].equals(corpus.captions["caption_id"])


def corpora_of(data, **changes):
    return open_corpora(check(StageOneParameters, {"data": data, "backbone": "mn_tiny", **changes}))


def test_truth_and_audio_follow_the_part_that_is_used(data):
    part = corpora_of(data, development_share=0.5, swapped_captions=0.4)
    whole, truth = corpora_of(data), soundscapes.load_truth(data, "development")
    scenes = {scene["file"]: scene for scene in soundscapes.load_scenes(data)["development"]}
    texts = {c["text"]: c["claims"] for scene in scenes.values() for c in scene["captions"]}
    corpus, found = part.corpus("development"), part.truth("development")
    assert found.shape == (10, 50)
    for row, path in enumerate(corpus.clips["path"]):
        facts = soundscapes.facts(scenes[path.rsplit("/", 1)[1]])
        for column, text in enumerate(corpus.captions["text"]):
            claims = {tuple(claim) for claim in texts[text]}
            assert found[row, column] == pytest.approx(len(claims & set(facts)) / len(claims))
    assert part.truth_of("development", [2, 5], [7]) == pytest.approx(found[[2, 5]][:, [7]])
    assert truth.shape == (20, 100) and part.truth("validation").shape == (4, 20)
    backbone = build_backbone("mn_tiny")
    rows = [whole.corpus("development").clips["path"].tolist().index(path) for path in corpus.clips["path"]]
    assert torch.equal(
        part.audio("development", backbone).log_mel(torch.arange(10)),
        whole.audio("development", backbone).log_mel(torch.tensor(rows)),
    )


def test_members_share_the_pretrained_backbone_but_nothing_else(data):
    encoders = []
    for initialisation in (0, 1, 1):
        corpora = corpora_of(data, initialisation=initialisation)
        encoders.append(build_encoder(corpora.parameters, corpora).state_dict())
    first, second, again = encoders
    same = {key: torch.equal(first[key], second[key]) for key in first}
    assert all(same[k] for k in first if k.startswith("backbone."))
    assert not any(same[k] for k in first if "projection" in k and k.endswith("weight"))
    assert all(torch.equal(second[key], again[key]) for key in second)


def test_a_pretrained_backbone_is_found_again(data, tmp_path, monkeypatch):
    monkeypatch.setenv("CORRLIB_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("CORRLIB_RUNS", str(tmp_path / "runs"))

    def pretrained(name, **changes):
        values = {"study": "t", "run": name, "data": data, "backbone": "mn_tiny", "pretraining_epochs": 1, **changes}
        run = runs.Run(check(StageOneParameters, values), "04_stage1_mn")
        backbone = build_encoder(run.parameters, corpora := open_corpora(run.parameters)).backbone
        return stages.pretrain_backbone(run, corpora, backbone), backbone.state_dict()

    losses, weights = pretrained("one")
    (path,) = (tmp_path / "data" / "pretrained").glob("*.safetensors")
    monkeypatch.setattr(stages, "pretrain", None)  # whoever trains again fails
    found = pretrained("two", initialisation=2)
    assert found[0] == losses and all(torch.equal(weights[k], found[1][k]) for k in weights)
    with pytest.raises(TypeError):
        pretrained("three", pretraining_learning_rate=1e-3)
    path.write_bytes(b"half a file")
    with pytest.raises(TypeError):
        pretrained("four")


STUDY = {"title": "t", "seeds": [1], "backbones": ["passt_tiny", "mn_tiny"], "settings": ["continued", "ensemble"]}


def plan(tmp_path, **changes):
    (tmp_path / "s.yaml").write_text(json.dumps({**STUDY, **changes}))
    return plan_runs("s", tmp_path)


def test_variants_have_models_of_their_own(tmp_path):
    plans = plan(
        tmp_path,
        point_backbones=["mn_tiny"],
        variants={
            "half": {"training": {"development_share": 0.5}, "stage2": {"epochs": 3}},
            "clear": {"data": {"ambiguity": 0.0}},
        },
        ablations={"10_ablation_scale": ["half"]},
    )
    student = plans["ensemble-half-mn_tiny-seed1"]
    assert student.parameters["teachers"] == ["stage1-half-passt_tiny-seed1", "stage1-half-mn_tiny-seed1"]
    assert student.parameters["epochs"] == 3 and student.parameters["development_share"] == 0.5
    assert plans["stage1-half-mn_tiny-seed1"].parameters["development_share"] == 0.5
    assert plans["stage1-half-mn_tiny-seed1"].needs == ("data-seed1", "stage1-mn_tiny-seed1")
    assert "ensemble-half-passt_tiny-seed1" not in plans
    clear = plans["data-clear-seed1"].parameters
    assert clear["ambiguity"] == 0.0 and clear["data"] != plans["data-seed1"].parameters["data"]
    assert plans["stage1-clear-mn_tiny-seed1"].parameters["data"] == clear["data"]
    assert "data-clear-seed1" in plans["stage1-clear-mn_tiny-seed1"].needs
    assert plans["ablation_scale"].parameters["variants"] == ["half"]
    needs = plans["ablation_scale"].needs
    assert {"continued-half-mn_tiny-seed1", "correspondences-half-seed1", "continued-mn_tiny-seed1"} <= set(needs)
    names = list(plans)
    assert all(names.index(n) < names.index(p.name) for p in plans.values() for n in p.needs)


def test_students_of_students(tmp_path):
    plans = plan(
        tmp_path,
        points={"second": {"target": "ensemble", "student": "ensemble", "teachers_of": "ensemble"}},
        members={"mn_tiny-2": {"backbone": "mn_tiny", "initialisation": 1}},
    )
    second = plans["second-mn_tiny-seed1"].parameters
    assert second["student"] == "ensemble-mn_tiny-seed1"
    assert second["teachers"] == ["ensemble-passt_tiny-seed1", "ensemble-mn_tiny-seed1"]
    assert plans["stage1-mn_tiny-2-seed1"].parameters["initialisation"] == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variants": {"x": {"trainig": {}}}}, "variants.x.trainig"),
        ({"variants": {"x": {"backbones": ["mn_tin"]}}}, "'mn_tin'; did you mean 'mn_tiny'"),
        ({"variants": {"x": {"settings": ["selv"]}}}, "unknown setting 'selv'"),
        ({"variants": {"x": {"training": {"development_shar": 0.5}}}}, "did you mean 'development_share'"),
        ({"members": {"x": {"backbone": "mn_tin"}}}, "member 'x' names 'mn_tin'; did you mean 'mn_tiny'"),
        ({"points": {"x": {"student": "ensembl"}}}, "'ensembl'; did you mean 'ensemble'"),
    ],
)
def test_wrong_variants_are_named(tmp_path, changes, message):
    with pytest.raises(ParameterError, match=message):
        plan(tmp_path, **changes)


def test_finished_runs_of_the_base_are_taken_over(tmp_path, monkeypatch):
    monkeypatch.setenv("CORRLIB_RUNS", str(tmp_path / "runs"))
    (tmp_path / "studies").mkdir()
    same = {**STUDY, "data_folder": "d/{seed}"}
    (tmp_path / "studies" / "old.yaml").write_text(json.dumps(same))
    (tmp_path / "studies" / "new.yaml").write_text(json.dumps({**same, "base": "old", "stage2": {"epochs": 4}}))
    old, new = (plan_runs(s, tmp_path / "studies") for s in ("old", "new"))
    for name in ("data-seed1", "stage1-mn_tiny-seed1", "ensemble-mn_tiny-seed1", "correspondences-seed1"):
        notebook = Path(old[name].notebook).stem
        made_of = {"code": "other" if name.startswith("corr") else code.fingerprints(notebook)["fingerprint"]}
        files = {"metrics.json": "{}", "model.safetensors": b"weights", "progress.log": "one\n"}
        finish_run("old", name, files, parameters=old[name].parameters, notebook=notebook, made_of=made_of)
    assert reproduce.adopt("new", new, tmp_path / "studies") == ["data-seed1", "stage1-mn_tiny-seed1"]
    assert runs.read_manifest("new", "stage1-mn_tiny-seed1")["taken_from"] == "old"
    assert runs.read_metrics("new", "stage1-mn_tiny-seed1") == {} and not runs.is_finished(
        "new", "ensemble-mn_tiny-seed1"
    )
    assert runs.read_manifest("old", "stage1-mn_tiny-seed1")["study"] == "old"
    taken, source = (tmp_path / "runs" / study / "stage1-mn_tiny-seed1" for study in ("new", "old"))
    with open(taken / "progress.log", "a", encoding="utf-8") as file:
        file.write("of the new study\n")
    replace_with(taken / "model.safetensors", lambda path: path.write_bytes(b"others"))
    assert runs.damaged(source, runs.read_manifest("old", source.name)) == []
    assert (source / "progress.log").read_text() == "one\n"


def test_only_the_runs_that_are_needed(tmp_path):
    plans = plan(tmp_path)
    assert set(reproduce.needed(plans, ["continued-mn_tiny-seed1"])) == {
        "continued-mn_tiny-seed1",
        "stage1-mn_tiny-seed1",
        "data-seed1",
    }
    with pytest.raises(ParameterError, match="no run 'continued-mn-seed1'; did you mean 'continued-mn_tiny-seed1'"):
        reproduce.needed(plans, ["continued-mn-seed1"])


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """Two seeds of a study with two variants, whose students differ from their `continued` by known amounts."""
    monkeypatch.setenv("CORRLIB_RUNS", str(tmp_path))
    for seed in (1, 2):
        base = np.random.default_rng(seed).uniform(0.3, 0.6, 40)
        for variant, gain, level in (("", 0.02, 0.0), ("share-0.5-", 0.05, -0.1), ("share-0.5-steps-", -0.03, -0.05)):
            write_run(tmp_path, f"stage1-{variant}".rstrip("-"), "mn_tiny", seed, base + level, setting="stage1")
            write_run(tmp_path, f"continued-{variant}".rstrip("-"), "mn_tiny", seed, base + level, setting="continued")
            write_run(tmp_path, f"ensemble-{variant}".rstrip("-"), "mn_tiny", seed, base + level + gain)
            estimate = {"metrics.json": json.dumps({"true": {"mAP@10": 0.4}})}
            finish_run("abl", f"correspondences-{variant}seed{seed}", estimate)
            run = tmp_path / "abl" / f"stage1-{variant}mn_tiny-seed{seed}"
            (run / "metrics.json").write_text(json.dumps({"true": {"mAP@10": 0.3 + level}}))
            declare_again(run)
        corpus = {"clips": 100, "mean_wholly": 10, "share_partly": 0.2, "ceilings": {"true mAP@10": 0.5}}
        finish_run("abl", f"data-seed{seed}", {"metrics.json": json.dumps(corpus)})


def test_gains_are_against_the_variants_own_control(finished):
    table = variants.gains("abl", ["share-0.5", "share-0.5-steps"], 200)
    found = table[table["metric"] == "annotated mAP@10"].set_index("variant")["difference"]
    assert found.to_dict() == pytest.approx({"all": 0.02, "share-0.5": 0.05, "share-0.5-steps": -0.03})
    assert set(table["point"]) == {"ensemble"}
    shares = variants.by_share(table[table["metric"] == "annotated mAP@10"])
    assert shares.set_index(["regime", "value"])["difference"].to_dict() == pytest.approx(
        {
            ("equal epochs", 0.5): 0.05,
            ("equal epochs", 1.0): 0.02,
            ("equal steps", 0.5): -0.03,
            ("equal steps", 1.0): 0.02,
        }
    )


def test_strengths_are_shares_of_the_oracle(finished):
    strong = variants.strengths("abl", ["share-0.5", "share-0.5-steps"])
    row = strong.set_index("variant").loc["share-0.5"]
    assert (row["student"], row["teacher"], row["wholly"]) == pytest.approx((0.4, 0.8, 0.1))
    table = variants.when_it_helps(variants.gains("abl", ["share-0.5", "share-0.5-steps"], 200), strong)
    own = table[table["metric"] == "annotated mAP@10"]
    leads = own.set_index("variant")["lead"].to_dict()
    assert leads == pytest.approx({"all": 0.2, "share-0.5": 0.4, "share-0.5-steps": 0.3})
    ranks = variants.explained(table).set_index("metric").loc["annotated mAP@10"]
    assert ranks["student"] == pytest.approx(-0.5) and ranks["lead"] == pytest.approx(0.5) and ranks["points"] == 3
    assert results.clear(own) == (2, 1, 3)


def test_self_distillation_is_paired_at_its_own_rate():
    points = ["ensemble", "self", "self-half", "self-lr-0.01", "self-half-lr-0.01", "continued-lr-0.01", "mixture-0.5"]
    points += ["self-epochs-9", "ensemble-epochs-9", "continued-epochs-9"]
    assert ablations.of_equal_training(points, "self") == {
        "self": "continued",
        "self-half": "continued",
        "self-lr-0.01": "continued-lr-0.01",
        "self-half-lr-0.01": "continued-lr-0.01",
    }
    assert ablations.of_equal_training(points, "epochs") == {
        "self-epochs-9": "continued-epochs-9",
        "ensemble-epochs-9": "continued-epochs-9",
    }


def test_mixtures_in_order():
    table = pd.DataFrame(
        {"point": ["ensemble", "mixture-0.75", "self", "mixture-1-1", "mixture-0.25"], "backbone": "b", "metric": "m"}
    )
    assert ablations.mixtures(table)["mixture"].tolist() == ["0.25", "0.5 (weights 1 and 1)", "0.75", "1"]
