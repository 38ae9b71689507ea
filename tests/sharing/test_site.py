"""The site of a finished study, opened from a disk in a real browser: heard, sorted, judged, read by everybody."""

import base64
import io
import json
import re

import numpy as np
import pandas as pd
import pytest
import soundfile

from corrlib.corpora.splits import open_corpora
from corrlib.evaluation.relevance import judge_relevance, load_relevance
from corrlib.explore import Verdicts
from corrlib.sharing.site import build_site
from corrlib.study import runs
from corrlib.study.parameters import StageTwoParameters
from corrlib.study.plan import plan_runs
from tests.browser import Watched, launched, needs_chromium, serious

pytest.importorskip("sphinx")
pytestmark = needs_chromium
MODEL = "ensemble-atst_tiny-seed1"


@pytest.fixture(scope="module")
def in_study(study):
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CORRLIB_RUNS", "CORRLIB_DATA"):
            patch.setenv(name, study[1][name])
        yield


@pytest.fixture(scope="module")
def site(in_study, tmp_path_factory):
    runs.enter_repository()
    return build_site("smoke", tmp_path_factory.mktemp("site") / "out").parent


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        yield launched(driver)


@pytest.fixture
def open_page(browser, site):
    """Opens a page of the site; at the end nothing may have gone wrong on it."""
    watched = []

    def opened(name, **options):
        watched.append(Watched(browser, site, **options))
        return watched[-1].open(name)

    yield opened
    for page in watched:
        page.close()


def data_of(site):
    text = (site / "matches.html").read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])


PAGES = ("index.html", "notebooks/results.html", "notebooks/data-seed1.html", "docs/method.html", "matches.html")


@pytest.mark.parametrize("width, scheme", [(1280, "light"), (390, "dark")])
def test_pages_open_from_a_disk_and_everybody_can_read_them(open_page, width, scheme):
    for name in PAGES:
        page = open_page(name, width=width, scheme=scheme)
        assert page.locator("h1:visible").count()
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        assert not serious(page), name


def test_the_start_page_leads_everywhere(open_page, site):
    page = open_page("index.html")
    text = page.locator("article").inner_text()
    assert "Which captions describe which recordings?" in text and "stage-1 ensemble" in text
    links = page.evaluate("[...document.querySelectorAll('a')].map(a => a.href).filter(h => h.startsWith('file:'))")
    there = {link.removeprefix(f"file://{site}/").split("#")[0] for link in links}
    assert {"matches.html", "docs/results.html", "notebooks/explore.html", f"notebooks/{MODEL}.html"} <= there
    assert all((site / name).exists() for name in there if not name.startswith("file:"))
    assert len([name for name in there if name.startswith("notebooks/")]) == len(plan_runs("smoke"))
    assert sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) < 40_000_000


def test_a_notebook_shows_what_it_showed(open_page):
    page = open_page("notebooks/data-seed1.html")
    assert page.locator(".cell_output img").count() >= 4 and page.locator("audio").count() == 6
    image = page.locator(".cell_output img").first
    assert image.evaluate("i => i.naturalWidth") > 200 and image.get_attribute("alt").startswith(
        "Figure of the section"
    )
    assert page.locator("audio").first.get_attribute("src") is None  # IPython's is a <source>
    page.locator("audio").first.evaluate("player => player.play()")
    page.wait_for_function("document.querySelector('audio').currentTime > 0.2")


def test_no_folder_of_this_machine_is_told(site, study):
    for path in [*site.glob("notebooks/*.html"), *site.glob("*.html")]:
        assert str(study[0].parent.parent) not in path.read_text(encoding="utf-8"), path


def test_a_clip_is_heard_and_the_line_follows(open_page):
    page = open_page("matches.html")
    player = page.locator("#pair .corrlib-player").first
    player.locator("img").click(position={"x": 5, "y": 20})
    page.wait_for_function("document.querySelector('#pair .corrlib-player audio').currentTime > 0.4")
    assert player.locator(".head").evaluate("line => parseFloat(line.style.left)") > 5
    assert player.locator("audio").get_attribute("aria-label").startswith("play scene_")
    second = page.locator("#pair .corrlib-player audio").nth(1)
    second.evaluate("player => player.play()")  # one sound at a time
    page.wait_for_function("document.querySelector('#pair .corrlib-player audio').paused")


def test_sorting_and_filtering(open_page, site):
    data = data_of(site)
    names = lambda pairs: [(data["captions"][p["caption"]]["text"], data["clips"][p["clip"]]["name"]) for p in pairs]  # noqa: E731
    cells = "[...document.querySelectorAll('#rows td.words')].map(c => [...c.children].map(part => part.textContent))"
    listed = lambda page: [tuple(pair) for pair in page.evaluate(cells)]  # noqa: E731
    page = open_page("matches.html")
    pairs = data["pairs"]
    assert listed(page) == names(sorted(pairs, key=lambda p: -p["disagreement"])) and len(pairs) == 120
    page.get_by_role("button", name="Truth").click()
    assert listed(page) == names(sorted(sorted(pairs, key=lambda p: -p["disagreement"]), key=lambda p: -p["true"]))
    page.get_by_role("button", name="Caption and other clip").click()
    texts = [text.lower() for text, _ in listed(page)]
    assert texts == sorted(texts)
    assert page.locator("th[aria-sort]").get_attribute("aria-sort") == "ascending"
    page.get_by_label("Truth").select_option("whole")
    page.get_by_label("Words").fill("A ")
    kept = [p for p in pairs if p["true"] >= 1 and "a" in data["captions"][p["caption"]]["text"].lower()]
    assert sorted(listed(page)) == sorted(names(kept)) and 0 < len(kept) < len(pairs)
    page.get_by_label("Words").fill("nobody wrote this")
    assert "nothing fits these filters" in page.locator("#count").inner_text()
    page.get_by_role("button", name="Clear filters").click()
    page.wait_for_function("document.querySelectorAll('#rows tr').length === 120")
    label = data["clips"][pairs[0]["clip"]]["labels"][0]
    page.get_by_label("Heard").select_option(label)
    assert len(listed(page)) == sum(label in data["clips"][p["clip"]]["labels"] for p in pairs)


def test_verdicts_are_kept_undone_and_taken_as_relevance(open_page, site, in_study, tmp_path):
    data, page = data_of(site), open_page("matches.html")
    page.locator("#rows a").first.focus()
    first, second = data["pairs"][0], data["pairs"][1]
    for key in ("a", "r", "u", "a"):  # accept, reject, think again, accept
        page.keyboard.press(key)
    page.reload()
    assert "2 captions judged" in page.locator("#judged").inner_text()
    page.get_by_role("combobox", name="Verdict").select_option("accepted")
    assert page.locator("#rows tr").count() == 2
    with page.expect_download() as download:
        page.get_by_role("button", name="Save verdicts (CSV)").click()
    path = tmp_path / "verdicts.csv"
    download.value.save_as(path)
    verdicts = Verdicts(path)
    name = lambda clip: data["clips"][clip]["name"]  # noqa: E731
    for pair in (first, second):
        caption = data["captions"][pair["caption"]]
        assert verdicts.of(caption["id"], name(pair["clip"])) is True
        assert verdicts.rows[caption["id"]]["audio_filenames"] == f"{name(caption['clip'])};{name(pair['clip'])}"
    again = Verdicts(tmp_path / "again.csv")
    for row in verdicts.rows.values():
        own, other = row["audio_filenames"].split(";")
        again.give(row["caption_id"], row["query"], own, other, True)
    assert path.read_bytes() == (tmp_path / "again.csv").read_bytes()
    corpus = open_corpora(runs.read_parameters("smoke", MODEL, StageTwoParameters)).corpus("evaluation")
    relevance = load_relevance(path, corpus)
    assert relevance.relevance.sum(0).tolist() == [2, 2]
    assert len(judge_relevance(np.random.default_rng(0).random(relevance.relevance.shape), relevance)) == 2


def test_the_matrix_by_keyboard_and_by_pointer(open_page, site):
    data, page = data_of(site), open_page("matches.html")
    n = len(data["block"]["clips"])
    assert page.locator("#matrices figcaption").all_inner_texts() == ["Annotated", "Estimated", "True"]
    truth = np.frombuffer(base64.b64decode(data["block"]["true"]), "<f4").reshape(n, n)
    page.locator("#matrices").focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    said = page.locator("#readout").inner_text()
    assert data["captions"][data["block"]["captions"][1]]["text"] in said
    assert data["clips"][data["block"]["clips"][2]]["name"] in said
    word = "wholly" if truth[2, 1] >= 1 else "in part" if truth[2, 1] > 0 else "does not match"
    assert word in said and "not annotated" in said
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('#chosen audio')?.currentTime > 0.1")
    canvas = page.locator("canvas").nth(1)
    box = canvas.bounding_box()
    canvas.hover(position={"x": box["width"] * 3.5 / n, "y": box["height"] * 3.5 / n})
    assert ": annotated" in page.locator("#readout").inner_text()  # the diagonal
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 9.5 / n, box["y"] + box["height"] * 9.5 / n, steps=4)
    page.mouse.up()
    assert page.evaluate("matrices.view") == {"x": 3, "y": 3, "size": 7}
    page.get_by_role("button", name="Show all").click()
    assert page.evaluate("matrices.view.size") == n


def test_a_caption_and_a_clip_have_an_address(open_page, site):
    data, page = data_of(site), open_page("matches.html")
    caption = data["captions"][data["pairs"][5]["caption"]]
    page.locator("#rows a").nth(5).click()
    assert page.url.endswith(page.evaluate("pairAddress(DATA.pairs[5])")) and "#pair/" in page.url
    page.locator("#pair-facts h3 a").click()
    assert page.locator("#single h1").inner_text() == caption["text"] and not serious(page)
    page.locator("#single table a").first.click()
    name = data["clips"][caption["best"][0][0]]["name"]
    assert page.locator("#single h1").inner_text() == name
    again = open_page(page.url[page.url.index("matches.html") :])
    assert again.locator("#single h1").inner_text() == name
    again.get_by_role("button", name="Copy link").click()
    again.locator("#single [role=status]", has_text="Cop").wait_for()  # the clipboard answers when it likes
    other = open_page("matches.html#clip/nobody")
    assert "Not here" in other.locator("#single").inner_text()


def test_the_theme_is_chosen_for_all_pages(open_page):
    page = open_page("matches.html", scheme="dark")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.locator("#theme").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    page.goto(page.url.replace("matches.html", "index.html"))
    assert page.evaluate("document.documentElement.dataset.theme") == "light"


def test_the_parts_sound_as_they_did(site):
    path = next(iter(sorted(site.glob("matches/*.mp3"))))
    sound, rate_hz = soundfile.read(io.BytesIO(path.read_bytes()))
    assert rate_hz == 16000 and len(sound) > 16000 and np.abs(sound).max() > 0.01


def test_the_table_is_the_studys_own(open_page, study):
    table = pd.read_csv(study[0] / "figures" / "results.csv")
    own = table[(table["setting"] == "stage1") & (table["metric"] == "annotated mAP@10")]
    pooled = own[own["backbone"] == "all backbones"]
    page = open_page("index.html")
    assert f"{100 * pooled['mean'].iloc[0]:.1f}" in page.locator("table").first.inner_text()
