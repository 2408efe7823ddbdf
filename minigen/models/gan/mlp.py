"""Networks of linear layers, for points in the plane and for small images; and the one-number toy of deck 000.

Shapes   z (N, latent), labels (N,) -> samples (N, *shape);   samples -> Verdict (verdict.py)
"""

from math import prod

import numpy as np

from ... import nn, ops
from ...nn import init
from .layers import MinibatchStd, SpectralNorm, norm_of, with_labels
from .verdict import Verdict


def dense(inputs, outputs, generator, norm="none"):
    """A linear layer and its norm, as a list of layers. norm: see layers.py, or "spectral"."""
    linear = nn.Linear(inputs, outputs, generator, bias=norm in ("none", "layer", "group"), weight_init=WEIGHTS)
    return [SpectralNorm(linear, generator)] if norm == "spectral" else [linear, *norm_of(norm, outputs)]


WEIGHTS = init.kaiming_normal


class MLPGenerator(nn.Module):
    """depth hidden layers of that width with ReLU; the output is bounded by tanh for images, free for points.

    classes   labels that it is told (as a one-hot vector beside z), 0 for none
    """

    def __init__(self, latent, shape, generator, width=128, depth=3, norm="none", classes=0):
        self.shape, self.classes = tuple(shape), classes
        sizes = [latent + classes, *[width] * depth]
        hidden = [[*dense(a, b, generator, norm), ops.relu] for a, b in zip(sizes, sizes[1:])]
        self.hidden = nn.Sequential(*sum(hidden, []))
        self.output = nn.Linear(sizes[-1], prod(self.shape), generator)

    def forward(self, z, labels=None):
        y = self.output(self.hidden(with_labels(z, labels, self.classes))).reshape(len(z), *self.shape)
        return ops.tanh(y) if len(self.shape) == 3 else y


class MLPDiscriminator(nn.Module):
    """depth hidden layers of that width with leaky ReLU, then a score and, where `guesses` > 0, logits of a class.

    classes   labels that it is told, 0 for none       guesses   classes that it has to tell
    """

    def __init__(
        self, shape, generator, width=128, depth=3, norm="none", minibatch_std=False, classes=0, guesses=0
    ):  # fmt: skip
        self.classes = classes
        sizes = [prod(shape) + classes, *[width] * depth]
        hidden = [[*dense(a, b, generator, norm), ops.leaky_relu] for a, b in zip(sizes, sizes[1:])]
        self.hidden = nn.Sequential(*sum(hidden, []), *([MinibatchStd()] if minibatch_std else []))
        self.score, self.guess = heads(sizes[-1] + minibatch_std, guesses, generator, norm)

    def forward(self, x, labels=None):
        h = self.hidden(with_labels(x.reshape(len(x), -1), labels, self.classes))
        return Verdict(self.score(h)[:, 0], self.guess(h) if self.guess else None)


def heads(features, guesses, generator, norm, weight_init=init.uniform_fan_in):
    """The layers that give the score and, or None, the class logits. Only spectral norm concerns them."""
    linear = nn.Linear(features, 1, generator, bias=norm != "spectral", weight_init=weight_init)
    score = SpectralNorm(linear, generator) if norm == "spectral" else linear
    return score, nn.Linear(features, guesses, generator, weight_init=weight_init) if guesses else None


class AutoencoderDiscriminator(nn.Module):
    """The score is the error of an autoencoder:   mean over pixels of |x - decoder(encoder(x))|^power

    encoder: samples -> (N, D); decoder: (N, D) -> samples. The gradient for x goes through both ends of the
    difference: a generator that saw x as a fixed target would not be told how to become easy to reconstruct.
    Source   Zhao et al., ICLR 2017, section 2 (power 2); Berthelot et al., 2017, section 3.1 (power 1)
    Raises ValueError for another power than 1 and 2.
    """

    def __init__(self, encoder, decoder, power):
        if power not in (1, 2):
            raise ValueError(f"power must be 1 or 2, got {power}")
        self.encoder, self.decoder, self.power = encoder, decoder, power

    def forward(self, x, labels=None):
        code = self.encoder(x)
        error = ops.absolute(x - self.decoder(code)) if self.power == 1 else (x - self.decoder(code)) ** 2
        return Verdict(ops.mean(error, axis=tuple(range(1, x.ndim))), code=code)


class MLPEncoder(nn.Module):
    """Samples (N, *shape) -> codes (N, bottleneck): an MLP discriminator's layers with another end."""

    def __init__(self, shape, bottleneck, generator, width=128, depth=3, norm="none"):
        sizes = [prod(shape), *[width] * depth]
        hidden = [[*dense(a, b, generator, norm), ops.leaky_relu] for a, b in zip(sizes, sizes[1:])]
        self.hidden = nn.Sequential(*sum(hidden, []))
        self.output = nn.Linear(sizes[-1], bottleneck, generator)

    def forward(self, x):
        return self.output(self.hidden(x.reshape(len(x), -1)))


# ---------------------------------------------------------------- deck 000's toy


class ShiftGenerator(nn.Module):
    """x* = z + theta, theta (D,): the generator of deck 000, "GAN example".   z (N, D) -> (N, D)"""

    def __init__(self, shape):
        self.theta = nn.Parameter(np.zeros(shape, np.float32))

    def forward(self, z, labels=None):
        return z + self.theta


class LinearDiscriminator(nn.Module):
    """The logit is a straight line in x, which is what the best one is for two Gaussians of one width:

        ln N(x; m, 1) - ln N(x; theta, 1) = (m - theta) x + (theta^2 - m^2) / 2

    x (N, D) -> Verdict. Source: deck 000, "GAN example" (its figure: a sigmoid that moves)
    """

    def __init__(self, shape, generator):
        self.line = nn.Linear(prod(shape), 1, generator)

    def forward(self, x, labels=None):
        return Verdict(self.line(x)[:, 0])
