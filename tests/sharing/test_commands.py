"""`python -m corrlib` and the targets of make that call it."""

import subprocess
import sys

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
    ],
)
def test_make_hands_on_what_it_is_given(checkout, words, expected):  # noqa: F811
    (checkout / ".venv" / ".corrlib-share-installed").touch()
    result = make(checkout, *words)
    assert result.returncode == 0, result.stderr
    [(arguments, _)] = asked(checkout)
    assert arguments == ["-m", "corrlib", *expected] and not (checkout / "hacked").exists()


def test_help_names_every_command():
    text = subprocess.run([sys.executable, "-m", "corrlib", "--help"], capture_output=True, text=True).stdout
    assert "export" in text
