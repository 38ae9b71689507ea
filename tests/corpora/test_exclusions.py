"""A list of FreeSound ids, as a challenge's rules publish one: none of them is trained on, and every id is counted."""

import re

import pytest

from corrlib.corpora import audit, list_corpus, load_corpus
from corrlib.corpora.exclusions import leave_out, read_ids
from corrlib.reports.surveys import open_splits
from corrlib.study import inputs
from corrlib.study.parameters import DataParameters, ParameterError, check
from corrlib.study.plan import plan_runs
from tests import layouts as make

NAME = "clotho+wavcaps"


@pytest.fixture
def merged(tmp_path):
    """ClothoV2 of which a training and an evaluation clip have ids, WavCaps with FreeSound's 101 and 102."""
    make.clotho(tmp_path / "clotho", ids={("development", "b.wav"): "77", ("evaluation", "a.wav"): "78"})
    make.wavcaps(tmp_path / "wavcaps")
    return tmp_path


def test_training_clips_of_both_corpora_are_left_out_and_counted(merged, capsys):
    listed = make.table(merged / "ids.csv", ["sound_id", "x"], [[i, ""] for i in ("0102", "77", "78", "7", "999")])
    corpus = load_corpus(NAME, merged, "development", exclude=listed)
    gone = dict(zip(corpus.excluded["clip_id"], corpus.excluded["reason"], strict=True))
    assert gone == {  # and not SoundBible's clip 7, whose id is not FreeSound's
        "clotho/development/b.wav": "excluded: FreeSound id 77",
        "wavcaps/development/FreeSound/102": "excluded: FreeSound id 102",
    }
    assert not set(gone) & {*corpus.clips["clip_id"], *corpus.captions["clip_id"], *corpus.metadata["clip_id"]}
    assert len(corpus.clips) == 3 + 6 - 2
    assert len(load_corpus(NAME, merged, "evaluation", exclude=listed).clips) == 3  # whose clips such lists name, too
    values = {"corpus": NAME, "data": str(merged), "exclude": str(listed)}
    splits, table, _ = open_splits(check(DataParameters, values))
    table = table.set_index(["corpus", "split"])
    assert table["excluded"].to_dict() == {
        ("clotho", "development"): 1,
        ("wavcaps", "development"): 1,
        ("clotho", "validation"): 0,
        ("clotho", "evaluation"): 0,
    }
    assert not table["leaks"].any() and len(splits["evaluation"].clips) == 3
    said = (
        "of 5 FreeSound ids in .*ids.csv, 2 are of training clips, .* 1 of clips of other splits, .*; 2 match nothing"
    )
    assert re.search(said, capsys.readouterr().out)
    assert open_splits(check(DataParameters, {**values, "text_only": True}))[2]["clip_id"].tolist() == list(gone)


def test_the_tolerance_is_not_spent_on_them(merged):
    listed = make.table(merged / "ids.csv", ["id"], [["101"], ["102"]])
    corpus, table = audit(leave_out(list_corpus(NAME, merged, "development"), listed), tolerance=0.0)
    assert table["excluded"].tolist() == [0, 2] and len(corpus.clips) == 3 + 4


@pytest.mark.parametrize(
    "content, ids",
    [
        ("sound_id\n5\n06\n", {"5", "6"}),
        ("file;freesound_id\na.wav;5\n", {"5"}),
        ("5\n6\n\n7\n", {"5", "6", "7"}),
        ("sound\n5\n", {"5"}),
        ("name,number\na,5\n", "has no column sound_id, freesound_id or id, only name, number"),
        ("sound_id\n5\nfive\n", "holds 'five', which is no FreeSound id"),
    ],
)
def test_lists_of_ids(tmp_path, content, ids):
    path = tmp_path / "ids.csv"
    path.write_text(content)
    if isinstance(ids, set):
        assert read_ids(path) == ids
    else:
        with pytest.raises(ValueError, match=ids):
            read_ids(path)


def test_what_cannot_be_held_to_is_refused(merged):
    with pytest.raises(FileNotFoundError, match="list of FreeSound ids .*gone.csv does not exist; put it there"):
        load_corpus(NAME, merged, "development", exclude=merged / "gone.csv")
    listed = make.table(merged / "ids.csv", ["sound_id"], [["5"]])
    (merged / "clotho" / "clotho_metadata_development.csv").unlink()
    with pytest.raises(FileNotFoundError, match="no table tells the FreeSound ids of clotho's training clips"):
        load_corpus("clotho", merged, "development", exclude=listed)
    with pytest.raises(ParameterError, match="ids, which corpus 'folder' does not know; leave it out"):
        check(DataParameters, {"corpus": "folder", "exclude": "ids.csv"})


def test_a_study_hands_it_to_every_run_which_knows_it_by_its_content(tmp_path):
    listed = make.table(tmp_path / "ids.csv", ["sound_id"], [["5"]])
    text = (
        "title: t\nseeds: [1]\ndata_folder: /clotho\nbackbones: [mn_tiny, atst_tiny]\nstage1: {pretraining_epochs: 0}\n"
    )
    (tmp_path / "mine.yaml").write_text(text + f"data: {{corpus: clotho, exclude: '{listed}'}}\n")
    plans = plan_runs("mine", tmp_path)
    given = {plan.kind: plan.parameters.get("exclude") for plan in plans.values()}
    assert {kind for kind, path in given.items() if path == str(listed)} == {"data", "stage1", "estimate", "stage2"}
    before = inputs.of_parameters({"exclude": str(listed)})["files"]["exclude"]
    other = make.table(tmp_path / "elsewhere" / "list.csv", ["sound_id"], [["5"]])
    assert not inputs.other_parameters({"exclude": str(listed)}, {"exclude": str(other)})  # where it lies is no matter
    make.table(other, ["sound_id"], [["6"]])
    assert inputs.of_parameters({"exclude": str(other)})["files"]["exclude"] not in ("", before)
