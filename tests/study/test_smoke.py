"""The whole study, tiny: corpus, three backbones, both stages, estimate, results, through Snakemake and papermill."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from corrlib.figures import colour
from tests.conftest import reproduce
from tests.pictures import drawn

FILES = (
    "manifest.json",
    "metrics.json",
    "queries.csv",
    "embeddings.safetensors",
    "model.safetensors",
    "log.csv",
    "last_epoch.json",
    "queries-last_epoch.csv",
    "notebook.ipynb",
)


def test_every_training_run_leaves_its_files(study):
    training = [p for p in study[0].iterdir() if p.name.split("-")[0] in ("stage1", "continued", "self", "ensemble")]
    assert len(training) == 3 * 4 + 4  # and a variant
    for run in training:
        assert [f for f in FILES if not (run / f).is_file()] == []


def test_progress_names_runs_and_epochs(study):
    assert "[stage1-mn_tiny-seed1] epoch 2/2" in study[2] and "all 37 runs finished" in study[2]


def test_results_hold_every_backbone_and_setting(study):
    table = pd.read_csv(study[0] / "figures" / "results.csv")
    assert {"study", "backbone", "setting", "metric", "mean", "low", "high", "seeds"} == set(table.columns)
    for backbone in ("passt_tiny", "atst_tiny", "mn_tiny"):
        assert set(table[table["backbone"] == backbone]["setting"]) >= {"stage1", "continued", "self", "ensemble"}
    assert ((table["low"] <= table["mean"]) & (table["mean"] <= table["high"])).all()


def test_every_panel_draws_every_backbone(study):
    table = pd.read_csv(study[0] / "figures" / "results.csv")
    settings = table[table["metric"] == "annotated mAP@10"].groupby("backbone")["setting"].nunique()
    for name in ("results", "differences", "learning_curves", "last_epoch"):
        panels = drawn(study[0] / "figures" / f"{name}.svg")
        assert panels and all(panels) and (study[0] / "figures" / f"{name}.png").is_file()
        if name == "learning_curves":  # a panel a setting, some of which are of one backbone
            panels = panels[:6]
        for backbone in ("passt_tiny", "atst_tiny", "mn_tiny"):
            dots = settings[backbone] if name == "results" else 1
            assert all(panel[colour(backbone).lower()] >= dots for panel in panels), (name, backbone)


def test_ablations_compare_every_point_with_the_control(study):
    table = pd.read_csv(study[0] / "ablation_targets" / "differences.csv")
    assert set(table["point"]) == {"self", "ensemble", "true", "uniform"}
    assert set(table["backbone"]) == {"mn_tiny"}
    quality = pd.read_csv(study[0] / "ablation_targets" / "targets.csv").set_index("point")
    assert quality.loc["true", "rank_correlation"] == pytest.approx(1)
    assert quality.loc["uniform", "rank_correlation"] == 0 and quality.loc["continued", "annotated"] == pytest.approx(1)
    students = pd.read_csv(study[0] / "ablation_ensembles" / "against_ensemble.csv")
    assert set(students["point"]) == {"combine-chosen_weights"} and set(students["against"]) == {"ensemble"}
    knowledge = pd.read_csv(study[0] / "ablation_ensembles" / "knowledge.csv")
    assert len(knowledge) == 3 + 3 + 1 and knowledge["members"].max() == 3
    paired = pd.read_csv(study[0] / "ablation_losses" / "paired.csv")
    assert set(paired["point"]) == {"self"} and set(paired["against"]) == {"continued"}
    gains = pd.read_csv(study[0] / "ablation_scale" / "when_it_helps.csv")
    assert set(gains["variant"]) == {"all", "share-0.5"} and gains["student"].between(0, 1).all()
    second = pd.read_csv(study[0] / "ablation_scale" / "second_round.csv")
    assert set(second["point"]) == {"second"} and set(second["against"]) == {"second-continued"}
    for name in (
        "ablation_targets",
        "ablation_targets_mass",
        "other_tasks",
        "ablation_ensembles",
        "ablation_ensembles_knowledge",
        "ablation_losses_mixture",
        "ablation_scale",
        "when_it_helps",
        "overfit",
        "headroom",
        "course",
        "map",
        "map_true",
    ):
        panels = drawn(study[0] / "figures" / f"{name}.svg")
        assert panels and all(panels), f"{name} has {panels.count({})} blank axes"
        assert len(pd.read_csv(study[0] / "figures" / f"{name}.csv"))


def test_other_tasks_judge_every_run(study):
    table = pd.read_csv(study[0] / "other_tasks" / "results.csv")  # of three tasks, three backbones and their mean
    assert len(table) == 3 * 4 * 6 and table["mean"].between(0, 1).all()
    metrics = json.loads((study[0] / "self-mn_tiny-seed1" / "metrics.json").read_text())
    own = table.set_index(["metric", "backbone", "setting"])["mean"]
    expected = metrics["annotated clip-to-caption"]["mAP@10"]
    assert own["clip-to-caption mAP@10", "mn_tiny", "self"] == pytest.approx(expected, abs=1e-5)


def test_second_time_nothing_is_done(study):
    before = {p: p.stat().st_mtime_ns for p in study[0].rglob("manifest.json")}
    result = reproduce(study[1])
    assert "nothing to do" in result.stdout and result.returncode == 0
    assert before == {p: p.stat().st_mtime_ns for p in study[0].rglob("manifest.json")}


def test_same_seed_gives_the_same_numbers(study):
    run = study[0] / "ensemble-mn_tiny-seed1"
    before = (run / "metrics.json").read_text()
    (run / "manifest.json").unlink()
    result = subprocess.run(
        [sys.executable, "-m", "corrlib.study.reproduce", "smoke", "--run", run.name],
        env=study[1],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout
    assert (run / "metrics.json").read_text() == before


def test_damaged_weights_are_made_again_and_nothing_else(study):
    """The same weights come out, so that no student has to be trained on."""
    run, only = study[0] / "self-atst_tiny-seed1", ("--only", "self-atst_tiny-seed1")
    weights = study[0] / "stage1-atst_tiny-seed1" / "model.safetensors"
    kept, finished = weights.read_bytes(), (run / "manifest.json").stat().st_mtime_ns
    weights.write_bytes(b"not a checkpoint")
    result = reproduce(study[1], *only)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "stage1-atst_tiny-seed1 is made again: its model.safetensors is damaged or missing" in result.stdout
    assert weights.read_bytes() == kept and (run / "manifest.json").stat().st_mtime_ns == finished


def test_every_page_ran_to_its_end_and_shows_its_parameters_once(study):
    for folder in (p.parent for p in study[0].glob("*/manifest.json")):
        cells = json.loads((folder / "notebook.ipynb").read_text())["cells"]
        outputs = [output for cell in cells for output in cell.get("outputs", [])]
        assert not [o for o in outputs if o["output_type"] == "error"], folder
        tags = [tag for cell in cells for tag in cell["metadata"].get("tags", [])]
        assert tags.count("parameters") == 1 and "injected-parameters" not in tags
        shown = {}
        exec("".join(next(c for c in cells if "parameters" in c["metadata"].get("tags", []))["source"]), shown)
        recorded = json.loads((folder / "manifest.json").read_text())["parameters"]
        assert {name: shown[name] for name in recorded} == recorded


def test_manifest_tells_how_to_repeat(study):
    manifest = json.loads((study[0] / "stage1-mn_tiny-seed1" / "manifest.json").read_text())
    assert manifest["parameters"]["backbone"] == "mn_tiny" and manifest["parameters"]["seed"] == 1
    assert manifest["repeat"].startswith("papermill notebooks/04_stage1_mn.ipynb")
    assert manifest["peak_memory_bytes"] > 1e8 and manifest["packages"]["torch"].startswith("2.11")
    assert Path("notebooks/04_stage1_mn.ipynb").is_file()
