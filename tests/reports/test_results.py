"""Tables of a study: means over backbones, what is compared, and how it is told."""

import numpy as np
import pandas as pd
import pytest

from corrlib.evaluation.intervals import bootstrap_interval
from corrlib.reports import results, tables

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
    tables_of[results.ENSEMBLE] = tables_of["mn_tiny", "stage1"]
    return results.Judged("s", tables_of)


def test_the_mean_over_backbones_is_of_queries_and_its_interval_is_over_clips(judged):
    table = results.summarise(judged, 200).set_index(["backbone", "setting"])
    assert list(table.reset_index()) == ["backbone", "setting", "study", "metric", "mean", "low", "high", "seeds"]
    pooled = table.loc[results.POOLED]
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
    assert table.loc[results.POOLED, "seeds"].to_dict() == {"stage1": 2, "continued": 2, "ensemble": 1}


def test_one_backbone_has_no_mean(judged):
    for key in [key for key in judged.queries if key[0] == "passt_tiny"]:
        del judged.queries[key]
    assert results.POOLED not in set(results.summarise(judged, 50)["backbone"])
    differences = results.compare(judged, 50)
    assert results.POOLED not in set(differences["backbone"]) and len(results.of_all(differences)) == len(differences)


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
    assert rows["continued", "ensemble"].to_dict() == pytest.approx(
        {"passt_tiny": 0.1, "mn_tiny": 0.2, results.POOLED: 0.15}
    )
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


def test_main_table_puts_the_mean_first_and_marks_what_excludes_zero(judged):
    table, differences = results.summarise(judged, 100), results.compare(judged, 100)
    main = tables.main_table(table, differences)
    assert list(dict.fromkeys(main.index.get_level_values(0))) == [
        results.POOLED,
        "passt_tiny",
        "mn_tiny",
        results.ENSEMBLE[0],
    ]
    changes = main["annotated mAP@10", tables.CHANGE]
    assert changes[results.POOLED, "ensemble"] == "+15.00 [+15.00, +15.00] *" and changes["mn_tiny", "continued"] == ""
    page = tables.styled(main, "a caption").to_html()
    assert page.count("font-weight: bold") == 1 and "+15.00 [+15.00, +15.00] *" in page and "a caption" in page
    assert page == tables.styled(main, "a caption").to_html()
    alone = tables.main_table(table, differences.iloc[:0])
    assert [name for _, name in alone] == [tables.VALUE]


def test_text_in_tables_is_text():
    table = pd.DataFrame({"caption": ["<b>loud</b> & $x_1$"], "value": [1.23456]})
    page = tables.folded("Rows < 2", table, 2)
    assert "&lt;b&gt;loud&lt;/b&gt; &amp; $x_1$" in page and "Rows &lt; 2 (1 rows)" in page and "1.23<" in page
