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

from ._numba import jit, parallel

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

BLOCK = 256  # positions that share one partial sum: independent of the number of threads, and so is the result


def batch_norm_numba(x, gamma, beta, eps):
    p, c = x.shape
    blocks = -(-p // BLOCK)
    total, square = np.zeros((blocks, c)), np.zeros((blocks, c))
    parallel(blocks, deviation_sums, x, total, square)
    offset = total.sum(axis=0) / p
    var = np.maximum(square.sum(axis=0) / p - offset**2, 0)
    mu, scale = (x[0] + offset).astype(x.dtype), (gamma / np.sqrt(var + eps)).astype(x.dtype)
    y = np.empty_like(x)
    parallel(p, normalise_positions, x, mu, scale, beta, y)
    return y, mu, var.astype(x.dtype)


def batch_norm_grad_numba(dy, x, gamma, mu, rstd):
    p, c = x.shape
    blocks = -(-p // BLOCK)
    dgamma, dbeta = np.zeros((blocks, c)), np.zeros((blocks, c))
    parallel(blocks, batch_norm_grad_sums, dy, x, mu, rstd, dgamma, dbeta)
    dgamma, dbeta = dgamma.sum(axis=0).astype(x.dtype), dbeta.sum(axis=0).astype(x.dtype)
    dx = np.empty_like(x)
    mean_dy_xhat, mean_dy = (dgamma / p).astype(x.dtype), (dbeta / p).astype(x.dtype)
    parallel(p, batch_norm_grad_positions, dy, x, mu, rstd, gamma * rstd, mean_dy_xhat, mean_dy, dx)
    return dx, dgamma, dbeta


@jit
def deviation_sums(first, last, x, total, square):
    """Sums of x - x[0] and of its square: a pivot near the mean keeps E[d^2] - E[d]^2 from cancelling."""
    positions, c = x.shape
    for block in range(first, last):
        for j in range(block * BLOCK, min((block + 1) * BLOCK, positions)):
            for k in range(c):
                deviation = np.float64(x[j, k]) - x[0, k]
                total[block, k] += deviation
                square[block, k] += deviation * deviation


@jit
def normalise_positions(first, last, x, mu, scale, beta, y):
    for j in range(first, last):
        for k in range(x.shape[1]):
            y[j, k] = (x[j, k] - mu[k]) * scale[k] + beta[k]


@jit
def batch_norm_grad_sums(first, last, dy, x, mu, rstd, dgamma, dbeta):
    positions, c = x.shape
    for block in range(first, last):
        for j in range(block * BLOCK, min((block + 1) * BLOCK, positions)):
            for k in range(c):
                dbeta[block, k] += dy[j, k]
                dgamma[block, k] += dy[j, k] * ((x[j, k] - mu[k]) * rstd[k])


@jit
def batch_norm_grad_positions(first, last, dy, x, mu, rstd, scale, mean_dy_xhat, mean_dy, dx):
    for j in range(first, last):
        for k in range(x.shape[1]):
            xhat = (x[j, k] - mu[k]) * rstd[k]
            dx[j, k] = scale[k] * (dy[j, k] - mean_dy[k] - xhat * mean_dy_xhat[k])


# ---------------------------------------------------------------- CUDA: batch_norm.cu is to come; one block a channel
