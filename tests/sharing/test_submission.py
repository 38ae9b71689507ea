"""What a challenge is sent: its very captions, and the files that a model, or the mean of several, ranks first."""

import csv

import pandas as pd
import pytest
import torch

import corrlib
from corrlib.__main__ import main
from corrlib.sharing.submission import Submission, read_queries
from tests.sharing.conftest import STUDENT, STUDY, TEACHERS

CAPTIONS = ['a "dog", far away', "=1+2 is said", "rain\rfalls", "a dog barks; déjà vu", "a dog barks, twice", "wind"]


@pytest.fixture
def queries(tmp_path):
    path = tmp_path / "retrieval_captions.csv"
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerows([["caption"], *([caption] for caption in CAPTIONS)])
    return path


def test_a_submission_is_what_the_models_rank_first(finished, sounds, queries, tmp_path, capsys):
    """By one model and by the mean of three, against similarities computed file by file."""
    (sounds / "metadata.csv").write_text("file_name,licence\n")
    names = ["a.wav", "b.flac", "c.ogg", "d.mp3"]
    paths = [next(sounds.rglob(name)) for name in names]
    runs = [f"{STUDY}/{name}" for name in (STUDENT, *TEACHERS)]
    each = [corrlib.load_model(name, "cpu").similarity(paths, CAPTIONS) for name in runs]
    given = ["--queries", str(queries), "--clips", str(sounds), "--device", "cpu"]
    together = [word for name in runs[1:] for word in ("--with", name)]
    for words, mean in (([], each[0]), (together, torch.stack(each).mean(0))):
        to = tmp_path / "output.csv"
        assert main(["submission", runs[0], *given, "--top", "4", *words, str(to)]) == 0
        said = capsys.readouterr()
        assert "6 captions, answered from 4 sounds by" in said.out and "skipped metadata.csv" in said.err
        table = pd.read_csv(to, keep_default_na=False)
        assert list(table.columns) == ["caption", "file_name_1", "file_name_2", "file_name_3", "file_name_4"]
        assert table["caption"].tolist() == CAPTIONS  # as they were asked, formulas and all
        for row, best in enumerate(table.drop(columns="caption").itertuples(index=False)):
            assert list(best) == [names[clip] for clip in mean[:, row].argsort(descending=True)]
        assert main(["submission", runs[0], str(to), *given, *words, "--similarities"]) == 0
        table = pd.read_csv(to, keep_default_na=False, index_col="index")
        assert table.index.tolist() == CAPTIONS and sorted(table.columns) == names
        torch.testing.assert_close(torch.tensor(table[names].to_numpy()).float(), mean.T, atol=1e-4, rtol=0)


def test_what_cannot_be_sent_is_one_sentence(finished, sounds, queries, tmp_path, capsys):
    model, to = f"{STUDY}/{STUDENT}", tmp_path / "output.csv"

    def refused(words):
        assert main(["submission", model, str(to), *words]) == 2 and not to.exists()
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1
        return error

    clips = ["--clips", str(sounds)]
    assert "there are 4 sounds to choose from, so no 10 best" in refused(["--queries", str(queries), *clips])
    (tmp_path / "q.csv").write_text("query\na dog\n")
    assert "has no column 'caption'" in refused(["--queries", str(tmp_path / "q.csv"), *clips])
    assert "does not exist" in refused(["--queries", str(tmp_path / "q.txt"), *clips])
    (tmp_path / "q.txt").write_text("\n \n")
    assert "holds no caption" in refused(["--queries", str(tmp_path / "q.txt"), *clips])
    (tmp_path / "q.txt").write_bytes(b"\xff\xfe\x00")
    assert "is no text in UTF-8" in refused(["--queries", str(tmp_path / "q.txt"), *clips])
    (sounds / "a.wav").rename(sounds / "below" / "d.mp3")
    assert "2 sounds named d.mp3" in refused(["--queries", str(queries), *clips])
    with pytest.raises(ValueError, match="no query"):
        Submission([], [], sounds)


def test_a_text_is_a_query_a_line(tmp_path):
    (tmp_path / "queries.txt").write_bytes("\ufeffa dog barks, far away\r\n\r\n  wind \n".encode())
    assert read_queries(tmp_path / "queries.txt") == ["a dog barks, far away", "wind"]
