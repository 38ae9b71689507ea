"""Epochs in TensorBoard files: those of the log, each once, also of a run that was killed; and nothing else changes."""

import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

from corrlib.study import manifest, runs
from corrlib.training import track
from tests.training.begun import stage_one
from tests.training.test_training import finish, stop_after


def drawn(folder):
    """{tag: [(step, value)]} of every event in a run's folder, as it was written: nothing is put right in reading."""
    [path] = folder.glob("events.out.tfevents.*")
    found = {}
    for event in LegacyEventFileLoader(str(path)).Load():
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def test_a_killed_runs_curve_is_its_log_and_its_result_that_of_a_run_without(data, monkeypatch):
    stop_after(1, monkeypatch, data=data, epochs=2, track="tensorboard")
    run, *rest = stage_one(data, epochs=2, track="tensorboard")
    log, metrics = finish(run, *rest)
    found = drawn(run.folder)
    assert set(found) == {
        "training/loss",
        "training/seconds",
        *(f"validation/{name.removeprefix('validation ')}" for name in log if name.startswith("validation ")),
    }
    for tag, column in (("training/loss", "loss"), ("validation/mAP@10", "validation mAP@10")):
        assert [step for step, _ in found[tag]] == [1, 2]
        assert [value for _, value in found[tag]] == pytest.approx(log[column].tolist())
    tracked = runs.read_manifest("t", "one")
    assert not any(name.startswith("events") for name in tracked["artefacts"])
    again, same = finish(*stage_one(data, epochs=2))  # which replaces it, and has no curve
    assert same == metrics and not list(run.folder.glob("events.*"))
    pd.testing.assert_frame_equal(again.drop(columns="seconds"), log.drop(columns="seconds"))
    assert manifest.result(runs.read_manifest("t", "one")["artefacts"]) == manifest.result(tracked["artefacts"])


def test_watched_pairs_have_a_group_of_their_own(tmp_path):
    run = type("Run", (), {"folder": tmp_path})()
    with track.Track(run, "tensorboard", []) as curve:
        curve.add({"epoch": 1, "loss": 2.0, "seconds": 1.0, "annotated rank": 0.25})
    assert drawn(tmp_path)["watched/annotated rank"] == [(1, 0.25)]
