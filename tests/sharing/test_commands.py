"""`python -m corrlib` and the targets of make that call it."""

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import corrlib
from corrlib.__main__ import main
from tests.sharing.conftest import STUDENT, STUDY
from tests.test_make import asked, checkout, make

__all__ = ["checkout"]  # a fixture


def test_export_as_a_command(finished, tmp_path, capsys, monkeypatch):
    assert main(["export", f"{STUDY}/{STUDENT}", str(tmp_path / "model")]) == 0
    assert "corrlib.load_model" in capsys.readouterr().out
    assert corrlib.load_model(tmp_path / "model").provenance["run"] == STUDENT
    monkeypatch.delenv("HF_TOKEN", raising=False)
    words = ["export", f"{STUDY}/{STUDENT}", str(tmp_path / "model"), "--push", "me/model"]
    assert main(words) == 2 and "HF_TOKEN" in capsys.readouterr().err


def test_a_mistake_is_one_sentence(finished, tmp_path, capsys):
    assert main(["export", "tiny/nothing", str(tmp_path / "model")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: tiny/nothing is no finished run") and error.count("\n") == 1


@pytest.mark.parametrize(
    "words, expected",
    [
        (["export", "RUN=a/b; $(touch hacked)", "TO=my model"], ["export", "--", "a/b; $(touch hacked)", "my model"]),
        (["export", "RUN=a/b", "TO=c", "PUSH=me/it"], ["export", "--push", "me/it", "--", "a/b", "c"]),
        (["correspondences", "STUDY=mine", "K=7", "TO=x y"], ["correspondences", "-k", "7", "--", "mine", "x y"]),
        (["site", "STUDY=mine; $(touch hacked)"], ["site", "--", "mine; $(touch hacked)", "site"]),
        (["site", "AUDIO=none", "TO=x y"], ["site", "--audio", "none", "--", "builtin", "x y"]),
        (["correspondences", "TO=x"], ["correspondences", "--", "builtin", "x"]),
    ],
)
def test_make_hands_on_what_it_is_given(checkout, words, expected):  # noqa: F811
    for extra in ("share", "site"):
        (checkout / ".venv" / f".corrlib-{extra}-installed").touch()
    result = make(checkout, *words)
    assert result.returncode == 0, result.stderr
    [(arguments, _)] = asked(checkout)
    assert arguments == ["-m", "corrlib", *expected] and not (checkout / "hacked").exists()


def test_correspondences_and_accept_as_commands(finished, tmp_path, capsys):
    pytest.importorskip("pyarrow")
    assert main(["correspondences", STUDY, str(tmp_path / "e"), "-k", "4", "--split", "evaluation"]) == 0
    assert "60 captions and 12 clips" in capsys.readouterr().out
    assert len(pd.read_parquet(tmp_path / "e" / "captions_of_clips.parquet")) == 4 * 12
    reviewed = str(tmp_path / "e" / "missing_annotations.csv")
    assert main(["accept", reviewed, str(tmp_path / "relevance.csv")]) == 2
    assert "no decision yet" in capsys.readouterr().err
    pd.read_csv(reviewed, keep_default_na=False).assign(accept="yes").to_csv(reviewed, index=False)
    assert main(["accept", reviewed, str(tmp_path / "relevance.csv")]) == 0
    assert "reviewed queries are in" in capsys.readouterr().out


def test_the_five_lines_of_the_page(finished, sounds, monkeypatch, capsys):
    page = Path("docs/sharing.md").read_text(encoding="utf-8")
    [code] = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "argmax" in block]
    assert len([line for line in code.splitlines() if line]) <= 5
    for name, written in (("a.wav", "dog.wav"), ("b.flac", "rain.flac"), ("d.mp3", "bell.mp3")):
        (sounds / name).rename(sounds / written)
    monkeypatch.chdir(sounds)
    exec(code.replace("builtin/ensemble-passt_tiny-seed101", f"{STUDY}/{STUDENT}"), {})
    assert re.fullmatch(r"tensor\(\[[012]\]\)\n", capsys.readouterr().out)


def test_help_names_every_command():
    text = subprocess.run([sys.executable, "-m", "corrlib", "--help"], capture_output=True, text=True).stdout
    for command in ("export", "correspondences", "submission", "search", "accept"):
        assert f"\n{command} " in text
