"""A 3x3 convolution of an image doubled by repeating its pixels, in 25 of Winograd's 36 products: the others vanish.

    y = C(D x, w) + b          D x: every pixel of x as a block of 2x2          C: 3x3, stride 1, padding 1

A tile of Winograd's transform (winograd.py) reads six pixels of a line, and of a doubled line these are p q q r r s.
To the point -1 belongs row 2 of B^T, (0, 4, -4, -1, 1, 0):

    0 p + 4 q - 4 q - r + r + 0 s = 0          whatever the image is

So the six planes of that row and the five others of that column vanish, and their products with them. The input
gradient D^T sums blocks of 2x2: what it needs of a tile are rows 0 + 1 and 2 + 3 of A^T, (1, 2, 0, 3, -1, 0) and
(0, 2, 0, 12, -4, 1), and in both the point -1 again has weight 0.

Shapes   x, dx (N, H, W, C)   w, dw (3, 3, C, K)   bias (K,) or None, db (K,)   y, dy (N, 2H, 2W, K)
Source   Lavin and Gray, CVPR 2016, section 4.3; Odena et al., Distill 2016 (resize, then convolve)
"""

from .conv import (
    conv2d_cuda,
    conv2d_input_grad_cuda,
    conv2d_input_grad_numba,
    conv2d_input_grad_numpy,
    conv2d_numba,
    conv2d_numpy,
    conv2d_weight_bias_grad_cuda,
    conv2d_weight_bias_grad_numba,
    conv2d_weight_bias_grad_numpy,
)
from .resize import (
    resize_cuda,
    resize_grad_cuda,
    resize_grad_numba,
    resize_grad_numpy,
    resize_numba,
    resize_numpy,
)
from .winograd import OF_DOUBLED, fits, winograd_input_grad_numba, winograd_numba, winograd_weight_grad_numba

GEOMETRY = (1, 1), (1, 1), (1, 1), 1  # stride, padding, dilation, groups


def doubled(x):
    """The size (2H, 2W) of D x."""
    return 2 * x.shape[1], 2 * x.shape[2]


def halved(dy):
    """The size (H, W) that was doubled."""
    return dy.shape[1] // 2, dy.shape[2] // 2


# ---------------------------------------------------------------- NumPy: the definition


def upsample_conv2d_numpy(x, w, bias):
    """y: first D, then C."""
    return conv2d_numpy(resize_numpy(x, doubled(x), "nearest"), w, bias, *GEOMETRY)


def upsample_conv2d_input_grad_numpy(dy, w):
    """dx: first C^T, then D^T."""
    dx = conv2d_input_grad_numpy(dy, w, dy.shape[1:3], *GEOMETRY)
    return resize_grad_numpy(dx, halved(dy), "nearest")


def upsample_conv2d_weight_bias_grad_numpy(x, dy):
    """dw and db of C, which saw D x."""
    dw, db = conv2d_weight_bias_grad_numpy(resize_numpy(x, doubled(x), "nearest"), dy, (3, 3), *GEOMETRY)
    return dw, db.sum(axis=0)


# ---------------------------------------------------------------- CPU: Winograd on the planes that are left


def upsample_conv2d_numba(x, w, bias):
    """y, with Winograd's 25 products where that route fits, which doubles a few lines at a time."""
    if fits(x.dtype, w.shape, doubled(x), *GEOMETRY):
        return winograd_numba(x, w, bias, (1, 1), repeats=2)
    return conv2d_numba(resize_numba(x, doubled(x), "nearest"), w, bias, *GEOMETRY)


def upsample_conv2d_input_grad_numba(dy, w):
    """dx, likewise."""
    if fits(dy.dtype, w.shape, dy.shape[1:3], *GEOMETRY):
        dx = winograd_input_grad_numba(dy, w, (1, 1), OF_DOUBLED)  # its pixels are wrong, the sums of blocks right
    else:
        dx = conv2d_input_grad_numba(dy, w, dy.shape[1:3], *GEOMETRY)
    return resize_grad_numba(dx, halved(dy), "nearest")


def upsample_conv2d_weight_bias_grad_numba(x, dy):
    """dw, likewise, and db."""
    if fits(x.dtype, (3, 3, x.shape[3], dy.shape[3]), dy.shape[1:3], *GEOMETRY):
        dw, db = winograd_weight_grad_numba(x, dy, (1, 1), repeats=2)
    else:
        dw, db = conv2d_weight_bias_grad_numba(resize_numba(x, doubled(x), "nearest"), dy, (3, 3), *GEOMETRY)
    return dw, db.sum(axis=0)


# ---------------------------------------------------------------- CUDA: the two kernels it is made of


def upsample_conv2d_cuda(x, w, bias):
    return conv2d_cuda(resize_cuda(x, doubled(x), "nearest"), w, bias, *GEOMETRY)


def upsample_conv2d_input_grad_cuda(dy, w):
    return resize_grad_cuda(conv2d_input_grad_cuda(dy, w, dy.shape[1:3], *GEOMETRY), halved(dy), "nearest")


def upsample_conv2d_weight_bias_grad_cuda(x, dy):
    dw, db = conv2d_weight_bias_grad_cuda(resize_cuda(x, doubled(x), "nearest"), dy, (3, 3), *GEOMETRY)
    return dw, db.sum(axis=0)
