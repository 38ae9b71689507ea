"""`torchrun ... -m corrlib.training.worker STUDY RUN`: one of the processes that train a run together.

The run's notebook starts them where `processes` is above 1, and goes on from their last checkpoint.
"""

import sys

import pandas as pd

from corrlib.corpora.splits import open_corpora
from corrlib.models import distributed
from corrlib.models.build import build_encoder, rebuild_encoder
from corrlib.processes import end_with_input
from corrlib.study import runs
from corrlib.study.parameters import StageOneParameters, StageTwoParameters
from corrlib.training import stages


def train(study: str, run: str) -> pd.DataFrame:
    """This process's part of a run's training; returns the log, one row an epoch.

    FileNotFoundError where the run was never begun.
    """
    folder = runs.started(study, run, (StageOneParameters, StageTwoParameters))
    corpora = open_corpora(folder.parameters)
    if isinstance(folder.parameters, StageTwoParameters):
        encoder = rebuild_encoder(study, folder.parameters.student)
        return stages.train_stage_two(folder, corpora, encoder)
    encoder = build_encoder(folder.parameters, corpora)
    stages.pretrain_backbone(folder, corpora, encoder.backbone)
    return stages.train_stage_one(folder, corpora, encoder)


def main() -> None:
    """Join the other processes and train the run that the command line names."""
    end_with_input()
    with distributed.joined():
        train(*sys.argv[1:3])


if __name__ == "__main__":
    main()
