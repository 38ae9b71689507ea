"""The names that others build on work as they are written: from each room's entrance, with these arguments."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from tests import layouts


def without(modules, code):
    """Run code in a fresh process; fail where it imports one of the modules."""
    check = f"import sys; {code}; loaded = [m for m in {modules} if m in sys.modules]; assert not loaded, loaded"
    result = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert not result.returncode, result.stderr


def test_load_corpus(tmp_path):
    from corrlib.corpora import Corpus, load_corpus

    corpus = load_corpus("clotho", layouts.clotho(tmp_path), "development")
    assert isinstance(corpus, Corpus)
    assert list(corpus.clips.columns) == ["clip_id", "path", "start_seconds", "duration_seconds", "corpus", "split"]
    assert list(corpus.captions.columns) == ["caption_id", "clip_id", "text"]
    assert isinstance(corpus.clips, pd.DataFrame) and set(corpus.captions["clip_id"]) == set(corpus.clips["clip_id"])


@pytest.mark.parametrize("room", ["corpora", "corpora.seeds", "study", "study.parameters", "soundscapes", "figures"])
def test_tables_and_plans_need_no_torch(room):
    without(["torch", "torchaudio", "transformers"], f"import corrlib.{room}")


def test_estimate_and_top_correspondences():
    from corrlib.correspondence import estimate, top_correspondences

    draw = torch.Generator().manual_seed(0)
    clips, captions = (
        [torch.nn.functional.normalize(torch.randn(rows, size, generator=draw), dim=1) for size in (3, 5)]
        for rows in (6, 4)
    )
    similarities = torch.stack([c @ t.T for c, t in zip(clips, captions, strict=True)])
    clip_given_caption, caption_given_clip = estimate(similarities, 0.1, combine="mean_similarity")
    torch.testing.assert_close(clip_given_caption.sum(0), torch.ones(4))
    torch.testing.assert_close(caption_given_clip.sum(1), torch.ones(6))
    probabilities, rows = top_correspondences(clips, captions, 0.1, 2)
    best = clip_given_caption.T.topk(2)
    torch.testing.assert_close(probabilities, best.values)
    assert torch.equal(rows, best.indices)


def test_no_function_shares_its_name_with_a_file():
    """Else `import corrlib.correspondence.estimate as e` would be the one or the other, by what was imported before."""
    import importlib
    import pkgutil

    for room in ("corpora", "correspondence", "evaluation"):
        package = importlib.import_module(f"corrlib.{room}")
        files = {module.name for module in pkgutil.iter_modules(package.__path__)}
        assert not files & set(package.__all__), room


@pytest.mark.parametrize("kind", [np.asarray, torch.tensor, list])
def test_retrieval_metrics(kind):
    from corrlib.evaluation import retrieval_metrics

    # caption 0: of its two relevant clips one is first, one third; caption 1: half relevant first, relevant second
    similarity = [[0.9, 0.8], [0.5, 0.1], [0.3, 0.4]]
    relevance = [[1.0, 0.5], [0.0, 0.0], [1.0, 1.0]]
    metrics = retrieval_metrics(kind(similarity), kind(relevance), k=(1, 5, 10))
    assert {"mAP@10", "R@1", "R@5", "R@10", "nDCG@10"} <= set(metrics)
    assert metrics["mAP@10"] == pytest.approx(((1 + 2 / 3) / 2 + 1 / 2) / 2)
    assert metrics["R@1"] == pytest.approx((1 / 2 + 0) / 2) and metrics["R@5"] == metrics["R@10"] == 1
    second, third = 1 / np.log2(3), 1 / np.log2(4)
    expected = ((1 + third) / (1 + second) + (0.5 + second) / (1 + 0.5 * second)) / 2
    assert metrics["nDCG@10"] == pytest.approx(expected)
    # average precision divides by all relevant clips, also by those beyond the depth
    many = retrieval_metrics(np.arange(20)[::-1, None], np.ones((20, 1), bool))
    assert many["mAP@10"] == pytest.approx(0.5) and many["R@10"] == pytest.approx(0.5)


def test_backbones_and_dual_encoder():
    from corrlib.models import DualEncoder, build_backbone
    from corrlib.models.text import build_text_encoder

    for name in ("passt_tiny", "atst_tiny", "mn_tiny"):
        backbone = build_backbone(name).eval()
        waveform = torch.randn(2, 2 * backbone.sample_rate_hz, generator=torch.Generator().manual_seed(0))
        assert backbone(waveform).shape == (2, backbone.feature_size) and backbone.log_mel(waveform).ndim == 3
        with pytest.raises(ValueError, match="keys differ"):
            backbone.load_published({"x": torch.zeros(1)})
    encoder = DualEncoder(backbone, build_text_encoder("tiny", ["a dog barks"] * 9), 16).eval()
    clips = encoder.embed_audio(waveform, torch.tensor([waveform.shape[1], 16000]))
    captions = encoder.embed_captions(["a dog barks"])
    torch.testing.assert_close(clips.norm(dim=1), torch.ones(2))
    assert captions.shape == (1, 16)


def test_losses():
    from corrlib.training.losses import contrastive_loss, distillation_loss

    similarity = torch.eye(3) * 0.5
    assert contrastive_loss(similarity, torch.eye(3).bool(), 0.05).ndim == 0
    own, warm = (distillation_loss(similarity, similarity, 0.05, t) for t in (None, 1.0))
    assert own < warm
