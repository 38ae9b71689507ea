"""The pre-norm transformer block that PaSST and ATST-Frame share (Vaswani et al. 2017; Dosovitskiy et al. 2021)."""

import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head self-attention by scaled dot products: width D, so many `heads` of D / heads each."""

    def __init__(self, width: int, heads: int, qkv_bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, first: int | None = None) -> Tensor:
        """x (B, T, D) -> (B, T, D).

        first: only so many tokens ask, all answer: -> (B, first, D).
        """
        if first is None:
            query, key, value = self._heads(self.qkv(x), 3)
        else:
            (query,) = self._heads(self._part(x[:, :first], 0, 1), 1)
            key, value = self._heads(self._part(x, 1, 3), 2)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).flatten(2))

    def _part(self, x: Tensor, start: int, stop: int) -> Tensor:
        """Of query, key and value of tokens x (B, T, D) those from `start` to `stop`, side by side."""
        rows = slice(start * x.shape[-1], stop * x.shape[-1])
        return F.linear(x, self.qkv.weight[rows], None if self.qkv.bias is None else self.qkv.bias[rows])

    def _heads(self, x: Tensor, kinds: int) -> Tensor:
        """(B, T, kinds * D) -> (kinds, B, heads, T, D / heads)."""
        return x.view(*x.shape[:2], kinds, self.heads, -1).permute(2, 0, 3, 1, 4)


class Mlp(nn.Module):
    """Two linear maps with an exact GELU between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, T, D) -> (B, T, D)."""
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)).

    width: D; heads: of attention; mlp_ratio: hidden units of the MLP over D; qkv_bias: whether query, key and value
    have one.
    """

    def __init__(self, width: int, heads: int, mlp_ratio: float = 4, qkv_bias: bool = True) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads, qkv_bias)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width, int(width * mlp_ratio))

    def forward(self, x: Tensor, first: int | None = None) -> Tensor:
        """x (B, T, D) -> (B, T, D), or (B, first, D): of the first tokens alone, where no others are wanted after."""
        x = x[:, :first] + self.attn(self.norm1(x), first)
        return x + self.mlp(self.norm2(x))
