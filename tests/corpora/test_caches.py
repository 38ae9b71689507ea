"""Decoded audio and log-mels kept on disk: made once, and made again where they are stale or damaged."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from corrlib import files
from corrlib.corpora import load_corpus
from corrlib.corpora.audio import read_clip
from corrlib.corpora.batches import LogMelAudio
from corrlib.corpora.decoded import DecodedAudio
from corrlib.files import NotWritten
from tests import layouts as make


def test_decoded_audio_is_kept_and_made_anew_of_other_sound_in_as_many_bytes(tmp_path):
    make.clotho(tmp_path, splits=("development",))
    corpus = load_corpus("clotho", tmp_path, "development")
    store = DecodedAudio(corpus, 32000, tmp_path / "cache")
    for number, row in enumerate(corpus.clips.itertuples()):
        np.testing.assert_allclose(store.read(number), read_clip(row.path), atol=2e-5)
    np.testing.assert_allclose(store.read(1, 0.1, 0.2), read_clip(corpus.clips["path"][1])[3200:9600], atol=2e-5)
    written = store.path.stat().st_mtime_ns
    assert DecodedAudio(corpus, 32000, tmp_path / "cache").path.stat().st_mtime_ns == written
    path = tmp_path / "development" / "b.wav"
    size = path.stat().st_size
    content = bytearray(path.read_bytes())
    content[-2000:] = bytes(2000)  # other sound in as many bytes
    path.write_bytes(bytes(content))
    store = DecodedAudio(load_corpus("clotho", tmp_path, "development"), 32000, tmp_path / "cache")
    assert path.stat().st_size == size and store.path.stat().st_mtime_ns > written
    np.testing.assert_allclose(store.read(1), read_clip(tmp_path / "development" / "b.wav"), atol=2e-5)


DAMAGE = {
    "empty": lambda p: p.write_bytes(b""),
    "cut short": lambda p: p.write_bytes(p.read_bytes()[:-9]),
    "longer": lambda p: p.write_bytes(p.read_bytes() + b"xx"),
    "other content": lambda p: p.write_bytes(b"[1, 2]"),
    "a null": lambda p: p.write_bytes(b"null"),
    "not text": lambda p: p.write_bytes(b"\xff\xfe" * 40),
}


@pytest.mark.parametrize("suffix", ["", ".digest"])
@pytest.mark.parametrize("harm", DAMAGE.values(), ids=DAMAGE)
def test_damaged_decoded_audio_is_made_again_and_said(tmp_path, capsys, suffix, harm):
    make.clotho(tmp_path, splits=("development",))
    corpus = load_corpus("clotho", tmp_path, "development")
    store = DecodedAudio(corpus, 32000, tmp_path / "cache")
    expected, before = store.read(2).copy(), sorted(p.name for p in store.path.parent.iterdir())
    harm(store.path.with_name(f"{store.path.name}{suffix}"))
    files._checked.clear()  # as in another process
    again = DecodedAudio(corpus, 32000, tmp_path / "cache")
    said = capsys.readouterr().out
    assert f"{store.path} is damaged; it is made again" in said, said
    assert np.array_equal(again.read(2), expected)
    assert sorted(p.name for p in store.path.parent.iterdir()) == before
    DecodedAudio(corpus, 32000, tmp_path / "cache")
    assert not capsys.readouterr().out


class Loudness(torch.nn.Module):
    """In place of a backbone: of each 1,000 samples the mean square."""

    segment_seconds, sample_rate_hz = 1, 32000

    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.ones(1))
        self.front_end = SimpleNamespace(settings=lambda: {"samples": 1000})

    def log_mel(self, waveform):
        return self.gain * waveform.unflatten(1, (1, -1, 1000)).square().mean(3)


@pytest.mark.parametrize(
    "harm",
    [
        *DAMAGE.values(),
        lambda p: np.save(p, np.zeros((2, 1, 16), np.float16)),
        lambda p: np.save(p, np.zeros((3, 1, 16), np.float32)),
    ],
    ids=[*DAMAGE, "of other clips", "of another kind"],
)
def test_damaged_log_mels_are_computed_again_and_said(tmp_path, capsys, harm):
    make.clotho(tmp_path, splits=("development",))
    for name in "abc":
        make.sound(tmp_path / "development" / f"{name}.wav", 0.5, hz=300)
    corpus, backbone = load_corpus("clotho", tmp_path, "development"), Loudness()
    first = LogMelAudio(corpus, backbone, tmp_path / "cache")
    expected = first.log_mel([2, 0])
    np.testing.assert_allclose(
        expected,
        backbone.log_mel(torch.tensor(read_clip(corpus.clips["path"][2])[None])).detach().expand(2, -1, -1),
        atol=1e-3,
    )
    path = first.path
    del first
    harm(path)
    capsys.readouterr()
    again = LogMelAudio(corpus, backbone, tmp_path / "cache")
    said = capsys.readouterr().out
    assert said == f"{path} is damaged; it is made again\n"
    assert torch.equal(again.log_mel([2, 0]), expected)
    assert sorted(p.suffix for p in path.parent.iterdir()) == [".digest", ".lock", ".npy"]


def test_a_cache_that_cannot_be_written_says_what_else_helps(tmp_path):
    make.clotho(tmp_path, splits=("development",))
    corpus = load_corpus("clotho", tmp_path, "development")
    (tmp_path / "cache").write_text("a file where the folder should be")
    for kind, arguments in ((DecodedAudio, (corpus, 32000)), (LogMelAudio, (corpus, Loudness()))):
        with pytest.raises(NotWritten, match="could not write .*cache.*see that its folder can be written to"):
            kind(*arguments, tmp_path / "cache")


def test_sound_that_is_changed_while_a_cache_is_made_is_not_kept_under_its_old_name(tmp_path, monkeypatch):
    """Else the old sound, restored, would be heard as the new one for ever."""
    make.clotho(tmp_path, splits=("development",))
    path = tmp_path / "development" / "b.wav"
    corpus, whole = load_corpus("clotho", tmp_path, "development"), path.read_bytes()

    def meanwhile(place, *arguments):
        path.write_bytes(whole[:-2000] + bytes(2000))
        return read_clip(place, *arguments)

    monkeypatch.setattr("corrlib.corpora.decoded.read_clip", meanwhile)
    with pytest.raises(ValueError, match="decoded-.* is made of was changed while it was made; run the same command"):
        DecodedAudio(corpus, 32000, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.i16*"))
    monkeypatch.undo()
    path.write_bytes(whole)
    np.testing.assert_allclose(DecodedAudio(corpus, 32000, tmp_path / "cache").read(1), read_clip(path), atol=2e-5)
