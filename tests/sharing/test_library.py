"""A folder of sounds: each content is embedded once, and what is no sound is named, skipped and counted."""

import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

import corrlib
from corrlib import files
from corrlib.__main__ import main
from corrlib.sharing import approximate, library
from corrlib.sharing.library import SoundFolder
from corrlib.sharing.model import RetrievalModel
from tests.browser import Watched, launched, needs_chromium, serious
from tests.sharing.conftest import STUDENT, STUDY, TEACHERS

CAPTION = "rain on a tent"


@pytest.fixture
def model(finished):
    return corrlib.load_model(f"{STUDY}/{STUDENT}", "cpu")


@pytest.fixture
def heard(monkeypatch):
    """Names of the files that a model read, as it reads them."""
    names, read = [], RetrievalModel.read
    monkeypatch.setattr(RetrievalModel, "read", lambda self, sound: names.append(sound.name) or read(self, sound))
    return names


def write(path, seed, seconds=1.0):
    draw = np.random.default_rng(seed)
    soundfile.write(path, 0.1 * draw.standard_normal(int(16000 * seconds)), 16000)


def test_it_ranks_by_the_similarities_of_the_model(model, sounds):
    folder = SoundFolder(model, sounds)
    names = folder.sounds["file"].tolist()
    assert names == ["a.wav", "b.flac", "below/c.ogg", "d.mp3"] and folder.embedded == 4 and folder.skipped.empty
    exact = model.similarity([sounds / name for name in names], [CAPTION])[:, 0]
    found = folder.search(CAPTION)
    order = exact.argsort(descending=True).tolist()
    assert found["file"].tolist() == [names[i] for i in order] and found["rank"].tolist() == [1, 2, 3, 4]
    np.testing.assert_allclose(found["similarity"], exact[order], atol=1e-5)
    assert dict(zip(found["file"], found["seconds"].round(1), strict=True))["below/c.ogg"] == 12.0
    assert folder.search(CAPTION, top=2)["file"].tolist() == [names[i] for i in order[:2]]


def test_more_like_this_and_both_with_a_weight(model, sounds):
    folder, like = SoundFolder(model, sounds), sounds / "a.wav"
    names = ["b.flac", "below/c.ogg", "d.mp3"]
    embeddings = model.embed_audio([sounds / name for name in names])
    of_sound, of_caption = embeddings @ model.embed_audio([like])[0], embeddings @ model.embed_captions([CAPTION])[0]
    for caption, weight, exact in (
        ("", 0.5, of_sound),
        (CAPTION, 0.25, 0.25 * of_caption + 0.75 * of_sound),
        (CAPTION, 1.0, of_caption),
        (CAPTION, 0.0, of_sound),
    ):
        found = folder.search(caption, like, weight).set_index("file")["similarity"]
        assert set(found.index) == set(names)  # not itself
        np.testing.assert_allclose(found[names], exact, atol=1e-5)
        assert found.is_monotonic_decreasing
    shutil.copy(like, sounds.parent / "elsewhere.wav")  # the same sound outside of the folder
    assert set(folder.search(like=sounds.parent / "elsewhere.wav")["file"]) == set(names)


def test_only_what_comes_or_changes_is_embedded(model, sounds, heard):
    def again():
        heard.clear()
        folder = SoundFolder(model, sounds)
        exact = model.embed_audio([sounds / name for name in folder.sounds["file"]])
        torch.testing.assert_close(folder.embeddings, exact, atol=1e-5, rtol=0)
        assert folder.embedded == len(heard)
        return sorted(heard), len(folder.sounds)

    assert again() == (["a.wav", "b.flac", "c.ogg", "d.mp3"], 4)
    assert again() == ([], 4)
    write(sounds / "new.wav", 1)
    assert again() == (["new.wav"], 5)
    (sounds / "b.flac").unlink()
    assert again() == ([], 4)
    write(sounds / "a.wav", 2)
    assert again() == (["a.wav"], 4)
    (sounds / "new.wav").rename(sounds / "below" / "renamed.wav")
    shutil.copy(sounds / "a.wav", sounds / "twin.wav")
    assert again() == ([], 5)
    os.utime(sounds / "a.wav")  # touched, not changed
    assert again() == ([], 5)


def test_what_is_no_sound_is_named_skipped_and_counted(model, sounds, heard):
    (sounds / "notes.txt").write_text("rain")
    (sounds / "empty.wav").touch()
    (sounds / "noise.wav").write_bytes(os.urandom(3000))
    (sounds / "cut.flac").write_bytes((sounds / "b.flac").read_bytes()[:60])
    (sounds / "gone.wav").symlink_to(sounds / "nowhere.wav")
    os.mkfifo(sounds / "pipe.wav")
    write(sounds / "huge.wav", 3, seconds=20)
    (sounds / ".hidden.wav").write_bytes(b"x")
    folder = SoundFolder(model, sounds, largest_bytes=500_000)
    reasons = dict(zip(folder.skipped["file"], folder.skipped["reason"], strict=True))
    assert set(reasons) == {"notes.txt", "empty.wav", "noise.wav", "cut.flac", "gone.wav", "pipe.wav", "huge.wav"}
    assert len(folder.sounds) == 4
    assert "'.txt'" in reasons["notes.txt"] and "empty" in reasons["empty.wav"]
    assert "cannot be decoded" in reasons["noise.wav"] and "no file" in reasons["pipe.wav"]
    assert "more than 500000" in reasons["huge.wav"] and str(sounds) not in " ".join(reasons.values())
    heard.clear()
    again = SoundFolder(model, sounds, largest_bytes=500_000)
    assert not heard and again.skipped.equals(folder.skipped)  # remembered, too


def test_what_cannot_be_opened_stops_nobody(model, sounds, monkeypatch):
    """A folder that cannot be listed, loops of links, a file that goes or fails as it is read, one that asks for more
    memory than there is.
    """
    (sounds / "closed").mkdir()
    (sounds / "round").symlink_to(sounds)
    (sounds / "itself.wav").symlink_to(sounds / "itself.wav")
    for name in ("broken.wav", "gone.wav", "greedy.wav"):
        write(sounds / name, len(name))
    scandir, digest_file, read = os.scandir, files.digest_file, RetrievalModel.read

    def listed(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    def digested(path):
        if str(path).endswith("broken.wav"):
            raise OSError(5, "Input/output error", str(path))
        if str(path).endswith("gone.wav"):
            (sounds / "gone.wav").unlink()
        return digest_file(path)

    def heard(self, sound):
        if sound.name == "greedy.wav":
            raise MemoryError
        return read(self, sound)

    monkeypatch.setattr(os, "scandir", listed)
    for module in (files, library):
        monkeypatch.setattr(module, "digest_file", digested)
    monkeypatch.setattr(RetrievalModel, "read", heard)
    folder = SoundFolder(model, sounds)
    reasons = dict(zip(folder.skipped["file"], folder.skipped["reason"], strict=True))
    assert len(folder.sounds) == 4 and len(reasons) == 6
    for name, said in (
        ("closed", "cannot be listed (Permission denied)"),
        ("round", "a link to a folder"),
        ("itself.wav", "a link that leads nowhere"),
        ("broken.wav", "cannot be read (Input/output error)"),
        ("gone.wav", "No such file"),
        ("greedy.wav", "MemoryError"),
    ):
        assert said in reasons[name], reasons


def test_many_sounds_are_searched_approximately(model, sounds, monkeypatch, tmp_path):
    pytest.importorskip("faiss")
    shutil.copy(sounds / "a.wav", sounds / "twin.wav")
    exact = SoundFolder(model, sounds)
    monkeypatch.setattr(library, "APPROXIMATE_FROM", 4)
    folder = SoundFolder(model, sounds)
    assert exact.approximate is None and folder.approximate.rows == 4  # different ones
    for asked in ({"caption": CAPTION}, {"like": sounds / "b.flac"}, {"caption": CAPTION, "like": sounds / "a.wav"}):
        found, right = folder.search(**asked), exact.search(**asked)
        assert found["file"].tolist() == right["file"].tolist()
        np.testing.assert_allclose(found["similarity"], right["similarity"], atol=1e-5)
    assert "twin.wav" in folder.search(CAPTION)["file"].tolist()
    assert "twin.wav" not in folder.search(like=sounds / "a.wav")["file"].tolist()  # it is the same sound
    (sounds / "b.flac").unlink()
    monkeypatch.setattr(library, "APPROXIMATE_FROM", 3)
    assert set(SoundFolder(model, sounds).search(CAPTION)["file"]) == {"a.wav", "below/c.ogg", "d.mp3", "twin.wav"}
    kept = [path.suffix for path in (tmp_path / "data" / "cache" / "search").rglob("*") if path.is_file()]
    assert kept.count(".faiss") == kept.count(".safetensors") == kept.count(".json") == 1


def test_recall_is_what_an_exact_search_finds(tmp_path, monkeypatch):
    pytest.importorskip("faiss")
    draw = torch.Generator().manual_seed(1)
    centres = torch.randn(30, 16, generator=draw)
    embeddings = centres[torch.randint(30, (3000,), generator=draw)] + 0.3 * torch.randn(3000, 16, generator=draw)
    embeddings, captions = (torch.nn.functional.normalize(x) for x in (embeddings, torch.randn(5, 16, generator=draw)))
    monkeypatch.setattr(approximate, "FIRST_PROBES", 1)
    index = approximate.ApproximateIndex(embeddings, captions, tmp_path, "n")
    own = embeddings[torch.randperm(3000, generator=torch.Generator().manual_seed(0))[: approximate.SOUNDS]]

    def share(queries, itself):
        shares = []
        for query in queries:
            right = (embeddings @ query).argsort(descending=True)[itself : approximate.RECALL_AT + itself].tolist()
            found = index.nearest(query[None], approximate.RECALL_AT + itself)[1][0].tolist()
            shares.append(len(set(right) & set(found)) / len(right))
        return np.mean(shares)

    assert 1 < index.recall.probes < index.index.lists == 55  # one list is not enough, and not all are needed
    assert index.recall.of_sounds == pytest.approx(share(own, 1)) and index.recall.of_sounds >= approximate.ENOUGH
    assert (
        index.recall.of_captions == pytest.approx(share(captions, 0)) and index.recall.of_captions >= approximate.ENOUGH
    )
    assert f"{100 * index.recall.of_captions:.0f} % by a caption" in index.said and "3,000 sounds" in index.said
    before = sorted((p.name, p.stat().st_mtime_ns) for p in tmp_path.glob("n.*[!k]"))
    assert approximate.ApproximateIndex(embeddings, captions, tmp_path, "n").recall == index.recall
    assert before == sorted((p.name, p.stat().st_mtime_ns) for p in tmp_path.glob("n.*[!k]"))


def test_an_odd_name_harms_nobody(model, sounds):
    write(sounds / "a\x1b[31m.wav", 4)
    shutil.copy(sounds / "a.wav", os.fsdecode(os.fsencode(sounds) + b"/\xff.wav"))
    folder = SoundFolder(model, sounds)
    assert len(folder.skipped) == 2 and not folder.skipped["file"].str.contains("\x1b").any()
    json.dumps(folder.skipped.to_dict("records")).encode()


def test_a_damaged_index_is_made_again(model, sounds, heard, tmp_path, capsys):
    folder = SoundFolder(model, sounds)
    [path] = (tmp_path / "data" / "cache" / "search").rglob("*.safetensors")
    content = bytearray(path.read_bytes())
    content[-5] ^= 255
    path.write_bytes(content)
    heard.clear()
    files._checked.clear()  # as a new process finds it
    again = SoundFolder(model, sounds)
    assert len(heard) == 4 and "is damaged" in capsys.readouterr().out
    assert torch.equal(again.embeddings, folder.embeddings)


def test_what_was_embedded_before_a_kill_is_kept(model, sounds, heard, monkeypatch):
    monkeypatch.setattr(library, "AT_ONCE", 2)
    read = RetrievalModel.read

    def killed(self, sound):
        if sound.name == "c.ogg":  # of the second part
            raise KeyboardInterrupt
        return read(self, sound)

    with monkeypatch.context() as patch:
        patch.setattr(RetrievalModel, "read", killed)
        with pytest.raises(KeyboardInterrupt):
            SoundFolder(model, sounds)
    heard.clear()
    assert SoundFolder(model, sounds).embedded == len(heard) == 2


def test_each_model_has_its_own_index(model, sounds, heard, tmp_path):
    SoundFolder(model, sounds)
    other = corrlib.load_model(f"{STUDY}/{TEACHERS[1]}", "cpu")
    heard.clear()
    SoundFolder(other, sounds)
    assert len(heard) == 4
    names = {path.name for path in (tmp_path / "data" / "cache" / "search").iterdir()}
    assert names == {f"tiny_{STUDENT}-{model.fingerprint}", f"tiny_{TEACHERS[1]}-{other.fingerprint}"}


def test_what_cannot_be_searched_is_said(model, sounds, tmp_path):
    folder = SoundFolder(model, sounds)
    for arguments, message in (
        ({}, "nothing to search for"),
        ({"caption": CAPTION, "weight": 2}, "weight is 2"),
        ({"caption": CAPTION, "top": 0}, "top is 0"),
    ):
        with pytest.raises(ValueError, match=message):
            folder.search(**arguments)
    with pytest.raises(FileNotFoundError, match="missing"):
        folder.search(like=tmp_path / "nowhere.wav")
    with pytest.raises(FileNotFoundError, match="is no folder"):
        SoundFolder(model, tmp_path / "nowhere")
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "a.txt").write_text("a")
    with pytest.raises(ValueError, match="no sound that can be read .1 files"):
        SoundFolder(model, tmp_path / "words")


def test_search_as_a_command(finished, sounds, tmp_path, capsys):
    (sounds / "notes.txt").write_text("rain")
    words = ["search", f"runs/{STUDY}/{STUDENT}", str(sounds), CAPTION, "--top", "3", "--device", "cpu"]
    assert main([*words, "--csv", str(tmp_path / "found.csv"), "--json", str(tmp_path / "found.json")]) == 0
    out, error = capsys.readouterr()
    table, said = pd.read_csv(tmp_path / "found.csv"), json.loads((tmp_path / "found.json").read_text())
    assert len(table) == 3 and [row["file"] for row in said["found"]] == table["file"].tolist()
    assert [line.split()[2] for line in out.strip().splitlines()] == ["file", *table["file"]]
    assert "4 sounds; 4 embedded now, 1 skipped" in error and "skipped notes.txt" in error
    assert [row["file"] for row in said["skipped"]] == ["notes.txt"]
    like = ["--like", str(sounds / "a.wav"), "--weight", "0.3"]
    assert main([*words, *like]) == 0
    out, error = capsys.readouterr()
    assert "a.wav" not in out and "0 embedded now" in error
    assert main([*words[:3], "--device", "cpu"]) == 2 and "nothing to search for" in capsys.readouterr().err


ODD = """<img src=x onerror=alert(1)> & "rain" 'x' </script>"""


@needs_chromium
@pytest.mark.parametrize("scheme, width", [("light", 1280), ("dark", 380)])
def test_a_page_of_what_was_found(model, sounds, tmp_path, scheme, width, capsys):
    """In one file, which asks for nothing: names and captions are text, every sound is seen and heard."""
    from playwright.sync_api import sync_playwright

    name = "<b>\"odd\" & 'long' " + 60 * "x" + ".wav"
    write(sounds / name, 5)
    (sounds / "<i>notes.txt").touch()
    page_file = tmp_path / "page" / "found.html"
    words = ["search", f"runs/{STUDY}/{STUDENT}", str(sounds), ODD, "--device", "cpu", "--page", str(page_file)]
    assert main(words) == 0
    assert [path.name for path in page_file.parent.iterdir()] == ["found.html"]
    assert str(sounds.parent) not in page_file.read_text()  # no place of this machine
    with sync_playwright() as driver:
        browser = launched(driver)
        watched = Watched(browser, page_file.parent, width, scheme)
        page = watched.open("found.html")
        table = SoundFolder(model, sounds).search(ODD)
        assert page.locator("h1").inner_text() == f"Search: “{ODD}”"
        assert page.locator(".found h2").all_inner_texts() == table["file"].tolist() and name in table["file"].tolist()
        assert f"similarity {table['similarity'][0]:.3f}" in page.locator(".found li").first.inner_text()
        assert "<i>notes.txt" in page.locator("details li").first.text_content()
        page.wait_for_function("[...document.querySelectorAll('audio')].every(a => a.duration > 0.9)")
        assert page.evaluate("[...document.querySelectorAll('img')].every(i => i.naturalWidth > 0)")
        page.locator(".corrlib-player .view").first.click()
        page.wait_for_function("!document.querySelector('audio').paused")
        assert page.locator("html").get_attribute("data-theme") == scheme
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")  # nothing is wider than the page
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == (
            "rgb(255, 255, 255)" if scheme == "light" else "rgb(20, 24, 29)"
        )
        assert not serious(page)
        watched.close()
        browser.close()
