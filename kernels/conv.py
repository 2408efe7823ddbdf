"""Convolution in two dimensions and its two gradients: three products that are one another's transposes.

    forward       y[n,p,q,k]  = r[n,p,q,k] + b[n,k] + sum_{i,j,c} x[n, p s + i d - pad, q s + j d - pad, c] w[i,j,c,k]
    input grad    dx          = the transpose of x -> y: every dy[n,p,q] is spread over the window it came from
    weight grad   dw[i,j,c,k] = sum_{n,p,q} x[n, p s + i d - pad, q s + j d - pad, c] dy[n,p,q,k]
    bias grad     db[n,k]     = sum_{p,q} dy[n,p,q,k], which Winograd's weight gradient finds on its way

with stride s, dilation d, zeros outside x, and sums over the channels c of k's own group. The bias may be one for all
samples or one for each: a network that tells its layers the noise level adds it there. The residual r, where there is
one, is what the block that ends with this convolution adds its result to.

For one window position (i, j) this is a matrix product of pixels with w[i,j]: the NumPy definition is
a loop over window positions. There are five fast routes, in files of their own, and conv_method.py picks one.

Shapes   x (N, H, W, C)   w (KH, KW, C / groups, K)   b (K,) or (N, K)   y, r (N, P, Q, K)
         P = (H + 2 pad - d (KH - 1) - 1) // s + 1, Q likewise
         stride, padding, dilation: (vertical, horizontal)
Source   Dumoulin and Visin, A guide to convolution arithmetic, 2016;
         deck 000, "Deep Convolutional (DC) GAN"
"""

import numpy as np

from . import conv_cuda
from ._versions import check_shapes
from .arithmetic import add_numba, sum_positions_numba
from .conv_method import choose
from .im2col import im2col_input_grad_numba, im2col_numba, im2col_weight_grad_numba
from .indirect import indirect_input_grad_numba, indirect_numba, indirect_weight_grad_numba
from .lines import lines_input_grad_numba, lines_numba, lines_weight_grad_numba
from .polyphase import polyphase_input_grad_numba, polyphase_numba, polyphase_weight_grad_numba
from .winograd import winograd_input_grad_numba, winograd_numba, winograd_weight_grad_numba

# ---------------------------------------- NumPy: a loop over window positions


def conv2d_numpy(x, w, bias, stride, padding, dilation, groups, residual=None):
    """y: pixels @ w[i, j], added up over the window positions."""
    y = np.zeros((x.shape[0], *output_size(x.shape, w.shape, stride, padding, dilation), w.shape[3]), x.dtype)
    padded = _pad(x, padding)
    for i, j, xg, wg, yg in _positions_and_groups(padded, w, y, stride, dilation, groups):
        yg += xg @ wg[i, j]
    y = y if bias is None else y + bias.reshape(-1, 1, 1, w.shape[3])
    return y if residual is None else y + residual


def conv2d_input_grad_numpy(dy, w, size, stride, padding, dilation, groups):
    """dx (N, *size, C): dy @ w[i, j]^T goes back to the pixels that were seen, and the padding is cut off."""
    padded = np.zeros((dy.shape[0], size[0] + 2 * padding[0], size[1] + 2 * padding[1], w.shape[2] * groups), dy.dtype)
    for i, j, dxg, wg, dyg in _positions_and_groups(padded, w, dy, stride, dilation, groups):
        dxg += dyg @ wg[i, j].T
    return np.ascontiguousarray(padded[:, padding[0] : padding[0] + size[0], padding[1] : padding[1] + size[1]])


def conv2d_weight_grad_numpy(x, dy, window, stride, padding, dilation, groups):
    """dw (*window, C / groups, K): pixels^T @ dy for each window position."""
    dw = np.zeros((*window, x.shape[3] // groups, dy.shape[3]), x.dtype)
    padded = _pad(x, padding)
    for i, j, xg, dwg, dyg in _positions_and_groups(padded, dw, dy, stride, dilation, groups):
        dwg[i, j] += np.tensordot(xg, dyg, axes=([0, 1, 2], [0, 1, 2]))
    return dw


def conv2d_weight_bias_grad_numpy(x, dy, *geometry):
    """dw, and db for every sample."""
    return conv2d_weight_grad_numpy(x, dy, *geometry), dy.sum(axis=(1, 2))


def _positions_and_groups(padded, w, y, stride, dilation, groups):
    """(i, j, what x shows at that window position, w, y) for every window position and every group, as views."""
    (sh, sw), (p, q) = stride, y.shape[1:3]
    c, k = padded.shape[3] // groups, y.shape[3] // groups
    for i, j in np.ndindex(w.shape[:2]):
        top, left = i * dilation[0], j * dilation[1]
        seen = padded[:, top : top + sh * (p - 1) + 1 : sh, left : left + sw * (q - 1) + 1 : sw]
        for g in range(groups):
            out = slice(g * k, (g + 1) * k)
            yield i, j, seen[..., g * c : (g + 1) * c], w[..., out], y[..., out]


def _pad(x, padding):
    return np.pad(x, ((0, 0), (padding[0],) * 2, (padding[1],) * 2, (0, 0)))


def output_size(x_shape, w_shape, stride, padding, dilation):
    """(P, Q) for an input (N, H, W, C) and weights (KH, KW, ...)."""
    return tuple(
        (x_shape[a + 1] + 2 * padding[a] - dilation[a] * (w_shape[a] - 1) - 1) // stride[a] + 1 for a in (0, 1)
    )


# ---------------------------------------- CPU: by the method that conv_method.py picks


def conv2d_numba(x, w, bias, stride, padding, dilation, groups, residual=None):
    """y. Winograd adds the residual as it writes a result; the others leave it to a sweep of its own."""
    size = output_size(x.shape, w.shape, stride, padding, dilation)
    method = choose("forward", x.dtype, len(x), w.shape, size, stride, padding, dilation) if groups == 1 else "groups"
    if method == "winograd":
        return winograd_numba(x, w, bias, padding, residual)
    if residual is not None:
        return add_numba(conv2d_numba(x, w, bias, stride, padding, dilation, groups), residual)
    if method == "groups":
        parts = zip(split(x, groups), split(w, groups), split(bias, groups))
        return np.concatenate([conv2d_numba(*part, stride, padding, dilation, 1) for part in parts], axis=3)
    if method == "polyphase":
        return polyphase_numba(x, w, bias, size)
    if method == "indirect":
        return indirect_numba(x, w, bias, size, stride, padding, dilation)
    if method == "lines":
        return lines_numba(x, w, bias, size, stride, padding)
    return im2col_numba(x, w, bias, size, stride, padding, dilation)


def conv2d_input_grad_numba(dy, w, size, stride, padding, dilation, groups):
    """dx. Groups are convolutions of their own."""
    if groups > 1:
        parts = zip(split(dy, groups), split(w, groups))
        return np.concatenate(
            [conv2d_input_grad_numba(*part, size, stride, padding, dilation, 1) for part in parts], axis=3
        )
    method = choose("input grad", dy.dtype, len(dy), w.shape, dy.shape[1:3], stride, padding, dilation)
    if method == "winograd":
        return winograd_input_grad_numba(dy, w, padding)
    if method == "polyphase":
        return polyphase_input_grad_numba(dy, w, size)
    if method == "indirect":
        return indirect_input_grad_numba(dy, w, size, stride, padding, dilation)
    if method == "lines":
        return lines_input_grad_numba(dy, w, size, stride, padding)
    return im2col_input_grad_numba(dy, w, size, stride, padding, dilation)


def conv2d_weight_grad_numba(x, dy, window, stride, padding, dilation, groups):
    """dw. Groups are convolutions of their own."""
    if groups > 1:
        parts = zip(split(x, groups), split(dy, groups))
        return np.concatenate(
            [conv2d_weight_grad_numba(*part, window, stride, padding, dilation, 1) for part in parts], axis=3
        )
    method = weight_grad_method(x, dy, window, stride, padding, dilation)
    if method == "winograd":
        return winograd_weight_grad_numba(x, dy, padding)[0]
    if method == "polyphase":
        return polyphase_weight_grad_numba(x, dy)
    if method == "indirect":
        return indirect_weight_grad_numba(x, dy, window, stride, padding, dilation)
    if method == "lines":
        return lines_weight_grad_numba(x, dy, window, stride, padding)
    return im2col_weight_grad_numba(x, dy, window, stride, padding, dilation)


def conv2d_weight_bias_grad_numba(x, dy, window, stride, padding, dilation, groups):
    """dw and db, in one pass over dy where Winograd is chosen."""
    if groups == 1 and weight_grad_method(x, dy, window, stride, padding, dilation) == "winograd":
        return winograd_weight_grad_numba(x, dy, padding)
    n, p, q, k = dy.shape
    db = sum_positions_numba(dy.reshape(n, p * q, k))
    return conv2d_weight_grad_numba(x, dy, window, stride, padding, dilation, groups), db


def weight_grad_method(x, dy, window, stride, padding, dilation):
    shape = (*window, x.shape[3], dy.shape[3])
    return choose("weight grad", x.dtype, len(x), shape, dy.shape[1:3], stride, padding, dilation)


def split(a, groups):
    """The channels of each group as arrays of their own; None for every group where there is no bias."""
    return [None] * groups if a is None else [np.ascontiguousarray(part) for part in np.split(a, groups, axis=-1)]


# ---------------------------------------- CUDA: direct, implicit GEMM or Winograd; launchers in conv_cuda.py


def conv2d_cuda(x, w, bias, stride, padding, dilation, groups, residual=None, version=None):
    """y. version: see conv_cuda.py."""
    size = output_size(x.shape, w.shape, stride, padding, dilation)
    y = conv_cuda.conv2d(x, w, bias, size, stride, padding, dilation, groups, version)
    return y if residual is None else y + residual


def conv2d_input_grad_cuda(dy, w, size, stride, padding, dilation, groups, version=None):
    """dx. Raises ValueError where dy is not of the shape that a convolution of `size` results in."""
    seen = output_size((len(dy), *size), w.shape, stride, padding, dilation)
    check_shapes("conv2d_input_grad", (len(dy), *seen, w.shape[3]), dy=dy)
    return conv_cuda.conv2d_input_grad(dy, w, size, stride, padding, dilation, groups, version)


def conv2d_weight_grad_cuda(x, dy, window, stride, padding, dilation, groups, version=None):
    """dw. Raises ValueError where dy is not of the shape that x and window result in."""
    seen = output_size(x.shape, window, stride, padding, dilation)
    check_shapes("conv2d_weight_grad", (len(x), *seen, dy.shape[3]), dy=dy)
    return conv_cuda.conv2d_weight_grad(x, dy, window, stride, padding, dilation, groups, version)


def conv2d_weight_bias_grad_cuda(x, dy, *geometry):
    return conv2d_weight_grad_cuda(x, dy, *geometry), dy.sum(axis=(1, 2))
