"""README.md and docs/: every number is that of its table, whose making is told; no result stands elsewhere."""

import doctest
import json
import re
from pathlib import Path

import pandas as pd
import pytest

from corrlib.reports import blocks, pages
from corrlib.reports.blocks import PageError, Published
from corrlib.study.plan import plan_runs

ROOT = Path(__file__).parents[2]
PAGES = pages.pages(ROOT)
# decimals and signed numbers that may stand outside rendered blocks: names, versions, published sizes and the recipe
ALLOWED = {
    "README.md": {"2408.11641", "3.11", "3.14"},
    "data.md": {"2.1", "6.5", "0.15"},
    "method.md": {"2408.11641"},
    "models.md": {"86.1", "86.2", "85.4", "4.9", "68.4", "0.0.2", "0.0.1", "0.0.9", "0.05"},
}
NUMBER = re.compile(r"(?<![\w./-])[+−-]?\d+(?:\.\d+)+(?![\w/-])|(?<![\w.-])[+−]\d+|\d+(?:\.\d+)? ?%")


def page(name):
    return (ROOT / name).read_text(encoding="utf-8")


def outside(text):
    """What stands outside of rendered blocks, of links' targets and of file names in code."""
    text = pages.MARKED.sub("", text)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    text = re.sub(r"```console\n.*?```", "", text, flags=re.DOTALL)  # what an example printed, which claims nothing
    return re.sub(r"```pycon\n.*?```", "", text, flags=re.DOTALL)  # run by test_the_worked_example


class TestCommitted:
    @pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
    def test_every_rendered_number_is_that_of_its_table(self, path):
        link = "figures" if path.parent == ROOT else "../figures"
        before = path.read_text(encoding="utf-8")
        assert pages.render(before, ROOT / "figures", link) == before, f"run `make pages`: {path.name} is out of date"

    @pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
    def test_no_result_stands_outside_a_block(self, path):
        found = {number.lstrip("v") for number in NUMBER.findall(outside(path.read_text(encoding="utf-8")))}
        assert found <= ALLOWED.get(path.name, set())

    def test_a_result_outside_a_block_would_be_found(self):
        for text in ("rises by +0.49 points", "a third (32 %) match", "0.86 on the whole", "−0.04 [", "of 13.4%"):
            assert NUMBER.findall(outside(text))
        assert NUMBER.findall(outside("```\nmAP@10 13.4 %\n```"))
        assert not NUMBER.findall(outside("<!-- rendered: x -->\n13.4 [1.2, 3.4]\n<!-- end -->"))

    def test_readme_is_one_page(self):
        text = page("README.md")
        assert len(text.split()) <= 1000
        assert "<!-- rendered: summary builtin -->" in text and "docs/results.md" in text
        assert f"all {len(plan_runs('builtin'))} runs finished" in text

    @pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
    def test_links_lead_to_files(self, path):
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (path.parent / target).exists(), target

    def test_every_published_table_tells_who_made_it(self):
        for path in sorted((ROOT / "figures").rglob("*.csv")):
            if path.stem != "method":  # drawn, not run
                assert {"command", "commit", "fingerprint", "processor", "date"} <= set(blocks.entry_of(path)), path

    def test_the_worked_example(self):
        code = "\n".join(re.findall(r"```pycon\n(.*?)```", page("docs/method.md"), re.DOTALL))
        example = doctest.DocTestParser().get_doctest(code, {}, "method.md", "docs/method.md", 0)
        assert len(example.examples) > 5
        assert doctest.DocTestRunner().run(example).failed == 0

    def test_own_data_in_readme_is_a_study(self, tmp_path, monkeypatch):
        monkeypatch.setenv("DATA", str(tmp_path))
        for name in ("README.md", "docs/data.md"):
            text = re.findall(r"```yaml\n( *title: My recordings\n.*?)```", page(name), re.DOTALL)[0]
            lines = [line.removeprefix(indent := re.match(" *", text)[0]) for line in text.splitlines()]
            (tmp_path / "mine.yaml").write_text("\n".join(lines) + "\n")
            plans = plan_runs("mine", tmp_path)
            assert plans["ensemble-mn_tiny-seed1"].parameters["corpus"] == "folder", indent


@pytest.fixture
def published(tmp_path):
    """A folder of published tables: the built-in study's, small and known."""
    folder = tmp_path / "figures"
    folder.mkdir()
    rows = [
        ("passt_tiny", "stage1", "annotated mAP@10", 0.10, 0.09, 0.11),
        ("mn_tiny", "stage1", "annotated mAP@10", 0.20, 0.19, 0.21),
        ("passt_tiny", "label_smoothing", "annotated mAP@10", 0.30, 0.29, 0.31),
        ("mn_tiny", "label_smoothing", "annotated mAP@10", 0.31, 0.30, 0.32),
    ]
    table = pd.DataFrame(rows, columns=["backbone", "setting", "metric", "mean", "low", "high"])
    table.assign(study="builtin", seeds=3).to_csv(folder / "results.csv", index=False)
    differences = {
        "study": "builtin",
        "setting": "label_smoothing",
        "against": "continued",
        "metric": "annotated mAP@10",
    }
    differences |= {"difference": 0.0049, "low": 0.0029, "high": 0.0071, "p": 0.0005, "p_holm": 0.0099, "seeds": 3}
    differences |= {"seeds_low": 0.001, "seeds_high": 0.01}
    pd.DataFrame([{**differences, "backbone": b} for b in ("passt_tiny", "mn_tiny", "all backbones")]).to_csv(
        folder / "differences.csv", index=False
    )
    entry = {"command": "make it", "commit": "abc1234", "fingerprint": "f1", "processor": "P1", "date": "2026-01-02"}
    write(folder, [{"files": ["results", "differences"], **entry}])
    return folder


def write(folder, made):
    (folder / "provenance.json").write_text(json.dumps({"study": "builtin", "made": made}))


def render(text, *arguments):
    """As `pages.render`, with plain spaces inside of intervals."""
    return pages.render(text, *arguments).replace("\N{NO-BREAK SPACE}", " ")


def marked(words):
    return f"before\n<!-- rendered: {words} -->\nold\n<!-- end -->\nafter\n"


class TestRendering:
    def test_a_setting_that_is_new_and_a_mean_over_backbones(self, published):
        text = render(marked("summary builtin"), published)
        assert "| `stage1` | 15.0 |" in text and "| `label_smoothing` | 30.5 | +0.49 [+0.10, +1.00] |" in text
        assert "PaSST and MN; 3 seeds" in text and "true" not in text and "old" not in text
        assert text.startswith("before\n") and text.endswith("<!-- end -->\nafter\n")

    def test_a_setting_of_one_backbone_has_no_mean(self, published):
        table = pd.read_csv(published / "results.csv")
        table[(table["setting"] == "stage1") | (table["backbone"] == "mn_tiny")].to_csv(published / "results.csv")
        text = render(marked("summary builtin"), published)
        assert "`stage1` | 15.0" in text and "`label_smoothing`" not in text

    def test_rows_of_the_mean_are_used_where_the_table_has_them(self, published):
        table = pd.read_csv(published / "results.csv")
        pooled = table.iloc[[0]].assign(backbone="all backbones", mean=0.151, low=0.141, high=0.162)
        pd.concat([table, pooled]).to_csv(published / "results.csv", index=False)
        assert "| `stage1` | 15.1 [14.1, 16.2] |" in render(marked("summary builtin"), published)

    def test_the_verdict_follows_the_interval(self, published):
        table = pd.read_csv(published / "differences.csv")
        ends = ((0.002, 0.007, "above"), (-0.007, -0.002, "below"), (-0.001, 0.007, "not told apart from"))
        for low, high, word in ends:
            table.assign(seeds_low=low, seeds_high=high).to_csv(published / "differences.csv", index=False)
            said = f"`label_smoothing` is {word} `continued` in annotated"
            assert said in render(marked("verdict builtin"), published)
            table.assign(low=low, high=high, seeds=2).to_csv(published / "differences.csv", index=False)
            assert said in render(marked("verdict builtin"), published)  # too few seeds: over clips

    def test_the_verdict_is_against_the_stronger_control(self, published):
        table = pd.read_csv(published / "differences.csv")
        stage1 = table.assign(against="stage1", difference=0.001, seeds_low=-0.002, seeds_high=0.004)
        pd.concat([table, stage1]).to_csv(published / "differences.csv", index=False)
        assert "not told apart from `stage1` in annotated mAP@10, +0.10 [−0.20, +0.40]" in render(
            marked("verdict builtin"), published
        )

    def test_the_mean_of_the_backbones_comes_first(self, published):
        text = render(marked("differences builtin"), published)
        name = "`label_smoothing` − `continued`"
        rows = [line for line in text.splitlines() if line.startswith(f"| {name}")]
        assert [row.split(" | ")[1] for row in rows] == ["all backbones", "PaSST", "MN"]
        assert rows[0] == f"| {name} | all backbones | +0.49 [+0.10, +1.00] | +0.29 to +0.71 | 0.010 |"

    def test_who_made_it_stands_below(self, published):
        text = render(marked("differences builtin"), published, "../figures")
        told = "`make it` · commit abc1234 · code f1 · processor P1 · 2026-01-02"
        assert f"<sub>[differences.csv](../figures/differences.csv); {told}</sub>" in text

    @pytest.mark.parametrize("key, sentence", [("fingerprint", "several codes"), ("processor", "several processors")])
    def test_a_table_has_one_code_and_one_processor(self, published, key, sentence):
        entry = blocks.entry_of(published / "results.csv")
        write(published, [{**entry, "files": ["results"]}, {**entry, "files": ["differences"], key: "other"}])
        with pytest.raises(PageError, match=f"{sentence} side by side: results.csv .*differences.csv .other"):
            render(marked("summary builtin"), published)
        assert "f1" in render(marked("results builtin"), published)  # of one table alone

    def test_a_table_that_nobody_answers_for_is_refused(self, published):
        write(published, [])
        with pytest.raises(PageError, match="does not say who made results.csv"):
            render(marked("results builtin"), published)

    def test_a_study_that_is_missing(self, published):
        text = render(marked("summary paper"), published)
        assert "Not published yet: `make reproduce STUDY=paper`, then `make publish STUDY=paper`" in text
        assert render(text, published) == text

    def test_rendering_twice_changes_nothing(self, published):
        once = pages.render(marked("verdict builtin") + marked("results builtin"), published)
        assert pages.render(once, published) == once

    @pytest.mark.parametrize(
        "text, sentence",
        [
            (marked("sumary builtin"), "no block 'sumary'; did you mean 'summary'"),
            (marked("summary"), "block 'summary' takes study"),
            (marked("summary builtin")[:-20], "without its"),
            ("<!-- end -->", "without its"),
            (marked(""), "names no block|without its"),
        ],
    )
    def test_a_wrong_marker_is_one_sentence(self, published, text, sentence):
        with pytest.raises(PageError, match=sentence):
            render(text, published)


def test_numbers_are_written_as_readers_expect():
    row = pd.Series({"mean": 0.13414, "low": 0.1281, "high": 0.1398, "difference": -0.0004})
    assert blocks.percent(row).split() == ["13.4", "[12.8,", "14.0]"]
    assert blocks.signed(row["difference"]) == "−0.04" and blocks.p_value(0.0004) == "< 0.001"
    assert blocks.percent(row.drop(["low", "high"]).reindex(row.index)) == "13.4"


def test_main_writes_every_page(tmp_path, published, capsys):
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text(marked("summary builtin"))
    (tmp_path / "docs" / "results.md").write_text(marked("results builtin"))
    assert pages.main(tmp_path) == 0
    assert "](figures/results.csv)" in (tmp_path / "README.md").read_text()
    assert "](../figures/results.csv)" in (tmp_path / "docs" / "results.md").read_text()
    assert capsys.readouterr().out.count("written anew") == 2
    (tmp_path / "README.md").write_text(marked("nothing"))
    assert pages.main(tmp_path) == 2 and "README.md: there is no block" in capsys.readouterr().err


def test_what_a_block_reads_is_known(published):
    read = Published(published)
    blocks.rendered(read, ["summary", "builtin"])
    assert [path.name for path in read.read] == ["results.csv", "differences.csv"]
