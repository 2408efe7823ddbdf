"""Pooling and resizing: window by window against Python loops, closed forms, conventions (with torch), bad input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import pool_geometries

from minigen import Tensor, grad
from minigen.dispatch import use_kernels
from minigen.ops import (
    avg_pool2d,
    global_avg_pool2d,
    max_pool2d,
    pixel_shuffle,
    pixel_unshuffle,
    resize_bilinear,
    resize_nearest,
    upsample_nearest,
)

DIALECTS = ["numpy", "numba"]


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def input_grad(fn, x, g):
    x = Tensor(x, requires_grad=True)
    return grad(fn(x), x, Tensor(g))[0].data


def windows(image, size, stride, padding):
    """For every result (i, j): the real cells (r, q) of its window, in row order."""
    lengths = [(n + 2 * p - k) // s + 1 for n, k, s, p in zip(image, size, stride, padding)]
    for i, j in np.ndindex(*lengths):
        top, left = i * stride[0] - padding[0], j * stride[1] - padding[1]
        cells = [(r, q) for r in range(top, top + size[0]) for q in range(left, left + size[1])]
        yield (i, j), [(r, q) for r, q in cells if 0 <= r < image[0] and 0 <= q < image[1]]


@pytest.mark.parametrize("dialect", DIALECTS)
@given(geometry=pool_geometries(), seed=st.integers(0, 99))
def test_max_pool_takes_the_first_largest_cell_of_every_window_and_sends_the_gradient_there(dialect, geometry, seed):
    image, settings = geometry[0], geometry[1:]
    x = np.random.default_rng(seed).integers(-3, 0, (2, *image, 3)).astype(float)  # many ties; below the padding's rank
    with use_kernels(dialect):
        y = max_pool2d(Tensor(x), *settings).data
        g = normal(*y.shape)
        dx = input_grad(lambda t: max_pool2d(t, *settings), x, g)
    expected = np.zeros_like(x)
    for (i, j), cells in windows(*geometry):
        for n, c in np.ndindex(2, 3):
            r, q = max(cells, key=lambda cell: x[n, cell[0], cell[1], c])  # of equals, max() returns the first
            assert y[n, i, j, c] == x[n, r, q, c]
            expected[n, r, q, c] += g[n, i, j, c]
    np.testing.assert_allclose(dx, expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("dialect", DIALECTS)
@given(geometry=pool_geometries())
def test_avg_pool_divides_every_window_by_its_full_size(dialect, geometry):
    image, (size, stride, padding) = geometry[0], geometry[1:]
    x, area = normal(2, *image, 3), size[0] * size[1]
    with use_kernels(dialect):
        y = avg_pool2d(Tensor(x), size, stride, padding).data
        g = normal(*y.shape)
        dx = input_grad(lambda t: avg_pool2d(t, size, stride, padding), x, g)
    expected = np.zeros_like(x)
    for (i, j), cells in windows(*geometry):
        total = sum((x[:, r, q] for r, q in cells), np.zeros((2, 3)))
        np.testing.assert_allclose(y[:, i, j], total / area, rtol=1e-13, atol=1e-14)
        for r, q in cells:
            expected[:, r, q] += g[:, i, j] / area
    np.testing.assert_allclose(dx, expected, rtol=1e-13, atol=1e-14)


@given(geometry=pool_geometries())
def test_pooling_equals_torch(torch, geometry):
    (h, w), settings = geometry[0], geometry[1:]
    x = normal(2, h, w, 3)
    theirs = torch.tensor(x).permute(0, 3, 1, 2)
    for ours, function in ((max_pool2d, torch.nn.functional.max_pool2d), (avg_pool2d, torch.nn.functional.avg_pool2d)):
        expected = function(theirs, *settings).permute(0, 2, 3, 1).numpy()
        np.testing.assert_allclose(ours(Tensor(x), *settings).data, expected, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_max_pool_shows_a_nan_in_every_window_that_holds_it_and_in_no_other(dialect):
    x = normal(1, 6, 6, 2)
    x[0, 2, 3, 1] = np.nan
    with use_kernels(dialect):
        y = max_pool2d(Tensor(x), 3, 1, 1).data
        dx = input_grad(lambda t: max_pool2d(t, 3, 1, 1), x, np.ones_like(y))
    expected = np.zeros((6, 6), bool)
    expected[1:4, 2:5] = True
    np.testing.assert_array_equal(np.isnan(y[0, :, :, 1]), expected)
    assert not np.isnan(y[..., 0]).any()
    assert dx[0, 2, 3, 1] == 9


@pytest.mark.parametrize("dialect", DIALECTS)
def test_max_pool_of_minus_infinity_stays_inside_the_image(dialect):
    x = np.full((1, 3, 3, 1), -np.inf)
    with use_kernels(dialect):
        y = max_pool2d(Tensor(x), 2, 1, 1).data
        dx = input_grad(lambda t: max_pool2d(t, 2, 1, 1), x, np.ones_like(y))
    assert (y == -np.inf).all()
    # every window's first real cell
    np.testing.assert_array_equal(dx[0, :, :, 0], [[4, 2, 2], [2, 1, 1], [2, 1, 1]])


def test_padding_counts_as_zeros_in_the_average():
    y = avg_pool2d(Tensor(np.ones((1, 3, 3, 1))), 3, 1, 1).data[0, :, :, 0]
    np.testing.assert_allclose(y * 9, [[4, 6, 4], [6, 9, 6], [4, 6, 4]])


def test_the_default_stride_is_the_window():
    assert max_pool2d(Tensor(normal(1, 7, 7, 1))).shape == (1, 3, 3, 1)
    assert avg_pool2d(Tensor(normal(1, 7, 7, 1)), (2, 3)).shape == (1, 3, 2, 1)


def test_global_average():
    x = normal(2, 3, 5, 4)
    y = global_avg_pool2d(Tensor(x)).data
    np.testing.assert_allclose(y, x.mean((1, 2)), rtol=1e-13)
    np.testing.assert_allclose(y, avg_pool2d(Tensor(x), (3, 5)).data[:, 0, 0], rtol=1e-13)


# ---------------------------------------------------------------- resizing

RESIZES = {"nearest": resize_nearest, "bilinear": resize_bilinear}
LENGTHS = st.integers(1, 17)


@pytest.mark.parametrize("dialect", DIALECTS)
@given(h=st.integers(1, 5), w=st.integers(1, 5), fh=st.integers(1, 4), fw=st.integers(1, 4))
def test_upsampling_by_an_integer_repeats_pixels_and_its_gradient_sums_blocks(dialect, h, w, fh, fw):
    x, g = normal(2, h, w, 3), normal(2, h * fh, w * fw, 3)
    with use_kernels(dialect):
        y = upsample_nearest(Tensor(x), (fh, fw)).data
        dx = input_grad(lambda t: resize_nearest(t, (h * fh, w * fw)), x, g)
    np.testing.assert_array_equal(y, x.repeat(fh, axis=1).repeat(fw, axis=2))
    np.testing.assert_allclose(dx, g.reshape(2, h, fh, w, fw, 3).sum((2, 4)), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_nearest_takes_the_pixel_under_the_centre(dialect):
    x = np.arange(6.0).reshape(1, 1, 6, 1)
    with use_kernels(dialect):
        for length, expected in ((1, [3]), (2, [1, 4]), (3, [1, 3, 5]), (4, [0, 2, 3, 5])):
            np.testing.assert_array_equal(resize_nearest(Tensor(x), (1, length)).data.ravel(), expected)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_bilinear_by_two_has_quarters(dialect):
    x = np.array([0.0, 1.0, 3.0]).reshape(1, 3, 1, 1)
    with use_kernels(dialect):
        y = resize_bilinear(Tensor(x), (6, 1)).data.ravel()
    np.testing.assert_allclose(y, [0, 0.25, 0.75, 1.5, 2.5, 3])


@pytest.mark.parametrize("dialect", DIALECTS)
@given(h=LENGTHS, w=LENGTHS, oh=LENGTHS, ow=LENGTHS)
def test_bilinear_reproduces_a_bilinear_function_between_the_outer_centres(dialect, h, w, oh, ow):
    """f(r, q) = 1 + 2 r - 3 q + r q, at the centres of the pixels of an H x W image whose side is 1."""

    def f(height, width):
        r, q = (np.arange(height) + 0.5)[:, None] / height, (np.arange(width) + 0.5) / width
        inside = (abs(r - 0.5) <= 0.5 - 0.5 / h) & (abs(q - 0.5) <= 0.5 - 0.5 / w)
        return 1 + 2 * r - 3 * q + r * q, inside

    with use_kernels(dialect):
        y = resize_bilinear(Tensor(f(h, w)[0][None, :, :, None]), (oh, ow)).data[0, :, :, 0]
    expected, inside = f(oh, ow)
    np.testing.assert_allclose(y[inside], expected[inside], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("mode", RESIZES)
@pytest.mark.parametrize("dialect", DIALECTS)
@given(h=LENGTHS, w=LENGTHS, oh=LENGTHS, ow=LENGTHS)
def test_the_gradient_is_the_transpose_and_its_gradient_the_resize(dialect, mode, h, w, oh, ow):
    x, g = normal(2, h, w, 3), normal(2, oh, ow, 3, seed=1)
    with use_kernels(dialect):
        tx, tg = Tensor(x, requires_grad=True), Tensor(g, requires_grad=True)
        y = RESIZES[mode](tx, (oh, ow))
        (dx,) = grad(y, tx, tg, create_graph=True)
        (again,) = grad(dx, tg, Tensor(x))
    np.testing.assert_allclose((y.data * g).sum(), (x * dx.data).sum(), rtol=1e-11, atol=1e-11)
    np.testing.assert_array_equal(again.data, y.data)


@pytest.mark.parametrize("mode", RESIZES)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_same_size_changes_nothing_and_a_constant_stays_constant(dialect, mode):
    x = normal(1, 5, 4, 2)
    with use_kernels(dialect):
        np.testing.assert_array_equal(RESIZES[mode](Tensor(x), (5, 4)).data, x)
        np.testing.assert_allclose(RESIZES[mode](Tensor(np.full((1, 5, 4, 2), 0.7)), (13, 3)).data, 0.7, rtol=1e-15)


@given(h=LENGTHS, w=LENGTHS, oh=LENGTHS, ow=LENGTHS)
def test_resizing_equals_torch(torch, h, w, oh, ow):
    x = normal(2, h, w, 3)
    for ours, theirs in ((resize_nearest, {"mode": "nearest-exact"}), (resize_bilinear, {"mode": "bilinear"})):
        expected = torch.nn.functional.interpolate(torch.tensor(x).permute(0, 3, 1, 2), (oh, ow), **theirs)
        y = ours(Tensor(x), (oh, ow)).data
        np.testing.assert_allclose(y, expected.permute(0, 2, 3, 1).numpy(), rtol=1e-12, atol=1e-13)


# ---------------------------------------------------------------- pixel shuffle


@given(n=st.integers(0, 2), h=st.integers(0, 3), w=st.integers(1, 3), c=st.integers(1, 3), r=st.integers(1, 3))
def test_pixel_shuffle_splits_channels_as_r_r_c_and_unshuffle_inverts_it(n, h, w, c, r):
    x = normal(n, h, w, r * r * c)
    y = pixel_shuffle(Tensor(x), r)
    assert y.shape == (n, h * r, w * r, c)
    for a, b, k in np.ndindex(r, r, c):
        np.testing.assert_array_equal(y.data[:, a::r, b::r, k], x[..., (a * r + b) * c + k])
    np.testing.assert_array_equal(pixel_unshuffle(y, r).data, x)


def test_pixel_shuffle_equals_torch_after_reordering_the_channels(torch):
    x = normal(2, 3, 4, 3, 2, 2)  # channels as torch splits them: (C, r, r)
    expected = torch.nn.functional.pixel_shuffle(torch.tensor(x.reshape(2, 3, 4, 12)).permute(0, 3, 1, 2), 2)
    ours = pixel_shuffle(Tensor(x.transpose(0, 1, 2, 4, 5, 3).reshape(2, 3, 4, 12)), 2).data
    np.testing.assert_array_equal(ours, expected.permute(0, 2, 3, 1).numpy())


# ---------------------------------------------------------------- empty and bad input

ON_IMAGES = {
    "max_pool2d": max_pool2d, "avg_pool2d": avg_pool2d, "global_avg_pool2d": global_avg_pool2d,
    "resize_nearest": lambda x: resize_nearest(x, 4), "resize_bilinear": lambda x: resize_bilinear(x, 4),
    "upsample_nearest": lambda x: upsample_nearest(x, 2),
}  # fmt: skip


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", ON_IMAGES)
@pytest.mark.parametrize("shape", [(0, 4, 4, 3), (2, 4, 4, 0)])
def test_no_samples_or_no_channels(dialect, name, shape):
    with use_kernels(dialect):
        y = ON_IMAGES[name](Tensor(np.zeros(shape)))
        dx = input_grad(ON_IMAGES[name], np.zeros(shape), y.data)
    assert (y.shape[0], y.shape[-1]) == (shape[0], shape[-1]) and dx.shape == shape


@pytest.mark.parametrize("name", ON_IMAGES)
def test_what_is_no_image_is_refused(name):
    for shape in [(4, 4, 3), (2, 0, 4, 3), (2, 4, 0, 3)]:
        with pytest.raises(ValueError, match=rf"{name}: x must be \(N, H, W, C\) with at least one pixel"):
            ON_IMAGES[name](Tensor(np.zeros(shape)))
    with pytest.raises(TypeError, match=f"{name}: x must be float32 or float64, got int64"):
        ON_IMAGES[name](Tensor(np.zeros((1, 4, 4, 1), np.int64)))


@pytest.mark.parametrize("function", [max_pool2d, avg_pool2d])
def test_bad_windows_name_the_argument(function):
    x = Tensor(np.zeros((1, 4, 4, 1)))
    with pytest.raises(ValueError, match="size must fit into the padded x.*size=\\(7, 2\\)"):
        function(x, (7, 2), 1, 1)
    with pytest.raises(ValueError, match="padding must be at most half the window.*padding=\\(2, 2\\)"):
        function(x, 3, 1, 2)
    for arguments, name in (((0,), "size"), ((2, 0), "stride"), ((2, 1, -1), "padding"), (((2, 2, 2),), "size")):
        with pytest.raises(ValueError, match=f"{name} must be"):
            function(x, *arguments)


def test_bad_sizes_and_factors_name_the_argument():
    x = Tensor(np.zeros((1, 3, 4, 6)))
    for call, message in (
        (lambda: resize_nearest(x, 0), "size must be"),
        (lambda: resize_bilinear(x, (3, -1)), "size must be"),
        (lambda: upsample_nearest(x, 0), "factor must be"),
        (lambda: pixel_shuffle(x, 2), r"pixel_shuffle: r \* r must divide the channels.*r=2"),
        (lambda: pixel_shuffle(x, 0), "pixel_shuffle: r"),
        (lambda: pixel_unshuffle(x, 2), "pixel_unshuffle: r must divide H and W.*r=2"),
        (lambda: pixel_unshuffle(x[0], 1), r"\(N, H, W, C\)"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
