"""How fast the published sizes are, beside what one would use instead, and where a step's time goes."""

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity
from torch.utils.flop_counter import FlopCounterMode

from corrlib.benchmarks.gpu.machine import peak_tflops
from corrlib.benchmarks.gpu.probe import Probe, sounds, teacher, text_encoder
from corrlib.benchmarks.gpu.right import compiled_is_plain, compiler
from corrlib.benchmarks.gpu.rows import Row, at_least, at_most, only_if, row
from corrlib.benchmarks.gpu.setup import Setup
from corrlib.benchmarks.measure import in_turns, installed, memory, seconds
from corrlib.benchmarks.models import captions_of, published_passt
from corrlib.corpora.batches import Waveforms
from corrlib.models.backbone import Backbone
from corrlib.models.backbones import build_backbone
from corrlib.models.dual_encoder import DualEncoder
from corrlib.models.precision import autocast
from corrlib.models.text import distinct

PRECISION = "bfloat16"
ASKED = 1500.0  # segments a second in training
SHARE = 0.3  # of the matrix product's best
FASTER, MEMORY = 1.5, 0.8  # beside hear21passt


def published(setup: Setup) -> DualEncoder:
    """PaSST s16 and roberta-large with random weights and the published dropout; in a rehearsal both tiny."""
    torch.manual_seed(0)
    with setup.device:
        text = text_encoder(setup.full, 0.2 if setup.full else 0.0)
        backbone = build_backbone("passt_s16" if setup.full else "passt_tiny")
        return DualEncoder(backbone, text, 1024 if setup.full else 32).to(setup.device)


def batch(setup: Setup, encoder: DualEncoder) -> Waveforms:
    """64 clips of 30 s, as a batch of the published recipe comes from the disk; in a rehearsal two of 3 s."""
    clips, duration = (64, 30) if setup.full else (2, 3)
    return sounds(clips, encoder.backbone.sample_rate_hz, duration, setup.gpu)


def segments(audio: Waveforms, encoder: DualEncoder) -> int:
    """Segments of 10 s, or less, that a batch holds."""
    return sum(len(places) for places in encoder._segments(audio.waveform.shape[1], audio.lengths).values())


def published_probe(setup: Setup, parts: int = 1, **values: Any) -> Probe:
    """The published step, towards annotated pairs and an estimate; of so many times the published batch, in parts."""
    encoder = published(setup)
    audio = batch(setup, encoder)
    found = Probe(
        encoder,
        teacher(parts * len(audio.lengths)),
        {"precision": PRECISION, "learning_rate": 2e-5, **values},
        [audio] * parts,
    )
    found.update = True
    return found


def each(call: Callable[[], object], count: int) -> float:
    """Seconds of one of so many calls, begun one after another as training does: not waited for in between."""
    return seconds(lambda: [call() for _ in range(count)]) / count


def training(setup: Setup) -> Iterator[Row]:
    """The published step and embedding: segments a second, share of the matrix product's best, memory."""
    found = published_probe(setup)
    count = segments(found.parts[0], found.encoder)
    for _ in range(3):
        found.step()
    steps = 20 if setup.full else 2
    taken = found.seconds_a_step(steps)
    peak = peak_tflops(setup, torch.bfloat16)
    note = f"{1000 * taken:.1f} ms a step of {len(found.batch.clip_rows)} clips, {count} segments"
    rate = count / taken
    yield only_if(setup.full, at_least("training, segments a second", rate, ASKED, note=note))
    with FlopCounterMode(display=False) as counter:
        found.begin_step()
    tflop = counter.get_total_flops() / 1e12
    share = tflop / taken / peak
    note = f"{tflop:.3g} TFLOP of {peak:.3g} TFLOP/s"
    yield only_if(setup.full, at_least("training, share of the peak", share, SHARE, note=note))
    yield row("training, peak memory", found.gib_of_a_step(), "GiB", "beyond weights and what the optimiser keeps")
    if setup.gpu:
        yield row("training, peak memory in all", torch.cuda.max_memory_allocated() / 2**30, "GiB")
    audio, encoder = found.parts[0], found.encoder.eval()

    @torch.no_grad()
    def embed() -> Tensor:
        with autocast(setup.device, PRECISION):
            return encoder.embed_batch(audio)

    embed()
    yield row("embedding, segments a second", count / each(embed, 10 if setup.full else 2))
    yield row("embedding, peak memory", memory(embed), "GiB")


def usual(setup: Setup) -> Iterator[Row]:
    """The audio half of the step, front end and network forwards and backwards, beside hear21passt's."""
    if not installed("hear21passt"):
        yield row("hear21passt", "not installed")
        return
    _without_timm()
    patchout = (15, 2) if setup.full else (0, 0)
    count, duration = (192, 10) if setup.full else (1, 1)
    waveform = sounds(count, 32000, duration, False).waveform.to(setup.device)
    mel, network = published_passt(patchout)
    ours = build_backbone("passt_s16", patchout=patchout).to(setup.device).train()
    mel.train(), network.train()

    def theirs() -> Tensor:
        log_mel = mel(waveform)
        with autocast(setup.device, PRECISION):
            return network(log_mel[:, None])[-1]

    def own() -> Tensor:
        with autocast(setup.device, PRECISION):
            return ours(waveform)

    calls = {"ours": _backwards(ours, own), "hear21passt": _backwards(network, theirs)}
    found = in_turns(calls, 5 if setup.full else 1)
    gib = {name: memory(call) for name, call in calls.items()}
    for name in calls:
        yield row(f"{name}, segments a second", count / found[name], note=f"{gib[name]:.2f} GiB")
    faster, share = found["hear21passt"] / found["ours"], gib["ours"] / max(gib["hear21passt"], 1e-9)
    yield only_if(setup.full, at_least("times as fast as hear21passt", faster, FASTER))
    yield only_if(setup.full, at_most("memory, of hear21passt's", share, MEMORY))


def _without_timm() -> None:
    """hear21passt asks timm, on import, for a function that fetches weights; none are fetched here."""
    if installed("timm"):
        return
    for name in ("timm", "timm.models", "timm.models._hub"):
        sys.modules[name] = ModuleType(name)
    vars(sys.modules["timm.models._hub"])["download_cached_file"] = None


def _backwards(model: nn.Module, features: Callable[[], Tensor]) -> Callable[[], None]:
    def step() -> None:
        model.zero_grad(set_to_none=True)
        features().float().square().mean().backward()

    return step


def backbones(setup: Setup) -> Iterator[Row]:
    """The audio half of the step, and embedding, of the other networks."""
    count = 96 if setup.full else 1
    for name in ("mn40", "atst_base") if setup.full else ("mn_tiny", "atst_tiny"):
        backbone = build_backbone(name).to(setup.device)
        waveform = sounds(count, backbone.sample_rate_hz, 10 if setup.full else 2, False).waveform.to(setup.device)
        step = _backwards(backbone, lambda b=backbone, w=waveform: _features(b, w, setup))
        backbone.train()
        note = f"{memory(step):.2f} GiB, {count} segments"
        yield row(
            f"{name}, training, segments a second",
            count / in_turns({"x": step}, 5 if setup.full else 1)["x"],
            note=note,
        )
        backbone.eval()
        with torch.no_grad():
            taken = in_turns({"x": lambda b=backbone, w=waveform: _features(b, w, setup)}, 5 if setup.full else 1)["x"]
        yield row(f"{name}, embedding, segments a second", count / taken)


def _features(backbone: Backbone, waveform: Tensor, setup: Setup) -> Tensor:
    with autocast(setup.device, PRECISION):
        return backbone(waveform)


def profile(setup: Setup) -> Iterator[Row]:
    """Where the published step's time goes: the ten longest kernels, and the share of time in which none runs."""
    found, steps = published_probe(setup), 3 if setup.full else 1
    for _ in range(3 if setup.full else 1):
        found.step()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if setup.gpu else [])]
    with torch.profiler.profile(activities=activities, acc_events=True) as watched:
        found.seconds_a_step(steps)
    assert watched.profiler is not None and watched.profiler.kineto_results is not None
    events = [
        (event.name(), event.start_ns(), event.start_ns() + event.duration_ns())
        for event in watched.profiler.kineto_results.events()
        if (event.device_type() == torch.autograd.DeviceType.CUDA) == setup.gpu
        and not event.is_user_annotation()
        and not event.name().startswith("[")
    ]
    if not events:
        yield row("kernels", "none seen", note="the profiler has no access to the card")
        return
    took: dict[str, int] = defaultdict(int)
    for name, start, stop in events:
        took[name] += stop - start
    total = sum(took.values())
    kind = "kernel" if setup.gpu else "operation"
    for name, nanoseconds in sorted(took.items(), key=lambda item: -item[1])[:10]:
        yield row(f"{kind} {name[:90]}", 100 * nanoseconds / total, "%", f"{nanoseconds / steps / 1e6:.2f} ms a step")
    yield row(
        "GPU idle" if setup.gpu else "no operation",
        100 * idle_share([e[1:] for e in events]),
        "%",
        f"{len(events) // steps:,} {kind}s a step",
    )


def idle_share(spans: list[tuple[int, int]]) -> float:
    """Of the time from the first start to the last stop, the share that no span covers."""
    spans = sorted(spans)
    covered, reached = 0, spans[0][0]
    for start, stop in spans:
        covered += max(0, stop - max(start, reached))
        reached = max(reached, stop)
    return 1 - covered / (reached - spans[0][0])


def text(setup: Setup) -> Iterator[Row]:
    """roberta-large forwards and backwards, tokens side by side and all padded to 32."""
    with setup.device:
        encoder = text_encoder(setup.full, 0.2 if setup.full else 0.0).to(setup.device).train()
    for count in (64, 512) if setup.full else (8,):
        tokens = encoder.tokenize(captions_of(count))
        padded = torch.tensor([[*ids, *[1] * (32 - len(ids))] for ids in tokens]).to(setup.device)
        mask = (padded != 1).long()

        def ours(tokens: list[list[int]] = tokens) -> Tensor:
            with autocast(setup.device, PRECISION):
                return encoder(tokens)

        def theirs(padded: Tensor = padded, mask: Tensor = mask) -> Tensor:
            with autocast(setup.device, PRECISION):
                return encoder.model(input_ids=padded, attention_mask=mask).last_hidden_state[:, 0]

        calls = {"without padding": _backwards(encoder, ours), "padded to 32": _backwards(encoder, theirs)}
        found = in_turns(calls, 7 if setup.full else 1)
        for name, taken in found.items():
            note = f"{memory(calls[name]):.2f} GiB, {len(distinct(tokens)[0])} different"
            yield row(f"{count} captions, {name}", 1000 * taken, "ms", note)
        yield row(f"{count} captions, times as fast", found["padded to 32"] / found["without padding"])


def large(setup: Setup) -> Iterator[Row]:
    """A batch of 2,048 clips of 30 s by gradient caching, in parts of 64: its memory, and its time."""
    one = published_probe(setup)
    one.step()
    alone = one.gib_of_a_step()
    audio, count = one.parts[0], segments(one.parts[0], one.encoder)
    del one
    parts = 32 if setup.full else 3
    found = published_probe(setup, parts, part_clips=len(audio.lengths))
    found.step()  # in which the optimiser's state is made
    gib, taken = found.gib_of_a_step(), found.seconds_a_step(1)
    clips = parts * len(audio.lengths)
    yield row(f"a step of {clips:,} clips", taken, "s", f"{parts * count / taken:,.0f} segments a second")
    yield row("its memory", gib, "GiB", f"{alone:.2f} GiB of one part's step")
    yield only_if(setup.full, at_most("memory, of one part's step", gib / alone, 1.3))


def compiled(setup: Setup) -> Iterator[Row]:
    """The published step with `compile_backbone`, of shapes that may vary and of fixed ones; and that it is right."""
    plain = published_probe(setup)
    plain.step(), plain.step()
    steps = 10 if setup.full else 1
    before = plain.seconds_a_step(steps)
    gib = plain.gib_of_a_step()
    del plain
    ways: dict[str, dict[str, Any]] = {"as the option has it": {"compile_backbone": True}, "of fixed shapes": {}}
    for way, values in list(ways.items())[: None if setup.full else 1]:
        torch.compiler.reset()
        with compiler(setup):
            found = published_probe(setup, **values)
            if not values:
                backbone = found.encoder.backbone
                backbone.encode = torch.compile(backbone.encode, dynamic=False)
            started = time.time()
            found.step()
            first = time.time() - started
            found.step()
            taken = found.seconds_a_step(steps)
        note = f"first step {first:.0f} s, {found.gib_of_a_step():.2f} GiB for {gib:.2f}"
        yield row(f"compiled {way}, times as fast", before / taken, note=note)
        del found
    yield from compiled_is_plain(setup)
