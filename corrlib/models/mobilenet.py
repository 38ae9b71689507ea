"""MN: MobileNetV3 for audio (Schmid, Koutini and Widmer, ICASSP 2023; Howard et al. 2019)."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from corrlib.models.backbone import Backbone
from corrlib.models.frontends import KaldiLogMel

# in, kernel, expansion, out, squeeze-excitation, activation (RE: ReLU, HS: Hardswish), stride
BlockRow = tuple[int, int, int, int, bool, str, int]
BLOCKS: tuple[BlockRow, ...] = (
    (16, 3, 16, 16, False, "RE", 1),
    (16, 3, 64, 24, False, "RE", 2),
    (24, 3, 72, 24, False, "RE", 1),
    (24, 5, 72, 40, True, "RE", 2),
    (40, 5, 120, 40, True, "RE", 1),
    (40, 5, 120, 40, True, "RE", 1),
    (40, 3, 240, 80, False, "HS", 2),
    (80, 3, 200, 80, False, "HS", 1),
    (80, 3, 184, 80, False, "HS", 1),
    (80, 3, 184, 80, False, "HS", 1),
    (80, 3, 480, 112, True, "HS", 1),
    (112, 3, 672, 112, True, "HS", 1),
    (112, 5, 672, 160, True, "HS", 2),
    (160, 5, 960, 160, True, "HS", 1),
    (160, 5, 960, 160, True, "HS", 1),
)


def make_divisible(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of `divisor`, at least one and never more than 10 % below `channels`."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def convolution(
    inputs: int,
    outputs: int,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
    activation: Callable[[], nn.Module] | None = None,
) -> nn.Sequential:
    """Convolution without bias, BatchNorm, activation: (B, inputs, F, T) -> (B, outputs, F / stride, T / stride)."""
    layers = [
        nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01),
    ]
    return nn.Sequential(*layers, *([activation()] if activation else []))


class SqueezeExcitation(nn.Module):
    """Gate of each channel from its mean over the map (B, C, F, T)."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(channels, hidden), nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, F, T) -> the same shape."""
        gate = self.fc2(self.fc1(x.mean((2, 3))).relu()).sigmoid()
        return x * gate[:, :, None, None]


class ConcurrentSE(nn.Module):
    """Holder that gives the gate its published name."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.conc_se_layers = nn.ModuleList([SqueezeExcitation(channels, hidden)])

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, F, T) -> the same shape."""
        return self.conc_se_layers[0](x)


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise convolution, gate, 1x1 projection; residual where the shape allows."""

    def __init__(
        self, inputs: int, kernel: int, expansion: int, outputs: int, gated: bool, activation: str, stride: int
    ) -> None:
        super().__init__()
        # in place: BatchNorm does not miss its output
        act: Callable[[], nn.Module] = nn.Hardswish if activation == "HS" else partial(nn.ReLU, inplace=True)
        layers: list[nn.Module] = [] if expansion == inputs else [convolution(inputs, expansion, activation=act)]
        layers.append(convolution(expansion, expansion, kernel, stride, expansion, act))
        if gated:
            layers.append(ConcurrentSE(expansion, make_divisible(expansion // 4)))
        self.block = nn.Sequential(*layers, convolution(expansion, outputs))
        self.stride, self.residual = stride, stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """x (B, inputs, F, T) -> (B, outputs, F / stride, T / stride)."""
        return x + self.block(x) if self.residual else self.block(x)


class MobileNet(Backbone):
    """Inverted residuals; features are the mean over frequency and time of the last 1x1 convolution.

    width multiplies all channels; blocks is the table; last: features over channels of the last block; front_end:
    further arguments of KaldiLogMel; tags: the classes of the published classifier, which loads but
    plays no part in the features (None: no classifier).
    """

    def __init__(
        self,
        width: float = 1.0,
        blocks: Sequence[BlockRow] = BLOCKS,
        mels: int = 128,
        tags: int | None = 527,
        last: int = 6,
        front_end: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.front_end = KaldiLogMel(mels=mels, **(front_end or {}))

        def scaled(channels: int) -> int:
            return make_divisible(channels * width)

        layers = [convolution(1, scaled(blocks[0][0]), 3, 2, activation=nn.Hardswish)]
        layers += [InvertedResidual(scaled(i), k, scaled(e), scaled(o), g, a, s) for i, k, e, o, g, a, s in blocks]
        out = scaled(blocks[-1][3])
        self.feature_size = last * out
        self.features = nn.Sequential(*layers, convolution(out, self.feature_size, activation=nn.Hardswish))
        if tags:
            hidden = make_divisible(1280 * width)
            self.classifier = nn.Sequential(
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
                nn.Linear(self.feature_size, hidden),
                nn.Hardswish(),
                nn.Dropout(0.2),
                nn.Linear(hidden, tags),
            )
        # depthwise convolutions are a quarter faster this way
        self.to(memory_format=torch.channels_last)  # pyrefly: ignore[no-matching-overload]

    def encode(self, log_mel: Tensor) -> Tensor:
        """log-mel (B, mels, frames) -> features (B, D)."""
        x = log_mel[:, None].contiguous(memory_format=torch.channels_last)
        return self.pool(self.through(self.features, x))

    @property
    def layers(self) -> Sequence[nn.Module]:
        """The first convolution, the blocks, the last convolution."""
        return list(self.features)

    @property
    def layer_sizes(self) -> list[int]:
        """Channels of each layer's output."""
        norms = [[m for m in layer.modules() if isinstance(m, nn.BatchNorm2d)][-1] for layer in self.features]
        return [norm.num_features for norm in norms]

    def pool(self, x: Tensor) -> Tensor:
        """A map (B, C, F, T) -> its mean over frequency and time (B, C)."""
        return x.mean((2, 3))

    def token_count(self, samples: int, training: bool = False) -> int:
        """Positions of the last map (frequency x time); the same in training."""
        rows, columns = self.front_end.mels, self.front_end.frame_count(samples)
        strides = [2] + [b.stride for b in self.features if isinstance(b, InvertedResidual)]
        for stride in strides:
            rows, columns = (rows - 1) // stride + 1, (columns - 1) // stride + 1
        return rows * columns
