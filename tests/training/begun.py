"""A short stage 1 that has been begun: what tests of training start from."""

from corrlib.corpora.splits import open_corpora
from corrlib.models.build import build_encoder
from corrlib.study import runs
from corrlib.study.parameters import StageOneParameters, check
from corrlib.training import stages

SHORT = {"epochs": 3, "batch_clips": 8, "captions_per_clip": 5, "pretraining_epochs": 1, "backbone": "atst_tiny"}


def stage_one(data, notebook="03_stage1_atst", **changes):
    """(Run, Corpora, DualEncoder) of the run `t/one`, its backbone pretrained. changes: of its parameters."""
    parameters = check(StageOneParameters, {"study": "t", "run": "one", "data": data, **SHORT, **changes})
    run = runs.Run(parameters, notebook)
    corpora = open_corpora(parameters)
    encoder = build_encoder(parameters, corpora)
    stages.pretrain_backbone(run, corpora, encoder.backbone)
    return run, corpora, encoder
