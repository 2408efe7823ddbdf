"""Normalisation: fused operations (kernels/{group,layer,batch}_norm.py hold the formulas), composed twins beside them.

All bring elements to mean 0 and variance 1 and then scale and shift each channel; they differ in what shares a mean:

    layer norm      the channels of one position              instance norm   one channel of one sample
    group norm      a group of channels of one sample         batch norm      one channel of the whole batch

Source: Wu and He, Group Normalization, ECCV 2018, figure 2; deck 002, "Network Architectures".
"""

from math import prod

from ..autograd import Fused, as_tensors
from ..device import device_of
from ..dispatch import dispatch
from ..tensor import Tensor
from .activation import logistic
from .elementwise import sqrt
from .reduce import sum as sum_over


class GroupNorm(Fused):
    """z = gamma * xhat + beta, xhat = x standardised over each group of channels; y = z, or with SiLU z sigmoid(z)

    In a residual block x goes two ways: its gradient by the other one is added in the same pass.
    """

    adds_to_first = True

    def __init__(self, groups, eps, silu=False):
        self.groups, self.eps, self.silu = groups, eps, silu

    def forward(self, x, gamma, beta):
        y, mu, rstd = dispatch("group_norm", positions(x), gamma, beta, self.groups, self.eps, self.silu)
        self.save(mu, rstd)
        return y.reshape(x.shape)

    def backward_fast(self, g, needs, x, gamma, beta):
        given = positions(g), positions(x), gamma, beta, *self.saved, self.silu
        so_far = None if self.so_far is None else positions(self.so_far.data)
        dx, dgamma, dbeta = dispatch("group_norm_grad", *given, so_far)
        return dx.reshape(x.shape), dgamma, dbeta

    def composed(self, x, gamma, beta):
        n, p, c = x.shape[0], prod(x.shape[1:-1]), x.shape[-1]
        grouped = x.reshape(n, p, self.groups, c // self.groups)
        z = standardised(grouped, (1, 3), self.eps).reshape(x.shape) * gamma + beta
        return z * logistic(z) if self.silu else z


class LayerNorm(Fused):
    """y = gamma * xhat + beta, xhat = x standardised over the last axis"""

    def __init__(self, eps):
        self.eps = eps

    def forward(self, x, gamma, beta):
        y, mu, rstd = dispatch("layer_norm", rows(x), gamma, beta, self.eps)
        self.save(mu, rstd)
        return y.reshape(x.shape)

    def backward_fast(self, g, needs, x, gamma, beta):
        dx, dgamma, dbeta = dispatch("layer_norm_grad", rows(g), rows(x), gamma, *self.saved)
        return dx.reshape(x.shape), dgamma, dbeta

    def composed(self, x, gamma, beta):
        return standardised(x, (x.ndim - 1,), self.eps) * gamma + beta


class BatchNorm(Fused):
    """y = gamma * xhat + beta, xhat = x standardised over all axes but the last.   `mean`, `var`: the batch's, (C,)"""

    def __init__(self, eps):
        self.eps = eps

    def forward(self, x, gamma, beta):
        y, self.mean, self.var = dispatch("batch_norm", rows(x), gamma, beta, self.eps)
        return y.reshape(x.shape)

    def backward_fast(self, g, needs, x, gamma, beta):
        rstd = 1 / device_of(x).xp.sqrt(self.var + self.eps)
        dx, dgamma, dbeta = dispatch("batch_norm_grad", rows(g), rows(x), gamma, self.mean, rstd.astype(x.dtype))
        return dx.reshape(x.shape), dgamma, dbeta

    def composed(self, x, gamma, beta):
        return standardised(x, tuple(range(x.ndim - 1)), self.eps) * gamma + beta


def standardised(x, axes, eps):
    """(x - mean) / sqrt(var + eps) over the axes, in plain operations."""
    n = max(prod(x.shape[a] for a in axes), 1)  # nothing has mean 0
    centred = x - sum_over(x, axes, keepdims=True) * (1 / n)
    return centred * (sum_over(centred * centred, axes, keepdims=True) * (1 / n) + eps) ** -0.5


def positions(x):
    """(N, *, C) -> (N, P, C), also where an axis is empty."""
    return x.reshape(x.shape[0], prod(x.shape[1:-1]), x.shape[-1])


def rows(x):
    """(*, C) -> (R, C), also where an axis is empty."""
    return x.reshape(prod(x.shape[:-1]), x.shape[-1])


def group_norm(x, gamma, beta, groups, eps=1e-5):
    """y = gamma (x - mu) / sqrt(var + eps) + beta, mu and var (divisor n) over each group of channels of each sample.

    x (N, *, C), gamma and beta (C,) -> y (N, *, C); the groups are C / groups neighbouring channels.
    Raises ValueError unless groups divides C and gamma and beta have C elements.
    Source: Wu and He, Group Normalization, ECCV 2018, eq. 1 to 7
    """
    x, gamma, beta = checked("group_norm", x, gamma, beta, least_axes=2)
    check_groups(x, groups)
    return GroupNorm(groups, eps)(x, gamma, beta)


def group_norm_silu(x, gamma, beta, groups, eps=1e-5):
    """y = silu(group_norm(x, gamma, beta, groups, eps)) in one pass: the two meet in every ResNet block of a U-Net.

    x (N, *, C), gamma and beta (C,) -> y (N, *, C). The array between the two is not kept: backward computes it again.
    Raises ValueError unless groups divides C and gamma and beta have C elements.
    """
    x, gamma, beta = checked("group_norm_silu", x, gamma, beta, least_axes=2)
    check_groups(x, groups)
    return GroupNorm(groups, eps, silu=True)(x, gamma, beta)


def instance_norm(x, gamma=None, beta=None, eps=1e-5):
    """Group norm with one channel a group: each channel of each sample has its own mean and variance.

    x (N, *, C) -> y (N, *, C); gamma (C,) is 1 and beta (C,) is 0 where not given. Raises ValueError for other shapes.
    Source: Ulyanov et al., Instance Normalization, 2016, eq. 2
    """
    xp = device_of(getattr(x, "data", x)).xp
    gamma = Tensor(xp.ones(x.shape[-1:], x.dtype)) if gamma is None else gamma
    beta = Tensor(xp.zeros(x.shape[-1:], x.dtype)) if beta is None else beta
    x, gamma, beta = checked("instance_norm", x, gamma, beta, least_axes=2)
    return GroupNorm(max(x.shape[-1], 1), eps)(x, gamma, beta)


def layer_norm(x, gamma, beta, eps=1e-5):
    """y = gamma (x - mu) / sqrt(var + eps) + beta, mu and var (divisor C) over the last axis.

    x (*, C), gamma and beta (C,) -> y (*, C). Raises ValueError unless gamma and beta have C elements.
    Source: Ba, Kiros and Hinton, Layer Normalization, 2016, eq. 4
    """
    return LayerNorm(eps)(*checked("layer_norm", x, gamma, beta, least_axes=1))


def batch_norm(x, gamma, beta, running_mean=None, running_var=None, training=True, momentum=0.1, eps=1e-5):
    """y = gamma (x - mu) / sqrt(var + eps) + beta, channel by channel.   x (*, C), gamma and beta (C,) -> y (*, C)

    Training: mu and var (divisor n) are the batch's, over all axes but the last, and the running arrays, where given,
    are updated in place, outside the tape:   running = (1 - momentum) running + momentum batch,   with the unbiased
    variance (divisor n - 1).   Evaluation: mu and var are the running arrays, as constants.
    running_mean, running_var: plain arrays (C,) of x's dtype.
    Raises ValueError for wrong shapes or momentum, for fewer than two values a channel in training, for missing running
    arrays in evaluation; TypeError for running arrays of another kind.
    Source: Ioffe and Szegedy, Batch Normalization, ICML 2015, algorithms 1 and 2; momentum as in torch
    """
    x, gamma, beta = checked("batch_norm", x, gamma, beta, least_axes=1)
    check_running(x, running_mean, running_var, training)
    if not training:
        return (x - running_mean) * (gamma / sqrt(Tensor(running_var) + eps)) + beta
    if not 0 <= momentum <= 1:
        raise ValueError(f"momentum must be between 0 and 1, got {momentum}")
    n = prod(x.shape[:-1])
    if n < 2:
        raise ValueError(f"batch_norm in training needs at least 2 values a channel: got {n}, x.shape={x.shape}")
    norm = BatchNorm(eps)
    y = norm(x, gamma, beta)
    if running_mean is not None:
        running_mean += momentum * (norm.mean - running_mean)
        running_var += momentum * (norm.var * (n / (n - 1)) - running_var)
    return y


def checked(name, x, gamma, beta, least_axes):
    """The three as Tensors of one floating-point dtype and device, gamma and beta with one value a channel."""
    x, gamma, beta = as_tensors(name, (x, gamma, beta))
    if x.dtype.kind != "f":
        raise TypeError(f"{name}: x must be float32 or float64, got {x.dtype}")
    if x.ndim < least_axes:
        raise ValueError(f"{name}: x must have at least {least_axes} axes, the last for channels; got shape {x.shape}")
    for parameter, given in (("gamma", gamma), ("beta", beta)):
        if given.shape != x.shape[-1:]:
            raise ValueError(f"{name}: {parameter} must have one value a channel: got {given.shape}, x {x.shape}")
    return x, gamma, beta


def check_groups(x, groups):
    if groups < 1 or x.shape[-1] % groups:
        raise ValueError(f"groups must divide the channels of x: got groups={groups}, x.shape={x.shape}")


def check_running(x, running_mean, running_var, training):
    given = [a for a in (running_mean, running_var) if a is not None]
    if len(given) == 1 or (not training and not given):
        raise ValueError("running_mean and running_var belong together, and evaluation (training=False) needs both")
    for name, a in (("running_mean", running_mean), ("running_var", running_var)):
        if a is None:
            continue
        if isinstance(a, Tensor) or getattr(a, "dtype", None) != x.dtype:
            kind = getattr(a, "dtype", "")
            raise TypeError(f"{name} must be a plain array of x's dtype {x.dtype}, got {type(a).__name__} {kind}")
        if a.shape != x.shape[-1:]:
            raise ValueError(f"{name} must have one value a channel: got {a.shape}, x {x.shape}")
