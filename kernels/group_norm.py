"""Group normalisation, with or without SiLU: every group of C/G channels of one sample gets mean 0 and variance 1.

    z = gamma * xhat + beta        xhat = (x - mu) * rstd        rstd = 1 / sqrt(var + eps)
    y = z,  or with SiLU  y = z s,  s = sigmoid(z)

mu and var run over the P positions and C/G channels of a group (var with divisor P*C/G).

Backward, with dxhat = dz * gamma and <.> the mean over a group:

    dz     = dy,  or with SiLU  dy s (1 + z (1 - s))
    dx     = rstd * (dxhat - <dxhat> - xhat * <dxhat * xhat>)
    dgamma = sum over n, p of dz * xhat         dbeta = sum over n, p of dz

The two means are what is left of d(mu) and d(var): adding a constant to a group, or scaling it,
changes nothing in xhat, so the gradient has no component along 1 or along xhat.

Only mu and rstd are kept for backward; xhat and z are computed again from x, which saves two arrays of x's size.

Shapes   x, y, dy, dx (N, P, C)    gamma, beta, dgamma, dbeta (C,)    mu, rstd (N, G)
Source   Wu and He, Group Normalization, ECCV 2018, eq. 1 to 7; deck 002, "Network Architectures"
"""

import numpy as np

from ._numba import jit, parallel
from .activation import logistic, silu_grad_numpy, silu_numpy

# ---------------------------------------------------------------- NumPy: the definition


def group_norm_numpy(x, gamma, beta, groups, eps, silu):
    grouped = _grouped(x, groups)
    count = max(grouped.shape[1] * grouped.shape[3], 1)  # an empty group has mean 0
    mu = grouped.sum(axis=(1, 3), dtype=np.float64) / count
    var = ((grouped - mu[:, None, :, None]) ** 2).sum(axis=(1, 3)) / count
    mu, rstd = mu.astype(x.dtype), (1 / np.sqrt(var + eps)).astype(x.dtype)
    z = _standardise(x, mu, rstd) * gamma + beta
    return silu_numpy(z) if silu else z, mu, rstd


def group_norm_grad_numpy(dy, x, gamma, beta, mu, rstd, silu):
    xhat = _standardise(x, mu, rstd)
    dz = silu_grad_numpy(dy, xhat * gamma + beta) if silu else dy
    dgamma = (dz * xhat).sum(axis=(0, 1), dtype=np.float64)
    dbeta = dz.sum(axis=(0, 1), dtype=np.float64)

    xhat, dxhat = _grouped(xhat, mu.shape[1]), _grouped(dz * gamma, mu.shape[1])
    count = max(xhat.shape[1] * xhat.shape[3], 1)

    def group_mean(a):
        return (a.sum(axis=(1, 3), keepdims=True, dtype=np.float64) / count).astype(x.dtype)

    dx = rstd[:, None, :, None] * (dxhat - group_mean(dxhat) - xhat * group_mean(dxhat * xhat))
    return dx.reshape(x.shape), dgamma.astype(x.dtype), dbeta.astype(x.dtype)


def _grouped(x, groups):
    n, p, c = x.shape
    return x.reshape(n, p, groups, c // groups)


def _standardise(x, mu, rstd):
    return ((_grouped(x, mu.shape[1]) - mu[:, None, :, None]) * rstd[:, None, :, None]).reshape(x.shape)


# ---------------------------------------------------------------- Numba: one task a sample


def group_norm_numba(x, gamma, beta, groups, eps, silu):
    n, _, _ = x.shape
    y, mu, rstd = np.empty_like(x), np.empty((n, groups), x.dtype), np.empty((n, groups), x.dtype)
    parallel(n, group_norm_samples, x, gamma, beta, groups, eps, silu, y, mu, rstd)
    return y, mu, rstd


def group_norm_grad_numba(dy, x, gamma, beta, mu, rstd, silu):
    n, _, c = x.shape
    dx, dgamma, dbeta = np.empty_like(x), np.zeros((n, c)), np.zeros((n, c))
    parallel(n, group_norm_grad_samples, dy, x, gamma, beta, mu, rstd, silu, dx, dgamma, dbeta)
    # One sum a sample, added up in the order of the samples: the result does not depend on the threads.
    return dx, dgamma.sum(axis=0).astype(x.dtype), dbeta.sum(axis=0).astype(x.dtype)


@jit
def to_group_means(sums, groups, positions):
    """Per-channel sums over the positions become, in place, the mean over each channel's group."""
    size = len(sums) // groups
    for g in range(groups):
        total = 0.0
        for k in range(g * size, (g + 1) * size):
            total += sums[k]
        for k in range(g * size, (g + 1) * size):
            sums[k] = total / max(positions * size, 1)


@jit
def group_norm_samples(first, last, x, gamma, beta, groups, eps, silu, y, mu, rstd):
    """Three sweeps over a sample: mean, variance, result.

    Channels are contiguous, so every sweep runs over whole rows and vectorises. Sums are taken in
    float64, and the variance from deviations: E[x^2] - mu^2 would cancel where |mu| >> std.
    """
    _, p, c = x.shape
    mean, var = np.empty(c), np.empty(c)
    centre, scale = np.empty(c, x.dtype), np.empty(c, x.dtype)
    for i in range(first, last):
        for k in range(c):
            mean[k] = var[k] = 0
        for j in range(p):
            for k in range(c):
                mean[k] += x[i, j, k]
        to_group_means(mean, groups, p)
        for j in range(p):
            for k in range(c):
                deviation = x[i, j, k] - mean[k]
                var[k] += deviation * deviation
        to_group_means(var, groups, p)

        for k in range(c):
            g = k // (c // groups)
            mu[i, g], rstd[i, g] = mean[k], 1 / np.sqrt(var[k] + eps)
            centre[k], scale[k] = mean[k], gamma[k] * rstd[i, g]
        for j in range(p):
            for k in range(c):
                y[i, j, k] = (x[i, j, k] - centre[k]) * scale[k] + beta[k]
            if silu:
                for k in range(c):
                    y[i, j, k] *= logistic(y[i, j, k])


@jit
def group_norm_grad_samples(first, last, dy, x, gamma, beta, mu, rstd, silu, dx, dgamma, dbeta):
    """Two sweeps over a sample: dz and its sums, then dx. Between them dz waits in dx, so that no exp is taken twice.

    The sums for dgamma and dbeta, weighted by gamma, are also the two group means that dx needs.
    """
    _, p, c = x.shape
    groups, one = mu.shape[1], x.dtype.type(1)  # a plain 1 would lift float32 to float64
    centre, inverse = np.empty(c, x.dtype), np.empty(c, x.dtype)
    mean_dxhat, mean_dxhat_xhat = np.empty(c), np.empty(c)
    a, b = np.empty(c, x.dtype), np.empty(c, x.dtype)  # the same two in x's dtype, times rstd
    for i in range(first, last):
        for k in range(c):
            g = k // (c // groups)
            centre[k], inverse[k] = mu[i, g], rstd[i, g]

        for j in range(p):
            for k in range(c):
                dx[i, j, k] = dy[i, j, k]
            if silu:
                for k in range(c):
                    z = (x[i, j, k] - centre[k]) * inverse[k] * gamma[k] + beta[k]
                    s = logistic(z)
                    dx[i, j, k] *= s * (one + z * (one - s))
            for k in range(c):
                dbeta[i, k] += dx[i, j, k]
                dgamma[i, k] += dx[i, j, k] * ((x[i, j, k] - centre[k]) * inverse[k])

        for k in range(c):
            mean_dxhat[k], mean_dxhat_xhat[k] = dbeta[i, k] * gamma[k], dgamma[i, k] * gamma[k]
        to_group_means(mean_dxhat, groups, p)
        to_group_means(mean_dxhat_xhat, groups, p)
        for k in range(c):
            a[k], b[k] = mean_dxhat[k] * inverse[k], mean_dxhat_xhat[k] * inverse[k]
        for j in range(p):
            for k in range(c):
                xhat = (x[i, j, k] - centre[k]) * inverse[k]
                dx[i, j, k] = gamma[k] * inverse[k] * dx[i, j, k] - (a[k] + xhat * b[k])


# ---------------------------------------------------------------- CUDA: group_norm.cu is to come; one block a group
