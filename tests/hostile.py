"""Files that lie or harm, for tests that hand them over."""

import io
import os
import struct

import numpy as np
import soundfile
import torch


def wav(channels=1, rate=16000, bits=16, data=bytes(3200), size=None, kind=1, align=None):
    """A RIFF file whose header says what it likes."""
    align = channels * bits // 8 if align is None else align
    header = struct.pack("<HHIIHH", kind, channels, rate, rate * align % 2**32, align % 2**16, bits)
    size = len(data) if size is None else size
    body = b"WAVEfmt " + struct.pack("<I", 16) + header + b"data" + struct.pack("<I", size) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def flac(samples):
    """A second of silence in FLAC that claims another number of samples: a decompression bomb."""
    file = io.BytesIO()
    soundfile.write(file, np.zeros(16000, np.float32), 16000, format="FLAC")
    content = bytearray(file.getvalue())
    stated = int.from_bytes(content[18:26], "big") >> 36 << 36 | samples
    content[18:26] = stated.to_bytes(8, "big")
    return bytes(content)


class Booby:
    """Unpickling it makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def flip_a_bit(path, place):
    """One bit of a file becomes another; place: where, from 0 to 1."""
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(bytes(content))


def spoilt(values, value, dtype=None):
    """A copy of a tensor in which one number is `value`."""
    spoilt = values.clone().to(dtype or values.dtype)
    spoilt.view(-1)[spoilt.numel() // 2] = value
    return spoilt


def matrices(right):
    """{what is wrong: a tensor or what pretends to be one}, made of a right matrix (rows, columns)."""
    return {
        "nan": spoilt(right, float("nan"), torch.float32),
        "inf": spoilt(right, float("inf"), torch.float32),
        "-inf": spoilt(right, -float("inf"), torch.float64),
        "complex": right.to(torch.complex64),
        "text": np.full(tuple(right.shape), "a"),
        "objects": np.full(tuple(right.shape), None),
        "no array": None,
        "empty": right[:0],
        "another shape": right[:, :-1],
        "one axis": right[0],
        "ragged": [[1.0], [1.0, 2.0]],
    }


TEMPERATURES = [0, -1.0, float("nan"), float("inf"), "0.05", None, [0.05], 1j, True, torch.tensor([0.05, 0.05])]
COUNTS = [0, -1, 2.5, 2.0, "2", None, True, float("nan"), 10**9]
ONE_OR_MORE = COUNTS[:-1]
LEVELS = [0, 1, 95, -0.95, float("nan")]
WEIGHTS = [
    [1.0],
    [1.0, -1.0],
    [0.0, 0.0],
    [1.0, float("nan")],
    [1.0, float("inf")],
    [1.0, 1j],
    [True, False],
    ["1", "2"],
    [[1.0], [1.0]],
    [],
    1.0,
    "no",
]
ROWS = [[-1], [10**6], [0.5], [[0]], ["a"], [float("nan")], [1j], [True, False]]
