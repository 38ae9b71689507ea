"""Audio encoders of transformers as backbones: AST, the audio tower of CLAP, Whisper's encoder, WavLM and its kin.

What their feature extractors compute in numpy is computed here in torch, on the device, by the extractor's own
settings; tests hold the two against each other. As with ours, a batch's neighbours play no part. Nothing is drawn in
training but dropout, where the model has any.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import torchaudio
from torch import Tensor, nn
from transformers import AutoConfig, AutoFeatureExtractor, PreTrainedConfig

from corrlib.models.backbone import Backbone
from corrlib.models.frontends import FrontEnd
from corrlib.study.backbones import HUB


class HubFrontEnd(FrontEnd):
    """waveform (B, samples) -> what the model's own feature extractor makes of it, (B, mels, frames) float32.

    extractor: of transformers; its settings are this front end's.
    """

    def __init__(self, extractor: Any) -> None:
        super().__init__()
        self.extractor, self.rate_hz = extractor, int(extractor.sampling_rate)
        self.mels = int(getattr(extractor, "num_mel_bins", extractor.feature_size))

    def settings(self) -> dict[str, Any]:
        """The extractor's settings as plain values."""
        return {"front_end": type(self).__name__, **self.extractor.to_dict()}

    def frame_count(self, samples: int) -> int:
        """Frames of what it gives for a waveform of so many samples."""
        return self(torch.zeros(1, samples)).shape[2]


class AstMel(HubFrontEnd):
    """Kaldi's filter bank, one clip at a time, by mean and standard deviation of the training set (AST)."""

    def forward(self, waveform: Tensor) -> Tensor:
        """waveform (B, samples) -> (B, mels, frames), at most as many frames as the model has positions."""
        e = self.extractor
        banks = [
            torchaudio.compliance.kaldi.fbank(
                one[None], sample_frequency=e.sampling_rate, window_type="hanning", num_mel_bins=e.num_mel_bins
            )
            for one in waveform.float()
        ]
        return self.scaled(torch.stack(banks)[:, : e.max_length].transpose(1, 2))

    def scaled(self, bank: Tensor) -> Tensor:
        """As the extractor normalises it, or as it is."""
        e = self.extractor
        return (bank - e.mean) / (2 * e.std) if e.do_normalize else bank


class ClapMel(HubFrontEnd):
    """Log-mel in decibels of a clip that is repeated until it fills the model's window (CLAP)."""

    def forward(self, waveform: Tensor) -> Tensor:
        """waveform (B, samples of at most the window) -> (B, mels, frames of the window)."""
        e, whole = self.extractor, int(self.extractor.nb_max_samples)
        waveform = waveform.float()
        if e.padding == "repeat":
            waveform = waveform.repeat(1, whole // waveform.shape[1] + 1)[:, :whole]
        elif e.padding == "repeatpad":
            waveform = waveform.repeat(1, whole // waveform.shape[1])
        waveform = F.pad(waveform, (0, whole - waveform.shape[1]))
        power = _power(waveform, e.fft_window_size, e.hop_length)
        filters = e.mel_filters if e.truncation == "fusion" else e.mel_filters_slaney
        return 10 * (_filters(filters, power).mT @ power).clamp(min=1e-10).log10()


class WhisperMel(HubFrontEnd):
    """Log-mel of a clip in a window of silence, of at most eight decades; frames that hold the clip alone (Whisper)."""

    def forward(self, waveform: Tensor) -> Tensor:
        """waveform (B, samples) -> (B, mels, frames that the clip reaches)."""
        e = self.extractor
        frames = min((waveform.shape[1] + e.n_fft // 2) // e.hop_length + 1, e.nb_max_frames)
        padded = F.pad(waveform.float(), (0, e.n_fft))
        power = _power(padded, e.n_fft, e.hop_length)[..., :frames]
        log_mel = (_filters(e.mel_filters, power).mT @ power).clamp(min=1e-10).log10()
        highest = log_mel.amax((1, 2), keepdim=True)
        return (torch.maximum(log_mel, highest - 8) + 4) / 4


class Waveform(HubFrontEnd):
    """The waveform itself, of zero mean and unit variance where the extractor says so (WavLM and its kin)."""

    def forward(self, waveform: Tensor) -> Tensor:
        """waveform (B, samples) -> (B, 1, samples)."""
        waveform = waveform.float()
        if self.extractor.do_normalize:
            deviation = (waveform.var(1, keepdim=True, correction=0) + 1e-7).sqrt()
            waveform = (waveform - waveform.mean(1, keepdim=True)) / deviation
        return waveform[:, None]


class HubBackbone(Backbone):
    """A transformers model behind the contract of a backbone.

    model: the audio encoder; extractor: its feature extractor. Pooling: AST, the mean of class and distillation token;
    CLAP, as its own; Whisper and waveform models, the mean over the frames that hold the clip.
    """

    front: type[HubFrontEnd]
    feature_size: int

    def __init__(self, model: Any, extractor: Any) -> None:
        super().__init__()
        self.model, self.extractor, self.front_end = model, extractor, self.front(extractor)
        self.feature_size = int(model.config.hidden_size)
        for layer in self.layers:
            layer.register_forward_hook(self._keep)

    def _keep(self, layer: nn.Module, inputs: Any, output: Any) -> None:
        if self._pooled is not None:
            self._pooled.append(self.pool(output[0] if isinstance(output, tuple) else output))

    @property
    def layers(self) -> Sequence[nn.Module]:
        """The model's layers."""
        return list(self.model.layers)

    def save(self, folder: Path) -> None:
        """Configuration and feature extractor (not the weights, which are in the run's model.safetensors)."""
        self.model.config.save_pretrained(folder)
        self.extractor.save_pretrained(folder)


class Ast(HubBackbone):
    """Audio Spectrogram Transformer (Gong, Chung and Glass 2021)."""

    front = AstMel
    last_modules = ("model.layernorm",)

    def encode(self, log_mel: Tensor) -> Tensor:
        """(B, mels, frames) -> features (B, D)."""
        silence = float(self.front_end.scaled(torch.zeros(())))  # pyrefly: ignore[not-callable]
        log_mel = F.pad(log_mel, (0, self.extractor.max_length - log_mel.shape[2]), value=silence)
        return self.model(input_values=log_mel.mT).pooler_output

    def pool(self, x: Tensor) -> Tensor:
        """tokens (B, T, D) -> the mean of class and distillation token (B, D)."""
        return x[:, :2].mean(1)

    def token_count(self, samples: int, training: bool = False) -> int:
        """Patches and the two tokens of a whole window."""
        return self.model.embeddings.position_embeddings.shape[1]


class Clap(HubBackbone):
    """The audio tower of CLAP (Wu et al. 2023), as it is before its projection."""

    front = ClapMel

    @property
    def layers(self) -> Sequence[nn.Module]:
        """The stages of its Swin transformer."""
        return list(self.model.audio_encoder.layers)

    @property
    def layer_sizes(self) -> list[int]:
        """Channels after each stage; a stage but the last doubles them."""
        first, stages = int(self.model.config.patch_embeds_hidden_size), len(self.layers)
        return [first * 2 ** min(stage + 1, stages - 1) for stage in range(stages)]

    def encode(self, log_mel: Tensor) -> Tensor:
        """(B, mels, frames) -> features (B, D)."""
        views = 4 if self.model.config.enable_fusion else 1
        mel = log_mel.mT[:, None].expand(-1, views, -1, -1)
        longer = torch.zeros(len(mel), 1, dtype=torch.bool, device=mel.device)  # no segment is
        return self.model(input_features=mel, is_longer=longer).pooler_output.flatten(1)

    def pool(self, x: Tensor) -> Tensor:
        """positions (B, T, C) -> their mean (B, C)."""
        return x.mean(1)

    def token_count(self, samples: int, training: bool = False) -> int:
        """Patches of a whole window."""
        return int(self.model.config.spec_size // self.model.config.patch_size) ** 2


class Whisper(HubBackbone):
    """Whisper's encoder (Radford et al. 2022); features are the mean over the frames that the clip reaches."""

    front = WhisperMel
    segment_seconds = 30
    last_modules = ("model.layer_norm",)
    _tokens = 0  # that the clip reaches, of the batch that is encoded

    def encode(self, log_mel: Tensor) -> Tensor:
        """(B, mels, frames) -> features (B, D)."""
        frames = log_mel.shape[2]
        silence = (log_mel.amax((1, 2), keepdim=True) - 2).clamp(min=-1.5)  # eight decades below the loudest
        window = silence.expand(-1, log_mel.shape[1], self.extractor.nb_max_frames - frames)
        self._tokens = (frames + 1) // 2
        return self.pool(self.model(torch.cat([log_mel, window], 2)).last_hidden_state)

    def pool(self, x: Tensor) -> Tensor:
        """frames (B, T, D) -> the mean over those that the clip reaches (B, D)."""
        return x[:, : self._tokens].mean(1)

    def token_count(self, samples: int, training: bool = False) -> int:
        """Frames of a whole window, all of which are computed."""
        return int(self.model.config.max_source_positions)


class Wave(HubBackbone):
    """WavLM (Chen et al. 2022), HuBERT and wav2vec 2.0: waveform in, features are the mean over frames."""

    front = Waveform

    @property
    def layers(self) -> Sequence[nn.Module]:
        """The transformer's layers."""
        return list(self.model.encoder.layers)

    def encode(self, log_mel: Tensor) -> Tensor:
        """(B, 1, samples) -> features (B, D)."""
        return self.model(input_values=log_mel[:, 0]).last_hidden_state.mean(1)

    def pool(self, x: Tensor) -> Tensor:
        """frames (B, T, D) -> their mean (B, D)."""
        return x.mean(1)

    def token_count(self, samples: int, training: bool = False) -> int:
        """Frames of the convolutions in front."""
        return int(self.model._get_feat_extract_output_lengths(torch.tensor(samples)))


def _classes(kind: str) -> tuple[type[HubBackbone], str]:
    """(backbone, name of transformers' class) of a configuration's `model_type`; ValueError names those known."""
    known = {
        "audio-spectrogram-transformer": (Ast, "ASTModel"),
        "clap": (Clap, "ClapAudioModel"),
        "clap_audio_model": (Clap, "ClapAudioModel"),
        "whisper": (Whisper, "WhisperModel"),
        "wavlm": (Wave, "WavLMModel"),
        "hubert": (Wave, "HubertModel"),
        "wav2vec2": (Wave, "Wav2Vec2Model"),
    }
    if kind not in known:
        raise ValueError(f"a model of type '{kind}' is no audio encoder that is known here; known: {', '.join(known)}")
    return known[kind]


def load_hub(name: str) -> HubBackbone:
    """The backbone `hf:<folder or hub name>` with its published weights; FileNotFoundError says what is missing."""
    place = name.removeprefix(HUB)
    return _built(place, lambda network, config: network.from_pretrained(place, config=config, trust_remote_code=False))


def rebuild_hub(folder: str | Path) -> HubBackbone:
    """The backbone whose configuration and extractor `save` wrote; weights are random until loaded."""
    return _built(str(folder), lambda network, config: network(config))


def _built(place: str, build: Callable[[Any, PreTrainedConfig], Any]) -> HubBackbone:
    import transformers

    try:
        config = AutoConfig.from_pretrained(place, trust_remote_code=False)
        extractor = AutoFeatureExtractor.from_pretrained(place, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"backbone '{HUB}{place}' is neither a local folder nor in the local cache: download the model "
            f"(config.json, preprocessor_config.json, model.safetensors) ({str(error).splitlines()[0][:120]})"
        ) from None
    backbone, network = _classes(config.model_type)
    if config.model_type == "clap":
        config = config.audio_config
    for name, none in {"apply_spec_augment": False, "layerdrop": 0.0, "encoder_layerdrop": 0.0}.items():
        if hasattr(config, name):
            setattr(config, name, none)  # they would draw in training, by no seed of ours
    model = build(getattr(transformers, network), config)
    return backbone(model.encoder if config.model_type == "whisper" else model, extractor)


def _power(waveform: Tensor, window: int, hop: int) -> Tensor:
    """(B, samples) -> power spectrum (B, window // 2 + 1, frames)."""
    hann = torch.hann_window(window, device=waveform.device)
    return torch.stft(waveform, window, hop, window=hann, return_complex=True).abs().square()


def _filters(filters: np.ndarray, like: Tensor) -> Tensor:
    return torch.as_tensor(filters, dtype=like.dtype, device=like.device)
