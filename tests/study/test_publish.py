"""A user's run leaves what is published alone; publishing is of one code and one processor, and says whose it is."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from corrlib.figures.style import ENOUGH_SEEDS
from corrlib.files import digest_file
from corrlib.study import publish as P
from corrlib.study import runs
from corrlib.study.parameters import ParameterError, ResultsParameters
from corrlib.study.plan import Plan, plan_runs
from tests.finished import finish_run

STUDIES = {"builtin": "figures", "copied": "figures", "mine": "figures/mine"}
NOTEBOOKS = {"data-seed1": "01_data", "stage1-mn_tiny-seed1": "04_stage1_mn", "results": "12_results"}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Three finished studies in an empty repository; `copied` still says `figures: figures`, as builtin.yaml does."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CORRLIB_RUNS", "runs")
    plans = {run: Plan(run, "any", f"notebooks/{book}.ipynb", {}, ()) for run, book in NOTEBOOKS.items()}
    monkeypatch.setattr(P, "plan_runs", lambda study: plans)
    (tmp_path / "studies").mkdir()
    for study, figures in STUDIES.items():
        (tmp_path / "studies" / f"{study}.yaml").write_text(
            f"title: {study}\nseeds: [1]\nbackbones: [mn_tiny]\nfigures: {figures}\n"
        )
        finish(study)
    return tmp_path


def finish(study, gain=0.0063, **changed):
    """A study's manifests, tables and figures; changed: {run: what its manifest says otherwise}."""
    for run in NOTEBOOKS:
        manifest = {
            "code": {"commit": "0123456789", "dirty": False},
            "made_of": {"code": "f", "training": "t"},
            "hardware": {"processor": "P", "gpu": None},
            "packages": {"torch": "2.11.0"},
            "parameters": {},
            "notebook": NOTEBOOKS[run],
        }
        for key, value in changed.get(run.split("-")[0], {}).items():
            manifest[key] = {**manifest[key], **value}
        finish_run(study, run, **manifest)
    folder = runs.figures_folder(study)
    folder.mkdir(exist_ok=True)
    row = {"study": study, "backbone": "mn_tiny", "setting": "ensemble", "against": "continued"}
    row |= {"metric": "annotated mAP@10", "difference": gain, "low": gain - 0.002, "high": gain + 0.002}
    pd.DataFrame([row, {**row, "against": "stage1"}]).to_csv(folder / "differences.csv", index=False)
    (folder / "differences.png").write_bytes(f"picture of {study}".encode())
    (folder / "notes.txt").write_text("not published")


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class TestPublish:
    def test_runs_of_another_plan_are_refused(self, place, monkeypatch):
        name = next(iter(NOTEBOOKS))
        plans = P.plan_runs("mine")
        other = {**plans, name: replace(plans[name], parameters={"weight_decay": 0.5})}
        monkeypatch.setattr(P, "plan_runs", lambda study: other)
        with pytest.raises(
            ParameterError, match=f"run '{name}' .* is not what its file asks for: weight_decay .*make reprod"
        ):
            P.publish("mine")

    def test_a_run_that_the_plan_no_longer_names_is_refused(self, place):
        finish_run("mine", "self-mn_tiny-seed2", setting="self")
        with pytest.raises(ParameterError, match="count the run 'self-mn_tiny-seed2', which its file does not ask for"):
            P.publish("mine")

    def test_only_what_the_planned_runs_drew_is_published_and_only_as_they_drew_it(self, place):
        folder = runs.figures_folder("mine")
        (folder / "left.csv").write_text("of an ablation that is no longer asked for")
        drawn = {name: digest_file(folder / name) for name in ("differences.csv", "differences.png")}
        facts = {"parameters": {}, "notebook": NOTEBOOKS["results"], "code": {"commit": None}, "figures": drawn}
        facts |= {"made_of": {"code": "f", "training": "t"}, "hardware": {"processor": "P"}, "packages": {"torch": "1"}}
        finish_run("mine", "results", **facts)
        P.publish("mine")
        assert set(files(place / "figures" / "mine")) == {*drawn, "provenance.json"}
        (folder / "differences.csv").write_text((folder / "differences.csv").read_text().replace("0.0063", "0.0963"))
        with pytest.raises(
            ParameterError, match="run 'results' .*: its differences.csv is damaged or missing; run `make"
        ):
            P.publish("mine")

    def test_a_damaged_artefact_is_refused(self, place):
        name = next(iter(NOTEBOOKS))
        finish_run("mine", name, {"metrics.json": "{}"}, parameters={}, notebook=NOTEBOOKS[name])
        (runs.root() / "mine" / name / "metrics.json").write_text("{ }")
        with pytest.raises(ParameterError, match=f"run '{name}' .*: its metrics.json is damaged or missing"):
            P.publish("mine")

    def test_tables_and_figures_with_who_made_them(self, place):
        assert P.publish("mine").as_posix() == "figures/mine"
        assert set(files(place / "figures")) == {
            f"mine/{name}" for name in ("differences.csv", "differences.png", "provenance.json")
        }
        (entry,) = P.provenance("figures/mine")["made"]
        assert entry.pop("date").startswith("20")
        assert entry == {
            "files": ["differences"],
            "command": "make reproduce STUDY=mine",
            "commit": "0123456",
            "fingerprint": P.origin("mine")["fingerprint"],
            "processor": "P",
            "torch": "2.11.0",
        }

    def test_once_more_takes_the_place_of_the_first(self, place):
        P.publish("mine")
        (runs.figures_folder("mine") / "differences.png").rename(runs.figures_folder("mine") / "drawn.png")
        (runs.figures_folder("mine") / "differences.csv").rename(runs.figures_folder("mine") / "drawn.csv")
        P.publish("mine")
        assert set(files(place / "figures" / "mine")) == {"drawn.csv", "drawn.png", "provenance.json"}
        assert [entry["files"] for entry in P.provenance("figures/mine")["made"]] == [["drawn"]]

    def test_files_of_another_command_stay(self, place):
        P.publish("builtin")
        found = P.provenance("figures")
        by_hand = {**found["made"][0], "files": ["rated", "differences"], "command": "papermill 01_data"}
        (place / "figures" / "rated.csv").write_text("by hand")
        (place / "figures" / "provenance.json").write_text(json.dumps({**found, "made": [by_hand]}))
        P.publish("builtin")
        assert (place / "figures" / "rated.csv").read_text() == "by hand"
        assert [e["files"] for e in P.provenance("figures")["made"]] == [["differences"], ["rated"]]

    def test_a_copied_study_cannot_take_what_another_published(self, place):
        P.publish("builtin")
        before = files(place / "figures")
        with pytest.raises(
            ParameterError, match="figures holds what study 'builtin' published; give 'copied' a folder"
        ):
            P.publish("copied")
        assert files(place / "figures") == before
        P.publish("mine")  # in a folder below, which is its own
        P.publish("copied", replace=True)
        assert P.provenance("figures")["study"] == "copied"
        assert (place / "figures" / "differences.png").read_bytes() == b"picture of copied"

    def test_tables_without_a_note_belong_to_the_study_that_they_name(self, place):
        (place / "figures").mkdir()
        pd.DataFrame({"study": ["builtin"]}).to_csv(place / "figures" / "results.csv", index=False)
        with pytest.raises(ParameterError, match="what study 'builtin' published"):
            P.publish("copied")
        P.publish("builtin")

    def test_tables_of_nobody(self, place):
        (place / "figures").mkdir()
        (place / "figures" / "what.csv").write_text("a,b\n1,2\n")
        with pytest.raises(ParameterError, match="what somebody published"):
            P.publish("builtin")

    def test_an_unfinished_study(self, place):
        (runs.root() / "mine" / "results" / "manifest.json").unlink()
        with pytest.raises(
            ParameterError, match="1 of 3 runs are missing, the first is 'results'; run `make reproduce"
        ):
            P.publish("mine")
        assert not (place / "figures").exists()

    def test_a_study_that_drew_nothing(self, place):
        for path in runs.figures_folder("mine").iterdir():
            path.unlink()
        with pytest.raises(ParameterError, match="holds no table and no figure"):
            P.publish("mine")

    def test_a_damaged_note(self, place):
        P.publish("mine")
        (place / "figures" / "mine" / "provenance.json").write_text("{")
        with pytest.raises(ParameterError, match="is damaged"):
            P.publish("mine")


class TestOneCodeOneProcessor:
    def test_a_kind_of_run_of_two_codes(self, place, monkeypatch):
        both = {run: Plan(run, "any", "notebooks/one.ipynb", {}, ()) for run in NOTEBOOKS}
        monkeypatch.setattr(P, "plan_runs", lambda study: both)
        for run in NOTEBOOKS:
            monkeypatch.setitem(NOTEBOOKS, run, "one")
        finish("mine", results={"made_of": {"code": "g"}})
        with pytest.raises(
            ParameterError, match="runs 'data-seed1' and 'results' of study 'mine' were made by diff.* code"
        ):
            P.publish("mine")

    def test_each_kind_of_run_may_have_its_own_code(self, place):
        found = []
        for other in ("g", "h", "g"):
            finish("mine", results={"made_of": {"code": other}})
            found.append(P.origin("mine")["fingerprint"])
        assert found[0] == found[2] != found[1] and "f" not in found

    def test_two_processors(self, place):
        finish("mine", stage1={"hardware": {"processor": "Q"}})
        with pytest.raises(ParameterError, match=r"'data-seed1' \(P\) and 'stage1-mn_tiny-seed1' \(Q\) .* processors"):
            P.publish("mine")

    def test_with_a_gpu_it_is_the_one_that_computed(self, place):
        finish("mine", stage1={"hardware": {"processor": "Q", "gpu": "G"}})
        assert P.origin("mine")["processor"] == "G"

    def test_changes_that_were_not_committed_are_told(self, place):
        finish("mine", results={"code": {"dirty": True}})
        assert P.origin("mine")["commit"] == "0123456, with changes"


class TestBesidePublished:
    def test_here_and_published(self, place):
        assert P.beside_published("mine") == []
        P.publish("mine")
        finish("mine", gain=-0.001)
        numbers = "-0.10 [-0.30, +0.10] here, +0.63 [+0.43, +0.83] published"
        assert P.beside_published("mine") == [f"ensemble - continued, annotated mAP@10, mn_tiny:  {numbers}"]

    def test_the_mean_of_several_backbones(self, place):
        for where in (runs.figures_folder("mine"), place / "figures" / "mine"):
            where.mkdir(parents=True, exist_ok=True)
            one = pd.read_csv(runs.figures_folder("mine") / "differences.csv").query("against == 'continued'")
            pd.concat([one, one.assign(backbone="passt_tiny"), one.assign(backbone="all backbones")]).to_csv(
                where / "differences.csv", index=False
            )
        (line,) = P.beside_published("mine")
        assert ", all backbones:  +0.63" in line

    def test_another_study_s_published_numbers_are_not_shown(self, place):
        P.publish("builtin")
        assert P.beside_published("copied") == []


class TestWhereRunsWrite:
    def test_every_planned_run_writes_below_its_study(self, tmp_path, monkeypatch):
        for name in ("builtin", "headline", "ablations", "smoke"):
            folders = {p.parameters["figures"] for p in plan_runs(name).values() if "figures" in p.parameters}
            assert folders == {str(runs.root() / name / "figures")}
        monkeypatch.setenv("CORRLIB_RUNS", str(tmp_path))
        assert plan_runs("builtin")["results"].parameters["figures"] == str(tmp_path / "builtin" / "figures")

    def test_a_study_cannot_send_them_elsewhere(self, tmp_path):
        text = "title: t\nseeds: [1]\nbackbones: [mn_tiny, atst_tiny]\nresults: {figures: figures}\n"
        (tmp_path / "mine.yaml").write_text(text)
        with pytest.raises(ParameterError, match="section results: runs write into .*mine.figures; remove 'figures'"):
            plan_runs("mine", tmp_path)

    def test_a_notebook_by_itself(self, tmp_path, monkeypatch):
        """Its `figures` is empty: the cells below the start find the study's own folder, and a given one stays."""
        monkeypatch.setenv("CORRLIB_RUNS", str(tmp_path))
        names = {"study": "mine", "figures": ""}
        run = runs.start(ResultsParameters, "12_results", names)
        assert names["figures"] == run.parameters.figures == str(tmp_path / "mine" / "figures")
        run.finish()
        runs.start(ResultsParameters, "12_results", names := {"study": "mine", "figures": "elsewhere"}).finish()
        assert names["figures"] == "elsewhere"

    def test_the_published_folder_of_every_study(self, monkeypatch):
        for name in ("DATA", "SOUNDS"):
            monkeypatch.setenv(name, "somewhere")
        assert {
            s: P.published_folder(s).as_posix() for s in ("builtin", "headline", "recorded", "clotho", "benchmark")
        } == {
            "builtin": "figures",
            "headline": "figures/headline",
            "recorded": "figures/recorded",
            "clotho": "figures/clotho",
            "benchmark": "figures/benchmark",
        }


def test_the_command_says_what_is_wrong_in_one_sentence(tmp_path):
    environment = {**os.environ, "CORRLIB_RUNS": str(tmp_path)}
    command = [sys.executable, "-m", "corrlib.study.publish", "smoke"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 2 and result.stderr.startswith("error: study 'smoke' is not finished")


def test_the_finished_study_leaves_the_repository_clean(study):
    """What `make reproduce` wrote is in its runs folder, figures included, and no published table is of it."""
    written = {path.name for path in (study[0] / "figures").iterdir()}
    assert {"results.csv", "differences.csv", "ablation_targets.csv", "explore_search.png"} <= written
    tables = [pd.read_csv(path) for path in Path("figures").rglob("*.csv")]
    assert len(tables) > 20 and not any((table["study"] == "smoke").any() for table in tables if "study" in table)
    assert f"figures are in {study[0] / 'figures'}" in study[2]


def test_an_interval_over_seeds_takes_as_many_here_as_in_figures():
    """Written twice, as drawing is slow to import and every start of a study would wait for it."""
    assert P.ENOUGH_SEEDS == ENOUGH_SEEDS


class TestInParts:
    def test_what_there_is_joins_what_others_published(self, place):
        P.publish("builtin")
        (place / "studies" / "map.yaml").write_text(
            "title: map\nseeds: [1]\nbackbones: [mn_tiny]\nfigures: figures\nin_parts: true\n"
        )
        finish("map")
        runs.folder_of("map", "results").joinpath("manifest.json").unlink()  # it is not finished
        folder = runs.figures_folder("map")
        pd.DataFrame({"epochs": [5]}).to_csv(folder / "map.csv", index=False)
        before = Path("figures/differences.csv").read_bytes()
        P.publish("map")
        assert Path("figures/differences.csv").read_bytes() == before and Path("figures/map.csv").is_file()
        noted = P.provenance("figures")
        assert noted["study"] == "builtin"
        assert {tuple(entry["files"]) for entry in noted["made"]} == {("map",), ("differences",)}
        P.publish("builtin")
        assert Path("figures/map.csv").is_file() and len(P.provenance("figures")["made"]) == 2

    def test_of_nothing_there_is_no_part(self, place):
        (place / "studies" / "map.yaml").write_text("title: map\nseeds: [1]\nbackbones: [mn_tiny]\nin_parts: true\n")
        with pytest.raises(ParameterError, match="study 'map' is not finished: 3 of 3 runs are missing"):
            P.publish("map")
