"""What a site is made of, without a browser's help where it needs none: hostile text, sound, links, refusals."""

import base64
import io
import json
import re
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import soundfile

from corrlib.explore.sound import wav_bytes
from corrlib.figures import use_style
from corrlib.reports.text import as_markdown
from corrlib.sharing import site_matches, site_notebooks
from corrlib.sharing.site import build_site
from corrlib.sharing.site_links import Links
from tests.browser import Watched, launched, needs_chromium
from tests.executed import execute
from tests.explore.test_explore import session_of
from tests.finished import finish_run

pytest.importorskip("sphinx")
from corrlib.sharing.site_sphinx import formula  # noqa: E402

PAYLOAD = (
    '<img src=x onerror="window.hacked=1"> $\\alpha$ **bold** {{x}} %{z} </script><script>hacked=1</script> `a` &amp; é'
)
STUDY = "title: {title}\nseeds: [1]\nbackbones: [mn_tiny]\nsettings: [continued]\n"


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """A study whose captions, title and executed notebook hold PAYLOAD; its clips may not be published."""
    for name in ("RUNS", "STUDIES"):
        monkeypatch.setenv(f"CORRLIB_{name}", str(tmp_path / name.lower()))
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "mine.yaml").write_text(STUDY.format(title=json.dumps(PAYLOAD)))
    finish_run("mine", "data-seed1", {"notebook.ipynb": executed()}, notebook="01_data")
    session = session_of(truth=False, folder=tmp_path, text=PAYLOAD.replace("{", "{{").replace("}", "}}") + " {}")
    session.model, session.split, session.manifest = "stage1", "evaluation", {"data_fingerprint": PAYLOAD}
    session.parameters = type("Parameters", (), {"corpus": "folder"})
    session.phrases = lambda text, clip: [(PAYLOAD, 0.1), ("b", float("nan"))]
    monkeypatch.setattr(site_matches, "open_session", lambda study, seed: session)
    return session


def executed():
    """A notebook whose outputs of every kind hold PAYLOAD, as our notebooks show text of a corpus."""
    use_style()
    sound = base64.b64encode(wav_bytes(np.zeros(800))).decode()
    player = f'<audio controls><source src="data:audio/wav;base64,{sound}"></audio>'
    with pd.option_context("display.max_colwidth", None):
        table = pd.DataFrame({PAYLOAD: [PAYLOAD]})._repr_html_()
    data = [
        {"text/html": table, "text/plain": PAYLOAD},
        {"text/markdown": f"- {as_markdown(PAYLOAD)}", "text/plain": PAYLOAD},
        {"text/plain": PAYLOAD},
        {"text/html": player, "text/plain": "<Audio>"},
        {"application/vnd.plotly.v1+json": {"data": [{"y": [1, 2], "name": PAYLOAD}], "layout": {}}, "text/plain": ""},
    ]
    outputs = [nbformat.v4.new_output("display_data", one) for one in data]
    outputs.append(nbformat.v4.new_output("stream", text=PAYLOAD))
    cells = [nbformat.v4.new_markdown_cell("# A notebook\n\n[another](02_stage1_passt.ipynb), [data](../docs/data.md)")]
    cells.append(nbformat.v4.new_code_cell(f"text = {PAYLOAD!r}", outputs=outputs))
    language = {"language_info": {"name": "python", "pygments_lexer": "ipython3"}}
    return nbformat.writes(nbformat.v4.new_notebook(cells=cells, metadata=language))


@needs_chromium
def test_text_of_strangers_stays_text(hostile, tmp_path, capsys):
    from playwright.sync_api import sync_playwright

    site = build_site("mine", tmp_path / "site", audio="none").parent
    assert "sphinx:" not in capsys.readouterr().out
    with sync_playwright() as driver:
        watched = Watched(launched(driver), site)
        for name, times in (("index.html", 1), ("notebooks/data-seed1.html", 6), ("matches.html", 20)):
            page = watched.open(name)
            page.wait_for_timeout(300)
            assert page.evaluate("window.hacked") is None, name
            text = re.sub(r"\s+", " ", page.locator("body").inner_text())
            assert text.count(PAYLOAD) >= times, (name, text.count(PAYLOAD))
            assert page.locator("img[src=x]").count() == 0
        assert page.locator("#silent").is_visible() and "built without audio" in page.locator("#silent").inner_text()
        assert page.locator("#pair audio:visible").count() == 0 and page.locator("#pair img:visible").count() == 2
        assert page.locator("#matrices figure").count() == 2 and not page.get_by_label("Truth").is_visible()
        page.locator("#pair-facts h3 a").click()
        assert page.locator("#single h1").inner_text().startswith(PAYLOAD)
        page = watched.open("notebooks/data-seed1.html")
        assert page.locator("audio").count() == 0 and "built without audio" in page.locator("body").inner_text()
        assert page.locator(".plotly-view .main-svg").count() >= 1
        watched.close()
    for path in site.rglob("*"):
        assert path.suffix not in (".mp3", ".wav", ".ogg")
        assert path.suffix != ".html" or "data:audio" not in path.read_text(encoding="utf-8")


def test_sound_of_a_notebook_becomes_small(tmp_path):
    waveform = 0.3 * np.sin(np.arange(32000) / 10).astype(np.float32)
    sound = base64.b64encode(wav_bytes(waveform)).decode()
    notebook = nbformat.reads(executed(), 4)
    notebook.cells[1].outputs[3]["data"]["text/html"] = (
        f'<audio controls src="data:audio/x-wav;base64,{sound}"></audio>'
    )
    links = Links("smoke", {}, tmp_path, tmp_path, Path())
    assert site_notebooks.cleaned(notebook, "mp3", links)
    shown = notebook.cells[1].outputs[3]["data"]["text/html"]
    small = base64.b64decode(re.search(r"data:audio/mpeg;base64,([^\"]+)", shown)[1])
    heard, rate_hz = soundfile.read(io.BytesIO(small))
    assert rate_hz == 16000 and len(small) < len(sound) / 5 and abs(len(heard) - 32000) < 3000
    assert np.corrcoef(heard[8000:16000], waveform[8000:16000])[0, 1] > 0.9


def test_links_lead_to_what_the_site_has(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "figures").mkdir()
    (tmp_path / "docs" / "a.md").write_text("")
    (tmp_path / "figures" / "x.png").write_text("picture")
    (tmp_path / "figures" / "x.csv").write_text("table")
    (tmp_path.parent / "outside.csv").write_text("secret")
    links = Links("builtin", {"01_data": "data-seed1"}, tmp_path / "source", tmp_path / "pages", tmp_path)
    mended = lambda text, folder="docs": links.mended(text, folder)  # noqa: E731
    assert (
        mended("[a](../notebooks/01_data.ipynb) [b](../notebooks/02.ipynb)") == "[a](../notebooks/data-seed1.ipynb) b"
    )
    assert mended("[a](a.md#b) [r](../README.md) [h](#here) [w](https://a.b)") == (
        "[a](../docs/a.md#b) [r](../index.md) [h](#here) [w](https://a.b)"
    )
    assert mended("![x](../figures/x.png)") == "![x](../figures/x.png)"
    assert (tmp_path / "source" / "figures" / "x.png").read_text() == "picture"
    assert mended("[`x`](../figures/x.csv)") == '<a href="../figures/x.csv">`x`</a>'
    assert (tmp_path / "pages" / "figures" / "x.csv").read_text() == "table"
    assert mended("[x](../../outside.csv) [y](../nothing.py) [z](../figures)") == "x y z"


def test_figures_of_another_study_are_not_shown_for_this_one(tmp_path, monkeypatch):
    monkeypatch.setenv("CORRLIB_RUNS", str(tmp_path / "runs"))
    own = tmp_path / "runs" / "smoke" / "figures" / "ceiling.png"
    own.parent.mkdir(parents=True)
    own.write_text("own")
    links = Links("smoke", {}, tmp_path / "source", tmp_path / "pages", Path())
    text = links.mended("[c](figures/ceiling.png) [r](figures/results.png)", own_figures=True)
    assert text == '<a href="figures/ceiling.png">c</a> r'
    assert (tmp_path / "pages" / "figures" / "ceiling.png").read_text() == "own"


def test_formulas_need_no_script():
    shown = formula(r"\bar s_{ij} = \sum_{m=1}^M \hat p(i \mid j), \qquad x", True)
    flat = re.sub(r"\s+", "", shown)
    assert flat.startswith("<math") and "<msub><moveraccent=" in flat and "<munderover><mo" in flat
    assert "&qu" not in flat


def test_a_folder_of_something_else_is_not_replaced(hostile, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    with pytest.raises(ValueError, match="holds something that is no site"):
        build_site("mine", tmp_path / "mine")
    with pytest.raises(ValueError, match="audio is 'wav'; choose mp3 or none"):
        build_site("mine", tmp_path / "site", audio="wav")
    with pytest.raises(FileNotFoundError, match="no finished run of seed 2 in .*make reproduce STUDY=mine"):
        build_site("mine", tmp_path / "site", seed=2)


def test_fewer_pairs_where_their_clips_would_take_too_much(hostile, tmp_path, monkeypatch):
    everything = site_matches.write(hostile, tmp_path / "all", "mp3", 10**9)
    assert len(everything["pairs"]) == hostile.items.captions and len(list((tmp_path / "all").glob("*.mp3"))) == 7
    monkeypatch.setattr(site_matches, "BLOCK", 2)
    a_clip = site_matches.PICTURE_BYTES + 0.5 * site_matches.BYTES_A_SECOND
    few = site_matches.write(hostile, tmp_path / "few", "mp3", int(5.5 * a_clip))
    assert 0 < len(few["pairs"]) < hostile.items.captions and len(list((tmp_path / "few").glob("*.mp3"))) <= 5
    quiet = site_matches.write(hostile, tmp_path / "quiet", "none", 10**9)
    assert not list((tmp_path / "quiet").glob("*.mp3")) and not any(clip["sound"] for clip in quiet["clips"])


def test_an_executed_notebook_shows_text_as_it_is_written(tmp_path, monkeypatch):
    """01_data on a folder whose captions and file names hold PAYLOAD."""
    monkeypatch.setenv("CORRLIB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("CORRLIB_DATA", str(tmp_path / "data"))
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    for split in ("development", "validation", "evaluation"):
        rows = []
        for number in range(3):
            name = f"<img src=x onerror=hacked> $x$ {split[0]}{number}.wav"
            soundfile.write(sounds / name, np.random.default_rng([ord(split[0]), number]).normal(0, 0.1, 8000), 16000)
            rows += [{"file": name, "caption": f"{PAYLOAD} {split} {number} {place}"} for place in range(2)]
        pd.DataFrame(rows).to_csv(sounds / f"{split}.csv", index=False)
    words = {"study": "mine", "corpus": "folder", "data": str(sounds)}
    shown = execute("notebooks/01_data.ipynb", monkeypatch, **words)
    texts = [
        getattr(thing, way)() for thing in shown for way in ("_repr_html_", "_repr_markdown_") if hasattr(thing, way)
    ]
    assert len(texts) >= 4 and any("&lt;img src=x" in text for text in texts)
    for text in texts:
        assert "<img src=x" not in text and "<script>hacked" not in text
        assert "$\\alpha$" not in text or "mathjax_ignore" in text or "tex2jax_ignore" in text


def test_no_markup_is_made_of_text():
    script = "".join(
        (Path("corrlib") / name).read_text(encoding="utf-8")
        for name in ("sharing/static/matches.js", "explore/player.js")
    )
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "fetch(", "import("):
        assert way not in script
