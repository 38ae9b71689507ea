"""What has changed is noticed by the real flow: one finished study of six runs, copied, changed, reproduced again."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

import corrlib
from corrlib.corpora.splits import open_corpora
from corrlib.evaluation.embeddings import load_embeddings
from corrlib.reports import ensembles, tasks
from corrlib.study import code, inputs, reproduce, runs, why
from corrlib.study.manifest import sealed
from corrlib.study.parameters import EstimateParameters, ParameterError, ResultsParameters
from tests.finished import declare_again
from tests.hostile import flip_a_bit

SIX = """
title: Six runs
seeds: [1]
backbones: [mn_tiny]
settings: []
figures: figures/six
data: {pretraining_clips: 24, development_clips: 32, validation_clips: 12, evaluation_clips: 16}
stage1: {epochs: 2, captions_per_clip: 5, batch_clips: 16, pretraining_epochs: 1}
stage2: {epochs: 2, captions_per_clip: 5, batch_clips: 16, learning_rate: 3.0e-4}
results: {resamples: 50}
members:
  twin: {backbone: mn_tiny, initialisation: 1}
points:
  pair: {target: ensemble, teachers: [mn_tiny, twin]}
"""
TRAINED = {"stage1-mn_tiny-seed1", "stage1-twin-seed1", "pair-mn_tiny-seed1"}
READERS = TRAINED | {"data-seed1", "correspondences-seed1"}


def environment_of(folder):
    return {
        **os.environ,
        "CORRLIB_STUDIES": str(folder / "studies"),
        "CORRLIB_RUNS": str(folder / "runs"),
        "CORRLIB_DATA": str(folder / "data"),
    }


def run_it(folder, study="six", *words):
    command = [sys.executable, "-m", "corrlib.study.reproduce", study, "--cores", "2", *words]
    return subprocess.run(command, env=environment_of(folder), capture_output=True, text=True)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("six")
    (folder / "studies").mkdir()
    (folder / "studies" / "six.yaml").write_text(SIX)
    result = run_it(folder)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "KeyboardInterrupt" not in result.stdout + result.stderr
    return folder


@pytest.fixture
def six(finished, tmp_path, monkeypatch):
    """A copy of the finished study, at which this process looks."""
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    for name in ("CORRLIB_STUDIES", "CORRLIB_RUNS", "CORRLIB_DATA"):
        monkeypatch.setenv(name, environment_of(folder)[name])
    runs._whole.clear()
    return folder


def planned(capsys, study="six"):
    """The runs that `reproduce` would make at once, and all that it says."""
    assert reproduce.reproduce(study, 2, dry_run=True) == 0
    said = capsys.readouterr().out
    return {line.split()[0] for line in said.splitlines() if line.endswith("would be made")}, said


def edit(six, before, after, study="six"):
    path = six / "studies" / f"{study}.yaml"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def corpus_of(six):
    return six / "data" / "six" / "seed-1"


def test_a_copy_elsewhere_is_as_it_was(six, capsys):
    """Neither the folder nor files' times count: everything here was copied."""
    for path in six.rglob("*"):
        os.utime(path)
    assert planned(capsys)[0] == set()


def test_other_parameters(six, capsys):
    edit(six, "learning_rate: 3.0e-4", "learning_rate: 1.0e-3")
    assert planned(capsys)[0] == {"pair-mn_tiny-seed1"}
    before = (six / "runs" / "six" / "results" / "manifest.json").read_text()
    result = run_it(six)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "pair-mn_tiny-seed1 is made again: learning_rate was 0.0003, is 0.001" in result.stdout
    assert runs.read_manifest("six", "pair-mn_tiny-seed1")["parameters"]["learning_rate"] == 1e-3
    made = {line.split("]")[0][1:] for line in result.stdout.splitlines() if "] starts" in line}
    assert made == {"pair-mn_tiny-seed1", "results"}
    assert (six / "runs" / "six" / "results" / "manifest.json").read_text() != before
    assert planned(capsys)[0] == set()


def test_a_base_study_with_other_parameters_is_not_taken_over(six, capsys):
    (six / "studies" / "more.yaml").write_text(
        SIX.replace("title: Six runs", "title: More\nbase: six").replace("3.0e-4", "1.0e-3")
        + 'data_folder: "{data}/six/seed-{seed}"\n'
    )
    before = {p: p.read_bytes() for p in (six / "runs" / "six").rglob("*") if p.is_file()}
    planned(capsys, "more")
    assert not list((six / "runs" / "more").glob("*/manifest.json"))  # a dry run takes nothing over
    result = run_it(six, "more")
    assert result.returncode == 0 and "(4 taken over from another study)" in result.stdout, result.stdout
    made = {line.split("]")[0][1:] for line in result.stdout.splitlines() if "] starts" in line}
    assert made == {"pair-mn_tiny-seed1", "results"}
    assert {p: p.read_bytes() for p in before} == before and planned(capsys, "six")[0] == set()


@pytest.mark.parametrize(
    ("file", "expected"),
    [("training/losses.py", TRAINED), ("reports/results.py", {"results"}), ("corpora/audio.py", READERS)],
)
def test_other_code(six, capsys, monkeypatch, file, expected):
    changed = {**corrlib.SOURCES, file: corrlib.SOURCES[file] + b"\nCHANGED = True\n"}
    monkeypatch.setattr(corrlib, "SOURCES", changed)
    monkeypatch.delenv(code.KNOWN, raising=False)
    assert expected <= planned(capsys)[0]
    monkeypatch.setattr(
        corrlib, "SOURCES", {**changed, file: b"# words\n" + changed[file].replace(b"\nCHANGED = True\n", b"")}
    )
    assert planned(capsys)[0] == set()


def test_a_teacher_that_is_trained_anew_teaches_anew(six, capsys):
    edit(six, "initialisation: 1", "initialisation: 2")
    assert planned(capsys)[0] == {"stage1-twin-seed1"}
    before = runs.read_manifest("six", "pair-mn_tiny-seed1")["made_of"]["parents"]
    result = run_it(six)
    assert result.returncode == 0, result.stdout + result.stderr
    after = runs.read_manifest("six", "pair-mn_tiny-seed1")["made_of"]["parents"]
    assert {name for name in before if before[name] != after[name]} == {"stage1-twin-seed1"}
    assert (
        "[stage1-mn_tiny-seed1] starts" not in result.stdout and "[correspondences-seed1] starts" not in result.stdout
    )


def test_other_sound_in_as_many_bytes_and_back_again(six, capsys):
    path = corpus_of(six) / "development" / "scene_00003.wav"
    whole, times = path.read_bytes(), path.stat()
    flip_a_bit(path, 0.5)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert planned(capsys)[0] == READERS
    path.write_bytes(whole)
    assert planned(capsys)[0] == set()


def test_captions_that_were_shifted_are_not_read_with_old_embeddings(six, capsys):
    path = corpus_of(six) / "clotho_captions_evaluation.csv"
    table = pd.read_csv(path)
    table[table.columns[1:]] = table[table.columns[1:]].to_numpy()[list(range(1, len(table))) + [0]]
    table.to_csv(path, index=False)
    assert planned(capsys)[0] == READERS
    corpora = open_corpora(EstimateParameters(study="six", data=str(corpus_of(six))))
    with pytest.raises(
        ValueError, match="evaluation split is not the one that run .* embedded.*make reproduce STUDY=six"
    ):
        load_embeddings("six", "stage1-mn_tiny-seed1", "evaluation", corpora.fingerprint("evaluation"))


def test_tasks_and_ensembles_by_themselves_refuse_a_truth_that_has_changed(six):
    """The embeddings are as they were, and so are captions and audio: but what is compared with them is not."""
    for run in ("pair-mn_tiny-seed1", "stage1-mn_tiny-seed1"):  # of the copy's data, not of what was copied
        place = six / "runs" / "six" / run / "manifest.json"
        content = json.loads(place.read_text())
        content["parameters"]["data"] = str(corpus_of(six))
        place.write_text(json.dumps(sealed(content)))
        runs.check_data("six", run)
    path = corpus_of(six) / "scenes.json"
    scenes = json.loads(path.read_text())
    scenes["evaluation"] = scenes["evaluation"][1:] + scenes["evaluation"][:1]
    path.write_text(json.dumps(scenes))
    for call in (
        lambda: tasks.judge_run("six", "pair-mn_tiny-seed1"),
        lambda: ensembles.members_of("six", 1, ["mn_tiny"], "evaluation"),
    ):
        with pytest.raises(ValueError, match="the data in .* are not those that run .* was made of; .*make reproduce"):
            call()


def test_a_mistyped_folder_costs_nothing(six, capsys):
    """The data are missing under the wrong name; nothing is lost, and under the right one nothing is done again."""
    edit(six, "figures: figures/six", "figures: figures/six\ndata_folder: '{data}/no-such/seed-{seed}'")
    edit(six, "data: {", "data: {corpus: clotho, ")
    result = run_it(six)
    assert result.returncode == 2 and "`make data STUDY=six` gets them" in result.stderr
    edit(six, "\ndata_folder: '{data}/no-such/seed-{seed}'", "")
    edit(six, "corpus: clotho, ", "")
    assert planned(capsys)[0] == set()


@pytest.mark.parametrize("content", ["{}", "", "[]", '{"study": "six"}'])
def test_a_manifest_that_is_none_is_named_and_made_again(six, capsys, content):
    path = six / "runs" / "six" / "pair-mn_tiny-seed1" / "manifest.json"
    path.write_text(content)
    stale, said = planned(capsys)
    assert stale >= {"pair-mn_tiny-seed1"} and str(path) in said
    with pytest.raises(ValueError, match="pair-mn_tiny-seed1/manifest.json is"):
        runs.gather("six")


@pytest.mark.parametrize(
    "name", ["model.safetensors", "embeddings.safetensors", "queries.csv", "metrics.json", "log.csv"]
)
def test_a_flipped_bit_is_noticed_by_readers_and_by_reproduce(six, capsys, name):
    flip_a_bit(six / "runs" / "six" / "pair-mn_tiny-seed1" / name, 0.7)
    stale, said = planned(capsys)
    assert stale == {"pair-mn_tiny-seed1"} and f"its {name} is damaged or missing" in said
    with pytest.raises(ValueError, match=f"{name} is damaged or missing .* remove"):
        runs.artefact("six", "pair-mn_tiny-seed1", name)


def test_a_table_that_was_altered_by_hand_is_made_again(six, capsys):
    path = six / "runs" / "six" / "figures" / "results.csv"
    table = pd.read_csv(path)
    table.loc[0, "mean"] = 0.99
    table.to_csv(path, index=False)
    stale, said = planned(capsys)
    assert stale == {"results"} and "its results.csv is damaged or missing" in said


def test_the_second_of_two_is_told_who_holds_the_study(six):
    with reproduce.only_one("six"):
        result = run_it(six)
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    assert f"study 'six' is being reproduced by process {os.getpid()} on " in result.stderr
    assert run_it(six).returncode == 0


def test_why(six, capsys):
    said = why.explain("six", "pair-mn_tiny-seed1")
    assert "read run stage1-twin-seed1" in said and "current: all of it is still so" in said
    flip_a_bit(corpus_of(six) / "validation" / "scene_00001.wav", 0.5)
    said = why.explain("six", "pair-mn_tiny-seed1")
    assert f"not current: the data in {corpus_of(six)} have changed" in said


def test_a_runs_folder_that_cannot_be_written_is_named(six, monkeypatch):
    (six / "file").write_text("no folder")
    monkeypatch.setenv("CORRLIB_RUNS", str(six / "file"))
    with pytest.raises(ParameterError, match="the runs folder .*file/six cannot be written .* set CORRLIB_RUNS"):
        reproduce.reproduce("six", 2)


def test_places_are_not_parameters():
    before = {"data": "a", "figures": "x", "seed": 1, "epochs": 2}
    assert inputs.other_parameters(before, {"data": "b", "figures": "y", "seed": 1, "epochs": 2}) == []
    assert inputs.other_parameters(before, {**before, "epochs": 3}) == ["epochs was 2, is 3"]
    assert inputs.other_parameters(before, {**before, "track": "tensorboard"}) == []  # nor what only looks on


def test_manifests_name_what_made_them(finished):
    content = json.loads((finished / "runs" / "six" / "pair-mn_tiny-seed1" / "manifest.json").read_text())
    assert set(content["made_of"]["parents"]) == {"stage1-mn_tiny-seed1", "stage1-twin-seed1"}
    assert {"model.safetensors", "embeddings.safetensors", "metrics.json", "queries.csv"} <= set(content["artefacts"])
    assert Path("notebooks", f"{content['notebook']}.ipynb").is_file()


@pytest.mark.skipif(not Path("/proc/self/environ").is_file(), reason="asks Linux which processes are left")
def test_an_interrupted_study_ends_in_one_line_with_no_process_left(finished, tmp_path):
    shutil.copytree(finished / "studies", tmp_path / "studies")
    shutil.copytree(finished / "data", tmp_path / "data")
    command = [sys.executable, "-m", "corrlib.study.reproduce", "six", "--cores", "2"]
    process = subprocess.Popen(
        command, env=environment_of(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for line in process.stdout:
        if "[data-seed1] starts" in line:
            break
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130 and said.count("\n") == 1 and said.startswith("interrupted; finished runs")
    deadline = time.monotonic() + 10
    while (left := processes_of(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.2)  # kernels notice within a second that their run is gone
    assert left == []


@pytest.mark.skipif(not Path("/proc/self/environ").is_file(), reason="asks Linux which processes are left")
def test_a_killed_study_leaves_no_process_and_no_lock(finished, tmp_path):
    """kill -9 while several processes compose the corpus, and again while a model is trained."""
    shutil.copytree(finished / "studies", tmp_path / "studies")
    corpus, runs_folder = corpus_of(tmp_path), tmp_path / "runs" / "six"
    for begun in (
        lambda: len(list((corpus / "development").glob("*.wav"))) > 3,
        lambda: list(runs_folder.glob("stage1-*/progress.log")),
    ):
        command = [sys.executable, "-m", "corrlib.study.reproduce", "six", "--cores", "2"]
        process = subprocess.Popen(command, env=environment_of(tmp_path), stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while not begun() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert begun() and process.poll() is None and len(processes_of(tmp_path)) > 3
        process.kill()
        process.wait()
        deadline = time.monotonic() + 30
        while (left := processes_of(tmp_path)) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert left == []
    result = run_it(tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr


def processes_of(folder):
    """Command lines of this machine's processes that work on a folder of runs."""
    mark, left = f"CORRLIB_RUNS={folder / 'runs'}".encode(), []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in path.read_bytes():
                left.append(path.with_name("cmdline").read_text())
        except OSError:  # it has ended
            continue
    return left


def test_a_report_by_itself_refuses_a_student_of_another_teacher(six):
    """The student was taught by a teacher that has been trained anew; nobody has reproduced the study since."""
    other = runs.root() / "six" / "stage1-twin-seed1"
    flip_a_bit(other / "embeddings.safetensors", 0.9)
    declare_again(other)
    with pytest.raises(
        ValueError, match="was made of another run 'stage1-twin-seed1' than there is now; .*make reprod"
    ):
        runs.start(ResultsParameters, "12_results", {"study": "six", "run": "again"})
    assert "run 'stage1-twin-seed1', which it read, has become another" in why.explain("six", "pair-mn_tiny-seed1")
    assert "which it waits for, is not current" in why.explain("six", "results")


def test_cells_that_are_not_the_notebooks_are_other_code():
    cells = list(code._cells(Path("notebooks/05_correspondences.ipynb").read_bytes()))
    assert code.other_cells("05_correspondences", ["", *cells[:4]]) == ""
    assert code.other_cells("05_correspondences", ["", cells[0], "1 + 1", *cells[1:]]) == ""
    changed = [cell.replace("similarities()", "similarities() * 2") for cell in cells]
    assert changed != cells and code.other_cells("05_correspondences", changed)


def test_a_module_that_was_edited_meanwhile_is_not_loaded(tmp_path):
    """Else a run would mix two codes: what it began with, and what it loads late."""
    shutil.copytree("corrlib", tmp_path / "corrlib")
    program = (
        "import corrlib, pathlib; path = pathlib.Path(corrlib.__file__).parent / 'reports' / 'tables.py'; "
        "path.write_text(path.read_text() + '# edited'); import corrlib.reports.tables"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 1
    assert "corrlib/reports/tables.py was changed after this process began; start it again" in result.stderr
