"""Initial weights: random, so that units differ, and scaled, so that signals neither die nor explode.

For y = x W with fan_in inputs and fan_out outputs, Var(y) = fan_in Var(W) Var(x). Keeping the variance
through the forward pass asks for Var(W) = 1 / fan_in, through the backward pass for 1 / fan_out.
fan_in and fan_out of a convolution include its window: KH * KW * channels.

Each function takes the shape and a `Generator`, and returns a float32 array.
"""

from math import prod, sqrt

import numpy as np


def zeros(shape, generator=None):
    """All 0: biases, and the last layer of a residual branch, which then begins as the identity."""
    return np.zeros(shape, np.float32)


def ones(shape, generator=None):
    """All 1: the scale of a normalisation layer."""
    return np.ones(shape, np.float32)


def normal(shape, generator, std=0.02):
    """N(0, std^2). std = 0.02 is DCGAN's (Radford et al. 2016, section 4)."""
    return generator.normal(shape) * np.float32(std)


def uniform_fan_in(shape, generator):
    """U(-1, 1) / sqrt(fan_in): variance 1 / (3 fan_in). The default of PyTorch's linear and convolution layers."""
    return _uniform(shape, generator, 1 / sqrt(_fans(shape)[0]))


def xavier_uniform(shape, generator):
    """Variance 2 / (fan_in + fan_out): forward and backward in balance. Glorot and Bengio, AISTATS 2010, eq. 16."""
    fan_in, fan_out = _fans(shape)
    return _uniform(shape, generator, sqrt(6 / (fan_in + fan_out)))


def kaiming_normal(shape, generator):
    """N(0, 2 / fan_in): ReLU halves the variance, the 2 restores it. He et al., ICCV 2015, eq. 10."""
    return generator.normal(shape) * np.float32(sqrt(2 / _fans(shape)[0]))


def _uniform(shape, generator, bound):
    return (generator.uniform(shape) * 2 - 1) * np.float32(bound)


def _fans(shape):
    """(fan_in, fan_out) of a linear (D_in, D_out) or convolution (KH, KW, C_in, C_out) weight."""
    if len(shape) < 2:
        raise ValueError(f"shape must have at least two axes to have fans, got {shape}")
    window = prod(shape[:-2])
    return window * shape[-2], window * shape[-1]
