"""A student of which heads alone were trained, exported: the folder holds its whole model."""

import torch
from safetensors.torch import load_file

from corrlib.corpora.splits import open_corpora
from corrlib.evaluation.embeddings import load_embeddings
from corrlib.evaluation.evaluate import embed
from corrlib.models.build import build_encoder, rebuild_encoder
from corrlib.sharing import exported
from corrlib.study import runs
from corrlib.study.parameters import StageOneParameters, StageTwoParameters, check
from corrlib.training import stages

SHORT = {"study": "t", "epochs": 2, "batch_clips": 8}
HEADS = {"train_audio": "heads", "train_text": "heads", "head_layers": 2, "audio_layers": [1, 3]}


def test_a_student_with_heads_is_exported_whole(data, tmp_path, monkeypatch):
    monkeypatch.setenv("CORRLIB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("CORRLIB_DATA", str(tmp_path / "data"))
    given = {**SHORT, **HEADS, "run": "one", "backbone": "atst_tiny", "pretraining_epochs": 1, "data": data}
    first = runs.Run(check(StageOneParameters, given), "03_stage1_atst")
    corpora = open_corpora(first.parameters)
    encoder = build_encoder(first.parameters, corpora)
    stages.pretrain_backbone(first, corpora, encoder.backbone)
    stages.train_stage_one(first, corpora, encoder)
    stages.report(first, corpora, encoder, "stage1")
    given = {**SHORT, "run": "two", "student": "one", "target": "annotated", "data": data}
    second = runs.Run(check(StageTwoParameters, given), "06_stage2")
    student = rebuild_encoder("t", "one")
    stages.train_stage_two(second, corpora, student)
    stages.report(second, corpora, student, "continued")
    folder = exported.export("t", "two", tmp_path / "model")
    assert any(name.startswith("backbone.") for name in load_file(folder / "model.safetensors"))
    again = exported.build(folder, exported.read_config(folder)).eval()
    found = embed(again, corpora.audio("evaluation", again.backbone), corpora.items("evaluation"))
    for part, stored in zip(found, load_embeddings("t", "two", "evaluation"), strict=True):
        torch.testing.assert_close(part, stored, atol=1e-5, rtol=0)
