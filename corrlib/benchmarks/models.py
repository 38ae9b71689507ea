"""Front ends, backbones, text encoder and the options of a training step."""

import contextlib
import io
import random
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import ClapAudioConfig, ClapAudioModelWithProjection, RobertaConfig, RobertaModel

from corrlib.benchmarks.measure import DEVICE, in_turns, installed, memory, row
from corrlib.models.backbone import Backbone
from corrlib.models.backbones import build_backbone
from corrlib.models.dual_encoder import DualEncoder
from corrlib.models.frontends import KaldiLogMel
from corrlib.models.gradient_cache import Parts
from corrlib.models.passt import PaSST
from corrlib.models.text import TextEncoder, train_tokenizer
from corrlib.training.losses import contrastive_loss

WORDS = (
    "a dog barks while rain falls on the roof",
    "birds sing near a stream",
    "people talk in a large hall",
    "wind blows",
    "an engine starts, idles for a while and then stops as a door is closed with a loud bang",
)


def captions_of(count: int) -> list[str]:
    """Captions as long as WORDS are in turn, of their words in any order: hardly two alike."""
    words, draw = sorted({word for text in WORDS for word in text.split()}), random.Random(0)
    return [" ".join(draw.choices(words, k=len(WORDS[i % len(WORDS)].split()))) for i in range(count)]


def sounds(clips: int, rate_hz: int, seconds: int = 10) -> Tensor:
    """Noise (clips, samples): no part of the work depends on what is heard."""
    return 0.1 * torch.randn(clips, seconds * rate_hz, generator=torch.Generator().manual_seed(0)).to(DEVICE)


def published_passt(patchout: tuple[int, int]) -> tuple[nn.Module, nn.Module]:
    """The package hear21passt's front end and PaSST-S of 16 x 16 patches without overlap, with random weights.

    patchout: (time columns, frequency rows) left out in training.
    """
    from hear21passt.models.passt import get_model  # pyrefly: ignore[missing-import]
    from hear21passt.models.preprocess import AugmentMelSTFT  # pyrefly: ignore[missing-import]

    with contextlib.redirect_stdout(io.StringIO()):  # it prints the whole model
        mel = AugmentMelSTFT(
            n_mels=128,
            sr=32000,
            win_length=800,
            hopsize=320,
            n_fft=1024,
            freqm=0,
            timem=0,
            fmin_aug_range=10,
            fmax_aug_range=2000,
        )
        columns, rows = patchout
        network = get_model(
            "passt_s_p16_s16_128_ap468",
            pretrained=False,
            fstride=16,
            tstride=16,
            input_tdim=1000,
            s_patchout_t=columns,
            s_patchout_f=rows,
        )
    return mel.to(DEVICE), network.to(DEVICE)


def front_ends(names: Sequence[str], clips: int, repeats: int) -> pd.DataFrame:
    """Log-mels of `clips` segments, in training: PaSST's and MN's beside hear21passt's."""
    rows = []
    for name in names:
        backbone = build_backbone(name).to(DEVICE).train()
        waveform = sounds(clips, backbone.sample_rate_hz)
        usual, calls = "", dict[str, Callable]()
        calls["ours"] = lambda b=backbone, w=waveform: b.log_mel(w)
        if (
            installed("hear21passt", "timm")
            and isinstance(backbone.front_end, KaldiLogMel)
            and backbone.sample_rate_hz == 32000
        ):
            mel, usual = published_passt((0, 0))[0].train(), "hear21passt"
            calls["usual"] = lambda m=mel, w=waveform: m(w)
        with torch.no_grad():
            rows.append(row("front end", f"{name}, {clips} x 10 s", in_turns(calls, repeats), usual))
    return pd.DataFrame(rows)


def backbones(names: Sequence[str], clips: int, repeats: int, peak: float) -> pd.DataFrame:
    """Embedding of segments, and a training step (forward, backward) with what is drawn in training.

    Log-mels are given. peak: GFLOP a second of the machine.
    """
    rows = []
    for name in names:
        backbone = build_backbone(name).to(DEVICE)
        log_mel = backbone.eval().log_mel(sounds(clips, backbone.sample_rate_hz)).detach()
        other = None
        if name == "passt_s16" and isinstance(backbone, PaSST) and installed("hear21passt", "timm"):
            other = published_passt(backbone.patchout)[1]
        for part, training in (("embedding", False), ("training step", True)):
            calls = {"ours": _pass(backbone, backbone.encode, log_mel, training)}
            if other is not None:
                calls["usual"] = _pass(other, other, log_mel[:, None], training)
            gib = {f"{which}_gib": memory(call) for which, call in calls.items()}
            rows.append(
                row(
                    part,
                    f"{name}, {clips} x 10 s",
                    in_turns(calls, repeats),
                    "hear21passt",
                    _gflop(backbone, log_mel, training),
                    peak,
                    **gib,
                )
            )
    return pd.DataFrame(rows)


def _pass(model: nn.Module, call: Callable[[Tensor], Any], log_mel: Tensor, training: bool) -> Callable[[], None]:
    """A function that runs a network forwards, in training also backwards."""

    def step() -> None:
        model.train(training)
        with torch.set_grad_enabled(training):
            outputs = call(log_mel)
            features = outputs if isinstance(outputs, Tensor) else outputs[-1]
            if training:
                model.zero_grad(set_to_none=True)
                features.square().mean().backward()

    return step


def _gflop(backbone: Backbone, log_mel: Tensor, training: bool) -> float:
    """Of one pass; backwards costs twice the way forwards. Fused attention is not counted, so it is counted unfused."""
    backbone.train(training)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        backbone.encode(log_mel)
    return counter.get_total_flops() * (3 if training else 1) / 1e9


def training_gflop(name: str, every_token: bool = False) -> list[float]:
    """GFLOP of a training step's audio for one segment of 1, 2, ... 10 s: a list.

    every_token: as PaSST is usually computed, with all tokens in the last block, too.
    """
    backbone, gflop = build_backbone(name), []
    if every_token and isinstance(backbone, PaSST):
        last: Any = backbone.blocks[-1]
        usual = last.forward
        last.forward = lambda x, first=None: usual(x)[:, :first]
    for seconds in range(1, backbone.segment_seconds + 1):
        log_mel = backbone.eval().log_mel(sounds(1, backbone.sample_rate_hz, seconds).cpu())
        gflop.append(_gflop(backbone, log_mel, True))
    return gflop


def clap(clips: int, repeats: int) -> pd.DataFrame:
    """Embedding of segments by transformers' CLAP (HTSAT): another network, to be read beside the backbones."""
    model = ClapAudioModelWithProjection(ClapAudioConfig()).eval()
    model.to(device=DEVICE)  # pyrefly: ignore[missing-argument]
    spectrogram = torch.randn(clips, 1, 1001, 64, device=DEVICE)
    with torch.no_grad():
        found = in_turns({"ours": lambda: model(input_features=spectrogram)}, repeats)
    return pd.DataFrame([row("embedding", f"CLAP (HTSAT) of transformers, {clips} x 10 s", found)])


def _roberta(size: int) -> TextEncoder:
    captions = list(WORDS) * 9
    tokenizer = train_tokenizer(captions)
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=size,
        num_hidden_layers=4,
        num_attention_heads=size // 64,
        intermediate_size=4 * size,
        max_position_embeddings=66,
        pad_token_id=1,
    )
    return TextEncoder(RobertaModel(config, add_pooling_layer=False), tokenizer).to(DEVICE).eval()


def text(captions: int, repeats: int, size: int = 768) -> pd.DataFrame:
    """Embedding of captions: tokens side by side, beside all padded to 32 tokens."""
    encoder, texts = _roberta(size), captions_of(captions)
    tokens = encoder.tokenize(texts)
    padded = torch.tensor([[*i, *[1] * (32 - len(i))] for i in tokens], device=DEVICE)
    with torch.no_grad():
        found = in_turns(
            {
                "ours": lambda: encoder(tokens),
                "usual": lambda: encoder.model(input_ids=padded, attention_mask=(padded != 1).long()),
            },
            repeats,
        )
    return pd.DataFrame(
        [row("text", f"{captions} captions, four layers of roberta-base", found, "padded to 32 tokens")]
    )


def training_options(name: str, clips: int, repeats: int, compiled: bool = True) -> pd.DataFrame:
    """A whole contrastive step (audio, text, loss, gradient) and its memory, plain and with each option."""
    encoder = DualEncoder(build_backbone(name), _roberta(256), 256).to(DEVICE)
    waveform = sounds(clips, encoder.backbone.sample_rate_hz)
    tokens = encoder.text.tokenize(captions_of(clips))
    pairs = torch.eye(clips, device=DEVICE).bool()

    def step(size: int) -> None:
        def embed(start: int) -> Tensor:
            part = waveform[start : start + size]
            return encoder.embed_audio(part, torch.full((len(part),), part.shape[1]))

        encoder.train().zero_grad(set_to_none=True)
        parts = Parts([lambda start=start: embed(start) for start in range(0, clips, size)], encoder)
        contrastive_loss(parts.embed() @ encoder.embed_tokens(tokens).T, pairs, 0.05).backward()
        parts.backward()

    calls = {"plain": lambda: step(clips), "in two parts": lambda: step(-(-clips // 2))}
    found = {option: (in_turns({"x": call}, repeats)["x"], memory(call)) for option, call in calls.items()}
    encode = encoder.backbone.encode
    if compiled:
        encoder.compile_backbone()
        found["compiled"] = (in_turns({"x": calls["plain"]}, repeats)["x"], memory(calls["plain"]))
        encoder.backbone.encode = encode
    encoder.save_memory()
    found["checkpointed"] = (in_turns({"x": calls["plain"]}, repeats)["x"], memory(calls["plain"]))
    plain = found["plain"]
    return pd.DataFrame(
        [
            {
                "option": option,
                "seconds": s,
                "of_plain_seconds": s / plain[0],
                "gib": gib,
                "of_plain_gib": gib / plain[1] if plain[1] else None,
            }
            for option, (s, gib) in found.items()
        ]
    )
