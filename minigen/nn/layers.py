"""Layers: an operation of minigen/ops together with the parameters that it needs.

Whoever makes a layer hands it a `Generator` for its initial weights. The default initialisation is
PyTorch's, U(-1, 1) / sqrt(fan_in); others are in init.py.
"""

from math import sqrt

from .. import ops
from ..ops.conv import pair
from . import init
from .module import Buffer, Module, Parameter


class Linear(Module):
    """y = x W + b.   x (*, D_in) -> y (*, D_out)"""

    def __init__(self, inputs, outputs, generator, bias=True, weight_init=init.uniform_fan_in):
        self.weight = Parameter(weight_init((inputs, outputs), generator))
        self.bias = Parameter(_bias(outputs, inputs, generator, weight_init)) if bias else None

    def forward(self, x):
        return ops.linear(x, self.weight, self.bias)


class Conv2d(Module):
    """A convolution with bias.   x (N, H, W, C_in) -> y (N, P, Q, C_out); see ops.conv2d

    forward(x, offset, residual) adds offset (N, C_out) to every pixel of its sample, and residual (N, P, Q, C_out).
    """

    def __init__(
        self,
        inputs,
        outputs,
        size,
        generator,
        stride=1,
        padding=0,
        dilation=1,
        groups=1,
        bias=True,
        weight_init=init.uniform_fan_in,
    ):
        kh, kw = pair("size", size, 1)
        if groups < 1 or inputs % groups:
            raise ValueError(f"groups must divide the input channels: got groups={groups}, inputs={inputs}")
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups
        self.weight = Parameter(weight_init((kh, kw, inputs // groups, outputs), generator))
        self.bias = Parameter(_bias(outputs, kh * kw * inputs // groups, generator, weight_init)) if bias else None

    def forward(self, x, offset=None, residual=None):
        bias = self.bias if offset is None else offset if self.bias is None else offset + self.bias
        return ops.conv2d(x, self.weight, bias, self.stride, self.padding, self.dilation, self.groups, residual)

    def describe(self):
        return f"stride={self.stride}, padding={self.padding}"


class ConvTranspose2d(Module):
    """A transposed convolution with bias.   x (N, H, W, C_in) -> y (N, P, Q, C_out); see ops.conv_transpose2d

    forward(x, size) chooses the result's size among those that the stride leaves open.
    """

    def __init__(
        self, inputs, outputs, size, generator, stride=1, padding=0, bias=True, weight_init=init.uniform_fan_in
    ):
        kh, kw = pair("size", size, 1)
        self.window, self.stride, self.padding = (kh, kw), pair("stride", stride, 1), pair("padding", padding, 0)
        self.weight = Parameter(weight_init((kh, kw, outputs, inputs), generator))
        self.bias = Parameter(_bias(outputs, kh * kw * inputs, generator, weight_init)) if bias else None

    def forward(self, x, size=None):
        smallest = [(x.shape[a + 1] - 1) * self.stride[a] - 2 * self.padding[a] + self.window[a] for a in (0, 1)]
        extra = (0, 0) if size is None else (size[0] - smallest[0], size[1] - smallest[1])
        return ops.conv_transpose2d(x, self.weight, self.bias, self.stride, self.padding, extra)

    def describe(self):
        return f"stride={self.stride}, padding={self.padding}"


class GroupNorm(Module):
    """Group normalisation, followed by SiLU in the same kernel where `silu` says so.   x (N, *, C) -> (N, *, C)"""

    def __init__(self, groups, channels, silu=False, eps=1e-5):
        if groups < 1 or channels % groups:
            raise ValueError(f"groups must divide channels: got groups={groups}, channels={channels}")
        self.groups, self.silu, self.eps = groups, silu, eps
        self.gamma, self.beta = Parameter(init.ones((channels,))), Parameter(init.zeros((channels,)))

    def forward(self, x):
        norm = ops.group_norm_silu if self.silu else ops.group_norm
        return norm(x, self.gamma, self.beta, self.groups, self.eps)

    def describe(self):
        return f"groups={self.groups}" + (", silu" if self.silu else "")


class LayerNorm(Module):
    """Normalisation over the last axis.   x (*, C) -> (*, C)"""

    def __init__(self, channels, eps=1e-5):
        self.eps = eps
        self.gamma, self.beta = Parameter(init.ones((channels,))), Parameter(init.zeros((channels,)))

    def forward(self, x):
        return ops.layer_norm(x, self.gamma, self.beta, self.eps)


class BatchNorm(Module):
    """Normalisation over all axes but the last: of the batch in training, of the running statistics in evaluation.

    momentum is the weight of the new batch in the running statistics (as in PyTorch; others call 1 - momentum so).
    """

    def __init__(self, channels, momentum=0.1, eps=1e-5):
        self.momentum, self.eps = momentum, eps
        self.gamma, self.beta = Parameter(init.ones((channels,))), Parameter(init.zeros((channels,)))
        self.running_mean, self.running_var = Buffer(init.zeros((channels,))), Buffer(init.ones((channels,)))

    def forward(self, x):
        running = self.running_mean.data, self.running_var.data
        return ops.batch_norm(x, self.gamma, self.beta, *running, self.training, self.momentum, self.eps)


class InstanceNorm(Module):
    """Every channel of every sample normalised on its own.   x (N, *, C) -> (N, *, C)"""

    def __init__(self, channels, eps=1e-5):
        self.eps = eps
        self.gamma, self.beta = Parameter(init.ones((channels,))), Parameter(init.zeros((channels,)))

    def forward(self, x):
        return ops.instance_norm(x, self.gamma, self.beta, self.eps)


class Embedding(Module):
    """A table of vectors, looked up by whole numbers.   indices (*) -> y (*, D)"""

    def __init__(self, entries, width, generator):
        self.weight = Parameter(init.normal((entries, width), generator, std=1.0))

    def forward(self, indices):
        return ops.embedding(self.weight, indices)


class Dropout(Module):
    """In training each element is 0 with probability p, the others are divided by 1 - p; in evaluation y = x.

    Source: Srivastava et al., JMLR 2014 (inverted form). Raises ValueError unless 0 <= p < 1.
    """

    def __init__(self, p, generator):
        if not 0 <= p < 1:
            raise ValueError(f"p must lie in [0, 1), got {p}")
        self.p, self.generator = p, generator

    def forward(self, x):
        if not self.training or self.p == 0:
            return x
        kept = self.generator.bernoulli(1 - self.p, x.shape, x.device)
        return ops.where(kept, x * (1 / (1 - self.p)), 0.0)

    def describe(self):
        return f"p={self.p}"


class FourierFeatures(Module):
    """[sin(2 pi x B), cos(2 pi x B)] with fixed random frequencies B ~ N(0, scale^2).   x (N, D) -> y (N, 2 * features)

    Source: Tancik et al., NeurIPS 2020, section 4; deck 002, "Network Architectures" (random Fourier features)
    """

    def __init__(self, inputs, features, generator, scale=1.0):
        self.frequencies = Buffer(init.normal((inputs, features), generator, std=scale))

    def forward(self, x):
        return ops.fourier_features(x, self.frequencies.data)


class Attention(Module):
    """Multi-head attention: the tokens of x ask, those of `context` (x itself by default) answer.

        y = concat_h( softmax(q_h k_h^T / sqrt(D)) v_h ) W_o       q = x W_q,   k, v = context W_k, context W_v

    x (N, L, C), context (N, M, C_context) -> y (N, L, C). mask: True = attend, broadcast to (N, heads, L, M).
    Source: Vaswani et al., NeurIPS 2017, section 3.2; deck 004, "Latent diffusion" (cross-attention)
    """

    def __init__(self, channels, heads, generator, context_channels=None, output_init=init.uniform_fan_in):
        if heads < 1 or channels % heads:
            raise ValueError(f"heads must divide channels: got heads={heads}, channels={channels}")
        self.heads = heads
        self.query = Linear(channels, channels, generator)
        self.key = Linear(context_channels or channels, channels, generator)
        self.value = Linear(context_channels or channels, channels, generator)
        self.output = Linear(channels, channels, generator, weight_init=output_init)

    def forward(self, x, context=None, mask=None):
        (n, length, c), context = x.shape, x if context is None else context

        def by_head(y):
            return y.reshape(n, y.shape[1], self.heads, c // self.heads)

        q, k, v = by_head(self.query(x)), by_head(self.key(context)), by_head(self.value(context))
        return self.output(ops.attention(q, k, v, mask).reshape(n, length, c))

    def describe(self):
        return f"heads={self.heads}"


def _bias(outputs, fan_in, generator, weight_init):
    """A bias to go with the weight: U(-1, 1) / sqrt(fan_in) by default, 0 where the weights were chosen specially."""
    if weight_init is not init.uniform_fan_in:
        return init.zeros((outputs,))
    return ((generator.uniform((outputs,)) * 2 - 1) / sqrt(fan_in)).astype("float32")
