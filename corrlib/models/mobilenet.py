"""MN: MobileNetV3 for audio (Schmid, Koutini and Widmer, ICASSP 2023; Howard et al. 2019)."""

from functools import partial

import torch
from torch import nn

from corrlib.models.backbone import Backbone
from corrlib.models.frontends import KaldiLogMel

# in, kernel, expansion, out, squeeze-excitation, activation, stride
BLOCKS = (
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


def make_divisible(channels, divisor=8):
    """The nearest multiple of 8, at least 8 and never more than 10 % below `channels`."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def convolution(inputs, outputs, kernel=1, stride=1, groups=1, activation=None):
    """Convolution without bias, BatchNorm, activation."""
    layers = [
        nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01),
    ]
    return nn.Sequential(*layers, *([activation()] if activation else []))


class SqueezeExcitation(nn.Module):
    """Gate of each channel from its mean over the map (B, C, F, T)."""

    def __init__(self, channels, hidden):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(channels, hidden), nn.Linear(hidden, channels)

    def forward(self, x):
        gate = self.fc2(self.fc1(x.mean((2, 3))).relu()).sigmoid()
        return x * gate[:, :, None, None]


class ConcurrentSE(nn.Module):
    """Holder that gives the gate its published name."""

    def __init__(self, channels, hidden):
        super().__init__()
        self.conc_se_layers = nn.ModuleList([SqueezeExcitation(channels, hidden)])

    def forward(self, x):
        return self.conc_se_layers[0](x)


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise convolution, gate, 1x1 projection; residual where the shape allows."""

    def __init__(self, inputs, kernel, expansion, outputs, gated, activation, stride):
        super().__init__()
        act = (
            nn.Hardswish if activation == "HS" else partial(nn.ReLU, inplace=True)
        )  # BatchNorm does not miss its output
        layers: list[nn.Module] = [] if expansion == inputs else [convolution(inputs, expansion, activation=act)]
        layers.append(convolution(expansion, expansion, kernel, stride, expansion, act))
        if gated:
            layers.append(ConcurrentSE(expansion, make_divisible(expansion // 4)))
        self.block = nn.Sequential(*layers, convolution(expansion, outputs))
        self.stride, self.residual = stride, stride == 1 and inputs == outputs

    def forward(self, x):
        return x + self.block(x) if self.residual else self.block(x)


class MobileNet(Backbone):
    """Inverted residuals; features are the mean over frequency and time of the last 1x1 convolution.

    width multiplies all channels; blocks is the table; tags the classes of the published classifier, which loads but
    plays no part in the features (None: no classifier).
    """

    published_file = "mn10_as_mAP_471.pt"
    published_at = "release v0.0.1 of fschmid56/EfficientAT"

    def __init__(self, width=1.0, blocks=BLOCKS, mels=128, tags=527, last=6, front_end=None):
        super().__init__()
        self.front_end = KaldiLogMel(mels=mels, **(front_end or {}))

        def scaled(channels):
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

    def encode(self, log_mel):
        """log-mel (B, mels, frames) -> features (B, D)."""
        x = log_mel[:, None].contiguous(memory_format=torch.channels_last)
        return self.through(self.features, x).mean((2, 3))

    def token_count(self, samples, training=False):
        """Positions of the last map (frequency x time)."""
        rows, columns = self.front_end.mels, (samples - 1) // self.front_end.hop + 1
        strides = [2] + [b.stride for b in self.features if isinstance(b, InvertedResidual)]
        for stride in strides:
            rows, columns = (rows - 1) // stride + 1, (columns - 1) // stride + 1
        return rows * columns
