"""Seeing and hearing: phrases, partial matches against loops, verdicts, escaping, and the notebook in a real
browser.
"""

import html
import io
import json
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from corrlib import soundscapes
from corrlib.corpora.corpus import build
from corrlib.correspondence import estimate
from corrlib.evaluation.relevance import load_relevance
from corrlib.explore import (
    Desk,
    Session,
    Verdicts,
    contributions,
    is_interactive,
    matrix,
    models,
    panels,
    split_phrases,
    words,
)
from corrlib.explore.judging import Judging
from corrlib.explore.sound import Player, spectrogram_png, wav_bytes
from corrlib.study.parameters import ExploreParameters
from tests.browser import launched, needs_chromium
from tests.pictures import drawn


@pytest.mark.parametrize(
    "caption, phrases",
    [
        ("A dog barks while rain falls", ["A dog barks", "while rain falls"]),
        (
            "Water drips, and then a bell rings in the distance.",
            ["Water drips,", "and then a bell rings", "in the distance."],
        ),
        ("A car close by while wind howls close by.", ["A car close by", "while wind howls close by."]),
        ("A car is close and a dog barks", ["A car is close", "and a dog barks"]),
        ("Rain on leaves", ["Rain", "on leaves"]),
        ("Birds sing loudly", ["Birds", "sing", "loudly"]),
        ("Wind", ["Wind"]),
        ("An android sings onto tape", ["An", "android", "sings", "onto", "tape"]),
    ],
)
def test_phrases(caption, phrases):
    assert split_phrases(caption) == phrases and " ".join(phrases) == caption


def test_a_phrase_contributes_what_is_lost_without_it():
    weight = {"a dog barks": 0.5, "while rain falls": 0.3}
    similarity_of = lambda texts: [sum(v for k, v in weight.items() if k in text) for text in texts]  # noqa: E731
    found = contributions("a dog barks while rain falls", similarity_of)
    assert [phrase for phrase, _ in found] == list(weight)
    np.testing.assert_allclose([drop for _, drop in found], list(weight.values()), atol=1e-6)
    assert np.isnan(contributions("Wind", lambda texts: [1.0])[0][1])


def session_of(clips=7, captions_a_clip=3, truth=True, folder=None, text="caption {}"):
    """A Session on random embeddings, without any run."""
    draw = torch.Generator().manual_seed(1)
    s = Session.__new__(Session)
    own = torch.arange(clips).repeat_interleave(captions_a_clip)
    texts = [text.format(i) for i in range(len(own))]
    keys = [f"clip {i}.wav" for i in range(clips)]
    files = pd.DataFrame(
        {
            "key": keys,
            "path": [str(folder / k) if folder else k for k in keys],
            "start_seconds": 0.0,
            "duration_seconds": 0.5,
        }
    )
    s.corpus = build("folder", "evaluation", files, pd.DataFrame({"key": [keys[c] for c in own], "text": texts}))
    annotated = lambda rows, columns: rows[:, None] == own[columns][None]  # noqa: E731
    s.items = SimpleNamespace(
        clips=clips,
        captions=len(own),
        texts=texts,
        clip_of_caption=own,
        annotated=annotated,
        caption_ids=s.corpus.captions["caption_id"].tolist(),
    )
    s.clip_embeddings, s.caption_embeddings = (
        torch.nn.functional.normalize(torch.randn(n, 8, generator=draw)) for n in (clips, len(own))
    )
    s.temperature, s.teachers, s.combine, s.study = 0.1, ["one", "two"], "mean_similarity", "t"
    s.__dict__["_teacher_embeddings"] = [
        (s.clip_embeddings, s.caption_embeddings),
        (s.clip_embeddings.flip(1), s.caption_embeddings),
    ]
    s.truth = torch.rand(clips, len(own), generator=draw).numpy() if truth else None
    if folder is not None:
        for i, key in enumerate(keys):
            soundfile.write(folder / key, 0.1 * np.sin(np.arange(8000) * (i + 1) / 20), 16000)
    return s


def test_partial_matches_against_a_loop():
    s = session_of()
    mean = (s.clip_embeddings @ s.caption_embeddings.T + s.clip_embeddings.flip(1) @ s.caption_embeddings.T) / 2
    expected = []
    for caption, home in enumerate(s.items.clip_of_caption.tolist()):
        p = torch.exp(mean[:, caption] / 0.1)
        p = (p / p.sum()).tolist()
        clip = max((c for c in range(s.items.clips) if c != home), key=lambda c: p[c])
        expected.append((p[clip] - p[home], caption, clip, p[clip]))
    expected.sort(reverse=True)
    table = s.partial_matches(5)
    assert table["caption"].tolist() == [e[1] for e in expected[:5]]
    assert table["clip"].tolist() == [e[2] for e in expected[:5]]
    np.testing.assert_allclose(table["disagreement"], [e[0] for e in expected[:5]], atol=1e-6)
    np.testing.assert_allclose(table["estimated"], [e[3] for e in expected[:5]], atol=1e-6)
    assert not table["own"].any()
    np.testing.assert_allclose(table["true"], [s.truth[e[2], e[1]] for e in expected[:5]])


def test_best_captions_are_those_of_the_estimate():
    s = session_of()
    table, p = s.best_captions(2, 6), s.caption_given_clip[2]
    assert table["caption"].tolist() == sorted(range(21), key=lambda c: -p[c])[:6]
    assert table["own"].tolist() == [c // 3 == 2 for c in table["caption"]]
    assert torch.allclose(s.caption_given_clip.sum(1), torch.ones(7))
    assert torch.allclose(s.clip_given_caption.sum(0), torch.ones(21))


@pytest.mark.parametrize("combine", ["mean_similarity", "mean_probability", "rank_mean", "best"])
def test_the_estimate_is_combined_as_the_run_combines_it(combine, monkeypatch):
    s = session_of()
    s.combine, s.temperature = combine, 0.3
    scores = {"one": 0.1, "two": 0.2}
    monkeypatch.setattr("corrlib.correspondence.targets.best_validation_score", lambda study, name: scores[name])
    members = torch.stack(
        [s.clip_embeddings @ s.caption_embeddings.T, s.clip_embeddings.flip(1) @ s.caption_embeddings.T]
    )
    by_clip, by_caption = estimate(members, 0.3, combine, [0.1, 0.2] if combine == "best" else None)
    torch.testing.assert_close(s.clip_given_caption, by_clip)
    torch.testing.assert_close(s.caption_given_clip, by_caption)
    if combine == "best":
        torch.testing.assert_close(by_clip, (members[1] / 0.3).softmax(0))


def test_verdicts_are_relevance(tmp_path):
    s, path = session_of(), tmp_path / "verdicts.csv"
    first = Verdicts(path)
    assert first.of(s.items.caption_ids[4], "clip 5.wav") is None
    first.give(s.items.caption_ids[4], "caption 4", "clip 1.wav", "clip 5.wav", True)
    first.give(s.items.caption_ids[4], "caption 4", "clip 1.wav", "clip 3.wav", True)
    first.give(s.items.caption_ids[9], "caption 9", "clip 3.wav", "clip 0.wav", False)
    again = Verdicts(path)
    assert (
        again.of(s.items.caption_ids[4], "clip 5.wav") is True
        and again.of(s.items.caption_ids[9], "clip 0.wav") is False
    )
    again.give(s.items.caption_ids[4], "caption 4", "clip 1.wav", "clip 3.wav", False)  # another mind
    found = load_relevance(path, s.corpus)
    assert found.kind == "multi-positive" and found.texts == ["caption 4", "caption 9"]
    assert found.relevance.T.tolist() == [[0, 1, 0, 0, 0, 1, 0], [0, 0, 0, 1, 0, 0, 0]]
    with pytest.raises(ValueError, match="semicolon"):
        again.give("x", "y", "a;b.wav", "c.wav", True)


@pytest.mark.parametrize(
    "text", ["=HYPERLINK(1)", "+1 horn", "-a-", "@home", "\tx", "\rx", "'=a", "''-b", "'quoted'", "-3"]
)
def test_verdicts_of_formulas_are_their_texts_again(tmp_path, text):
    path = tmp_path / "verdicts.csv"
    Verdicts(path).give("c/1", text, f"{text}.wav", "b.wav", True)
    assert not re.search(r"(^|,|\")[=+@\t\r-][^0-9]", path.read_text().split("\n", 1)[1])
    again = Verdicts(path)
    assert again.table()["query"].tolist() == [text] and again.of("c/1", f"{text}.wav") and again.of("c/1", "b.wav")
    again.give("c/1", text, f"{text}.wav", "c.wav", True)  # written a second time, it is not marked twice
    assert Verdicts(path).table()["query"].tolist() == [text]


def test_a_foreign_csv_is_not_taken_for_verdicts(tmp_path):
    (tmp_path / "verdicts.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="has no column 'caption_id'"):
        Verdicts(tmp_path / "verdicts.csv")


def test_nothing_from_a_corpus_becomes_markup(tmp_path):
    s = session_of(text="<img src=x onerror=alert(1)> & $5$ %{{z}} {}")
    shown = words.clip_facts(s, 0, 0.5, 0.1, 1) + words.caption_table(s.best_captions(0))
    shown += words.claim_list([("<b>dog", True)])
    shown += words.marked_phrases([("<script>", 0.1), ("b", float("nan"))])
    assert "<img" not in shown and "<script" not in shown and "<b>dog" not in shown and "&lt;img" in shown
    rows, columns = matrix.block(s, 5)
    figure = matrix.heat_map(s, rows, columns)
    texts = [cell for line in figure.data[0].text for cell in line] + list(figure.layout.yaxis.ticktext)
    assert len(texts) == 30 and not any(mark in text for text in texts for mark in ("<img", "%{z}", "$"))


def test_a_block_has_one_caption_of_each_clip_and_the_matrices_agree():
    s = session_of()
    rows, columns = matrix.block(s, 5, seed=3)
    assert (
        sorted(set(rows.tolist())) == sorted(rows.tolist())
        and s.items.clip_of_caption[columns].tolist() == rows.tolist()
    )
    figure = matrix.heat_map(s, rows, columns, "true")
    np.testing.assert_allclose(figure.data[0].z, s.truth[rows][:, columns].T)
    assert list(figure.data[1].x) == list(figure.data[1].y) == list(range(5))  # annotated: the diagonal
    with pytest.raises(ValueError, match="truth of this corpus is not known"):
        matrix.values(session_of(truth=False), "true")


def test_widgets_work_without_a_browser(tmp_path, monkeypatch):
    s = session_of(folder=tmp_path)
    ranked = pd.DataFrame({"clip": [3, 1], "similarity": [0.5, 0.4], "estimated": [0.2, 0.1]})
    s.search = lambda text, count: ranked.head(count)
    s.phrases, s.claims = lambda text, clip: [("a", 0.2), ("b", -0.1)], lambda clip, caption: [("dog", True)]
    s.corpora, s.model = SimpleNamespace(items=lambda split: SimpleNamespace(texts=["A dog barks"])), "one"
    s.labels = lambda clip: ["dog"] if clip % 2 else ["rain"]
    monkeypatch.setattr(panels, "models", lambda: {"t": ["one", "two"]})
    monkeypatch.setattr(panels, "Session", lambda study, model: s)
    asked = {"caption": "a dog", "count": 2, "beside": ""}
    view = panels.search(s, asked)
    by_name = {control.description: control for control in controls(view)}
    cards = lambda place: [c for c in view.children[4].children[place].children if hasattr(c, "children")]  # noqa: E731
    assert [card.children[0].label for card in cards(0)] == ["clip 3.wav", "clip 1.wav"]
    assert "holds" not in view.children[3].value
    by_name["Clips"].value = 1
    by_name["Caption"].value = "barking <b>xylophones</b>"
    assert (
        len(cards(0)) == 1 and "No caption that the model was trained on holds “xylophones”" in view.children[3].value
    )
    assert asked == {"caption": "barking <b>xylophones</b>", "count": 1, "beside": ""}  # for the next model
    again = {control.description: control for control in controls(panels.search(s, asked))}
    assert (again["Caption"].value, again["Clips"].value) == ("barking <b>xylophones</b>", 1)
    for panel in (view, panels.clip(s), panels.heat_map(s, 4), Judging(s, Verdicts(tmp_path / "v.csv"), 4).panel()):
        for control in controls(panel):
            assert control.description or control.tooltip  # a label each


def judging(tmp_path, count=6):
    s = session_of(folder=tmp_path)
    s.phrases, s.claims = lambda text, clip: [("a", 0.2), ("b", -0.1)], lambda clip, caption: []
    s.labels = lambda clip: ["dog"] if clip % 2 else ["rain"]
    return s, Judging(s, Verdicts(tmp_path / "v.csv"), count)


def test_verdicts_by_keys_and_taken_back(tmp_path):
    s, desk = judging(tmp_path)
    keys = desk.panel().children[-1].acts
    first, second = s.partial_matches(2).itertuples()
    keys["a"]()
    keys["r"]()
    assert desk.choice.value == 2 and "2 captions judged" in desk.saved.value
    of = lambda pair: desk.verdicts.of(s.items.caption_ids[pair.caption], s.name(pair.clip))  # noqa: E731
    assert (of(first), of(second)) == (True, False)
    keys["u"]()
    assert desk.choice.value == 1 and of(second) is None and not desk.undo.disabled
    assert len(Verdicts(tmp_path / "v.csv").rows) == 1  # on disk, too
    desk.undo.click()
    assert not len(desk.verdicts.rows) and desk.undo.disabled
    desk.take_back()  # nothing is left to take back
    plays = desk.other.plays
    keys["p"]()
    assert desk.other.plays == plays + 1


def test_the_list_is_sorted_and_filtered(tmp_path):
    s, desk = judging(tmp_path)
    table = s.partial_matches(6)
    assert [p for _, p in desk.choice.options] == list(range(6))
    desk.order.value = "truth"
    assert [p for _, p in desk.choice.options] == table["true"].argsort(stable=True)[::-1].tolist()
    desk.order.value = "caption"
    assert [p for _, p in desk.choice.options] == table["text"].argsort().tolist()
    desk.label.value = "dog"
    assert sorted(p for _, p in desk.choice.options) == np.flatnonzero(table["clip"] % 2).tolist()
    desk.label.value = ""
    desk.judge(True)
    desk.kept.value = "open"
    assert len(desk.choice.options) == 5 and "5 of 6 pairs" in desk.counted.value
    desk.kept.value = "accepted"
    assert len(desk.choice.options) == 1
    desk.wanted.value = "nobody wrote this"
    assert not desk.choice.options and "No pair fits" in desk.counted.value and desk.accept.disabled
    desk.judge(True)  # there is nothing to judge
    desk.wanted.value = desk.kept.value = ""
    assert len(desk.choice.options) == 6 and not desk.accept.disabled


@pytest.mark.parametrize("name, why", [("a;b.wav", "holds a semicolon"), ("[x].wav", "begins with [")])
def test_a_verdict_that_cannot_be_saved_is_told(tmp_path, name, why):
    s, desk = judging(tmp_path)
    s.name = lambda clip: f"<b>{name}" if ";" in name else name
    desk.accept.click()
    assert desk.saved.value.startswith("<b>Not saved:</b>") and why in desk.saved.value
    assert "<b>a" not in desk.saved.value and not desk.verdicts.rows and not desk.verdicts.before
    desk.verdicts.path = tmp_path / "nowhere" / "v.csv"
    s.name = lambda clip: f"{clip}.wav"
    (tmp_path / "nowhere").write_text("a file where a folder should be")
    desk.accept.click()
    assert desk.saved.value.startswith("<b>Not saved:</b>")


def test_what_a_search_found_is_saved(tmp_path, monkeypatch):
    monkeypatch.setenv("CORRLIB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(panels, "models", lambda: {})
    s = session_of(folder=tmp_path)
    s.search = lambda text, count: pd.DataFrame({"clip": [3], "similarity": [0.5], "estimated": [0.2]})
    s.corpora, s.model = SimpleNamespace(items=lambda split: SimpleNamespace(texts=["A dog barks"])), "one"
    view = panels.search(s, {"caption": "a dog", "count": 1, "beside": ""})
    save = next(control for control in controls(view) if control.description == "Save table")
    save.click()
    save.click()
    table = pd.read_csv(tmp_path / "runs" / "t" / "explore" / "search-2.csv")
    assert table.to_dict("records") == [
        {"clip": 3, "similarity": 0.5, "estimated": 0.2, "model": "one", "caption": "a dog", "name": "clip 3.wav"}
    ]


def test_long_names_and_signs_fit_their_place(tmp_path):
    s = session_of(text="wind & rain " * 12 + "{}")
    s.name = lambda clip: "n" * 240 + ".wav"
    rows, columns = matrix.block(s, 5)
    figure = matrix.heat_map(s, rows, columns)
    assert all("&amp;" in label and "&am…" not in label for label in figure.layout.yaxis.ticktext)
    hover = figure.data[0].text[0][0]
    assert max(len(html.unescape(line)) for line in hover.split("<br>")) <= 90
    assert words.shortened("n" * 240 + ".wav").endswith(".wav") and len(words.shortened("n" * 240)) == 80
    assert "overflow-wrap:anywhere" in words.clip_facts(s, 0)


def test_the_matrix_takes_the_room_and_the_theme_that_there_is(tmp_path):
    s = session_of(folder=tmp_path)
    rows, columns = matrix.block(s, 5)
    light, dark = (matrix.heat_map(s, rows, columns, dark=dark) for dark in (False, True))
    for figure in (light, dark):
        layout, scale = figure.layout, figure.data[0].colorbar
        assert layout.width is None
        assert layout.margin.t >= 40 and layout.yaxis.tickfont.size >= 12 and len(scale.ticktext) == 3
        assert layout.paper_bgcolor == layout.plot_bgcolor == "rgba(0,0,0,0)"
    assert light.layout.font.color != dark.layout.font.color
    panel = panels.heat_map(s, 5)
    before = panel.children[1].children[0]
    panel.children[-1].dark = True  # as the page says
    after = panel.children[1].children[0]
    assert after is not before and after.layout.font.color == dark.layout.font.color
    panel.children[-1].width = 777
    assert panel.children[1].children[0].layout.width == 777
    column, row = panel.children[2:4]
    assert (row.value, column.value) == (row.options[0][1], column.options[0][1])
    panel.children[0].children[0].value = "similarity"
    assert panel.children[1].children[0].layout.width == 777


def test_a_player_that_holds_nothing_shows_nothing():
    assert not Player().wav and "element.hidden = !address" in Player._esm


def controls(widget):
    import ipywidgets

    if isinstance(widget, (ipywidgets.Box)):
        return [c for child in widget.children for c in controls(child)]
    return [widget] if hasattr(widget, "description") and not isinstance(widget, ipywidgets.HTML) else []


def test_a_player_holds_sound_and_picture(tmp_path):
    s = session_of(folder=tmp_path)
    player = Player().show(s.corpus, 2)
    sound, rate = soundfile.read(io.BytesIO(bytes(player.wav)))
    assert rate == 16000 and len(sound) == 8000 and player.label == "clip 2.wav"
    np.testing.assert_allclose(sound, 0.1 * np.sin(np.arange(8000) * 3 / 20), atol=2e-4)
    assert bytes(player.picture).startswith(b"\x89PNG")
    assert np.abs(soundfile.read(io.BytesIO(wav_bytes(np.full(10, 3.0))))[0]).max() <= 1  # clipped, not wrapped
    assert spectrogram_png(np.zeros(16000, np.float32)).startswith(b"\x89PNG")


def test_who_is_there(monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    assert not is_interactive()
    monkeypatch.setenv("JPY_SESSION_NAME", "13_explore.ipynb")
    assert is_interactive()


class TestStudy:
    """On the finished smoke study."""

    @pytest.fixture(autouse=True)
    def _environment(self, study, monkeypatch):
        for name in ("CORRLIB_RUNS", "CORRLIB_DATA"):
            monkeypatch.setenv(name, study[1][name])

    def test_headless_figures(self, study):
        for name in ("search", "matrix", "partial_matches"):
            panels = drawn(study[0] / "figures" / f"explore_{name}.svg")
            assert panels and all(panels)
            assert len(pd.read_csv(study[0] / "figures" / f"explore_{name}.csv"))
        assert (study[0] / "explore" / "manifest.json").is_file()

    def test_a_typed_caption_that_is_a_stored_one_finds_the_same(self, study):
        s = Session("smoke", "ensemble-mn_tiny-seed1")
        assert models()["smoke"][0].startswith("ensemble-") and len(s.teachers) == 3
        table = s.search(s.items.texts[7], 24)
        np.testing.assert_allclose(table["similarity"], s.similarity[table["clip"].to_numpy(), 7], atol=1e-5)
        np.testing.assert_allclose(table["estimated"], s.clip_given_caption[table["clip"].to_numpy(), 7], atol=1e-5)
        assert table["similarity"].is_monotonic_decreasing
        with pytest.raises(ValueError, match="caption is empty"):
            s.search("  ")

    def test_claims_are_those_that_make_the_truth(self, study):
        s = Session("smoke", "stage1-mn_tiny-seed1")
        truth = soundscapes.load_truth(s.parameters.data, "evaluation")
        for clip, caption in ((0, 0), (3, 40), (20, 7)):
            holds = [h for _, h in s.claims(clip, caption)]
            assert np.mean(holds) == pytest.approx(truth[clip, caption])

    def test_an_unfinished_model_is_named(self, study):
        with pytest.raises(FileNotFoundError, match="does not exist"):
            Session("smoke", "stage1-none-seed1")
        with pytest.raises(FileNotFoundError, match="make reproduce STUDY=nothing"):
            Desk(ExploreParameters(study="nothing"))

    def test_without_the_study_that_is_asked_for_there_is_another(self, study):
        desk = Desk(ExploreParameters(study="builtin", caption="rain", interactive=True))
        chooser = desk.chooser()
        picks, said = chooser.children[0].children, chooser.children[1]
        assert desk.session.study == "smoke" and "Study “builtin” has no finished model yet" in said.value
        view, answer = desk.search("rain"), desk.say_answer()
        box = next(control for control in controls(view) if control.description == "Caption")
        box.value = "a dog barks"
        before = desk.session.model
        picks[1].value = next(name for name in picks[1].options if name != before)
        box = next(control for control in controls(view) if control.description == "Caption")
        assert desk.session.model != before and box.value == "a dog barks"  # another model, the same question
        assert desk.answer().split(" ")[0] in answer.children[0].value and "finished model yet" not in said.value
        beside = next(control for control in controls(view) if control.description == "Beside")
        beside.value = before
        columns = view.children[0].children[4].children
        assert [before in column.children[0].value for column in columns] == [False, True]


def opened(browser, address, folder, parameters):
    """A page with 13_explore, these parameters in place of its own, after all its cells were run."""
    notebook = json.loads(open("notebooks/13_explore.ipynb", encoding="utf-8").read())
    cell = next(c for c in notebook["cells"] if "parameters" in c["metadata"].get("tags", []))
    cell["source"] = [f"{name} = {value!r}\n" for name, value in (NAMES | parameters).items()]
    name = f"explore-{len(list(folder.glob('*.ipynb')))}.ipynb"  # a kernel each
    (folder / name).write_text(json.dumps(notebook), encoding="utf-8")
    page = browser.new_page(viewport={"width": 1500, "height": 1100})
    page.set_default_timeout(120_000)
    page.goto(f"{address}/lab/tree/{name}?token=test&reset")
    page.locator("h1:has-text('Seeing and hearing')").first.wait_for()
    # JupyterLab loses a run that is asked for while the kernel connects
    page.wait_for_function("window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'")
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    return page


def closed(page):
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    page.close()


NAMES = {name: field.default for name, field in ExploreParameters.model_fields.items()}


@pytest.fixture(scope="module")
def explored(study, tmp_path_factory):
    """A function that opens the notebook with parameters; one server and one browser for all tests."""
    from playwright.sync_api import sync_playwright

    folder = tmp_path_factory.mktemp("lab")
    with lab(folder, study[1]) as address, sync_playwright() as driver:
        browser = launched(driver)
        yield lambda **parameters: opened(browser, address, folder, parameters)
        browser.close()


@needs_chromium
def test_in_a_browser(study, explored):
    """Run all, search, play, accept a partial match, find it in the CSV."""
    page = explored(study="smoke")
    page.get_by_label("Pair").wait_for()

    box = page.get_by_placeholder("what should be heard")
    box.fill("a <b>bird</b> sings")
    box.press("Enter")
    page.get_by_text("5 of 24 clips for “a <b>bird</b> sings”").wait_for()
    player = page.locator(".corrlib-player").first
    audio = player.locator("audio")
    audio.evaluate("player => player.play()")
    page.wait_for_function("document.querySelector('.corrlib-player audio').currentTime > 0.3")
    assert float(player.locator(".head").evaluate("line => parseFloat(line.style.left)")) > 5
    assert audio.get_attribute("aria-label").startswith("play scene_")

    cells = page.locator(".js-plotly-plot .nsewdrag").first  # a click on the matrix plays
    cells.scroll_into_view_if_needed()
    cells.click()
    page.wait_for_function("""[...document.querySelectorAll('.jp-OutputArea')].some(area =>
        area.querySelector('.js-plotly-plot') && [...area.querySelectorAll('.corrlib-player audio')].some(
            audio => !audio.paused && audio.currentTime > 0.2))""")

    first = page.get_by_label("Pair").locator("option").first.inner_text().replace("\xa0", " ")
    page.get_by_role("button", name="Accept").focus()
    page.keyboard.press("Enter")  # by keyboard alone
    page.get_by_text("1 captions judged").wait_for()
    cells = "document.querySelectorAll('.jp-Notebook .jp-Cell').length"
    count, listed = page.evaluate(cells), page.get_by_label("Pair")
    listed.focus()
    for key in ("ArrowDown", "b", "a"):  # a second pair is accepted; none is a command of the notebook
        page.keyboard.press(key)
    page.get_by_text("2 captions judged").wait_for()
    page.keyboard.press("u")
    page.get_by_text("1 captions judged").wait_for()
    assert page.evaluate(cells) == count and listed.evaluate("list => list === document.activeElement")
    heat_map = page.locator(".js-plotly-plot").first
    inside = (
        "plot => plot.getBoundingClientRect().right <= plot.closest('.jp-OutputArea').getBoundingClientRect().right"
    )
    assert heat_map.evaluate(inside)
    closed(page)
    saved = pd.read_csv(study[0] / "explore" / "verdicts.csv")
    (study[0] / "explore" / "verdicts.csv").unlink()
    assert len(saved) == 1 and saved["query"][0] in first
    own, accepted = saved["audio_filenames"][0].split(";")
    assert accepted in first and own != accepted


@needs_chromium
def test_a_folder_of_sounds_in_a_browser(study, explored, tmp_path, monkeypatch):
    """Indexed, searched by a caption, by one of its sounds, by both and by an upload; what comes or goes is found."""
    monkeypatch.setenv("CORRLIB_RUNS", study[1]["CORRLIB_RUNS"])
    paths = Session("smoke", "ensemble-mn_tiny-seed1").corpus.clips["path"][:7].tolist()
    sounds = tmp_path / "my sounds"
    sounds.mkdir()
    for number, path in enumerate(paths[:5]):
        shutil.copy(path, sounds / f"{number}.wav")
    (sounds / "notes.txt").touch()
    page = explored(sounds_folder=str(sounds), model="smoke/ensemble-mn_tiny-seed1", caption="rain")
    told = lambda text: page.get_by_text(text).first.wait_for()  # noqa: E731
    told("5 embedded now, 1 files skipped")
    told("5 of 5 sounds for “rain”")
    box = page.get_by_placeholder("what should be heard")
    box.fill("a <b>bird</b> sings")
    box.press("Enter")
    told("5 of 5 sounds for “a <b>bird</b> sings”")
    audio = page.locator(".corrlib-player audio").first
    audio.evaluate("player => player.play()")
    page.wait_for_function("document.querySelector('.corrlib-player audio').currentTime > 0.2")
    name = audio.get_attribute("aria-label").removeprefix("play ")
    page.get_by_role("button", name="More like this").first.click()
    told(f"4 of 5 sounds for “a <b>bird</b> sings” (0.5) and the sound {name}")
    page.get_by_role("slider").last.press("Home")
    told(f"4 of 5 sounds for the sound {name}")
    with page.expect_file_chooser() as chosen:
        page.get_by_role("button", name="Upload sound").click()
    chosen.value.set_files(paths[5])
    told(f"5 of 5 sounds for the sound {Path(paths[5]).name}")
    (sounds / "0.wav").unlink()
    shutil.copy(paths[5], sounds / "new.wav")
    shutil.copy(paths[6], sounds / "1.wav")
    page.get_by_role("button", name="Open", exact=True).click()
    told("5 sounds (0.0 hours)")
    told("2 embedded now, 1 files skipped")
    told("4 of 5 sounds for the sound")  # what was uploaded is in the folder now
    assert page.get_by_text("the sounds of a folder have no captions").count() == 3
    closed(page)


class lab:
    """A JupyterLab server on `folder`; its address while it lives."""

    def __init__(self, folder, environment):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder, self.environment = (
            folder,
            {
                **environment,
                "JUPYTER_CONFIG_DIR": str(folder / "config"),
                "JUPYTER_DATA_DIR": str(folder / "data"),
                "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
            },
        )

    def __enter__(self):
        command = [
            sys.executable,
            "-m",
            "jupyterlab",
            "--no-browser",
            "--allow-root",
            f"--port={self.port}",
            "--IdentityProvider.token=test",
            "--LabApp.expose_app_in_browser=True",
            str(self.folder),
        ]
        self.server = subprocess.Popen(
            command, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(300):
            with socket.socket() as door:
                if door.connect_ex(("127.0.0.1", self.port)) == 0:
                    return f"http://127.0.0.1:{self.port}"
            time.sleep(0.2)
        raise RuntimeError("JupyterLab did not start")

    def __exit__(self, *_):
        self.server.terminate()
        self.server.wait(30)
