"""What must be the same on a GPU as on a CPU, and the same whichever way it is computed."""

import importlib.util
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

import corrlib
from corrlib.benchmarks.gpu.probe import Probe, probe
from corrlib.benchmarks.gpu.rows import Row, at_most, holds, row
from corrlib.benchmarks.gpu.setup import Setup
from corrlib.models.backbone import Backbone
from corrlib.models.backbones import build_backbone
from corrlib.models.precision import autocast

GOLDEN = corrlib.HOME.parent / "tests" / "models" / "golden"
MANIFESTS = {
    "mn10": ("mn10", "mn10_as"),
    "passt_s16": ("passt_s16", "passt_s_p16_s16_128_ap468"),
    "atst_base": ("atst", "atstframe_base"),
    "mn40": ("mn40", "mn40_as_ext"),
    "passt_s10": ("passt_s10", "passt_s_p16_s10_128_ap476_ap486"),
}
# Of the norm of an embedding: half precision keeps 8 (bfloat16) or 11 bits. A CPU's autocast comes to half of this at
# most; MobileNets are further off where a sound is so quiet that their running statistics magnify what is left of it.
HALF = {"bfloat16": 0.02, "float16": 0.004}
HALF_MOBILENET = {"bfloat16": 0.25, "float16": 0.03}
SAME = 1e-4  # of the norm of an embedding: what float32's rounding may come to
GRADIENT = 5e-4  # the same of a gradient, of its greatest entry


@contextmanager
def full_float32() -> Iterator[None]:
    """Convolutions and products in float32 as it stands: a GPU would take shorter numbers for some of them."""
    kept = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = kept


def apart(found: Tensor, expected: Tensor) -> float:
    """The norm of the difference over the norm of what is expected."""
    found, expected = found.detach().double().cpu(), expected.detach().double().cpu()
    return float((found - expected).norm() / expected.norm())


def vectors(setup: Setup) -> Iterator[Row]:
    """The stored embeddings of the published networks, in every precision; and every backbone against the CPU."""
    with full_float32(), torch.no_grad():
        if (GOLDEN / "recipe.py").is_file():
            for name in list(MANIFESTS)[: 1 if setup.rehearse else None]:
                yield from _golden(name, setup)
        else:
            yield row("stored embeddings", "none here", note="they lie in tests/, which is not here")
        names = ["passt_tiny", "atst_tiny", "mn_tiny"]
        for name in names if setup.rehearse else [*names, "passt_s16", "atst_base", "mn20"]:
            torch.manual_seed(0)
            backbone = build_backbone(name).eval()
            waveform = 0.1 * torch.randn(2, 10 * backbone.sample_rate_hz)
            expected = backbone(waveform)
            yield at_most(
                f"{name}, random weights, float32 against the CPU", _apart(backbone, waveform, expected, setup), SAME
            )


def _apart(backbone: Backbone, waveform: Tensor, expected: Tensor, setup: Setup) -> float:
    return apart(backbone.to(setup.device)(waveform.to(setup.device)), expected)


def _golden(name: str, setup: Setup) -> Iterator[Row]:
    """Of every stored case: the embedding in float32 within the case's own tolerance, in half precision within ours."""
    recipe, (vector, manifest) = _recipe(), MANIFESTS[name]
    stored = np.load(GOLDEN / f"{vector}.npz", allow_pickle=False)
    cases = json.loads(str(stored["meta"]))["cases"]
    shapes = json.loads((GOLDEN / f"{manifest}.json").read_text())
    backbone, worst = build_backbone(name).eval().to(setup.device), dict.fromkeys(("float32", *HALF), 0.0)
    for variant in dict.fromkeys(case["variant"] for case in cases):
        state = recipe.golden_state(shapes, 1, variant)
        backbone.load_published({key: torch.from_numpy(value) for key, value in state.items()})
        for case in [c for c in cases if c["variant"] == variant][: 1 if setup.rehearse else None]:
            waveform = torch.from_numpy(recipe.golden_waveform(case["kind"], 1, case["seconds"])).view(-1, 320000)
            expected = torch.from_numpy(stored[case["name"] + "/embed"])
            for precision in worst:
                with autocast(setup.device, precision):
                    found = backbone(waveform.to(setup.device)).float().mean(0)
                # in float32 as a share of what the case allows
                allowed = case["tol_embed"] if precision == "float32" else 1.0
                worst[precision] = max(worst[precision], apart(found, expected) / allowed)
    yield at_most(f"{name}, stored embeddings, float32", worst["float32"], 1.0, "of what is allowed")
    for precision, bar in (HALF_MOBILENET if name.startswith("mn") else HALF).items():
        yield at_most(f"{name}, stored embeddings, {precision}", worst[precision], bar, "of the norm")


def _recipe() -> Any:
    """The module that makes the stored networks' weights and sounds again."""
    spec = importlib.util.spec_from_file_location("golden_recipe", GOLDEN / "recipe.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def options(setup: Setup) -> Iterator[Row]:
    """Lengths mixed in a batch against one by one; the options of a step against the plain one; float16's scaler."""
    with full_float32():
        yield from _mixed_lengths(setup)
        for name in ("passt_tiny", "atst_tiny", "mn_tiny"):
            plain = probe(setup, name).gradient()
            ways: dict[str, dict[str, Any]] = {"activations computed again": {"checkpoint_activations": True}}
            if name != "mn_tiny":  # whose BatchNorm sees parts
                ways["gradient caching"] = {"part_clips": 3}
            for way, values in ways.items():
                yield at_most(
                    f"{name}, {way}, against the plain step", _worst(plain, probe(setup, name, **values)), GRADIENT
                )
    yield from _overflow(setup)


def _mixed_lengths(setup: Setup) -> Iterator[Row]:
    for name in ("passt_tiny", "mn_tiny") if setup.rehearse else ("passt_tiny", "passt_s16", "atst_base", "mn10"):
        encoder = probe(setup, name).encoder.eval()
        rate = encoder.backbone.sample_rate_hz
        lengths = torch.tensor([int(rate * s) for s in (0.4, 3, 10, 24.5, 30)])
        waveform = 0.1 * torch.randn(len(lengths), int(lengths.max()), generator=torch.Generator().manual_seed(0))
        for row_, length in zip(waveform, lengths.tolist(), strict=True):
            row_[length:] = 0
        with torch.no_grad():
            waveform = waveform.to(setup.device)
            together = encoder.embed_audio(waveform, lengths)
            alone = [
                encoder.embed_audio(w[None, :n], torch.tensor([n]))
                for w, n in zip(waveform, lengths.tolist(), strict=True)
            ]
        yield at_most(f"{name}, mixed lengths against one by one", apart(together, torch.cat(alone)), SAME)
    captions = ["rain", "a dog barks while rain falls on the roof", "wind blows", "people talk in a large hall"] * 40
    with torch.no_grad():
        together, alone = encoder.embed_captions(captions), [encoder.embed_captions([c]) for c in captions[:4]]
    yield at_most("captions, mixed lengths against one by one", apart(together[:4], torch.cat(alone)), SAME)


def _worst(plain: tuple[float, dict[str, Tensor]], other: Probe) -> float:
    """The greatest difference of loss and gradient, of the greatest entry."""
    loss, gradient = other.gradient()
    top = max(float(g.abs().max()) for g in plain[1].values())
    differences = [float((plain[1][name] - gradient[name]).abs().max()) / top for name in plain[1]]
    return max(abs(loss - plain[0]) / plain[0], *differences)


def compiled_is_plain(setup: Setup) -> Iterator[Row]:
    """A compiled backbone against the plain one, at a tiny size; a rehearsal traces it without making kernels."""
    with full_float32(), compiler(setup):
        plain = probe(setup, "passt_tiny").gradient()
        yield at_most(
            "passt_tiny, compiled, against the plain step",
            _worst(plain, probe(setup, "passt_tiny", compile_backbone=True)),
            GRADIENT,
        )


@contextmanager
def compiler(setup: Setup) -> Iterator[None]:
    """torch.compile as it is, or in a rehearsal without its kernels, which take a minute."""
    if setup.full:
        yield
        return
    with mock.patch.object(torch, "compile", partial(torch.compile, backend="eager")):
        yield


def _overflow(setup: Setup) -> Iterator[Row]:
    """A scale of the loss that is far too great: the step is left out, the scale halved, until one is taken."""
    trainer = probe(setup, "passt_tiny", precision="float16")
    trainer.update = True
    trainer.scaler = torch.amp.GradScaler(setup.device.type, init_scale=2.0**40)
    before = [p.detach().clone() for p in trainer.trained]

    def stayed() -> bool:
        return all(torch.equal(p, old) for p, old in zip(trainer.trained, before, strict=True))

    trainer.step()
    yield holds("float16, an overflow leaves the weights", stayed())
    yield holds("float16, an overflow halves the scale", trainer.scaler.get_scale() == 2.0**39)
    steps = 1
    while stayed() and steps < 60:
        trainer.step()
        steps += 1
    yield holds("float16, then it goes on", not stayed(), f"after {steps} steps")
    finite = all(bool(torch.isfinite(p).all()) for p in trainer.trained)
    yield holds("float16, all weights are finite", finite)


def waiting(setup: Setup) -> Iterator[Row]:
    """Steps in which torch refuses to wait for the GPU; on a CPU they only run (tests count there)."""
    names: Sequence[str] = ("passt_tiny",) if setup.rehearse else ("passt_s16", "atst_base", "mn10")
    for name in names:
        for precision in ("float32", "bfloat16", "float16"):
            trainer = probe(setup, name, waveforms=True, drawn=True, precision=precision)
            trainer.update = True
            trainer.step()
            if not setup.gpu:
                yield row(f"{name}, {precision}, waits for nothing", "not known", note="only a GPU can be waited for")
                continue
            torch.cuda.set_sync_debug_mode("error")
            try:
                outcomes = [trainer.begin_step() for _ in range(2)]
                found, why = True, ""
            except RuntimeError as error:
                outcomes, found, why = [], False, " ".join(str(error).split())[:200] + _where(error)
            finally:
                torch.cuda.set_sync_debug_mode("default")
            yield holds(f"{name}, {precision}, waits for nothing", found, why)
            for outcome in outcomes:
                outcome.read()


def _where(error: BaseException) -> str:
    """The line of corrlib at which it was raised."""
    place, trace = "", error.__traceback__
    while trace is not None:
        path = Path(trace.tb_frame.f_code.co_filename)
        if path.is_relative_to(corrlib.HOME) and "benchmarks" not in path.parts:
            place = f", at {path.name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place
