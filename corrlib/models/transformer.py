"""The pre-norm transformer block that PaSST and ATST-Frame share (Vaswani et al. 2017; Dosovitskiy et al. 2021)."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable


class _NormLinear(torch.autograd.Function):
    """LayerNorm and the linear map after it; what lies between is computed again backwards instead of kept.

    The same numbers as the two modules, one after the other, for a quarter less of a block's memory.
    """

    @staticmethod
    def forward(ctx, x, norm_weight, norm_bias, eps, weight, bias):
        normed, mean, deviation = torch.native_layer_norm(x, x.shape[-1:], norm_weight, norm_bias, eps)
        ctx.save_for_backward(x, mean, deviation, norm_weight, norm_bias, weight)
        ctx.eps, ctx.biased = eps, bias is not None
        return F.linear(normed, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):  # pyrefly: ignore[bad-override]
        x, mean, deviation, norm_weight, norm_bias, weight = ctx.saved_tensors
        normed = torch.native_layer_norm(x, x.shape[-1:], norm_weight, norm_bias, ctx.eps)[0]
        rows, kind = gradient.flatten(0, -2), gradient.dtype  # half precision under autocast
        of_normed = (rows @ weight.to(kind)).view_as(x).to(x.dtype)
        of_weight = (normed.flatten(0, -2).to(kind).t() @ rows).t()
        of_x, of_norm_weight, of_norm_bias = torch.ops.aten.native_layer_norm_backward(
            of_normed, x, x.shape[-1:], mean, deviation, norm_weight, norm_bias, [True, True, True]
        )
        return of_x, of_norm_weight, of_norm_bias, None, of_weight, rows.sum(0) if ctx.biased else None


def norm_linear(norm, linear, x, rows=slice(None)):
    """linear(norm(x)) of a LayerNorm and a Linear module, or some `rows` of its outputs: x (..., D) -> (...,
    outputs).
    """
    bias = None if linear.bias is None else linear.bias[rows]
    return _NormLinear.apply(x, norm.weight, norm.bias, norm.eps, linear.weight[rows], bias)


class Attention(nn.Module):
    """Multi-head self-attention of norm(x): (B, T, D) -> (B, T, D), by scaled-dot-product attention.

    first: only so many tokens ask, all answer: -> (B, first, D).
    """

    def __init__(self, width, heads, qkv_bias):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.proj = nn.Linear(width, width)

    def forward(self, x, norm, first=None):
        width = x.shape[-1]
        if first is None:
            query, key, value = self._heads(norm_linear(norm, self.qkv, x), 3)
        else:
            (query,) = self._heads(norm_linear(norm, self.qkv, x[:, :first], slice(width)), 1)
            key, value = self._heads(norm_linear(norm, self.qkv, x, slice(width, None)), 2)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).flatten(2))

    def _heads(self, x, kinds):
        """(B, T, kinds * D) -> (kinds, B, heads, T, D / heads)."""
        return x.view(*x.shape[:2], kinds, self.heads, -1).permute(2, 0, 3, 1, 4)


class Mlp(nn.Module):
    """Two linear maps of norm(x), with an exact GELU between."""

    def __init__(self, width, hidden):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x, norm):
        return self.fc2(F.gelu(norm_linear(norm, self.fc1, x)))


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); of the `first` tokens alone, where no others are wanted after
    it.
    """

    def __init__(self, width, heads, mlp_ratio=4, qkv_bias=True):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads, qkv_bias)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width, int(width * mlp_ratio))

    def forward(self, x, first=None):
        x = x[:, :first] + self.attn(x, self.norm1, first)
        return x + self.mlp(x, self.norm2)
