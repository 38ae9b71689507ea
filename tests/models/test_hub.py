"""Audio encoders of transformers as backbones, tiny and random: features as theirs, whatever the neighbours."""

import pytest
import torch
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTModel,
    ClapAudioConfig,
    ClapAudioModel,
    ClapFeatureExtractor,
    Wav2Vec2FeatureExtractor,
    WavLMConfig,
    WavLMModel,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperModel,
)

from corrlib.corpora.splits import open_corpora
from corrlib.evaluation.embeddings import load_embeddings
from corrlib.evaluation.evaluate import embed
from corrlib.models.backbones import build_backbone
from corrlib.models.build import build_encoder, rebuild_encoder
from corrlib.models.dual_encoder import DualEncoder
from corrlib.models.text import build_text_encoder
from corrlib.study import inputs, runs
from corrlib.study.backbones import slug
from corrlib.study.parameters import ParameterError, StageOneParameters, check
from corrlib.study.plan import plan_runs
from corrlib.training import stages

WIDTH = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24}


def ast(folder):
    ASTModel(ASTConfig(**WIDTH, max_length=1024, num_mel_bins=32, frequency_stride=16, time_stride=16)).save_pretrained(
        folder
    )
    ASTFeatureExtractor(num_mel_bins=32, max_length=1024).save_pretrained(folder)


def clap(folder, fusion=False):
    swin = {"spec_size": 64, "num_mel_bins": 16, "patch_embeds_hidden_size": 8, "depths": [1, 1], "window_size": 4}
    more = {"num_attention_heads": [2, 2], "hidden_size": 16, "num_hidden_layers": 2, "enable_fusion": fusion}
    ClapAudioModel(ClapAudioConfig(**swin, **more)).save_pretrained(folder)
    ClapFeatureExtractor(
        feature_size=16, hop_length=1920, truncation="fusion" if fusion else "rand_trunc"
    ).save_pretrained(folder)


def clap_fusion(folder):
    clap(folder, fusion=True)


def whisper(folder):
    sizes = {"encoder_layers": 3, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    more = {"d_model": 16, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "num_mel_bins": 20, "vocab_size": 30}
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    WhisperModel(WhisperConfig(**sizes, **more, **tokens, max_target_positions=8)).save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=20).save_pretrained(folder)


def wavlm(folder):
    front = {"conv_dim": [8, 8], "conv_stride": [20, 16], "conv_kernel": [20, 16], "num_feat_extract_layers": 2}
    config = WavLMConfig(**WIDTH, **front, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2)
    WavLMModel(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)


MAKERS = [ast, clap, clap_fusion, whisper, wavlm]


@pytest.fixture(scope="module", params=MAKERS, ids=lambda make: make.__name__)
def place(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub") / f"tiny-{request.param.__name__}"
    torch.manual_seed(0)
    request.param(folder)
    return request.param.__name__, folder


def theirs(name, folder, waveform):
    """Features (D,) of a clip of one segment by transformers' own pipeline, pooled as said."""
    if name == "ast":
        extractor, model = ASTFeatureExtractor.from_pretrained(folder), ASTModel.from_pretrained(folder).eval()
        return model(**extractor(waveform.numpy(), sampling_rate=16000, return_tensors="pt")).pooler_output[0]
    if name.startswith("clap"):
        extractor, model = ClapFeatureExtractor.from_pretrained(folder), ClapAudioModel.from_pretrained(folder).eval()
        given = extractor(waveform.numpy(), sampling_rate=48000, return_tensors="pt")
        given["is_longer"] = torch.zeros(1, 1, dtype=torch.bool)  # the extractor says it of one clip at random
        return model(**given).pooler_output.flatten()
    if name == "whisper":
        extractor, model = WhisperFeatureExtractor.from_pretrained(folder), WhisperModel.from_pretrained(folder).eval()
        given = extractor(waveform.numpy(), sampling_rate=16000, return_tensors="pt")
        frames = min((len(waveform) + 200) // 160 + 1, 3000)
        return model.encoder(**given).last_hidden_state[0, : (frames + 1) // 2].mean(0)
    extractor, model = Wav2Vec2FeatureExtractor.from_pretrained(folder), WavLMModel.from_pretrained(folder).eval()
    return model(**extractor(waveform.numpy(), sampling_rate=16000, return_tensors="pt")).last_hidden_state[0].mean(0)


def noise(seconds, rate):
    generator = torch.Generator().manual_seed(int(10 * seconds))
    ramp = torch.linspace(0.01, 0.3, int(seconds * rate))
    return ramp * torch.randn(int(seconds * rate), generator=generator)


@torch.no_grad()
@pytest.mark.parametrize("seconds", [3, 10])
def test_features_are_those_of_transformers_own_pipeline(place, seconds):
    name, folder = place
    backbone = build_backbone(f"hf:{folder}").eval()
    waveform = noise(seconds, backbone.sample_rate_hz)
    found = backbone(waveform[None])[0]
    assert found.shape == (backbone.feature_size,)
    torch.testing.assert_close(found, theirs(name, folder, waveform), atol=1e-4, rtol=0)


@torch.no_grad()
def test_a_batch_of_mixed_lengths_is_as_one_by_one(place):
    _, folder = place
    backbone = build_backbone(f"hf:{folder}")
    encoder = DualEncoder(backbone, build_text_encoder("tiny", ["a dog barks"] * 9), 8, audio_layers=[1, 2]).eval()
    waves = [noise(seconds, backbone.sample_rate_hz) for seconds in (12.5, 2.0, 10.0, 0.7)]
    lengths = torch.tensor([len(wave) for wave in waves])
    together = encoder.embed_audio(torch.nn.utils.rnn.pad_sequence(waves, batch_first=True), lengths)
    alone = torch.cat([encoder.embed_audio(wave[None], torch.tensor([len(wave)])) for wave in waves])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    assert (together[0] - together[1]).abs().max() > 1e-4


@torch.no_grad()
def test_its_layers_have_the_sizes_that_it_says(place):
    backbone = build_backbone(f"hf:{place[1]}").eval()
    log_mel = backbone.log_mel(noise(2, backbone.sample_rate_hz)[None])
    numbers = range(len(backbone.layers) + 1)
    assert backbone.encode_layers(log_mel, numbers).shape == (1, backbone.feature_size + sum(backbone.layer_sizes))
    assert backbone.layer_sizes[-1] == backbone.feature_size
    assert backbone.token_count(2 * backbone.sample_rate_hz) > 0


def test_it_is_trained_kept_and_rebuilt_where_its_folder_is_gone(data, tmp_path, monkeypatch):
    monkeypatch.setenv("CORRLIB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("CORRLIB_DATA", str(tmp_path / "data"))
    folder = tmp_path / "Tiny_AST"
    torch.manual_seed(0)
    ast(folder)
    given = {"backbone": f"hf:{folder}", "train_audio": "last:1", "cache_log_mel": False, "epochs": 2, "batch_clips": 8}
    run = runs.Run(check(StageOneParameters, {"study": "t", "seed": 1, "data": data, **given}), "04_stage1_other")
    assert run.parameters.run_name() == "stage1-hf-tiny-ast-seed1" and slug(f"hf:{folder}") == "hf-tiny-ast"
    assert set(inputs.of_parameters(run.parameters.model_dump())["files"]) == {"backbone"}
    corpora = open_corpora(run.parameters)
    encoder = build_encoder(run.parameters, corpora)
    assert stages.pretrain_backbone(run, corpora, encoder.backbone) == []
    stages.train_stage_one(run, corpora, encoder)
    stages.report(run, corpora, encoder, "stage1")
    for path in folder.iterdir():
        path.unlink()
    again = rebuild_encoder("t", run.parameters.run_name())
    found, _ = embed(again, corpora.audio("evaluation", again.backbone), corpora.items("evaluation"))
    stored, _ = load_embeddings("t", run.parameters.run_name(), "evaluation")
    torch.testing.assert_close(found, stored, atol=1e-5, rtol=0)
    assert runs.read_manifest("t", run.parameters.run_name())["backbone"] == "hf-tiny-ast"


def test_what_is_no_audio_encoder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="is neither a local folder nor in the local cache"):
        build_backbone(f"hf:{tmp_path}/nothing")
    with pytest.raises(ParameterError, match="no such backbone"):
        check(StageOneParameters, {"backbone": "hf:"})


def test_a_study_names_it_as_a_member(tmp_path):
    study = "title: t\nseeds: [1]\nbackbones: [mn_tiny, other]\nmembers: {other: {backbone: 'hf:a/b'}}\n"
    (tmp_path / "s.yaml").write_text(study)
    plan = plan_runs("s", tmp_path)["stage1-other-seed1"]
    assert plan.notebook == "notebooks/04_stage1_other.ipynb" and plan.parameters["backbone"] == "hf:a/b"
    (tmp_path / "s.yaml").write_text("title: t\nseeds: [1]\nbackbones: [mn_tiny, 'hf:a/b']\n")
    with pytest.raises(ParameterError, match="give it a name of its own under `members`"):
        plan_runs("s", tmp_path)
