"""The methods of convolution: every one equals the direct sum, within the error that conv_method.py states for it."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from other_processor import run_without, shorter_vectors

from minigen.kernels import conv, indirect, polyphase
from minigen.kernels._numba import numba
from minigen.kernels.conv_method import METHODS, choose, use_method
from minigen.random import Generator

pytestmark = pytest.mark.skipif(numba is None, reason="numba is not installed")
UNIT = (1, 1)

# Largest error over largest result, float32 against the direct sum in float64, for standard normal data: the table in
# kernels/conv_method.py.
ERRORS = {"winograd": 1.5e-5, "polyphase": 3e-6, "indirect": 3e-6, "lines": 2e-6, "im2col": 3e-6}


def three_errors(method, n, size, filters, stride=UNIT, padding=UNIT, dilation=UNIT, bias_each=False):
    """{pass: error} of one method, through the functions that dispatch calls."""
    g, settings = Generator(0), (stride, padding, dilation, 1)
    x, w = g.normal((n, *size, filters[2]), np.float64), g.normal(filters, np.float64)
    b = g.normal((n, filters[3]) if bias_each else filters[3:], np.float64)
    dy = g.normal((n, *conv.output_size(x.shape, filters, stride, padding, dilation), filters[3]), np.float64)
    x32, w32, b32, dy32 = (a.astype(np.float32) for a in (x, w, b, dy))
    passes = {
        "forward": lambda: (conv.conv2d_numba(x32, w32, b32, *settings), conv.conv2d_numpy(x, w, b, *settings)),
        "input grad": lambda: (
            conv.conv2d_input_grad_numba(dy32, w32, size, *settings),
            conv.conv2d_input_grad_numpy(dy, w, size, *settings),
        ),
        "weight grad": lambda: (
            conv.conv2d_weight_grad_numba(x32, dy32, filters[:2], *settings),
            conv.conv2d_weight_grad_numpy(x, dy, filters[:2], *settings),
        ),
    }
    errors = {}
    for name, run in passes.items():
        with use_method(method):
            try:
                actual, expected = run()
            except ValueError as refusal:
                assert "does not apply" in str(refusal)
                continue
        assert actual.shape == expected.shape
        scale = abs(expected).max()
        errors[name] = abs(actual - expected).max() / scale if scale else abs(actual).max()
    return errors


@given(
    n=st.sampled_from([1, 2, 7, 8, 9, 17]), size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    window=st.tuples(st.integers(1, 4), st.integers(1, 4)), c=st.sampled_from([1, 3, 8, 16, 19, 40]),
    k=st.sampled_from([16, 17, 33, 48]), stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)), dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    bias_each=st.booleans(),
)  # fmt: skip
def test_the_indirect_method_equals_the_direct_sum_at_any_geometry(
    n, size, window, c, k, stride, padding, dilation, bias_each
):
    assume(all(size[a] + 2 * padding[a] > dilation[a] * (window[a] - 1) for a in (0, 1)))
    errors = three_errors("indirect", n, size, (*window, c, k), stride, padding, dilation, bias_each)
    assert "forward" in errors and max(errors.values()) < ERRORS["indirect"]


@given(
    n=st.sampled_from([1, 2, 9]), size=st.tuples(st.integers(2, 13), st.integers(2, 13)),
    c=st.sampled_from([16, 48]), k=st.sampled_from([16, 32]), bias_each=st.booleans(),
)  # fmt: skip
def test_the_polyphase_method_equals_the_direct_sum_at_any_size(n, size, c, k, bias_each):
    errors = three_errors("polyphase", n, size, (4, 4, c, k), (2, 2), bias_each=bias_each)
    assert len(errors) == 3 and max(errors.values()) < ERRORS["polyphase"]


@given(
    n=st.sampled_from([1, 2, 7]), size=st.tuples(st.integers(1, 13), st.integers(1, 19)),
    window=st.tuples(st.integers(1, 5), st.integers(1, 5)), few=st.integers(1, 7), many=st.sampled_from([16, 19, 48]),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)), padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    bias_each=st.booleans(),
)  # fmt: skip
def test_lines_of_few_channels_equal_the_direct_sum_at_any_geometry(
    n, size, window, few, many, stride, padding, bias_each
):
    assume(all(size[a] + 2 * padding[a] >= window[a] for a in (0, 1)))
    every = {"forward", "input grad", "weight grad"}
    errors = three_errors("lines", n, size, (*window, few, many), stride, padding, bias_each=bias_each)
    assert set(errors) == (every if many % 16 == 0 else {"input grad"}) and max(errors.values()) < ERRORS["lines"]
    inside = tuple(min(padding[a], window[a] - 1) for a in (0, 1))
    if window != (1, 1) and all(size[a] + 2 * inside[a] >= window[a] for a in (0, 1)):
        errors = three_errors("lines", n, size, (*window, many, few), padding=inside, bias_each=bias_each)
        assert set(errors) == (every if many % 16 == 0 else {"forward"}) and max(errors.values()) < ERRORS["lines"]


@pytest.mark.parametrize(
    ("filters", "pixels", "stride", "padding"),
    [((3, 3, 64, 64), 32, UNIT, UNIT), ((4, 4, 64, 128), 16, (2, 2), UNIT), ((1, 1, 192, 64), 32, UNIT, (0, 0)),
     ((3, 3, 1, 64), 32, UNIT, UNIT), ((5, 5, 32, 3), 28, UNIT, (2, 2))],
)  # fmt: skip
@pytest.mark.parametrize("method", METHODS)
def test_the_error_stays_in_the_table_at_working_sizes(method, filters, pixels, stride, padding):
    for name, error in three_errors(method, 2, (pixels, pixels), filters, stride, padding).items():
        assert error < ERRORS[method], name


def test_a_window_that_sees_nothing_but_padding_gives_the_bias():
    x, w, b = np.ones((9, 2, 2, 16), np.float32), np.ones((1, 1, 16, 16), np.float32), np.arange(16, dtype=np.float32)
    with use_method("indirect"):
        y = conv.conv2d_numba(x, w, b, UNIT, (2, 2), UNIT, 1)
    assert (y[:, 0, 0] == b).all() and (y[:, 2, 2] == b + 16).all()


def test_pixels_that_no_output_saw_have_no_gradient():
    dy, w = np.ones((8, 2, 2, 16), np.float32), np.ones((1, 1, 16, 16), np.float32)
    with use_method("indirect"):
        dx = conv.conv2d_input_grad_numba(dy, w, (5, 5), (3, 3), (0, 0), UNIT, 1)
    assert (dx[:, ::3, ::3] == 16).all() and dx.sum() == 8 * 4 * 16 * 16


@pytest.mark.parametrize("method", ["indirect", "polyphase"])
def test_an_empty_batch_gives_empty_results_and_a_zero_gradient(method):
    x, w = np.zeros((0, 8, 8, 16), np.float32), np.ones((4, 4, 16, 16), np.float32)
    dy, settings = np.zeros((0, 4, 4, 16), np.float32), ((2, 2), UNIT, UNIT, 1)
    with use_method(method):
        assert conv.conv2d_numba(x, w, None, *settings).shape == dy.shape
        assert conv.conv2d_input_grad_numba(dy, w, (8, 8), *settings).shape == x.shape
        assert not conv.conv2d_weight_grad_numba(x, dy, (4, 4), *settings).any()


def test_an_empty_batch_of_few_channels():
    x, dy, settings = np.zeros((0, 8, 8, 1), np.float32), np.zeros((0, 4, 4, 16), np.float32), ((2, 2), UNIT, UNIT, 1)
    with use_method("lines"):
        assert conv.conv2d_numba(x, np.ones((4, 4, 1, 16), np.float32), None, *settings).shape == dy.shape
        assert not conv.conv2d_weight_grad_numba(x, dy, (4, 4), *settings).any()


@pytest.mark.parametrize(("method", "c"), [("indirect", 16), ("polyphase", 16), ("lines", 2)])
def test_a_nan_reaches_every_result_that_sees_it_and_no_other(method, c):
    x, w = np.zeros((1, 8, 8, c), np.float32), np.ones((4, 4, c, 16), np.float32)
    x[0, 3, 3, 1] = np.nan
    with use_method(method):
        seen = np.isnan(conv.conv2d_numba(x, w, None, (2, 2), UNIT, UNIT, 1)[0]).all(axis=2)
    assert seen[1:3, 1:3].all() and seen.sum() == 4


@pytest.mark.parametrize("threads", [1, 3])
def test_any_number_of_threads_computes_the_same(monkeypatch, threads):
    from minigen.kernels import _threads

    monkeypatch.setattr(_threads, "_number_of_threads", threads)
    for method in ("indirect", "polyphase"):
        errors = three_errors(method, 9, (10, 7), (4, 4, 16, 32), (2, 2))
        assert len(errors) == 3 and max(errors.values()) < ERRORS[method]
    assert max(three_errors("lines", 9, (10, 7), (3, 3, 1, 32)).values()) < ERRORS["lines"]
    assert max(three_errors("lines", 9, (10, 7), (3, 3, 32, 2)).values()) < ERRORS["lines"]


# ---------------------------------------------------------------- the choice


def chosen(which="forward", dtype=np.float32, n=64, w=(3, 3, 64, 64), y=(16, 16), stride=UNIT, padding=UNIT):
    return choose(which, np.dtype(dtype), n, w, y, stride, padding, UNIT)


@pytest.mark.parametrize("which", ["forward", "input grad", "weight grad"])
def test_which_convolutions_take_which_method(which):
    assert chosen(which) == "winograd"
    assert chosen(which, w=(4, 4, 64, 128), y=(8, 8), stride=(2, 2)) == "polyphase"
    assert chosen(which, w=(3, 3, 64, 128), stride=(2, 2)) == "indirect"
    assert chosen(which, n=1, w=(4, 4, 128, 256), y=(4, 4), stride=(2, 2)) != "polyphase"  # filters dear, pixels few
    for w, stride in (((3, 3, 64, 64), UNIT), ((4, 4, 64, 128), (2, 2)), ((1, 1, 64, 64), UNIT)):
        assert chosen(which, np.float64, w=w, stride=stride) == "im2col"  # gradient checks see the plain sums


def test_narrow_convolutions():
    few, one = (3, 3, 1, 64), (3, 3, 64, 1)
    assert chosen("forward", w=few) == chosen("weight grad", w=few) == "lines"
    assert chosen("input grad", w=one) == chosen("weight grad", w=one) == "lines"
    assert chosen("forward", w=few, stride=(2, 2)) == "lines" == chosen("forward", w=(1, 1, 3, 64), stride=(2, 2))
    assert chosen("input grad", w=one, stride=(2, 2)) != "lines"  # phases, not a convolution
    assert chosen("forward", w=one) == "lines"
    assert chosen("input grad", w=few) == chosen("input grad", w=few, stride=(2, 2)) == "lines"
    assert chosen("forward", w=one, stride=(2, 2)) != "lines" != chosen("forward", np.float64, w=few)


def test_use_method_forces_or_refuses():
    with use_method("im2col"):
        assert chosen() == "im2col"
        with use_method("indirect"):
            assert chosen() == "indirect"
        assert chosen() == "im2col"
    assert chosen() == "winograd"
    with use_method("winograd"), pytest.raises(ValueError, match="winograd does not apply to the forward of float64"):
        chosen(dtype=np.float64)
    with use_method("polyphase"), pytest.raises(ValueError, match="polyphase does not apply"):
        chosen()
    with pytest.raises(ValueError, match="method must be one of winograd, .*, got 'fft'"), use_method("fft"):
        pass


ERRORS_ELSEWHERE = """
from minigen.kernels import polyphase
from test_conv_method import three_errors
assert polyphase.LANES == {lanes}, polyphase.LANES
for method in ("indirect", "polyphase"):
    errors = three_errors(method, 3, (9, 6), (4, 4, 24, 40), (2, 2))
    assert len(errors) == 3
    print(max(errors.values()))
print(max(three_errors("lines", 3, (9, 6), (4, 4, 3, 48), (2, 2)).values()))
print(max(three_errors("lines", 3, (9, 6), (4, 4, 6, 4), (2, 2)).values()) if polyphase.LANES == 4 else 0)
"""


@shorter_vectors
def test_processors_with_shorter_vectors_compute_the_same(tmp_path, without, lanes):
    printed = run_without(without, ERRORS_ELSEWHERE.format(lanes=lanes), tmp_path)
    assert max(map(float, printed.split())) < 3e-6


def test_blocks_are_whole_tiles_of_the_product_and_cover_all():
    for n, numbers in ((1, 100), (3, 500), (64, 4000)):
        tiles, per_block = polyphase.cut_into_blocks(n, (5, 7), 2, numbers)
        assert tiles == n * 3 * 4 and per_block % 8 == 0 and 8 <= per_block <= 64


def test_samples_of_a_group_come_first_then_pixels():
    places = np.empty((3, 24), np.int64)
    indirect.list_places(0, 24, 3, (2, 3), places)
    assert places[:, :4].T.tolist() == [[0, 0, 0], [1, 0, 0], [2, 0, 0], [0, 0, 1]]
    assert places[:, 17].tolist() == [2, 1, 2] == places[:, 23].tolist()  # what is beyond the end repeats the last
