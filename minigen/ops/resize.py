"""Changing the size of images: nearest and bilinear resizing (kernels/resize.py has the formulas), pixel shuffle.

Resizing is linear in x, so it is a closed pair: the backward of each of the two operations is the other, to any order.
"""

from ..autograd import Fused, Operation
from ..dispatch import dispatch
from .conv import check_bias, check_channels, conv2d, pair
from .pool import check_images


class Resize(Operation):
    """y = R x, with the interpolation matrix R of a mode ("nearest" or "bilinear")     dx = R^T g"""

    keeps_inputs = False

    def __init__(self, size, mode):
        self.size, self.mode = size, mode

    def forward(self, x):
        return dispatch("resize", x, self.size, self.mode)

    def backward(self, g, needs):
        return ResizeGrad(self.shapes[0][1:3], self.mode)(g)


class ResizeGrad(Operation):
    """dx = R^T dy, for an x of the given size (H, W)     d(dy) = R g"""

    keeps_inputs = False

    def __init__(self, size, mode):
        self.size, self.mode = size, mode

    def forward(self, dy):
        return dispatch("resize_grad", dy, self.size, self.mode)

    def backward(self, g, needs):
        return Resize(self.shapes[0][1:3], self.mode)(g)


def resize_nearest(x, size):
    """y[n,i,j,c] = x[n, floor((i + 1/2) H / OH), floor((j + 1/2) W / OW), c]: the pixel at the same place, no blending.

    x (N, H, W, C), size OH or (OH, OW) -> y (N, OH, OW, C). Pixel centres are half-integers, as in `resize_bilinear`:
    this is torch's mode="nearest-exact", and equals its mode="nearest" where OH and OW are multiples of H and W.
    Raises ValueError for x without four axes or without pixels, or a size below 1.
    """
    check_images("resize_nearest", x)
    return Resize(pair("size", size, 1), "nearest")(x)


def resize_bilinear(x, size):
    """y = x interpolated linearly between the centres of its pixels, along rows and columns.

    x (N, H, W, C), size OH or (OH, OW) -> y (N, OH, OW, C). Pixel i of OH lies at (i + 1/2) H / OH - 1/2 of x, and is
    kept inside (half-pixel centres; torch's align_corners=False). No antialiasing: shrinking beyond 2 skips pixels.
    Raises ValueError for x without four axes or without pixels, or a size below 1.
    """
    check_images("resize_bilinear", x)
    return Resize(pair("size", size, 1), "bilinear")(x)


def upsample_nearest(x, factor):
    """Every pixel repeated factor x factor times.   x (N, H, W, C), factor f or (fh, fw) -> y (N, H fh, W fw, C)

    Raises ValueError for x without four axes or without pixels, or a factor below 1.
    """
    check_images("upsample_nearest", x)
    fh, fw = pair("factor", factor, 1)
    return Resize((x.shape[1] * fh, x.shape[2] * fw), "nearest")(x)


class UpsampleConv2d(Fused):
    """y = C(D x, w) + b: a 3x3 convolution C of the doubled image D x. Arithmetic: kernels/upsample_conv.py"""

    def forward(self, x, w, bias=None):
        return dispatch("upsample_conv2d", x, w, bias)

    def backward_fast(self, g, needs, x, w, bias=None):
        dw, db = dispatch("upsample_conv2d_weight_bias_grad", x, g) if any(needs[1:]) else (None, None)
        dx = dispatch("upsample_conv2d_input_grad", g, w) if needs[0] else None
        return (dx, dw) if bias is None else (dx, dw, db)

    def composed(self, x, w, bias=None):
        return conv2d(upsample_nearest(x, 2), w, bias, padding=1)


def upsample_conv2d(x, weight, bias=None):
    """y = conv2d(upsample_nearest(x, 2), weight, bias, padding=1), without the products that are known to be zero.

    x (N, H, W, C), weight (3, 3, C, K), bias (K,) -> y (N, 2H, 2W, K)
    Raises ValueError where shapes do not fit. Source: Odena et al., Distill 2016
    """
    check_images("upsample_conv2d", x)
    check_channels("x", x, weight, weight.shape[2], 1)
    if weight.shape[:2] != (3, 3):
        raise ValueError(f"upsample_conv2d: weight must be (3, 3, C, K), got {weight.shape}")
    check_bias(bias, weight.shape[3])
    return UpsampleConv2d()(x, weight, *([] if bias is None else [bias]))


def pixel_shuffle(x, r):
    """y[n, h r + a, w r + b, c] = x[n, h, w, (a r + b) C + c]: channels become r x r blocks of pixels.

    x (N, H, W, r r C) -> y (N, H r, W r, C). The channels are split as (r, r, C), so a block's pixels lie one after
    another, each with all its channels. (torch splits them as (C, r, r).)
    Raises ValueError for x without four axes, or where r r does not divide its channels.
    Source: Shi et al., Real-Time Single Image and Video Super-Resolution, CVPR 2016, eq. 4; deck 000, "SRGAN"
    """
    if x.ndim != 4 or r < 1 or x.shape[3] % (r * r):
        raise ValueError(f"pixel_shuffle: r * r must divide the channels of x (N, H, W, C), got r={r}, x {x.shape}")
    n, h, w, c = x.shape
    blocks = x.reshape(n, h, w, r, r, c // (r * r))
    return blocks.transpose(0, 1, 3, 2, 4, 5).reshape(n, h * r, w * r, c // (r * r))


def pixel_unshuffle(x, r):
    """y[n, h, w, (a r + b) C + c] = x[n, h r + a, w r + b, c]: r x r blocks of pixels become channels.

    x (N, H r, W r, C) -> y (N, H, W, r r C), the inverse of `pixel_shuffle`.
    Raises ValueError for x without four axes, or where r does not divide its height and width.
    """
    if x.ndim != 4 or r < 1 or x.shape[1] % r or x.shape[2] % r:
        raise ValueError(f"pixel_unshuffle: r must divide H and W of x (N, H, W, C), got r={r}, x {x.shape}")
    n, h, w, c = x.shape
    blocks = x.reshape(n, h // r, r, w // r, r, c)
    return blocks.transpose(0, 1, 3, 2, 4, 5).reshape(n, h // r, w // r, r * r * c)
