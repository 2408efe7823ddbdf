"""Pooling: fused operations (kernels/pool.py has the formulas), composed twins beside them."""

from ..autograd import Fused
from ..device import device_of
from ..dispatch import dispatch
from .conv import pair
from .reduce import mean
from .shape import pad


class MaxPool2d(Fused):
    """y = the maximum of every window     dx: g goes to the cell that held it"""

    def __init__(self, size, stride, padding):
        self.geometry = size, stride, padding

    def forward(self, x):
        y, cell = dispatch("max_pool2d", x, *self.geometry)
        self.save(cell)
        return y

    def backward_fast(self, g, needs, x):
        return (dispatch("max_pool2d_grad", g, self.saved[0], x.shape[1:3]),)

    def composed(self, x):
        # Which cell wins is constant almost everywhere; what is left to differentiate is the reading of those cells.
        n, h, w, c = x.shape
        xp = device_of(x.data).xp
        return x.reshape(n, h * w, c)[xp.arange(n).reshape(-1, 1, 1, 1), self.saved[0], xp.arange(c)]


class AvgPool2d(Fused):
    """y = the sum of every window / (KH KW)     dx: g / (KH KW) goes to each of its cells"""

    def __init__(self, size, stride, padding):
        self.geometry = size, stride, padding

    def forward(self, x):
        return dispatch("avg_pool2d", x, *self.geometry)

    def backward_fast(self, g, needs, x):
        return (dispatch("avg_pool2d_grad", g, x.shape[1:3], *self.geometry),)

    def composed(self, x):
        (kh, kw), (sh, sw), (ph, pw) = self.geometry
        x = pad(x, ((0, 0), (ph, ph), (pw, pw), (0, 0)))
        last_row, last_column = x.shape[1] - kh + 1, x.shape[2] - kw + 1  # where a window may start, and one more
        total = 0.0
        for r in range(kh):
            for q in range(kw):
                total = x[:, r : r + last_row : sh, q : q + last_column : sw] + total
        return total * (1 / (kh * kw))


def max_pool2d(x, size=2, stride=None, padding=0):
    """y[n,i,j,c] = the maximum of x[n, i s - p ... i s - p + size - 1, likewise for j, c].

    x (N, H, W, C) -> y (N, OH, OW, C), OH = floor((H + 2 p - size) / s) + 1. size, stride (default: size) and padding:
    an integer or (vertical, horizontal). Padding is -infinity: it never wins. Of equal maxima the first in row order
    gets the gradient; a NaN makes its windows NaN.
    Raises ValueError for x without four axes, a window larger than the padded image, or padding above half a window.
    Source: deck 002, "U-Net"; Ronneberger et al., U-Net, 2015, figure 1
    """
    return MaxPool2d(*checked_geometry("max_pool2d", x, size, stride, padding))(x)


def avg_pool2d(x, size=2, stride=None, padding=0):
    """y[n,i,j,c] = the mean of x[n, i s - p ... i s - p + size - 1, likewise for j, c].

    x (N, H, W, C) -> y (N, OH, OW, C), OH = floor((H + 2 p - size) / s) + 1. size, stride (default: size) and padding:
    an integer or (vertical, horizontal). Padding counts as zeros: the divisor is always the whole window (torch's
    default, count_include_pad=True).
    Raises ValueError for x without four axes, a window larger than the padded image, or padding above half a window.
    """
    return AvgPool2d(*checked_geometry("avg_pool2d", x, size, stride, padding))(x)


def global_avg_pool2d(x):
    """y[n,c] = the mean of channel c over the image.   x (N, H, W, C) -> y (N, C)

    Raises ValueError for x without four axes or without pixels.
    Source: Lin et al., Network in Network, 2014, section 3.2
    """
    check_images("global_avg_pool2d", x)
    return mean(x, (1, 2))


def check_images(name, x):
    """x must be (N, H, W, C), float32 or float64, with at least one pixel."""
    if x.dtype.kind != "f":
        raise TypeError(f"{name}: x must be float32 or float64, got {x.dtype}")
    if x.ndim != 4 or 0 in x.shape[1:3]:
        raise ValueError(f"{name}: x must be (N, H, W, C) with at least one pixel, got shape {x.shape}")


def checked_geometry(name, x, size, stride, padding):
    check_images(name, x)
    size = pair("size", size, 1)
    stride, padding = pair("stride", size if stride is None else stride, 1), pair("padding", padding, 0)
    if any(2 * p > k for p, k in zip(padding, size)):
        raise ValueError(f"{name}: padding must be at most half the window, got padding={padding}, size={size}")
    if any(n + 2 * p < k for n, p, k in zip(x.shape[1:3], padding, size)):
        raise ValueError(f"{name}: size must fit into the padded x, got size={size}, padding={padding}, x {x.shape}")
    return size, stride, padding
