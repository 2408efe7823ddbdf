"""Winograd's convolution: the same as the direct one, with a stated error, at every size and padding."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from other_processor import run_without, shorter_vectors

from minigen.kernels import _memory, _threads, conv, upsample_conv, winograd
from minigen.kernels._numba import numba
from minigen.kernels.simd.winograd_transforms import A_T, B_T
from minigen.kernels.turned import turned
from minigen.random import Generator

needs_numba = pytest.mark.skipif(numba is None, reason="numba is not installed")
UNIT = (1, 1)

# Largest error over largest result, float32 against the direct sum in float64, for standard normal data.
ERRORS = {"forward": 1.5e-5, "input gradient": 1.5e-5, "weight gradient": 1.5e-5, "bias gradient": 2e-6}


@needs_numba
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("c, k", [(16, 32), (64, 16), (48, 80), (20, 33), (1, 16), (0, 3)])
def test_filters_are_turned_in_squares_of_vectors_or_number_by_number(c, k, dtype):
    w = Generator(0).normal((3, 2, c, k), dtype)
    np.testing.assert_array_equal(turned(w), w[::-1, ::-1].transpose(0, 1, 3, 2))


def problem(n, h, w, c, k, padding, seed=0):
    g = Generator(seed)
    x, weight, bias = (g.normal(s, np.float64) for s in ((n, h, w, c), (3, 3, c, k), (k,)))
    size = conv.output_size(x.shape, weight.shape, UNIT, padding, UNIT)
    return x, weight, bias, g.normal((n, *size, k), np.float64)


def relative(actual, expected):
    assert actual.shape == expected.shape
    return abs(actual - expected).max() / abs(expected).max()


def three_errors(n, h, w, c, k, padding):
    x, weight, bias, dy = problem(n, h, w, c, k, padding)
    settings = UNIT, padding, UNIT, 1
    x32, weight32, bias32, dy32 = (a.astype(np.float32) for a in (x, weight, bias, dy))
    dw, db = winograd.winograd_weight_grad_numba(x32, dy32, padding)
    return {
        "forward": relative(
            winograd.winograd_numba(x32, weight32, bias32, padding), conv.conv2d_numpy(x, weight, bias, *settings)
        ),
        "input gradient": relative(
            winograd.winograd_input_grad_numba(dy32, weight32, padding),
            conv.conv2d_input_grad_numpy(dy, weight, (h, w), *settings),
        ),
        "weight gradient": relative(dw, conv.conv2d_weight_grad_numpy(x, dy, (3, 3), *settings)),
        "bias gradient": relative(db, dy.sum(axis=(1, 2))),
    }


@needs_numba
@given(
    n=st.integers(1, 3), h=st.integers(1, 13), w=st.integers(1, 13), c=st.sampled_from([16, 19, 48]),
    k=st.sampled_from([16, 32, 39]), pad=st.tuples(st.integers(1, 2), st.integers(1, 2)),
)  # fmt: skip
def test_all_products_equal_the_direct_ones_at_any_size(n, h, w, c, k, pad):
    for name, error in three_errors(n, h, w, c, k, pad).items():
        assert error < ERRORS[name], name


@needs_numba
@pytest.mark.parametrize(("c", "size"), [(64, 32), (128, 16), (256, 8)])
def test_the_error_stays_in_the_table_at_working_sizes(c, size):
    for name, error in three_errors(2, size, size, c, c, (1, 1)).items():
        assert error < ERRORS[name], name


@needs_numba
def test_every_sample_may_have_a_bias_of_its_own():
    x, weight, _, _ = problem(3, 9, 6, 17, 20, UNIT)
    bias = Generator(1).normal((3, 20), np.float64)
    fast = winograd.winograd_numba(*(a.astype(np.float32) for a in (x, weight, bias)), UNIT)
    assert relative(fast, conv.conv2d_numpy(x, weight, bias, UNIT, UNIT, UNIT, 1)) < ERRORS["forward"]


@needs_numba
@pytest.mark.parametrize("side", [8, 9])  # whole tiles, and tiles that reach beyond the edge
def test_a_residual_is_added_to_every_pixel(side):
    x, weight, bias, residual = problem(2, side, side, 16, 20, UNIT)
    fast = winograd.winograd_numba(*(a.astype(np.float32) for a in (x, weight, bias)), UNIT, residual.astype("f"))
    expected = conv.conv2d_numpy(x, weight, bias, UNIT, UNIT, UNIT, 1, residual)
    assert relative(fast, expected) < ERRORS["forward"]
    assert abs(expected - residual - conv.conv2d_numpy(x, weight, bias, UNIT, UNIT, UNIT, 1)).max() < 1e-12


@needs_numba
def test_lines_longer_than_a_block_are_cut_into_runs():
    runs, length, _ = winograd.cut_into_runs((1, 3, 301, 256), 16)
    assert runs > 1 and length < 301 / 4
    for name, error in three_errors(1, 3, 301, 256, 256, (1, 1)).items():
        assert error < ERRORS[name], name


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("shape", [(32, 8, 8, 256), (32, 16, 16, 128), (32, 32, 32, 64), (1, 32, 32, 64)])
def test_every_thread_gets_as_many_blocks(monkeypatch, shape, threads):
    monkeypatch.setattr(_threads, "_number_of_threads", threads)
    for tiles in (winograd.TILES, 2 * winograd.TILES):
        runs, length, per_block = winograd.cut_into_runs(shape, tiles)
        assert runs % per_block == 0 and runs // per_block % threads == 0
        assert length * per_block % 8 == 0 and length * per_block <= tiles


@given(h=st.integers(1, 9), w=st.integers(3, 9), pad=st.tuples(st.integers(1, 2), st.integers(0, 2)))
def test_the_numpy_twin_is_the_direct_sum(h, w, pad):
    x, weight, bias, _ = problem(2, h, w, 2, 3, pad)
    expected = conv.conv2d_numpy(x, weight, bias, UNIT, pad, UNIT, 1)
    np.testing.assert_allclose(winograd.winograd_numpy(x, weight, bias, pad), expected, rtol=1e-10, atol=1e-11)


@needs_numba
def test_filters_are_transformed_once_while_the_weights_stay(monkeypatch):
    x, weight, _, _ = problem(1, 8, 8, 16, 20, UNIT)
    x, weight = x.astype(np.float32), weight.astype(np.float32)
    plain, calls = winograd.winograd_numba(x, weight, None, UNIT), []
    monkeypatch.setattr(winograd, "filter_rows", lambda *a, rows=winograd.filter_rows: (calls.append(a), rows(*a)))
    with _memory.unchanged_weights():
        for _ in range(3):
            assert np.array_equal(winograd.winograd_numba(x, weight, None, UNIT), plain)
        rows = sum(last - first for first, last, *_ in calls)
        assert rows == 16  # each of the input channels once
        other = winograd.winograd_numba(x, 2 * weight, None, UNIT)
    assert np.array_equal(other, 2 * plain)
    weight *= 3
    assert relative(winograd.winograd_numba(x, weight, None, UNIT), 3 * plain) < ERRORS["forward"]


@needs_numba
def test_weights_that_pass_leave_nothing_behind():
    x, weight, _, _ = problem(1, 8, 8, 32, 32, UNIT)
    x, weight = x.astype(np.float32), weight[:, :, :16].astype(np.float32)
    with _memory.unchanged_weights():
        for _ in range(3):  # each group's filters are copied into an array of their own
            conv.conv2d_numba(x, weight, None, UNIT, UNIT, UNIT, 2)
        assert not _memory._derived.get()


@needs_numba
@given(n=st.integers(1, 2), h=st.integers(2, 7), w=st.integers(2, 7), k=st.sampled_from([16, 21]))
def test_a_doubled_image_is_convolved_without_the_planes_that_vanish(n, h, w, k):
    g = Generator(0)
    x, weight, bias, dy = (g.normal(s, np.float64) for s in ((n, h, w, 17), (3, 3, 17, k), (k,), (n, 2 * h, 2 * w, k)))
    x32, weight32, bias32, dy32 = (a.astype(np.float32) for a in (x, weight, bias, dy))
    pairs = {
        "forward": (upsample_conv.upsample_conv2d_numba(x32, weight32, bias32),
                    upsample_conv.upsample_conv2d_numpy(x, weight, bias)),
        "input gradient": (upsample_conv.upsample_conv2d_input_grad_numba(dy32, weight32),
                           upsample_conv.upsample_conv2d_input_grad_numpy(dy, weight)),
    }  # fmt: skip
    gradients = upsample_conv.upsample_conv2d_weight_bias_grad_numba(x32, dy32)
    expected = upsample_conv.upsample_conv2d_weight_bias_grad_numpy(x, dy)
    pairs["weight gradient"], pairs["bias gradient"] = zip(gradients, expected)
    for name, (fast, exact) in pairs.items():
        assert relative(fast, exact) < ERRORS[name], name


def test_the_planes_left_out_vanish_for_every_doubled_tile():
    tile = np.array([0, 1, 1, 2, 2, 3])  # p q q r r s
    values = np.array(B_T) @ np.eye(4)[tile]  # at the six points, for p = 1, q = 1, ...
    assert not values[2].any() and values[[0, 1, 3, 4, 5]].any(axis=1).all()
    sums = np.array(A_T).reshape(2, 2, 6).sum(axis=1)  # of neighbouring results
    assert not sums[:, 2].any() and sums[:, [0, 1, 3, 4, 5]].any(axis=0).all()
    assert winograd.OF_DOUBLED.sum() == 25


@needs_numba
def test_an_empty_batch_gives_an_empty_result_and_a_zero_gradient():
    x, weight = np.zeros((0, 5, 5, 16), np.float32), np.ones((3, 3, 16, 16), np.float32)
    assert winograd.winograd_numba(x, weight, None, (1, 1)).shape == (0, 5, 5, 16)
    assert not winograd.winograd_weight_grad_numba(x, x, (1, 1))[0].any()


@needs_numba
def test_which_convolutions_take_this_route():
    def taken(dtype=np.float32, shape=(3, 3, 32, 64), size=(7, 7), stride=UNIT, padding=UNIT, dilation=UNIT, groups=1):
        return winograd.fits(np.dtype(dtype), shape, size, stride, padding, dilation, groups)

    assert taken()
    assert taken(shape=(3, 3, 19, 40))
    assert not taken(size=(2, 2))  # one tile would cost as much as 2 x 2 windows
    assert not taken(dtype=np.float64)  # gradient checks
    assert not taken(shape=(3, 3, 1, 64))
    assert not taken(shape=(1, 1, 32, 64))
    assert not taken(stride=(2, 2))
    assert not taken(dilation=(2, 1))
    assert not taken(padding=(3, 1))
    assert not taken(groups=2)


@needs_numba
def test_a_nan_reaches_the_results_whose_tile_it_is_in():
    x, weight = np.zeros((1, 8, 8, 16), np.float32), np.ones((3, 3, 16, 16), np.float32)
    x[0, 1, 1, 3] = np.nan
    assert np.isnan(winograd.winograd_numba(x, weight, None, UNIT)[0, :3, :3]).all()


ERRORS_ELSEWHERE = """
import numpy as np
from minigen.kernels import _memory, conv, upsample_conv, winograd
assert winograd.LANES == {lanes}, winograd.LANES
rng = np.random.default_rng(0)
x, w, dy = (rng.standard_normal(shape) for shape in ((2, 9, 6, 19), (3, 3, 19, 21), (2, 9, 6, 21)))
small = [a.astype(np.float32) for a in (x, w, dy)]
settings = (1, 1), (1, 1), (1, 1), 1
pairs = [
    (winograd.winograd_numba(*small[:2], None, (1, 1)), conv.conv2d_numpy(x, w, None, *settings)),
    (winograd.winograd_input_grad_numba(small[2], small[1], (1, 1)), conv.conv2d_input_grad_numpy(dy, w, (9, 6), *settings)),
    (winograd.winograd_weight_grad_numba(small[0], small[2], (1, 1))[0], conv.conv2d_weight_grad_numpy(x, dy, (3, 3), *settings)),
]
print(max(abs(fast - exact).max() / abs(exact).max() for fast, exact in pairs))
"""  # noqa: E501


@needs_numba
@shorter_vectors
def test_processors_with_shorter_vectors_compute_the_same(tmp_path, without, lanes):
    assert float(run_without(without, ERRORS_ELSEWHERE.format(lanes=lanes), tmp_path)) < max(ERRORS.values())
