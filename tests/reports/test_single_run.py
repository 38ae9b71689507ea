"""What a run's own notebook says of it beside others: the control is found, differences are paired, text is text."""

import numpy as np
import pandas as pd
import pytest
import torch
from nbconvert.filters import markdown2html

from corrlib import soundscapes
from corrlib.corpora.splits import open_corpora
from corrlib.correspondence.targets import true, uniform
from corrlib.reports import single_run
from corrlib.reports.text import as_markdown
from corrlib.study.parameters import StageTwoParameters, check
from tests.finished import declare

CAPTIONS = [f"evaluation/{i}" for i in range(40)]


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """A function that writes a finished run: its manifest, and per-query values shifted by `gain`."""
    monkeypatch.setenv("CORRLIB_RUNS", str(tmp_path))
    values = np.random.default_rng(0).random(40) / 2

    def write(setting, gain=0.0, captions=CAPTIONS, **changes):
        parameters = stage_two(setting, **changes)
        folder = tmp_path / parameters.study / parameters.run_name()
        folder.mkdir(parents=True)
        table = pd.DataFrame({"caption_id": captions, "clip": np.arange(40) // 5, "annotated ap@10": values + gain})
        table.to_csv(folder / "queries.csv", index=False)
        declare(folder, parameters=parameters.model_dump(), backbone="mn_tiny", setting=setting)
        return parameters

    return write


def stage_two(setting, **changes):
    target = "annotated" if setting == "continued" else "self" if setting == "stage1" else setting
    return check(StageTwoParameters, {"study": "t", "student": "stage1-mn_tiny-seed101", "target": target, **changes})


def test_the_control_is_the_run_of_equal_training(finished):
    run = finished("ensemble")
    assert single_run.control_of(run) is None
    finished("continued", run="continued-lr", learning_rate=1e-3)
    finished("continued", run="continued-other", student="stage1-atst_tiny-seed101")
    assert single_run.control_of(run) is None
    finished("continued", threads=2)  # as quick as it may be
    assert single_run.control_of(run) == "continued-mn_tiny-seed101"
    assert single_run.control_of(stage_two("continued")) is None  # no run is its own control


def test_differences_are_paired_and_said_with_their_interval(finished):
    run = finished("ensemble", gain=0.02)
    finished("stage1", run="stage1-mn_tiny-seed101")
    table = single_run.differences(run, 200)
    assert table["against"].tolist() == ["student"]
    said = single_run.answer_of_differences(run, table).data
    assert "`continued` is not finished yet" in said and 'target = "annotated"' in said
    finished("continued", gain=0.01)
    table = single_run.differences(run, 200).set_index("against")
    np.testing.assert_allclose(table[["difference", "low", "high"]], [[0.01] * 3, [0.02] * 3], atol=1e-9)
    said = single_run.answer_of_differences(run, table.reset_index()).data
    assert (
        "**continued-mn_tiny-seed101**, trained as long on the annotated pairs: annotated mAP@10 +1.00 points" in said
    )
    assert "**stage1-mn_tiny-seed101**, from which it started: annotated mAP@10 +2.00 points" in said
    assert "not finished" not in said
    shown = single_run.in_points(table.reset_index())
    assert shown["difference"].tolist() == [1.0, 2.0] and list(shown.index.names) == ["against", "metric"]


def test_a_student_that_was_judged_on_other_captions_is_not_subtracted(finished):
    run = finished("self")
    finished("stage1", run="stage1-mn_tiny-seed101", captions=CAPTIONS[::-1])
    table = single_run.differences(run, 200)
    assert table.empty and single_run.in_points(table).empty
    assert "judged on other captions" in single_run.answer_of_differences(run, table).data


def test_a_row_of_the_target_is_one_of_the_first_batch(tmp_path):
    sizes = {"pretraining": 2, "development": 24, "validation": 2, "evaluation": 2}
    soundscapes.write_corpus(tmp_path, 1, sizes, workers=1)
    parameters = stage_two("true", data=str(tmp_path), batch_clips=16)
    corpora = open_corpora(parameters)
    items, truth = corpora.items("development"), corpora.truth("development")
    caption, table = single_run.target_row(parameters, corpora, true(truth, 0.05))
    rows = [items.clip_ids.index(clip) for clip in table["clip_id"]]
    column = items.texts.index(caption)
    assert len(set(rows)) == 16 and table["annotated"].sum() == 1
    assert items.clip_of_caption[column] in rows
    np.testing.assert_allclose(table["true"], truth[rows, column])
    expected = (torch.as_tensor(truth[rows, column]) / 0.05).softmax(0)
    np.testing.assert_allclose(table["estimated"], expected, atol=1e-6)
    assert table["estimated"].is_monotonic_decreasing
    own = [items.texts[(items.clip_of_caption == row).nonzero()[0, 0]] for row in rows]
    assert table["text"].tolist() == own
    _, table = single_run.target_row(parameters, corpora, uniform())
    assert table["annotated"].tolist() == [1] + [0] * 15 and table["estimated"].tolist() == [1 / 16] * 16
    _, table = single_run.target_row(parameters, corpora, lambda batch: None)
    assert table["estimated"].isna().all() and table["annotated"][0] == 1


@pytest.mark.parametrize(
    "text",
    [
        "It costs $5 and $6",
        r"$\text{a}$ \(x\) **bold** _it_ `code` | [a](b) ![c](d)",
        "<script>x</script> & &amp; # - 1. a",
        "# no heading",
        "1. no list",
    ],
)
def test_text_in_markdown_is_what_it_says(text):
    from html import unescape
    from re import fullmatch

    shown = markdown2html(as_markdown(text)).strip()
    inside = fullmatch(r"<p>([^<]*)</p>", shown)
    assert inside and unescape(inside.group(1)) == text
    assert "$" not in as_markdown(text)
