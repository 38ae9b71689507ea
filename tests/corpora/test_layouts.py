"""Layouts in which corpora lie on people's disks: found, and two of what must be one named."""

import shutil
from pathlib import Path

import pytest

from corrlib.corpora import list_corpus, load_corpus, wavcaps
from corrlib.corpora.load import folder_of
from tests import layouts as make

SPLITS = ("development", "validation", "evaluation")


def moved(folder, places):
    """The folder with {place: place} renamed."""
    for old, new in places.items():
        (folder / new).parent.mkdir(parents=True, exist_ok=True)
        (folder / old).rename(folder / new)
    return folder


def names(corpus, folder):
    return [path.removeprefix(f"{folder}/") for path in corpus.clips["path"]]


CLOTHO = {
    "aac-datasets": {
        **{f"clotho_captions_{s}.csv": f"CLOTHO_v2.1/clotho_csv_files/clotho_captions_{s}.csv" for s in SPLITS},
        **{f"clotho_metadata_{s}.csv": f"CLOTHO_v2.1/clotho_csv_files/clotho_metadata_{s}.csv" for s in SPLITS},
        **{s: f"CLOTHO_v2.1/clotho_audio_files/{s}" for s in SPLITS},
    },
    "unpacked where they fell": {s: f"clotho_audio_{s}/{s}" for s in SPLITS},
    "named after the archives": {s: f"audio/clotho_audio_{s}" for s in SPLITS},
    "another name": {s: f"{s.upper()}" for s in SPLITS},
}


@pytest.mark.parametrize("places", CLOTHO.values(), ids=CLOTHO)
def test_clotho_is_found(tmp_path, places, capsys):
    moved(make.clotho(tmp_path), places)
    for split in SPLITS:
        corpus = load_corpus("clotho", tmp_path, split)
        assert len(corpus.clips) == 3 and set(corpus.metadata["author"]) == {"Jörg"}
        assert all(split in path.lower().removeprefix(str(tmp_path).lower()) for path in corpus.clips["path"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 and lines[0].startswith(f"clotho in {tmp_path}")  # a line a corpus, whatever its splits
    assert lines[0].count("clotho_captions_") >= 3 and lines[0].count("/*.wav (3)") == 3
    load_corpus("clotho", tmp_path, "development")
    assert capsys.readouterr().out == ""


AUDIOCAPS = {
    "aac-datasets": ("audio_32000Hz/{split}", "{id}.flac", "AUDIOCAPS/"),
    "wav": ("wavs/{split}_clips", "Y{id}.wav", ""),
    "mp3 of the mirror": ("AUDIOCAPS_32000Hz/audio/{split}", "Y{id}.mp3", "AudioCaps/"),
    "all in one": ("everything", "{id}_{start}.wav", ""),
    "Ogg": ("{split}/audio", "{id}.ogg", ""),
    "start and end": ("{split}", "{id}_{start}_{stop}.wav", ""),
    "in points of time": ("{split}", "Y{id}_{start}.000_{stop}.000.wav", ""),
    "milliseconds": ("{split}", "{id}_{start_ms}.flac", ""),
    "numbers": ("{split}", "{number}.wav", ""),
}


@pytest.mark.parametrize("audio, name, home", AUDIOCAPS.values(), ids=AUDIOCAPS)
def test_audiocaps_is_found(tmp_path, audio, name, home):
    make.audiocaps(tmp_path / home, audio, name)
    for split, captions in (("development", 4), ("validation", 20), ("evaluation", 20)):
        corpus = load_corpus("audiocaps", tmp_path, split)
        assert (len(corpus.clips), len(corpus.captions)) == (4, captions)


def test_clotho_in_another_format_is_found_which_is_said(tmp_path, capsys):
    make.clotho(tmp_path)
    for path in list(tmp_path.rglob("*.wav")):
        path.rename(path.with_suffix(".flac"))
    paths = list_corpus("clotho", tmp_path, "development").clips["path"]
    assert len(paths) == 3 and all(path.endswith(".flac") for path in paths)
    assert "development/*.flac (3)" in capsys.readouterr().out
    make.sound(tmp_path / "development" / f"{Path(paths[0]).stem}.mp3")
    with pytest.raises(ValueError, match="2 files for '.*keep one of them"):
        list_corpus("clotho", tmp_path, "development")


def test_audiocaps_in_m4a_is_found(tmp_path):
    make.audiocaps(tmp_path, name="Y{id}.wav")
    for path in list((tmp_path / "audio").rglob("*.wav")):
        path.rename(path.with_suffix(".m4a"))
    assert all(path.endswith(".m4a") for path in list_corpus("audiocaps", tmp_path, "development").clips["path"])


INNER = "mnt/fast/nobackup/scratch4weeks/x/waveforms"
WAVCAPS = {
    "aac-datasets": lambda s: {f"{s}_flac": f"WavCaps/Audio/{s}", f"json_files/{s}": f"WavCaps/json_files/{s}"},
    "inner path of the archives": lambda s: {f"{s}_flac": f"Zip_files/{s}/{INNER}/{s}_flac"},
    "sources": lambda s: {f"{s}_flac": f"{s}"},
    "formats": lambda s: {f"{s}_flac": f"flac/{s.lower()}"},
    "metadata": lambda s: {f"json_files/{s}": f"Metadata/{s}"},
}


@pytest.mark.parametrize("places", WAVCAPS.values(), ids=WAVCAPS)
def test_wavcaps_is_found(tmp_path, places):
    ids = {source: ["7", "101"] for source in make.SOURCES}  # numbers mean something else in each source
    make.wavcaps(tmp_path, ids)
    for source in make.SOURCES:
        moved(tmp_path, places(source))
    corpus = load_corpus("wavcaps", tmp_path, "development")
    assert len(corpus.clips) == 8
    for row in corpus.clips.itertuples():
        assert row.clip_id.split("/")[2].lower() in row.path.removeprefix(str(tmp_path)).lower()


@pytest.mark.parametrize(
    "on_disk",
    [
        "Wet_Metro Pass.wav",
        "Wet _ Metro Pass.wav",
        "Wet - Metro Pass.wav",
        "Wet  Metro Pass.wav",
        "wet： metro pass.WAV",
    ],
)
def test_a_colon_that_became_another_character(tmp_path, on_disk):
    make.clotho(tmp_path, names=("Wet : Metro Pass.wav", "b.wav"), disk={"Wet : Metro Pass.wav": on_disk})
    corpus = load_corpus("clotho", tmp_path, "development")
    assert names(corpus, tmp_path) == [f"development/{on_disk}", "development/b.wav"]
    assert corpus.clips["clip_id"].iloc[0] == "clotho/development/Wet : Metro Pass.wav"


def test_only_a_name_that_cannot_be_is_sought_loosely(tmp_path):
    make.clotho(tmp_path, names=("Wet Metro.wav",), splits=("development",), disk={"Wet Metro.wav": "Wet_Metro.wav"})
    assert names(list_corpus("clotho", tmp_path, "development"), tmp_path) == [""]


def test_a_splits_own_folders_come_first(tmp_path):
    make.clotho(tmp_path)
    shutil.copytree(tmp_path / "development", tmp_path / "backup")
    (tmp_path / "development" / "b.wav").unlink()
    assert names(load_corpus("clotho", tmp_path, "development"), tmp_path)[:2] == ["development/a.wav", "backup/b.wav"]
    assert names(load_corpus("clotho", tmp_path, "validation"), tmp_path)[1] == "validation/b.wav"
    (tmp_path / "validation" / "a.wav").unlink()
    (tmp_path / "backup" / "a.wav").unlink()  # what lies in the folder of another split is not taken
    assert names(list_corpus("clotho", tmp_path, "validation"), tmp_path)[0] == ""


def test_two_files_for_one_clip_are_named(tmp_path):
    make.clotho(tmp_path)
    shutil.copytree(tmp_path / "development", tmp_path / "clotho_audio_development" / "development")
    with pytest.raises(
        ValueError, match="two files for 'a.wav': .*development/a.wav and .*development/a.wav; keep one"
    ):
        load_corpus("clotho", tmp_path, "development")
    make.audiocaps(tmp_path / "x", "audio/{split}", "{id}.wav")
    make.sound(tmp_path / "x" / "wavs" / "train" / "Y-id_train0.flac")
    assert names(load_corpus("audiocaps", tmp_path / "x", "development"), tmp_path / "x")[0].endswith("train0.flac")
    make.sound(tmp_path / "x" / "audio" / "train" / "Y-id_train1.wav")
    make.sound(tmp_path / "x" / "wavs" / "train" / "Y-id_train1.mp3")
    with pytest.raises(ValueError, match="2 files for 'Y-id_train1': .*train1.wav, .*train1.mp3|.*train1.mp3, .*wav"):
        load_corpus("audiocaps", tmp_path / "x", "development")


def test_two_tables_or_folders_for_one_are_named(tmp_path):
    make.clotho(tmp_path / "a")
    (tmp_path / "a" / "csv").mkdir()
    shutil.copy(tmp_path / "a" / "clotho_captions_evaluation.csv", tmp_path / "a" / "csv")
    assert len(load_corpus("clotho", tmp_path / "a", "development").clips) == 3
    sentence = "two tables for one split, clotho_captions_evaluation.csv and csv/clotho_captions_evaluation.csv"
    with pytest.raises(ValueError, match=sentence):
        load_corpus("clotho", tmp_path / "a", "evaluation")
    (tmp_path / "CLOTHO_v2").mkdir()
    assert folder_of(tmp_path, "clotho") == tmp_path / "CLOTHO_v2"
    (tmp_path / "CLOTHO_v2.1").mkdir()
    with pytest.raises(ValueError, match="clotho may lie in .*CLOTHO_v2 or in .*CLOTHO_v2.1"):
        folder_of(tmp_path, "clotho")
    (tmp_path / "clotho").mkdir()
    assert folder_of(tmp_path, "clotho", merged=True) == tmp_path / "clotho"


def test_links_in_circles_and_caches_are_not_followed(tmp_path):
    make.clotho(tmp_path)
    (tmp_path / "development" / "again").symlink_to(tmp_path)
    shutil.copytree(tmp_path / "validation", tmp_path / "cache" / "development")
    assert len(load_corpus("clotho", tmp_path, "development").clips) == 3
    elsewhere = tmp_path / "disk"
    moved(tmp_path, {"evaluation": "disk/x"})
    (tmp_path / "evaluation").symlink_to(elsewhere / "x")  # a folder that lies on another disk
    assert len(load_corpus("clotho", tmp_path, "evaluation").clips) == 3


def test_merged_corpora_are_found_as_other_tools_call_them(tmp_path):
    make.clotho(tmp_path / "CLOTHO_v2.1")
    make.audiocaps(tmp_path / "AUDIOCAPS")
    make.wavcaps(tmp_path / "WavCaps")
    assert len(load_corpus("clotho+audiocaps+wavcaps", tmp_path, "development").clips) == 3 + 4 + 6 - 1


def test_many_files_are_found_quickly(tmp_path, monkeypatch):
    """Of a light corpus: a folder is read once to see what it holds, and once for its names; no file is asked for."""
    make.wavcaps(tmp_path, {source: [str(n) for n in range(5)] for source in wavcaps.SOURCES})
    scanned, scandir = [], __import__("os").scandir
    monkeypatch.setattr("corrlib.corpora.layouts.os.scandir", lambda path: scanned.append(str(path)) or scandir(path))
    monkeypatch.setattr("pathlib.Path.is_file", lambda self: pytest.fail(f"{self} is asked for"))
    assert len(list_corpus("wavcaps", tmp_path, "development").clips) == 20
    assert len(scanned) == 10 + 4 and len(set(scanned)) == 10  # itself, json_files and its four, four of audio
