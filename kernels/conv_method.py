"""Which method computes a convolution: the one that a small model of their costs finds cheapest.

    winograd   3x3 with a quarter of the multiplications; float32 only                          winograd.py
    indirect   the micro-kernel reads pixels where they lie; float32 only                       indirect.py
    im2col     windows copied into rows, products by BLAS; everything, float64 above all        conv.py

The unit of cost is a multiply-add of the micro-kernel, about 1/60 ns. With m results (pixels of y; of dx for the input
gradient), T taps, and a product of `depth` by `columns` numbers for each,

    indirect   m T depth columns                      columns rounded up to whole vectors
               + m T LOOKUP                           the table of addresses
               + T C K PACK                           the filters in the order in which they are read
    im2col     (m T depth columns) BLAS + m T (depth COPY + PIECE)
    winograd   always cheapest where it fits: its own rule is winograd.fits

Errors of float32 against float64, as a part of the largest result, for standard normal data (tests/test_conv_method.py
holds every method to its line):

                 forward    input grad    weight grad
    winograd     1.5e-5     1.5e-5        1.5e-5
    indirect     3e-6       3e-6          3e-6
    im2col       3e-6       3e-6          3e-6
"""

from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

from ._numba import numba
from .winograd import fits

if numba is not None:
    from .simd.vector import LANES

METHODS = ("winograd", "indirect", "im2col")
ROWS = 8  # of the micro-kernel's tile

LOOKUP = 60  # one entry of the table
PACK = 60  # one number of the filters
BLAS = 1.3  # OpenBLAS is that much slower than the micro-kernel
COPY = 25  # one number of a row
PIECE = 200  # one tap of a row

_forced: ContextVar[str | None] = ContextVar("method", default=None)


@contextmanager
def use_method(method):
    """Force one method for every convolution in the block. Raises ValueError where that method does not apply."""
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    token = _forced.set(method)
    try:
        yield
    finally:
        _forced.reset(token)


def choose(which, dtype, n, w_shape, y_size, stride, padding, dilation):
    """The method for one pass ("forward", "input grad", "weight grad") of one convolution without groups.

    Raises ValueError where `use_method` asks for one that does not apply.
    """
    possible = {"im2col"}
    if fits(dtype, w_shape, y_size, stride, padding, dilation, 1):
        possible.add("winograd")
    if dtype == np.float32 and fills_tiles(which, w_shape):
        possible.add("indirect")
    forced = _forced.get()
    if forced and forced not in possible:
        raise ValueError(f"{forced} does not apply to the {which} of {dtype} filters {w_shape}, stride={stride}")
    if forced or "winograd" in possible:
        return forced or "winograd"
    return min(sorted(possible), key=lambda method: cost(method, which, n, w_shape, y_size))


def fills_tiles(which, w_shape):
    """Whether the micro-kernel's tile of 8 rows by whole vectors is not larger than the product."""
    kh, kw, c, k = w_shape
    if which == "weight grad":
        return min(c if c >= ROWS else c * kh * kw, k - LANES + ROWS) >= ROWS
    return (k if which == "forward" else c) >= LANES


def cost(method, which, n, w_shape, y_size):
    kh, kw, c, k = w_shape
    pairs = n * y_size[0] * y_size[1] * kh * kw  # of a result and a tap
    columns = c if which == "input grad" else k
    if method == "indirect":
        wasted = -columns % LANES / columns
        return pairs * (c * k * (1 + wasted) + LOOKUP) + (0 if which == "weight grad" else PACK * kh * kw * c * k)
    copies = 0 if kh * kw == 1 else pairs * (PIECE + COPY * min(c, k))
    return pairs * c * k * BLAS + copies
