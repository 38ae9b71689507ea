"""Writing and reading of files: never half of one, and one sentence where a disk does not take it."""

import errno
import io
import os
import re
import socket
import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import pytest
import torch

from corrlib import files
from corrlib.files import (
    NotWritten,
    cache_of,
    csv_of,
    digest_file,
    digest_files,
    held_by,
    locked,
    read_tensors,
    replace_with,
    replacing,
    take,
    without_apostrophe,
    write_atomically,
    writing,
)


def raising(error):
    def writer(path):
        path.write_text("half")
        raise error

    return writer


@pytest.mark.parametrize("content", ["Grüße\n", b"\0\1"])
def test_text_and_bytes_in_folders_that_are_made(tmp_path, content):
    path = tmp_path / "new" / "folder" / "x.bin"
    write_atomically(path, "old")
    write_atomically(str(path), content)
    assert path.read_bytes() == (content if isinstance(content, bytes) else content.encode())
    assert os.listdir(path.parent) == ["x.bin"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError("Not enough free space to write 80 bytes after offset 3"),  # numpy
        OSError("800 requested and 112 written"),  # numpy
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0"),  # torch
    ],
    ids=str,
)
def test_a_full_disk_is_one_sentence_whoever_tells_it(tmp_path, error):
    path = tmp_path / "x.npy"
    path.write_text("old")
    sentence = r"could not write .*x\.npy \(.+\); free some space and run the same command again: what was there"
    with pytest.raises(NotWritten, match=sentence):
        replace_with(path, raising(error))
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["x.npy"]


COMPOSE = """
import resource, sys
from pathlib import Path
from corrlib import soundscapes
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
sizes = {"pretraining": 4, "development": 70, "validation": 2, "evaluation": 2}
try:
    soundscapes.write_corpus(Path(sys.argv[1]), 1, sizes, workers=2)
except OSError as error:
    print(error)
"""


@pytest.mark.parametrize("most_bytes", [100_000, 1_000_000])
def test_a_disk_that_is_full_while_a_corpus_is_composed(tmp_path, most_bytes):
    """A limit on file size stands for a full disk: below that of a clip, and of the grains that numpy writes."""
    command = [sys.executable, "-c", COMPOSE, str(tmp_path / "corpus"), str(most_bytes)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert not result.returncode, result.stderr
    assert re.fullmatch(
        rf"could not write {tmp_path}/corpus \(.+\); free some space and run the same command again\n", result.stdout
    ), result.stdout
    assert not (tmp_path / "corpus" / "corpus.json").exists()


def test_what_else_would_help_and_nested_blocks(tmp_path):
    with pytest.raises(NotWritten) as caught, writing(tmp_path):
        with replacing(tmp_path / "x", "set cache_audio to false"):
            raise OSError(errno.ENOSPC, "No space left on device")
    assert str(caught.value) == (
        f"could not write {tmp_path / 'x'} (No space left on device); free some space, or set cache_audio to false "
        "and run the same command again: what was there before is intact"
    )


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("no folder")
    for path in (tmp_path / "file" / "x", tmp_path / "file" / "below" / "x", tmp_path / ("x" * 300)):
        with pytest.raises(NotWritten, match="could not write .*see that its folder can be written to") as caught:
            write_atomically(path, "new")
        assert str(path) in str(caught.value)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(
    "error",
    [
        ValueError("wrong"),
        FileNotFoundError("audio file a.wav is missing; restore it or exclude its clip"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "/elsewhere/a.wav"),
        KeyboardInterrupt(),
    ],
    ids=repr,
)
def test_other_errors_pass_and_leave_nothing_behind(tmp_path, error):
    with pytest.raises(type(error)) as caught:
        replace_with(tmp_path / "x", raising(error))
    assert caught.value is error and not os.listdir(tmp_path)


def test_numpy_writes_under_the_temporary_name_as_it_is(tmp_path):
    replace_with(tmp_path / "x.npy", lambda part: np.save(part, np.arange(3)))
    assert np.load(tmp_path / "x.npy").tolist() == [0, 1, 2] and os.listdir(tmp_path) == ["x.npy"]


def test_tensors_come_back_and_damage_is_named(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "x.safetensors"
    replace_with(path, lambda part: save_file({"a": torch.arange(3)}, part))
    assert torch.equal(read_tensors(path)["a"], torch.arange(3))
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(ValueError, match="x.safetensors is damaged"):
        read_tensors(path)


HOLD = """
import sys
from corrlib.files import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def other_holder(path):
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout and other.stdout.readline() == "held\n"
    return other


@pytest.mark.parametrize("killed", [False, True])
def test_who_waits_says_for_whom_and_gets_what_a_dead_one_held(tmp_path, monkeypatch, capsys, killed):
    monkeypatch.setattr(files, "SPEAK_AFTER", 0.2)
    path = tmp_path / "index"
    other = other_holder(path)
    assert take(tmp_path / "index.lock") is None
    threading.Timer(1.0, other.kill if killed else other.stdin.close).start()
    with locked(path):
        assert held_by(tmp_path / "index.lock").startswith(f"process {os.getpid()} on {socket.gethostname()} since 20")
    other.wait()
    said = capsys.readouterr().out
    assert re.fullmatch(
        f"waiting for process {other.pid} on \\S+ since [-0-9: ]+, which makes {re.escape(str(path))}\n", said
    )


def test_a_lock_that_an_orphan_holds_is_said_to_be_one(tmp_path):
    path = tmp_path / "x.lock"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    path.write_text(f"process {ended.pid} on {socket.gethostname()} since 2026-01-01 10:00")
    assert held_by(path).startswith(f"a process that was left behind by process {ended.pid} on ")
    path.write_text(f"process {ended.pid} on another-machine since 2026-01-01 10:00")
    assert held_by(path).startswith(f"process {ended.pid} on another-machine")
    path.write_bytes(b"\xff")
    assert held_by(path) == held_by(tmp_path / "none") == "another process"


def test_a_disk_without_locks_is_named_and_waited_for_by_nobody(tmp_path, monkeypatch):
    def flock(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", flock)
    with pytest.raises(NotWritten, match="index.lock cannot be locked .No locks available.; choose a folder"):
        with locked(tmp_path / "index"):
            pass


TEXTS = ["=1+1", "+a", "-a", "@a", "\ta", "\ra", "'=a", "''@a", "'a", "a=b", "", "-", "-1e", "=", "−1"]


def test_a_table_for_people_holds_no_formula_and_gives_back_its_texts():
    numbers = {"x": [-0.5] * len(TEXTS), "n": [-3] * len(TEXTS)}
    table = pd.DataFrame({"text": TEXTS, "kind": pd.Categorical(TEXTS), **numbers, "number": "-1.5e-3"})
    kept = table.copy()
    found = pd.read_csv(io.StringIO(csv_of(table)), dtype=str, keep_default_na=False, lineterminator="\n")
    assert not found[["text", "kind"]].map(lambda cell: cell[:1] in tuple("=+-@\t\r")).to_numpy().any()
    assert found["text"].map(without_apostrophe).tolist() == found["kind"].map(without_apostrophe).tolist() == TEXTS
    assert set(found["x"]) == {"-0.5"} and set(found["n"]) == {"-3"} and set(found["number"]) == {"-1.5e-3"}
    pd.testing.assert_frame_equal(table, kept)
    assert csv_of(table[["x"]], "%.6g") == table[["x"]].to_csv(index=False, float_format="%.6g")


def test_a_file_that_was_just_changed_is_read_again(tmp_path, monkeypatch):
    """Within one step of a disk's clock a second change leaves size, times and inode as they were."""
    path, memory = tmp_path / "a", tmp_path / "memory.csv"
    monkeypatch.setattr(files, "file_state", lambda name: "the same")
    path.write_text("old")
    first = digest_files([path], memory)
    path.write_text("new")
    assert digest_files([path], memory) == [digest_file(path)] != first
    monkeypatch.setattr(files, "COARSEST", -1)  # once it has rested, it is remembered
    digest_files([path], memory)
    path.write_text("now")
    assert digest_files([path], memory) != [digest_file(path)]


def test_what_is_derived_of_a_folder_that_is_read_only_lies_in_the_data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CORRLIB_DATA", str(tmp_path / "data"))
    corpus, other = tmp_path / "corpus", tmp_path / "other"
    for folder in (corpus, other):
        folder.mkdir()
        assert cache_of(folder) == folder / "cache"
    monkeypatch.setattr(os, "access", lambda path, mode: tmp_path / "corpus" not in (path, *path.parents))
    assert cache_of(corpus).parent == tmp_path / "data" / "cache" / "of" and cache_of(other) == other / "cache"
    (corpus / "cache").mkdir()
    assert cache_of(corpus).parent == tmp_path / "data" / "cache" / "of"
    monkeypatch.setattr(os, "access", lambda path, mode: path != corpus)
    assert cache_of(corpus) == corpus / "cache"  # somebody made it writable


@pytest.mark.parametrize(
    "command, shown",
    [
        (
            "-c 'from corrlib.processes import end_with; end_with(lambda: any(map(print, range(99999))))' | head -1",
            "0\n",
        ),
        ("-m corrlib.study.why --help | true", ""),
    ],
)
def test_who_stops_reading_ends_a_command_without_a_word(command, shown):
    program = f"'{sys.executable}' {command}; exit ${{PIPESTATUS[0]}}"
    found = subprocess.run(["bash", "-c", program], capture_output=True, text=True, timeout=120)
    assert (found.stdout, found.stderr) == (shown, "") and found.returncode in (0, 128 + 13)
