"""Batch normalisation: every channel gets mean 0 and variance 1 over the whole batch.

    y = gamma * xhat + beta        xhat = (x - mu) * rstd        rstd = 1 / sqrt(var + eps)

mu and var run over all P positions of all samples (var with divisor P). Backward, with <.> the mean over P:

    dx     = gamma * rstd * (dy - <dy> - xhat * <dy * xhat>)
    dgamma = sum over p of dy * xhat            dbeta = sum over p of dy

Shapes   x, y, dy, dx (P, C)    gamma, beta, dgamma, dbeta, mu, var, rstd (C,)
Source   Ioffe and Szegedy, Batch Normalization, ICML 2015, algorithm 1 and the gradients below it;
         deck 004, "Tips and tricks"
"""

import numpy as np

from . import _cuda
from ._cuda import empty, i32, launch, real
from ._memory import aligned
from ._numba import jit
from ._threads import parallel
from ._versions import check_shapes, floats
from .group_norm import (
    BLOCK_SIZE,
    deviation_sums,
    normalise,
    product_sums,
    project_out,
    repeated,
    version_and_parameters,
)
from .layer_norm import ROWS_A_BLOCK, channel_sums

# ---------------------------------------------------------------- NumPy: the definition


def batch_norm_numpy(x, gamma, beta, eps):
    """y, mu and var: running averages keep the variance, and backward's rstd follows from it."""
    mu, var = x.mean(axis=0, dtype=np.float64), x.var(axis=0, dtype=np.float64)
    rstd = (1 / np.sqrt(var + eps)).astype(x.dtype)
    mu = mu.astype(x.dtype)
    return (x - mu) * rstd * gamma + beta, mu, var.astype(x.dtype)


def batch_norm_grad_numpy(dy, x, gamma, mu, rstd):
    """dx, dgamma and dbeta."""
    xhat = (x - mu) * rstd
    dgamma = (dy * xhat).sum(axis=0, dtype=np.float64).astype(x.dtype)
    dbeta = dy.sum(axis=0, dtype=np.float64).astype(x.dtype)
    return gamma * rstd * (dy - dbeta / len(x) - xhat * (dgamma / len(x))), dgamma, dbeta


# ---------------------------------------------------------------- Numba: a block of positions is a task
#
# The loops are those of group_norm.py, with a block of positions for a sample: rows hold several positions, and what
# belongs to a channel is repeated to match.

POSITIONS = 256  # a block's: independent of the number of threads, and so is the order of the sums
SPARSE = 32  # one position in so many gives a first guess of the mean; group_norm.py says why that is close enough


def batch_norm_numba(x, gamma, beta, eps):
    """Three sweeps: a guess of the mean, from few positions; deviations from it, for mean and variance; y."""
    p, c = x.shape
    guess = x[::SPARSE].mean(axis=0)
    total, square = over_blocks(deviation_blocks, x, repeated(guess))
    offset = total / p
    var = np.maximum(square / p - offset**2, 0)
    mu, scale = (guess + offset).astype(x.dtype), (gamma / np.sqrt(var + eps)).astype(x.dtype)
    y = aligned((p, c), x.dtype)
    parallel(blocks(x), normalise_blocks, *map(np.ravel, (x, y)), c, *map(repeated, (mu, scale, beta)))
    return y, mu, var.astype(x.dtype)


def batch_norm_grad_numba(dy, x, gamma, mu, rstd):
    """Two sweeps: the sums of dy and of dy (x - mu); dx = scale dy - a - b (x - mu)."""
    p, c = x.shape
    dbeta, product = over_blocks(product_blocks, dy, x, repeated(mu))
    dgamma, scale = product * rstd, gamma * rstd
    a, b = (scale * dbeta / p).astype(x.dtype), (scale * rstd * dgamma / p).astype(x.dtype)
    dx = aligned((p, c), x.dtype)
    parallel(blocks(x), project_blocks, *map(np.ravel, (dy, x, dx)), c, *map(repeated, (mu, scale, a, b)))
    return dx, dgamma.astype(x.dtype), dbeta.astype(x.dtype)


def blocks(x):
    """How many blocks cover the positions."""
    return -(-len(x) // POSITIONS)


def over_blocks(worker, *arrays):
    """The two sums a channel that worker(first, last, flat arrays ..., c, mean, sums (blocks, 2, width)) writes."""
    *arrays, mean = arrays
    c = arrays[0].shape[1]
    sums = np.empty((blocks(arrays[0]), 2, len(mean)))
    parallel(len(sums), worker, *map(np.ravel, arrays), c, mean, sums)
    return sums.sum(axis=0).reshape(2, len(mean) // max(c, 1), c).sum(axis=1)


@jit
def block_of(numbers, block, c):
    """The flat numbers of one block."""
    return numbers[block * POSITIONS * c : (block + 1) * POSITIONS * c]


@jit
def deviation_blocks(first, last, x, c, mean, sums):
    for i in range(first, last):
        deviation_sums(block_of(x, i, c), 1, mean, sums[i, 0], sums[i, 1])


@jit
def product_blocks(first, last, dy, x, c, mean, sums):
    for i in range(first, last):
        product_sums(block_of(dy, i, c), block_of(x, i, c), mean, sums[i, 0], sums[i, 1])


@jit
def normalise_blocks(first, last, x, y, c, mu, scale, beta):
    for i in range(first, last):
        normalise(block_of(x, i, c), mu, scale, beta, False, block_of(y, i, c))


@jit
def project_blocks(first, last, dy, x, dx, c, mu, scale, a, b):
    for i in range(first, last):
        project_out(block_of(dy, i, c), block_of(x, i, c), mu, scale, a, b, block_of(dx, i, c))


# ---------------------------------------------------------------- CUDA: one block a channel, or a block of rows


def batch_norm_cuda(x, gamma, beta, eps, version=None):
    """version 1: a block of threads a channel; 2: blocks of whole rows, in 16-byte loads (float32 only)."""
    x, gamma, beta = floats("batch_norm", x=x, gamma=gamma, beta=beta)
    p, c = x.shape
    check_shapes("batch_norm", (c,), gamma=gamma, beta=beta)
    y, mu, var = empty(x.shape, x), empty((c,), x), empty((c,), x)
    version, parameters = version_and_parameters("batch_norm", version, c, x, gamma, beta)
    if version == 2:
        parts = empty((_cuda.blocks(p, ROWS_A_BLOCK), 3, c), x)
        rows = i32(p), i32(ROWS_A_BLOCK), i32(c)
        launch(__file__, "batch_norm_moments_v2", len(parts), BLOCK_SIZE, (x, parts, *rows), **parameters)
        merge = parts, mu, var, i32(len(parts)), i32(c)
        launch(__file__, "batch_norm_merge_v2", c, BLOCK_SIZE, merge, **parameters)
        args = x, gamma, beta, mu, var, y, *rows, real(eps, x)
        launch(__file__, "batch_norm_apply_v2", len(parts), BLOCK_SIZE, args, **parameters)
    elif c:
        args = x, gamma, beta, y, mu, var, i32(p), i32(c), real(eps, x)
        launch(__file__, "batch_norm_v1", c, BLOCK_SIZE, args, **parameters)
    return y, mu, var


def batch_norm_grad_cuda(dy, x, gamma, mu, rstd, version=None):
    """Versions as in batch_norm_cuda."""
    arrays = floats("batch_norm_grad", dy=dy, x=x, gamma=gamma, mu=mu, rstd=rstd)
    dy, x, gamma, mu, rstd = arrays
    p, c = x.shape
    check_shapes("batch_norm_grad", x.shape, dy=dy)
    check_shapes("batch_norm_grad", (c,), gamma=gamma, mu=mu, rstd=rstd)
    dx, dgamma, dbeta = empty(x.shape, x), empty((c,), x), empty((c,), x)
    version, parameters = version_and_parameters("batch_norm_grad", version, c, *arrays)
    if version == 2:
        channel_sums(__file__, dy, x, mu, rstd, dgamma, dbeta, p, c, parameters)
        args = *arrays, dgamma, dbeta, dx, i32(p), i32(ROWS_A_BLOCK), i32(c)
        launch(__file__, "batch_norm_grad_v2", _cuda.blocks(p, ROWS_A_BLOCK), BLOCK_SIZE, args, **parameters)
    elif c:
        args = *arrays, dx, dgamma, dbeta, i32(p), i32(c)
        launch(__file__, "batch_norm_grad_v1", c, BLOCK_SIZE, args, **parameters)
    return dx, dgamma, dbeta
