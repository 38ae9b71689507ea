"""Published checkpoints: whole training states load, and nothing that a pickle names is imported or run."""

import argparse
import functools
import os
import pickle
import random
import re
import struct
import sys
import zipfile
from collections import OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch

from corrlib.models.backbones import build_backbone
from corrlib.models.published import StandIn, read_checkpoint

SMALL = {"width": 8, "depth": 2, "heads": 2, "positions": 6}
MEMBER = "archive/data.pkl"


def small_atst():
    torch.manual_seed(0)
    return build_backbone("atst_base", **SMALL)


class Augment:
    """A class of somebody's training code, which a reader does not have."""

    def __init__(self):
        self.steps = [np.float64(0.5), Path("clips")]


def training_state(prefix, state):
    """What Lightning keeps beside the tensors, and then some."""
    return {
        "epoch": 9,
        "pytorch-lightning_version": "2.0.1",
        "state_dict": OrderedDict((prefix + key, value) for key, value in state.items()),
        "loops": {"progress": defaultdict(list, {"best": [np.float32(0.1)]})},
        "callbacks": {"checkpoint": {"best": np.float64(0.4), "where": Path("runs/last.ckpt"), "kept": {1, 2}}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}, "clip": functools.partial(max, 1)}],
        "hyper_parameters": argparse.Namespace(lr=np.float32(1e-4), augment=Augment(), device=torch.device("cpu")),
        "numbers": np.arange(4.0),
    }


@pytest.mark.parametrize("zipped", [True, False], ids=["archive", "stream of before 2020"])
@pytest.mark.parametrize("prefix", ["encoder.encoder.", "model.teacher.encoder."])
def test_a_whole_training_state_loads(tmp_path, prefix, zipped):
    atst = small_atst()
    state = {key.replace("norm_frame.", "norm."): value for key, value in atst.state_dict().items()}
    whole = training_state(prefix, {**state, "cls_token": torch.zeros(1, 1, 8)})
    torch.save(whole, tmp_path / "atst.ckpt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(pickle.UnpicklingError):  # torch's own safe reading refuses such a file as a whole
        torch.load(tmp_path / "atst.ckpt", weights_only=True)
    torch.manual_seed(1)
    loaded = build_backbone("atst_base", **SMALL)
    loaded.load_published(tmp_path / "atst.ckpt")
    for key, value in atst.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value), key


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_are_what_torch_reads(tmp_path, zipped):
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(6, 5, generator=generator)
    kinds = [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8]
    state = {str(kind): (10 * shared).to(kind) for kind in [*kinds, torch.uint8, torch.bool, torch.complex64]}
    state |= {"rows": shared[2:4], "columns": shared[:, 1::2], "turned": shared.T, "one": torch.tensor(3.5)}
    state |= {"none": torch.zeros(0, 4), "spread": shared[:1].expand(3, 5), "weight": torch.nn.Parameter(shared)}
    torch.save({"model": state, "best": np.float64(1)}, tmp_path / "model.pt", _use_new_zipfile_serialization=zipped)
    read = read_checkpoint(tmp_path / "model.pt")
    assert list(read) == list(state)
    for key, value in state.items():
        assert read[key].dtype == value.dtype and torch.equal(read[key], value.detach()), key
        assert not read[key].requires_grad


def test_an_object_where_a_tensor_belongs_is_named(tmp_path):
    mobilenet = build_backbone("mn_tiny")
    state = {**mobilenet.state_dict(), "features.0.0.weight": Augment()}
    first = next(iter(mobilenet.state_dict()))
    torch.save({**mobilenet.state_dict(), first: Augment()}, tmp_path / "odd.pt")
    with pytest.raises(ValueError, match=re.escape(first)):
        mobilenet.load_published(tmp_path / "odd.pt")
    torch.save(state, tmp_path / "state.pt")
    found = read_checkpoint(tmp_path / "state.pt")["features.0.0.weight"]
    assert isinstance(found, StandIn) and "Augment" in repr(found)


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "no file of torch.save"),
        (b"<html>Not Found</html>", "no file of torch.save"),
        (pickle.dumps({"a": 1}), "no file of torch.save"),
        (b"\x80\x02" + b"\x8a\x0a" + struct.pack("<Q", 0xA86A20F9469CFC6C) + b"\x50\x19.", "EOF|no file"),
    ],
)
def test_what_is_no_checkpoint_is_refused(tmp_path, content, reason):
    (tmp_path / "file.pt").write_bytes(content)
    with pytest.raises(ValueError, match=f"file.pt is not a checkpoint that can be read safely .*({reason})"):
        read_checkpoint(tmp_path / "file.pt")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_cut_short_or_changed_is_refused(tmp_path, zipped):
    torch.save({"weight": torch.arange(4000.0)}, tmp_path / "whole.pt", _use_new_zipfile_serialization=zipped)
    whole = (tmp_path / "whole.pt").read_bytes()
    for kept in np.linspace(1, len(whole) - 1, 40).astype(int):
        (tmp_path / "cut.pt").write_bytes(whole[:kept])
        with pytest.raises(ValueError, match="cannot|can be read safely"):
            read_checkpoint(tmp_path / "cut.pt")
    if zipped:  # the archive carries checksums
        place = whole.index(torch.tensor(1234.0).numpy().tobytes())
        (tmp_path / "bent.pt").write_bytes(whole[:place] + b"\xff" + whole[place + 1 :])
        with pytest.raises(ValueError, match="CRC"):
            read_checkpoint(tmp_path / "bent.pt")


def archive(path, pickled, storages):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(MEMBER, pickled)
        for key, content in storages.items():
            file.writestr(f"archive/data/{key}", content)


def name(text):
    return b"X" + struct.pack("<I", len(text.encode())) + text.encode()


def hostile_values(rng, canary):
    """Pickled expressions, each one value, that would do something in a reader that imports what they name."""
    functions = ["os mkdir", "os system", "posix system", "subprocess call", "subprocess Popen", "builtins exec"]
    functions += ["builtins eval", "builtins __import__", "builtins getattr", "builtins setattr", "shutil rmtree"]
    functions += ["importlib import_module", "runpy run_path", "webbrowser open", "torch load", "torch.hub load"]
    functions += ["numpy load", "pickle loads", "operator methodcaller", "functools partial", "types FunctionType"]
    functions += [
        "torch.serialization load",
        "torch._utils _rebuild_tensor_v2.__globals__",
        "this s",
        "antigravity fly",
    ]
    functions += ["corrlib.models.published Path.mkdir", "torch._utils _import_dotted_name", "torch.storage os.mkdir"]
    functions += ["collections OrderedDict.__init__.__globals__", "torch Tensor", "torch.jit load", "logging.config x"]
    functions += ["numpy.core.multiarray scalar", "argparse Namespace", "pathlib PosixPath", "\u00e4 \u00f6", " "]
    module, function = rng.choice(functions).split(" ", 1)
    argument = rng.choice(
        [name(str(canary)), name(f"touch {canary}"), name(f"__import__('os').mkdir({str(canary)!r})")]
    )
    argument = rng.choice([argument, argument, b"N", b"}", b"h\x00"])
    looked_up = f"c{module}\n{function}\n".encode()
    stacked = name(module) + name(function) + b"\x93"
    called = rng.choice([looked_up, stacked]) + argument + b"\x85R"
    return rng.choice(
        [
            called,
            called + b"}" + name("x") + argument + b"sb",  # BUILD
            called + argument + b"\x85R",  # the result called once more
            b"(" + argument + f"i{module}\n{function}\n".encode(),  # INST
            b"(" + looked_up + argument + b"o",  # OBJ
            looked_up + argument + b"\x85\x81",  # NEWOBJ
            looked_up + argument + b"\x85}\x92",  # NEWOBJ_EX
            looked_up + b"N}" + name("__call__") + looked_up + b"s\x86b",  # slots set on the class
            b"ctorch._utils\n_rebuild_tensor_v2\nN}" + name("__defaults__") + looked_up + b"s\x86b",
            b"ctorch._utils\n_rebuild_parameter\n" + called + b"\x85R",
            b"ctorch._tensor\n_rebuild_from_type_v2\n(" + looked_up + looked_up + argument + b"\x85NtR",
            b"ctorch._utils\n_rebuild_tensor_v2\n(" + called + b"K\x00K\x04\x85K\x01\x85\x89NtR",
            b"ccollections\nOrderedDict\n)RN}" + name("items") + looked_up + b"s\x86b",
            b"(" + called + argument + b"tQ",  # a persistent id that is no storage
            b"(" + name("storage") + b"ctorch\nFloatStorage\n" + name("../0") + name("cpu") + b"J\xff\xff\xff\x7ftQ",
            b"\x82\x01" + argument + b"\x85R",  # an extension code
            b"Nr\xff\xff\xff\x7f",  # an object numbered two thousand million
            b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f",  # a text of eight exabytes
            b"(" * 5000 + b"t" * 5000,
            called + b"(" + argument + argument + b"u",  # SETITEMS
            called + b"(" + argument + b"e",  # APPENDS
        ]
    )


def bent(rng, pickled):
    """A pickle in which some bytes are other ones, gone, doubled or changed places."""
    content = bytearray(pickled)
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        place, length = rng.randrange(2, len(content)), rng.randrange(1, 8)
        how = rng.randrange(4)
        if how == 0:
            content[place] = rng.randrange(256)
        elif how == 1 and len(content) > 20:
            del content[place : place + length]
        elif how == 2:
            content[place:place] = content[place : place + length]
        else:
            content[place:place] = bytes(rng.choice(b"()}].Rbosuaetq\x81\x85\x86\x93QN0") for _ in range(length))
    return bytes(content)


class Watch:
    """What Python's audit events tell that somebody does, while it is on."""

    QUIET = ("pickle.find_class", "object.__getattr__", "object.__setattr__", "marshal.loads", "gc.", "array.")

    def __init__(self):
        self.seen, self.on = [], False
        sys.addaudithook(self)

    def __call__(self, event, args):
        if self.on and not event.startswith(self.QUIET) and "encodings" not in str(args):  # Python's own codecs
            self.seen.append((event, str(args)[:200]))


WATCHED = []


def test_hostile_and_odd_pickles_run_nothing(tmp_path):
    """Each loads its tensors, or is refused with its name; the audit events show the file opened, and nothing else."""
    if not WATCHED:
        WATCHED.append(Watch())  # a hook is there until the process ends
    watch, rng = WATCHED[0], random.Random(int(os.environ.get("FUZZ_SEED", "0")))
    canary = tmp_path / "canary"
    weight = torch.arange(6.0).reshape(2, 3)
    torch.save({"state_dict": {"weight": weight}, "more": np.float64(1), "n": argparse.Namespace(a=1)}, tmp_path / "a")
    with zipfile.ZipFile(tmp_path / "a") as file:
        storages = {"0": file.read("a/data/0")}
        good = file.read("a/data.pkl")
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n((" + name("storage") + b"ctorch\nFloatStorage\n" + name("0")
    tensor += name("cpu") + b"K\x06tQK\x00K\x02K\x03\x86K\x03K\x01\x86\x89}tR"
    cases = []
    for _ in range(400):
        value = hostile_values(rng, canary)
        pairs = [name("state_dict") + b"}" + name("weight") + tensor + b"s", name("more") + value]
        pairs = rng.sample(pairs, 2)
        if rng.random() < 0.3:  # among the tensors
            pairs = [name("state_dict") + b"}(" + name("odd") + value + name("weight") + tensor + b"u"]
        cases.append((b"\x80\x04}q\x00(" + b"".join(pairs) + b"u.", True))
    cases += [(bent(rng, rng.choice([good, *(case for case, _ in cases)])), False) for _ in range(400)]
    path, loaded, refused = tmp_path / "case.pt", 0, 0
    for number, (pickled, whole) in enumerate([(good, True)] * 2 + cases):
        archive(path, pickled, storages)
        modules = set(sys.modules)
        watch.seen.clear()
        watch.on = number > 1  # the first readings import what torch imports when first asked
        try:
            state = read_checkpoint(path)
        except ValueError as error:
            message = str(error)
            assert message.startswith(f"{path} is not a checkpoint that can be read safely ("), message
            assert "\n" not in message and len(message) < 500
            refused += 1
        else:
            loaded += 1
            assert any(isinstance(value, torch.Tensor) for value in state.values())
            assert not whole or torch.equal(state["weight"], weight)
        finally:
            watch.on = False
        assert [event for event in watch.seen if event[0] != "open" or str(path) not in event[1]] == []
        imported = {module for module in set(sys.modules) - modules if not module.startswith("encodings.")}
        assert not canary.exists() and (number < 2 or not imported)
    assert loaded > 200 and refused > 100  # both kinds are there, or nothing has been tried
    archive(path, good, storages)
    assert torch.equal(read_checkpoint(path)["weight"], weight)  # no case has changed the reader


def test_the_fuzzer_would_see_a_reader_that_runs_things(tmp_path, monkeypatch):
    """The same watch, over the pickle module itself."""
    if not WATCHED:
        WATCHED.append(Watch())
    watch, canary = WATCHED[0], tmp_path / "canary"
    watch.seen.clear()
    watch.on = True
    try:
        pickle.loads(b"\x80\x04cos\nmkdir\n" + name(str(canary)) + b"\x85R.")
    finally:
        watch.on = False
    assert canary.exists() and "os.mkdir" in [event for event, _ in watch.seen]
