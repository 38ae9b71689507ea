"""Corpora in their published layouts, with the oddities that are out there, and everything that can be wrong with them."""

import json
import shutil
import sys
import unicodedata

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from corrlib.corpora import AuditError, audit, list_corpus, load_corpus
from corrlib.corpora.audio import crop_seconds, read_clip
from corrlib.corpora.batches import Items, epoch_batches
from corrlib.corpora.corpus import build
from tests import layouts as make

COLUMNS = ["clip_id", "path", "start_seconds", "duration_seconds", "corpus", "split"]


def check(corpus, clips, captions):
    assert list(corpus.clips.columns) == COLUMNS and list(corpus.captions.columns) == ["caption_id", "clip_id", "text"]
    assert (len(corpus.clips), len(corpus.captions)) == (clips, captions)
    assert corpus.clips["clip_id"].is_unique and corpus.captions["caption_id"].is_unique
    assert set(corpus.captions["clip_id"]) == set(corpus.clips["clip_id"])
    for row in corpus.clips.itertuples():
        assert len(read_clip(row.path, row.start_seconds, row.duration_seconds)) == pytest.approx(
            32000 * row.duration_seconds, abs=2
        )


# Layouts


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_clotho(tmp_path, encoding):
    make.clotho(tmp_path, encoding=encoding)
    for split in ("development", "validation", "evaluation"):
        corpus = load_corpus("clotho", tmp_path, split)
        check(corpus, 3, 15)
        assert corpus.metadata["keywords"].tolist() == ["möwe;sea"] * 3 and set(corpus.metadata["author"]) == {"Jörg"}
        assert corpus.clips["duration_seconds"].tolist() == pytest.approx([0.4, 0.5, 0.6])
    assert corpus.captions["caption_id"].iloc[6] == "clotho/evaluation/b.wav#2"


def test_metadata_of_a_file_that_no_caption_names_is_given_to_no_clip(tmp_path):
    make.clotho(tmp_path, splits=("development",))
    path = tmp_path / "clotho_metadata_development.csv"
    path.write_text(path.read_text().replace("b.wav", "other.wav"))
    metadata = list_corpus("clotho", tmp_path, "development").metadata
    assert metadata["clip_id"].tolist() == [f"clotho/development/{name}.wav" for name in ("a", "other", "c")]


def test_odd_file_names(tmp_path):
    disk = {**make.ODD_NAMES, "decomposed é.wav": unicodedata.normalize("NFD", "decomposed é.wav")}
    make.clotho(tmp_path, names=tuple(disk), splits=("development",), disk=disk)
    check(load_corpus("clotho", tmp_path, "development"), len(disk), 5 * len(disk))


def test_identical_captions_of_different_clips_stay_different(tmp_path):
    make.clotho(tmp_path)
    corpus = load_corpus("clotho", tmp_path, "development")
    assert corpus.captions["text"].nunique() == 5 and corpus.captions["caption_id"].nunique() == 15


@pytest.mark.parametrize("audio", ["audio/{split}", "{split}", "waveforms/{split}", "audio_32000Hz/{split}", "audio"])
@pytest.mark.parametrize("name", ["Y{id}.flac", "{id}.wav", "{id}_{start}.mp3", "Y{id}_{start}.wav"])
def test_audiocaps(tmp_path, audio, name):
    make.audiocaps(tmp_path, audio, name)
    check(load_corpus("audiocaps", tmp_path, "development"), 4, 4)
    check(load_corpus("audiocaps", tmp_path, "validation"), 4, 20)
    corpus = load_corpus("audiocaps", tmp_path, "evaluation")
    check(corpus, 4, 20)
    assert corpus.metadata["youtube_id"].iloc[1] == "-id_test1"


def test_wavcaps(tmp_path):
    make.wavcaps(tmp_path)
    corpus = load_corpus("wavcaps", tmp_path, "development")
    check(corpus, 6, 6)
    assert "wavcaps/development/AudioSet_SL/Yother" in set(corpus.clips["clip_id"])


def test_own_data(tmp_path):
    make.own(tmp_path)
    check(load_corpus("folder", tmp_path, "validation"), 3, 6)


def test_own_data_in_one_table_with_parts_of_files(tmp_path):
    make.sound(tmp_path / "long.wav", 3)
    make.table(
        tmp_path / "captions.csv",
        ["split", "file", "start_seconds", "duration_seconds", "caption"],
        [
            ["development", "long.wav", "0", "1", "first"],
            ["development", "long.wav", "1", "1.5", "second"],
            ["development", "long.wav", "1", "1.5", "second again"],
            ["evaluation", "long.wav", "2.5", "", "the end"],
        ],
    )
    corpus = load_corpus("folder", tmp_path, "development")
    check(corpus, 2, 3)
    assert corpus.clips["duration_seconds"].tolist() == [1, 1.5]
    assert load_corpus("folder", tmp_path, "evaluation").clips["duration_seconds"].tolist() == [0.5]


def test_merged_corpora_train_on_all_and_are_judged_on_the_first(tmp_path):
    make.clotho(tmp_path / "clotho", ids={("evaluation", "b.wav"): "102"})
    make.audiocaps(tmp_path / "audiocaps")
    make.wavcaps(tmp_path / "wavcaps")
    name = "clotho+audiocaps+wavcaps"
    corpus = load_corpus(name, tmp_path, "development")
    check(corpus, 3 + 4 + 6 - 2, 15 + 4 + 6 - 2)
    reasons = dict(zip(corpus.excluded["clip_id"], corpus.excluded["reason"], strict=True))
    assert reasons == {
        "wavcaps/development/FreeSound/102": "leak: in ClothoV2",
        "wavcaps/development/AudioSet_SL/Y-id_test1": "leak: in AudioCaps validation or test",
    }
    _, table = audit(list_corpus(name, tmp_path, "development"))
    assert table.set_index("corpus")["leaks"].to_dict() == {"clotho": 0, "audiocaps": 0, "wavcaps": 2}
    check(load_corpus(name, tmp_path, "evaluation"), 3, 15)
    check(load_corpus("clotho", tmp_path, "development"), 3, 15)  # one corpus of a folder of several


def test_leaks_that_cannot_be_checked_stop_the_run(tmp_path):
    make.clotho(tmp_path / "clotho")
    make.wavcaps(tmp_path / "wavcaps")
    (tmp_path / "clotho" / "clotho_metadata_validation.csv").unlink()
    with pytest.raises(FileNotFoundError, match="clotho_metadata_validation.csv is missing.*cannot be left out"):
        load_corpus("clotho+wavcaps", tmp_path, "development")


# The audit


def damaged(tmp_path):
    make.clotho(tmp_path, names=tuple(f"{i}.wav" for i in range(8)), splits=("development",))
    audio = tmp_path / "development"
    (audio / "0.wav").unlink()
    (audio / "1.wav").write_bytes(b"")
    (audio / "2.wav").write_bytes(b"this is no audio file at all")
    soundfile.write(audio / "3.wav", np.zeros(0), 16000)
    return list_corpus("clotho", tmp_path, "development")


def test_the_audit_counts_every_kind(tmp_path):
    corpus, table = audit(damaged(tmp_path), tolerance=0.5)
    row = table.iloc[0]
    assert (row["listed"], row["found"], row["missing"], row["unreadable"], row["zero-length"]) == (8, 4, 1, 1, 2)
    assert row["published"] == 3839 and row["rates"] == "16000"
    assert row["hours"] == pytest.approx(sum(0.4 + 0.1 * i for i in range(4, 8)) / 3600)
    assert list(corpus.excluded["reason"]) == ["missing", "zero-length", "unreadable", "zero-length"]
    check(corpus, 4, 20)


def test_the_run_goes_on_only_within_the_tolerance(tmp_path):
    with pytest.raises(
        AuditError,
        match=r"4 of 8 clips of clotho cannot be used \(1 missing, 2 zero-length, 1 unreadable; "
        r"first: .*0.wav\); restore them, or raise tolerance \(0.3\) to at least 0.5",
    ):
        audit(damaged(tmp_path), tolerance=0.3)


def test_a_clip_listed_twice_is_kept_once(tmp_path):
    make.clotho(
        tmp_path,
        names=("dog's.wav", "dog&#39;s.wav", "c.wav"),
        splits=("development",),
        disk={"dog&#39;s.wav": "dog's.wav"},
    )
    corpus, table = audit(list_corpus("clotho", tmp_path, "development"), tolerance=0.4)
    assert table["duplicated"].iloc[0] == 1 and len(corpus.clips) == 2


def test_what_was_probed_is_kept_until_a_file_changes(tmp_path, monkeypatch):
    module = sys.modules["corrlib.corpora.auditing"]  # the package's name `audit` is the function
    make.clotho(tmp_path, splits=("development",))
    monkeypatch.setattr(module, "MANY", 1)
    opened, probe = [], module.probe
    monkeypatch.setattr(module, "probe", lambda path, size: opened.append(path) or probe(path, size))
    first = load_corpus("clotho", tmp_path, "development")
    assert len(opened) == 3
    pd.testing.assert_frame_equal(load_corpus("clotho", tmp_path, "development").clips, first.clips)
    assert len(opened) == 3
    make.sound(tmp_path / "development" / "b.wav", 1.5)
    again = load_corpus("clotho", tmp_path, "development")
    assert len(opened) == 4 and again.clips["duration_seconds"].iloc[1] == 1.5


# Decoding


def test_only_the_needed_part_is_read(tmp_path):
    path = make.sound(tmp_path / "x.wav", 4, hz=300)
    whole = read_clip(path, rate_hz=16000)
    assert np.array_equal(read_clip(path, 1.25, 0.5, 16000), whole[20000:28000])
    assert len(read_clip(path, 1.0, 2.0)) == 64000


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".ogg"])
def test_formats_channels_and_rates(tmp_path, suffix):
    path = make.sound(tmp_path / f"x{suffix}", 1, hz=500, rate=44100, channels=2)
    wave = read_clip(path)
    assert len(wave) == pytest.approx(32000, abs=1500) and wave.dtype == np.float32
    spectrum = np.abs(np.fft.rfft(wave[4000:28000]))
    assert np.argmax(spectrum) * 32000 / 24000 == pytest.approx(500, abs=2)


def test_crops_are_random_in_training_and_the_first_at_evaluation():
    generator = torch.Generator().manual_seed(0)
    offsets = [crop_seconds(30.0, 10.0, generator)[0] for _ in range(200)]
    assert 0 <= min(offsets) < 1 and 19 < max(offsets) <= 20 and crop_seconds(30.0, 10.0) == (0.0, 10.0)
    assert crop_seconds(8.0, 10.0, generator) == (0.0, 8.0)


def test_batches_of_like_lengths():
    rng = np.random.default_rng(0)
    keys = pd.Series([f"c{i}" for i in range(300)])
    files = pd.DataFrame(
        {"key": keys, "path": "", "start_seconds": 0.0, "duration_seconds": rng.choice([5, 10, 22, 30], 300)}
    )
    items = Items(build("x", "development", files, pd.DataFrame({"key": keys, "text": "t"})))
    batches = list(epoch_batches(items, 16, 1, seed=1, epoch=0, longest_seconds=30.0))
    spans = [float(items.seconds[b.clip_rows].max() - items.seconds[b.clip_rows].min()) for b in batches]
    assert sum(s > 0 for s in spans) <= 3 and len({int(items.seconds[b.clip_rows][0]) for b in batches[:8]}) > 1
    seen = torch.cat([b.clip_rows for b in batches])
    assert len(seen) == len(set(seen.tolist())) == 300
    again = list(epoch_batches(items, 16, 1, seed=1, epoch=0, longest_seconds=30.0))
    assert all(torch.equal(a.caption_rows, b.caption_rows) for a, b in zip(batches, again, strict=True))
    other = list(epoch_batches(items, 16, 1, seed=1, epoch=1, longest_seconds=30.0))
    assert not all(torch.equal(a.caption_rows, b.caption_rows) for a, b in zip(batches, other, strict=True))


# What is wrong is named, with its mend, in one sentence


def truncate(path, share=0.5):
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])


def rewrite(path, change):
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")


BAD_CLOTHO = {
    "no folder": (
        lambda f: f.rename(f.with_name("gone")),
        "does not exist; put the corpus there, or give its folder by DATA=",
    ),
    "no table": (
        lambda f: (f / "clotho_captions_development.csv").unlink(),
        "clotho_captions_development.csv does not exist",
    ),
    "no audio folder": (lambda f: shutil.rmtree(f / "development"), "audio folder .*development does not exist"),
    "empty table": (
        lambda f: (f / "clotho_captions_development.csv").write_text(""),
        "is empty; restore the published file",
    ),
    "header only": (
        lambda f: rewrite(f / "clotho_captions_development.csv", lambda t: t.splitlines()[0]),
        "lists no clips",
    ),
    "wrong column": (
        lambda f: rewrite(f / "clotho_captions_development.csv", lambda t: t.replace("caption_3", "caption3")),
        "has no column 'caption_3', only file_name",
    ),
    "other separator": (
        lambda f: rewrite(f / "clotho_captions_development.csv", lambda t: t.replace(",", "|")),
        "has no column 'file_name'",
    ),
    "too many fields": (
        lambda f: rewrite(f / "clotho_captions_development.csv", lambda t: t + "x.wav,1,2,3,4,5,6,7,8\n"),
        "is not a well-formed CSV",
    ),
    "listed twice": (
        lambda f: rewrite(f / "clotho_captions_development.csv", lambda t: t + t.splitlines()[1] + "\n"),
        "lists the file 'a.wav' more than once; restore the file or mend that line",
    ),
    "empty caption": (
        lambda f: rewrite(
            f / "clotho_captions_development.csv",
            lambda t: t.replace('"Caption 2 of development, a sound, maybe"', " "),
        ),
        "has an empty caption of 'a.wav'",
    ),
    "missing clip": (
        lambda f: (f / "development" / "b.wav").unlink(),
        "1 of 3 clips of clotho cannot be used .1 missing",
    ),
    "empty clip": (lambda f: (f / "development" / "b.wav").write_bytes(b""), "1 zero-length; first: .*b.wav"),
    "no audio": (lambda f: (f / "development" / "b.wav").write_bytes(b"RIFF nothing"), "1 unreadable; first: .*b.wav"),
    "outside": (
        lambda f: rewrite(f / "clotho_captions_development.csv", lambda t: t.replace("b.wav", "../../b.wav")),
        "name '../../b.wav', which lies outside",
    ),
    "absolute": (
        lambda f: rewrite(f / "clotho_captions_development.csv", lambda t: t.replace("b.wav", "/etc/passwd")),
        "name '/etc/passwd', which lies outside",
    ),
    "link outside": (
        lambda f: [
            (f / "development" / "b.wav").unlink(),
            make.sound(f.parent / "x" / "o.wav"),
            (f / "development" / "b.wav").symlink_to(f.parent / "x" / "o.wav"),
        ],
        "is a link to a file outside its folder",
    ),
    "two files": (
        lambda f: [
            (f / "development" / "b.wav").rename(f / "development" / "B.WAV"),
            make.sound(f / "development" / "b..wav"),
        ],
        "holds 2 files for 'b.wav'",
    ),
}
BAD_AUDIOCAPS = {
    "no table": (lambda f: (f / "train.csv").unlink(), "captions table .*train.csv does not exist"),
    "no audio": (lambda f: shutil.rmtree(f / "audio"), "audio folder .*audio/train does not exist"),
    "wrong column": (
        lambda f: rewrite(f / "train.csv", lambda t: t.replace("youtube_id", "id")),
        "has no column 'youtube_id'",
    ),
    "start time": (
        lambda f: rewrite(f / "train.csv", lambda t: t.replace(",30,", ",half,")),
        "the start_time 'half'; it must be",
    ),
    "empty caption": (
        lambda f: rewrite(f / "train.csv", lambda t: t.replace('"A train, caption 0"', "")),
        "an empty caption of",
    ),
    "missing clip": (lambda f: (f / "audio" / "train" / "Y-id_train2.flac").unlink(), "1 of 4 clips of audiocaps"),
}
BAD_WAVCAPS = {
    "no json": (
        lambda f: (f / "json_files" / "SoundBible" / "sb_final.json").unlink(),
        "WavCaps' sb_final.json is missing",
    ),
    "no audio": (lambda f: shutil.rmtree(f / "SoundBible_flac"), "audio folder of SoundBible is missing"),
    "not json": (
        lambda f: truncate(f / "json_files" / "SoundBible" / "sb_final.json"),
        "is not valid JSON .*download it again",
    ),
    "no data": (
        lambda f: (f / "json_files/SoundBible/sb_final.json").write_text("{}"),
        "holds no list of clips under 'data'",
    ),
    "a list of words": (
        lambda f: (f / "json_files/SoundBible/sb_final.json").write_text('{"data": ["x"]}'),
        "holds no list",
    ),
    "no caption": (
        lambda f: (f / "json_files/SoundBible/sb_final.json").write_text('{"data": [{"id": 7}]}'),
        "has no caption in its entry 1",
    ),
    "twice": (
        lambda f: (f / "json_files/SoundBible/sb_final.json").write_text(
            json.dumps({"data": [{"id": "7", "caption": "x"}] * 2})
        ),
        "lists the clip '7' more than once",
    ),
}
BAD_OWN = {
    "no table": (lambda f: (f / "development.csv").unlink(), "captions table .*captions.csv does not exist; write it"),
    "outside": (
        lambda f: rewrite(f / "development.csv", lambda t: t.replace("sounds/", "../sounds/")),
        "lies outside its folder",
    ),
    "no caption": (
        lambda f: rewrite(f / "development.csv", lambda t: t.replace("caption 0 of 0", "")),
        "has an empty caption of",
    ),
    "seconds": (
        lambda f: make.table(
            f / "development.csv", ["file", "caption", "start_seconds"], [["sounds/development 0.wav", "x", "soon"]]
        ),
        "the start_seconds 'soon'",
    ),
    "negative": (
        lambda f: make.table(
            f / "development.csv", ["file", "caption", "start_seconds"], [["sounds/development 0.wav", "x", "-1"]]
        ),
        "the start_seconds '-1'",
    ),
    "behind the end": (
        lambda f: make.table(
            f / "development.csv", ["file", "caption", "start_seconds"], [["sounds/development 0.wav", "x", "9"]]
        ),
        "1 zero-length",
    ),
    "one-file table without the split": (
        lambda f: [
            (f / "development.csv").unlink(),
            make.table(f / "captions.csv", ["split", "file", "caption"], [["evaluation", "a.wav", "x"]]),
        ],
        "has no row of the split",
    ),
}
BAD = [
    ("clotho", make.clotho, BAD_CLOTHO),
    ("audiocaps", make.audiocaps, BAD_AUDIOCAPS),
    ("wavcaps", make.wavcaps, BAD_WAVCAPS),
    ("folder", make.own, BAD_OWN),
]


@pytest.mark.parametrize(
    "name, build, harm, sentence",
    [(n, b, *case) for n, b, cases in BAD for case in cases.values()],
    ids=[f"{n}: {what}" for n, _, cases in BAD for what in cases],
)
def test_bad_input_is_one_sentence(tmp_path, name, build, harm, sentence):
    folder = build(tmp_path / "corpus")
    load_corpus(name, folder, "development")
    harm(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=sentence) as caught:
        load_corpus(name, folder, "development")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name, split, sentence",
    [
        ("cloto", "development", "unknown corpus 'cloto'; did you mean 'clotho'"),
        ("clotho+wavcap", "development", "unknown corpus 'wavcap'; did you mean 'wavcaps'"),
        ("clotho+clotho", "development", "names one twice"),
        ("clotho", "test", "corpus 'clotho' has no split 'test'"),
        ("wavcaps", "evaluation", "corpus 'wavcaps' has no split 'evaluation'"),
    ],
)
def test_unknown_names(tmp_path, name, split, sentence):
    with pytest.raises(ValueError, match=sentence):
        load_corpus(name, make.clotho(tmp_path), split)


@pytest.mark.parametrize(
    "harm, sentence",
    [
        (lambda p: truncate(p), "truncated: replace or exclude"),
        (lambda p: p.write_bytes(b"x" * 50), "cannot be decoded"),
        (lambda p: p.unlink(), "is missing; restore it or exclude its clip"),
        (lambda p: soundfile.write(p, np.zeros(0), 16000), "ends after 0.00 s|holds no audio"),
        (
            lambda p: soundfile.write(p, np.full(16000, np.nan, np.float32), 16000, subtype="FLOAT"),
            "not finite numbers",
        ),
    ],
)
def test_a_bad_file_is_named_when_it_is_read(tmp_path, harm, sentence):
    path = make.sound(tmp_path / "x.wav", 1)
    harm(path)
    with pytest.raises((ValueError, FileNotFoundError), match=sentence) as caught:
        read_clip(path, 0.0, 1.0)
    assert str(path) in str(caught.value)
