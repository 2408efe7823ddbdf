"""Convolution's own checks: what does not fit is refused, and the message names the argument and what came."""

import weakref

import numpy as np
import pytest

from minigen import Tensor, ops

X, W = np.zeros((2, 5, 6, 4), np.float32), np.zeros((3, 3, 4, 8), np.float32)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stride": 0}, "stride must be an integer of at least 1, or two of them, got 0"),
        ({"padding": -1}, "padding must be an integer of at least 0"),
        ({"dilation": (1, 2, 3)}, r"dilation must .* got \(1, 2, 3\)"),
        ({"groups": 2}, "x has 4 channels where weight .* with groups=2 expects 8"),
        ({"dilation": 3}, "the window spans 7 pixels of H, more than the padded image has"),
        ({"bias": np.zeros(7, np.float32)}, r"bias must have shape \(8,\) or \(2, 8\), got \(7,\)"),
        (
            {"padding": 1, "residual": np.zeros((2, 3, 4, 8), np.float32)},
            r"residual must have the shape of the result, \(2, 5, 6, 8\), got \(2, 3, 4, 8\)",
        ),
    ],
)
def test_a_convolution_that_cannot_be_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ops.conv2d(Tensor(X), Tensor(W), **settings)


def test_axes_that_are_missing_are_named():
    with pytest.raises(ValueError, match=r"x must be \(N, H, W, C\) and weight have four axes"):
        ops.conv2d(Tensor(X[0]), Tensor(W))


def test_the_tape_does_not_keep_a_residual():
    """Backward adds nothing to its gradient and does not read it."""
    x, w, r = (Tensor(np.ones(s, np.float32), requires_grad=True) for s in ((1, 4, 4, 2), (3, 3, 2, 2), (1, 4, 4, 2)))
    added = 2 * r
    array = weakref.ref(added.data)
    y = ops.conv2d(x, w, padding=1, residual=added)
    del added
    assert array() is None
    y.sum().backward()
    assert (r.grad.data == 2).all()
