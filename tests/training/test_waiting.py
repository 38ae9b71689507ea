"""In a step of training the CPU never asks for what a GPU has yet to compute, nor waits for a copy to it.

A machine without a GPU shows it, too: what comes from the encoder's parameters is what a GPU would hold, and every way
to ask for its numbers is counted. On a GPU, `make gpu` has torch itself refuse to wait.
"""

import weakref
from contextlib import contextmanager

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from corrlib.corpora.ahead import load_ahead
from corrlib.corpora.batches import LogMels, WaveformAudio
from corrlib.training.outcome import Outcome
from tests.models.test_fast import Pairs, trainer_of

NUMBERS = ("_local_scalar_dense", "nonzero", "masked_select", "_unique", "unique_", "equal")  # .item(), bool(), float()
DRAWN = {"passt_tiny": {"patchout": (30, 0)}, "atst_tiny": {"warp": 0.6}, "mn_tiny": {}}  # as in real training
OPTIONS = [
    {},
    {"precision": "bfloat16"},
    {"precision": "float16"},
    {"part_clips": 3},
    {"accumulate_batches": 2, "batch_clips": 4},
    {"checkpoint_activations": True},
]


class Watch(TorchDispatchMode):
    """Counts questions to what a GPU would hold: `seen` tensors, and all that is computed from them."""

    def __init__(self, seen):
        super().__init__()
        self.asked, self.copied = [], []
        self.ids = {}
        for tensor in seen:
            self.add(tensor)

    def add(self, tensor):
        key = id(tensor)
        self.ids[key] = weakref.ref(tensor, lambda _: self.ids.pop(key, None))

    def holds(self, tensor):
        return isinstance(tensor, torch.Tensor) and id(tensor) in self.ids

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        if any(self.holds(tensor) for tensor in given):
            name = function.overloadpacket.__name__
            masked = name.startswith("index") and any(tensor.dtype == torch.bool for tensor in given[1:])
            if masked or any(name.startswith(kind) for kind in NUMBERS):
                self.asked.append(name)
            for tensor in tree_leaves(found):
                if isinstance(tensor, torch.Tensor):
                    self.add(tensor)
        return found


@contextmanager
def watched(encoder, monkeypatch):
    """A Watch of what comes from an encoder, which also sees the methods that are no operation of torch's."""
    watch = Watch([*encoder.parameters(), *encoder.buffers()])
    with monkeypatch.context() as patched:
        for name in ("tolist", "numpy", "cpu"):
            usual = getattr(torch.Tensor, name)

            def ask(self, *args, usual=usual, name=name, **kwargs):
                watch.asked.extend([name] if watch.holds(self) else [])
                return usual(self, *args, **kwargs)

            patched.setattr(torch.Tensor, name, ask)
        to, make = torch.Tensor.to, torch.tensor

        def copy(self, *args, **kwargs):
            if args and isinstance(args[0], torch.device | str) and not watch.holds(self):
                watch.copied.append((self, kwargs.get("non_blocking", False)))
            return to(self, *args, **kwargs)

        def here(*args, **kwargs):
            assert "device" not in kwargs, "torch.tensor(..., device=...) waits for the device"
            return make(*args, **kwargs)

        patched.setattr(torch.Tensor, "to", copy)
        patched.setattr(torch, "tensor", here)
        with watch:
            yield watch


def test_the_watch_sees_every_way_to_ask(monkeypatch):
    layer = torch.nn.Linear(2, 2)
    ways = [
        lambda x: x.detach().sum().item(),
        lambda x: float(x.detach().sum()),
        lambda x: bool((x > 0).all()),
        lambda x: x.tolist(),
        lambda x: x.detach().numpy(),
        lambda x: x.cpu(),
        lambda x: x[x > 0],
        lambda x: x[torch.ones(3, dtype=torch.bool)],
        lambda x: x.nonzero(),
        lambda x: x.unique(),
    ]
    for way in ways:
        with watched(layer, monkeypatch) as watch:
            x = layer(torch.ones(3, 2))
            assert not watch.asked
            way(x)
        assert watch.asked
    with watched(layer, monkeypatch) as watch:
        torch.ones(3).tolist()  # never was on a GPU
    assert not watch.asked


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", ["passt_tiny", "atst_tiny", "mn_tiny"])
def test_a_step_asks_for_nothing(name, options, monkeypatch):
    trainer = trainer_of(name, Pairs(8), DRAWN[name], **options)
    trainer.encoder.float()
    batches = [
        (batch, [LogMels(part.log_mel.half()) for part in parts])
        for batch, parts in load_ahead(trainer.audio, trainer._requests(), 0)
    ]
    with watched(trainer.encoder, monkeypatch) as watch:
        outcomes = [trainer._step(batch, parts, count) for count, (batch, parts) in enumerate(batches)]
    assert not watch.asked and all(isinstance(outcome, Outcome) for outcome in outcomes)
    assert all(trainer._loss_of(outcome) > 0 for outcome in outcomes)
    waiting = [tuple(tensor.shape) for tensor, at_once in watch.copied if not at_once]
    assert watch.copied and not waiting
    audio = {id(part.log_mel) for _, parts in batches for part in parts}
    times = 2 if "part_clips" in options else 1  # what is embedded twice is sent twice
    assert sum(id(tensor) in audio for tensor, _ in watch.copied) == times * len(audio)


@pytest.mark.parametrize("name", ["passt_tiny", "atst_tiny", "mn_tiny"])
def test_the_way_from_waveforms_asks_for_nothing(name, monkeypatch):
    """Of several lengths, with all that is drawn in training."""
    trainer = trainer_of(name, Pairs(4), DRAWN[name])
    encoder = trainer.encoder.float().train()
    batch = WaveformAudio.collate([torch.randn(n * 8000) for n in (1, 3, 24, 41)])
    with watched(encoder, monkeypatch) as watch:
        encoder.embed_batch(batch).square().sum().backward()
    assert not watch.asked and all(at_once for _, at_once in watch.copied)
    assert sum(tensor is batch.waveform for tensor, _ in watch.copied) == 1


def test_a_step_that_diverges_leaves_the_weights_as_they_were():
    trainer = trainer_of("atst_tiny", Pairs(4), {"depth": 1})
    before = [p.detach().clone() for p in trainer.trained]
    (batch, parts), *_ = load_ahead(trainer.audio, trainer._requests(), 0)
    hook = trainer.encoder.audio_projection.weight.register_hook(lambda gradient: gradient * float("nan"))
    outcome = trainer._step(batch, parts, 0)
    assert all(torch.equal(p, old) for p, old in zip(trainer.trained, before, strict=True))
    with pytest.raises(RuntimeError, match="the gradient's norm is nan at step 0"):
        trainer._loss_of(outcome)
    hook.remove()
    trainer._step(batch, parts, 0)  # and a good one moves them
    assert not any(torch.equal(p, old) for p, old in zip(trainer.trained[-4:], before[-4:], strict=True))
