"""ATST-Frame: frame-level audio transformer (Li, Shao and Li, TASLP 2024)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from corrlib.models.backbone import Backbone
from corrlib.models.frontends import AtstLogMel, warp_frequency
from corrlib.models.transformer import Block


class FramePatches(nn.Module):
    """log-mel (B, mels, frames) -> tokens (B, T, D): whole mel axis by `frames` frames, mel slow, frame fast."""

    def __init__(self, mels: int, frames: int, width: int) -> None:
        super().__init__()
        self.frames = frames
        self.patch_embed = nn.Linear(mels * frames, width)

    def forward(self, log_mel: Tensor) -> Tensor:
        """log-mel (B, mels, frames) -> tokens (B, T, D); frames that fill no token are left out."""
        batch, mels, total = log_mel.shape
        tokens = total // self.frames
        patches = log_mel[..., : tokens * self.frames].reshape(batch, mels, tokens, self.frames)
        return self.patch_embed(patches.permute(0, 2, 1, 3).reshape(batch, tokens, -1))


class AtstFrame(Backbone):
    """Tokens of four frames each, no class token; features are the mean over the clip's frames.

    width: D; depth: blocks; heads: of attention; mlp_ratio: hidden units of a block's MLP over D; mels: of the log-mel;
    frames: of a token; positions: tokens of a whole segment; front_end: further arguments of AtstLogMel.
    warp: the narrowest share of the mel axis that frequency warping keeps in training (published: 0.6; 1: none).
    """

    last_modules = ("norm_frame",)

    def __init__(
        self,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp_ratio: float = 4,
        mels: int = 64,
        frames: int = 4,
        positions: int = 250,
        warp: float = 0.6,
        front_end: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.front_end = AtstLogMel(mels=mels, **(front_end or {}))
        self.feature_size, self.frames, self.warp = width, frames, warp
        self.mask_embed = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, positions + 1, width))
        self.patch_embed = FramePatches(mels, frames, width)
        self.blocks = nn.ModuleList(Block(width, heads, mlp_ratio, qkv_bias=False) for _ in range(depth))
        self.norm_frame = nn.LayerNorm(width, eps=1e-6)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def encode(self, log_mel: Tensor) -> Tensor:
        """log-mel (B, mels, frames) -> features (B, D)."""
        if self.training and self.warp < 1:
            log_mel = warp_frequency(log_mel, self.warp)
        tokens = self.patch_embed(log_mel)
        count = min(tokens.shape[1], self.pos_embed.shape[1] - 1)
        tokens = tokens[:, :count] + self.pos_embed[:, 1 : count + 1]  # position 0 belongs to no frame
        tokens = self.through(self.blocks, tokens)
        return self.norm_frame(tokens).mean(1)

    @property
    def layers(self) -> Sequence[nn.Module]:
        """The blocks."""
        return list(self.blocks)

    def pool(self, x: Tensor) -> Tensor:
        """tokens (B, T, D) -> their mean (B, D)."""
        return x.mean(1)

    def published_names(self, state: dict[str, Any]) -> dict[str, Any]:
        """Lightning prefixes of the fine-tuned and the self-supervised checkpoint; heads and class token dropped."""
        for prefix in ("encoder.encoder.", "model.teacher.encoder."):
            if any(key.startswith(prefix) for key in state):
                state = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
        renamed = {("norm_frame." + key[5:] if key.startswith("norm.") else key): value for key, value in state.items()}
        return {key: value for key, value in renamed.items() if key != "cls_token"}

    def token_count(self, samples: int, training: bool = False) -> int:
        """Number of tokens for a waveform of `samples` at `sample_rate_hz`; the same in training."""
        return min(self.front_end.frame_count(samples) // self.frames, self.pos_embed.shape[1] - 1)
