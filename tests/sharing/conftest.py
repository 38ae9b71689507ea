"""Two teachers and a student in miniature, trained once for all tests of this room."""

import pytest
import torch

from tests.conftest import SIZES

STUDY, STUDENT = "tiny", "ensemble-atst_tiny-seed1"
TEACHERS = ["stage1-atst_tiny-seed1", "stage1-mn_tiny-seed1"]
COMMON = {"study": STUDY, "seed": 1, "epochs": 2, "batch_clips": 8}


def train(parameters, notebook):
    from corrlib.corpora.splits import open_corpora
    from corrlib.models.build import build_encoder, rebuild_encoder
    from corrlib.study import runs
    from corrlib.training import stages

    run, corpora = runs.Run(parameters, notebook), open_corpora(parameters)
    if hasattr(parameters, "student"):
        encoder = rebuild_encoder(STUDY, parameters.student)
        stages.train_stage_two(run, corpora, encoder)
        stages.report(run, corpora, encoder, "ensemble")
    else:
        encoder = build_encoder(parameters, corpora)
        stages.train_stage_one(run, corpora, encoder)
        stages.report(run, corpora, encoder, "stage1")


@pytest.fixture(scope="session")
def trained(data, tmp_path_factory):
    """The runs folder of study `tiny`: two stage-1 runs and a student of both."""
    from corrlib.study.parameters import StageOneParameters, StageTwoParameters, check

    folder = tmp_path_factory.mktemp("study") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CORRLIB_RUNS", str(folder))
        patch.setenv("CORRLIB_DATA", str(folder.parent / "data"))
        for backbone in ("atst_tiny", "mn_tiny"):
            given = {**COMMON, "data": data, "backbone": backbone, "pretraining_epochs": 0}
            train(check(StageOneParameters, given), "02_stage1_passt")
        student = {"student": TEACHERS[0], "teachers": TEACHERS, "run": STUDENT}
        train(check(StageTwoParameters, {**COMMON, **student, "data": data}), "06_stage2")
    assert SIZES["evaluation"] == 12
    return folder


@pytest.fixture
def finished(trained, monkeypatch, tmp_path):
    """The runs folder of `trained`, which the environment names; caches go to a folder of the test's own."""
    monkeypatch.setenv("CORRLIB_RUNS", str(trained))
    monkeypatch.setenv("CORRLIB_DATA", str(tmp_path / "data"))
    return trained


@pytest.fixture
def sounds(tmp_path):
    """Four files: formats, rates, channels and lengths differ; the longest is of 12 s."""
    import soundfile

    draw, folder = torch.Generator().manual_seed(3), tmp_path / "my sounds"
    (folder / "below").mkdir(parents=True)
    shapes = {
        "a.wav": (16000, 4.0, 1),
        "b.flac": (44100, 1.3, 2),
        "below/c.ogg": (48000, 12.0, 1),
        "d.mp3": (32000, 3.0, 2),
    }
    for name, (rate_hz, seconds, channels) in shapes.items():
        noise = 0.1 * torch.randn(round(rate_hz * seconds), channels, generator=draw)
        soundfile.write(folder / name, noise.numpy(), rate_hz)
    return folder
