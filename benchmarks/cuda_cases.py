"""Arguments for every kernel with a CUDA dialect.

    run("group_norm", arguments("group_norm", TYPICAL, cupy), version=2)

TYPICAL   of a U-Net's layers: what the facts are counted on
EDGE      what the checks are made on: nothing divides anything
EVEN      small too, but rows are multiples of four, as 16-byte loads want them
"""

import inspect
from dataclasses import dataclass

import numpy as np

from minigen.dispatch import KERNELS, kernel

HIGHEST_VERSION = 4


@dataclass(frozen=True)
class Sizes:
    """`uneven`: with masks, strides and paddings that make the kernels' borders work."""

    elements: int
    rows: int
    classes: int
    batch: int
    image: int
    channels: int
    filters: int
    groups: int
    length: int
    heads: int
    width: int
    uneven: bool


TYPICAL = Sizes(16384, 256, 128, 2, 16, 64, 64, 8, 64, 2, 32, False)
EDGE = Sizes(1003, 41, 37, 2, 7, 15, 10, 5, 35, 2, 20, True)
EVEN = Sizes(1004, 36, 40, 2, 6, 12, 20, 3, 36, 2, 16, True)


class Arguments:
    """One method for each family of kernels: name -> its arguments as NumPy arrays and Python values."""

    def __init__(self, sizes, dtype=np.float32):
        self.s, self.dtype, self.random = sizes, dtype, np.random.default_rng(0)

    def of(self, name):
        file = next(file for file, names in KERNELS.items() if base(name) in names.split())
        return getattr(self, file)(name)

    def normal(self, *shape):
        return self.random.standard_normal(shape).astype(self.dtype)

    def positive(self, *shape):
        return np.exp(self.normal(*shape))

    def labels(self, *shape, below):
        return self.random.integers(0, below, shape)

    # ---------------------------------------------------------------- element by element

    def activation(self, name):
        arrays = [self.normal(self.s.elements) for _ in range(1 + name.endswith("_grad"))]
        return (*arrays, 0.2) if name.startswith("leaky") else tuple(arrays)

    def loss(self, name):
        if name.startswith("cross_entropy"):
            x, labels = self.normal(self.s.rows, self.s.classes), self.labels(self.s.rows, below=self.s.classes)
            if name == "cross_entropy":
                return x, labels
            return self.normal(self.s.rows), x, labels, kernel("cross_entropy", "numpy")(x, labels)[1]
        operation = name.removesuffix("_grad")
        count = {"gaussian_nll": 3, "kl_gaussians": 4}.get(operation, 2)
        return tuple(self.normal(self.s.elements) for _ in range(count + (name != operation)))

    def optimizer(self, name):
        n = self.s.elements
        p, m, v, gradients = self.normal(n), self.normal(n), self.positive(n), [self.normal(n - 7), self.normal(7)]
        return {
            "sgd_step": (p, gradients, m, 0.5, 0.1, 0.9, 0.01),
            "rmsprop_step": (p, gradients, v, 0.5, 0.1, 0.9, 1e-8),
            "adamw_step": (p, gradients, m, v, 0.5, 1e-3, 0.9, 0.999, 1e-8, 0.01, 3),
            "adamw_step+ema": (p, gradients, m, v, 0.5, 1e-3, 0.9, 0.999, 1e-8, 0.01, 3, self.normal(n), 0.99),
            "ema_step": (m, p, 0.99),
            "square_norm": tuple(gradients),
        }[name]

    def philox(self, name):
        return (1, 2, self.s.elements) if name == "philox_bits" else (1, 2, self.s.elements, np.dtype(self.dtype))

    def features(self, name):
        x, frequencies = self.normal(self.s.rows, 3), self.random.standard_normal((3, self.s.width))
        return (x, frequencies) if name == "sinusoids" else (self.normal(self.s.rows, 2 * self.s.width), x, frequencies)

    def embedding(self, name):
        indices = self.labels(self.s.rows, below=self.s.classes)
        if name == "embedding":
            return self.normal(self.s.classes, self.s.channels), indices
        return self.normal(self.s.rows, self.s.channels), indices, self.s.classes

    def arithmetic(self, name):
        rows = self.normal(self.s.rows, self.s.channels)
        return {
            "add": (rows, self.normal(*rows.shape)),
            "sum_positions": (self.normal(self.s.batch, self.s.image**2, self.s.channels),),
            "concatenate": (rows, self.normal(self.s.rows, self.s.filters)),
            "split": (rows, (1, self.s.channels - 1)),
            "contiguous": (rows[:, 1:-1],),
        }[name]

    # ---------------------------------------------------------------- rows and groups

    def softmax(self, name):
        x = self.normal(self.s.rows, self.s.classes)
        if not name.endswith("_grad"):
            return (x,)
        return self.normal(*x.shape), kernel(name.removesuffix("_grad"), "numpy")(x)

    def _norm(self, name, x, *rest):
        c = x.shape[-1]
        gamma, beta = self.normal(c), self.normal(c)
        forward = (x, gamma, beta, *rest)
        operation = name.removesuffix("_grad")
        if name == operation:
            return forward
        _, mu, spread = kernel(operation, "numpy")(*forward)
        dy = self.normal(*x.shape)
        if operation == "group_norm":
            return dy, x, gamma, beta, mu, spread, True
        rstd = 1 / np.sqrt(spread + np.float32(1e-5)) if operation == "batch_norm" else spread
        return dy, x, gamma, mu, rstd.astype(self.dtype)

    def group_norm(self, name):
        return self._norm(name, self.normal(self.s.batch, self.s.image**2, self.s.channels), self.s.groups, 1e-5, True)

    def layer_norm(self, name):
        return self._norm(name, self.normal(self.s.rows, self.s.channels), 1e-5)

    def batch_norm(self, name):
        return self._norm(name, self.normal(self.s.rows, self.s.channels), 1e-5)

    def attention(self, name):
        n, length, heads, d = self.s.batch, self.s.length, self.s.heads, self.s.width
        q, k, v = (self.normal(n, length, heads, d) for _ in range(3))
        mask = np.tril(np.ones((1, 1, length, length), bool)) if self.s.uneven else None
        if name == "attention":
            return q, k, v, mask
        return self.normal(n, length, heads, d), q, k, v, mask, kernel("attention", "numpy")(q, k, v, mask)[1]

    # ---------------------------------------------------------------- products and images

    def matmul(self, name):
        return self.normal(self.s.rows, self.s.channels), self.normal(self.s.channels, self.s.filters)

    def linear(self, name):
        x, w = self.matmul(name)
        if name == "linear_grad":
            return self.normal(self.s.rows, self.s.filters), x, w, (True, True, True)
        return x, w, self.normal(self.s.filters)

    def _image(self, channels):
        return self.normal(self.s.batch, self.s.image, self.s.image, channels)

    def conv(self, name):
        stride, padding, dilation, groups = (
            ((2, 2), (1, 1), (1, 1), 1) if self.s.uneven else ((1, 1), (1, 1), (1, 1), 1)
        )
        x, w = self._image(self.s.channels), self.normal(3, 3, self.s.channels, self.s.filters)
        how = stride, padding, dilation, groups
        if name == "conv2d":
            return x, w, self.normal(self.s.filters), *how
        dy = self.normal(*kernel("conv2d", "numpy")(x, w, None, *how).shape)
        return (dy, w, x.shape[1:3], *how) if name == "conv2d_input_grad" else (x, dy, (3, 3), *how)

    def upsample_conv(self, name):
        x, w = self._image(self.s.channels), self.normal(3, 3, self.s.channels, self.s.filters)
        dy = self.normal(self.s.batch, 2 * self.s.image, 2 * self.s.image, self.s.filters)
        return {
            "upsample_conv2d": (x, w, self.normal(self.s.filters)),
            "upsample_conv2d_input_grad": (dy, w),
            "upsample_conv2d_weight_bias_grad": (x, dy),
        }[name]

    def pool(self, name):
        size, stride, padding = ((3, 2), (2, 2), (1, 1)) if self.s.uneven else ((2, 2), (2, 2), (0, 0))
        x, image = self._image(self.s.channels), (self.s.image, self.s.image)
        if not name.endswith("_grad"):
            return x, size, stride, padding
        y = kernel("avg_pool2d", "numpy")(x, size, stride, padding)
        if name == "avg_pool2d_grad":
            return y, image, size, stride, padding
        return y, kernel("max_pool2d", "numpy")(x, size, stride, padding)[1], image

    def resize(self, name):
        smaller = (self.s.image, self.s.image)
        larger = tuple(2 * n - self.s.uneven for n in smaller)
        x = self._image(self.s.channels)
        if name == "resize":
            return x, larger, "bilinear"
        return self.normal(self.s.batch, *larger, self.s.channels), smaller, "bilinear"


# ---------------------------------------------------------------- running them


def on_gpu(value, cupy):
    """The same arguments with arrays on the GPU."""
    if isinstance(value, np.ndarray):
        return cupy.asarray(value)
    if isinstance(value, (list, tuple)):
        return type(value)(on_gpu(v, cupy) for v in value)
    return value


def base(name):
    """The kernel's own name: "adamw_step+ema" is adamw_step with other arguments."""
    return name.partition("+")[0]


def launcher(name):
    """The CUDA launcher of a kernel, or None where it has none."""
    try:
        return kernel(base(name), "cuda")
    except LookupError:
        return None


def versions(name):
    """The versions to ask a launcher for; [None] for one that knows no versions."""
    return list(range(1, HIGHEST_VERSION + 1)) if "version" in inspect.signature(launcher(name)).parameters else [None]


def names():
    """Every kernel that has a CUDA launcher, and those that have a second form."""
    known = [name for file in KERNELS.values() for name in file.split()]
    return [name for name in [*known, "adamw_step+ema"] if launcher(name)]


class NotCovered(Exception):
    """The launcher has no such version, or it does not cover the case."""


def arguments(name, sizes, cupy):
    """The arguments of a kernel, arrays on the GPU."""
    return tuple(on_gpu(value, cupy) for value in Arguments(sizes).of(name))


def run(name, given, version=None):
    """Call a launcher -> its results. Raises NotCovered."""
    if version is None:
        return launcher(name)(*given)
    try:
        return launcher(name)(*given, version=version)
    except ValueError as error:
        if "version" not in str(error):
            raise
        raise NotCovered(str(error)) from None
