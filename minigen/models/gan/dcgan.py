"""DCGAN: generator and discriminator of convolutions, for images of 32x32 and 64x64 (28x28 within 32x32).

    generator       z -> 4x4 -> 8x8 -> 16x16 -> 32x32 [-> 64x64]        transposed convolutions, norm, ReLU; tanh last
    discriminator   [64x64 ->] 32x32 -> 16x16 -> 8x8 -> 4x4 -> score    convolutions, norm, leaky ReLU

The paper's rules: strides in place of pooling, batch norm everywhere but in the generator's last and the
discriminator's first layer, weights from N(0, 0.02^2), leaky slope 0.2. Its windows were 5x5; here they are 4x4, so
that a stride of 2 covers every pixel equally often.

A 28x28 image has a margin of 2 pixels of -1 (black) in the discriminator; the generator's margin is cut off.

Shapes   z (N, latent), labels (N,) -> images (N, H, W, C) in [-1, 1];   images -> Verdict (verdict.py)
Source   Radford et al., ICLR 2016, sections 3 and 4; deck 000, "Deep Convolutional (DC) GAN"
"""

from ... import nn, ops
from ...nn import init
from .layers import MinibatchStd, SpectralNorm, norm_of, with_labels
from .mlp import heads
from .verdict import Verdict

WEIGHTS = init.normal  # N(0, 0.02^2)
SIDES = {28: (32, 2), 32: (32, 0), 64: (64, 0)}  # of an image -> of the network, and the margin between the two
SMALLEST = 4  # pixels a side where the generator begins and the discriminator ends


def geometry(shape, channels):
    """(widths from the smallest resolution up, margin) for images (H, W, C).

    Each doubling of the side halves the width, down to `channels`. Raises ValueError for images of another size.
    """
    if len(shape) != 3 or shape[0] != shape[1] or shape[0] not in SIDES:
        raise ValueError(f"dcgan makes images of {', '.join(f'{s}x{s}' for s in SIDES)}, got samples of shape {shape}")
    side, margin = SIDES[shape[0]]
    doublings = (side // SMALLEST).bit_length() - 1
    return [channels * 2**i for i in reversed(range(doublings))], margin


class DCGANGenerator(nn.Module):
    """z, projected to 4x4 pixels and doubled until it is an image. classes: labels that it is told, 0 for none."""

    def __init__(self, latent, shape, generator, channels=32, norm="batch", classes=0):
        widths, self.margin = geometry(shape, channels)
        self.classes, self.first = classes, widths[0]
        bias = norm == "none"
        self.project = nn.Linear(latent + classes, SMALLEST**2 * widths[0], generator, bias=bias, weight_init=WEIGHTS)
        self.norm = nn.Sequential(*norm_of(norm, widths[0]), ops.relu)
        up = [
            [_doubled(a, b, generator, bias), *norm_of(norm, b), ops.relu] for a, b in zip(widths, widths[1:])
        ]  # fmt: skip
        self.up = nn.Sequential(*sum(up, []))
        self.output = _doubled(widths[-1], shape[-1], generator, bias=True)

    def forward(self, z, labels=None):
        h = self.project(with_labels(z, labels, self.classes)).reshape(len(z), SMALLEST, SMALLEST, self.first)
        x = ops.tanh(self.output(self.up(self.norm(h))))
        m = self.margin
        return x[:, m:-m, m:-m] if m else x


def _doubled(inputs, outputs, generator, bias):
    return nn.ConvTranspose2d(inputs, outputs, 4, generator, stride=2, padding=1, bias=bias, weight_init=WEIGHTS)


class DCGANTrunk(nn.Module):
    """The convolutions of the discriminator.   images (N, H, W, C) -> features (N, F)

    norm: "none", "batch", "layer" or "group" behind all but the first, or "spectral" in all.
    """

    def __init__(self, shape, generator, channels=32, norm="batch", minibatch_std=False, classes=0):
        widths, self.margin = geometry(shape, channels)
        widths = widths[::-1]
        self.classes = classes
        layers = [*_halved(shape[-1] + classes, widths[0], generator, norm, first=True), ops.leaky_relu]
        for a, b in zip(widths, widths[1:]):
            layers += [*_halved(a, b, generator, norm), ops.leaky_relu]
        self.layers = nn.Sequential(*layers, *([MinibatchStd()] if minibatch_std else []))
        self.features = SMALLEST**2 * (widths[-1] + minibatch_std)

    def forward(self, x, labels=None):
        if self.margin:
            x = ops.pad(x, [(0, 0), (self.margin,) * 2, (self.margin,) * 2, (0, 0)], value=-1.0)
        return self.layers(with_labels(x, labels, self.classes)).reshape(len(x), self.features)


def _halved(inputs, outputs, generator, norm, first=False):
    normed = not first and norm not in ("none", "spectral")
    bias = norm != "spectral" and not normed
    conv = nn.Conv2d(inputs, outputs, 4, generator, stride=2, padding=1, bias=bias, weight_init=WEIGHTS)
    if norm == "spectral":
        return [SpectralNorm(conv, generator)]
    return [conv, *(norm_of(norm, outputs) if normed else [])]


class DCGANDiscriminator(nn.Module):
    """The trunk, then a score and, where `guesses` > 0, logits of a class. classes: labels that it is told."""

    def __init__(
        self, shape, generator, channels=32, norm="batch", minibatch_std=False, classes=0, guesses=0
    ):  # fmt: skip
        self.trunk = DCGANTrunk(shape, generator, channels, norm, minibatch_std, classes)
        self.score, self.guess = heads(self.trunk.features, guesses, generator, norm, WEIGHTS)

    def forward(self, x, labels=None):
        h = self.trunk(x, labels)
        return Verdict(self.score(h)[:, 0], self.guess(h) if self.guess else None)


class DCGANEncoder(nn.Module):
    """The trunk with a code at its end, for an AutoencoderDiscriminator.   images -> (N, bottleneck)"""

    def __init__(self, shape, bottleneck, generator, channels=32, norm="batch"):
        self.trunk = DCGANTrunk(shape, generator, channels, norm)
        self.output = nn.Linear(self.trunk.features, bottleneck, generator, weight_init=WEIGHTS)

    def forward(self, x):
        return self.output(self.trunk(x))
