"""Layers that GANs use besides those of nn: spectral norm, minibatch standard deviation, class labels as channels."""

from ... import nn, ops
from ...device import device_of, overwrite
from ...nn import init
from ...ops.embedding import integers_below
from ...tensor import Tensor

NORMS = ("none", "batch", "layer", "group")
GROUPS = 8  # of group norm


def norm_of(kind, channels):
    """A list with the norm layer of that kind, or an empty one.

    "layer" is over all of a sample, pixels and channels (group norm with one group), as WGAN-GP has it.
    Raises ValueError for another kind than NORMS, and where 8 groups do not divide the channels.
    """
    if kind not in NORMS:
        raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {kind!r}")
    if kind == "none":
        return []
    return [nn.BatchNorm(channels) if kind == "batch" else nn.GroupNorm(1 if kind == "layer" else GROUPS, channels)]


class SpectralNorm(nn.Module):
    """y = layer(x) / sigma + b, sigma the largest singular value of the layer's weights: a slope of at most 1.

    Seen as a matrix (everything before the outputs, outputs), W has sigma = v^T W u for its first singular vectors.
    One power iteration a call in training, v = W u / ||W u||, u = W^T v / ||W^T v||, follows them as W changes.
    u and v are constants of the gradient. layer: nn.Linear or nn.Conv2d, made with bias=False; b is ours, since it
    is not to be divided. (A convolution's true slope also depends on padding and stride; the paper too takes W's.)
    Source   Miyato et al., ICLR 2018, eq. 7 and algorithm 1. Raises ValueError for a layer with a bias.
    """

    def __init__(self, layer, generator):
        if layer.bias is not None:
            raise ValueError("layer must be made with bias=False: the bias is not divided by sigma")
        self.layer = layer
        self.bias = nn.Parameter(init.zeros(layer.weight.shape[-1:]))
        self.u = nn.Buffer(unit(generator.normal(layer.weight.shape[-1:])))

    def forward(self, x):
        return self.layer(x) * (1.0 / self.sigma()) + self.bias

    def sigma(self):
        """The estimate of the largest singular value, a scalar with a gradient for the weights."""
        matrix = self.layer.weight.reshape(-1, self.layer.weight.shape[-1])
        v = unit(matrix.data @ self.u.data)
        u = unit(v @ matrix.data)
        if self.training:
            overwrite(self.u.data, u)
        return ops.sum((Tensor(v[None]) @ matrix)[0] * Tensor(u))


def unit(vector):
    """vector / ||vector||, and 0 for a vector of nothing but 0."""
    xp = device_of(vector).xp
    return vector / xp.maximum(xp.sqrt((vector * vector).sum()), 1e-12).astype(vector.dtype)


class MinibatchStd(nn.Module):
    """One channel more: how much the samples of this batch differ.   x (N, *, C) -> (N, *, C + 1)

        s = mean over positions and channels of sqrt(var over the batch + 1e-8)         the same number everywhere

    A discriminator that sees it can tell a generator that always makes the same sample from data.
    Source   Karras et al., ICLR 2018, section 3; deck 004, "Tips and tricks" ("append image similarity")
    """

    def forward(self, x):
        s = ops.mean(ops.sqrt(ops.var(x, axis=0) + 1e-8))
        return ops.concatenate([x, ops.broadcast_to(s.reshape(*[1] * x.ndim), (*x.shape[:-1], 1))], axis=-1)


def with_labels(x, labels, classes):
    """Labels as further channels, 1 for the class and 0 for the others.   x (N, *, C), labels (N,) -> (N, *, C + K)

    x itself where classes is 0. Raises ValueError for a label out of 0..classes-1, or where labels are given exactly
    when they are not wanted.
    """
    if (labels is None) != (classes == 0):
        raise ValueError(
            f"labels must be given exactly where the network has classes: got {'none' if labels is None else 'some'} "
            f"for {classes} classes"
        )
    if not classes:
        return x
    xp = device_of(x.data).xp
    rows = xp.eye(classes, dtype=x.dtype)[integers_below(classes, "labels", labels, like=x)]
    planes = xp.broadcast_to(rows.reshape(len(rows), *[1] * (x.ndim - 2), classes), (*x.shape[:-1], classes))
    return ops.concatenate([x, Tensor(xp.ascontiguousarray(planes))], axis=-1)
