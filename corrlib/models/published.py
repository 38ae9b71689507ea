"""Published checkpoints: their tensors are read, and nothing that their pickles name is imported or run.

A checkpoint of PyTorch is a pickle, and a pickle may name any function and have it called. What trainers publish is
often the whole state of a training run: beside its tensors stand NumPy scalars, `argparse.Namespace`, paths, partial
functions and classes of packages that are not installed here. So a pickle is read with names looked up in a short
list that lies in this file: dictionaries, and records of tensors. Every other name becomes a `StandIn`, which takes
whatever it is given and does nothing. Both layouts of `torch.save` are read: the zip archive of today, and the stream
of before 2020.
"""

import math
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

WRAPPERS = ("state_dict", "model")  # under which a whole training state keeps the network's tensors
STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": torch.uint8,
}
STREAM_MAGIC, STREAM_VERSION = 0x1950A86A20F9469CFC6C, 1001  # with which torch.save began before 2020


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """{name: tensor} of a file of `torch.save`, taken out of `state_dict` or `model` where it is wrapped in one.

    Values that are no tensors are given as they stand, objects as a `StandIn`. ValueError, in one sentence, for what
    is no such file, is damaged, or holds no state dict.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            if zipfile.is_zipfile(file):
                return _of_archive(file)
            file.seek(0)
            return _of_stream(file)
    except Refused as error:
        reason = str(error)
    except Exception as error:  # a damaged pickle fails in as many ways as there are
        reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:100]}"
    raise ValueError(f"{path} is not a checkpoint that can be read safely ({reason}); use the published file")


class Refused(ValueError):
    """Why a file is not read, as it stands in the brackets of the message."""


class StandIn:
    """In place of an object of any class that a pickle names: it takes everything, and does nothing.

    A class of its own is made for each name, in each file: whatever a pickle does to it ends with that file.
    """

    stands_for = ""

    def __new__(cls, *_args: object, **_named: object) -> "StandIn":
        """An object that keeps nothing of what it is made from."""
        return object.__new__(cls)

    def __init__(self, *_args: object, **_named: object) -> None: ...

    def __repr__(self) -> str:
        return f"StandIn({self.stands_for})"

    def _nothing(*_args: object, **_named: object) -> None: ...

    # what the opcodes of a pickle call on objects, and on classes
    __setstate__ = __setitem__ = append = extend = add = _nothing

    def __call__(self, *_args: object, **_named: object) -> "StandIn":
        """A stand-in called is a stand-in."""
        return self


class Known:
    """A function that a pickle may call. Its slots are not changed by what a pickle sets on it."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call

    def __call__(self, *args: object) -> Any:
        """What the function makes of the arguments; the records below are all that it can be."""
        return self.call(*args)

    def __setstate__(self, _state: object) -> None: ...


@dataclass(frozen=True, slots=True)
class Storage:
    """The numbers that tensors share, by the key under which the file holds them."""

    dtype: torch.dtype
    key: str
    count: int

    def __setstate__(self, _state: object) -> None: ...


@dataclass(frozen=True, slots=True)
class View:
    """A tensor as it is written: a part of a storage, in numbers of elements."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    def __setstate__(self, _state: object) -> None: ...


def _view(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> View | StandIn:
    """Arguments of `torch._utils._rebuild_tensor`, `_v2` and `_v3` (which gives a dtype of its own) as a View."""
    if not isinstance(storage, Storage):  # quantised, sparse, or made up
        return StandIn()
    numbers = (offset, *size, *stride)
    if len(size) != len(stride) or any(type(number) is not int or number < 0 for number in numbers):
        raise Refused(f"a tensor of its storage {storage.key} has an impossible shape")
    dtype = rest[2] if len(rest) > 2 and isinstance(rest[2], torch.dtype) else storage.dtype
    return View(storage, offset, tuple(size), tuple(stride), dtype)


def _of_type(function: Any, _kind: Any, args: Any, _state: Any = None) -> Any:
    """A tensor that carried attributes of its own: without them."""
    return function(*args) if isinstance(function, Known) else StandIn()


REBUILD = {
    "_rebuild_tensor": Known(_view),
    "_rebuild_tensor_v2": Known(_view),
    "_rebuild_tensor_v3": Known(_view),
    "_rebuild_parameter": Known(lambda data, *_: data),
    "_rebuild_parameter_with_state": Known(lambda data, *_: data),
}


class Unpickler(pickle.Unpickler):
    """Reads a pickle in which a name means what `find_class` says, and nothing is imported."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.storages: dict[str, Storage] = {}
        self.names: dict[tuple[str, str], type[StandIn]] = {}

    def find_class(self, module: str, name: str) -> Any:
        """What stands for `module.name`."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict  # of C, as immutable as `dict` and `tuple`
        if module == "torch._utils" and name in REBUILD:
            return REBUILD[name]
        if (module, name) == ("torch._tensor", "_rebuild_from_type_v2"):
            return Known(_of_type)
        if (module, name) == ("torch", "Size"):
            return tuple
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        if module in ("torch", "torch.storage") and name in STORAGES:
            return STORAGES[name]
        if (module, name) not in self.names:
            self.names[module, name] = type("StandIn", (StandIn,), {"stands_for": f"{module}.{name}"[:80]})
        return self.names[module, name]

    def persistent_load(self, pid: Any) -> Storage | StandIn:
        """The Storage of ('storage', kind, key, device, count, ...); a StandIn of all else that lies outside."""
        if not (isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage" and isinstance(pid[1], torch.dtype)):
            return StandIn()
        dtype, key, count = pid[1], pid[2], pid[4]
        if type(count) is not int or count < 0 or not isinstance(key, str):
            raise Refused("a storage has an impossible size or key")
        found = self.storages.setdefault(key, Storage(dtype, key, count))
        if found != Storage(dtype, key, count) or (len(pid) > 5 and pid[5] is not None):
            raise Refused(f"its storage {key} is used as two kinds of numbers")
        return found


def _load(file: BinaryIO) -> tuple[Any, dict[str, Storage]]:
    """(the object of the next pickle in a file, the storages that it names)."""
    start, count = file.tell(), 0
    for opcode, argument, _ in pickletools.genops(file):
        count += 1
        if opcode.name.startswith("EXT"):
            raise Refused("its pickle uses extension codes")
        if opcode.name.endswith("PUT") and int(argument or 0) > count:  # one number would take all memory
            raise Refused("its pickle numbers objects that it does not hold")
    file.seek(start)
    unpickler = Unpickler(file)
    return unpickler.load(), unpickler.storages


def _of_archive(file: BinaryIO) -> dict[str, Any]:
    """The state dict of a zip archive: `<name>/data.pkl`, and a stored member `<name>/data/<key>` for each storage."""
    with zipfile.ZipFile(file) as archive:
        members = {member.filename: member for member in archive.infolist()}
        pickles = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise Refused("it is a zip archive, but not one of torch.save")
        if any(member.compress_type != zipfile.ZIP_STORED for member in members.values()):
            raise Refused("its members are compressed, which those of torch.save never are")
        folder = pickles[0].removesuffix("data.pkl")
        if f"{folder}byteorder" in members and archive.read(f"{folder}byteorder") != b"little":
            raise Refused("it was written by a big-endian machine")
        with archive.open(pickles[0]) as pickled:
            root, _ = _load(pickled)  # pyrefly: ignore[bad-argument-type]

        def numbers(storage: Storage) -> bytes:
            name = f"{folder}data/{storage.key}"
            if name not in members:
                raise Refused(f"its storage {storage.key} is missing")
            return archive.read(members[name])

        return _tensors(root, numbers)


def _of_stream(file: BinaryIO) -> dict[str, Any]:
    """The state dict of the layout before 2020: five pickles, then size and numbers of each storage in turn."""
    try:
        if _load(file)[0] != STREAM_MAGIC or _load(file)[0] != STREAM_VERSION:
            raise Refused("it is no file of torch.save")
    except (ValueError, pickle.UnpicklingError, EOFError):
        raise Refused("it is no file of torch.save") from None
    machine = _load(file)[0]
    if isinstance(machine, dict) and machine.get("little_endian") is False:
        raise Refused("it was written by a big-endian machine")
    root, storages = _load(file)
    keys = _load(file)[0]
    end, found = Path(file.name).stat().st_size, {}
    if not isinstance(keys, list):
        raise Refused("its list of storages is damaged")
    for key in keys:
        storage = storages.get(key) if isinstance(key, str) else None
        count = int.from_bytes(file.read(8), "little")
        if storage is None or storage.count != count or file.tell() + count * storage.dtype.itemsize > end:
            raise Refused(f"its storage {str(key)[:40]} is damaged")
        found[key] = file.tell()
        file.seek(count * storage.dtype.itemsize, 1)

    def numbers(storage: Storage) -> bytes:
        if storage.key not in found:
            raise Refused(f"its storage {storage.key} is missing")
        file.seek(found[storage.key])
        return file.read(storage.count * storage.dtype.itemsize)

    return _tensors(root, numbers)


def _tensors(root: Any, numbers: Callable[[Storage], bytes]) -> dict[str, Any]:
    """The state dict in an unpickled object, its Views as tensors. Of the rest of a training state nothing is read."""
    for wrapper in WRAPPERS:
        if isinstance(root, dict) and isinstance(dict.get(root, wrapper), dict):
            root = dict.get(root, wrapper)
    if not isinstance(root, dict):
        raise Refused(f"it holds {_kind(root)}, not a state dict")
    read: dict[str, Tensor] = {}
    state: dict[str, Any] = {}
    for name, value in dict.items(root):
        if not isinstance(name, str):
            raise Refused(f"its state dict has {_kind(name)} for a name")
        state[name] = _tensor(name, value, numbers, read) if isinstance(value, View) else value
    if not any(isinstance(value, Tensor) for value in state.values()):
        raise Refused("its state dict holds no tensor")
    return state


def _tensor(name: str, view: View, numbers: Callable[[Storage], bytes], read: dict[str, Tensor]) -> Tensor:
    storage = view.storage
    if storage.key not in read:
        content = numbers(storage)
        if len(content) != storage.count * storage.dtype.itemsize:
            raise Refused(f"its storage {storage.key} holds {len(content)} bytes, another number than it should")
        read[storage.key] = torch.frombuffer(bytearray(content or b"\0"), dtype=torch.uint8)[: len(content)]
    step, whole = view.dtype.itemsize, read[storage.key]
    last = view.offset + sum((n - 1) * stride for n, stride in zip(view.size, view.stride, strict=True))
    if not math.prod(view.size):
        return torch.empty(view.size, dtype=view.dtype)
    if (last + 1) * step > len(whole):
        raise Refused(f"its tensor {name[:80]} reaches beyond what the file holds")
    kept = whole[: len(whole) // step * step].view(view.dtype)
    return torch.as_strided(kept, view.size, view.stride, view.offset)


def _kind(value: object) -> str:
    """What an unpickled value is, in words."""
    if isinstance(value, StandIn):
        return f"an object of {value.stands_for or 'a kind that is not read'}"
    if isinstance(value, View):
        return "one tensor"
    return f"a value of {type(value).__name__}" if not isinstance(value, Mapping) else "a mapping"
