"""The built-in corpus: its truth against brute force, its sounds, its determinism, and what it refuses."""

import itertools
import json
import os
import signal

import numpy as np
import pandas as pd
import pytest
import soundfile

from corrlib import soundscapes
from corrlib.soundscapes import write
from corrlib.soundscapes.captions import ADVERBS, write_captions
from corrlib.soundscapes.classes import SYNTHETIC, VALUES
from corrlib.soundscapes.recordings import find_recordings, split_sources
from corrlib.soundscapes.scenes import draw_scene
from corrlib.soundscapes.truth import facts, holding
from tests import layouts

SIZES = {"pretraining": 10, "development": 12, "validation": 6, "evaluation": 14}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    soundscapes.write_corpus(folder, seed=3, sizes=SIZES)
    return folder


def holds(claim, scene):
    """Whether a claim holds, read straight from a scene's metadata: an obvious second implementation."""
    kind, *words = claim
    events = {e["class"]: e for e in scene["events"]}
    sounds = {scene["background"]["class"]: scene["background"], **events}
    if kind == "present":
        return words[0] in sounds
    if kind == "attribute":
        return words[0] in sounds and words[1] in sounds[words[0]]["attributes"].values()
    if words[0] not in events or words[1] not in events:
        return False
    one, two = events[words[0]], events[words[1]]
    common = min(one["offset_seconds"], two["offset_seconds"]) - max(one["onset_seconds"], two["onset_seconds"])
    if kind == "while":
        return common >= 0.3
    return one["onset_seconds"] < two["onset_seconds"] and common <= 0.1


def test_truth_is_the_share_of_claims_that_hold(corpus):
    scenes = soundscapes.load_scenes(corpus)["evaluation"]
    truth = soundscapes.load_truth(corpus, "evaluation")
    captions = [c for s in scenes for c in s["captions"]]
    assert truth.shape == (14, 70) and truth.dtype == np.float32
    for (row, scene), (column, caption) in itertools.product(enumerate(scenes), enumerate(captions)):
        expected = np.mean([holds(claim, scene) for claim in caption["claims"]])
        assert truth[row, column] == pytest.approx(expected), (scene, caption)
    assert 0 < (truth == 0).mean() < 1 and ((truth > 0) & (truth < 1)).any()


def test_own_captions_hold_wholly(corpus):
    truth = soundscapes.load_truth(corpus, "development")
    own = np.arange(12)[:, None] == np.arange(60)[None, :] // 5
    assert (truth[own] == 1).all() and truth[~own].min() == 0


def test_relations_depend_on_the_order_in_time():
    early = {"class": "dog", "attributes": {}, "onset_seconds": 0.0, "offset_seconds": 1.0}
    late = {"class": "bell", "attributes": {}, "onset_seconds": 1.2, "offset_seconds": 2.0}
    both = late | {"onset_seconds": 0.5}
    background = {"class": "rain", "attributes": {"strength": "strong"}}
    in_turn = facts({"background": background, "events": [late, early]})
    assert ("followed by", "dog", "bell") in in_turn and ("followed by", "bell", "dog") not in in_turn
    assert ("attribute", "rain", "strong") in in_turn
    together = facts({"background": background, "events": [early, both]})
    assert {("while", "dog", "bell"), ("while", "bell", "dog")} <= together
    assert not any(claim[0] == "followed by" for claim in together)


def test_holding_counts_claims():
    found = holding(
        [{("present", "dog"), ("present", "rain")}, {("present", "rain")}],
        [[("present", "dog"), ("present", "rain")], [("present", "cat")]],
    )
    assert found.tolist() == [[2, 0], [1, 0]]


def test_every_claim_can_be_read_in_the_text():
    """A caption names each class that it claims by one of its nouns, and each attribute by one of its adverbs."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        scene = draw_scene(rng, SYNTHETIC, 4.0)
        for text, claims in write_captions(rng, scene, SYNTHETIC, 0.4, 5):
            low = text.lower()
            for kind, name, *value in claims:
                if kind == "present":
                    assert any(noun in low for noun, *_ in SYNTHETIC[name].words), (text, claims)
                if kind == "attribute":
                    assert any(adverb in low for adverb in ADVERBS[value[0]]), (text, claims)
            told = sum(low.count(adverb) for values in ADVERBS.values() for adverb in values)
            assert told >= sum(kind == "attribute" for kind, *_ in claims)


def test_ambiguity_decides_how_much_captions_tell():
    def claims(ambiguity):
        rng = np.random.default_rng(1)
        scenes = [draw_scene(rng, SYNTHETIC, 4.0) for _ in range(60)]
        return np.mean([len(c) for s in scenes for _, c in write_captions(rng, s, SYNTHETIC, ambiguity, 5)])

    found = [claims(a) for a in (0.0, 0.3, 0.6, 1.0)]
    assert found == sorted(found, reverse=True) and found[0] > 2 * found[-1] and found[-1] == 1


def test_same_seed_same_bytes_whatever_the_number_of_workers(corpus, tmp_path):
    soundscapes.write_corpus(tmp_path, seed=3, sizes=SIZES, workers=1)
    names = [p.relative_to(corpus) for p in corpus.rglob("*") if p.is_file() and not p.name.startswith(".")]
    assert len(names) == sum(SIZES.values()) + 4 + 3
    for name in names:
        assert (corpus / name).read_bytes() == (tmp_path / name).read_bytes(), name
    for split in SIZES:
        assert np.array_equal(soundscapes.load_truth(corpus, split), soundscapes.load_truth(tmp_path, split))


def test_another_seed_is_another_corpus_and_is_not_mixed_in(corpus, tmp_path):
    soundscapes.write_corpus(tmp_path, seed=4, sizes=SIZES)
    assert soundscapes.load_scenes(corpus)["development"] != soundscapes.load_scenes(tmp_path)["development"]
    with pytest.raises(ValueError, match="another seed"):
        soundscapes.write_corpus(corpus, seed=4, sizes=SIZES)


@pytest.mark.parametrize(
    "name", ["evaluation/scene_00003.wav", "clotho_captions_validation.csv", "scenes.json", "true_correspondences.npz"]
)
def test_a_corpus_that_is_not_as_it_was_written_is_composed_again(tmp_path, capsys, name):
    sizes = dict.fromkeys(SIZES, 4)
    soundscapes.write_corpus(tmp_path, seed=3, sizes=sizes, workers=1)
    before = (tmp_path / name).read_bytes()
    changed = bytearray(before)
    changed[len(changed) // 2] ^= 1
    (tmp_path / name).write_bytes(bytes(changed))
    soundscapes.write_corpus(tmp_path, seed=3, sizes=sizes, workers=1)
    assert "is not as it was written; it is composed again" in capsys.readouterr().out
    assert (tmp_path / name).read_bytes() == before
    soundscapes.write_corpus(tmp_path, seed=3, sizes=sizes, workers=1)
    assert not capsys.readouterr().out


def test_a_killed_worker_ends_with_a_sentence(tmp_path, monkeypatch):
    """As the system does that runs out of memory; composing went on for ever."""
    monkeypatch.setattr(write, "_render_some", _die)
    with pytest.raises(RuntimeError, match="a process that composes .*pretraining was killed"):
        soundscapes.write_corpus(tmp_path, seed=3, sizes=dict.fromkeys(SIZES, 4), workers=2)
    assert not (tmp_path / "corpus.json").exists()


def _die(job):
    os.kill(os.getpid(), signal.SIGKILL)


def test_an_interrupted_corpus_is_written_again(corpus, tmp_path):
    soundscapes.write_corpus(tmp_path, seed=3, sizes=SIZES)
    (tmp_path / "corpus.json").unlink()
    (tmp_path / "evaluation" / "scene_00003.wav").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="01_data"):
        soundscapes.load_truth(tmp_path, "evaluation")
    soundscapes.write_corpus(tmp_path, seed=3, sizes=SIZES)
    name = "evaluation/scene_00003.wav"
    assert (tmp_path / name).read_bytes() == (corpus / name).read_bytes()


def test_clips_are_audible_and_not_clipped(corpus):
    for path in corpus.rglob("*.wav"):
        waveform, rate = soundfile.read(path)
        assert rate == 16000 and len(waveform) == 64000
        assert 0.02 < np.abs(waveform).max() <= 0.91 and np.sqrt(np.mean(waveform**2)) > 0.002


def centroid_hz(waveform):
    power = np.abs(np.fft.rfft(waveform)) ** 2
    return float((np.fft.rfftfreq(len(waveform), 1 / 16000) * power).sum() / power.sum())


def brightness(waveform):
    """Power above 3 kHz relative to that below."""
    power = np.abs(np.fft.rfft(waveform)) ** 2
    edge = int(len(power) * 3 / 8)
    return float(power[edge:].sum() / power[:edge].sum())


@pytest.mark.parametrize("name", SYNTHETIC)
def test_each_class_sounds_and_its_attributes_are_heard(name):
    plain = soundscapes.example(name)
    assert np.isfinite(plain).all() and np.abs(plain).max() == pytest.approx(0.9)
    assert brightness(soundscapes.example(name, distance="distant")) < 0.5 * brightness(plain) + 0.001
    if "pitch" in SYNTHETIC[name].attributes:
        low, high = (centroid_hz(soundscapes.example(name, pitch=p)) for p in ("low", "high"))
        assert high > 1.15 * low


def test_there_are_enough_classes_with_attributes():
    roles = [c.role for c in SYNTHETIC.values()]
    assert len(roles) >= 24 and roles.count("background") >= 6
    assert {a for c in SYNTHETIC.values() for a in c.attributes} == set(VALUES)


def test_tags_are_what_scenes_hold(corpus):
    files, names, table = soundscapes.load_tags(corpus, "development", attributes=True)
    scenes = soundscapes.load_scenes(corpus)["development"]
    for row, scene in enumerate(scenes):
        assert files[row] == scene["file"]
        expected = set()
        for sound in (scene["background"], *scene["events"]):
            expected |= {sound["class"]} | {f"{sound['class']}:{v}" for v in sound["attributes"].values()}
        assert {n for n, value in zip(names, table[row], strict=True) if value} == expected


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"ambiguity": 2}, "ambiguity is 2"),
        ({"rate_hz": 100}, "rate_hz is 100"),
        ({"workers": 0}, "workers is 0"),
        ({"sizes": SIZES | {"test": 3}}, "splits: pretraining"),
        ({"sizes": SIZES | {"validation": 0}}, "'validation' 0 clips"),
    ],
)
def test_impossible_values_are_refused_before_anything_is_written(tmp_path, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        soundscapes.write_corpus(tmp_path / "new", **({"seed": 1, "sizes": SIZES} | change))
    assert not (tmp_path / "new").exists()


# Labelled recordings


def record(path, hz, seconds=1.0, rate=22050):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(abs(int(hz)))
    t = np.arange(int(seconds * rate)) / rate
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * hz * t) + 0.01 * rng.standard_normal(len(t)), rate)


def test_a_finished_corpus_is_not_written_to(corpus, monkeypatch):
    """Its folder may be read-only."""
    monkeypatch.delattr(write, "locked")
    monkeypatch.delattr(write, "writing")
    assert soundscapes.write_corpus(corpus, seed=3, sizes=SIZES)["sizes"] == SIZES


@pytest.fixture
def recordings(tmp_path):
    """Four sources each of two labels for events and one for backgrounds, listed in a metadata.csv."""
    rows = []
    for number, (label, role) in enumerate((("hum", "background"), ("beep", "event"), ("bark", "event"))):
        for source in range(4):
            file = f"{label}/{source}.wav"
            record(tmp_path / "sounds" / file, 200 * (number + 1) + 10 * source, 3 if role == "background" else 0.5)
            rows.append({"file": file, "label": label, "role": role, "source_id": f"{label}{source}"})
    pd.DataFrame(rows).to_csv(tmp_path / "sounds" / "metadata.csv", index=False)
    return tmp_path / "sounds"


def test_recorded_scenes_share_no_recording_between_splits(recordings, tmp_path):
    soundscapes.write_corpus(tmp_path / "c", seed=1, sizes=SIZES, sounds=recordings)
    scenes = soundscapes.load_scenes(tmp_path / "c")
    assert {e["class"] for s in scenes["development"] for e in s["events"]} == {"beep", "bark"}
    table = find_recordings(recordings)
    parts = split_sources(table, 1)
    assert set(parts.values()) == set(SIZES) and len(parts) == 12
    for split in SIZES:
        assert set(table[table["source_id"].map(parts) == split]["label"]) == {"hum", "beep", "bark"}
    assert (soundscapes.load_truth(tmp_path / "c", "evaluation")[0, :5] == 1).all()
    assert json.loads((tmp_path / "c" / "corpus.json").read_text())["sounds"].startswith("recordings ")


def test_subfolders_are_labels_too(recordings):
    (recordings / "metadata.csv").unlink()
    table = find_recordings(recordings)
    assert set(table["label"]) == {"hum", "beep", "bark"} and set(table["role"]) == {"background", "event"}


def change_metadata(folder, edit):
    table = pd.read_csv(folder / "metadata.csv", dtype=str)
    edit(table).to_csv(folder / "metadata.csv", index=False)


@pytest.mark.parametrize(
    "edit, sentence",
    [
        (lambda t: t.rename(columns={"label": "class"}), "no column 'label'"),
        (lambda t: t[t["file"] != "bark/3.wav"], "'bark' has recordings of 3 sources but needs 4"),
        (lambda t: t.assign(role=t["role"].replace("event", "foreground")), "role 'foreground'"),
        (lambda t: t.assign(role="event"), "no label that serves as background"),
        (lambda t: pd.concat([t, t.head(1)]), "more than once"),
        (lambda t: t.assign(file=t["file"].replace("hum/0.wav", "hum/9.wav")), "1 missing; first: .*hum/9.wav"),
    ],
)
def test_a_wrong_listing_names_the_culprit(recordings, edit, sentence):
    change_metadata(recordings, edit)
    with pytest.raises((ValueError, FileNotFoundError), match=sentence):
        find_recordings(recordings)


def test_labels_with_too_few_sources_are_left_out_only_on_request(recordings):
    change_metadata(recordings, lambda t: t[t["file"] != "bark/3.wav"])
    assert set(find_recordings(recordings, "too few")["label"]) == {"hum", "beep"}
    assert set(find_recordings(recordings, ["bark"])["label"]) == {"hum", "beep"}
    with pytest.raises(ValueError, match="'cat', which is no label"):
        find_recordings(recordings, ["cat"])


def test_empty_or_missing_sound_folder(tmp_path):
    with pytest.raises(ValueError, match="holds no recordings"):
        find_recordings(tmp_path)
    with pytest.raises(FileNotFoundError, match="set `sounds`"):
        find_recordings(tmp_path / "nowhere")


def test_bad_recordings_are_all_named_at_once_and_left_out_within_the_tolerance(recordings, tmp_path, capsys):
    for source in range(4, 7):
        record(recordings / "beep" / f"{source}.wav", 500, 0.5)
    for source, content in (("4", lambda data: data[: len(data) // 2]), ("5", lambda data: b"nonsense")):
        path = recordings / "beep" / f"{source}.wav"
        path.write_bytes(content(path.read_bytes()))
    soundfile.write(recordings / "beep" / "6.wav", np.zeros(16000), 16000)
    layouts.sound(recordings / "beep" / "7.m4a", 0.5)
    rows = [
        {"file": f"beep/{s}", "label": "beep", "role": "event", "source_id": s} for s in ("4.wav", "5.wav", "6.wav")
    ]
    rows.append({**rows[0], "file": "beep/7.m4a", "source_id": "7.m4a"})
    change_metadata(recordings, lambda table: pd.concat([table, pd.DataFrame(rows)]))
    sentence = r"3 of 16 recordings .* \(1 cut short, 1 unreadable, 1 silent .*; first: .*beep.4.wav\).* at least 0.188"
    with pytest.raises(ValueError, match=sentence):
        soundscapes.write_corpus(tmp_path / "c", seed=1, sizes=SIZES, sounds=recordings, workers=1)
    assert not (tmp_path / "c" / "corpus.json").exists()
    said = capsys.readouterr().out
    assert all(f"beep/{source}.wav" in said for source in (4, 5, 6)) and "silent or shorter than 0.1 s" in said
    table = find_recordings(recordings, tolerance=0.2)
    assert len(table) == 13 and str(recordings / "beep/7.m4a") in set(table["path"])
    sizes = dict.fromkeys(SIZES, 4)
    soundscapes.write_corpus(tmp_path / "c", seed=1, sizes=sizes, sounds=recordings, workers=1, tolerance=0.2)
    assert (tmp_path / "c" / "corpus.json").exists()
