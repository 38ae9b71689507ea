"""At published size: a training step of each network, a corpus as large as WavCaps, an estimate over 400,000 clips.

Each test has a light form in the suite that walks the same lines; the sizes themselves take minutes and up to 16 GB
(`make test-full`).
"""

import json
import os
import subprocess
import sys
import time

import pytest
import soundfile
import torch
from safetensors.torch import save_file
from transformers import RobertaConfig, RobertaModel

from corrlib.corpora import wavcaps
from corrlib.corpora.splits import open_corpora
from corrlib.correspondence.targets import annotated
from corrlib.models.backbones import build_backbone
from corrlib.models.dual_encoder import DualEncoder
from corrlib.models.text import TextEncoder, train_tokenizer
from corrlib.study.memory import peak_bytes
from corrlib.study.parameters import StageOneParameters, check
from corrlib.training.trainer import Trainer
from tests import layouts

CAPTIONS = ["A dog barks while rain falls on a tin roof and a car passes by in the distance", "Wind howls in the trees"]
ON_GPU = torch.cuda.is_available()


def full(*values, **names):
    """A case of published size."""
    return pytest.param(*values, marks=pytest.mark.full_size, **names)


ROBERTA = {
    "vocab_size": 50265,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "hidden_dropout_prob": 0.2,
    "attention_probs_dropout_prob": 0.2,
    "pad_token_id": 1,
}
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


@pytest.fixture
def noise(tmp_path):
    """Function of a number of clips, their length in seconds and rate: folder of a corpus of noise, a caption each."""

    def write(clips, seconds, rate_hz):
        generator = torch.Generator().manual_seed(0)
        for split in ("development", "validation"):
            names = [f"{split}-{number}.wav" for number in range(clips)]
            rows = [[name, CAPTIONS[number % 2]] for number, name in enumerate(names)]
            layouts.table(tmp_path / f"{split}.csv", ["file", "caption"], rows)
            for name in names:
                wave = 0.1 * torch.randn(seconds * rate_hz, generator=generator)
                soundfile.write(tmp_path / name, wave.numpy(), rate_hz)
        return tmp_path

    return write


# clips in a batch, their length in seconds, and the precision that a machine of the kind has room for
ROOM = (64, 30, "bfloat16") if ON_GPU else (2, 10, "float32")


@pytest.mark.parametrize(
    "name, text_size, embedding_size, room",
    [
        *[(name, SMALL, 16, (2, 2, "float32")) for name in ("passt_tiny", "atst_tiny", "mn_tiny")],
        *[full(name, LARGE, 1024, ROOM) for name in ("passt_s16", "passt_s10", "atst_base", "mn40")],
    ],
)
def test_training_steps_end_finite_and_move_every_weight(noise, name, text_size, embedding_size, room):
    """Two epochs of one batch each, with dropout, patchout and masks as in training, and validation after each."""
    clips, seconds, precision = room
    torch.manual_seed(0)
    text = TextEncoder(
        RobertaModel(RobertaConfig(**ROBERTA, **text_size), add_pooling_layer=False), train_tokenizer(CAPTIONS * 9)
    )
    encoder = DualEncoder(build_backbone(name), text, embedding_size).to("cuda" if ON_GPU else "cpu")
    folder = noise(clips, seconds, encoder.backbone.sample_rate_hz)
    values = {"backbone": name, "learning_rate": 2e-5, "precision": precision, "batch_clips": clips, "epochs": 2}
    values |= {"captions_per_clip": 1, "corpus": "folder", "data": str(folder), "cache_log_mel": False}
    parameters = check(StageOneParameters, values)
    corpora = open_corpora(parameters)
    sets = {s: (corpora.audio(s, encoder.backbone), corpora.items(s)) for s in ("development", "validation")}
    before = {key: value.detach().cpu().clone() for key, value in encoder.named_parameters()}
    trainer = Trainer(encoder, *sets["development"], annotated(), parameters, sets["validation"])
    started = time.time()
    log = trainer.run_all()
    peak = torch.cuda.max_memory_allocated() if ON_GPU else peak_bytes()
    print(
        f"{name}: {(time.time() - started) / 2:.1f} s an epoch of a batch of {clips} x {seconds} s, with validation; "
        f"peak {peak / 2**30:.1f} GiB, losses {log['loss'].tolist()}"
    )
    assert list(log["epoch"]) == [1, 2] and log["loss"].between(0, 20).all()
    still = {key for key, value in encoder.named_parameters() if torch.equal(before[key], value.detach().cpu())}
    assert not still - {"backbone.mask_embed"}  # of ATST-Frame's own pretraining, which masked frames
    assert ON_GPU or peak < 16 * 2**30


OPEN = """
import sys, time
from corrlib.corpora import load_corpus
from corrlib.corpora.batches import Items
from corrlib.study.memory import peak_bytes
started = time.time()
corpus = load_corpus("wavcaps", sys.argv[1], "development")
items = Items(corpus)
print(items.clips, items.captions, time.time() - started, peak_bytes() / 2**30)
"""


@pytest.mark.parametrize("clips", [dict.fromkeys(wavcaps.EXPECTED, 30), full(wavcaps.EXPECTED, id="published")])
def test_a_corpus_of_the_size_of_wavcaps_opens_in_seconds(tmp_path, clips):
    """403,050 clips: every header is read once, in a minute or more; from then on 10 s and 1 GiB are enough."""
    words = " ".join(CAPTIONS).split()
    for source, count in clips.items():
        audio = tmp_path / f"{source}_flac"
        audio.mkdir()
        for number in range(count):
            if number % 60000 == 0:  # a file system allows that many names of one file
                original = tmp_path / f"{source}-{number}.flac"
                soundfile.write(original, 0.1 * torch.randn(1600).numpy(), 16000)
            os.link(original, audio / f"{number}.flac")
        entries = [
            {
                "id": str(n),
                "caption": " ".join(words[n % 7 : n % 7 + 9]),
                "duration": 10.0,
                "description": "text " * 20,
                "href": "https://example.org/x",
                "author": "somebody",
            }
            for n in range(count)
        ]
        json_file = tmp_path / "json_files" / source / wavcaps.SOURCES[source]
        json_file.parent.mkdir(parents=True)
        json_file.write_text(json.dumps({"data": entries}))
    for _ in range(2):
        found = numbers(OPEN, tmp_path)[0]
        print(f"{found[0]:,.0f} clips open in {found[2]:.1f} s, peak {found[3]:.2f} GiB")
    assert found[0] == found[1] == sum(clips.values()) and found[2] < 10 and found[3] < 1


def numbers(program, *arguments):
    """What a program prints, as a list of numbers a line; in a process of its own, whose peak of memory is its own."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    lines = [line for line in result.stdout.splitlines() if not line.startswith("wavcaps ")]  # what was found
    return [list(map(float, line.split())) for line in lines]


ESTIMATE = """
import sys, time
import torch
from corrlib.correspondence import top_correspondences
from corrlib.evaluation.embeddings import StoredEmbeddings
from corrlib.study.memory import peak_bytes

class First(StoredEmbeddings):
    def __len__(self):
        return rows

folder, size, block, *counts = sys.argv[1], *map(int, sys.argv[2:])
torch.manual_seed(1)
captions = [torch.nn.functional.normalize(torch.randn(block, size), dim=-1) for _ in range(3)]
for rows in counts:
    clips = [First(f"{folder}/{member}.safetensors", "clips") for member in range(3)]
    started = time.time()
    probability, where = top_correspondences(clips, captions, 0.05, 50, block)
    seconds = time.time() - started
    assert probability.shape == (block, 50) and int(where.max()) < rows
    parts = [slice(at, min(at + 4096, rows)) for at in range(0, rows, 4096)]
    logits = torch.cat([sum(c[part] @ k[:2].T for c, k in zip(clips, captions)) / 3 / 0.05 for part in parts])
    torch.testing.assert_close(probability[:2], logits.softmax(0).T.topk(50).values, rtol=1e-3, atol=1e-7)
    print(rows, seconds, peak_bytes() / 2**30)
"""


@pytest.mark.parametrize(
    "size, block, counts",
    [(32, 64, (512, 1024, 2000)), full(1024, 1024, (100_352, 200_704, 400_000), id="published")],
)
def test_the_best_clips_of_all_need_little_memory(tmp_path, size, block, counts):
    """Three members: of the published size 4.6 GiB on disk, a block of captions in a GiB or two; time linear in clips.

    All 400,000 captions are 391 such blocks; what they find (50 probabilities and places each) is 0.2 GiB.
    """
    generator = torch.Generator().manual_seed(0)
    for member in range(3):
        clips = torch.nn.functional.normalize(torch.randn(counts[-1], size, generator=generator), dim=-1)
        save_file({"clips": clips}, tmp_path / f"{member}.safetensors")
    found = numbers(ESTIMATE, tmp_path, size, block, *counts)
    for rows, seconds, gib in found:
        print(
            f"{block:,} captions among {rows:,.0f} clips: {seconds:.1f} s, peak {gib:.2f} GiB; "
            f"all of 400,000 captions: {400_000 / block * seconds / 3600:.2f} h"
        )
    assert [rows for rows, _, _ in found] == list(counts) and all(gib < 4 - 0.5 for _, _, gib in found)
    if counts[0] > 100_000:  # below, the time is that of starting
        assert 2.5 < found[2][1] / found[0][1] < 6
