"""What a decoder's numbers y mean: the distribution p(x | z) of a pixel x.

    bernoulli   P(x) = s^x (1 - s)^(1 - x),  s = sigmoid(y)                          x in {0, 1}
    gaussian    p(x) = N(x; mean, variance), a density: fixed, one learned, or one a pixel
    logistic    P(x) = F(x + 1/510) - F(x - 1/510),  F(t) = sigmoid((t - mean) / s)  x in {0, 1/255, ..., 1}
                with F = 0 below the first of these values and 1 above the last, so that the 256 sum to 1

All have the same methods. A decoder gives `outputs` numbers for each channel of a pixel.

    log_prob(x, y)        ln p(x | z) in nats, summed over the pixels; of K codes an image, if y has K rows for each x
    mean(y)               the pixel to show: its mean (logistic: its median), in [0, 1] but for the Gaussian
    sample(y, generator)  a pixel drawn
    outputs_at(mean)      outputs y whose pixel has about that mean (arrays), to begin training at

Shapes   x array (N, H, W, C), Tensor y (M, H, W, C * outputs), M = N K -> log_prob (M,), mean, sample (M, H, W, C)
Source   Kingma and Welling, 2014, appendix C; Salimans et al., PixelCNN++, ICLR 2017, eq. 2 (logistic);
         decks 000, 003 and 004, VAE
"""

from math import log

import numpy as np

from .. import nn, ops
from ..device import device_of
from ..nn.module import Parameter
from ..tensor import Tensor

VARIANCES = ("fixed", "shared", "pixel")
GREY = 1 / 255  # from one grey value to the next
LEAST_LOGVAR = 2 * log(GREY / 2)  # half a step of grey: a sharper density would praise itself for rounding
LEAST_LOGSCALE = -7.0


class Bernoulli(nn.Module):
    """Each pixel is 1 with probability sigmoid(y).

    grey   accept pixels between 0 and 1: then `log_prob` is a reconstruction error, and not the logarithm of any
           probability, for s^x (1 - s)^(1 - x) does not integrate to 1 over [0, 1]
    """

    outputs = 1

    def __init__(self, grey=False):
        self.grey = grey

    def log_prob(self, x, y):
        """sum of x y - softplus(y). Raises ValueError for grey pixels, unless they were allowed."""
        if not self.grey and not ((x == 0) | (x == 1)).all():
            raise ValueError(
                "x must hold 0 and 1 only for a Bernoulli decoder, got grey pixels, of which binary cross-entropy is "
                "no log-likelihood: binarise them, or allow them with grey=True"
            )
        return -ops.bce_with_logits(y, Tensor(for_rows_of(y, x)), "none").sum((1, 2, 3))

    def mean(self, y):
        return ops.sigmoid(y)

    def sample(self, y, generator):
        return Tensor(generator.bernoulli(ops.sigmoid(y).data, y.shape, y.device).astype(y.dtype))

    def outputs_at(self, mean):
        p = np.clip(mean, 0.001, 0.999)
        return np.log(p / (1 - p))


class Gaussian(nn.Module):
    """Each pixel is y + sigma eps.

    variance   "fixed": sigma^2;  "shared": one number for all pixels, learned;  "pixel": the decoder says it for each
    sigma      the deviation, where learned at the beginning

    A learned variance has a floor, ln var = floor + softplus(raw - floor): a pixel that is always black would
    otherwise have an unbounded density.
    """

    def __init__(self, variance="fixed", sigma=0.1):
        if variance not in VARIANCES:
            raise ValueError(f"variance must be one of {', '.join(VARIANCES)}, got {variance!r}")
        if not sigma > 0:
            raise ValueError(f"sigma must be above 0, got {sigma}")
        self.variance, self.outputs = variance, 2 if variance == "pixel" else 1
        self.start = 2 * log(sigma)
        self.raw = Parameter(Tensor([self.start]).data) if variance == "shared" else None

    def mean_and_logvar(self, y):
        if self.variance == "pixel":
            mean, raw = ops.split(y, 2, axis=3)
            return mean, at_least(LEAST_LOGVAR, raw + self.start)
        logvar = (
            Tensor([self.start], dtype=y.dtype).to(y.device) if self.raw is None else at_least(LEAST_LOGVAR, self.raw)
        )
        return y, ops.broadcast_to(logvar, y.shape)

    def log_prob(self, x, y):
        return -ops.gaussian_nll(Tensor(for_rows_of(y, x)), *self.mean_and_logvar(y), "none").sum((1, 2, 3))

    def mean(self, y):
        return self.mean_and_logvar(y)[0]

    def sample(self, y, generator):
        mean, logvar = self.mean_and_logvar(y)
        return mean + ops.exp(logvar * 0.5) * generator.normal(mean.shape, mean.dtype, mean.device)

    def outputs_at(self, mean):
        return np.concatenate([mean, 0 * mean], axis=2) if self.variance == "pixel" else mean


class DiscretisedLogistic(nn.Module):
    """Each pixel is a logistic variable, rounded to one of the 256 grey values: a probability, of real images too.

    With a = (x + 1/510 - mean) / s and b = (x - 1/510 - mean) / s

        ln (sigmoid(a) - sigmoid(b)) = -softplus(-a) - softplus(b) + ln (1 - exp(-(a - b)))

    where nothing cancels, however far x is from the mean. At x = 0 the first term alone is left (b -> -inf), at
    x = 1 the second (a -> inf).
    """

    outputs = 2

    def mean_and_logscale(self, y):
        mean, raw = ops.split(y, 2, axis=3)
        return mean, at_least(LEAST_LOGSCALE, raw - 2.0)

    def log_prob(self, x, y):
        x, (mean, logscale) = for_rows_of(y, x), self.mean_and_logscale(y)
        precision = ops.exp(-logscale)
        a, b = ((Tensor(x + x.dtype.type(half)) - mean) * precision for half in (GREY / 2, -GREY / 2))
        t = ops.tanh(precision * (GREY / 2))  # 1 - exp(-d) = 2 t / (1 + t) for t = tanh(d / 2): exact for small d
        above, below = ((x > 0).astype(x.dtype), (x < 1).astype(x.dtype))
        width = ops.log(t * 2.0 / (t + 1.0)) * (above * below)
        return (width - ops.softplus(-a) * below - ops.softplus(b) * above).sum((1, 2, 3))

    def mean(self, y):
        return self.mean_and_logscale(y)[0].clip(0.0, 1.0)

    def sample(self, y, generator):
        mean, logscale = self.mean_and_logscale(y)
        u = Tensor(generator.uniform(mean.shape, mean.dtype, mean.device))
        drawn = mean + ops.exp(logscale) * (ops.log(u) - ops.log(1.0 - u))
        return Tensor((drawn.data.clip(0, 1) * 255).round() / 255)

    def outputs_at(self, mean):
        return np.concatenate([mean, 0 * mean], axis=2)


def for_rows_of(y, x):
    """Each x as many times as y has rows for it."""
    times = len(y) // len(x)
    return x if times == 1 else device_of(x).xp.repeat(x, times, axis=0)


def at_least(floor, x):
    """A smooth max(floor, x): floor + softplus(x - floor)"""
    return ops.softplus(x - floor) + floor
