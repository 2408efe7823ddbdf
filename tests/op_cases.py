"""Every operation, one row: what it is, what it is defined on, what torch calls it.

test_ops.py takes each row through: NumPy kernels = Numba kernels, torch parity, first- and second-order
gradients, memory layouts, dtypes, empty inputs, inputs left untouched. Shapes are drawn by Hypothesis.

The operations are looked up when a row runs, and torch is handed to the twin, so that this file imports
without torch. Torch's images are channels first; `nchw`, `nhwc` and `oihw` go between.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from hypothesis.strategies import SearchStrategy
from strategies import (
    Integers,
    Values,
    any_shape,
    broadcastable,
    images,
    masks,
    nonzero,
    normal,
    positive,
    same_shape,
    shaped,
)  # fmt: skip

from minigen import ops
from minigen.device import device_of


@dataclass(frozen=True)
class Case:
    """name      the public operation, with what is special to this row in brackets: "sum[two axes]"
    fn        Tensors (and integer or boolean arrays) -> a Tensor, or a list of them
    inputs    a strategy for a tuple of arrays; the floating-point ones are differentiated
    torch     (torch, *torch tensors) -> the same; None where torch has no such thing
    kind      the row of the tolerance table
    kernels   whether the operation has kernels of its own in two dialects
    order     highest derivative checked
    empty     shapes of inputs without elements that fn accepts (an array stands for itself); None where it refuses them
    """

    name: str
    fn: Callable
    inputs: SearchStrategy
    torch: Callable | None
    kind: str = "elementwise"
    kernels: bool = False
    order: int = 2
    empty: tuple | None = ((2, 0, 3),)

    @property
    def op(self):
        return self.name.split("[")[0]


def nchw(x):
    return x.permute(0, 3, 1, 2)


def nhwc(x):
    return x.permute(0, 2, 3, 1)


def oihw(w):
    """(KH, KW, C_in, C_out) -> (C_out, C_in, KH, KW)"""
    return w.permute(3, 2, 0, 1).contiguous()


# ---------------------------------------------------------------- element by element

TWO_EMPTY = ((0, 3), (3,))

ELEMENTWISE = [
    Case("add", lambda a, b: a + b, broadcastable(normal, normal), lambda t, a, b: a + b, empty=TWO_EMPTY),
    Case("add[number]", lambda a: 2.0 + a + 1, any_shape(), lambda t, a: a + 3.0),
    Case("subtract", lambda a, b: a - b, broadcastable(normal, normal), lambda t, a, b: a - b, empty=TWO_EMPTY),
    Case("subtract[from a number]", lambda a: 2.0 - a, any_shape(), lambda t, a: 2.0 - a),
    Case("multiply", lambda a, b: a * b, broadcastable(normal, normal), lambda t, a, b: a * b, empty=TWO_EMPTY),
    Case("multiply[by itself]", lambda a: a * a, any_shape(), lambda t, a: a * a),
    Case("divide", lambda a, b: a / b, broadcastable(normal, nonzero), lambda t, a, b: a / b, empty=TWO_EMPTY),
    Case("divide[a number]", lambda a: 2.0 / a, any_shape(nonzero), lambda t, a: 2.0 / a),
    Case("negate", lambda a: -a, any_shape(), lambda t, a: -a),
    Case("power[2]", lambda a: ops.power(a, 2), any_shape(), lambda t, a: a**2),
    Case("power[3]", lambda a: a**3, any_shape(), lambda t, a: a**3),
    Case("power[1]", lambda a: a**1, any_shape(), lambda t, a: a**1),
    Case("power[0]", lambda a: a**0, any_shape(), lambda t, a: a**0),
    Case("power[-1]", lambda a: a**-1, any_shape(nonzero), lambda t, a: a**-1),
    Case("power[0.5]", lambda a: ops.power(a, 0.5), any_shape(positive), lambda t, a: a**0.5),
    Case("absolute", lambda a: ops.absolute(a), any_shape(), lambda t, a: abs(a)),
    Case("exp", lambda a: ops.exp(a), any_shape(), lambda t, a: t.exp(a)),
    Case("log", lambda a: ops.log(a), any_shape(positive), lambda t, a: t.log(a)),
    Case("sqrt", lambda a: ops.sqrt(a), any_shape(positive), lambda t, a: t.sqrt(a)),
    Case("sin", lambda a: ops.sin(a), any_shape(), lambda t, a: t.sin(a)),
    Case("cos", lambda a: ops.cos(a), any_shape(), lambda t, a: t.cos(a)),
    Case("erf", lambda a: ops.erf(a), any_shape(), lambda t, a: t.erf(a)),
    Case("log_ndtr", lambda a: ops.log_ndtr(a), any_shape(), lambda t, a: t.special.log_ndtr(a)),
    Case("maximum", lambda a, b: ops.maximum(a, b), broadcastable(normal, normal), lambda t, a, b: t.maximum(a, b),
         "reduction", empty=TWO_EMPTY),
    Case("maximum[number]", lambda a: ops.maximum(a, 0.3), any_shape(), lambda t, a: t.clamp(a, min=0.3), "exact"),
    Case("minimum", lambda a, b: ops.minimum(a, b), broadcastable(normal, normal), lambda t, a, b: t.minimum(a, b),
         "reduction", empty=TWO_EMPTY),
    Case("clip", lambda a: ops.clip(a, -0.5, 0.7), any_shape(), lambda t, a: t.clamp(a, -0.5, 0.7), "exact"),
    Case("where", lambda m, a, b: ops.where(m, a, b), broadcastable(masks, normal, normal),
         lambda t, m, a, b: t.where(m, a, b), empty=(np.ones((0, 3), bool), (3,), (0, 1))),
    Case("where[number]", lambda m, a: ops.where(m, a, -1.0), same_shape(masks, normal),
         lambda t, m, a: t.where(m, a, -1.0), "exact", empty=(np.ones((0, 3), bool), (0, 3))),
]  # fmt: skip

# ---------------------------------------------------------------- moving elements

MOVES = [
    Case("reshape", lambda x: ops.reshape(x, (-1,)) if x.size else ops.reshape(x, 0), any_shape(),
         lambda t, x: x.reshape(-1), "exact"),
    Case("reshape[two axes joined]", lambda x: x.reshape(x.shape[0] * x.shape[1], x.shape[2]), shaped("abc"),
         lambda t, x: x.flatten(0, 1), "exact"),
    Case("transpose", lambda x: ops.transpose(x), any_shape(), lambda t, x: x.permute(list(range(x.ndim))[::-1]),
         "exact"),
    Case("transpose[axes]", lambda x: x.transpose(2, 0, -2), shaped("abc"), lambda t, x: x.permute(2, 0, 1), "exact"),
    Case("broadcast_to", lambda x: ops.broadcast_to(x, (2, x.shape[0], 3, x.shape[2])), shaped("a1c"),
         lambda t, x: x.expand(2, x.shape[0], 3, x.shape[2]), "reduction", empty=((0, 1, 3),)),
    Case("index[slices]", lambda x: ops.index(x, (slice(1, None), slice(None, -1), 0)), shaped("abc"),
         lambda t, x: x[1:, :-1, 0], "exact", empty=((2, 0, 3),)),
    Case("index[steps]", lambda x: x[::-1, ..., None, ::2], shaped("abc"), lambda t, x: x.flip(0)[..., None, ::2],
         "exact"),
    Case("index[repeated]", lambda x: x[np.array([0, -1, 0, 0])], shaped("ab"), lambda t, x: x[[0, -1, 0, 0]],
         "reduction", empty=((2, 0),)),
    Case("index[two arrays]", lambda x: x[[0, -1, 0], :, np.array([0, 0, -1])], shaped("abc"),
         lambda t, x: x[[0, -1, 0], :, [0, 0, -1]], "reduction", empty=((2, 0, 3),)),
    Case("index[mask]", lambda m, x: x[m], same_shape(masks, normal), lambda t, m, x: x[m], "exact",
         empty=(np.ones((0, 3), bool), (0, 3))),
    Case("index[integer]", lambda x: x[-1], shaped("ab"), lambda t, x: x[-1], "exact", empty=((2, 0),)),
    Case("concatenate", lambda a, b, c: ops.concatenate([a, b, c], 1), shaped("axc", "ayc", "azc"),
         lambda t, a, b, c: t.cat([a, b, c], 1), "exact", empty=((2, 0, 3), (2, 1, 3), (2, 0, 3))),
    Case("concatenate[same twice]", lambda a: ops.concatenate([a, a], -1), shaped("ab"),
         lambda t, a: t.cat([a, a], -1), "reduction"),
    Case("stack", lambda a, b: ops.stack([a, b], -1), shaped("ab", "ab"), lambda t, a, b: t.stack([a, b], -1), "exact",
         empty=((0, 2), (0, 2))),
    Case("split[sizes]", lambda x: ops.split(x, [1, 4, 0], 1), shaped("a5c"), lambda t, x: t.split(x, [1, 4, 0], 1),
         "exact", empty=((0, 5, 2),)),
    Case("split[parts]", lambda x: ops.split(x, 3, -1), shaped("a6"), lambda t, x: t.split(x, 2, -1), "exact",
         empty=((0, 3),)),
    Case("pad", lambda x: ops.pad(x, [(1, 0), (0, 2)], 0.5), shaped("ab"),
         lambda t, x: t.nn.functional.pad(x, (0, 2, 1, 0), value=0.5), "exact", empty=((0, 3),)),
]  # fmt: skip

# ---------------------------------------------------------------- reductions

REDUCTIONS = [
    Case("sum", lambda x: ops.sum(x), any_shape(), lambda t, x: x.sum(), "reduction"),
    Case("sum[two axes]", lambda x: ops.sum(x, (0, -1)), shaped("abc"), lambda t, x: x.sum((0, 2)), "reduction"),
    Case("sum[keepdims]", lambda x: x.sum(1, keepdims=True), shaped("abc"), lambda t, x: x.sum(1, keepdim=True),
         "reduction"),
    Case("mean", lambda x: ops.mean(x), any_shape(), lambda t, x: x.mean(), "reduction", empty=None),
    Case("mean[two axes]", lambda x: x.mean((0, -1), keepdims=True), shaped("abc"),
         lambda t, x: x.mean((0, 2), keepdim=True), "reduction", empty=None),
    Case("var", lambda x: ops.var(x, 0), shaped("ab"), lambda t, x: x.var(0, correction=0), "reduction",
         empty=((2, 0),)),
    Case("std", lambda x: ops.std(x, (1, 2), keepdims=True), shaped("a32"),
         lambda t, x: x.std((1, 2), correction=0, keepdim=True), "norm", empty=((0, 3, 2),)),
    Case("max", lambda x: ops.max(x), any_shape(), lambda t, x: x.amax(), "exact", empty=None),
    Case("max[axes]", lambda x: ops.max(x, (0, 2)), shaped("abc"), lambda t, x: x.amax((0, 2)), "exact",
         empty=((2, 0, 3),)),
    Case("min[axis]", lambda x: ops.min(x, 1, keepdims=True), shaped("abc"), lambda t, x: x.amin(1, keepdim=True),
         "exact", empty=((0, 2, 3),)),
]  # fmt: skip

# ---------------------------------------------------------------- products

PRODUCTS = [
    Case("matmul", lambda a, b: a @ b, shaped("mk", "kn"), lambda t, a, b: a @ b, "matmul", True,
         empty=((2, 0), (0, 3))),
    Case("matmul[batches]", lambda a, b: ops.matmul(a, b), shaped("xymk", "1ykn"), lambda t, a, b: a @ b, "matmul",
         True, empty=((0, 1, 2, 3), (2, 3, 2))),
    Case("matmul[one matrix for all]", lambda a, b: a @ b, shaped("xmk", "kn"), lambda t, a, b: a @ b, "matmul", True,
         empty=((2, 0, 3), (3, 2))),
    Case("matmul[row]", lambda a, b: a @ b, shaped("k", "xkn"), lambda t, a, b: a @ b, "matmul", True,
         empty=((0,), (2, 0, 3))),
    Case("matmul[column]", lambda a, b: a @ b, shaped("xmk", "k"), lambda t, a, b: a @ b, "matmul", True,
         empty=((2, 0, 3), (3,))),
    Case("matmul[dot product]", lambda a, b: a @ b, shaped("k", "k"), lambda t, a, b: a @ b, "matmul", True,
         empty=((0,), (0,))),
    Case("linear", lambda x, w, b: ops.linear(x, w, b), shaped("xyi", "io", "o"), lambda t, x, w, b: x @ w + b,
         "matmul", True, empty=((2, 0, 3), (3, 2), (2,))),
    Case("linear[no bias]", lambda x, w: ops.linear(x, w), shaped("i", "io"), lambda t, x, w: x @ w, "matmul", True,
         empty=((0,), (0, 2))),
]  # fmt: skip

# ---------------------------------------------------------------- activations

WIDE_VALUES = Values(-8.0, 8.0)
WIDE = any_shape(WIDE_VALUES)

ACTIVATIONS = [
    Case("relu", lambda x: ops.relu(x), WIDE, lambda t, x: t.relu(x), "exact", True),
    Case("leaky_relu", lambda x: ops.leaky_relu(x), WIDE, lambda t, x: t.nn.functional.leaky_relu(x, 0.2),
         kernels=True),
    Case("sigmoid", lambda x: ops.sigmoid(x), WIDE, lambda t, x: t.sigmoid(x), kernels=True),
    Case("tanh", lambda x: ops.tanh(x), WIDE, lambda t, x: t.tanh(x), kernels=True),
    Case("softplus", lambda x: ops.softplus(x), WIDE, lambda t, x: t.nn.functional.softplus(x), kernels=True),
    Case("silu", lambda x: ops.silu(x), WIDE, lambda t, x: t.nn.functional.silu(x), kernels=True),
    Case("gelu", lambda x: ops.gelu(x), WIDE, lambda t, x: t.nn.functional.gelu(x), kernels=True),
]  # fmt: skip


# ---------------------------------------------------------------- convolution


def torch_conv2d(t, x, w, b=None, **settings):
    return nhwc(t.nn.functional.conv2d(nchw(x), oihw(w), b, **settings))


def torch_conv_transpose2d(t, x, w, b=None, **settings):
    return nhwc(t.nn.functional.conv_transpose2d(nchw(x), oihw(w), b, **settings))


def conv(name, function, filters, min_side=1, channels=(1, 2, 3, 5), empty=None, **settings):
    twin = {"conv2d": torch_conv2d, "conv_transpose2d": torch_conv_transpose2d}[function]
    return Case(
        f"{function}[{name}]",
        lambda *xwb: getattr(ops, function)(*xwb, **settings),
        images(min_side, channels=channels, then=filters),
        lambda t, *xwb: twin(t, *xwb, **settings),
        "conv",
        kernels=True,
        empty=empty or ((0, 5, 5, 2), *filters(2)),
    )


CONVOLUTIONS = [
    conv("3x3", "conv2d", lambda c: [(3, 3, c, 4), (4,)], padding=1),
    conv("fewer channels out than in", "conv2d", lambda c: [(3, 2, c, 2), (2,)], channels=(3, 5), padding=1),
    conv("1x1, no bias", "conv2d", lambda c: [(1, 1, c, 3)]),
    conv("4x4, stride 2", "conv2d", lambda c: [(4, 4, c, 2), (2,)], min_side=2, stride=2, padding=1),
    conv("uneven", "conv2d", lambda c: [(2, 3, c, 2), (2,)], min_side=3, stride=(1, 3), padding=(2, 0),
         dilation=(2, 1)),
    conv("groups", "conv2d", lambda c: [(3, 3, c // 2, 6), (6,)], channels=(2, 4), padding=1, groups=2),
    conv("depthwise", "conv2d", lambda c: [(3, 3, 1, 4), (4,)], channels=(4,), padding=2, groups=4, dilation=2,
         empty=((0, 5, 5, 4), (3, 3, 1, 4), (4,))),
    Case("conv2d[a bias a sample]", lambda x, w, b: ops.conv2d(x, w, b, padding=1), shaped("nhwc", "33ck", "nk"),
         lambda t, x, w, b: torch_conv2d(t, x, w, padding=1) + b[:, None, None], "conv", kernels=True,
         empty=((0, 5, 5, 2), (3, 3, 2, 4), (0, 4))),
    Case("conv2d[residual]", lambda x, w, r: ops.conv2d(x, w, padding=1, residual=r),
         shaped("nhwc", "33ck", "nhwk"), lambda t, x, w, r: torch_conv2d(t, x, w, padding=1) + r, "conv", kernels=True,
         empty=((0, 5, 5, 2), (3, 3, 2, 4), (0, 5, 5, 4))),
    Case("conv2d[residual and bias]", lambda x, w, r, b: ops.conv2d(x, w, b, padding=1, residual=r),
         shaped("nhwc", "33ck", "nhwk", "k"), lambda t, x, w, r, b: torch_conv2d(t, x, w, b, padding=1) + r, "conv",
         kernels=True, empty=((0, 5, 5, 2), (3, 3, 2, 4), (0, 5, 5, 4), (4,))),
    Case("conv2d[residual and groups]", lambda x, w, r: ops.conv2d(x, w, padding=1, groups=2, residual=r),
         shaped("nhw4", "3326", "nhw6"), lambda t, x, w, r: torch_conv2d(t, x, w, padding=1, groups=2) + r, "conv",
         kernels=True, empty=((0, 5, 5, 4), (3, 3, 2, 6), (0, 5, 5, 6))),
    conv("2x2, stride 2", "conv_transpose2d", lambda c: [(2, 2, 3, c), (3,)], stride=2),
    conv("4x4, stride 2", "conv_transpose2d", lambda c: [(4, 4, 2, c)], stride=2, padding=1),
    conv("uneven", "conv_transpose2d", lambda c: [(3, 2, 2, c), (2,)], min_side=3, stride=(2, 3), padding=(1, 0),
         output_padding=(1, 2), dilation=(1, 2)),
    conv("groups", "conv_transpose2d", lambda c: [(3, 3, 2, c), (4,)], channels=(2, 4), padding=1, groups=2),
]  # fmt: skip

# ---------------------------------------------------------------- normalisation

SCALES = {"then": lambda c: [(c,), (c,)]}


def torch_group_norm(t, x, gamma, beta, groups):
    return nhwc(t.nn.functional.group_norm(nchw(x), groups, gamma, beta))


def torch_instance_norm(t, x):
    """By group norm: on a permuted view, the gradient of torch 2.13's own instance_norm fails torch's own gradcheck."""
    return nhwc(t.nn.functional.group_norm(nchw(x), x.shape[3]))


def torch_batch_norm(t, x, gamma, beta, training):
    mean, var = t.full_like(gamma, 0.5), t.full_like(gamma, 2.0)
    return nhwc(t.nn.functional.batch_norm(nchw(x), mean, var, gamma, beta, training=training))


def batch_norm_by_running(x, gamma, beta):
    xp = device_of(x.data).xp
    mean, var = xp.full(x.shape[3], 0.5, x.dtype), xp.full(x.shape[3], 2.0, x.dtype)
    return ops.batch_norm(x, gamma, beta, mean, var, training=False)


NORM_EMPTY = ((0, 3, 3, 4), (4,), (4,))

NORMS = [
    Case("group_norm", lambda x, g, b: ops.group_norm(x, g, b, 2), images(2, channels=(2, 4, 6), **SCALES),
         lambda t, x, g, b: torch_group_norm(t, x, g, b, 2), "norm", True, empty=NORM_EMPTY),
    Case("group_norm_silu", lambda x, g, b: ops.group_norm_silu(x, g, b, 2), images(2, channels=(2, 4, 6), **SCALES),
         lambda t, x, g, b: t.nn.functional.silu(torch_group_norm(t, x, g, b, 2)), "norm", True, empty=NORM_EMPTY),
    Case("instance_norm", lambda x, g, b: ops.instance_norm(x, g, b), images(2, **SCALES),
         lambda t, x, g, b: torch_group_norm(t, x, g, b, x.shape[3]), "norm", True, empty=NORM_EMPTY),
    Case("instance_norm[no scale]", lambda x: ops.instance_norm(x), images(2), torch_instance_norm, "norm", True,
         empty=((0, 3, 3, 4),)),
    Case("layer_norm", lambda x, g, b: ops.layer_norm(x, g, b), shaped("ab5", "5", "5"),
         lambda t, x, g, b: t.nn.functional.layer_norm(x, (5,), g, b), "norm", True, empty=((2, 0, 3), (3,), (3,))),
    Case("batch_norm", lambda x, g, b: ops.batch_norm(x, g, b), images(2, **SCALES),
         lambda t, x, g, b: torch_batch_norm(t, x, g, b, training=True), "norm", True, empty=None),
    Case("batch_norm[evaluation]", batch_norm_by_running, images(**SCALES),
         lambda t, x, g, b: torch_batch_norm(t, x, g, b, training=False), "norm", empty=NORM_EMPTY),
]  # fmt: skip

# ---------------------------------------------------------------- pooling, resizing


def torch_resize(t, x, size, **settings):
    return nhwc(t.nn.functional.interpolate(nchw(x), size, **settings))


def torch_pixel_shuffle(t, x, r):
    """Torch splits the channels as (C, r, r)."""
    channels_first = x.reshape(*x.shape[:3], r * r, -1).transpose(3, 4).flatten(3)
    return nhwc(t.nn.functional.pixel_shuffle(nchw(channels_first), r))


def torch_pixel_unshuffle(t, x, r):
    y = nhwc(t.nn.functional.pixel_unshuffle(nchw(x), r))
    return y.reshape(*y.shape[:3], -1, r * r).transpose(3, 4).flatten(3)


IMAGE_EMPTY = ((0, 4, 4, 2),)

POOLS = [
    Case("max_pool2d", lambda x: ops.max_pool2d(x), images(2),
         lambda t, x: nhwc(t.nn.functional.max_pool2d(nchw(x), 2)), "exact", True, empty=IMAGE_EMPTY),
    Case("max_pool2d[overlapping]", lambda x: ops.max_pool2d(x, (3, 2), stride=(2, 1), padding=(1, 0)), images(2),
         lambda t, x: nhwc(t.nn.functional.max_pool2d(nchw(x), (3, 2), (2, 1), (1, 0))), "reduction", True,
         empty=IMAGE_EMPTY),
    Case("avg_pool2d", lambda x: ops.avg_pool2d(x), images(2),
         lambda t, x: nhwc(t.nn.functional.avg_pool2d(nchw(x), 2)), "reduction", True, empty=IMAGE_EMPTY),
    Case("avg_pool2d[overlapping]", lambda x: ops.avg_pool2d(x, (3, 2), stride=(2, 1), padding=(1, 0)), images(2),
         lambda t, x: nhwc(t.nn.functional.avg_pool2d(nchw(x), (3, 2), (2, 1), (1, 0))), "reduction", True,
         empty=IMAGE_EMPTY),
    Case("global_avg_pool2d", lambda x: ops.global_avg_pool2d(x), images(), lambda t, x: x.mean((1, 2)), "reduction",
         empty=IMAGE_EMPTY),
    Case("resize_nearest", lambda x: ops.resize_nearest(x, (5, 3)), images(),
         lambda t, x: torch_resize(t, x, (5, 3), mode="nearest-exact"), "reduction", True, empty=IMAGE_EMPTY),
    Case("resize_bilinear", lambda x: ops.resize_bilinear(x, (5, 3)), images(),
         lambda t, x: torch_resize(t, x, (5, 3), mode="bilinear", align_corners=False), "reduction", True,
         empty=IMAGE_EMPTY),
    Case("upsample_conv2d", lambda x, w, b: ops.upsample_conv2d(x, w, b), shaped("nhwc", "33ck", "k"),
         lambda t, x, w, b: torch_conv2d(t, torch_resize(t, x, (2 * x.shape[1], 2 * x.shape[2]), mode="nearest"), w, b,
                                         padding=1), "conv", True, empty=((0, 4, 4, 2), (3, 3, 2, 3), (3,))),
    Case("upsample_nearest", lambda x: ops.upsample_nearest(x, (2, 3)), images(),
         lambda t, x: torch_resize(t, x, (2 * x.shape[1], 3 * x.shape[2]), mode="nearest"), "reduction", True,
         empty=IMAGE_EMPTY),
    Case("pixel_shuffle", lambda x: ops.pixel_shuffle(x, 2), images(channels=(4, 8)),
         lambda t, x: torch_pixel_shuffle(t, x, 2), "exact", empty=((0, 2, 2, 4),)),
    Case("pixel_unshuffle", lambda x: ops.pixel_unshuffle(x, 2), shaped("n42c"),
         lambda t, x: torch_pixel_unshuffle(t, x, 2), "exact", empty=((0, 2, 2, 1),)),
]  # fmt: skip

# ---------------------------------------------------------------- softmax, attention, features


def torch_attention(t, q, k, v, mask=None):
    heads_first = [x.transpose(1, 2) for x in (q, k, v)]
    return t.nn.functional.scaled_dot_product_attention(*heads_first, attn_mask=mask).transpose(1, 2)


def seeing_one(mask):
    """A mask by which every query may attend to the first key at least (torch gives NaN where there is none)."""
    first = np.arange(mask.shape[-1]) == 0
    return mask | first if isinstance(mask, np.ndarray) else mask | mask.new_tensor(first)


def torch_sinusoids(t, angles, dtype):
    return t.cat([t.sin(angles), t.cos(angles)], -1).to(dtype)


PERIODS = 100.0 ** (-np.arange(3) / 3)
FREQUENCIES = np.array([[0.1, 0.3, -0.2, 0.4], [0.5, -0.1, 0.2, 0.3]])

TOKENS = [
    Case("softmax", lambda x: ops.softmax(x), any_shape(WIDE_VALUES, min_dims=1), lambda t, x: x.softmax(-1),
         "softmax", True),
    Case("softmax[axis]", lambda x: ops.softmax(x, 1), shaped("abc"), lambda t, x: x.softmax(1), "softmax", True,
         empty=((0, 2, 3),)),
    Case("log_softmax", lambda x: ops.log_softmax(x), any_shape(WIDE_VALUES, min_dims=1),
         lambda t, x: x.log_softmax(-1), "softmax", True),
    Case("log_softmax[axis]", lambda x: ops.log_softmax(x, 0), shaped("abc"), lambda t, x: x.log_softmax(0), "softmax",
         True, empty=((2, 3, 0),)),
    Case("attention", lambda q, k, v: ops.attention(q, k, v), shaped("nlhd", "nmhd", "nmhe"), torch_attention,
         "softmax", True, empty=((2, 0, 2, 3), (2, 4, 2, 3), (2, 4, 2, 5))),
    Case("attention[to itself]", lambda x: ops.attention(x, x, x), shaped("nlhd"),
         lambda t, x: torch_attention(t, x, x, x), "softmax", True, empty=((0, 2, 2, 3),)),
    Case("attention[masked]", lambda m, q, k, v: ops.attention(q, k, v, seeing_one(m)),
         shaped("hlm", "nlhd", "nmhd", "nmhe", values=(masks,)),
         lambda t, m, q, k, v: torch_attention(t, q, k, v, seeing_one(m)), "softmax", True,
         empty=(np.ones((2, 1, 4), bool), (0, 1, 2, 3), (0, 4, 2, 3), (0, 4, 2, 5))),
    Case("embedding", lambda w, i: ops.embedding(w, i), shaped("4d", "ab", values=(normal, Integers(4))),
         lambda t, w, i: w[i], "reduction", True, empty=((4, 2), np.zeros((0, 3), int))),
    Case("sinusoidal_features", lambda x: ops.sinusoidal_features(x, 6, max_period=100.0),
         shaped("a", values=(Values(0.0, 20.0),)),
         lambda t, x: torch_sinusoids(t, x.double()[:, None] * t.from_numpy(PERIODS), x.dtype), "reduction", True,
         empty=((0,),)),
    Case("fourier_features", lambda x: ops.fourier_features(x, FREQUENCIES), shaped("ab2"),
         lambda t, x: torch_sinusoids(t, 2 * np.pi * x.double() @ t.from_numpy(FREQUENCIES), x.dtype), "reduction",
         True, empty=((2, 0, 2),)),
]  # fmt: skip

# ---------------------------------------------------------------- losses


def torch_normal(t, mean, logvar):
    return t.distributions.Normal(mean, t.exp(0.5 * logvar))


def torch_kl(t, mu1, logvar1, mu2, logvar2):
    return t.distributions.kl_divergence(torch_normal(t, mu1, logvar1), torch_normal(t, mu2, logvar2))


def loss(name, inputs, twin, empty):
    """Three rows: the elements of a loss, their sum, their mean. The twin gives the elements."""
    return [
        Case(f"{name}[none]", lambda *x: getattr(ops, name)(*x, reduction="none"), inputs, twin, "reduction", True,
             empty=empty),
        Case(f"{name}[sum]", lambda *x: getattr(ops, name)(*x, reduction="sum"), inputs,
             lambda t, *x: twin(t, *x).sum(), "reduction", True, empty=empty),
        Case(f"{name}[mean]", lambda *x: getattr(ops, name)(*x), inputs, lambda t, *x: twin(t, *x).mean(), "reduction",
             True, empty=None),
    ]  # fmt: skip


LOSSES = [
    *loss("mse", same_shape(normal, normal), lambda t, x, y: (x - y) ** 2, ((0, 3), (0, 3))),
    *loss("l1", same_shape(normal, normal), lambda t, x, y: (x - y).abs(), ((0, 3), (0, 3))),
    *loss("bce_with_logits", same_shape(WIDE_VALUES, Values(0.0, 1.0)),
          lambda t, x, y: t.nn.functional.binary_cross_entropy_with_logits(x, y, reduction="none"), ((0, 3), (0, 3))),
    *loss("cross_entropy", shaped("n4", "n", values=(WIDE_VALUES, Integers(4))),
          lambda t, x, y: t.nn.functional.cross_entropy(x, y, reduction="none"), ((0, 4), np.zeros(0, int))),
    *loss("gaussian_nll", same_shape(normal, normal, normal), lambda t, x, m, v: -torch_normal(t, m, v).log_prob(x),
          ((0, 3), (0, 3), (0, 3))),
    *loss("kl_gaussian", same_shape(normal, normal),
          lambda t, m, v: torch_kl(t, m, v, t.zeros_like(m), t.zeros_like(v)), ((0, 3), (0, 3))),
    *loss("kl_gaussians", same_shape(normal, normal, normal, normal), torch_kl, ((0, 3), (0, 3), (0, 3), (0, 3))),
]  # fmt: skip

CASES = ELEMENTWISE + MOVES + REDUCTIONS + PRODUCTS + ACTIVATIONS + CONVOLUTIONS + NORMS + POOLS + TOKENS + LOSSES
