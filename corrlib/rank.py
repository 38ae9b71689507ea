"""`torchrun ... -m corrlib.rank STUDY RUN`: one of the processes that train a run together, until its last checkpoint.

The run's notebook starts them where `processes` is above 1, and goes on from their last checkpoint.
"""
import sys

from corrlib import distributed, experiment, runs
from corrlib.parameters import StageOneParameters, StageTwoParameters


def train(study, run):
    """This process's part of a run's training."""
    folder = runs.started(study, run, (StageOneParameters, StageTwoParameters))
    corpora = experiment.Corpora(folder.parameters)
    if isinstance(folder.parameters, StageTwoParameters):
        encoder = experiment.rebuild_encoder(study, folder.parameters.student)
        return experiment.train_stage_two(folder, corpora, encoder)
    encoder = experiment.build_encoder(folder.parameters, corpora)
    experiment.pretrain_backbone(folder, corpora, encoder.backbone)
    return experiment.train_stage_one(folder, corpora, encoder)


def main():
    with distributed.joined():
        train(*sys.argv[1:3])


if __name__ == "__main__":
    main()
