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
        rows, kind = gradient.flatten(0, -2), gradient.dtype             # half precision under autocast
        of_normed = (rows @ weight.to(kind)).view_as(x).to(x.dtype)
        of_weight = (normed.flatten(0, -2).to(kind).t() @ rows).t()
        of_x, of_norm_weight, of_norm_bias = torch.ops.aten.native_layer_norm_backward(
            of_normed, x, x.shape[-1:], mean, deviation, norm_weight, norm_bias, [True, True, True])
        return of_x, of_norm_weight, of_norm_bias, None, of_weight, rows.sum(0) if ctx.biased else None


def norm_linear(norm, linear, x):
    """linear(norm(x)) of a LayerNorm and a Linear module: x (..., D) -> (..., outputs)."""
    return _NormLinear.apply(x, norm.weight, norm.bias, norm.eps, linear.weight, linear.bias)


class Attention(nn.Module):
    """Multi-head self-attention of norm(x): (B, T, D) -> (B, T, D), by scaled-dot-product attention."""

    def __init__(self, width, heads, qkv_bias):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.proj = nn.Linear(width, width)

    def forward(self, x, norm):
        batch, tokens, width = x.shape
        query, key, value = norm_linear(norm, self.qkv, x).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).reshape(batch, tokens, width))


class Mlp(nn.Module):
    """Two linear maps of norm(x), with an exact GELU between."""

    def __init__(self, width, hidden):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x, norm):
        return self.fc2(F.gelu(norm_linear(norm, self.fc1, x)))


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, width, heads, mlp_ratio=4, qkv_bias=True):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads, qkv_bias)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width, int(width * mlp_ratio))

    def forward(self, x):
        x = x + self.attn(x, self.norm1)
        return x + self.mlp(x, self.norm2)
