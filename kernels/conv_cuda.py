"""Launchers of conv.cu and winograd.cu: which version runs, on how many blocks, and what it is told of the geometry.

    version   1 direct   2 implicit GEMM   3 the same on tensor cores (TF32, sm_80)   4 Winograd
    None      1 in float64 and where the result has few channels, 4 for 3x3 filters of many channels, else 2;
              never 3, which rounds what it reads to 10 bits

The kernels know one kind of convolution, in which the window position (i, j) of the result (p, q) sees

    row  p s + i d + top,  column likewise        s, d, top: vertical and horizontal; d of either sign

The input gradient is s s of these. Pixel a + s p of dx collects dy[r] w[i] from all i with  r s + i d - pad = a + s p,
so from those i for which  r = p + (a + pad - i d) / s  is whole. They are s / gcd(s, d) apart, and from one to the next
r falls by d / gcd(s, d).
"""

from math import gcd, prod
from pathlib import Path

import numpy as np

from ._cuda import MOST, blocks, capability, contiguous, empty, i32, launch, zeros
from ._versions import check_shapes, choose, float32_only, floats, pack

CONV, WINOGRAD = (str(Path(__file__).with_name(name)) for name in ("conv.cu", "winograd.cu"))
ROWS, COLUMNS, TILE_THREADS = 128, 64, 128  # of tile.cuh
THREADS = 256  # of a block whose threads have a result each
ENOUGH = 512  # blocks that keep the largest GPUs busy
SHARE = 256  # pixels of a weight gradient that are worth a block
UNIT, NOUGHT = (1, 1), (0, 0)


def conv2d(x, w, bias, size, stride, padding, dilation, groups, version):
    """y (N, *size, K)"""
    x, w, bias = floats("conv2d", x=x, w=w, bias=zeros(w.shape[3:], like=x) if bias is None else bias)
    check_shapes("conv2d", (*x.shape[:3], w.shape[2] * groups), x=x)
    check_shapes("conv2d", w.shape[3:] if bias.ndim == 1 else (len(x), w.shape[3]), bias=bias)
    y = empty((x.shape[0], *size, w.shape[3]), like=x)
    version = chosen("conv2d", version, y, w.shape, stride, dilation, groups)
    top_left = tuple(-pad for pad in padding)
    if version == 4:
        return winograd(x, w, bias, y, top_left)
    return product(x, w, bias, y, size, stride, dilation, top_left, groups, version, places(y))


def conv2d_input_grad(dy, w, size, stride, padding, dilation, groups, version):
    """dx (N, *size, C)"""
    dy, w = floats("conv2d_input_grad", dy=dy, w=w)
    dx = empty((dy.shape[0], *size, w.shape[2] * groups), like=dy)
    no_bias = zeros(dx.shape[3:], like=dy)
    version = chosen("conv2d_input_grad", version, dx, w.shape, stride, dilation, groups)
    w = exchanged(w, groups)
    if version == 4:
        return winograd(dy, contiguous(w[::-1, ::-1]), no_bias, dx, tuple(pad - 2 for pad in padding))
    for first in np.ndindex(*map(min, stride, size)):
        pixels = tuple(-(-(n - a) // s) for n, a, s in zip(size, first, stride))
        (rows, dh, top), (columns, dw, left) = map(phase, w.shape, first, stride, padding, dilation)
        seen = contiguous(w[rows, columns])
        product(dy, seen, no_bias, dx, pixels, UNIT, (dh, dw), (top, left), groups, version, places(dx, first, stride))
    return dx


def conv2d_weight_grad(x, dy, window, stride, padding, dilation, groups, version):
    """dw (*window, C / groups, K), added up in an order that depends on the shapes alone."""
    x, dy = floats("conv2d_weight_grad", x=x, dy=dy)
    dw = empty((*window, x.shape[3] // groups, dy.shape[3]), like=x)
    version = chosen("conv2d_weight_grad", version, dy, dw.shape, stride, dilation, groups)
    if x.size * dy.size == 0:
        return zeros(dw.shape, like=x)
    top_left = tuple(-pad for pad in padding)
    if version == 4:
        return winograd_weight_grad(x, dy, dw, top_left)
    return sum_of_products(x, dy, dw, stride, dilation, top_left, groups, version)


# ---------------------------------------------------------------- what is asked for


def chosen(kernel, version, y, w_shape, stride, dilation, groups):
    """The version to run for a result (or its gradient) y. Raises ValueError for one that does not cover the case."""
    tiles = tiles_of(y)
    numbers = 36 * len(y) * prod(tiles) * max(w_shape[2:])  # of the largest array of points
    tiled = float32_only(y) or (None if prod(w_shape) else "needs at least one channel")
    simple = w_shape[:2] == (3, 3) and stride == dilation == UNIT and groups == 1
    if version is None and not tiled:
        # A tile costs 36 multiplications for up to 16 pixels of 9 each; its transforms cost about as much again.
        worthwhile = min(w_shape[2:]) >= 64 and 2 * 36 * prod(tiles) <= 9 * prod(y.shape[1:3])
        # Few channels leave most of a tile empty; but version 1 of a weight gradient would have few threads besides.
        few = y.shape[3] // groups < 8 and kernel != "conv2d_weight_grad"
        version = 4 if simple and numbers <= MOST and worthwhile else 1 if few else 2
    obstacles = {
        1: None,
        2: tiled,
        3: tiled or (None if version != 3 or capability() >= 80 else "needs tensor cores with TF32: sm_80"),
        4: tiled or (None if simple else "is for 3x3 filters with stride, dilation and groups of 1"),
    }
    if version == 4:
        i32(numbers)
    return choose(kernel, version, obstacles, opt_in=(3, 4))


def exchanged(w, groups):
    """Input and output channels exchanged within every group: (KH, KW, C / groups, K) -> (KH, KW, K / groups, C)."""
    kh, kw, c, k = w.shape
    return w.reshape(kh, kw, c, groups, k // groups).transpose(0, 1, 4, 3, 2).reshape(kh, kw, k // groups, c * groups)


def phase(taps, first, stride, padding, dilation):
    """(which of the taps the pixels first, first + stride ... collect from, d, top): see the top of this file."""
    common = gcd(stride, dilation)
    whole = [i for i in range(taps) if (first + padding - i * dilation) % stride == 0]
    if not whole:
        return slice(0), 1, 0
    top = (first + padding - whole[0] * dilation) // stride
    return slice(whole[0], None, stride // common), -(dilation // common), top


def places(y, first=NOUGHT, stride=UNIT):
    """start, sample, line, pixel: where in y a kernel puts its results."""
    _, p, q, k = y.shape
    return (first[0] * q + first[1]) * k, p * q * k, stride[0] * q * k, stride[1] * k


# ---------------------------------------------------------------- versions 1 to 3


def window_of(x, window, stride, dilation, top_left, size, k, groups):
    """The parameters WINDOW of conv.cu."""
    numbers = (*x.shape, *window, *stride, *dilation, *top_left, *size, k, groups)
    return tuple(map(i32, numbers))


def parameters_of(x, k, groups, *arrays):
    """REAL of common.cuh, and WIDTH of tile.cuh: how many floats a load brings."""
    width = min(pack(x.shape[3] // groups, x, *arrays), pack(k // groups, x, *arrays))
    return {"REAL": "float", "WIDTH": width} if x.dtype == np.float32 else {"REAL": "double", "WIDTH": 1}


def product(x, w, bias, y, size, stride, dilation, top_left, groups, version, where):
    """Fill the places of y that `where` tells with one convolution."""
    k, pixels = w.shape[3], len(x) * prod(size)
    if pixels * k == 0:
        return y
    window = window_of(x, w.shape[:2], stride, dilation, top_left, size, k, groups)
    args = (x, w, bias, y, *window, i32(k if bias.ndim == 2 else 0), *map(i32, where))
    parameters = parameters_of(x, k, groups, w, bias, y)
    if version == 1 or w.size == 0:
        i32(pixels * k + THREADS)  # the last block counts that far
        launch(CONV, "conv2d_v1", blocks(pixels * k, THREADS), THREADS, args, **parameters)
    else:
        i32(pixels + ROWS)
        grid = blocks(pixels, ROWS), blocks(k // groups, COLUMNS), groups
        launch(CONV, f"conv2d_v{version}", grid, TILE_THREADS, args, **parameters)
    return y


def sum_of_products(x, dy, dw, stride, dilation, top_left, groups, version):
    """dw = (x's windows)^T dy"""
    k, pixels = dy.shape[3], prod(dy.shape[:3])
    window = window_of(x, dw.shape[:2], stride, dilation, top_left, dy.shape[1:3], k, groups)
    parameters = parameters_of(x, k, groups, dy, dw)
    i32(dw.size + THREADS)
    if version == 1:
        launch(CONV, "conv2d_weight_grad_v1", blocks(dw.size, THREADS), THREADS, (x, dy, dw, *window), **parameters)
        return dw
    tiles = blocks(dw.size // k, ROWS), blocks(k // groups, COLUMNS), groups
    share = max(SHARE, blocks(pixels, blocks(ENOUGH, prod(tiles))))
    count = blocks(pixels, share)
    parts = dw if count == 1 else empty((count, *dw.shape), like=dw)
    grid, args = (*tiles[:2], groups * count), (x, dy, parts, *window, i32(share))
    launch(CONV, f"conv2d_weight_grad_v{version}", grid, TILE_THREADS, args, **parameters)
    if count > 1:
        args = parts, dw, i32(dw.size), i32(count)
        launch(CONV, "conv2d_sum_parts", blocks(dw.size, THREADS), THREADS, args, **parameters)
    return dw


# ---------------------------------------------------------------- version 4


def winograd(x, w, bias, y, top_left):
    """y = A^T [ (G w G^T) * (B^T d B) ] A + bias; the product in the middle is a 1x1 convolution with 36 groups."""
    c, k = w.shape[2:]
    v = to_points("winograd_image", x, tiles_of(y), *top_left)
    u = empty((1, 1, c, 36 * k), like=x)
    launch(WINOGRAD, "winograd_filter", blocks(c * k, THREADS), THREADS, (w, u, i32(c), i32(k)))
    m = empty((*v.shape[:3], 36 * k), like=x)
    product(v, u, zeros((36 * k,), like=x), m, m.shape[1:3], UNIT, UNIT, NOUGHT, 36, 2, places(m))
    tasks = m.shape[2] * k
    numbers = *y.shape, k if bias.ndim == 2 else 0, *tiles_of(y)
    launch(WINOGRAD, "winograd_result", blocks(tasks, THREADS), THREADS, (m, bias, y, *map(i32, numbers)))
    return y


def winograd_weight_grad(x, dy, dw, top_left):
    """dw = G^T [ sum over tiles of V^T (A dy A^T) ] G"""
    c, k = dw.shape[2:]
    v = to_points("winograd_image", x, tiles_of(dy), *top_left)
    g = to_points("winograd_gradient", dy, tiles_of(dy))
    du = empty((1, 1, c, 36 * k), like=x)
    sum_of_products(v, g, du, UNIT, UNIT, NOUGHT, 36, 2)
    launch(WINOGRAD, "winograd_filter_grad", blocks(c * k, THREADS), THREADS, (du, dw, i32(c), i32(k)))
    return dw


def to_points(kernel, image, tiles, *top_left):
    """(1, 1, tiles, 36 channels): the image's tiles at the 36 points, as an image of one line."""
    tasks = len(image) * prod(tiles) * image.shape[3]
    points = empty((1, 1, len(image) * prod(tiles), 36 * image.shape[3]), like=image)
    numbers = *image.shape, *top_left, *tiles
    launch(WINOGRAD, kernel, blocks(tasks, THREADS), THREADS, (image, points, *map(i32, numbers)))
    return points


def tiles_of(y):
    """How many tiles of 4x4 pixels cover y, downwards and across."""
    return -(-y.shape[1] // 4), -(-y.shape[2] // 4)
