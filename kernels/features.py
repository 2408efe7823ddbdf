"""Sinusoidal features: positions or times as sines and cosines of several frequencies.

    a = x F        y = [sin a, cos a]        dx = (g_sin * cos a - g_cos * sin a) F^T

The columns of F are the (angular) frequencies. Angles reach thousands of radians, of which float32
keeps four digits behind the point, so a is computed in float64 whatever x is.

Shapes   x, dx (N, D)   F (D, M) float64   a (N, M)   y, g (N, 2M): the sines, then the cosines
Source   Vaswani et al., Attention Is All You Need, 2017, section 3.5; Tancik et al., Fourier Features Let Networks
         Learn High Frequency Functions, 2020, eq. 5; deck 002, Network Architectures
"""

import numpy as np

from ._cuda import C_NAMES, blocks, contiguous, empty, i32, launch
from ._cuda_elements import THREADS
from ._numba import jit
from ._threads import parallel
from ._versions import check_shapes, floats
from .simd.trigonometric import FURTHEST, sin_cos

# ---------------------------------------------------------------- NumPy: the definition


def sinusoids_numpy(x, frequencies):
    """y: every coordinate or time at every frequency."""
    a = x.astype(np.float64) @ frequencies
    return np.concatenate([np.sin(a), np.cos(a)], axis=1).astype(x.dtype)


def sinusoids_grad_numpy(g, x, frequencies):
    """dx; the frequencies are constants."""
    a = x.astype(np.float64) @ frequencies
    g_sin, g_cos = np.split(g, 2, axis=1)
    return ((g_sin * np.cos(a) - g_cos * np.sin(a)) @ frequencies.T).astype(x.dtype)


# ---------------------------------------------------------------- Numba: the rows shared over the threads


def sinusoids_numba(x, frequencies):
    """Rows whose angles are all within the bound of sin_cos vectorise; the C library has the others."""
    y = np.empty((len(x), 2 * frequencies.shape[1]), x.dtype)
    parallel(len(x), sinusoids_rows, x, frequencies, y)
    return y


def sinusoids_grad_numba(g, x, frequencies):
    """Likewise; forward keeps no sines and cosines."""
    dx = np.empty_like(x)
    parallel(len(x), sinusoids_grad_rows, g, x, frequencies, dx)
    return dx


@jit
def angles(x, frequencies, a):
    """a = x F of one row, and whether sin_cos is good for all of it."""
    for j in range(len(a)):
        a[j] = 0
    for d in range(len(x)):
        for j in range(len(a)):
            a[j] += x[d] * frequencies[d, j]
    furthest = 0.0
    for j in range(len(a)):
        furthest = max(furthest, abs(a[j]))
    return furthest <= FURTHEST


@jit
def sinusoids_rows(first, last, x, frequencies, y):
    """Of rows first..last."""
    m = frequencies.shape[1]
    a = np.empty(m)
    for i in range(first, last):
        if angles(x[i], frequencies, a):
            for j in range(m):
                y[i, j], y[i, m + j] = sin_cos(a[j], x.dtype)
        else:
            for j in range(m):
                y[i, j], y[i, m + j] = np.sin(a[j]), np.cos(a[j])


@jit
def sinusoids_grad_rows(first, last, g, x, frequencies, dx):
    """dx of rows first..last; da is the gradient of the angles."""
    m = frequencies.shape[1]
    a, da = np.empty(m), np.empty(m)
    for i in range(first, last):
        if angles(x[i], frequencies, a):
            for j in range(m):
                sine, cosine = sin_cos(a[j], x.dtype)
                da[j] = g[i, j] * cosine - g[i, m + j] * sine
        else:
            for j in range(m):
                da[j] = g[i, j] * np.cos(a[j]) - g[i, m + j] * np.sin(a[j])
        for d in range(x.shape[1]):
            total = 0.0
            for j in range(m):
                total += da[j] * frequencies[d, j]
            dx[i, d] = total


# ---------------------------------------------------------------- CUDA: one thread an angle, or backward a number of x


def sinusoids_cuda(x, frequencies):
    """One version: a thread an angle."""
    x, frequencies = coordinates("sinusoids", x, frequencies)
    (n, d), m = x.shape, frequencies.shape[1]
    y = empty((n, 2 * m), x)
    run("sinusoids_v1", (x, frequencies, y, i32(d), i32(m)), n * m, x)
    return y


def sinusoids_grad_cuda(g, x, frequencies):
    """One version: a thread a number of x."""
    x, frequencies = coordinates("sinusoids_grad", x, frequencies)
    dx = empty(x.shape, x)
    x, g = floats("sinusoids_grad", x=x, g=g)
    check_shapes("sinusoids_grad", (len(x), 2 * frequencies.shape[1]), g=g)
    args = g, x, frequencies, dx, i32(x.shape[1]), i32(frequencies.shape[1])
    run("sinusoids_grad_v1", args, x.size, x)
    return dx


def run(kernel, args, threads, x):
    """Launch so many threads, if there is anything to do."""
    if threads:
        launch(__file__, kernel, blocks(threads, THREADS), THREADS, (*args, i32(threads)), REAL=C_NAMES[x.dtype.name])


def coordinates(kernel, x, frequencies):
    """Both in C order. Raises TypeError for other dtypes, ValueError for other shapes."""
    (x,) = floats(kernel, x=x)
    if frequencies.dtype != np.float64:
        raise TypeError(f"{kernel}: frequencies must be float64, got {frequencies.dtype}")
    if x.ndim != 2 or frequencies.ndim != 2 or x.shape[1] != frequencies.shape[0]:
        raise ValueError(f"{kernel}: x must be (N, D), frequencies (D, M), got {x.shape} and {frequencies.shape}")
    return x, contiguous(frequencies)
