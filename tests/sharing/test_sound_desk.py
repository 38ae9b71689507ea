"""13_explore on a folder of sounds: widgets without a browser, the notebook without widgets, and what is refused."""

import html
import shutil
from datetime import datetime

import numpy as np
import pandas as pd
import pytest
import soundfile

import corrlib
from corrlib.explore import Desk
from corrlib.sharing import sound_desk
from corrlib.sharing.library import SoundFolder
from corrlib.sharing.sound_desk import SoundDesk, open_desk
from corrlib.study.parameters import ExploreParameters, ParameterError, check
from tests.explore.test_explore import controls
from tests.pictures import drawn
from tests.sharing.conftest import STUDENT, STUDY, TEACHERS
from tests.test_notebooks import run_all

MODEL, CAPTION = f"{STUDY}/{STUDENT}", "rain on a tent"


def shown(view):
    """(the search's controls by name, its message, its cards) of a desk's view."""
    box = view.children[0]
    return {c.description: c for c in controls(box)}, box.children[4].value, box.children[5].children


def names(cards):
    return [card.children[0].label for card in cards]


def test_search_more_like_this_and_both(finished, sounds):
    desk = open_desk(
        check(
            ExploreParameters, {"sounds_folder": str(sounds), "model": MODEL, "caption": CAPTION, "interactive": True}
        )
    )
    assert isinstance(desk, SoundDesk)
    right = SoundFolder(desk.model, sounds)
    facts = desk.chooser().children[3].value
    assert "4 sounds" in facts and "4 embedded now, 0 files skipped" in facts and "composed scenes" in facts
    view, answer = desk.search(CAPTION), desk.say_answer()
    by_name, message, cards = shown(view)
    ranked = right.search(CAPTION)["file"].tolist()
    assert names(cards) == ranked and "4 of 4 sounds for “rain on a tent”" in message
    assert by_name["Weight"].disabled and by_name["Forget sound"].disabled
    assert ranked[0] in answer.value

    next(c for c in controls(cards[1]) if c.description == "More like this").click()
    by_name, message, cards = shown(view)
    assert by_name["Like"].value == ranked[1] and not by_name["Weight"].disabled
    both = right.search(CAPTION, sounds / ranked[1], 0.5)["file"].tolist()
    assert (
        names(cards) == both
        and "3 of 4 sounds" in message
        and f"(0.5) and the sound {ranked[1].split('/')[-1]}" in message
    )
    by_name["Weight"].value = 0.0
    alone = right.search("", sounds / ranked[1])["file"].tolist()
    assert names(shown(view)[2]) == alone
    by_name["Caption"].value = ""
    assert names(shown(view)[2]) == alone and "for the sound" in shown(view)[1]
    by_name["Sounds"].value = 1
    assert names(shown(view)[2]) == alone[:1]
    by_name["Save table"].click()
    saved = pd.read_csv(finished / "sounds" / "my_sounds" / "search-1.csv")
    shutil.rmtree(finished / "sounds")
    assert saved["file"].tolist() == alone[:1] and saved["like"].tolist() == [ranked[1]]
    by_name["Forget sound"].click()
    assert "Type what should be heard" in shown(view)[1]

    content = (sounds / "d.mp3").read_bytes()
    file = {"name": "../d.mp3", "type": "", "size": len(content), "content": memoryview(content)}
    file["last_modified"] = datetime.fromtimestamp(0)
    by_name["Upload sound"].value = (file,)
    assert names(shown(view)[2]) == right.search("", sounds / "d.mp3", top=1)["file"].tolist()
    assert "../" not in by_name["Like"].value and "d.mp3" in shown(view)[1]
    for control in controls(view.children[0]):
        assert control.description or control.tooltip
    for missing in (desk.clip(), desk.matrix(), desk.partial_matches()):
        assert "sounds of a folder have no captions" in missing.value
    desk.finish()


def test_what_comes_and_goes_is_found_when_it_is_opened_again(finished, sounds, tmp_path, monkeypatch):
    parameters = {"sounds_folder": str(sounds), "model": MODEL, "caption": CAPTION, "interactive": True}
    desk = open_desk(check(ExploreParameters, parameters))
    chooser, view = desk.chooser(), desk.search(CAPTION)
    by_name, said = {c.description: c for c in controls(chooser)}, chooser.children[3]
    loaded = []
    monkeypatch.setattr(sound_desk, "load_model", lambda name: loaded.append(name) or corrlib.load_model(name))
    (sounds / "b.flac").unlink()
    soundfile.write(sounds / "<b>new.wav", 0.1 * np.random.default_rng(1).standard_normal(16000), 16000)
    (sounds / "<i>.txt").touch()
    by_name["Open"].click()
    assert "4 sounds" in said.value and "1 embedded now, 1 files skipped" in said.value and not loaded
    assert "<b>new.wav" in names(shown(view)[2]) and "&lt;i&gt;.txt" in said.value
    markup = said.value + shown(view)[1] + "".join(c.children[1].children[0].value for c in shown(view)[2])
    assert "<b>new" not in markup and "<i>" not in markup
    by_name["Folder"].value = str(tmp_path / "nowhere")
    by_name["Open"].click()
    assert said.value.startswith("<b>Not opened:</b>") and desk.sounds.folder == sounds
    by_name["Folder"].value, by_name["Model"].value = str(sounds), f"{STUDY}/{TEACHERS[1]}"
    before = names(shown(view)[2]), [c.children[1].children[0].value for c in shown(view)[2]]
    by_name["Open"].click()
    assert loaded == [f"{STUDY}/{TEACHERS[1]}"] and "4 embedded now" in said.value
    assert before != (names(shown(view)[2]), [c.children[1].children[0].value for c in shown(view)[2]])
    (sounds / "a.wav").unlink()  # after it was indexed
    shown(view)[0]["Search"].click()
    assert any("Not played" in getattr(card.children[0], "value", "") for card in shown(view)[2])
    shown(view)[0]["Like"].value = "nowhere.wav"
    assert shown(view)[1].startswith("<b>Not searched:</b>") and "nowhere.wav is missing" in shown(view)[1]


def test_headless_with_an_exported_folder_alone(finished, sounds, tmp_path, monkeypatch):
    """No study at all: the still, its table, the sentence, and nothing else."""
    from corrlib.sharing.exported import export

    export(STUDY, STUDENT, tmp_path / "mine", "")
    monkeypatch.setenv("CORRLIB_RUNS", str(tmp_path / "empty"))
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    changes = {"sounds_folder": str(sounds), "model": str(tmp_path / "mine"), "like": "a.wav", "weight": 0.25}
    said = html.unescape(run_all("13", **changes))
    right = SoundFolder(corrlib.load_model(tmp_path / "mine", "cpu"), sounds)
    table = right.search("a dog barks while rain falls", sounds / "a.wav", 0.25)
    home = tmp_path / "empty" / "sounds" / "my_sounds"
    assert pd.read_csv(home / "explore_sounds.csv")["file"].tolist() == table["file"].tolist()
    assert [bool(panel) for panel in drawn(home / "explore_sounds.svg")] == [True] * 3
    assert (
        f"Of 4 sounds, {table['file'][0]} is most similar to “a dog barks while rain falls” (0.25) and the sound"
        in said
    )
    assert said.count("sounds of a folder have no captions") == 3
    assert [path.name for path in (tmp_path / "empty").iterdir()] == ["sounds"]  # no run is left behind


def test_the_model_is_chosen_or_asked_for(finished, sounds, tmp_path, monkeypatch):
    named = {"sounds_folder": str(sounds), "interactive": False}
    desk = open_desk(check(ExploreParameters, named))
    assert desk.chooser().startswith("Study “scratch” has no finished model yet.") and desk.model.name == MODEL
    desk = open_desk(check(ExploreParameters, {**named, "study": STUDY, "model": TEACHERS[0]}))
    assert desk.model.name == f"{STUDY}/{TEACHERS[0]}" and "no finished model" not in desk.chooser()
    assert isinstance(open_desk(check(ExploreParameters, {"study": STUDY, "interactive": True})), Desk)
    monkeypatch.setenv("CORRLIB_RUNS", str(tmp_path / "empty"))
    with pytest.raises(FileNotFoundError, match="name an exported folder as `model`"):
        open_desk(check(ExploreParameters, named))
    with pytest.raises(ParameterError, match="'like' names a sound that others of 'sounds_folder'"):
        check(ExploreParameters, {"like": "a.wav"})
    shutil.rmtree(sounds)
    with pytest.raises(FileNotFoundError):
        open_desk(check(ExploreParameters, named))
