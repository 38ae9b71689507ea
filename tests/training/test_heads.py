"""What is trained: heads alone on features that are computed once, the last layers, or all; which layers are seen."""

import pandas as pd
import pytest
import torch

from corrlib.corpora.splits import open_corpora
from corrlib.correspondence.sentences import embed_sentences
from corrlib.evaluation.embeddings import load_embeddings
from corrlib.evaluation.evaluate import embed
from corrlib.files import read_tensors
from corrlib.models.backbones import build_backbone
from corrlib.models.build import rebuild_encoder
from corrlib.models.text import build_text_encoder, load_text_encoder
from corrlib.study import runs
from corrlib.study.parameters import ParameterError, StageOneParameters, StageTwoParameters, check
from corrlib.training import stages
from tests.training import begun

HEADS = {"train_audio": "heads", "train_text": "heads", "head_layers": 2, "text_dropout": 0.5}


def stage_one(data, **changes):
    return begun.stage_one(data, "04_stage1_mn", **{"epochs": 2, **changes})


@pytest.mark.parametrize("changes", [{}, {"audio_layers": [1, 3], "cache_log_mel": False, "clip_seconds": 10.0}])
def test_cached_features_give_the_numbers_of_the_frozen_networks(data, monkeypatch, changes):
    run, corpora, encoder = stage_one(data, **HEADS, **changes)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    log = stages.train_stage_one(run, corpora, encoder)
    metrics = stages.report(run, corpora, encoder, "stage1")
    fixed = [name for name in before if name.startswith(("backbone.", "text."))]
    assert all(torch.equal(encoder.state_dict()[name], before[name]) for name in fixed)

    def refuse(*_):
        raise AssertionError("features are computed again")

    _, corpora, again = stage_one(data, **HEADS, **changes, run="again")
    monkeypatch.setattr(again.backbone, "encode", refuse)
    monkeypatch.setattr(again.text, "forward", refuse)
    stages.train_stage_one(runs.Run(corpora.parameters, "04_stage1_mn"), corpora, again)

    monkeypatch.setattr(stages, "audio_of", lambda encoder, corpora, split: corpora.audio(split, encoder.backbone))
    monkeypatch.setattr(stages, "remember_captions", lambda *_: None)
    run, corpora, plain = stage_one(data, **HEADS, **changes, run="plain")
    expected = stages.train_stage_one(run, corpora, plain)
    pd.testing.assert_frame_equal(log.drop(columns="seconds"), expected.drop(columns="seconds"), rtol=1e-5, atol=1e-6)
    for name, value in plain.trained_state().items():
        torch.testing.assert_close(
            encoder.state_dict()[name], value, atol=1e-5, rtol=1e-4
        )  # AdamW divides by small gradients
    assert stages.report(run, corpora, plain, "stage1")["annotated"] == pytest.approx(metrics["annotated"], abs=1e-6)


def test_a_student_keeps_what_it_trains_and_is_rebuilt_from_its_first_stage(data):
    run, corpora, encoder = stage_one(data, **HEADS)
    stages.train_stage_one(run, corpora, encoder)
    stages.report(run, corpora, encoder, "stage1")
    values = {"study": "t", "run": "two", "data": data, "student": "one", "target": "self", "epochs": 2}
    second = runs.Run(check(StageTwoParameters, {**values, "batch_clips": 8}), "06_stage2")
    corpora = open_corpora(second.parameters)
    student = rebuild_encoder("t", "one")
    stages.train_stage_two(second, corpora, student)
    stages.report(second, corpora, student, "self")
    kept = read_tensors(runs.root() / "t" / "two" / "model.safetensors")
    assert set(kept) == {n for n in student.state_dict() if n.startswith(("audio_projection", "caption_projection"))}
    first = read_tensors(runs.root() / "t" / "one" / "model.safetensors")
    assert first.keys() == student.state_dict().keys() and not torch.equal(
        kept["audio_projection.0.weight"], first["audio_projection.0.weight"]
    )
    again = rebuild_encoder("t", "two")
    found = embed(again, corpora.audio("evaluation", again.backbone), corpora.items("evaluation"))
    for part, expected in zip(found, load_embeddings("t", "two", "evaluation"), strict=True):
        torch.testing.assert_close(part, expected, atol=1e-5, rtol=0)


def test_the_last_layers_alone_are_trained(data):
    run, corpora, encoder = stage_one(data, backbone="mn_tiny", train_audio="last:2", train_text="last:1")
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    stages.train_stage_one(run, corpora, encoder)
    changed = {name for name, value in encoder.state_dict().items() if not torch.equal(value, before[name])}
    assert len(encoder.backbone.layers) == 7
    allowed = ("backbone.features.5", "backbone.features.6", "text.model.encoder.layer.1", "audio_p", "caption_p")
    assert {name for name in changed if not name.startswith(allowed)} == set()
    for part in allowed:
        assert any(name.startswith(part) for name in changed), part


def test_more_last_layers_than_there_are_are_refused(data):
    with pytest.raises(ValueError, match="'last:8' asks for more layers than the network's 7; choose fewer, or 'all'"):
        stage_one(data, backbone="mn_tiny", train_audio="last:8")
    with pytest.raises(
        ValueError, match="audio_layers names layer 8, but this backbone has layers 1 to 7; choose of them"
    ):
        stage_one(data, backbone="mn_tiny", audio_layers=[8])


@pytest.mark.parametrize("wrong", ["head", "last", "last:0", "last:x", "all "])
def test_what_is_trained_is_checked_when_a_run_starts(wrong):
    with pytest.raises(ParameterError, match="train_audio"):
        check(StageOneParameters, {"train_audio": wrong})


@torch.no_grad()
@pytest.mark.parametrize("name", ["passt_tiny", "atst_tiny", "mn_tiny"])
def test_layers_are_the_pooled_outputs_of_the_blocks(name):
    torch.manual_seed(0)
    backbone = build_backbone(name).eval()
    waveform = 0.1 * torch.randn(3, 4 * backbone.sample_rate_hz)
    log_mel, outputs = backbone.log_mel(waveform), []
    for layer in backbone.layers:
        layer.register_forward_hook(lambda _, inputs, output: outputs.append(output))
    features = backbone(waveform)
    pooled = [backbone.pool(output) for output in outputs[:-1]] + [features]
    assert [x.shape[1] for x in pooled] == backbone.layer_sizes and len(pooled) == len(backbone.layers)
    normal = [(x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True, correction=0) + 1e-5).sqrt() for x in pooled]
    found = backbone.encode_layers(log_mel, [0, 2, len(pooled)])
    torch.testing.assert_close(found, torch.cat([features, normal[1], normal[-1]], 1), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_minilm_is_pooled_as_it_was_trained_also_when_it_is_loaded_again(tmp_path):
    texts = ["A dog barks while rain falls.", "Birds sing", "a train passes by, slowly, and a bell rings twice"]
    encoder = build_text_encoder("minilm", max_tokens=128, clean_captions=False).eval()
    features = encoder(encoder.tokenize(texts))
    torch.testing.assert_close(torch.nn.functional.normalize(features), embed_sentences(texts), atol=1e-5, rtol=0)
    encoder.save(tmp_path)
    again = load_text_encoder(tmp_path, max_tokens=128, clean_captions=False).eval()
    again.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(again(again.tokenize(texts)), features)
