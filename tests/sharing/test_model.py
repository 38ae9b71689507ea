"""A model as an object: any sound in, embeddings out, the same as the run's own encoder gives."""

import math
import subprocess
import sys
import warnings

import numpy as np
import pytest
import soundfile
import torch

import corrlib
from corrlib.corpora.audio import read_clip
from corrlib.corpora.batches import WaveformAudio
from corrlib.evaluation.embeddings import load_embeddings
from corrlib.models.build import rebuild_encoder
from tests.sharing.conftest import STUDENT, STUDY, TEACHERS

CAPTIONS = ["a dog barks", "rain falls on a tent while a bell rings"]


@pytest.fixture
def model(finished):
    return corrlib.load_model(f"runs/{STUDY}/{STUDENT}", device="cpu")


def test_importing_corrlib_is_light():
    code = (
        "import sys, corrlib; assert corrlib.load_model and 'torch' not in sys.modules and 'pandas' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_it_embeds_as_the_encoder_of_its_run_does(model, sounds):
    names = ["a.wav", "b.flac", "below/c.ogg", "d.mp3"]
    paths = [sounds / name for name in names]
    embeddings = model.embed_audio(paths, batch=4)
    encoder = rebuild_encoder(STUDY, STUDENT).cpu().eval()
    with torch.no_grad():
        batch = WaveformAudio.collate([read_clip(path, rate_hz=16000) for path in paths])
        assert torch.equal(embeddings, encoder.embed_audio(batch.waveform, batch.lengths))
        captions = model.embed_captions(CAPTIONS)
        assert torch.equal(captions, encoder.embed_captions(CAPTIONS))
    assert torch.equal(model.similarity(paths, CAPTIONS), model.embed_audio(paths) @ captions.T)
    assert torch.equal(model.similarity(embeddings, captions), embeddings @ captions.T)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(4))
    # not by the batch: each alone, as near as sums in another order are
    torch.testing.assert_close(model.embed_audio(paths, batch=1, workers=2), embeddings, atol=1e-5, rtol=0)


@pytest.mark.filterwarnings("ignore:.* captions are longer")
def test_it_ranks_the_clips_of_its_run_as_the_run_did(model, data):
    """Stored embeddings are of log-mels in half precision, so that these are alike and not equal."""
    from corrlib.corpora import load_corpus

    corpus = load_corpus("soundscapes", data, "evaluation")
    clips, captions = load_embeddings(STUDY, STUDENT, "evaluation")
    found = model.similarity(corpus.clips["path"].tolist(), corpus.captions["text"].tolist())
    torch.testing.assert_close(found, clips @ captions.T, atol=2e-2, rtol=0)
    torch.testing.assert_close(model.embed_captions(corpus.captions["text"].tolist()), captions, atol=1e-5, rtol=0)


def test_arrays_are_the_files_they_come_from(model, sounds):
    paths = [sounds / "a.wav", sounds / "b.flac"]
    arrays = [soundfile.read(path, dtype="float32") for path in paths]
    torch.testing.assert_close(model.embed_audio(arrays), model.embed_audio(paths), atol=1e-5, rtol=0)
    tensors = [(torch.from_numpy(samples), rate_hz) for samples, rate_hz in arrays]
    assert torch.equal(model.embed_audio(tensors), model.embed_audio(arrays))


def test_of_a_longer_sound_so_many_seconds_are_heard(model, sounds):
    path = sounds / "below" / "c.ogg"
    samples, rate_hz = soundfile.read(path, dtype="float32")
    assert len(model.read(path, 2.5)) == len(model.read((samples, rate_hz), 2.5)) == 2.5 * 16000
    assert len(model.read(path)) == 12 * 16000 and model.clip_seconds == 30
    whole, start = model.embed_audio([path], longest_seconds=math.inf), model.embed_audio([path], longest_seconds=3)
    assert torch.equal(whole, model.embed_audio([path])) and not torch.allclose(whole, start)
    with pytest.raises(ValueError, match="above 0"):
        model.embed_audio([path], longest_seconds=0)


def test_nothing_gives_nothing(model):
    assert model.embed_audio([]).shape == model.embed_captions([]).shape == (0, model.embedding_size)
    assert model.similarity([], CAPTIONS).shape == (0, 2)


@pytest.mark.parametrize(
    "sounds, message",
    [
        ("a.wav", "give a list"),
        (["nowhere.wav"], "nowhere.wav is missing"),
        ([(np.zeros(16000, np.int16), 16000)], "sound 0 holds int16"),
        ([(np.zeros((2, 16000)), 16000)], "shape"),
        ([(np.zeros(0), 16000)], "shape"),
        ([(np.full(16000, np.nan), 16000)], "not finite"),
        ([(np.zeros(16000), 1)], "1 Hz"),
        ([np.zeros(16000)], "sound 0 is a ndarray"),
    ],
)
def test_what_is_no_sound_is_named(model, sounds, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        model.embed_audio(sounds)


def test_captions_say_something_and_are_cut_aloud(model):
    for wrong, message in (("a dog", "give a list"), (["a dog", " "], "caption 1"), ([None], "caption 0")):
        with pytest.raises(ValueError, match=message):
            model.embed_captions(wrong)
    with pytest.warns(UserWarning, match="1 of 2 captions are longer than 32 tokens"):
        model.embed_captions(["a dog", "a dog barks " * 20])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.embed_captions(CAPTIONS)


def test_progress_is_shown_where_it_is_asked_for(model, sounds, capfd):
    model.embed_audio([sounds / "a.wav"])
    assert not capfd.readouterr().err
    model.embed_audio([sounds / "a.wav"], progress=True)
    assert "1/1" in capfd.readouterr().err


def test_a_run_by_all_its_names(finished, model, monkeypatch):
    for name in (f"{STUDY}/{STUDENT}", finished / STUDY / STUDENT, f"runs/{STUDY}/{STUDENT}/"):
        again = corrlib.load_model(name, "cpu")
        assert (again.name, again.fingerprint) == (f"{STUDY}/{STUDENT}", model.fingerprint)
    assert corrlib.load_model(f"{STUDY}/{TEACHERS[0]}").fingerprint != model.fingerprint


def test_what_is_no_model_says_where_was_looked(finished, tmp_path):
    with pytest.raises(FileNotFoundError, match="neither a finished run .* nor an exported folder"):
        corrlib.load_model(tmp_path)
    with pytest.raises(FileNotFoundError, match="was not fetched from the hub"):
        corrlib.load_model("nobody/no-such-run")
    with pytest.raises(ValueError, match="'abacus' cannot be used"):
        corrlib.load_model(f"{STUDY}/{STUDENT}", device="abacus")
    with pytest.raises(ValueError, match="precision is 'double'"):
        corrlib.load_model(f"{STUDY}/{STUDENT}", precision="double")


def test_half_precision_is_near(model, sounds):
    half = corrlib.load_model(f"{STUDY}/{STUDENT}", "cpu", precision="bfloat16").embed_audio([sounds / "a.wav"])
    whole = model.embed_audio([sounds / "a.wav"])
    assert half.dtype == torch.float32 and not torch.equal(half, whole)
    torch.testing.assert_close(half, whole, atol=0.05, rtol=0)
