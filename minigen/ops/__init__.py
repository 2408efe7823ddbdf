"""Differentiable operations: the mathematics in the docstring, backward beside forward."""

from . import methods  # hangs operators and methods on Tensor
from .activation import gelu, leaky_relu, relu, sigmoid, silu, softplus, tanh
from .attention import attention
from .conv import conv2d, conv_transpose2d
from .elementwise import absolute, clip, cos, erf, exp, log, log_ndtr, maximum, minimum, power, sin, sqrt, where
from .embedding import embedding, fourier_features, sinusoidal_features
from .linear import linear, matmul
from .loss import bce_with_logits, cross_entropy, gaussian_nll, kl_gaussian, kl_gaussians, l1, mse
from .norm import batch_norm, group_norm, group_norm_silu, instance_norm, layer_norm
from .pool import avg_pool2d, global_avg_pool2d, max_pool2d
from .reduce import max, mean, min, std, sum, var
from .resize import (
    pixel_shuffle,
    pixel_unshuffle,
    resize_bilinear,
    resize_nearest,
    upsample_conv2d,
    upsample_nearest,
)
from .shape import broadcast_to, concatenate, index, pad, reshape, split, stack, transpose
from .softmax import log_softmax, softmax
