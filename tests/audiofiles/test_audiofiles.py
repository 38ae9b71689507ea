"""Audio as people have it: every format read, its length what decodes, what is cut short named and left out."""

import struct
import sys

import numpy as np
import pandas as pd
import pytest
import soundfile

from corrlib.audiofiles import probe as probing
from corrlib.audiofiles.decode import read
from corrlib.audiofiles.probe import probe, probe_all
from corrlib.corpora import AuditError, audit, list_corpus, load_corpus
from corrlib.corpora.audio import ClipError, crop_seconds, read_clip
from corrlib.corpora.auditing import lengths_of
from tests import layouts as make

SECONDS = 3.0


def cut(path, to, share=0.6):
    """The first share of a file's bytes under another name."""
    content = path.read_bytes()
    to.write_bytes(content[: int(share * len(content))])
    return to


def found(path):
    return probe(str(path), path.stat().st_size)


@pytest.mark.parametrize("suffix", [".m4a", ".mp4", ".aac", ".webm", ".wav", ".flac", ".mp3", ".ogg", ".aiff"])
def test_every_format_is_read_at_the_length_that_decodes(tmp_path, suffix):
    path = make.sound(tmp_path / f"x{suffix}", SECONDS, hz=500, rate=48000, channels=2)
    frames, rate_hz, problem = found(path)
    assert (rate_hz, problem) == (48000, "") and frames / rate_hz == pytest.approx(SECONDS, abs=0.06)
    samples, _ = read(path)
    assert len(samples) == frames  # what the audit says can be asked for, to the sample
    part, _ = read(path, 1.0, 0.5)
    assert np.array_equal(part, samples[48000:72000])
    wave = read_clip(path, frames / rate_hz - 1, 1.0, 16000)  # the last second
    assert len(wave) == 16000 and np.argmax(np.abs(np.fft.rfft(wave[:8000]))) * 2 == 500
    corpus = tmp_path / "corpus"
    make.table(corpus / "development.csv", ["file", "caption"], [[path.name, "a tone"]])
    path.rename(corpus / path.name)
    assert load_corpus("folder", corpus, "development").clips["duration_seconds"].tolist() == [frames / rate_hz]


@pytest.mark.parametrize(
    "suffix, share", [(s, 0.6) for s in (".wav", ".flac", ".mp3", ".ogg", ".aiff", ".webm", ".aac")] + [(".wav", 0.99)]
)
def test_what_is_cut_short_is_named_and_left_out_within_the_tolerance(tmp_path, suffix, share):
    folder = make.own(tmp_path)
    whole = make.sound(tmp_path / f"whole{suffix}", SECONDS, rate=44100)
    cut(whole, folder / f"cut{suffix}", share)
    rows = [[f"{name}{suffix}", f"a tone, {name}"] for name in ("whole", "cut")]
    make.table(folder / "development.csv", ["file", "caption"], rows)
    with pytest.raises(AuditError, match=rf"1 of 2 clips of folder cannot be used \(1 cut short; first: .*cut{suffix}"):
        load_corpus("folder", folder, "development")
    corpus, table = audit(list_corpus("folder", folder, "development"), tolerance=0.5)
    assert table["cut short"].tolist() == [1] and corpus.clips["path"].tolist() == [str(whole)]
    assert corpus.excluded["reason"].str.startswith("cut short").tolist() == [True]


def test_an_mp4_without_its_end_is_unreadable(tmp_path):
    path = cut(make.sound(tmp_path / "x.m4a", SECONDS), tmp_path / "cut.m4a")  # whose table of contents stood there
    assert found(path).problem == "unreadable"


def test_layer_three_in_wav_that_lacks_an_encoders_delay_is_intact(tmp_path):
    """Its header promises more than is decoded; it is used at its decoded length, and random crops stay within it."""
    path = make.coded(tmp_path / "x.wav", "libmp3lame", 1.5)
    promised = soundfile.info(path).frames
    frames, rate_hz, problem = found(path)
    assert problem == "" and 0.96 * promised < frames < promised and len(read(path)[0]) == frames
    assert found(cut(path, tmp_path / "cut.wav", 0.9)).problem == "cut short"
    for spot in np.linspace(0, frames / rate_hz - 0.5, 7):
        assert len(read_clip(path, spot, 0.5, rate_hz)) == pytest.approx(0.5 * rate_hz, abs=1)
    assert crop_seconds(frames / rate_hz, 2.0) == (0.0, frames / rate_hz)


def test_counts_that_programs_could_not_go_back_to_write(tmp_path):
    """A WAV and a FLAC that were written into a pipe are whole, whatever their headers say."""
    wav = make.sound(tmp_path / "x.wav", 1)
    content = bytearray(wav.read_bytes())
    content[4:8], content[40:44] = b"\xff" * 4, b"\xff" * 4
    wav.write_bytes(content)
    assert found(wav) == (16000, 16000, "")
    flac = make.sound(tmp_path / "x.flac", 1)
    content = bytearray(flac.read_bytes())
    content[21:26] = struct.pack(">BI", content[21] & 0xF0, 0)
    flac.write_bytes(content)
    frames, rate_hz, problem = found(flac)
    assert problem == "" and 16000 - probing.BLOCK <= frames <= 16000
    assert len(read_clip(flac, 0.0, frames / rate_hz, rate_hz)) == frames


def test_a_video_has_its_sound_and_a_text_or_a_playlist_has_none(tmp_path):
    for name, content in (
        ("list.m4a", b"#EXTM3U\n/etc/passwd\n"),
        ("text.webm", b"no audio at all, but a text that goes on for a while"),
        ("odd.mp4", b"\0\0\0\x1cftypM4A " + bytes(range(256))),
    ):
        (tmp_path / name).write_bytes(content)
        assert found(tmp_path / name).problem == "unreadable"
        with pytest.raises(ClipError, match=f"{name} cannot be decoded"):
            read_clip(tmp_path / name)


def test_without_pyav_what_is_missing_is_said(tmp_path, monkeypatch):
    make.own(tmp_path)
    make.sound(tmp_path / "x.m4a", 1)
    make.table(tmp_path / "development.csv", ["file", "caption"], [["x.m4a", "a tone"]])
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(AuditError, match=r"1 unreadable; first: .*x.m4a, .* need PyAV: pip install 'corrlib\[av\]'"):
        load_corpus("folder", tmp_path, "development")
    with pytest.raises(ClipError, match="x.m4a cannot be decoded .*need PyAV"):
        read_clip(tmp_path / "x.m4a")
    monkeypatch.undo()
    assert len(load_corpus("folder", tmp_path, "development").clips) == 1


# One pass, remembered


def test_many_files_are_decoded_once_in_parallel_and_remembered(tmp_path, monkeypatch):
    monkeypatch.setenv("CORRLIB_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(probing, "MANY", 40)
    paths = [str(make.sound(tmp_path / "c" / f"{n:02d}.flac", 0.1 + 0.01 * n)) for n in range(48)]
    cut(tmp_path / "c" / "40.flac", tmp_path / "c" / "41.flac")
    looked, look = [], probing.probe
    monkeypatch.setattr(probing, "probe", lambda *file: looked.append(file[0]) or look(*file))
    first = probe_all([*paths, ""], lengths_of(tmp_path / "c"))
    assert sorted(looked) == paths and first["problem"].tolist()[-1] == "missing"
    assert first["frames"][:41].tolist() == [int(16000 * (0.1 + 0.01 * n)) for n in range(41)]
    looked.clear()
    pd.testing.assert_frame_equal(probe_all([*paths, ""], lengths_of(tmp_path / "c")), first)
    assert looked == [paths[41]]  # what has a problem may have been mended, or be readable by now
    make.sound(tmp_path / "c" / "41.flac", 0.5)
    make.sound(tmp_path / "c" / "07.flac", 0.6)
    looked.clear()
    again = probe_all(paths, lengths_of(tmp_path / "c"))
    assert looked == [paths[7], paths[41]] and again["frames"][[7, 41]].tolist() == [9600, 8000]
    (tmp_path / "data").rename(tmp_path / "gone")
    (tmp_path / "data").write_text("no folder")  # a memory that cannot be written costs time only
    pd.testing.assert_frame_equal(probe_all(paths, lengths_of(tmp_path / "c")), again)


def test_a_file_found_damaged_in_its_middle_is_remembered_as_such(tmp_path):
    path = make.sound(tmp_path / "x.flac", 8)
    make.noise_in_the_middle(path)
    memory = tmp_path / "lengths.csv"
    assert probe_all([str(path)], memory)["problem"].tolist() == [""]  # its end is there
    with pytest.raises(ClipError, match="x.flac cannot be decoded"):
        read_clip(path)
    assert probing.remember_damaged(path, memory)
    assert probe_all([str(path)], memory)["problem"].tolist() == ["unreadable: it does not decode to its end"]
    make.sound(path, 8)
    assert probe_all([str(path)], memory)["problem"].tolist() == [""]  # another file by now
    assert not probing.remember_damaged(path, memory)
