"""Log-mel front ends: of PaSST and MN (Kaldi mel, pre-emphasis) and of ATST-Frame (HTK mel, decibels).

Computed in float32 also under autocast. Evaluation is deterministic and treats each row of a batch alone.
"""

import inspect
from typing import Any

import torch
import torchaudio
from torch import Tensor, nn


class FrontEnd(nn.Module):
    """Base of the front ends: waveform (B, samples) mono at `rate_hz` -> log-mel (B, mels, frames), float32.

    A subclass keeps every argument of its constructor under the argument's name.
    """

    mels: int
    rate_hz: int

    def settings(self) -> dict[str, Any]:
        """All that the front end was built with, as plain values: its class and every argument of its constructor."""
        arguments = {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in arguments.items()}
        return {"front_end": type(self).__name__, **plain}

    def frame_count(self, samples: int) -> int:
        """Frames of the log-mel of a waveform of so many samples."""
        raise NotImplementedError


def kaldi_mel_basis(
    mels: int, n_fft: int, rate_hz: int, f_min: float, f_max: float, device: torch.device | None = None
) -> Tensor:
    """(mels, n_fft // 2 + 1) triangles linear in mel = 1127 ln(1 + f / 700), unit height, Nyquist column zero.

    f_min, f_max: the outer edges of the first and the last triangle, in Hz; device: where it is made.
    """

    def to_mel(hz: float | Tensor) -> Tensor:
        return 1127.0 * torch.log1p(torch.as_tensor(hz, dtype=torch.float64) / 700.0)

    low, high = to_mel(f_min), to_mel(f_max)
    step = (high - low) / (mels + 1)
    left = low + torch.arange(mels, dtype=torch.float64, device=device)[:, None] * step
    bins = to_mel(torch.arange(n_fft // 2, dtype=torch.float64, device=device) * rate_hz / n_fft)[None]
    up, down = (bins - left) / step, (left + 2 * step - bins) / step
    basis = torch.minimum(up, down).clamp(min=0)
    return torch.nn.functional.pad(basis, (0, 1)).float()


class KaldiLogMel(FrontEnd):
    """Front end of PaSST and MN: waveform (B, samples) at `rate_hz` -> (B, mels, frames).

    n_fft, window, hop: samples of the transform, of the Hann window in its middle, and from frame to frame.
    In training the mel edges are drawn in whole Hz once a batch: the lower from f_min .. f_min + jitter_low - 1, the
    upper from f_max - jitter_high / 2 + 1 .. f_max + jitter_high / 2 (as published: 14 001 .. 16 000 for 15 000).
    """

    basis: Tensor
    hann: Tensor

    def __init__(
        self,
        mels: int = 128,
        n_fft: int = 1024,
        window: int = 800,
        hop: int = 320,
        f_min: float = 0.0,
        f_max: float = 15000.0,
        jitter_low: int = 10,
        jitter_high: int = 2000,
        rate_hz: int = 32000,
    ) -> None:
        super().__init__()
        self.mels, self.n_fft, self.window, self.hop, self.rate_hz = mels, n_fft, window, hop, rate_hz
        self.f_min, self.f_max, self.jitter_low, self.jitter_high = f_min, f_max, jitter_low, jitter_high
        self.register_buffer("hann", torch.hann_window(window, periodic=False), persistent=False)
        self.register_buffer("basis", kaldi_mel_basis(mels, n_fft, rate_hz, f_min, f_max), persistent=False)

    def frame_count(self, samples: int) -> int:
        """Frames of the log-mel of a waveform of so many samples, the first of which pre-emphasis takes."""
        return (samples - 1) // self.hop + 1

    def mel_basis(self) -> Tensor:
        """(mels, n_fft // 2 + 1), the basis in use: fixed in evaluation, with randomly drawn edges in training."""
        if not self.training or not (self.jitter_low or self.jitter_high):
            return self.basis
        low = self.f_min + int(torch.randint(max(1, self.jitter_low), (1,)))
        high = self.f_max - self.jitter_high // 2 + 1 + int(torch.randint(max(1, self.jitter_high), (1,)))
        return kaldi_mel_basis(self.mels, self.n_fft, self.rate_hz, low, high, self.basis.device)

    def forward(self, waveform: Tensor) -> Tensor:
        """waveform (B, samples) -> (B, mels, frames): logarithm of the mel power, shifted and scaled as published."""
        with torch.autocast(waveform.device.type, enabled=False):
            x = waveform.float()
            x = x[:, 1:] - 0.97 * x[:, :-1]
            spectrum = torch.stft(
                x,
                self.n_fft,
                self.hop,
                self.window,
                self.hann,
                center=True,
                pad_mode="reflect",
                return_complex=True,
            )
            power = spectrum.real.square() + spectrum.imag.square()
            return ((self.mel_basis() @ power + 1e-5).log() + 4.5) / 5


class AtstLogMel(FrontEnd):
    """Front end of ATST-Frame: waveform (B, samples) at `rate_hz` -> (B, mels, frames), computed at `inner_hz`.

    decibels: the levels that become -1 and 1 (published: the range of AudioSet).
    """

    def __init__(
        self,
        mels: int = 64,
        n_fft: int = 1024,
        hop: int = 160,
        f_min: float = 60.0,
        f_max: float = 7800.0,
        rate_hz: int = 32000,
        inner_hz: int = 16000,
        decibels: tuple[float, float] = (-79.6482, 50.6842),
    ) -> None:
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

    def frame_count(self, samples: int) -> int:
        """Frames of the log-mel of a waveform of so many samples at `rate_hz`."""
        return samples * self.inner_hz // self.rate_hz // self.hop + 1

    def forward(self, waveform: Tensor) -> Tensor:
        """waveform (B, samples) -> (B, mels, frames): decibels, at most 80 below the segment's loudest, scaled."""
        low, high = self.decibels
        with torch.autocast(waveform.device.type, enabled=False):
            spectrum = self.spectrum(self.resample(waveform.float()))
            power = spectrum.real.square() + spectrum.imag.square()  # half the time of a magnitude squared
            decibel = 10 * self.mel_scale(power).clamp(min=1e-10).log10()
            floor = decibel.amax(dim=(1, 2), keepdim=True) - 80  # of this segment, not of the batch
            decibel = torch.maximum(decibel, floor).clamp(-50, 80)
            return (decibel - low) / (high - low) * 2 - 1


def warp_frequency(log_mel: Tensor, low: float = 0.6) -> Tensor:
    """Crop a random band of `low` to 100 % of the mel axis of each clip and stretch it back (bicubic).

    log_mel (B, mels, frames) -> the same shape.
    """
    mels, frames = log_mel.shape[1:]
    warped = []
    for one in log_mel:
        band = max(1, int(mels * (low + (1 - low) * float(torch.rand(())))))
        start = int(torch.randint(mels - band + 1, (1,)))
        cut = one[None, None, start : start + band]
        warped.append(nn.functional.interpolate(cut, size=(mels, frames), mode="bicubic", align_corners=False)[0, 0])
    return torch.stack(warped)
