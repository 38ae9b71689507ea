"""What makes training fast or small changes no numbers: parts, processes, checkpointed activations, threads."""

import os
import socket
import threading
from functools import partial

import numpy as np
import pytest
import soundfile
import torch
import torch.multiprocessing as multiprocessing
from transformers import RobertaConfig, RobertaModel

from corrlib.corpora import load_corpus
from corrlib.corpora.ahead import load_ahead
from corrlib.corpora.audio import ClipError
from corrlib.corpora.batches import Items, LogMels, WaveformAudio
from corrlib.corpora.splits import open_corpora
from corrlib.correspondence.targets import estimated
from corrlib.models import distributed
from corrlib.models.backbones import build_backbone
from corrlib.models.build import build_encoder, rebuild_encoder
from corrlib.models.dual_encoder import DualEncoder
from corrlib.models.gradient_cache import Parts
from corrlib.models.text import TINY, TextEncoder, train_tokenizer
from corrlib.study import runs
from corrlib.study.parameters import StageOneParameters, StageTwoParameters, check
from corrlib.training import stages
from corrlib.training.trainer import Trainer

WORDS = "rain falls on a roof while dogs bark and a bell rings far away near the old harbour".split()
PLAIN = {"passt_tiny": {"patchout": (0, 0)}, "atst_tiny": {"warp": 1.0}, "mn_tiny": {}}  # nothing drawn at random


class Noise:
    """Log-mels of clips that are drawn by their numbers."""

    def __init__(self, mels, frames=100):
        self.mels, self.frames = mels, frames

    def places(self, clips, generator=None):
        return [int(c) for c in clips]

    def read(self, place):
        return torch.randn(self.mels, self.frames, generator=torch.Generator().manual_seed(place))

    @staticmethod
    def collate(pieces):
        return LogMels(torch.stack(pieces).double())  # as the encoders below


class Pairs:
    """Two captions a clip."""

    def __init__(self, clips):
        draw = np.random.default_rng(0)
        self.clips, self.captions = clips, 2 * clips
        self.clip_of_caption = torch.arange(clips).repeat_interleave(2)
        self.seconds = torch.full((clips,), 10.0)
        self.texts = [" ".join(draw.choice(WORDS, draw.integers(3, 9))) for _ in range(self.captions)]
        self.clip_ids, self.caption_ids = (
            [f"{kind}{i}" for i in range(n)] for kind, n in (("clip", clips), ("caption", self.captions))
        )

    def annotated(self, clips, captions):
        return clips[:, None] == self.clip_of_caption[captions][None, :]


def encoder_of(name, items, **options):
    torch.manual_seed(0)
    tokenizer = train_tokenizer(items.texts)
    config = RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        max_position_embeddings=66,
        pad_token_id=1,
        **TINY,
    )
    backbone = build_backbone(name, **{**PLAIN[name], **options})
    # in float64, as float32's rounding alone is some 1e-6
    return (
        DualEncoder(backbone, TextEncoder(RobertaModel(config, add_pooling_layer=False), tokenizer), 32)
        .double()
        .train()
    )


def trainer_of(name, items, options=None, **values):
    """A Trainer at its first batch, learning from annotated pairs and a teacher at once."""
    encoder = encoder_of(name, items, **(options or {}))
    draw = torch.Generator().manual_seed(3)
    teacher = [
        torch.nn.functional.normalize(torch.randn(n, 16, generator=draw), dim=-1) for n in (items.clips, items.captions)
    ]
    parameters = check(StageOneParameters, {"batch_clips": items.clips, "captions_per_clip": 2, "epochs": 2, **values})
    return Trainer(
        encoder,
        Noise(encoder.backbone.front_end.mels),
        items,
        estimated([tuple(teacher)], 0.05),
        parameters,
        None,
        w_sup=0.5,
        w_dist=0.5,
    )


def gradient(trainer, batches=1):
    """(loss, {name: gradient}, buffers) of the first batches, before any step of the optimiser."""
    trainer._update = lambda step: distributed.sum_gradients(trainer.trained)
    losses, requests = [], load_ahead(trainer.audio, trainer._requests(), 0)
    for count, (batch, parts) in zip(range(batches), requests, strict=False):
        losses.append(trainer._loss_of(trainer._step(batch, parts, count)))
    found = {name: p.grad.clone() for name, p in trainer.encoder.named_parameters() if p.grad is not None}
    return losses, found, {name: b.clone() for name, b in trainer.encoder.named_buffers()}


def difference(one, other):
    """The greatest difference of two gradients, relative to the greatest entry."""
    # what only one of them holds is zero in it: processes send every parameter
    names = {*one, *other}
    zero = torch.zeros(())
    top = max(float(g.abs().max()) for g in one.values())
    return max(float((one.get(n, zero) - other.get(n, zero)).abs().max()) for n in names) / top


@pytest.mark.parametrize("name", ["passt_tiny", "atst_tiny"])
@pytest.mark.parametrize("part_clips", [1, 3, 7])
def test_parts_have_the_gradient_of_the_whole_batch(name, part_clips):
    items = Pairs(8)
    losses, whole, _ = gradient(trainer_of(name, items))
    found, parts, _ = gradient(trainer_of(name, items, part_clips=part_clips))
    assert found == pytest.approx(losses, rel=1e-6) and difference(whole, parts) < 1e-6


def test_parts_of_a_batch_of_2048():
    items = Pairs(2048)
    small = {"depth": 1}
    losses, whole, _ = gradient(trainer_of("atst_tiny", items, small))
    found, parts, _ = gradient(trainer_of("atst_tiny", items, small, part_clips=100))
    assert found == pytest.approx(losses, rel=1e-6) and difference(whole, parts) < 5e-6  # float32 sums of 2,048


def test_parts_draw_the_same_dropout_twice_and_go_on_from_there():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout(0.5))
    rows = torch.randn(6, 4)
    draws = []
    model.register_forward_hook(lambda module, inputs, output: draws.append(output.detach()))
    parts = Parts([lambda: model(rows[:3]), lambda: model(rows[3:])], model)
    parts.embed().sum().backward()
    after = torch.get_rng_state()
    parts.backward()
    assert torch.equal(draws[0], draws[2]) and torch.equal(draws[1], draws[3])
    assert not torch.equal(draws[0] == 0, draws[1] == 0) and torch.equal(torch.get_rng_state(), after)


def test_batch_statistics_are_counted_once():
    """MN in parts: each part's statistics are followed once, as if the parts were batches."""
    items = Pairs(8)
    _, _, found = gradient(trainer_of("mn_tiny", items, part_clips=4))
    trainer = trainer_of("mn_tiny", items)
    with torch.no_grad():
        for rows in (range(4), range(4, 8)):
            batch, _ = next(load_ahead(trainer.audio, trainer._requests(), 0))
            pieces = [trainer.audio.read(int(batch.clip_rows[i])) for i in rows]
            trainer.encoder.embed_batch(trainer.audio.collate(pieces))
    for name, buffer in trainer.encoder.named_buffers():
        torch.testing.assert_close(found[name], buffer)


@pytest.mark.parametrize("name", PLAIN)
def test_checkpointed_activations_change_nothing_but_memory(name):
    items = Pairs(6)
    losses, plain, statistics = gradient(trainer_of(name, items))
    found, saved, again = gradient(trainer_of(name, items, checkpoint_activations=True))
    assert found == losses and difference(plain, saved) < 1e-6
    for key in statistics:
        torch.testing.assert_close(statistics[key], again[key])


def test_a_compiled_backbone_is_the_same(monkeypatch):
    """Traced as it would be compiled; the kernels themselves take a minute to make (90_benchmark makes them)."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    items = Pairs(6)
    losses, plain, _ = gradient(trainer_of("passt_tiny", items))
    trainer = trainer_of("passt_tiny", items, compile_backbone=True)
    assert "encode" in vars(trainer.encoder.backbone)
    found, compiled, _ = gradient(trainer)
    assert found == pytest.approx(losses, rel=1e-6) and difference(plain, compiled) < 1e-6


def test_checkpointed_activations_take_less_memory():
    """What the graph keeps, counted by the tensors that autograd saves."""

    def kept(**values):
        trainer, seen = trainer_of("passt_tiny", Pairs(6), **values), {}
        batch, parts = next(load_ahead(trainer.audio, trainer._requests(), 0))
        with torch.autograd.graph.saved_tensors_hooks(lambda t: seen.setdefault(t.data_ptr(), t), lambda t: t):
            trainer.encoder.embed_batch(parts[0])
        return sum(t.nbytes for t in seen.values())

    assert kept(checkpoint_activations=True) < 0.5 * kept()


def test_accumulated_batches_average_their_gradients():
    items = Pairs(8)
    one, two = (gradient(trainer_of("atst_tiny", items, batch_clips=4, accumulate_batches=k), 2) for k in (1, 2))
    first = gradient(trainer_of("atst_tiny", items, batch_clips=4))
    mean = {name: (first[1][name] + one[1][name]) / 2 for name in one[1]}
    assert two[0] == pytest.approx(one[0]) and difference(mean, two[1]) < 1e-6


@pytest.mark.parametrize("batches, together, steps", [(4, 2, 2), (5, 2, 3), (3, 8, 1), (3, 1, 3)])
def test_the_optimiser_steps_once_a_group_and_at_the_end(batches, together, steps):
    items, taken = Pairs(2 * batches), []
    trainer = trainer_of("atst_tiny", items, {"depth": 1}, batch_clips=2, accumulate_batches=together)
    trainer._update = taken.append
    trainer._train_epoch()
    assert len(taken) == steps and taken[-1] == batches - 1


# several processes


def _process(index, port, folder, name, clips, values):
    os.environ |= {
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(port),
        "RANK": str(index),
        "WORLD_SIZE": "2",
        "LOCAL_RANK": str(index),
    }
    torch.set_num_threads(1)
    with distributed.joined():
        torch.save(gradient(trainer_of(name, Pairs(clips), **values)), f"{folder}/{index}.pt")


def by_two(folder, *arguments):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(_process, (port, str(folder), *arguments), nprocs=2)
    return [torch.load(folder / f"{index}.pt") for index in range(2)]


@pytest.mark.parametrize(
    "name, clips, values", [("passt_tiny", 8, {}), ("atst_tiny", 7, {"part_clips": 2}), ("mn_tiny", 7, {})]
)
def test_two_processes_have_the_gradient_of_one(tmp_path, name, clips, values):
    """Seven clips are shared 3 and 4; MN normalises by the statistics of all."""
    losses, whole, statistics = gradient(trainer_of(name, Pairs(clips)))
    for found, shared, followed in by_two(tmp_path, name, clips, values):
        assert found == pytest.approx(losses, rel=1e-6) and difference(whole, shared) < 1e-6
        for key in statistics:
            torch.testing.assert_close(followed[key], statistics[key], rtol=1e-5, atol=1e-6)


def test_processes_with_unequal_shares_wait_for_one_another_in_every_part(tmp_path):
    """Three clips are two parts of at most two, as four are: MN's statistics are those of both processes' parts."""
    one, other = by_two(tmp_path, "mn_tiny", 7, {"part_clips": 2})
    assert one[0] == other[0] and difference(one[1], other[1]) < 1e-12
    for key, buffer in one[2].items():
        torch.testing.assert_close(buffer, other[2][key])


@pytest.mark.parametrize(
    "clips, processes, part_clips, parts", [(8, 1, 3, 3), (8, 1, 0, 1), (7, 2, 3, 2), (3, 2, 1, 1), (64, 8, 2, 4)]
)
def test_every_process_has_as_many_parts(monkeypatch, clips, processes, part_clips, parts):
    trainer = trainer_of("atst_tiny", Pairs(8), {"depth": 1}, part_clips=part_clips)
    monkeypatch.setattr(distributed, "process_count", lambda: processes)
    assert trainer._part_count(clips) == parts


def test_torchs_synchronised_batch_norm_needs_a_gpu(tmp_path):
    """Why GlobalBatchNorm2d is there: where this fails, nn.SyncBatchNorm can take its place."""
    store = f"file://{tmp_path / 'store'}"
    torch.distributed.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    try:
        with pytest.raises(ValueError, match="expected input tensor to be on"):
            torch.nn.SyncBatchNorm(3).train()(torch.randn(2, 3, 4, 4))
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize("rows, processes", [(2, 2), (7, 2), (64, 3), (5, 5), (1001, 8)])
def test_shares_neither_repeat_nor_drop(monkeypatch, rows, processes):
    monkeypatch.setattr(distributed, "process_count", lambda: processes)
    shares = []
    for index in range(processes):
        monkeypatch.setattr(distributed, "process_index", lambda index=index: index)
        shares.append(distributed.share(list(range(rows))))
    assert sum(shares, []) == list(range(rows)) and max(map(len, shares)) - min(map(len, shares)) <= 1
    with pytest.raises(ValueError, match="raise batch_clips, or lower processes"):
        distributed.share(list(range(processes - 1)))


def trained(data, run, **changes):
    """(log, metrics) of stage 1 from nothing to its report."""
    values = {
        "study": "t",
        "run": run,
        "data": data,
        "epochs": 2,
        "batch_clips": 8,
        "pretraining_epochs": 1,
        "backbone": "mn_tiny",
        **changes,
    }
    begun = runs.Run(check(StageOneParameters, values), "04_stage1_mn")
    corpora = open_corpora(begun.parameters)
    encoder = build_encoder(begun.parameters, corpora)
    stages.pretrain_backbone(begun, corpora, encoder.backbone)
    log = stages.train_stage_one(begun, corpora, encoder)
    return log, stages.report(begun, corpora, encoder, "stage1")


def test_a_run_by_two_processes_from_start_to_report(data, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("CORRLIB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("CORRLIB_DATA", str(tmp_path / "data"))
    alone, metrics = trained(data, "alone")
    together, shared = trained(data, "together", processes=2)
    assert together["loss"].tolist() == pytest.approx(alone["loss"].tolist(), rel=1e-3)
    assert shared["annotated"]["mAP@10"] == pytest.approx(metrics["annotated"]["mAP@10"], abs=0.05)
    assert capfd.readouterr().out.count("epoch 2/2") == 2  # one line a run: only the first process speaks
    second = check(
        StageTwoParameters,
        {
            "study": "t",
            "run": "two",
            "data": data,
            "student": "alone",
            "target": "self",
            "epochs": 2,
            "warmup_epochs": 0.5,
            "batch_clips": 8,
            "processes": 2,
        },
    )
    begun = runs.Run(second, "06_stage2")
    corpora = open_corpora(second)
    log = stages.train_stage_two(begun, corpora, rebuild_encoder("t", "alone"))
    assert len(log) == 2 and len(begun.checkpoints()) == 2
    begun.let_go()


def test_a_failure_of_one_process_is_said(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("CORRLIB_RUNS", str(tmp_path))
    with pytest.raises(RuntimeError, match="training by 1 processes failed"):
        distributed.launch(1, "t", "nothing")
    assert "run 'nothing' of study 't' was never begun" in capfd.readouterr().out


def test_another_launcher_takes_the_place_of_torchrun(monkeypatch, capfd):
    monkeypatch.setenv("CORRLIB_LAUNCHER", "echo torchrun --nnodes 2")
    distributed.launch(8, "t", "one")
    assert capfd.readouterr().out == "torchrun --nnodes 2 -m corrlib.training.worker t one\n"


# reading ahead


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve clips of 2 to 5 seconds, one of which cannot be decoded by the time it is read."""
    home, draw = tmp_path_factory.mktemp("clips"), np.random.default_rng(0)
    rows = []
    for number in range(12):
        soundfile.write(home / f"{number}.flac", draw.normal(0, 0.1, 16000 * (2 + number % 4)), 16000)
        rows.append(f"{number}.flac,a sound of number {number}")
    (home / "development.csv").write_text("file,caption\n" + "\n".join(rows) + "\n")
    return home


def audio_of(folder):
    corpus = load_corpus("folder", folder, "development")
    return WaveformAudio(corpus, 16000, 1.5), Items(corpus)


def requests(audio, generator):
    for start in range(0, 12, 4):
        yield (
            start,
            [audio.places(range(start, start + 2), generator), audio.places(range(start + 2, start + 4), generator)],
        )


def test_threads_read_what_would_be_read_without_them(folder):
    audio, _ = audio_of(folder)
    plain, ahead = (
        list(load_ahead(audio, requests(audio, torch.Generator().manual_seed(5)), workers)) for workers in (0, 3)
    )
    assert [key for key, _ in ahead] == [0, 4, 8]
    for (_, one), (_, other) in zip(plain, ahead, strict=True):
        for part, again in zip(one, other, strict=True):
            assert torch.equal(part.waveform, again.waveform) and torch.equal(part.lengths, again.lengths)


def test_threads_read_while_a_batch_is_computed(folder):
    audio, _ = audio_of(folder)
    read, names = audio.read, []
    audio.read = lambda place: (names.append(threading.current_thread().name), read(place))[1]
    batches = load_ahead(audio, requests(audio, None), 2)
    next(batches)
    assert len(names) > 4 and all(name.startswith("read") for name in names)  # beyond the first batch already
    batches.close()


def test_a_threads_error_names_its_file(folder, tmp_path):
    import shutil

    shutil.copytree(folder, tmp_path / "copy")
    audio, _ = audio_of(tmp_path / "copy")
    (tmp_path / "copy" / "7.flac").unlink()
    with pytest.raises(ClipError, match="7.flac is missing"):
        list(load_ahead(audio, requests(audio, None), 2))
