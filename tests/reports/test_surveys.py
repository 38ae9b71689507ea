"""What 01_data shows of a corpus: tables against counts by hand, and the notebook on real layouts."""

import json
import os
import shutil

import numpy as np
import pandas as pd
import papermill
import pytest

from corrlib.corpora import list_corpus
from corrlib.corpora.corpus import Corpus
from corrlib.reports import surveys
from tests import layouts as make


def corpus(texts, clips=("a", "b", "c"), seconds=(1.0, 2.0, 6.0)):
    """`texts`: [(clip, caption)]."""
    table = pd.DataFrame({"clip_id": list(clips), "path": "", "start_seconds": 0.0, "duration_seconds": seconds})
    captions = pd.DataFrame(texts, columns=["clip_id", "text"])
    return Corpus(table, captions.assign(caption_id=range(len(texts))), pd.DataFrame({"clip_id": list(clips)}))


TEXTS = [("a", "Rain falls"), ("a", "a dog barks at rain"), ("b", "rain falls "), ("c", "rain")]


def test_tables_of_captions():
    split = {"development": corpus(TEXTS)}
    row = surveys.overview(split).iloc[0]
    assert (row["clips"], row["captions"], row["median seconds"], row["different words"]) == (3, 4, 2.0, 6)
    assert row["hours"] == pytest.approx(9 / 3600) and row["words a caption"] == 2.5
    assert surveys.shared_word_for_word(split["development"]) == 0.5
    assert surveys.words(split).to_dict("list")["word"][:1] == ["rain"]
    assert surveys.words(split)["times"].iloc[0] == 4
    assert surveys.licences(split).empty


def test_hours_are_unknown_rather_than_zero_without_audio():
    table = surveys.overview({"evaluation": corpus(TEXTS, seconds=(np.nan,) * 3)})
    assert np.isnan(table["hours"].iloc[0])
    assert "audio not at hand" in surveys.answer(table, {}, 0.5)


def test_examples_play_another_clip_that_fits_wholly():
    truth = np.array([[1, 0.5, 1, 0], [1, 1, 1, 0], [0, 1, 0.5, 1.0]])
    found = surveys.examples_to_hear(corpus(TEXTS), truth, 4)
    assert found == [("Rain falls", 0, 1), ("a dog barks at rain", 0, 1), ("rain falls ", 1, 0)]


@pytest.mark.parametrize(
    ("name", "build", "audio"),
    [
        ("clotho", make.clotho, ["development", "validation", "evaluation"]),
        ("audiocaps", make.audiocaps, ["audio"]),
        ("wavcaps", make.wavcaps, [f"{source}_flac" for source in make.SOURCES]),
        ("folder", make.own, ["sounds"]),
    ],
)
def test_the_text_side_needs_no_audio(tmp_path, name, build, audio):
    build(tmp_path)
    whole = list_corpus(name, tmp_path, "development")
    for folder in audio:
        shutil.rmtree(tmp_path / folder)
    text = list_corpus(name, tmp_path, "development", audio=False)
    assert whole.clips["path"].ne("").all() and text.clips["path"].eq("").all()
    pd.testing.assert_frame_equal(text.captions, whole.captions)
    pd.testing.assert_frame_equal(text.clips.drop(columns="path"), whole.clips.drop(columns="path"))
    pd.testing.assert_frame_equal(text.metadata, whole.metadata)


@pytest.mark.parametrize("text_only", [False, True])
def test_the_notebook_runs_on_a_real_layout(tmp_path, monkeypatch, text_only):
    make.clotho(tmp_path / "data", splits=("development", "validation", "evaluation"))
    if text_only:
        for split in ("development", "validation", "evaluation"):
            shutil.rmtree(tmp_path / "data" / split)
    monkeypatch.setenv("CORRLIB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    executed = papermill.execute_notebook(
        "notebooks/01_data.ipynb",
        None,
        kernel_name="python3",
        progress_bar=False,
        cwd=os.getcwd(),
        parameters={"data": str(tmp_path / "data"), "corpus": "clotho", "text_only": text_only},
    )
    shown = json.dumps(executed)
    assert ("audio not at hand" in shown) == text_only and "CC0" in shown
    assert (tmp_path / "runs" / "scratch" / "data-seed101" / "contents.csv").is_file()
