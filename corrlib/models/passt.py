"""PaSST: patchout spectrogram transformer (Koutini et al., Interspeech 2022)."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from corrlib.models.backbone import Backbone
from corrlib.models.frontends import KaldiLogMel
from corrlib.models.transformer import Block


class PatchEmbed(nn.Module):
    """Spectrogram (B, 1, mels, frames) -> (B, D, F, T) by one strided convolution."""

    def __init__(self, width: int, patch: tuple[int, int], stride: tuple[int, int]) -> None:
        super().__init__()
        self.proj = nn.Conv2d(1, width, patch, stride)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, 1, mels, frames) -> (B, D, F, T)."""
        (high, wide), stride = self.proj.kernel_size, self.proj.stride
        if stride != (high, wide):
            return self.proj(x)
        # patches that do not overlap: the same as a matrix product, which is far quicker backwards on a CPU
        rows, columns = x.shape[2] // high, x.shape[3] // wide
        x = x[:, 0, : rows * high, : columns * wide].reshape(len(x), rows, high, columns, wide)
        patches = x.permute(0, 1, 3, 2, 4).reshape(len(x), rows, columns, high * wide)
        return F.linear(patches, self.proj.weight.flatten(1), self.proj.bias).permute(0, 3, 1, 2)


class PaSST(Backbone):
    """Patches with time and frequency positions, patchout in training, class and distillation tokens.

    width: D; depth: blocks; heads: of attention; mlp_ratio: hidden units of a block's MLP over D; mels: of the log-mel;
    patch, stride: (mel bands, frames); frames: log-mel frames of a whole segment, which fix the number of time
    positions; patchout: (time columns, frequency rows) of a whole segment left out in training, of a shorter clip as
    great a share; tags: classes of the published heads, which load but play no part in the features (None: no heads);
    front_end: further arguments of KaldiLogMel.
    """

    last_modules = ("norm",)

    def __init__(
        self,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp_ratio: float = 4,
        patch: tuple[int, int] = (16, 16),
        stride: tuple[int, int] = (16, 16),
        mels: int = 128,
        frames: int = 1000,
        patchout: tuple[int, int] = (15, 2),
        tags: int | None = 527,
        front_end: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.front_end = KaldiLogMel(mels=mels, **(front_end or {}))
        self.patch, self.stride, self.patchout, self.feature_size = patch, stride, patchout, width
        rows, columns = self.grid(mels, frames)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.dist_token = nn.Parameter(torch.zeros(1, 1, width))
        self.new_pos_embed = nn.Parameter(torch.zeros(1, 2, width))
        self.freq_new_pos_embed = nn.Parameter(torch.zeros(1, width, rows, 1))
        self.time_new_pos_embed = nn.Parameter(torch.zeros(1, width, 1, columns))
        self.patch_embed = PatchEmbed(width, patch, stride)
        self.blocks = nn.ModuleList(Block(width, heads, mlp_ratio) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        if tags:
            self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, tags))
            self.head_dist = nn.Linear(width, tags)
        for name, parameter in self.named_parameters():
            if "pos_embed" in name or "token" in name:
                nn.init.trunc_normal_(parameter, std=0.02)

    def grid(self, mels: int, frames: int) -> list[int]:
        """[rows, columns] of patches of a log-mel."""
        return [
            (size - patch) // stride + 1
            for size, patch, stride in zip((mels, frames), self.patch, self.stride, strict=True)
        ]

    def encode(self, log_mel: Tensor) -> Tensor:
        """log-mel (B, mels, frames) -> features (B, D): mean of class and distillation token, before the heads."""
        x = self.patch_embed(log_mel[:, None])
        columns = min(x.shape[3], self.time_new_pos_embed.shape[3])
        x = x[..., :columns] + self.time_new_pos_embed[..., :columns] + self.freq_new_pos_embed
        if self.training:
            x = self.patchout_draw(x)
        tokens = x.flatten(2).transpose(1, 2)
        special = torch.cat([self.cls_token, self.dist_token], 1) + self.new_pos_embed
        tokens = torch.cat([special.expand(len(tokens), -1, -1), tokens], 1)
        *blocks, last = self.blocks
        tokens = last(self.through(blocks, tokens), first=2)  # nothing comes after the others
        return self.norm(tokens).mean(1)

    @property
    def layers(self) -> Sequence[nn.Module]:
        """The blocks."""
        return list(self.blocks)

    def pool(self, x: Tensor) -> Tensor:
        """tokens (B, T, D) -> the mean of class and distillation token (B, D)."""
        return x[:, :2].mean(1)

    def patchout_draw(self, x: Tensor) -> Tensor:
        """(B, D, F, T) without some columns, then rows, drawn for the whole batch at once; order is kept."""
        for axis, count in zip((3, 2), self._kept(*x.shape[:1:-1]), strict=True):
            if count < x.shape[axis]:
                kept = torch.randperm(x.shape[axis])[:count].sort().values
                x = x.index_select(axis, kept.to(x.device, non_blocking=True))
        return x

    def _kept(self, columns: int, rows: int) -> list[int]:
        """[columns, rows] that patchout leaves of so many."""
        whole = self.time_new_pos_embed.shape[3], self.freq_new_pos_embed.shape[2]
        # rounded in integers, of which torch.compile keeps track
        return [
            size - (2 * size * dropped + of) // (2 * of) if dropped < of else size
            for size, dropped, of in zip((columns, rows), self.patchout, whole, strict=True)
        ]

    def token_count(self, samples: int, training: bool = False) -> int:
        """Number of tokens for a waveform of `samples`, in evaluation or after patchout."""
        rows, columns = self.grid(self.front_end.mels, self.front_end.frame_count(samples))
        columns = min(columns, self.time_new_pos_embed.shape[3])
        if training:
            columns, rows = self._kept(columns, rows)
        return rows * columns + 2
