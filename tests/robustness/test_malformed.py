"""Malformed and hostile files: each ends in a sentence that names it, or in the right result; nothing is executed.

Beside the tables of mistakes in test_clips, test_parameters and test_relevance: audio headers, JSON, YAML, weights, notebooks.
"""

import json
import os
import pickle
import struct

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from corrlib import soundscapes
from corrlib.audiofiles.probe import probe
from corrlib.corpora import load_corpus
from corrlib.corpora.audio import read_clip
from corrlib.models.text import load_text_encoder
from corrlib.study import runs
from corrlib.study.parameters import KINDS, ParameterError, from_notebook
from corrlib.study.plan import plan_runs
from tests import layouts as make
from tests.finished import declare
from tests.hostile import Booby, flac, wav

BAD_AUDIO = {
    "nothing": b"",
    "one byte": b"R",
    "only RIFF": b"RIFF\xff\xff\xff\xffWAVE",
    "text": b"this is no audio\n" * 50,
    "no channels": wav(channels=0),
    "65535 channels": wav(channels=65535),
    "no rate": wav(rate=0),
    "a rate of two gigahertz": wav(rate=2**31 - 1),
    "a rate above 32 bits signed": wav(rate=2**32 - 1),
    "no bits": wav(bits=0),
    "64-bit integers": wav(bits=64),
    "no data": wav(data=b""),
    "an unknown codec": wav(kind=0x1234),
    "broken ADPCM": wav(kind=2, bits=4),
    "samples that are NaN": wav(kind=3, bits=32, data=np.full(99, np.nan, "<f4").tobytes()),
    "infinite samples": wav(kind=3, bits=32, data=np.full(99, np.inf, "<f4").tobytes()),
    "40 hours in a kilobyte": flac(40 * 3600 * 16000),
    "billions of samples": flac(2**36 - 1),
    "a broken Ogg": b"OggS" + bytes(range(256)) * 20,
    "an endless ID3": b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + b"\xff\xfb\x90" * 500,
    "an AIFF of four billion samples": b"FORM\xff\xff\xff\xffAIFFCOMM\0\0\0\x12\0\x01\xff\xff\xff\xff\0\x10"
    b"\x40\x0e\xac\x44\0\0\0\0\0\0SSND\xff\xff\xff\xff",
    "a broken W64": b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0" + b"\xff" * 200,
    "an AU without channels": b".snd" + struct.pack(">IIIII", 24, 2**32 - 1, 3, 16000, 0) + bytes(100),
}
ODD_BUT_SOUND = {
    "a size of four gigabytes": (wav(size=2**32 - 1), 3200),
    "no alignment": (wav(align=0), 3200),
    "half a sample more": (wav(data=bytes(3201)), 3200),
    "1000 channels": (wav(channels=1000, data=bytes(200000)), 200),
}


@pytest.mark.parametrize("content", BAD_AUDIO.values(), ids=BAD_AUDIO)
def test_bad_audio_is_named(tmp_path, content):
    path = tmp_path / "x.wav"
    path.write_bytes(content)
    frames, rate_hz, problem = probe(str(path), len(content))
    assert problem or 0 <= frames < 48 * 3600 * rate_hz
    with pytest.raises(ValueError, match="x.wav") as caught:
        read_clip(path)
    assert "\n" not in str(caught.value) and "exclude this file" in str(caught.value)


@pytest.mark.parametrize("content, samples", ODD_BUT_SOUND.values(), ids=ODD_BUT_SOUND)
def test_odd_headers_of_sound_audio(tmp_path, content, samples):
    path = tmp_path / "x.wav"
    path.write_bytes(content)
    assert read_clip(path, rate_hz=32000).shape == (samples,) and probe(str(path), len(content))[2] == ""


def test_a_pipe_in_the_place_of_a_clip_does_not_hang(tmp_path):
    folder = make.clotho(tmp_path)
    (folder / "development" / "b.wav").unlink()
    os.mkfifo(folder / "development" / "b.wav")
    with pytest.raises(ValueError, match="1 missing"):
        load_corpus("clotho", folder, "development")


BAD_JSON = {
    "a number": "3",
    "null": "null",
    "a text": '"data"',
    "data is a number": '{"data": 3}',
    "data is a dict": '{"data": {}}',
    "an entry is null": '{"data": [null]}',
    "an id is a list": '{"data": [{"id": [1], "caption": "x"}]}',
    "a caption is null": '{"data": [{"id": "1", "caption": null}]}',
    "a caption is a number": '{"data": [{"id": 1, "caption": 5}]}',
    "an id leaves the folder": '{"data": [{"id": "../../secret", "caption": "x"}]}',
    "nested without end": "[" * 100000,
    "not UTF-8": b'{"data": [{"id": "\xff", "caption": "x"}]}',
    "NaN": '{"data": [{"id": NaN, "caption": "x"}]}',
    "empty": "",
}


@pytest.mark.parametrize("content", BAD_JSON.values(), ids=BAD_JSON)
def test_bad_json_is_named(tmp_path, content):
    folder = make.wavcaps(tmp_path)
    path = folder / "json_files" / "SoundBible" / "sb_final.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        load_corpus("wavcaps", folder, "development")
    assert "\n" not in str(caught.value) and (
        "sb_final.json" in str(caught.value) or "SoundBible" in str(caught.value) or "wavcaps" in str(caught.value)
    )


STUDY = "title: t\nseeds: [1]\nbackbones: [mn_tiny]\n"
BAD_STUDIES = {
    "an object": STUDY + "data: !!python/object/apply:os.mkdir [HARM]\n",
    "a tab": STUDY + "\tdata: {}\n",
    "a list for a section": STUDY + "stage1: [1]\n",
    "a text for seeds": STUDY.replace("[1]", "one"),
    "no title": STUDY.replace("title: t\n", ""),
    "no backbones": STUDY.replace("backbones: [mn_tiny]\n", ""),
    "a seed below zero": STUDY.replace("[1]", "[-1]"),
    "a seed of a half": STUDY.replace("[1]", "[0.5]"),
    "a point that leaves the folder": STUDY + "points: {../x: {target: uniform}}\n",
    "a member that leaves the folder": STUDY + "members: {../x: {backbone: mn_tiny}}\n",
    "a variant that leaves the folder": STUDY + "variants: {../x: {}}\n",
    "an unknown notebook": STUDY + "ablations: {99_none: [self]}\n",
    "a run's name": STUDY + "stage1: {run: ../../x}\n",
    "a bomb": "a: &a [x,x]\n"
    + "".join(
        f"{n}: &{n} [*{p},*{p},*{p},*{p},*{p},*{p},*{p},*{p},*{p}]\n" for p, n in zip("abcdefg", "bcdefgh", strict=True)
    ),
    "binary": "title: \x00\x01",
    "an endless list": "a: " + "[" * 5000,
}


@pytest.mark.parametrize("text", BAD_STUDIES.values(), ids=BAD_STUDIES)
def test_bad_studies_are_named(tmp_path, text):
    (tmp_path / "mine.yaml").write_text(text.replace("HARM", str(tmp_path / "harm")))
    with pytest.raises(ParameterError, match="mine.yaml") as caught:
        plan_runs("mine", tmp_path)
    assert not (tmp_path / "harm").exists() and len(str(caught.value)) < 600


BAD_PARAMETERS = {
    "a run outside": {"run": "../../x"},
    "an absolute run": {"run": "/srv/x"},
    "a study outside": {"study": "../x"},
    "a run with a slash": {"run": "a/b"},
    "a text for a number": {"epochs": "many"},
    "not a number": {"learning_rate": float("nan")},
    "infinite": {"learning_rate": float("inf")},
    "a list": {"seed": [1]},
    "none": {"seed": None},
    "a huge number": {"seed": 10**400},
    "true for a number": {"epochs": True},
    "an unknown name": {"learning_rte": 0.1},
    "nothing for data": {"data": ""},
    "no time to hear anything": {"clip_seconds": 1e-9},
}


@pytest.mark.parametrize("values", BAD_PARAMETERS.values(), ids=BAD_PARAMETERS)
def test_bad_parameters_are_named(values):
    with pytest.raises(ParameterError, match=next(iter(values))) as caught:
        from_notebook(KINDS["stage1"], values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "write",
    [
        lambda path, evil: path.write_bytes(pickle.dumps(evil)),
        lambda path, evil: torch.save({"a": evil}, path),
        lambda path, evil: path.write_bytes(b"\x08\0\0\0\0\0\0\0{}      " + pickle.dumps(evil)),
        lambda path, evil: path.write_bytes(b"\xff" * 100),
        lambda path, evil: path.write_bytes(b""),
        lambda path, evil: path.write_bytes(struct.pack("<Q", 2**62) + b"{}"),
        lambda path, evil: save_file({"other": torch.zeros(2)}, path),
    ],
    ids=["pickle", "torch", "pickle behind a header", "noise", "nothing", "an endless header", "other keys"],
)
@pytest.mark.parametrize("place", ["model.safetensors", "embeddings.safetensors"])
def test_weights_of_a_run_are_never_unpickled(tmp_path, monkeypatch, write, place):
    from corrlib.evaluation.embeddings import load_embeddings
    from corrlib.models.build import load_weights

    monkeypatch.setenv("CORRLIB_RUNS", str(tmp_path))
    (tmp_path / "s" / "r").mkdir(parents=True)
    write(tmp_path / "s" / "r" / place, Booby(tmp_path / "harm"))
    declare(tmp_path / "s" / "r")
    with pytest.raises(ValueError, match="'r'|s/r") as caught:
        load_weights(torch.nn.Linear(2, 2), "s", "r") if "model" in place else load_embeddings("s", "r", "validation")
    assert not (tmp_path / "harm").exists() and "\n" not in str(caught.value)


def test_a_pickled_truth_is_refused(tmp_path):
    (tmp_path / "corpus.json").write_text(json.dumps({"sizes": {"evaluation": 1}}))
    evil = np.array([Booby(tmp_path / "harm")], object)
    np.savez(tmp_path / "true_correspondences.npz", evaluation_holding=evil, evaluation_claims=evil)
    with pytest.raises(ValueError, match="true_correspondences.npz"):
        soundscapes.load_truth(tmp_path, "evaluation")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"parameters": 3}', '{"setting": "stage1"}'])
def test_a_damaged_manifest_is_named(tmp_path, monkeypatch, content):
    monkeypatch.setenv("CORRLIB_RUNS", str(tmp_path))
    (tmp_path / "s" / "r").mkdir(parents=True)
    (tmp_path / "s" / "r" / "manifest.json").write_text(content)
    with pytest.raises(ValueError, match="r/manifest.json is (damaged|no manifest of this program).*; remove"):
        runs.read_manifest("s", "r")
    with pytest.raises(ValueError, match="r/manifest.json is (damaged|no manifest of this program).*; remove"):
        runs.gather("s")


def test_a_text_encoder_with_code_in_its_folder_runs_none_of_it(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "evil", "auto_map": {"AutoModel": "evil.Evil"}}))
    (tmp_path / "evil.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'harm')!r})\nclass Evil: pass\n")
    with pytest.raises(ValueError):
        load_text_encoder(tmp_path)
    assert not (tmp_path / "harm").exists()
