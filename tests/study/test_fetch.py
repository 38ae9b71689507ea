"""Published data by one command: stand-in files of the same names, served from this machine as if by the publishers."""

import hashlib
import http.server
import io
import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import threading
import zipfile
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import py7zr
import pytest

from corrlib.corpora import list_corpus, load_corpus
from corrlib.study import download, fetch, sources
from corrlib.study.download import FetchError
from tests import layouts as make

SPLITS = ("development", "validation", "evaluation")


class Publisher:
    """A web server: {path: bytes}, and what it does wrong next: {path: list of faults}."""

    def __init__(self):
        self.files, self.faults, self.asked = {}, {}, []
        publisher = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                publisher.answer(self)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, request):
        path, start = request.path, 0
        fault = self.faults[path].pop(0) if self.faults.get(path) else None
        content = self.files.get(path)
        if content is None and fault is None:
            fault = 404
        asked = request.headers.get("Range")
        if asked:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
        self.asked.append((path, start))
        if isinstance(fault, int):
            request.send_response(fault)
            request.send_header("Retry-After", "7")
            request.end_headers()
            return
        tag = f'"{hashlib.md5(content).hexdigest()}"'
        if asked and request.headers.get("If-Range", tag) != tag:
            start = 0
        if start >= len(content) and asked:
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(content)}")
            request.end_headers()
            return
        request.send_response(206 if start else 200)
        request.send_header("ETag", tag)
        request.send_header("Content-Length", str(len(content) - start))
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if fault == "page":
            request.send_header("Content-Type", "text/html; charset=utf-8")
        request.end_headers()
        rest = content[start:]
        if isinstance(fault, tuple):  # ("cut", after so many bytes)
            rest = rest[: fault[1]]
        request.wfile.write(rest)
        request.wfile.flush()
        if isinstance(fault, tuple):
            request.connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def publisher(tmp_path, monkeypatch):
    """The publisher as a mirror, with nothing in its shelves; its customers do not wait."""
    served = Publisher()
    monkeypatch.setenv("CORRLIB_MIRROR", served.url)
    monkeypatch.setenv("CORRLIB_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("DATA", raising=False)
    served.waited = []
    monkeypatch.setattr(download, "pause", served.waited.append)
    yield served
    served.server.shutdown()
    served.server.server_close()


def packed(folder, name):
    """A folder of `folder` as a 7z archive."""
    content = io.BytesIO()
    with py7zr.SevenZipFile(content, "w") as archive:
        archive.writeall(folder / name, name)
    return content.getvalue()


def zipped(members):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return content.getvalue()


def publish(publisher, monkeypatch, group, contents):
    """Put files on the shelves, and their checksums (of those that are published) and sizes into the table."""
    table = {"weights": sources.WEIGHTS, **sources.TEXT_ENCODERS}.get(group) or sources.CORPORA[group]
    listed = table.values() if isinstance(table, dict) else table
    stand_ins = []
    for source in listed:
        if source.file not in contents:
            continue
        content = contents[source.file]
        publisher.files[f"/{group}/{source.file}"] = content
        kind = source.checksum.partition(":")[0]
        checksum = f"{kind}:{hashlib.new(kind, content).hexdigest()}" if kind else ""
        size = len(content) if source.size else 0
        unpacks = (source.unpacks[0], 1000) if source.unpacks else None
        stand_ins.append(replace(source, size=size, about=len(content), checksum=checksum, unpacks=unpacks))
    if isinstance(table, dict):
        monkeypatch.setattr(fetch, "WEIGHTS", {s.file: s for s in stand_ins})
    elif group in sources.CORPORA:
        monkeypatch.setitem(sources.CORPORA, group, tuple(stand_ins))
    else:
        monkeypatch.setitem(sources.TEXT_ENCODERS, group, tuple(stand_ins))
    return stand_ins


@pytest.fixture
def clotho(publisher, monkeypatch, tmp_path_factory):
    """ClothoV2 of three clips a split, published."""
    folder = make.clotho(tmp_path_factory.mktemp("clotho"))
    contents = {path.name: path.read_bytes() for path in folder.glob("*.csv")}
    contents |= {f"clotho_audio_{split}.7z": packed(folder, split) for split in SPLITS}
    publish(publisher, monkeypatch, "clotho", contents)
    return publisher


@pytest.fixture
def study(clotho, monkeypatch, tmp_path):
    """All that the published recipe needs, in a repository where nothing is yet."""
    weights = {name: os.urandom(3000) for name in sources.WEIGHTS}
    publish(clotho, monkeypatch, "weights", weights)
    publish(
        clotho, monkeypatch, "roberta-large", {s.file: os.urandom(500) for s in sources.TEXT_ENCODERS["roberta-large"]}
    )
    shutil.copytree("studies", tmp_path / "repository" / "studies")
    monkeypatch.chdir(tmp_path / "repository")
    return clotho


def left_over(folder):
    """Names of hidden and temporary files."""
    return [str(path) for path in Path(folder).rglob("*") if path.name.startswith((".", "tmp"))]


def test_a_whole_study_is_fetched(study, tmp_path, capsys):
    advice = fetch.advice("clotho")
    assert (
        "`make data STUDY=clotho` gets them (about 0 MB to download)" in advice and "lacks 17 published files" in advice
    )
    assert fetch.main(["clotho"]) == 0
    out = capsys.readouterr().out
    assert "study 'clotho': 17 files to fetch" in out and "all that is published of it" in out
    folder = Path(fetch.default_folder())
    for split in SPLITS:
        assert len(load_corpus("clotho", folder, split).clips) == 3
    assert sorted(path.name for path in Path("weights").iterdir()) == [
        "atstframe_base.ckpt", "mn40_as_ext_mAP_487.pt", "passt-s-f128-p16-s16-ap.468.pt", "roberta-large",
    ]  # fmt: skip
    assert not left_over(folder) and not list(folder.rglob("*.7z")) and not left_over("weights")
    assert fetch.advice("clotho") == ""
    asked = len(study.asked)
    assert fetch.main(["clotho"]) == 0 and len(study.asked) == asked  # nothing more is needed


def test_what_is_there_in_any_layout_is_not_fetched(study, tmp_path, capsys):
    make.clotho(tmp_path / "mine" / "CLOTHO_v2.1")
    for split in SPLITS:
        (tmp_path / "mine" / "CLOTHO_v2.1" / split).rename(tmp_path / "mine" / "CLOTHO_v2.1" / f"clotho_audio_{split}")
    (tmp_path / "mine" / "CLOTHO_v2.1" / "clotho_metadata_validation.csv").unlink()
    assert fetch.main(["--data", str(tmp_path / "mine"), "clotho"]) == 0
    paths = [path for path, _ in study.asked if path.startswith("/clotho/")]
    assert paths == ["/clotho/clotho_metadata_validation.csv"]
    assert (tmp_path / "mine" / "CLOTHO_v2.1" / "clotho_metadata_validation.csv").is_file()


def test_an_archive_put_there_by_hand_is_checked_unpacked_and_kept(clotho, tmp_path, capsys):
    name = "clotho_audio_development.7z"
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / name).write_bytes(clotho.files[f"/clotho/{name}"])
    assert fetch.main(["--corpus", "clotho", "--data", str(tmp_path / "x")]) == 0
    assert f"/clotho/{name}" not in [path for path, _ in clotho.asked]
    assert (tmp_path / "x" / "development" / "a.wav").is_file() and (tmp_path / "x" / name).is_file()
    shutil.rmtree(tmp_path / "x" / "development")
    (tmp_path / "x" / name).write_bytes(b"something else")
    assert fetch.main(["--corpus", "clotho", "--data", str(tmp_path / "x")]) == 2
    error = capsys.readouterr().err
    assert f"{name} is not the file whose md5:" in error and "remove it" in error and (tmp_path / "x" / name).is_file()


@pytest.mark.parametrize("seed", range(5))
def test_a_connection_cut_at_any_byte_is_resumed(publisher, monkeypatch, tmp_path, seed):
    rng = random.Random(seed)
    content = rng.randbytes(300_000)
    source = sources.Source("http://nowhere/x.bin", checksum=f"sha256:{hashlib.sha256(content).hexdigest()}")
    publisher.files["/g/x.bin"] = content
    cuts = [rng.randrange(1, 40_000) for _ in range(8)]
    publisher.faults["/g/x.bin"] = [("cut", cut) for cut in cuts]
    download.download(source, "g", tmp_path / "x.bin")
    assert (tmp_path / "x.bin").read_bytes() == content and not left_over(tmp_path)
    starts = [start for _, start in publisher.asked]
    assert len(starts) == 9 and starts == sorted(starts) and starts[-1] > 0  # it went on, and never began again


def test_the_next_call_goes_on_where_the_last_one_stopped(publisher, tmp_path):
    content = random.Random(1).randbytes(200_000)
    source = sources.Source("http://nowhere/x.bin", size=len(content))
    publisher.files["/g/x.bin"] = content
    publisher.faults["/g/x.bin"] = [("cut", 70_000), *[503] * download.TRIES]
    with pytest.raises(
        FetchError, match="503 .*CORRLIB_MIRROR, or put x.bin to .*x.bin, and run the same command again"
    ):
        download.download(source, "g", tmp_path / "x.bin")
    assert not (tmp_path / "x.bin").exists()
    publisher.asked.clear()
    publisher.faults.clear()
    download.download(source, "g", tmp_path / "x.bin")
    assert (tmp_path / "x.bin").read_bytes() == content
    assert len(publisher.asked) == 1 and publisher.asked[0][1] > 0


def test_a_file_that_changed_meanwhile_is_begun_anew(publisher, tmp_path):
    first, second = (random.Random(n).randbytes(50_000) for n in (1, 2))
    source = sources.Source("http://nowhere/x.bin")
    publisher.files["/g/x.bin"] = first
    publisher.faults["/g/x.bin"] = [("cut", 20_000), *[503] * download.TRIES]
    with pytest.raises(FetchError):
        download.download(source, "g", tmp_path / "x.bin")
    publisher.files["/g/x.bin"] = second
    download.download(source, "g", tmp_path / "x.bin")
    assert (tmp_path / "x.bin").read_bytes() == second


def test_servers_that_are_busy_are_waited_for_as_they_ask(publisher, tmp_path):
    publisher.files["/g/x.bin"] = b"content"
    publisher.faults["/g/x.bin"] = [429, 500, 429]
    download.download(sources.Source("http://nowhere/x.bin"), "g", tmp_path / "x.bin")
    assert (tmp_path / "x.bin").read_bytes() == b"content" and publisher.waited == [7, 7, 7]


@pytest.mark.parametrize(
    "faults, sentence",
    [
        ([404], "is not there any more .404 .*elsewhere and put it to .*x.bin, or set CORRLIB_MIRROR"),
        ([429] * 9, "could not be fetched .429 "),
        (["page"], "answered with a page instead of x.bin"),
    ],
)
def test_what_a_server_refuses_is_one_sentence(publisher, tmp_path, faults, sentence):
    publisher.files["/g/x.bin"] = b"content"
    publisher.faults["/g/x.bin"] = faults
    with pytest.raises(FetchError, match=sentence) as caught:
        download.download(sources.Source("http://nowhere/x.bin"), "g", tmp_path / "x.bin")
    assert "\n" not in str(caught.value) and not list(tmp_path.glob("*.bin"))
    publisher.faults.clear()
    download.download(sources.Source("http://nowhere/x.bin"), "g", tmp_path / "x.bin")
    assert (tmp_path / "x.bin").read_bytes() == b"content"


def test_a_wrong_checksum_is_thrown_away_and_the_next_call_starts_anew(clotho, tmp_path, capsys):
    name = "/clotho/clotho_captions_development.csv"
    good = clotho.files[name]
    clotho.files[name] = good.replace(b"Caption 1", b"Caption 9")
    arguments = ["--corpus", "clotho", "--data", str(tmp_path / "x")]
    assert fetch.main(arguments) == 2
    error = capsys.readouterr().err
    assert "another file than the one whose md5 is published: it was thrown away" in error and error.count("\n") == 1
    assert not [path for path in (tmp_path / "x").rglob("*") if path.is_file()]
    clotho.files[name] = good
    assert fetch.main(arguments) == 0 and len(load_corpus("clotho", tmp_path / "x", "development").clips) == 3


def test_what_nobody_published_is_recorded_and_held_to(publisher, tmp_path):
    source = sources.Source("http://nowhere/train.csv")
    publisher.files["/audiocaps/train.csv"] = b"first"
    download.download(source, "audiocaps", tmp_path / "train.csv")
    download.record(source, tmp_path / "train.csv")
    record = json.loads((tmp_path / "data" / "downloads.json").read_text())
    assert record == {source.url: {"checksum": f"sha256:{hashlib.sha256(b'first').hexdigest()}", "bytes": 5}}
    (tmp_path / "train.csv").unlink()
    publisher.files["/audiocaps/train.csv"] = b"other"
    with pytest.raises(FetchError, match="sha256 is recorded at the first download"):
        download.download(source, "audiocaps", tmp_path / "train.csv")


def test_no_network_is_one_sentence(monkeypatch, tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("CORRLIB_MIRROR", f"http://127.0.0.1:{closed.getsockname()[1]}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        waited = []
        monkeypatch.setattr(download, "pause", waited.append)
        with pytest.raises(FetchError, match="could not be fetched .Connection refused.; see to the network"):
            download.download(sources.Source("http://nowhere/x.bin"), "g", tmp_path / "x.bin")
    assert waited == [1, 2, 4, 8] and not list(tmp_path.iterdir())


def test_a_size_that_is_not_the_published_one_is_named_before_it_comes(publisher, tmp_path):
    publisher.files["/g/x.bin"] = b"short"
    with pytest.raises(FetchError, match="has 5 bytes where 4,066,513 are published"):
        download.download(sources.Source("http://nowhere/x.bin", size=4_066_513), "g", tmp_path / "x.bin")


AUDIOCAPS = {"AUDIOCAPS/audio/train/Ya.mp3": b"1", "AUDIOCAPS/train.csv": b"2", "AUDIOCAPS/audio/test/Yb.mp3": b"3"}


@pytest.mark.parametrize(
    "spoil, sentence",
    [
        (lambda content: content[: len(content) // 2], "is damaged .*run the same command again to fetch it anew"),
        (lambda content: content.replace(b"Ya.mp3", b"Ya.mp4", 1), "is damaged|holds"),
        (lambda _: zipped({"a.wav": b"1", "../b.wav": b"2"}), "holds a file outside its folder, '../b.wav'"),
        (lambda _: zipped({"/etc/b.wav": b"2"}), "holds a file outside its folder, '/etc/b.wav'"),
        (lambda _: zipped({"..\\b.wav": b"2"}), "holds a file outside its folder"),
    ],
)
def test_a_damaged_or_hostile_archive_leaves_nothing(publisher, monkeypatch, tmp_path, capsys, spoil, sentence):
    good = zipped(AUDIOCAPS)
    publish(publisher, monkeypatch, "audiocaps", {"AUDIOCAPS.zip": good, "train.csv": b"x"})
    publisher.files["/audiocaps/AUDIOCAPS.zip"] = spoil(good)
    arguments = ["--corpus", "audiocaps", "--data", str(tmp_path / "x")]
    assert fetch.main(arguments) == 2
    error = capsys.readouterr().err
    assert re.search(sentence, error) and error.count("\n") == 1
    assert not left_over(tmp_path / "x") and not list(tmp_path.rglob("*.wav"))
    assert [path.name for path in (tmp_path / "x" / "audiocaps").iterdir() if path.suffix != ".zip"] == ["train.csv"]
    (tmp_path / "x" / "audiocaps" / "AUDIOCAPS.zip").unlink(missing_ok=True)
    publisher.files["/audiocaps/AUDIOCAPS.zip"] = good
    assert fetch.main(arguments) == 0
    found = sorted(str(p.relative_to(tmp_path / "x")) for p in (tmp_path / "x").rglob("*.*") if p.is_file())
    assert found == ["audiocaps/audio/AUDIOCAPS/audio/test/Yb.mp3", "audiocaps/audio/AUDIOCAPS/audio/train/Ya.mp3",
                     "audiocaps/train.csv"]  # fmt: skip


def test_a_7z_archive_that_leaves_its_folder_or_holds_links_is_refused(tmp_path):
    source = sources.CLOTHO[-1]
    (tmp_path / "a").write_bytes(b"1")
    with py7zr.SevenZipFile(tmp_path / source.file, "w") as archive:
        archive.write(tmp_path / "a", "evaluation/../../b.wav")
    with pytest.raises(FetchError, match="holds a file outside its folder|damaged"):
        download.unpack(source, tmp_path / source.file)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link.wav").symlink_to("/etc/passwd")
    with py7zr.SevenZipFile(tmp_path / source.file, "w") as archive:
        archive.writeall(tmp_path / "in", "evaluation")
    with pytest.raises(FetchError, match="holds a link, 'evaluation/link.wav'"):
        download.unpack(source, tmp_path / source.file)
    assert not (tmp_path / "evaluation").exists() and not left_over(tmp_path)


SOUNDS = {
    f"mnt/waveforms/FreeSound_flac/{clip}.flac": random.Random(clip).randbytes(40_000) for clip in range(101, 107)
}


def split_archive(folder):
    """WavCaps as it lies there after a download: its tables, and FreeSound's clips in an archive of four parts."""
    make.wavcaps(folder)
    shutil.rmtree(folder / "FreeSound_flac")
    for name, sound in SOUNDS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(sound)
    archive = folder / "Zip_files" / "FreeSound" / "FreeSound.zip"
    archive.parent.mkdir(parents=True)
    if not shutil.which("zip"):
        pytest.skip("no zip here that could make an archive of several parts")
    subprocess.run(["zip", "-q", "-r", "-s", "64k", archive, "mnt"], cwd=folder, check=True)
    shutil.rmtree(folder / "mnt")
    return archive


STAND_IN = """#!{python}
import os, sys, zipfile
target, archive = sys.argv[-2].removeprefix("-o"), sys.argv[-1]
assert sys.argv[1] == "x" and archive.endswith("FreeSound.zip") and os.path.isfile(archive[:-3] + "z01")
zipfile.ZipFile(os.environ["WHOLE"]).extractall(target)
"""


@pytest.mark.parametrize("tool", ["zip", "7z"])
def test_archives_in_parts_are_joined_and_unpacked(publisher, monkeypatch, tmp_path, capsys, tool):
    folder = tmp_path / "x" / "wavcaps"
    archive = split_archive(folder)
    if tool == "7z":
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "7z").write_text(STAND_IN.format(python=sys.executable))
        (tmp_path / "bin" / "7z").chmod(0o755)
        (tmp_path / "whole.zip").write_bytes(zipped(SOUNDS))
        monkeypatch.setenv("WHOLE", str(tmp_path / "whole.zip"))
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    parts = sorted(path.name for path in archive.parent.iterdir())
    assert parts == ["FreeSound.z01", "FreeSound.z02", "FreeSound.z03", "FreeSound.zip"]
    arguments = ["--corpus", "wavcaps", "--data", str(tmp_path / "x")]
    assert fetch.main(arguments) == 0
    assert "FreeSound.zip and its 3 parts" in capsys.readouterr().out and publisher.asked == []
    corpus = list_corpus("wavcaps", folder, "development")
    paths = dict(zip(corpus.clips["clip_id"], corpus.clips["path"], strict=True))
    for clip in (101, 102):
        sound = SOUNDS[f"mnt/waveforms/FreeSound_flac/{clip}.flac"]
        assert Path(paths[f"wavcaps/development/FreeSound/{clip}"]).read_bytes() == sound
    assert not left_over(tmp_path / "x")
    assert sorted(path.name for path in archive.parent.iterdir() if path.is_file()) == parts
    assert fetch.main(arguments) == 0 and "unpacking" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "spoil, sentence",
    [
        (
            lambda folder, _: (folder / "FreeSound.z02").unlink(),
            "is the last of 4 parts, and FreeSound.z02 is not beside",
        ),
        (lambda _, patch: patch.setenv("PATH", "/nowhere"), "only `zip` or `7z` joins, and neither is installed"),
        (lambda folder, _: (folder / "FreeSound.zip").write_bytes(b"PK"), "is no zip archive, or cut short"),
        (
            lambda folder, _: (folder / "FreeSound.z02").write_bytes(bytes(65536)),
            "could not be joined by zip|or one of its 3 parts",
        ),
    ],
)
def test_archives_in_parts_that_cannot_be_joined_are_one_sentence(
    publisher, monkeypatch, tmp_path, capsys, spoil, sentence
):
    archive = split_archive(tmp_path / "x" / "wavcaps")
    spoil(archive.parent, monkeypatch)
    assert fetch.main(["--corpus", "wavcaps", "--data", str(tmp_path / "x")]) == 2
    error = capsys.readouterr().err
    assert re.search(sentence, error) and error.count("\n") == 1
    assert not left_over(tmp_path / "x") and not [path for path in archive.parent.iterdir() if path.is_dir()]


def test_lists_that_a_study_names_are_fetched(publisher, monkeypatch, tmp_path, capsys):
    (tmp_path / "studies").mkdir()
    monkeypatch.setenv("CORRLIB_STUDIES", str(tmp_path / "studies"))
    listed = tmp_path / "lists" / "metadata_eval.csv"
    (tmp_path / "studies" / "x.yaml").write_text(
        "title: x\nseeds: [1]\nbackbones: [mn_tiny]\n"
        f"stage1: {{relevance: '{listed}'}}\nstage2: {{relevance: '{tmp_path}/graded'}}\n"
    )
    content = b"query,audio_filenames\n"
    monkeypatch.setattr(fetch, "LISTS", {listed.name: replace(sources.LISTS[listed.name], size=len(content))})
    publisher.files["/lists/metadata_eval.csv"] = content
    assert fetch.main(["x"]) == 0 and listed.read_bytes() == content
    printed = capsys.readouterr().out
    assert f"{tmp_path}/graded is not there, and not fetched" in printed and "retrieval-relevance-crowd" in printed


Usage = namedtuple("Usage", "total used free")


def test_a_disk_with_too_little_room_is_told_before_anything_comes(clotho, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: Usage(10**9, 10**9, 1000))
    assert fetch.main(["--corpus", "clotho", "--data", str(tmp_path / "x")]) == 2
    error = capsys.readouterr().err
    assert "(9 files) takes 0.0 GB" in error and "free space, or name another folder by DATA=" in error
    assert clotho.asked == [] and not (tmp_path / "x").exists()


def test_a_disk_that_gets_full_meanwhile_is_one_sentence(publisher, tmp_path):
    """A process that may write no more than 100 kB to a file meets what a full disk answers."""
    publisher.files["/g/x.bin"] = bytes(300_000)
    program = (
        "import resource, signal, sys\nfrom pathlib import Path\nfrom corrlib.study import download, sources\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nlimit = int(sys.argv[2])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))\n"
        "download.download(sources.Source('http://nowhere/x.bin', checksum=sys.argv[3]), 'g', Path(sys.argv[1]))\n"
    )
    checksum = f"sha256:{hashlib.sha256(bytes(300_000)).hexdigest()}"
    path = tmp_path / "x" / "x.bin"
    for limit in (100_000, 10**9):
        command = [sys.executable, "-c", program, str(path), str(limit), checksum]
        result = subprocess.run(command, capture_output=True, text=True)
        if limit == 100_000:
            last = result.stderr.splitlines()[-1]
            assert "NotWritten: could not write" in last and "free some space and run the same command again" in last
            assert not path.exists()
    assert result.returncode == 0 and path.read_bytes() == bytes(300_000)
    assert publisher.asked[-1][1] > 0  # what had come was kept


def test_reproduce_says_which_command_gets_the_data(study, monkeypatch, capsys):
    from corrlib.study import reproduce

    monkeypatch.setattr(sys, "argv", ["reproduce", "clotho"])
    assert reproduce.main() == 2
    error = capsys.readouterr().err
    assert error.startswith("error: study 'clotho' lacks 17 published files") and "`make data STUDY=clotho`" in error
    assert error.count("\n") == 1 and "to download" in error


def test_the_tables_say_how_much_is_to_come():
    clotho = sum(source.expected for source in sources.CLOTHO)
    assert 6.4e9 < clotho < 6.6e9  # as the publishers say
    for group in (
        *sources.CORPORA.values(),
        sources.WEIGHTS.values(),
        sources.LISTS.values(),
        *sources.TEXT_ENCODERS.values(),
    ):
        for source in group:
            assert source.expected > 0 and source.url.startswith("https://") and "/" not in source.file
            assert not source.checksum or source.checksum.partition(":")[0] in ("md5", "sha256")


def test_unknown_corpora_are_named(publisher, capsys):
    assert fetch.main(["--corpus", "folder"]) == 2
    assert "corpus 'folder' is not published anywhere" in capsys.readouterr().err
    assert fetch.main(["--corpus", "cloto"]) == 2
    assert "did you mean 'clotho'" in capsys.readouterr().err
