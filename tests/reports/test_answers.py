"""07 to 12 by themselves: with their defaults on a finished study, on one whose truth nobody knows, and on none."""

import json
import shutil

import pandas as pd
import pytest
from IPython.display import HTML, Markdown
from pandas.io.formats.style import Styler

from corrlib.corpora.splits import Corpora
from corrlib.reports import ablations, variants
from tests.executed import execute
from tests.finished import declare_again

NOTEBOOKS = (
    "07_ablation_targets",
    "08_ablation_ensembles",
    "09_ablation_losses",
    "10_ablation_scale",
    "11_other_tasks",
    "12_results",
    "14_map",
)


@pytest.fixture(scope="module")
def copied(study, tmp_path_factory):
    """(folder of runs, of a copy of the finished study, and of one without what only the truth can tell; data)."""
    root = tmp_path_factory.mktemp("copied")
    for name in ("known", "unknown"):
        leave = shutil.ignore_patterns("figures", "model.safetensors") if name == "unknown" else None
        shutil.copytree(study[0], root / name / "smoke", ignore=leave)
    forget_truth(root / "unknown" / "smoke")
    return root, study[1]["CORRLIB_DATA"]


def forget_truth(folder):
    for path in folder.glob("*/target.json"):
        path.unlink()
    for path in [*folder.glob("*/queries.csv"), *folder.glob("*/queries-last_epoch.csv")]:
        table = pd.read_csv(path)
        table.drop(columns=[name for name in table if name.startswith("true")]).to_csv(path, index=False)
    for path in folder.glob("*/metrics.json"):
        metrics = json.loads(path.read_text())
        kept = {"clips"} if path.parent.name.startswith("data") else set(metrics) - {"true"}
        path.write_text(json.dumps({name: metrics[name] for name in kept}))
    for path in folder.glob("*/manifest.json"):
        declare_again(path.parent, parents={})


def answer(stem, monkeypatch, tmp_path, runs, data, **parameters):
    monkeypatch.setenv("CORRLIB_RUNS", str(runs))
    monkeypatch.setenv("CORRLIB_DATA", str(data))
    given = {"figures": str(tmp_path / "figures"), "resamples": 200, **parameters}
    return execute(f"notebooks/{stem}.ipynb", monkeypatch, **given)


def texts(shown, kind):
    return [thing.data for thing in shown if isinstance(thing, kind)]


@pytest.mark.parametrize("stem", NOTEBOOKS)
def test_with_its_defaults_a_notebook_finds_what_there_is_and_answers(stem, copied, monkeypatch, tmp_path):
    root, data = copied
    shown = answer(stem, monkeypatch, tmp_path, root / "known", data, study="smoke")
    (said,) = texts(shown, Markdown)
    assert "annotated mAP@10" in said or stem.startswith("11")
    assert "points [" in said and "nan" not in said
    assert all("<details>" in fold and "<table" in fold for fold in texts(shown, HTML)) and texts(shown, HTML)
    finished = sorted((root / "known" / "smoke").glob("*/manifest.json"), key=lambda path: path.stat().st_mtime_ns)[-1]
    assert json.loads(finished.read_text())["notebook"] == stem
    drawn = {path.stem for path in (tmp_path / "figures").glob("*.png")}
    assert drawn and drawn == {path.stem for path in (tmp_path / "figures").glob("*.csv")}


@pytest.mark.parametrize("stem", NOTEBOOKS)
def test_without_truth_it_answers_by_annotated_pairs_alone(stem, copied, monkeypatch, tmp_path):
    root, data = copied
    if stem.startswith("11"):  # only the built-in corpus has known scenes, and its embeddings ask for the model
        return
    monkeypatch.setattr(Corpora, "truth", lambda self, split: None)
    shown = answer(stem, monkeypatch, tmp_path, root / "unknown", data, study="smoke")
    (said,) = texts(shown, Markdown)
    assert "annotated mAP@10" in said and "true mAP" not in said and "nan" not in said and "Rank corr" not in said
    tables = [path for path in (tmp_path / "figures").glob("*.csv") if "metric" in pd.read_csv(path)]
    assert all(pd.read_csv(path)["metric"].str.startswith("annotated").all() for path in tables)


def test_the_answer_of_12_is_a_sentence_and_a_table_that_agree_with_its_files(copied, monkeypatch, tmp_path):
    root, data = copied
    shown = answer("12_results", monkeypatch, tmp_path, root / "known", data, study="smoke")
    (said,), (styler,) = texts(shown, Markdown), [thing for thing in shown if isinstance(thing, Styler)]
    differences = pd.read_csv(tmp_path / "figures" / "differences.csv").set_index(
        ["backbone", "setting", "against", "metric"]
    )
    row = differences.loc[("all backbones", "ensemble", "continued", "annotated mAP@10")]
    assert f"{100 * row['difference']:+.2f} points [{100 * row['low']:+.2f}" in said and said.count(".**") == 1
    assert list(styler.data.index.get_level_values("backbone").unique()) == [
        "all backbones",
        "passt_tiny",
        "atst_tiny",
        "mn_tiny",
        "ensemble of all",
    ]
    results = pd.read_csv(tmp_path / "figures" / "results.csv").set_index(["backbone", "setting", "metric"])
    for (backbone, setting), cells in styler.data.iterrows():
        for metric in ("annotated mAP@10", "true mAP@10"):
            own = results.loc[(backbone, setting, metric)]
            assert (
                cells[metric, "percent"] == f"{100 * own['mean']:.1f} [{100 * own['low']:.1f}, {100 * own['high']:.1f}]"
            )


@pytest.mark.parametrize("stem", NOTEBOOKS)
def test_without_runs_it_says_in_one_sentence_what_makes_them(stem, monkeypatch, tmp_path):
    study = {"11": "builtin", "12": "builtin", "14": "map"}.get(stem[:2], "ablations")
    with pytest.raises(FileNotFoundError, match=rf"no finished .*run `make reproduce STUDY={study}` first"):
        answer(stem, monkeypatch, tmp_path, tmp_path / "runs", tmp_path)


@pytest.mark.parametrize("stem", NOTEBOOKS[:4])
def test_with_stage_one_alone_it_says_so(stem, copied, monkeypatch, tmp_path):
    root, data = copied
    shutil.copytree(
        root / "unknown" / "smoke" / "stage1-mn_tiny-seed1", tmp_path / "runs" / "own" / "stage1-mn_tiny-seed1"
    )
    declare_again(tmp_path / "runs" / "own" / "stage1-mn_tiny-seed1")
    with pytest.raises(
        FileNotFoundError, match=r"no finished run to compare with `continued`; run `make reproduce STUDY=own`"
    ):
        answer(stem, monkeypatch, tmp_path, tmp_path / "runs", data, study="own")


def test_points_and_variants_are_found_among_finished_runs(study, monkeypatch):
    """As if the study had no file: by the names of runs and of their students."""
    monkeypatch.setenv("CORRLIB_RUNS", str(study[0].parent))
    points, changed = ablations.finished("smoke")
    assert points == (
        "self",
        "ensemble",
        "mixture",
        "true",
        "combine-chosen_weights",
        "second",
        "second-continued",
        "uniform",
    )
    assert changed == ("share-0.5",)
    assert ablations.chosen("smoke", "07_ablation_targets", ["self"]) == (("self",), ())
    assert ablations.chosen("smoke", "10_ablation_scale") == (("second", "second-continued"), ("share-0.5",))
    assert ablations.chosen("smoke", "12_results") == (points, changed)


def test_strength_without_truth_is_annotated_retrieval(copied, monkeypatch):
    root, _ = copied
    monkeypatch.setenv("CORRLIB_RUNS", str(root / "unknown"))
    row = variants.strengths("smoke", ["share-0.5"]).set_index(["variant", "backbone"]).loc[("share-0.5", "mn_tiny")]
    metrics = json.loads((root / "unknown" / "smoke" / "stage1-share-0.5-mn_tiny-seed1" / "metrics.json").read_text())
    assert row["measure"] == "annotated mAP@10" and row["student"] == metrics["annotated"]["mAP@10"]
    assert pd.isna(row["wholly"])
