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

from ._numba import jit
from ._threads import parallel
from .group_norm import deviation_sums, normalise, product_sums, project_out, repeated

# ---------------------------------------------------------------- NumPy: the definition


def batch_norm_numpy(x, gamma, beta, eps):
    mu, var = x.mean(axis=0, dtype=np.float64), x.var(axis=0, dtype=np.float64)
    rstd = (1 / np.sqrt(var + eps)).astype(x.dtype)
    mu = mu.astype(x.dtype)
    return (x - mu) * rstd * gamma + beta, mu, var.astype(x.dtype)


def batch_norm_grad_numpy(dy, x, gamma, mu, rstd):
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
    p, c = x.shape
    guess = x[::SPARSE].mean(axis=0)
    total, square = over_blocks(deviation_blocks, x, repeated(guess))
    offset = total / p
    var = np.maximum(square / p - offset**2, 0)
    mu, scale = (guess + offset).astype(x.dtype), (gamma / np.sqrt(var + eps)).astype(x.dtype)
    y = np.empty((p, c), x.dtype)
    parallel(blocks(x), normalise_blocks, *map(np.ravel, (x, y)), c, *map(repeated, (mu, scale, beta)))
    return y, mu, var.astype(x.dtype)


def batch_norm_grad_numba(dy, x, gamma, mu, rstd):
    p, c = x.shape
    dbeta, product = over_blocks(product_blocks, dy, x, repeated(mu))
    dgamma, scale = product * rstd, gamma * rstd
    a, b = (scale * dbeta / p).astype(x.dtype), (scale * rstd * dgamma / p).astype(x.dtype)
    dx = np.empty((p, c), x.dtype)
    parallel(blocks(x), project_blocks, *map(np.ravel, (dy, x, dx)), c, *map(repeated, (mu, scale, a, b)))
    return dx, dgamma.astype(x.dtype), dbeta.astype(x.dtype)


def blocks(x):
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


# ---------------------------------------------------------------- CUDA: batch_norm.cu is to come; one block a channel
