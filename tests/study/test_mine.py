"""studies/mine.yaml: one's own recordings, as they are, without a line of it changed."""

import pandas as pd
import pytest

from corrlib.reports.results import reached
from corrlib.study.parameters import ParameterError
from corrlib.study.plan import plan_runs


def test_the_template_plans_on_any_folder(monkeypatch):
    monkeypatch.setenv("DATA", "/my sounds")
    plans = plan_runs("mine")
    assert {plan.parameters["data"] for plan in plans.values() if plan.kind != "results"} == {"/my sounds"}
    trained = [plan.parameters for plan in plans.values() if plan.kind in ("stage1", "stage2")]
    assert len(trained) == 2 + 2 * 2
    for parameters in trained:  # clips of any length, few of them, whose tags nobody knows
        assert parameters["corpus"] == "folder" and not parameters["cache_log_mel"]
        assert parameters["captions_per_clip"] == 1 and parameters["batch_clips"] <= 16
        assert not parameters.get("pretraining_epochs")


def test_without_a_folder_it_says_what_to_give(monkeypatch):
    monkeypatch.delenv("DATA", raising=False)
    with pytest.raises(ParameterError, match=r"needs \$DATA: run `make reproduce STUDY=mine DATA=...`"):
        plan_runs("mine")


def test_no_ceiling_is_known_of_a_corpus_without_truth():
    row = {"backbone": "a", "setting": "self", "metric": "mAP@10", "mean": 0.5, "low": 0.4, "high": 0.6, "seeds": 1}
    table = reached(pd.DataFrame([row]), {})
    assert table.empty and "share mean" in table
