"""Log-mel front ends: of PaSST and MN (Kaldi mel, pre-emphasis) and of ATST-Frame (HTK mel, decibels).

Computed in float32 also under autocast. Evaluation is deterministic and treats each row of a batch alone.
"""

import torch
import torchaudio
from torch import nn


def kaldi_mel_basis(mels, n_fft, rate_hz, f_min, f_max):
    """(mels, n_fft // 2 + 1) triangles linear in mel = 1127 ln(1 + f / 700), unit height, Nyquist column zero."""

    def to_mel(hz):
        return 1127.0 * torch.log1p(torch.as_tensor(hz, dtype=torch.float64) / 700.0)

    low, high = to_mel(f_min), to_mel(f_max)
    step = (high - low) / (mels + 1)
    left = low + torch.arange(mels, dtype=torch.float64)[:, None] * step
    bins = to_mel(torch.arange(n_fft // 2, dtype=torch.float64) * rate_hz / n_fft)[None]
    up, down = (bins - left) / step, (left + 2 * step - bins) / step
    basis = torch.minimum(up, down).clamp(min=0)
    return torch.nn.functional.pad(basis, (0, 1)).float()


class KaldiLogMel(nn.Module):
    """Front end of PaSST and MN: waveform (B, samples) at `rate_hz` -> (B, mels, frames).

    In training the mel edges are drawn once a batch: f_min from 0..jitter_low-1, f_max from
    f_max + 1 - jitter_high // 2 - ... as published (14 001..16 000 Hz for f_max 15 000).
    """

    def __init__(
        self,
        mels=128,
        n_fft=1024,
        window=800,
        hop=320,
        f_min=0.0,
        f_max=15000.0,
        jitter_low=10,
        jitter_high=2000,
        rate_hz=32000,
    ):
        super().__init__()
        self.mels, self.n_fft, self.hop, self.rate_hz, self.window_samples = mels, n_fft, hop, rate_hz, window
        self.f_min, self.f_max, self.jitter_low, self.jitter_high = f_min, f_max, jitter_low, jitter_high
        self.register_buffer("window", torch.hann_window(window, periodic=False), persistent=False)
        self.register_buffer("basis", kaldi_mel_basis(mels, n_fft, rate_hz, f_min, f_max), persistent=False)

    def settings(self):
        """What decides the evaluation log-mel, as plain values."""
        return {
            "kind": "kaldi",
            "mels": self.mels,
            "n_fft": self.n_fft,
            "window": self.window_samples,
            "hop": self.hop,
            "f_min": self.f_min,
            "f_max": self.f_max,
            "rate_hz": self.rate_hz,
        }

    def mel_basis(self):
        """The basis in use: fixed in evaluation, with randomly drawn edges in training."""
        if not self.training or not (self.jitter_low or self.jitter_high):
            return self.basis
        low = self.f_min + int(torch.randint(max(1, self.jitter_low), (1,)))
        high = self.f_max - self.jitter_high // 2 + 1 + int(torch.randint(max(1, self.jitter_high), (1,)))
        return kaldi_mel_basis(self.mels, self.n_fft, self.rate_hz, low, high).to(self.basis.device)

    def forward(self, waveform):
        with torch.autocast(waveform.device.type, enabled=False):
            x = waveform.float()
            x = x[:, 1:] - 0.97 * x[:, :-1]
            spectrum = torch.stft(
                x,
                self.n_fft,
                self.hop,
                self.window_samples,
                self.window,
                center=True,
                pad_mode="reflect",
                return_complex=True,
            )
            power = spectrum.real.square() + spectrum.imag.square()
            return ((self.mel_basis() @ power + 1e-5).log() + 4.5) / 5


class AtstLogMel(nn.Module):
    """Front end of ATST-Frame: waveform (B, samples) at `rate_hz` -> (B, mels, frames), computed at `inner_hz`.

    decibels: the levels that become -1 and 1 (published: the range of AudioSet).
    """

    def __init__(
        self,
        mels=64,
        n_fft=1024,
        hop=160,
        f_min=60.0,
        f_max=7800.0,
        rate_hz=32000,
        inner_hz=16000,
        decibels=(-79.6482, 50.6842),
    ):
        super().__init__()
        self.decibels, self.rate_hz, self.inner_hz = decibels, rate_hz, inner_hz
        self.mels, self.n_fft, self.hop, self.f_min, self.f_max = mels, n_fft, hop, f_min, f_max
        self.resample = torchaudio.transforms.Resample(rate_hz, inner_hz)
        self.spectrum = torchaudio.transforms.Spectrogram(n_fft, n_fft, hop, power=None)
        self.mel_scale = torchaudio.transforms.MelScale(
            mels, inner_hz, f_min, f_max, n_fft // 2 + 1, norm=None, mel_scale="htk"
        )
        for module in self.modules():
            for name in list(module._buffers):
                module._non_persistent_buffers_set.add(name)  # fixed tables, not part of a published checkpoint

    def settings(self):
        """What decides the evaluation log-mel, as plain values."""
        return {
            "kind": "atst",
            "mels": self.mels,
            "n_fft": self.n_fft,
            "hop": self.hop,
            "f_min": self.f_min,
            "f_max": self.f_max,
            "decibels": list(self.decibels),
            "rate_hz": self.rate_hz,
        }

    def forward(self, waveform):
        low, high = self.decibels
        with torch.autocast(waveform.device.type, enabled=False):
            spectrum = self.spectrum(self.resample(waveform.float()))
            power = spectrum.real.square() + spectrum.imag.square()  # half the time of a magnitude squared
            decibel = 10 * self.mel_scale(power).clamp(min=1e-10).log10()
            floor = decibel.amax(dim=(1, 2), keepdim=True) - 80  # of this segment, not of the batch
            decibel = torch.maximum(decibel, floor).clamp(-50, 80)
            return (decibel - low) / (high - low) * 2 - 1


def warp_frequency(log_mel, low=0.6):
    """Crop a random band of `low` to 100 % of the mel axis of each clip and stretch it back (bicubic); same shape."""
    mels, frames = log_mel.shape[1:]
    warped = []
    for one in log_mel:
        band = max(1, int(mels * (low + (1 - low) * float(torch.rand(())))))
        start = int(torch.randint(mels - band + 1, (1,)))
        cut = one[None, None, start : start + band]
        warped.append(nn.functional.interpolate(cut, size=(mels, frames), mode="bicubic", align_corners=False)[0, 0])
    return torch.stack(warped)
