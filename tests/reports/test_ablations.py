"""Points of an ablation: planned, told apart, compared with `continued`, targets against the truth."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from corrlib import figures as plots
from corrlib import soundscapes
from corrlib.corpora import list_corpus
from corrlib.corpora.batches import Items
from corrlib.correspondence.quality import probability_mass
from corrlib.correspondence.targets import annotated, random_teacher, true, uniform
from corrlib.correspondence.teachers import target_quality
from corrlib.reports import ablations
from corrlib.study.parameters import ParameterError
from corrlib.study.plan import plan_runs
from tests.finished import declare, declare_again


def write_run(root, point, backbone, seed, scores, quality=None, setting="ensemble"):
    folder = root / "abl" / f"{point}-{backbone}-seed{seed}"
    folder.mkdir(parents=True)
    table = pd.DataFrame(
        {
            "caption_id": [f"c{i}" for i in range(len(scores))],
            "clip": np.arange(len(scores)) // 2,
            "annotated ap@10": scores,
            "true ndcg@10": scores,
        }
    )
    table.to_csv(folder / "queries.csv", index=False)
    if quality is not None:
        target = {"rank_correlation": quality, "average_precision": quality, **dict.fromkeys(ablations.MASSES, 0.25)}
        (folder / "target.json").write_text(json.dumps(target))
    facts = {"backbone": backbone, "setting": setting, "data_fingerprint": f"data{seed}"}
    declare(folder, parameters={"seed": seed}, **facts)


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Two seeds; the points `good` and `uniform` differ from `continued` by known amounts in every query."""
    monkeypatch.setenv("CORRLIB_RUNS", str(tmp_path))
    for seed in (1, 2):
        base = np.random.default_rng(seed).uniform(0.3, 0.6, 40)
        for point, gain, quality in (
            ("stage1", -0.1, None),
            ("continued", 0, 0.0),
            ("good", 0.05, 0.8),
            ("uniform", -0.2, 0.0),
            ("temperature-0.2", 0.01, 0.4),
            ("temperature-0.03", 0.02, 0.5),
        ):
            write_run(tmp_path, point, "mn_tiny", seed, base + gain, quality, setting=point)
        write_run(tmp_path, "continued", "passt_tiny", seed, base, 0.0, setting="continued")
        write_run(tmp_path, "stage1", "passt_tiny", seed, base, setting="stage1")
    return tmp_path


POINTS = ["good", "uniform", "temperature-0.2", "temperature-0.03"]


def test_points_are_compared_with_the_control_of_their_backbone(study):
    judged, found = ablations.load("abl", POINTS)
    assert set(found["backbone"]) == {"mn_tiny"} and len(found) == 2 * (2 + len(POINTS))
    table = ablations.against_control(judged, 200).set_index(["point", "metric"])
    assert table.loc[("good", "annotated mAP@10"), "difference"] == pytest.approx(0.05)
    assert table.loc[("uniform", "true nDCG@10"), "high"] == pytest.approx(-0.2)
    assert (table["seeds"] == 2).all()


def test_the_interval_over_seeds_is_of_their_own_differences(study):
    """+5 points in one seed and +7 in the other: t(0.975) is 12.706 with one degree of freedom."""
    path = study / "abl" / "good-mn_tiny-seed2" / "queries.csv"
    table = pd.read_csv(path)
    table.assign(**{"annotated ap@10": table["annotated ap@10"] + 0.02}).to_csv(path, index=False)
    declare_again(path.parent)
    judged, _ = ablations.load("abl", POINTS)
    row = ablations.against_control(judged, 200).set_index(["point", "metric"]).loc[("good", "annotated mAP@10")]
    assert row["difference"] == pytest.approx(0.06)
    assert row[["seeds_low", "seeds_high"]].tolist() == pytest.approx([0.06 - 0.12706, 0.06 + 0.12706], abs=1e-5)
    assert row["seeds_above"] == 2


def test_targets_and_students(study):
    judged, found = ablations.load("abl", POINTS)
    quality, differences = ablations.targets("abl", found), ablations.against_control(judged, 200)
    table = ablations.targets_and_students(quality, differences)
    assert ablations.association(table, "annotated mAP@10") == pytest.approx(1)
    assert ablations.controls(differences) == [("uniform", "annotated mAP@10", "below", True)]
    turned = differences.assign(low=-differences["high"], high=-differences["low"])
    assert ablations.controls(turned) == [("uniform", "annotated mAP@10", "below", False)]
    warm = ablations.along(differences, r"^temperature-(.+)$", also={"good": 0.05})
    assert warm[warm["metric"] == "annotated mAP@10"]["value"].tolist() == [0.03, 0.05, 0.2]
    ends = {metric: (best.point, worst.point) for metric, best, worst in ablations.extremes(differences)}
    assert ends == {metric: ("good", "uniform") for metric in ("annotated mAP@10", "true nDCG@10")}
    _, best, worst = ablations.extremes(differences)[0]
    assert best.difference == pytest.approx(0.05) and worst.difference == pytest.approx(-0.2)
    assert ablations.listed(differences[differences["point"] == "good"], "annotated mAP@10").startswith("good +5.00 p")


def test_where_no_target_could_be_judged_students_are_compared_all_the_same(study):
    for path in study.rglob("target.json"):
        path.unlink()
        declare_again(path.parent)
    judged, training_runs = ablations.load("abl", POINTS)
    quality, differences = ablations.targets("abl", training_runs), ablations.against_control(judged, 200)
    assert quality.empty and {"point", "rank_correlation", *ablations.MASSES} <= set(quality)
    table = ablations.targets_and_students(quality, differences)
    assert len(table) == len(differences) and table["rank_correlation"].isna().all()
    assert np.isnan(ablations.association(table, "annotated mAP@10"))
    figure = plots.targets_and_students(table)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == POINTS[:1] + POINTS[2:]


def test_without_points_of_their_own_control_there_is_an_empty_table(study):
    table = ablations.with_own_controls("abl", {}, 200)
    assert table.empty and list(table) == list(ablations.against_control(ablations.load("abl", POINTS)[0], 50))


def test_destroyed_students_do_not_hide_the_others(study):
    judged, found = ablations.load("abl", POINTS)
    table = ablations.targets_and_students(ablations.targets("abl", found), ablations.against_control(judged, 200))
    figure = plots.targets_and_students(table)
    shown = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert shown == ["temperature-0.2 (0.40)", "temperature-0.03 (0.50)", "good (0.80)"]
    low, high = figure.axes[0].get_xlim()
    assert -1 < low and high < 6 and "uniform -20.0 points" in figure.get_supxlabel()
    alone = plots.targets_and_students(table[table["point"] == "uniform"])
    assert [label.get_text() for label in alone.axes[0].get_yticklabels()] == ["uniform (0.00)"]


def test_a_point_without_runs_is_named(study):
    with pytest.raises(FileNotFoundError, match="no finished run of the point 'captions'"):
        ablations.load("abl", ["good", "captions"])


def test_a_run_without_its_target_is_named(study):
    _, found = ablations.load("abl", POINTS)
    (study / "abl" / "good-mn_tiny-seed2" / "target.json").unlink()
    declare_again(study / "abl" / "good-mn_tiny-seed2")
    with pytest.raises(FileNotFoundError, match="good-mn_tiny-seed2.*target.json is missing"):
        ablations.targets("abl", found)


def test_probability_mass_against_a_loop():
    rng = np.random.default_rng(0)
    estimated = rng.dirichlet(np.ones(6), 4).T
    truth, own = rng.choice([0, 0.5, 1.0], (6, 4)), np.zeros((6, 4), bool)
    own[[0, 2, 3, 5], range(4)] = True
    truth[own] = 1
    found = dict.fromkeys(("annotated", "wholly", "partly", "not"), 0.0)
    for clip in range(6):
        for caption in range(4):
            kind = (
                "annotated"
                if own[clip, caption]
                else "wholly"
                if truth[clip, caption] == 1
                else "not"
                if truth[clip, caption] == 0
                else "partly"
            )
            found[kind] += estimated[clip, caption] / 4
    assert probability_mass(estimated, truth, own) == pytest.approx(found)
    assert sum(found.values()) == pytest.approx(1)


@pytest.fixture(scope="module")
def built_in(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    soundscapes.write_corpus(folder, 5, {"pretraining": 1, "development": 40, "validation": 1, "evaluation": 1})
    items = Items(list_corpus("soundscapes", folder, "development"))
    return SimpleNamespace(
        name="soundscapes",
        folder=folder,
        items=lambda split: items,
        truth_of=lambda split, *part: soundscapes.load_truth(folder, split, *part),
    )


def test_quality_of_targets_that_are_known(built_in):
    """The truth agrees with itself, nothing and noise do not, annotated pairs put all probability where it was
    given.
    """
    items, truth = (
        built_in.items("development"),
        torch.as_tensor(soundscapes.load_truth(built_in.folder, "development")),
    )
    known = target_quality(true(truth, 0.05), built_in, 0, 1)
    assert known["rank_correlation"] == pytest.approx(1) and known["average_precision"] == pytest.approx(1)
    nothing = target_quality(uniform(), built_in, 0, 1)
    assert nothing["rank_correlation"] == 0
    assert nothing["annotated"] == pytest.approx(1 / 40) and nothing["not"] == pytest.approx(
        float((truth == 0).float().mean()), abs=1e-6
    )
    noise = target_quality(random_teacher(items, 0.05, 1), built_in, 0, 1)
    assert abs(noise["rank_correlation"]) < 0.05
    pairs = target_quality(annotated(), built_in, 1, 0)
    assert pairs["annotated"] == pytest.approx(1) and pairs["rank_correlation"] == 0
    mixed = target_quality(true(truth, 0.05), built_in, 0.5, 0.5)
    assert mixed["annotated"] == pytest.approx((1 + known["annotated"]) / 2, abs=1e-6)
    assert mixed["rank_correlation"] == pytest.approx(1)


def plan(tmp_path, **changes):
    text = {"title": "t", "seeds": [1], "backbones": ["passt_tiny", "mn_tiny"], **changes}
    (tmp_path / "s.yaml").write_text(json.dumps(text))
    return plan_runs("s", tmp_path)


def test_points_become_runs(tmp_path):
    plans = plan(
        tmp_path,
        points={
            "true": {"target": "true"},
            "pair": {"target": "ensemble", "teachers": ["mn_tiny", "passt_tiny"]},
            "mixture": {"target": "ensemble", "w_sup": 0.5},
        },
        point_backbones=["mn_tiny"],
        ablations={"07_ablation_targets": ["self", "true", "pair"]},
    )
    assert plans["true-mn_tiny-seed1"].parameters["teachers"] == [] and "true-passt_tiny-seed1" not in plans
    assert plans["pair-mn_tiny-seed1"].parameters["teachers"] == ["stage1-mn_tiny-seed1", "stage1-passt_tiny-seed1"]
    assert set(plans["mixture-mn_tiny-seed1"].needs) == {"stage1-mn_tiny-seed1", "stage1-passt_tiny-seed1"}
    assert set(plans["ablation_targets"].needs) == {"stage1-passt_tiny-seed1", "correspondences-seed1"} | {
        f"{p}-mn_tiny-seed1" for p in ("stage1", "continued", "self", "true", "pair")
    }
    assert plans["ablation_targets"].parameters["points"] == ["self", "true", "pair"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"points": {"ensemble": {}}}, "'ensemble' cannot name a point"),
        ({"points": {"A b": {}}}, "'A b' cannot name a point"),
        ({"points": {"x": {"target": True}}}, "target"),
        ({"points": {"x": {"targets": "true"}}}, "unknown parameter 'targets'; did you mean 'target'"),
        ({"points": {"x": {"teachers": ["mn_tin"]}}}, "point 'x', teachers, names 'mn_tin'; did you mean 'mn_tiny'"),
        ({"point_backbones": ["passt"]}, "point_backbones or a variant names 'passt'; did you mean 'passt_tiny'"),
        (
            {"points": {"x": {"target": "true"}}, "data": {"corpus": "clotho"}, "data_folder": "/clotho"},
            "run 'x-passt_tiny-seed1': target 'true' needs a corpus whose truth is known",
        ),
        (
            {"settings": ["ensemble"], "ablations": {"08_ablation_ensembles": ["ensemble"]}},
            "'08_ablation_ensembles' needs 'continued' to judge every point by",
        ),
        (
            {"points": {"self-lr-1": {"target": "self"}}, "ablations": {"09_ablation_losses": ["self-lr-1"]}},
            "'09_ablation_losses' needs 'continued-lr-1' to judge 'self-lr-1' by",
        ),
        (
            {"points": {"second": {"student": "ensemble"}}, "ablations": {"10_ablation_scale": ["second"]}},
            "'10_ablation_scale' needs 'second-continued' to judge 'second' by",
        ),
        (
            {"variants": {"half": {"settings": ["ensemble"]}}, "ablations": {"10_ablation_scale": ["half"]}},
            "'10_ablation_scale' needs 'continued' to judge 'half' by",
        ),
        ({"ablations": {"07_ablation": []}}, "no notebook notebooks/07_ablation.ipynb"),
        (
            {"ablations": {"07_ablation_targets": ["tru"]}, "points": {"true": {"target": "true"}}},
            "'07_ablation_targets' names 'tru'; did you mean 'true'",
        ),
    ],
)
def test_wrong_points_are_named(tmp_path, changes, message):
    with pytest.raises(ParameterError, match=message):
        plan(tmp_path, **changes)
