"""A study of both stages, as small as can be: on the GPU and the CPU, killed and resumed, by several processes.

`python -m corrlib.benchmarks.gpu.tiny_study FOLDER NAME BACKBONE` is one of the processes that train a run together.
"""

import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile
import torch

from corrlib.benchmarks.gpu.right import full_float32
from corrlib.benchmarks.gpu.rows import Row, at_most, holds, row
from corrlib.benchmarks.gpu.setup import Setup
from corrlib.corpora.batches import Items, WaveformAudio
from corrlib.corpora.corpus import Corpus, build
from corrlib.correspondence.targets import annotated, estimated
from corrlib.evaluation.embeddings import Embeddings
from corrlib.evaluation.evaluate import embed
from corrlib.models import distributed
from corrlib.models.backbones import build_backbone
from corrlib.models.dual_encoder import DualEncoder
from corrlib.models.text import build_text_encoder
from corrlib.study.parameters import StageOneParameters, check
from corrlib.study.runs import RunFolder
from corrlib.training.trainer import Target, Trainer

BACKBONES = ("passt_tiny", "atst_tiny", "mn_tiny")
PITCHES = {"low": 220.0, "middle": 440.0, "high": 880.0, "piercing": 2200.0}
PULSES = {"steady": 0.0, "slow": 1.0, "beating": 4.0, "fluttering": 9.0}
RATE_HZ = 16000
EPOCHS = 3
# how far several processes may be from one: nothing is drawn for this ATST, and MN's mel edges by each for itself
BY_SEVERAL = {"atst_tiny": 1e-3, "mn_tiny": 0.1}
CURVE = 0.02  # of a loss: rounding of float32, through three epochs of steps that amplify it
PRELOADED = ["corrlib.training.trainer", "corrlib.models.build", "transformers.models.roberta.modeling_roberta"]


def tones(folder: Path, clips: int = 32) -> Corpus:
    """Tones of a pitch and a pulse, as FLAC of two seconds, each with two captions that name both."""
    kinds = [(pitch, pulse) for pitch in PITCHES for pulse in PULSES]
    draw, files, texts = np.random.default_rng(0), [], []
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(clips):
        pitch, pulse = kinds[number % len(kinds)]
        key, at = f"{number:03d}.flac", np.arange(2 * RATE_HZ) / RATE_HZ
        sound = 0.3 * np.sin(2 * np.pi * PITCHES[pitch] * at) * (0.6 + 0.4 * np.cos(2 * np.pi * PULSES[pulse] * at))
        if not (folder / key).is_file():
            soundfile.write(folder / key, sound + 0.01 * draw.standard_normal(len(at)), RATE_HZ)
        files.append({"key": key, "path": str(folder / key), "start_seconds": 0.0, "duration_seconds": 2.0})
        texts += [{"key": key, "text": text} for text in (f"a {pulse} {pitch} tone", f"{pitch} tone, {pulse}")]
    return build("tones", "development", pd.DataFrame(files), pd.DataFrame(texts))


class TinyStudy:
    """The corpus, and runs on a device; what they write goes into `folder`."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        corpus = tones(folder / "tones")
        self.folder, self.device = folder, device
        self.items, self.audio = Items(corpus), WaveformAudio(corpus, RATE_HZ, 10.0)
        os.environ["CORRLIB_RUNS"] = str(folder / "runs")

    def encoder(self, backbone: str) -> DualEncoder:
        """With weights that its name decides."""
        torch.manual_seed(1)
        text = build_text_encoder("tiny", self.items.texts, dropout=0.0)
        return DualEncoder(build_backbone(backbone), text, 32).to(self.device)

    def trainer(self, encoder: DualEncoder, run: str = "", target: Target | None = None, **values: Any) -> Trainer:
        """Stage 1, or stage 2 where there is a target; a run that has a name is written, and resumed."""
        parameters = check(
            StageOneParameters,
            {
                "study": "tiny",
                "run": run or "unnamed",
                "data": str(self.folder / "nothing"),
                "epochs": EPOCHS,
                "batch_clips": 8,
                "captions_per_clip": 1,
                "learning_rate": 1e-3,
                "workers": 2,
                **values,
            },
        )
        w_sup, w_dist = (1.0, 0.0) if target is None else (0.0, 1.0)
        held_out, folder = (self.audio, self.items), RunFolder(parameters, "") if run else None
        return Trainer(
            encoder, self.audio, self.items, target or annotated(), parameters, held_out, folder, w_sup, w_dist
        )

    def both_stages(self) -> tuple[dict[str, list[float]], float]:
        """({run: loss of every epoch}, the last run's mAP@10): three models, and one that learns of their estimate."""
        curves: dict[str, list[float]] = {}
        teachers: list[Embeddings] = []
        encoder = None
        for backbone in BACKBONES:
            encoder = self.encoder(backbone)
            curves[f"stage 1, {backbone}"] = self.trainer(encoder).run_all()["loss"].tolist()
            teachers.append(embed(encoder, self.audio, self.items))
        assert encoder is not None
        log = self.trainer(encoder, target=estimated(teachers, 0.05)).run_all()
        curves["stage 2, mn_tiny"] = log["loss"].tolist()
        return curves, float(log["validation mAP@10"].max())


def study(setup: Setup) -> Iterator[Row]:
    """Both stages on the device against the same on the CPU, epoch by epoch."""
    folder = setup.folder / "study"
    with full_float32():
        found, score = TinyStudy(folder, setup.device).both_stages()
    expected, there = TinyStudy(folder, torch.device("cpu")).both_stages() if setup.gpu else (found, score)
    for run, losses in found.items():
        apart = max(abs(a - b) / b for a, b in zip(losses, expected[run], strict=True))
        note = "loss " + " ".join(f"{loss:.4f}" for loss in losses)
        yield at_most(f"{run}, loss curve against the CPU", apart, CURVE, note=note)
        if run.startswith("stage 1"):
            yield holds(f"{run}, the loss falls", losses[-1] < losses[0])
    yield row("stage 2, mAP@10", score, note=f"on the CPU {there:.3f}")


def train(folder: str, device: str, run: str, backbone: str, processes: int = 1) -> None:
    """A run of stage 1, for a process of its own."""
    kept = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)  # on a GPU, sums would else come in any order
    try:
        tiny = TinyStudy(Path(folder), torch.device(device))
        tiny.trainer(tiny.encoder(backbone), run, processes=processes).run_all()
    finally:
        torch.use_deterministic_algorithms(False)
        torch.set_num_threads(kept)


def losses_of(folder: Path, run: str) -> list[float]:
    """What a run has written of its epochs."""
    return pd.read_csv(folder / "runs" / "tiny" / run / "log.csv")["loss"].tolist()


def resumed(setup: Setup) -> Iterator[Row]:
    """A spawned process that is killed after its first epoch, and gone on from; and one that is forked."""
    folder = setup.folder / "resumed"
    for run in ("whole", "killed", "forked"):
        for path in (folder / "runs" / "tiny" / run).glob("*"):
            path.unlink()
    words = (str(folder), setup.device.type)
    tones(folder / "tones")  # before two processes would
    spawned = multiprocessing.get_context("spawn").Process(target=train, args=(*words, "killed", "passt_tiny"))
    spawned.start()
    checkpoints = folder / "runs" / "tiny" / "killed"
    until = time.time() + (300 if setup.rehearse else 45)
    while spawned.is_alive() and not list(checkpoints.glob("checkpoint-*.pt")) and time.time() < until:
        time.sleep(0.002)
    spawned.kill()
    spawned.join()
    kept = [path.name for path in sorted(checkpoints.glob("checkpoint-*.pt"))]
    yield holds("a spawned process trains, and is killed after an epoch", bool(kept), f"checkpoints: {len(kept)}")
    train(*words, "killed", "passt_tiny")
    train(*words, "whole", "passt_tiny")
    expected, found = losses_of(folder, "whole"), losses_of(folder, "killed")
    apart = max(abs(a - b) / b for a, b in zip(found, expected, strict=True))
    yield at_most(
        "killed and resumed against uninterrupted", apart, 1e-3, note="equal" if not apart else "not bit for bit"
    )
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # as corrlib.study.warm has it
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    forked = context.Process(target=train, args=(*words, "forked", "passt_tiny"))
    forked.start()
    forked.join()
    yield holds("a forked process trains", forked.exitcode == 0, f"exit status {forked.exitcode}")
    if forked.exitcode == 0:
        found = losses_of(folder, "forked")
        yield at_most("forked against not", max(abs(a - b) / b for a, b in zip(found, expected, strict=True)), 1e-3)


def processes(setup: Setup) -> Iterator[Row]:
    """A run by several processes against one: with NCCL where each has a GPU, else with gloo on the CPU."""
    count, folder = setup.processes, setup.folder / "processes"
    command = f"torchrun --standalone --nproc-per-node={count} -m corrlib.training.worker STUDY RUN"
    yield row("started by a run with `processes`", count, note=command)
    nccl = setup.gpu and torch.cuda.device_count() >= count
    device = setup.device if nccl else torch.device("cpu")
    hidden = {} if nccl else {"CUDA_VISIBLE_DEVICES": ""}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    tones(folder / "tones")
    for backbone, bar in list(BY_SEVERAL.items())[: 1 if setup.rehearse else None]:
        for run in ("one", "several"):
            for path in (folder / "runs" / "tiny" / f"{run}-{backbone}").glob("*"):
                path.unlink()
        words = ["-m", "corrlib.benchmarks.gpu.tiny_study", str(folder), f"several-{backbone}", backbone]
        subprocess.run([*torchrun, *words], check=True, env={**os.environ, **hidden, "OMP_NUM_THREADS": "1"})
        train(str(folder), device.type, f"one-{backbone}", backbone)
        found, expected = (losses_of(folder, f"{run}-{backbone}") for run in ("several", "one"))
        apart = max(abs(a - b) / b for a, b in zip(found, expected, strict=True))
        way = "NCCL" if nccl else "gloo, on the CPU"
        yield at_most(f"{backbone}, {count} processes against one", apart, bar, note=f"{way}; loss {json.dumps(found)}")
    if setup.gpu and not nccl:
        yield row("NCCL", "not tried", note=f"here are fewer than {count} GPUs")


def main() -> None:
    """One of several processes: its part of a run."""
    folder, run, backbone = sys.argv[1:4]
    with distributed.joined():
        device = "cuda" if torch.cuda.is_available() else "cpu"
        train(folder, device, run, backbone, distributed.process_count())


if __name__ == "__main__":
    main()
