"""Convolution: a closed trio of operations, in which the backward of each calls the other two.

    y = C(x, w)      is linear in x and in w, so for any g:   <g, C(x, w)> = <Cx(g, w), x> = <Cw(x, g), w>

with Cx the input gradient and Cw the weight gradient. All three pair the same arrays, so

    operation     gradient to its first input      gradient to its second
    C(x, w)       Cx(g, w)                         Cw(x, g)
    Cx(dy, w)     C(g, w)                          Cw(g, dy)
    Cw(x, dy)     Cx(dy, g)                        C(x, g)

and derivatives of any order are the three again. Transposed convolution is Cx. Arithmetic: kernels/conv.py.
"""

import numpy as np

from ..autograd import Operation, is_recording
from ..dispatch import dispatch
from ..tensor import Tensor
from .reduce import sum as sum_over


class Conv2d(Operation):
    """y = C(x, w) + b, with one bias for all samples (K,), or one for each (N, K)"""

    def __init__(self, stride, padding, dilation, groups):
        self.geometry = stride, padding, dilation, groups

    def forward(self, x, w, bias=None):
        return dispatch("conv2d", x, w, bias, *self.geometry)

    def backward(self, g, needs, x, w, bias=None):
        """dx is worked out last: whoever asked for it reads it next, and finds it in the cache."""
        dw = db = None
        if needs[1]:
            weight_grad = Conv2dWeightGrad(w.shape[:2], *self.geometry, with_bias=bias is not None and needs[2])
            dw, db = weight_grad(x, g), weight_grad.db
        if db is not None:
            db = Tensor(db.sum(axis=0) if bias.ndim == 1 else db)
        elif bias is not None and needs[2]:
            db = sum_over(g, (0, 1, 2) if bias.ndim == 1 else (1, 2))
        dx = Conv2dInputGrad(x.shape[1:3], *self.geometry)(g, w) if needs[0] else None
        return (dx, dw) if bias is None else (dx, dw, db)


class ResidualConv2d(Conv2d):
    """y = r + C(x, w) + b: r is added while the result is written, which saves a pass over memory."""

    def __call__(self, *inputs):
        """Backward does not read r, the last of them: on the tape it would stay in memory for nothing."""
        y = super().__call__(*inputs)
        self.inputs = self.inputs[:-1]
        return y

    def forward(self, x, w, *bias_and_r):
        *bias, r = bias_and_r
        return dispatch("conv2d", x, w, *(bias or [None]), *self.geometry, r)

    def backward(self, g, needs, *inputs):
        return *super().backward(g, needs[:-1], *inputs), g


class Conv2dInputGrad(Operation):
    """dx = Cx(dy, w), for an input of the given size (H, W)."""

    def __init__(self, size, stride, padding, dilation, groups):
        self.size, self.geometry = size, (stride, padding, dilation, groups)

    def forward(self, dy, w):
        return dispatch("conv2d_input_grad", dy, w, self.size, *self.geometry)

    def backward(self, g, needs, dy, w):
        return (
            Conv2d(*self.geometry)(g, w) if needs[0] else None,
            Conv2dWeightGrad(w.shape[:2], *self.geometry)(g, dy) if needs[1] else None,
        )


class Conv2dWeightGrad(Operation):
    """dw = Cw(x, dy), for a window (KH, KW). with_bias: db (N, K), the sums of dy, comes along if not recorded."""

    db = None

    def __init__(self, window, stride, padding, dilation, groups, with_bias=False):
        self.window, self.geometry = window, (stride, padding, dilation, groups)
        self.with_bias = with_bias and not is_recording()

    def forward(self, x, dy):
        if not self.with_bias:
            return dispatch("conv2d_weight_grad", x, dy, self.window, *self.geometry)
        dw, self.db = dispatch("conv2d_weight_bias_grad", x, dy, self.window, *self.geometry)
        return dw

    def backward(self, g, needs, x, dy):
        return (
            Conv2dInputGrad(x.shape[1:3], *self.geometry)(dy, g) if needs[0] else None,
            Conv2d(*self.geometry)(x, g) if needs[1] else None,
        )


def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, residual=None):
    """y[n,p,q,k] = b[k] + sum_{i,j,c} x[n, p s + i d - pad, q s + j d - pad, c] w[i,j,c,k], zeros outside x.

    x (N, H, W, C), weight (KH, KW, C / groups, K), bias (K,), or (N, K): one a sample -> y (N, P, Q, K)
    residual (N, P, Q, K), where given, is added to y: the skip of a residual block.
    P = (H + 2 pad - d (KH - 1) - 1) // s + 1, Q likewise. stride, padding and dilation: an integer or (vertical,
    horizontal). With groups, output channels k of group g see the input channels of group g alone.
    Raises ValueError where shapes do not fit or the window is larger than the padded image.
    Source: Dumoulin and Visin 2016, relationship 6 and section 5.1 (the cross-correlation, which the field calls so).
    """
    stride, padding, dilation = check_geometry(stride, padding, dilation)
    check_channels("x", x, weight, weight.shape[2] * groups, groups)
    for a, axis in enumerate("HW"):
        reach = dilation[a] * (weight.shape[a] - 1) + 1
        if x.shape[a + 1] + 2 * padding[a] < reach:
            raise ValueError(
                f"the window spans {reach} pixels of {axis}, more than the padded image has: x {x.shape}, "
                f"weight {weight.shape}, padding={padding}, dilation={dilation}"
            )
    check_bias(bias, weight.shape[3], len(x))
    inputs, operation = [x, weight] if bias is None else [x, weight, bias], Conv2d
    if residual is not None:
        check_residual(residual, x, weight, stride, padding, dilation)
        inputs, operation = [*inputs, residual], ResidualConv2d
    return operation(stride, padding, dilation, groups)(*inputs)


def conv_transpose2d(x, weight, bias=None, stride=1, padding=0, output_padding=0, dilation=1, groups=1):
    """The input gradient of a convolution, as a layer: every pixel of x is spread over a window, s pixels apart.

    x (N, H, W, C_in), weight (KH, KW, C_out / groups, C_in), bias (C_out,) -> y (N, P, Q, C_out)
    P = (H - 1) s - 2 pad + d (KH - 1) + 1 + output_padding: the convolution with these settings maps y's size back to
    x's; output_padding < s chooses among the sizes that it maps there.
    The weights are those of that convolution. Raises ValueError where shapes do not fit.
    Source: Dumoulin and Visin 2016, relationship 14; deck 002, "U-Net" (2x2 up-convolution);
    deck 000, "Deep Convolutional (DC) GAN"
    """
    stride, padding, dilation = check_geometry(stride, padding, dilation)
    extra = pair("output_padding", output_padding, least=0)
    check_channels("x", x, weight, weight.shape[3], groups)
    if any(e >= s for e, s in zip(extra, stride)):
        raise ValueError(f"output_padding must be smaller than stride, got output_padding={extra}, stride={stride}")
    size = tuple(
        (x.shape[a + 1] - 1) * stride[a] - 2 * padding[a] + dilation[a] * (weight.shape[a] - 1) + 1 + extra[a]
        for a in (0, 1)
    )
    if min(size) < 1:
        raise ValueError(f"the result would have size {size}: x {x.shape}, weight {weight.shape}, padding={padding}")
    check_bias(bias, weight.shape[2] * groups)
    y = Conv2dInputGrad(size, stride, padding, dilation, groups)(x, weight)
    return y if bias is None else y + bias


def pair(name, value, least):
    """An integer or a pair of integers as a pair. Raises ValueError for anything else."""
    values = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(values) != 2 or not all(isinstance(v, (int, np.integer)) and v >= least for v in values):
        raise ValueError(f"{name} must be an integer of at least {least}, or two of them, got {value!r}")
    return int(values[0]), int(values[1])


def check_geometry(stride, padding, dilation):
    return pair("stride", stride, 1), pair("padding", padding, 0), pair("dilation", dilation, 1)


def check_channels(name, x, weight, expected, groups):
    if x.ndim != 4 or weight.ndim != 4:
        raise ValueError(
            f"{name} must be (N, H, W, C) and weight have four axes, got {name} {x.shape}, weight {weight.shape}"
        )
    if groups < 1 or x.shape[3] != expected or weight.shape[3] % groups:
        raise ValueError(
            f"{name} has {x.shape[3]} channels where weight {weight.shape} with groups={groups} expects {expected}, "
            "and groups must divide the last axis of weight"
        )


def check_bias(bias, channels, samples=None):
    allowed = [(channels,)] if samples is None else [(channels,), (samples, channels)]
    if bias is not None and bias.shape not in allowed:
        raise ValueError(f"bias must have shape {' or '.join(map(str, allowed))}, got {bias.shape}")


def check_residual(residual, x, weight, stride, padding, dilation):
    size = [
        (x.shape[a + 1] + 2 * padding[a] - dilation[a] * (weight.shape[a] - 1) - 1) // stride[a] + 1 for a in (0, 1)
    ]
    expected = (len(x), *size, weight.shape[3])
    if residual.shape != expected:
        raise ValueError(f"residual must have the shape of the result, {expected}, got {residual.shape}")
