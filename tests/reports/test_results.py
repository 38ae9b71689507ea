"""Tables of a study: means over backbones, what is compared, and how it is told."""

import numpy as np
import pandas as pd
import pytest

from corrlib.evaluation.evaluate import CLIP_TO_CAPTION
from corrlib.evaluation.intervals import bootstrap_interval, holm, interval_over_seeds
from corrlib.figures.style import POOLED
from corrlib.reports import blocks, literature, results, tables
from corrlib.reports.queries import ENSEMBLE, Judged
from tests.finished import finish_run

COLUMN = results.METRICS["annotated mAP@10"]


def queries(values, clips=20):
    values = np.asarray(values, float)
    numbers = np.arange(len(values))
    return pd.DataFrame({"caption_id": [f"c{n}" for n in numbers], "clip": numbers % clips, COLUMN: values})


@pytest.fixture
def judged():
    """Two backbones in two seeds; `ensemble` of both is above `continued` by 0.1 and 0.2, `true` is of one alone."""
    rng = np.random.default_rng(0)
    tables_of = {}
    for backbone, gain in (("passt_tiny", 0.1), ("mn_tiny", 0.2)):
        base = {seed: rng.uniform(0.2, 0.5, 60) for seed in (1, 2)}
        for setting, change in (("stage1", -0.05), ("continued", 0), ("ensemble", gain)):
            tables_of[backbone, setting] = {seed: queries(values + change) for seed, values in base.items()}
    tables_of["mn_tiny", "true"] = tables_of["mn_tiny", "ensemble"]
    tables_of[ENSEMBLE] = tables_of["mn_tiny", "stage1"]
    return Judged("s", tables_of)


def test_the_mean_over_backbones_is_of_queries_and_its_interval_is_over_clips(judged):
    table = results.summarise(judged, 200).set_index(["backbone", "setting"])
    assert list(table.reset_index()) == ["backbone", "setting", "study", "metric", "mean", "low", "high", "seeds"]
    pooled = table.loc[POOLED]
    assert list(pooled.index) == ["stage1", "continued", "ensemble"]  # not `true`, which one backbone lacks
    for setting in pooled.index:
        one, two = (judged.queries[backbone, setting] for backbone in ("passt_tiny", "mn_tiny"))
        values = [(one[seed][COLUMN] + two[seed][COLUMN]).to_numpy() / 2 for seed in (1, 2)]
        expected = bootstrap_interval(values, [one[seed]["clip"].to_numpy() for seed in (1, 2)], 200)
        assert pooled.loc[setting, ["mean", "low", "high"]].tolist() == pytest.approx(expected)
        assert pooled.loc[setting, "mean"] == pytest.approx(table.loc[(slice(None), setting), "mean"].iloc[:2].mean())
    assert (pooled["high"] - pooled["low"]).max() < table.loc["mn_tiny", "high"].max() - table.loc[
        "mn_tiny", "low"
    ].min()


def test_the_mean_is_of_the_seeds_that_every_backbone_has(judged):
    del judged.queries["mn_tiny", "ensemble"][2]
    table = results.summarise(judged, 50).set_index(["backbone", "setting"])
    assert table.loc[POOLED, "seeds"].to_dict() == {"stage1": 2, "continued": 2, "ensemble": 1}


def test_one_backbone_has_no_mean(judged):
    for key in [key for key in judged.queries if key[0] == "passt_tiny"]:
        del judged.queries[key]
    assert POOLED not in set(results.summarise(judged, 50)["backbone"])
    differences = results.compare(judged, 50)
    assert POOLED not in set(differences["backbone"]) and len(results.of_all(differences)) == len(differences)


def test_backbones_judged_on_different_captions_have_no_mean(judged):
    table = judged.queries["mn_tiny", "stage1"][1]
    judged.queries["mn_tiny", "stage1"][1] = table.assign(caption_id=table["caption_id"] + "x")
    with pytest.raises(ValueError, match="judged on different captions"):
        results.summarise(judged, 50)


def test_differences_name_the_mean_only_where_all_backbones_are_in_it(judged):
    table = results.compare(judged, 100)
    assert (
        list(table)
        == (
            "study backbone setting against metric difference low high p p_holm seeds seeds_above seeds_low seeds_high"
        ).split()
    )
    rows = table.set_index(["against", "setting", "backbone"])["difference"].sort_index()
    assert rows["continued", "ensemble"].to_dict() == pytest.approx({"passt_tiny": 0.1, "mn_tiny": 0.2, POOLED: 0.15})
    assert set(rows["continued", "true"].index) == {"mn_tiny"}


def test_rows_in_words(judged):
    rows = results.compare(judged, 100)
    row = next(rows[(rows["setting"] == "ensemble") & (rows["backbone"] == "mn_tiny")].itertuples())
    assert results.points(row) == "+20.00 points [+20.00, +20.00]" and results.verdict(row) == "above"
    assert results.over_seeds(row) == "above in 2 of 2 seeds"
    assert results.over_seeds(row._replace(seeds=1, seeds_above=1)) == "above in 1 of 1 seed"
    assert results.verdict(row._replace(low=-0.1)) == "not distinguishable from"
    assert results.verdict(row._replace(low=-0.2, high=-0.1)) == "below"
    three = row._replace(seeds=3, seeds_low=-0.01, seeds_high=0.41)  # enough for an interval of their own
    assert results.points(three) == "+20.00 points [-1.00, +41.00]"
    assert results.verdict(three) == "not distinguishable from"
    assert results.clear(rows) == (len(rows), 0, len(rows))


@pytest.fixture
def judged_beyond(judged):
    """The same study, judged by a list of a dozen queries, by ratings of five, and of its clips."""
    rng = np.random.default_rng(1)
    sizes = {"clip-to-caption": 20, "dcase": 12, "tau": 5}
    columns = {
        "clip-to-caption": [f"{CLIP_TO_CAPTION} ap@10"],
        "dcase": ["dcase ap@10", "dcase r@1"],
        "tau": ["tau ndcg@10", "tau rank_correlation"],
    }
    beyond = {}
    for name, size in sizes.items():
        ids = {"clip_id" if name == "clip-to-caption" else "caption_id": [f"{name}{n}" for n in range(size)]}
        beyond[name] = {
            key: {
                seed: pd.DataFrame({**ids, "clip": np.arange(size) % 4, **{c: rng.random(size) for c in columns[name]}})
                for seed in by_seed
            }
            for key, by_seed in judged.queries.items()
        }
    return Judged(judged.study, judged.queries, judged.same_clips, beyond)


def test_every_relevance_has_rows_of_its_own_queries(judged, judged_beyond):
    table = results.summarise(judged_beyond, 100)
    assert list(table)[:-1] == list(results.summarise(judged, 100)) and list(table)[-1] == "queries"
    pd.testing.assert_frame_equal(table[table["metric"] == "annotated mAP@10"].drop(columns="queries"),
        results.summarise(judged, 100))  # fmt: skip
    counts = table.groupby("metric", sort=False)["queries"].agg(set).to_dict()
    assert counts == {"annotated mAP@10": {60}, "annotated clip-to-caption mAP@10": {20}, "dcase mAP@10": {12},
        "dcase R@1": {12}, "tau nDCG@10": {5}, "tau rank correlation": {5}}  # fmt: skip
    pooled = table[(table["backbone"] == POOLED) & (table["setting"] == "ensemble")].set_index("metric")
    parts = [judged_beyond.beyond["dcase"][b, "ensemble"] for b in ("passt_tiny", "mn_tiny")]
    expected = np.mean([part[seed]["dcase ap@10"].mean() for part in parts for seed in (1, 2)])
    assert pooled.loc["dcase mAP@10", "mean"] == pytest.approx(expected)


def test_differences_by_every_relevance_are_paired_and_corrected_within_it(judged, judged_beyond):
    table = results.compare(judged_beyond, 200)
    same = table[table["metric"] == "annotated mAP@10"].drop(columns="queries")
    pd.testing.assert_frame_equal(same, results.compare(judged, 200))
    metrics = [
        "annotated mAP@10",
        "annotated clip-to-caption mAP@10",
        "dcase mAP@10",
        "tau nDCG@10",
        "tau rank correlation",
    ]
    assert list(dict.fromkeys(table["metric"])) == metrics  # and not by recall
    key = ("mn_tiny", "ensemble", "continued")
    row = table[table["metric"] == "tau rank correlation"].set_index(["backbone", "setting", "against"]).loc[key]
    one, two = (judged_beyond.beyond["tau"]["mn_tiny", s] for s in ("ensemble", "continued"))
    by_seed = [(one[s]["tau rank_correlation"] - two[s]["tau rank_correlation"]).mean() for s in (1, 2)]
    assert row["difference"] == pytest.approx(np.mean(by_seed)) and row["queries"] == 5
    assert (row["seeds_low"], row["seeds_high"]) == pytest.approx(interval_over_seeds(by_seed))
    for _, rows in table.groupby("metric"):
        np.testing.assert_allclose(rows["p_holm"], holm(rows["p"].tolist()))
    other = judged_beyond.beyond["tau"]["mn_tiny", "continued"]
    other[1] = other[1].assign(caption_id=other[1]["caption_id"] + "x")
    with pytest.raises(ValueError, match="were judged on different queries"):
        results.compare(judged_beyond, 50)


def test_main_table_has_the_first_measure_of_every_relevance_and_says_of_how_many_queries(judged_beyond):
    table, differences = results.summarise(judged_beyond, 50), results.compare(judged_beyond, 50)
    main = tables.main_table(table, differences)
    assert list(dict.fromkeys(main.columns.get_level_values(0))) == ["annotated mAP@10", "dcase mAP@10", "tau nDCG@10"]
    assert tables.note(table) == f"{tables.NOTE} Queries that were judged: dcase 12, tau 5."
    assert tables.note(table.drop(columns="queries")) == tables.NOTE


def test_a_study_of_clothos_test_split_stands_beside_what_was_published(tmp_path, monkeypatch, judged):
    monkeypatch.setenv("CORRLIB_RUNS", str(tmp_path))
    given = {"seed": 1, "corpus": "clotho", "evaluate_on": "evaluation"}
    finish_run("s", "one", parameters=given)
    finish_run("s", "two", parameters={**given, "corpus": "clotho+audiocaps"})
    table = results.summarise(judged, 50).replace({"passt_tiny": "passt_s16"})
    table = table[table["backbone"] != POOLED]
    rows = literature.beside("s", pd.DataFrame({"run": ["one"]}), table)
    known = rows[rows["source"] != literature.HERE]
    assert len(known) == 3 and known["source"].str.contains("2408.11641").all() and len(rows) == 3 + 8
    own = rows[(rows["backbone"] == "PaSST") & (rows["source"] == literature.HERE)].set_index("setting")
    mean = table.set_index(["backbone", "setting"])["mean"]
    assert own.loc["stage1", "mAP@10"] == pytest.approx(100 * mean["passt_s16", "stage1"])
    assert "PaSST `stage1` (trained on ClothoV2) 28.2 % published, " in literature.answer(rows)
    merged = literature.beside("s", pd.DataFrame({"run": ["one", "two"]}), table)
    assert literature.answer(merged) == "" and merged["what"].iloc[-1] == "ClothoV2 and AudioCaps"
    finish_run("s", "other", parameters={**given, "corpus": "folder"})
    assert literature.beside("s", pd.DataFrame({"run": ["other"]}), table).empty
    literature.save(rows, tmp_path / "figures" / "s")
    page = blocks.rendered(blocks.Published(tmp_path / "figures"), ["literature", "s"])
    assert "| PaSST | `stage1` | ClothoV2 | 28.2 | 17.2 | 42.3 | 56.5 | 1 | Primus" in page


def test_main_table_puts_the_mean_first_and_marks_what_excludes_zero(judged):
    table, differences = results.summarise(judged, 100), results.compare(judged, 100)
    main = tables.main_table(table, differences)
    assert list(dict.fromkeys(main.index.get_level_values(0))) == [
        POOLED,
        "passt_tiny",
        "mn_tiny",
        ENSEMBLE[0],
    ]
    changes = main["annotated mAP@10", tables.CHANGE]
    assert changes[POOLED, "ensemble"] == "+15.00 [+15.00, +15.00] *" and changes["mn_tiny", "continued"] == ""
    page = tables.styled(main, "a caption").to_html()
    assert page.count("font-weight: bold") == 1 and "+15.00 [+15.00, +15.00] *" in page and "a caption" in page
    assert page == tables.styled(main, "a caption").to_html()
    alone = tables.main_table(table, differences.iloc[:0])
    assert [name for _, name in alone] == [tables.VALUE]


def test_text_in_tables_is_text():
    table = pd.DataFrame({"caption": ["<b>loud</b> & $x_1$"], "value": [1.23456]})
    page = tables.folded("Rows < 2", table, 2)
    assert "&lt;b&gt;loud&lt;/b&gt; &amp; $x_1$" in page and "Rows &lt; 2 (1 rows)" in page and "1.23<" in page
