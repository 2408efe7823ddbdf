"""What a decoder's numbers mean: the distribution p(x | z) of a pixel given the outputs for it.

    bernoulli   p(x) = s^x (1 - s)^(1 - x),  s = sigmoid(logit)         x in {0, 1}

All have the same three methods. A decoder gives `outputs` numbers for each channel of a pixel.

    log_prob(x, y)        ln p(x | z) in nats, summed over the pixels
    mean(y)               the expected pixel, in [0, 1]: the picture to show
    sample(y, generator)  a pixel drawn

Shapes   x array (M, H, W, C) in [0, 1], Tensor y (M, H, W, C * outputs) -> log_prob (M,), mean and sample (M, H, W, C)
Source   Kingma and Welling, 2014, appendix C; decks 000, 001, 003 and 004, VAE
"""

from .. import nn, ops
from ..tensor import Tensor


class Bernoulli(nn.Module):
    """Each pixel is 1 with probability sigmoid(y). Binary cross-entropy is a log-likelihood only of pixels 0 and 1.

    grey   accept pixels between 0 and 1: then `log_prob` is a reconstruction error, and not the logarithm of any
           probability, for s^x (1 - s)^(1 - x) does not integrate to 1 over [0, 1]
    """

    outputs = 1

    def __init__(self, grey=False):
        self.grey = grey

    def log_prob(self, x, y):
        """-sum over pixels of softplus(y) - x y. Raises ValueError for grey pixels, unless they were allowed."""
        if not self.grey and not ((x == 0) | (x == 1)).all():
            raise ValueError(
                "x must hold 0 and 1 only for a Bernoulli decoder, got grey pixels, of which binary cross-entropy is "
                "no log-likelihood: binarise them, or allow them with grey=True"
            )
        return -ops.bce_with_logits(y, Tensor(x), "none").sum((1, 2, 3))

    def mean(self, y):
        return ops.sigmoid(y)

    def sample(self, y, generator):
        return generator.bernoulli(ops.sigmoid(y).data, y.shape, y.device).astype(y.dtype)
