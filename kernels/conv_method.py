"""Which method computes a convolution: the one that a small model of their costs finds cheapest.

    winograd   3x3 with a quarter of the multiplications; float32 only                          winograd.py
    polyphase  4x4 with stride 2, 9/16 of the multiplications; float32 only                     polyphase.py
    indirect   a product for each tap, of the pixels that it sees; float32 only                 indirect.py
    lines      a product of a whole line, to or from few channels; float32 only                 lines.py
    im2col     windows copied into rows, products by BLAS; everything, float64 above all        im2col.py
               (and a 1x1 window over every pixel, which is a linear layer)

The unit of cost is a multiply-add of the micro-kernel, about 1/60 ns. With m results (pixels of y, counted so for all
three passes) and T taps, `cost` adds up

    indirect   m T C K, the columns rounded up to whole vectors; a table of m T addresses; the filters in panels
    polyphase  m T C K 9/16; m T (C + K) numbers to the points and back; 9/4 T C K numbers of the filters' points,
               read again for every block of tiles
    im2col     m T C K by BLAS; m T pieces of rows to copy, of C numbers each
    winograd   cheapest wherever its own rule, winograd.fits, allows it
    lines      likewise

The constants were fitted to times of one thread on a processor with AVX-512. They need not be exact: where two methods
cost the same, either will do.

Errors of float32 against float64, as a part of the largest result, for standard normal data (tests/test_conv_method.py
holds every method to its line):

                 forward    input grad    weight grad
    winograd     1.5e-5     1.5e-5        1.5e-5
    polyphase    3e-6       3e-6          3e-6
    indirect     3e-6       3e-6          3e-6
    lines        2e-6       2e-6          2e-6
    im2col       3e-6       3e-6          3e-6
"""

from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

import numpy as np

from ._numba import numba
from ._threads import get_num_threads
from .im2col import is_pointwise
from .lines import fits_lines
from .polyphase import cut_into_blocks, fits_polyphase
from .simd.gemm import ROWS
from .winograd import fits

if numba is not None:
    from .simd.vector import LANES

METHODS = ("winograd", "polyphase", "indirect", "lines", "im2col")

BLAS = 1.2  # OpenBLAS is that much slower than the micro-kernel
WEIGHTS = 1.15  # and so is the indirect weight gradient: its pixels are laid down for every tap
PHASES = 1.15  # the input gradient turns the filters round, and visits dx once for each phase
LOOKUP = 300  # an address in a table
PACK = 60  # a number of the filters, rearranged or transformed
AGAIN = 25  # the same, read again for another block of tiles
MOVE = 5  # a number to the points or back
PIECE = 200  # a tap of a row
COPY = 25  # a number of a row

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
    return known_choice(_forced.get(), get_num_threads(), which, dtype, n, w_shape, y_size, stride, padding, dilation)


@cache
def known_choice(forced, threads, which, dtype, n, w_shape, y_size, stride, padding, dilation):
    """The same, kept: a network asks for the same few in every step. (The polyphase blocks depend on the threads.)"""
    possible = {"im2col"}
    if fits(dtype, w_shape, y_size, stride, padding, dilation, 1):
        possible.add("winograd")
    if fits_polyphase(dtype, w_shape, stride, padding, dilation):
        possible.add("polyphase")
    if dtype == np.float32 and fills_tiles(which, w_shape):
        possible.add("indirect")
    if fits_lines(which, dtype, w_shape, stride, padding, dilation):
        possible.add("lines")
    if forced and forced not in possible:
        raise ValueError(f"{forced} does not apply to the {which} of {dtype} filters {w_shape}, stride={stride}")
    if forced or "winograd" in possible:
        return forced or "winograd"
    if is_pointwise(w_shape, stride, padding):
        return "im2col"
    if "lines" in possible:
        return "lines"
    return min(sorted(possible), key=lambda method: cost(method, which, n, w_shape, y_size))


def fills_tiles(which, w_shape):
    """Whether there are as many rows and columns as the micro-kernel multiplies at least: ROWS by a vector."""
    _, _, c, k = w_shape
    if which == "weight grad":
        return c >= ROWS and k >= LANES
    return (k if which == "forward" else c) >= LANES


def cost(method, which, n, w_shape, y_size):
    """Of one pass by one method, in multiply-adds: the sums at the top of this file."""
    kh, kw, c, k = w_shape
    results, taps = n * y_size[0] * y_size[1], kh * kw
    products, filters = results * taps * c * k, taps * c * k
    if method == "indirect":
        columns = c if which == "input grad" else k
        slower = {"forward": 1, "input grad": PHASES, "weight grad": WEIGHTS}[which] * (1 + -columns % LANES / columns)
        return products * slower + results * taps * LOOKUP + (0 if which == "weight grad" else filters * PACK)
    if method == "polyphase":
        tiles, per_block = cut_into_blocks(n, y_size, 2, 4 * c + k)
        blocks = 0 if which == "weight grad" else tiles / per_block
        return products * 9 / 16 + results * taps * (c + k) * MOVE + filters * 9 / 4 * (PACK + blocks * AGAIN)
    copies = 0 if taps == 1 else results * taps * (PIECE + COPY * min(c, k))
    return products * BLAS + copies
