"""Parameters and studies: every mistake is refused at once, with the culprit and the nearest right name."""

import shutil
import subprocess
import sys
import time

import pytest

from corrlib.study import inputs, runs
from corrlib.study import parameters as P
from corrlib.study.plan import needed, plan_runs, require_finished, urgency
from corrlib.study.study_file import load_study
from tests.finished import finish_run

STUDY = "title: t\nseeds: [1, 2]\nbackbones: [mn_tiny, atst_tiny]\n"


@pytest.mark.parametrize(
    "kind, values, sentence",
    [
        ("stage1", {"learning_rat": 1e-3}, "unknown parameter 'learning_rat'; did you mean 'learning_rate'"),
        ("stage1", {"epochs": 0}, "'epochs' = 0"),
        ("stage1", {"epochs": "ten"}, "'epochs' = 'ten'"),
        ("stage1", {"temperature": -0.1}, "'temperature' = -0.1"),
        ("stage1", {"epochs": 2.5}, "'epochs' = 2.5"),
        ("stage1", {"precision": "float8"}, "'precision' = 'float8'"),
        ("stage1", {"epochs": 1, "warmup_epochs": 1.0}, "warmup_epochs"),
        ("stage1", {"final_learning_rate": 1.0}, "final_learning_rate"),
        ("stage1", {"backbone": "mn_tyny"}, "no such backbone; did you mean 'mn_tiny'"),
        ("stage2", {"target": "annotatd"}, "'target' = 'annotatd'"),
        ("stage2", {"w_dist": 0.0}, "nothing to train on"),
        ("stage2", {"target": "ensemble", "teachers": ["a"]}, "'ensemble' needs at least two different teachers"),
        ("stage2", {"target": "shuffled", "teachers": []}, "'shuffled' needs at least two different teachers"),
        ("stage2", {"target": "ensemble", "teachers": ["a", "b", "a"]}, "names a run twice"),
        ("stage2", {"target": "self", "teachers": ["a", "b"]}, "'self' is learnt without teachers"),
        ("data", {"ambiguity": 1.5}, "'ambiguity' = 1.5"),
        ("data", {"leave_out": "some"}, "leave_out"),
        ("estimate", {"split": "test"}, "'split' = 'test'"),
        ("stage1", {"relevance": {"true": "a.csv"}}, "'true' cannot name a relevance"),
        ("stage1", {"relevance": {"DCASE 25": "a.csv"}}, "choose lower-case letters"),
        ("stage2", {"relevance": {"dcase": ["a.csv"]}}, "'dcase' must name a CSV or a folder"),
        ("estimate", {"relevance": ["a.csv"]}, "or several as `{dcase: file.csv, graded: folder}`"),
    ],
)
def test_a_wrong_parameter_is_one_sentence(kind, values, sentence):
    with pytest.raises(P.ParameterError, match=sentence) as caught:
        P.check(P.KINDS[kind], values)
    assert "\n" not in str(caught.value)


def test_a_notebooks_globals_are_checked_but_its_imports_are_not():
    names = {"seed": 3, "_hidden": 1, "In": [], "Out": {}, "P": P, "print": print}
    assert P.from_notebook(P.DataParameters, names).seed == 3
    with pytest.raises(P.ParameterError, match="did you mean 'seed'"):
        P.from_notebook(P.DataParameters, {**names, "sed": 4})


@pytest.mark.parametrize("kind", P.KINDS)
def test_defaults_are_valid(kind):
    assert P.check(P.KINDS[kind], {}).run_name()


def test_a_run_keeps_the_teachers_that_it_has():
    """Named or not: what is recorded is what is trained on, and reads back as the same parameters."""
    three = ["stage1-passt_tiny-seed2", "stage1-atst_tiny-seed2", "stage1-mn_tiny-seed2"]
    for target in ("ensemble", "shuffled"):
        found = P.check(P.StageTwoParameters, {"seed": 2, "target": target})
        assert found.teachers == three and P.check(P.StageTwoParameters, found.model_dump()) == found
    for target in ("annotated", "self", "captions", "true", "random", "uniform"):
        assert P.check(P.StageTwoParameters, {"target": target}).teachers == []


def test_the_runs_that_06_takes_by_default_are_those_that_02_to_04_leave():
    made = [P.check(P.StageOneParameters, {"backbone": b}).run_name() for b in P.FIRST_BACKBONES]
    second = P.check(P.StageTwoParameters, {})
    assert second.teachers == made and second.student == made[0]


def test_what_is_missing_is_named_with_its_notebook(tmp_path, monkeypatch):
    monkeypatch.setenv("CORRLIB_RUNS", str(tmp_path))
    (tmp_path / "s" / "stage1-mn_tiny-seed1").mkdir(parents=True)
    (tmp_path / "s" / "stage1-mn_tiny-seed1" / "manifest.json").write_text("{}")
    require_finished("s", ["stage1-mn_tiny-seed1"])
    with pytest.raises(FileNotFoundError) as caught:
        require_finished("s", ["stage1-mn_tiny-seed1", "stage1-atst_tiny-seed1", "stage1-half-x-seed1", "self-x-seed1"])
    said = str(caught.value)
    assert "'stage1-atst_tiny-seed1' is made by 03_stage1_atst" in said and "mn_tiny" not in said
    assert "'stage1-half-x-seed1' is made by 02, 03 or 04" in said and "'self-x-seed1' is made by 06_stage2" in said


def test_machine_parameters_are_parameters_of_training():
    assert set(P.MACHINE) < set(P.TrainingParameters.model_fields)


def test_an_ensemble_of_one_is_refused_when_the_study_is_planned(tmp_path):
    text = STUDY.replace("[mn_tiny, atst_tiny]", "[mn_tiny]") + "settings: [ensemble]\n"
    with pytest.raises(P.ParameterError, match="'ensemble-mn_tiny-seed1': target 'ensemble' needs at least two"):
        plan_runs("mine", study(tmp_path, text))


def test_tracking_is_refused_when_it_is_planned_where_tensorboard_is_missing(tmp_path, monkeypatch):
    folder = study(tmp_path, STUDY + "stage1: {track: tensorboard}\n")
    assert plan_runs("mine", folder)["stage1-mn_tiny-seed1"].parameters["track"] == "tensorboard"
    monkeypatch.setattr(P, "find_spec", lambda name: None)
    with pytest.raises(P.ParameterError, match="stage1.*'track' = 'tensorboard': it is not installed; `pip install"):
        plan_runs("mine", folder)
    with pytest.raises(P.ParameterError, match="it is not installed"):
        P.from_notebook(P.StageTwoParameters, {"track": "tensorboard"})
    assert P.check(P.StageTwoParameters, {"track": "tensorboard"})  # as a finished run says, wherever it is read


def study(tmp_path, text):
    (tmp_path / "mine.yaml").write_text(text)
    return tmp_path


def test_a_study_becomes_a_graph(tmp_path):
    plans = plan_runs(
        "mine",
        study(
            tmp_path,
            STUDY + "settings: [continued, ensemble]\nstage2: {epochs: 3}\nbackbone_stage2: {atst_tiny: {epochs: 5}}\n",
        ),
    )
    assert len(plans) == 2 * (1 + 2 + 2 * 2 + 1) + 1
    names = list(plans)
    for place, plan in enumerate(plans.values()):
        assert all(names.index(needed) < place for needed in plan.needs)
    ensemble = plans["ensemble-atst_tiny-seed2"]
    assert set(ensemble.needs) == {"stage1-mn_tiny-seed2", "stage1-atst_tiny-seed2"}
    assert ensemble.parameters["seed"] == 2 and ensemble.parameters["epochs"] == 5
    assert plans["continued-mn_tiny-seed1"].needs == ("stage1-mn_tiny-seed1",)
    assert plans["continued-mn_tiny-seed1"].parameters["target"] == "annotated"
    assert plans["stage1-mn_tiny-seed1"].notebook == "notebooks/04_stage1_mn.ipynb"
    assert len({plans[f"data-seed{s}"].parameters["data"] for s in (1, 2)}) == 2  # every seed has its own corpus


def test_a_study_is_judged_by_its_relevances_but_variants_with_other_data_are_not(tmp_path, monkeypatch):
    monkeypatch.setenv("CORRLIB_DATA", "there")
    more = "relevance: {dcase: '{data}/r-{seed}.csv', tau: folder}\nvariants: {v: {data: {ambiguity: 0.1}}, w: {}}\n"
    plans = plan_runs("mine", study(tmp_path, STUDY + more))
    judged = {run: plan.parameters["relevance"] for run, plan in plans.items() if "relevance" in plan.parameters}
    assert set(judged) == {run for run, plan in plans.items() if plan.kind in ("stage1", "stage2", "estimate")}
    for run, relevance in judged.items():
        own = {"dcase": f"there/r-{run[-1]}.csv", "tau": "folder"}
        assert relevance == ("" if "-v-" in run else own), run
    one = plan_runs("mine", study(tmp_path, STUDY + "relevance: verdicts.csv\nestimate: {relevance: ''}\n"))
    assert one["stage1-mn_tiny-seed1"].parameters["relevance"] == "verdicts.csv"
    assert one["correspondences-seed1"].parameters["relevance"] == ""
    with pytest.raises(P.ParameterError, match="relevance.dcase '{sed}' is no path"):
        plan_runs("mine", study(tmp_path, STUDY + "relevance: {dcase: '{sed}'}\n"))


def test_a_relevance_is_known_by_its_content_and_its_name(tmp_path):
    for name in ("a.csv", "copy.csv", "b.csv"):
        (tmp_path / name).write_text("query,audio_filenames\n" + name[:1].replace("c", "a"))
    known = {
        name: inputs.of_parameters({"relevance": {"dcase": f"{tmp_path}/{name}.csv"}}) for name in ("a", "copy", "b")
    }
    assert known["a"] == known["copy"] != known["b"] and list(known["a"]["files"]) == ["relevance.dcase"]
    assert inputs.of_parameters({"relevance": {"mine": f"{tmp_path}/a.csv"}}) != known["a"]
    single = inputs.of_parameters({"relevance": f"{tmp_path}/a.csv"})["files"]
    assert single == {"relevance": known["a"]["files"]["relevance.dcase"]}
    assert inputs.of_parameters({"relevance": ""})["files"] == {}


@pytest.mark.parametrize(
    "text, sentence",
    [
        (STUDY + "setings: [self]\n", "unknown parameter 'setings'; did you mean 'settings'"),
        (STUDY + "settings: [selv]\n", "unknown setting 'selv'; did you mean 'self'"),
        (STUDY + "figures: '{'\n", "figures '{' is no path"),
        (STUDY + "figures: '{seed}'\n", "only {study} is known"),
        (STUDY + "data_folder: '{seed:9999999999}'\n", "data_folder .* is no path"),
        (STUDY + "stage1: {epocs: 3}\n", "unknown parameter 'epocs'; did you mean 'epochs'"),
        (STUDY + "backbone_stage1: {passt_tiny: {epochs: 3}}\n", "'passt_tiny' has its own parameters"),
        (STUDY.replace("mn_tiny", "resnet"), "backbones names 'resnet'"),
        (STUDY + "data: {sounds: $NOT_SET_ANYWHERE}\n", r"needs \$NOT_SET_ANYWHERE"),
        ("- a list\n", "must hold `key: value` lines"),
        ("a: [1\n", "not valid YAML"),
    ],
)
def test_a_wrong_study_is_one_sentence(tmp_path, text, sentence):
    with pytest.raises(P.ParameterError, match=sentence) as caught:
        plan_runs("mine", study(tmp_path, text))
    assert "mine.yaml" in str(caught.value)


def test_what_others_wait_for_is_run_first(tmp_path):
    plans = plan_runs("mine", study(tmp_path, STUDY + "settings: [continued, ensemble]\n"))
    priority = urgency(plans)
    for run, plan in plans.items():
        assert all(priority[needed] > priority[run] for needed in plan.needs)
    first = sorted(plans, key=priority.get, reverse=True)
    assert first[:2] == ["data-seed1", "data-seed2"] and first[-1] == "results"
    assert [run for run in first if run.startswith("stage1")] == [run for run in plans if run.startswith("stage1")]


def test_a_missing_study_names_the_nearest(tmp_path):
    with pytest.raises(P.ParameterError, match="did you mean 'builtin'"):
        load_study("bultin")


@pytest.mark.parametrize("name", ["builtin", "smoke"])
def test_shipped_studies_are_valid(name):
    assert len(plan_runs(name)) > 10


def test_the_command_refuses_within_seconds():
    started = time.time()
    result = subprocess.run([sys.executable, "-m", "corrlib.study.reproduce", "bultin"], capture_output=True, text=True)
    assert result.returncode == 2 and result.stderr.startswith("error: there is no study file")
    assert len(result.stderr.splitlines()) == 1 and time.time() - started < 15


PUBLISHED = {
    "epochs": 20,
    "warmup_epochs": 1.0,
    "cosine_epochs": 15.0,
    "batch_clips": 64,
    "captions_per_clip": 1,
    "learning_rate": 2e-5,
    "final_learning_rate": 1e-7,
    "weight_decay": 0.0,
    "temperature": 0.05,
    "clip_seconds": 30.0,
    "precision": "float16",
}


@pytest.mark.parametrize("name", ["clotho", "paper"])
def test_published_recipe_to_the_letter(name, monkeypatch):
    monkeypatch.setenv("DATA", "/somewhere")
    plans = plan_runs(name)
    trained = [p.parameters for p in plans.values() if p.kind in ("stage1", "stage2")]
    assert len(trained) == 12 and all(p[key] == value for p in trained for key, value in PUBLISHED.items())
    text = {
        "text_encoder": "roberta-large",
        "text_dropout": 0.2,
        "max_tokens": 32,
        "clean_captions": True,
        "embedding_size": 1024,
        "pretraining_epochs": 0,
    }
    first = [p.parameters for p in plans.values() if p.kind == "stage1"]
    assert all(p[key] == value for p in first for key, value in text.items()) and all(p["weights"] for p in first)
    assert all((p["w_sup"], p["w_dist"]) == (0.0, 1.0) for p in trained if "w_sup" in p)
    assert {p["data"] for p in trained} == {"/somewhere"}


def test_published_study_without_data_says_what_to_give(monkeypatch):
    monkeypatch.delenv("DATA", raising=False)
    with pytest.raises(P.ParameterError, match=r"needs \$DATA: run `make reproduce STUDY=clotho DATA=...`"):
        plan_runs("clotho")


def test_runs_of_different_code_are_not_mixed_unless_told(tmp_path, monkeypatch):
    monkeypatch.setenv("CORRLIB_RUNS", str(tmp_path))
    for run, training in (("data-seed1", "aaa"), ("stage1-a-seed1", "aaa"), ("stage1-b-seed1", "bbb")):
        code = {"commit": "c0ffee0123", "dirty": "-b-" in run}
        setting = {"setting": "stage1", "backbone": "b"} if "stage" in run else {}
        finish_run("s", run, code=code, made_of={"training": training}, **setting)
    values = {"study": "s"}
    said = (
        r"'stage1-a-seed1' \(commit c0ffee01\) and 'stage1-b-seed1' \(commit c0ffee01, changed\) of study 's' were "
        "made by different code; .* or set mix_code to True"
    )
    with pytest.raises(ValueError, match=said):
        runs.start(P.ResultsParameters, "12_results", values)
    runs.start(P.ResultsParameters, "12_results", {**values, "mix_code": True}).let_go()
    shutil.rmtree(tmp_path / "s" / "stage1-b-seed1")
    runs.start(P.ResultsParameters, "12_results", values).let_go()


@pytest.mark.parametrize("study", ["mine", "recorded"])
def test_a_folder_that_is_not_given_is_asked_for(study, monkeypatch):
    """Not called bad YAML: the study file is right."""
    for name in ("DATA", "SOUNDS"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(
        P.ParameterError, match=rf"{study}.yaml needs \$(DATA|SOUNDS): run `make reproduce STUDY={study}"
    ) as caught:
        plan_runs(study)
    assert "YAML" not in str(caught.value)


@pytest.mark.parametrize("setting", list(P.SETTINGS))
def test_a_setting_is_what_its_runs_say_they_are(setting, tmp_path):
    plans = plan_runs("mine", study(tmp_path, STUDY + f"settings: ['{setting}']\n"))
    run = P.check(P.StageTwoParameters, plans[f"{setting}-mn_tiny-seed1"].parameters)
    assert run.setting() == setting and run.target == P.SETTINGS[setting]["target"]
    assert bool(run.teachers) == (run.target == "ensemble")
    alone = P.check(P.StageTwoParameters, {**P.SETTINGS[setting], "student": "stage1-mn_tiny-seed1"})
    assert alone.run_name() == f"{setting}-mn_tiny-seed{alone.seed}"


def test_a_study_that_extends_another_differs_in_what_it_says(tmp_path):
    (tmp_path / "first.yaml").write_text(STUDY + "stage1: {epochs: 7, temperature: 0.1}\nsettings: [self]\n")
    (tmp_path / "second.yaml").write_text("extends: first\nstage1: {epochs: 9}\nsettings: [continued]\n")
    plans = plan_runs("mine", study(tmp_path, "extends: second\nseeds: [5]\nstage1: {batch_clips: 8}\n"))
    one = plans["stage1-mn_tiny-seed5"].parameters
    assert (one["epochs"], one["temperature"], one["batch_clips"]) == (9, 0.1, 8)
    assert "continued-mn_tiny-seed5" in plans and "self-mn_tiny-seed5" not in plans
    assert not any(name.endswith("seed1") for name in plans)


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("extends: mine\n", "extends must name another study"),
        ("extends: [a]\n", "extends must name another study"),
        ("extends: bultin\n", "there is no study file"),
        ("extends: loop\n", "loop.yaml: extends must name another study that does not extend this one"),
    ],
)
def test_what_cannot_be_extended_is_one_sentence(tmp_path, text, sentence):
    (tmp_path / "loop.yaml").write_text("extends: mine\n")
    with pytest.raises(P.ParameterError, match=sentence):
        plan_runs("mine", study(tmp_path, text))


def test_a_pattern_stands_for_all_runs_that_match_it(tmp_path):
    plans = plan_runs("mine", study(tmp_path, STUDY + "settings: [continued, ensemble]\n"))
    found = needed(plans, ["ensemble-*-seed1"])
    assert {name for name in found if name.startswith("ensemble")} == {
        "ensemble-mn_tiny-seed1",
        "ensemble-atst_tiny-seed1",
    }
    assert "data-seed1" in found and not any(name.startswith("continued") for name in found)
    with pytest.raises(P.ParameterError, match="no run of the study matches 'ensemble-x\\*'"):
        needed(plans, ["ensemble-x*"])


@pytest.mark.parametrize("name, value", [("select_by", "true mAP@10"), ("watched_clips", 4)])
def test_what_needs_the_truth_is_refused_without_it(name, value):
    with pytest.raises(P.ParameterError, match=f"{name} needs a corpus whose truth is known"):
        P.check(P.StageOneParameters, {"corpus": "clotho", name: value})


@pytest.mark.parametrize(
    "points, sentence",
    [
        ("self-lr-0.1: {target: self}", "needs 'continued-lr-0.1' to judge 'self-lr-0.1' by"),
        ("ensemble-epochs-9: {target: ensemble}", "needs 'continued-epochs-9' to judge 'ensemble-epochs-9' by"),
    ],
)
def test_a_point_of_other_rate_or_length_has_a_control_of_its_own(tmp_path, points, sentence):
    text = STUDY + f"points: {{{points}}}\nablations: {{09_ablation_losses: [{points.split(':')[0]}]}}\n"
    with pytest.raises(P.ParameterError, match=sentence):
        plan_runs("mine", study(tmp_path, text))


MEMBERS = """title: t
seeds: [1]
backbones: [mn_tiny, mn-middle, passt-last]
members:
  mn-middle: {backbone: mn_tiny, audio_layers: [3, 4]}
  passt-last: {backbone: passt_tiny, train_audio: heads}
  again: {backbone: mn_tiny, initialisation: 1}
"""


def test_a_member_among_the_backbones_is_a_teacher_and_a_student(tmp_path):
    (tmp_path / "s.yaml").write_text(MEMBERS)
    plans = plan_runs("s", tmp_path)
    teachers = [f"stage1-{name}-seed1" for name in ("mn_tiny", "mn-middle", "passt-last")]
    for name in ("mn_tiny", "mn-middle", "passt-last"):
        assert plans[f"ensemble-{name}-seed1"].parameters["teachers"] == teachers
        assert plans[f"ensemble-{name}-seed1"].parameters["student"] == f"stage1-{name}-seed1"
    middle, last = plans["stage1-mn-middle-seed1"], plans["stage1-passt-last-seed1"]
    assert middle.notebook == "notebooks/04_stage1_mn.ipynb" and last.notebook == "notebooks/02_stage1_passt.ipynb"
    assert middle.parameters["audio_layers"] == [3, 4] and middle.parameters["member"] == "mn-middle"
    assert last.parameters["train_audio"] == "heads" and last.parameters["backbone"] == "passt_tiny"
    assert plans["stage1-mn_tiny-seed1"].parameters["member"] == ""
    assert "stage1-again-seed1" in plans and "ensemble-again-seed1" not in plans


@pytest.mark.parametrize(
    "wrong, sentence",
    [
        (("mn-middle, passt", "mn-midle, passt"), "backbones names 'mn-midle'; did you mean 'mn-middle'"),
        (("{backbone: passt_tiny,", "{backbone: passt_tyny,"), "'passt_tyny'; did you mean 'passt_tiny'"),
        (("again: {backbone: mn_tiny", "again: {backbone: atst_tiny"), "member 'again' names 'atst_tiny'"),
    ],
)
def test_a_member_that_cannot_be_is_refused(tmp_path, wrong, sentence):
    (tmp_path / "s.yaml").write_text(MEMBERS.replace(*wrong))
    with pytest.raises(P.ParameterError, match=sentence):
        plan_runs("s", tmp_path)
