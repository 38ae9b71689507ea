"""The map's table and the blocks on a study's regime, on a finished study and by hand."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from corrlib.reports import course, regime_blocks, regimes, results, variants
from corrlib.reports.blocks import Published, rendered
from corrlib.study import runs
from tests.figures.test_regimes import cells
from tests.finished import declare_again

OTHER = "stage1-share-0.5-again-mn_tiny-seed1"


@pytest.fixture
def finished(study, monkeypatch):
    monkeypatch.setenv("CORRLIB_RUNS", study[1]["CORRLIB_RUNS"])
    monkeypatch.setenv("CORRLIB_DATA", study[1]["CORRLIB_DATA"])
    return "smoke"


def test_a_cell_is_where_its_runs_say_it_is(finished):
    names = [variants.WHOLE, "share-0.5"]
    assert regimes.finished_cells(finished, names) == names
    table = regimes.cells(finished, names, 100, ("ensemble", "true"))
    own = table[table["wrong"] == 0]
    assert set(own["clips"]) == {48} and set(own["epochs"]) == {2} and set(own["ambiguity"]) == {0.8}
    other = table[table["wrong"] == 0.25]
    assert (
        set(other["clips"]) == {24} and set(other["backbone"]) == {"mn_tiny"} and set(other["setting"]) == {"ensemble"}
    )
    assert set(own["setting"]) == {"ensemble", "true"} and table["training"].nunique() == 1
    gained = variants.gains(finished, ["share-0.5"], 100)
    expected = gained[(gained["variant"] == "share-0.5") & (gained["metric"] == "true mAP@10")]
    assert other[other["metric"] == "true mAP@10"]["difference"].item() == expected["difference"].item()
    index = [
        json.loads((runs.root() / finished / f"stage1-{b}-seed1" / "overfit.json").read_text())["overfit index"]
        for b in ("passt_tiny", "atst_tiny", "mn_tiny")
    ]
    assert own[own["backbone"] == results.POOLED]["overfit index"].tolist() == pytest.approx([np.mean(index)] * 4)


def test_a_cell_of_which_a_run_is_missing_is_none(finished, tmp_path, monkeypatch):
    shutil.copytree(runs.root() / finished, tmp_path / finished, ignore=shutil.ignore_patterns("model.safetensors"))
    monkeypatch.setenv("CORRLIB_RUNS", str(tmp_path))
    (tmp_path / finished / "continued-share-0.5-mn_tiny-seed1" / "manifest.json").unlink()
    names = [variants.WHOLE, "share-0.5"]
    assert regimes.finished_cells(finished, names) == [variants.WHOLE]
    (tmp_path / finished / "true-passt_tiny-seed1" / "manifest.json").unlink()
    assert regimes.finished_cells(finished, names) == []
    assert regimes.cells(finished, [], 100).empty


def test_a_cell_whose_name_begins_anothers_is_of_its_own_runs_alone(finished, tmp_path, monkeypatch):
    """`share-0.5-again` is unfinished: `share-0.5` is, and nothing of the other is averaged in."""
    shutil.copytree(runs.root() / finished, tmp_path / finished, ignore=shutil.ignore_patterns("model.safetensors"))
    (tmp_path / "studies").mkdir()
    text = Path("studies/smoke.yaml").read_text()
    line = next(line for line in text.splitlines() if line.startswith("  share-0.5: "))
    (tmp_path / "studies" / "smoke.yaml").write_text(
        text.replace(line, f"{line}\n{line.replace('share-0.5', 'share-0.5-again')}")
    )
    monkeypatch.setenv("CORRLIB_STUDIES", str(tmp_path / "studies"))
    monkeypatch.setenv("CORRLIB_RUNS", str(tmp_path))
    alone = regimes.cells(finished, ["share-0.5"], 100)
    shutil.copytree(tmp_path / finished / "stage1-share-0.5-mn_tiny-seed1", tmp_path / finished / OTHER)
    path = tmp_path / finished / OTHER / "overfit.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "overfit index": 9.0}))
    declare_again(tmp_path / finished / OTHER)
    assert regimes.finished_cells(finished, ["share-0.5", "share-0.5-again"]) == ["share-0.5"]
    pd.testing.assert_frame_equal(regimes.cells(finished, ["share-0.5"], 100), alone)


def test_cells_of_before_stay_and_those_made_anew_take_their_place(tmp_path):
    old = cells().assign(
        study="map", p=0.1, training="old", commit="", processor="P", seeds_above=3, **{"kept epoch": 9.0}
    )
    old.to_csv(tmp_path / "map.csv", index=False)
    new = old[old["epochs"] == 5].assign(training="new", difference=0.5)[list(regimes.COLUMNS)]
    table = regimes.joined(new, tmp_path / "map.csv")
    assert len(table) == len(old) and not table.duplicated(list(regimes.KEY)).any()
    assert set(table.loc[table["epochs"] == 5, "training"]) == {"new"}
    assert set(table.loc[table["epochs"] != 5, "training"]) == {"old"}
    assert regimes.joined(new, tmp_path / "none.csv").equals(new)
    assert len(regimes.joined(new.iloc[:0], tmp_path / "map.csv")) == len(old)


def test_a_study_stands_beside_the_map_by_its_own_index(finished):
    table = regimes.of_study(finished, 100)
    assert set(table["setting"]) == {"ensemble"} and set(table["against"]) == {"continued"}
    assert table["overfit index"].notna().all() and results.POOLED in set(table["backbone"])


def test_watched_pairs_begin_where_stage_one_ended(finished):
    training_runs = runs.gather(finished)
    table = course.watched(finished, training_runs)
    log = runs.read_table(finished, "stage1-mn_tiny-seed1", "log.csv").set_index("epoch")
    kept = runs.kept_epoch_of(finished, "stage1-mn_tiny-seed1")
    start = table[(table["setting"] == "ensemble") & (table["backbone"] == "mn_tiny") & (table["epoch"] == 0)]
    assert start.set_index("kind").loc["unannotated match", "rank"] == log.loc[kept, "unannotated match rank"]
    assert set(table["setting"]) >= {"stage1", "continued", "self", "ensemble", "mixture", "true"}
    assert set(course.overfit(finished, training_runs)["backbone"]) == {"passt_tiny", "atst_tiny", "mn_tiny"}


@pytest.mark.parametrize("words", [["overfit"], ["headroom"], ["last_epoch"], ["course"]])
def test_blocks_of_a_finished_study(finished, words):
    published = Published(runs.figures_folder(finished))
    text = rendered(published, [*words, "builtin"])
    assert text.count("\n| ") >= 4 and not re.search(r"\bnan\b", text)


def test_the_block_of_the_map_says_what_was_not_run(tmp_path):
    cells().to_csv(tmp_path / "map.csv", index=False)
    lines = regime_blocks.regimes(Published(tmp_path)).splitlines()
    assert lines[0] == "| epochs of stage 1 | 512 clips | 1024 clips | 2048 clips | 3584 clips |"
    assert lines[2].startswith("| 5 | +0.24 [−0.16, +0.64] (1.2) |") and lines[5].endswith("|  |")
