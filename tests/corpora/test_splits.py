"""The splits of a run's corpus: what of it is kept on disk, and clips to pretrain on beside a corpus without any."""

from types import SimpleNamespace

import pytest

from corrlib.corpora import splits, tables
from corrlib.corpora.splits import Corpora
from tests import layouts as make

SEGMENT = SimpleNamespace(segment_seconds=1.0)  # of a backbone, what is asked for


def opened(folder, seconds, **changes):
    """A corpus of three clips of these lengths, in each split."""
    for place, split in enumerate(("development", "validation", "evaluation")):
        for number, length in enumerate(seconds):
            make.sound(folder / split / f"{number}.wav", length, hz=300 + 50 * number + 7 * place)
        rows = [[f"{split}/{number}.wav", f"tone {number}"] for number in range(len(seconds))]
        make.table(folder / f"{split}.csv", ["file", "caption"], rows)
    given = {"corpus": "folder", "data": str(folder), "tolerance": 0.0, "exclude": "", "clip_seconds": 2.0}
    return Corpora(SimpleNamespace(**{**given, "cache_log_mel": "auto", **changes}))


@pytest.mark.parametrize(
    "seconds, changes, kept, said",
    [
        ([0.5, 0.5, 0.5], {}, True, "log-mels are kept: development clips are of 0.5 s"),
        ([1.0, 1.0, 1.0], {}, True, "of 1 s"),
        ([0.5, 0.5, 0.6], {}, False, "computed anew in every batch: development clips are of 0.5 to 0.6 s"),
        ([1.1, 1.1, 1.1], {}, False, "of 1.1 s"),
        ([0.5, 0.5, 0.5], {"clip_seconds": 0.4}, False, "of 0.5 s"),
        ([0.5, 0.5, 0.6], {"cache_log_mel": False}, False, ""),
        ([0.5, 0.5, 0.6], {"cache_log_mel": True}, True, ""),
    ],
)
def test_log_mels_are_kept_where_lengths_allow_it_which_is_said_once(
    tmp_path, monkeypatch, capsys, seconds, changes, kept, said
):
    monkeypatch.setattr(tables, "_told", set())
    corpora = opened(tmp_path, seconds, **changes)
    found = {corpora.keeps_log_mels(split, SEGMENT) for split in ("development", "validation", "evaluation")}
    out = capsys.readouterr().out
    assert found == {kept} and said in out and out.count("\n") == bool(said)


def test_log_mels_of_a_long_corpus_are_not_kept_and_kept_ones_are_not_cropped(tmp_path, monkeypatch):
    monkeypatch.setattr(splits, "KEPT_HOURS", 1.0 / 3600)
    assert not opened(tmp_path, [0.5] * 3).keeps_log_mels("development", SEGMENT)
    with pytest.raises(ValueError, match=r"clip_seconds \(0.4\) crops those of 0.5 s"):
        opened(tmp_path, [0.5] * 3, cache_log_mel=True, clip_seconds=0.4).keeps_log_mels("development", SEGMENT)
