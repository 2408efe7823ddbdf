"""Attention and softmax: conventions, closed forms, memory, bad input. (Gradients and torch parity: op_cases.py.)"""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_close

from minigen.dispatch import use_kernels
from minigen.kernels import _threads
from minigen.ops.attention import attention
from minigen.ops.softmax import log_softmax, softmax
from minigen.tensor import Tensor

DIALECTS = ["numpy", "numba"]


@pytest.fixture(params=DIALECTS, autouse=True)
def dialect(request):
    with use_kernels(request.param):
        yield request.param


def normal(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def qkv(n=2, length=3, m=4, heads=2, d=5, e=3, dtype=np.float64):
    shapes = ((n, length, heads, d), (n, m, heads, d), (n, m, heads, e))
    return [Tensor(normal(*shape, seed=i, dtype=dtype), requires_grad=True) for i, shape in enumerate(shapes)]


def by_the_book(q, k, v, mask=None):
    """Equation 1 of Vaswani et al., one query at a time."""
    o = np.zeros((*q.shape[:3], v.shape[3]))
    for n, i, h in np.ndindex(q.shape[:3]):
        keys = range(k.shape[1]) if mask is None else np.flatnonzero(mask[n, h, i])
        if len(keys):
            weights = np.exp([q[n, i, h] @ k[n, j, h] / np.sqrt(q.shape[3]) for j in keys])
            o[n, i, h] = sum(w * v[n, j, h] for w, j in zip(weights, keys)) / weights.sum()
    return o


# ---------------------------------------------------------------- attention


@pytest.mark.parametrize("masked", [False, True])
def test_it_is_the_definition_one_query_at_a_time(masked):
    q, k, v = qkv()
    mask = np.random.default_rng(5).random((2, 2, 3, 4)) < 0.5 if masked else None
    assert_close(attention(q, k, v, mask).data, by_the_book(q.data, k.data, v.data, mask), "softmax")


def test_the_scale_is_one_over_root_d_applied_once():
    """One query 1_D, keys 0 and 1_D, values 0 and 1: the result is sigmoid(D / sqrt(D))."""
    for d in (1, 4, 9):
        q, k = np.ones((1, 1, 1, d)), np.zeros((1, 2, 1, d))
        k[0, 1] = 1
        v = np.array([0.0, 1.0]).reshape(1, 2, 1, 1)
        assert attention(q, k, v).item() == pytest.approx(1 / (1 + np.exp(-np.sqrt(d))), rel=1e-14)


def test_weights_of_a_query_sum_to_one():
    q, k, _ = qkv(dtype=np.float32)
    ones = np.ones((2, 4, 2, 1), np.float32)
    assert_close(attention(q, k, ones).data, np.ones((2, 3, 2, 1), np.float32), "softmax")


def test_the_order_of_context_tokens_does_not_matter():
    q, k, v = [x.data for x in qkv(m=6)]
    order = np.random.default_rng(1).permutation(6)
    assert_close(attention(q, k[:, order], v[:, order]).data, attention(q, k, v).data, "softmax")


def test_what_the_mask_hides_has_no_influence_even_if_it_is_infinite():
    q, k, v = qkv()
    mask = np.ones((2, 1, 1, 4), bool)
    mask[:, :, :, 2] = False
    before = attention(q, k, v, mask).data
    k.data[:, 2], v.data[:, 2] = 1e6, -1e6
    np.testing.assert_array_equal(attention(q, k, v, mask).data, before)


def test_a_causal_mask_keeps_gradients_from_the_future():
    q, k, v = qkv(length=4, m=4)
    o = attention(q, k, v, np.tril(np.ones((4, 4), bool)))
    o[:, 1].sum().backward()
    for x in (k, v):
        assert abs(x.grad.data[:, :2]).min() > 0
        assert not x.grad.data[:, 2:].any()
    assert not q.grad.data[:, [0, 2, 3]].any()


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_query_with_nothing_to_attend_to_gets_zeros_and_passes_no_gradient(create_graph):
    q, k, v = qkv()
    mask = np.ones((1, 1, 3, 4), bool)
    mask[0, 0, 1] = False
    o = attention(q, k, v, mask)
    assert not o.data[:, 1].any()
    assert o.data[:, 0].all()
    o[:, 1].sum().backward(create_graph=create_graph)
    for x in (q, k, v):
        np.testing.assert_array_equal(x.grad.data, 0)


@pytest.mark.parametrize("shape", [(4,), (3, 1), (2, 1, 1), (2, 1, 3, 4)])
def test_masks_broadcast_to_n_heads_l_m(shape):
    q, k, v = qkv()
    mask = np.random.default_rng(3).random(shape) < 0.6
    full = np.broadcast_to(mask, (2, 2, 3, 4))
    assert_close(attention(q, k, v, mask).data, by_the_book(q.data, k.data, v.data, full), "softmax")


def test_scores_of_a_thousand_do_not_overflow():
    q, k, v = qkv(dtype=np.float32)
    big = Tensor(q.data * 1e4, requires_grad=True)
    o = attention(big, k, v)
    o.sum().backward()
    nearest = (np.einsum("nlhd,nmhd->nlhm", q.data, k.data)).argmax(-1)
    picked = np.take_along_axis(v.data.transpose(0, 2, 1, 3)[:, None], nearest[..., None, None], 3)[:, :, :, 0]
    assert_close(o.data, picked, "softmax")
    assert np.isfinite(big.grad.data).all()


def test_a_nan_stays_visible_and_stays_in_its_sample():
    q, k, v = qkv()
    k.data[0, 1, 0, 0] = np.nan
    o = attention(q, k, v)
    o.sum().backward()
    assert np.isnan(o.data[0, :, 0]).all()
    assert np.isfinite(o.data[0, :, 1]).all()
    assert np.isfinite(o.data[1]).all()
    assert np.isnan(q.grad.data[0, :, 0]).all()


@given(st.integers(0, 3), st.integers(0, 3), st.integers(0, 4), st.integers(0, 2))
def test_empty_axes_give_empty_or_zero_results(n, length, m, heads):
    q, k, v = qkv(n, length, m, heads)
    o = attention(q, k, v)
    o.sum().backward()
    assert o.shape == (n, length, heads, 3)
    assert k.grad.shape == k.shape
    if m == 0:
        assert not o.data.any()
        assert not q.grad.data.any()


@pytest.mark.parametrize("masked", [False, True])
def test_memory_is_that_of_one_head_a_thread_not_of_the_batch(masked, dialect, monkeypatch):
    """64 samples of 2 heads: all probabilities at once would be 128 matrices of L x M."""
    monkeypatch.setattr(_threads, "_number_of_threads", 2)
    n, length, heads, d = 64, 128, 2, 4
    q, k, v = qkv(n, length, length, heads, d, d, np.float32)
    mask = np.tril(np.ones((length, length), bool)) if masked else None
    attention(q, k, v, mask).sum().backward()  # compiled and pooled before measuring
    matrix = length * length * 4
    forward = peak_bytes(lambda: attention(q, k, v, mask))
    both = peak_bytes(lambda: attention(q, k, v, mask).sum().backward())
    inputs = 3 * q.data.nbytes
    assert forward < 8 * matrix + inputs, f"{forward / matrix:.1f} matrices, of which inputs are {inputs / matrix:.1f}"
    assert both < 16 * matrix + 3 * inputs, f"{both / matrix:.1f} matrices, of which inputs are {inputs / matrix:.1f}"


def peak_bytes(call):
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_many_heads_at_once_equal_one_at_a_time():
    """The products of several threads must not disturb each other (numpy issue 29391)."""
    q, k, v = [x.data for x in qkv(n=6, length=65, m=33, heads=4, d=16, e=8, dtype=np.float32)]
    together = attention(q, k, v).data
    for n, h in np.ndindex(6, 4):
        one = (slice(n, n + 1), slice(None), slice(h, h + 1))
        assert_close(together[one], attention(q[one], k[one], v[one]).data, "softmax")


SIZES = [  # n, length, m, heads, d, e: one of each, widths and lengths beside whole tiles and vectors, several blocks
    (1, 1, 1, 1, 1, 1), (2, 49, 49, 4, 16, 16), (1, 17, 31, 2, 33, 5), (3, 8, 16, 1, 8, 64), (1, 300, 130, 1, 20, 40),
    (1, 37, 2500, 1, 3, 2), (2, 129, 128, 2, 128, 15),
]  # fmt: skip


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("kind", ["none", "keys", "causal", "heads"])
def test_float32_equals_the_definition_in_float64(sizes, kind):
    """Values and all gradients, with each shape of mask."""
    n, length, m, heads, _, e = sizes
    exact, single = qkv(*sizes), qkv(*sizes)
    rng = np.random.default_rng(8)
    mask = {
        "none": None,
        "keys": rng.random((n, 1, 1, m)) < 0.7,
        "causal": np.tril(np.ones((length, m), bool)),
        "heads": rng.random((heads, length, 1)) < 0.7,
    }[kind]
    for x in single:
        x.data = x.data.astype(np.float32)
    g = rng.standard_normal((n, length, heads, e))
    with use_kernels("numpy"):
        expected = attention(*exact, mask)
        expected.backward(Tensor(g))
    o = attention(*single, mask)
    o.backward(Tensor(g.astype(np.float32)))
    assert_close(o.data, expected.data, "softmax", 0, np.float32)
    for x, y in zip(single, exact):
        assert_close(x.grad.data, y.grad.data, "softmax", 1, np.float32)


def test_a_nan_of_one_head_does_not_stay_in_the_memory_that_the_next_one_uses(monkeypatch):
    monkeypatch.setattr(_threads, "_number_of_threads", 1)
    q, k, v = qkv(5, 3, 5, 4, 3, 3, np.float32)
    for x in (q, k, v):
        x.data[0, 1, 0] = np.nan
    o = attention(q, k, v)
    o.sum().backward()
    for x in (o.data, q.grad.data, k.grad.data, v.grad.data):
        assert np.isnan(x[0, :, 0]).any()
        assert np.isfinite(x[0, :, 1:]).all()
        assert np.isfinite(x[1:]).all()


def test_a_result_does_not_depend_on_the_number_of_threads(monkeypatch):
    results = []
    for threads in (1, 3):
        monkeypatch.setattr(_threads, "_number_of_threads", threads)
        q, k, v = qkv(3, 70, 45, 3, 12, 7, np.float32)
        o = attention(q, k, v)
        o.sum().backward()
        results.append([o.data, q.grad.data, k.grad.data, v.grad.data])
    for one, three in zip(*results):
        np.testing.assert_array_equal(one, three)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((3, 2, 5), (2, 4, 2, 5), (2, 4, 2, 5)), r"q must be a float tensor .*, got float64\(3, 2, 5\)"),
        (((2, 3, 2, 5), (2, 4, 2, 6), (2, 4, 2, 5)), r"k\.shape=\(2, 4, 2, 6\)"),
        (((2, 3, 2, 5), (2, 4, 1, 5), (2, 4, 2, 5)), r"k\.shape=\(2, 4, 1, 5\)"),
        (((2, 3, 2, 5), (2, 4, 2, 5), (2, 3, 2, 5)), r"v\.shape=\(2, 3, 2, 5\)"),
        (((2, 3, 2, 0), (2, 4, 2, 0), (2, 4, 2, 5)), r"D >= 1"),
    ],
)
def test_shapes_that_do_not_fit_are_named(shapes, message):
    with pytest.raises(ValueError, match=message):
        attention(*[normal(*shape) for shape in shapes])


def test_masks_that_do_not_fit_are_named():
    q, k, v = qkv()
    with pytest.raises(TypeError, match="mask must be boolean .* got float64"):
        attention(q, k, v, np.zeros((3, 4)))
    with pytest.raises(ValueError, match=r"\(2, 2, 3, 4\), got mask\.shape=\(4, 3\)"):
        attention(q, k, v, np.ones((4, 3), bool))
    with pytest.raises(TypeError, match="float32"):
        attention(q, Tensor(k.data.astype(np.float32)), v)


# ---------------------------------------------------------------- softmax


@given(st.integers(1, 6), st.floats(-1e4, 1e4))
def test_softmax_ignores_a_common_shift(size, shift):
    x = np.arange(size) / 4  # exact in binary, and so is what the shift leaves of it
    shift = np.round(shift)
    np.testing.assert_array_equal(softmax(x + shift).data, softmax(x).data)
    np.testing.assert_array_equal(log_softmax(x + shift).data, log_softmax(x).data)


def test_softmax_of_two_scores_is_the_sigmoid_of_their_difference():
    assert_close(softmax(np.array([0.3, 1.5])).data[1:], 1 / (1 + np.exp([-1.2])), "softmax")


def test_log_softmax_is_finite_where_the_probability_rounds_to_zero():
    np.testing.assert_array_equal(log_softmax(np.array([0.0, -1e4])).data, [0.0, -1e4])


def test_minus_infinity_gets_probability_zero_and_gradient_zero():
    x = Tensor(np.array([[1.0, -np.inf, 2.0]]), requires_grad=True)
    y = softmax(x)
    (y * np.array([[1.0, 5.0, 3.0]])).sum().backward()
    assert y.data[0, 1] == 0
    assert x.grad.data[0, 1] == 0
    assert_close(y.data[:, [0, 2]], softmax(x.data[:, [0, 2]]).data, "softmax")


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("function", [softmax, log_softmax])
def test_a_row_without_a_distribution_is_nan_and_the_others_are_not(function):
    y = function(np.array([[-np.inf, -np.inf], [0.0, 1.0], [np.nan, 0.0]])).data
    np.testing.assert_array_equal(np.isnan(y), [[True, True], [False, False], [True, True]])


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("length", [1, 10, 64, 1000])
def test_the_largest_score_is_found_wherever_it_stands_and_whatever_its_sign(dtype, length):
    """Scores so far apart that exp would overflow, had another one been subtracted; NaNs of either sign."""
    order = 1 + np.random.default_rng(length).permutation(length)
    x = 1e4 * np.stack([order - length // 2, order, -order, order]).astype(dtype)
    x[3, 0] = -np.inf
    np.testing.assert_array_equal(softmax(x[:3]).data, x[:3] == x[:3].max(-1, keepdims=True))
    assert np.isfinite(log_softmax(x[:3]).data).all()
    for nan in (np.nan, -np.nan):
        x[3, -1] = nan
        assert np.isnan(softmax(x).data[3]).all()


@pytest.mark.parametrize("function", [softmax, log_softmax])
def test_any_axis_is_the_last_one_moved(function):
    x = normal(2, 3, 4)
    for axis in (0, 1, -2):
        assert_close(function(x, axis).data, np.moveaxis(function(np.moveaxis(x, axis, -1)).data, -1, axis), "softmax")
    with pytest.raises(ValueError, match=r"whose shape is \(2, 3, 4\); got 3"):
        function(x, 3)
