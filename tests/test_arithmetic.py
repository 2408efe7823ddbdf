"""Kernels for arrays that are large: the same numbers as NumPy's, on any number of threads, and called only there."""

import numpy as np
import pytest
from tolerances import assert_close

from minigen import Tensor, ops
from minigen.kernels import _numba, _threads, arithmetic
from minigen.random import Generator

needs_numba = pytest.mark.skipif(_numba.numba is None, reason="numba is not installed")
LARGE_SHAPES = [(3, 211, 67), (1, 40000, 3), (50000, 2, 1), (2, 1, 40001), (0, 4, 5), (4, 0, 5)]


def normal(*shape, seed=0, dtype=np.float32):
    return Generator(seed).normal(shape, dtype)


@needs_numba
@pytest.mark.parametrize("shape", LARGE_SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numba_equals_numpy_on_any_number_of_threads(monkeypatch, shape, dtype):
    a, b = normal(*shape, dtype=dtype), normal(*shape, seed=1, dtype=dtype)
    rows = [a.reshape(-1, shape[-1]), np.ascontiguousarray(b[..., :1]).reshape(-1, 1)]
    sums = set()
    for threads in (1, 2, 4):
        monkeypatch.setattr(_threads, "_number_of_threads", threads)
        np.testing.assert_array_equal(arithmetic.add_numba(a, b), arithmetic.add_numpy(a, b))
        np.testing.assert_array_equal(arithmetic.contiguous_numba(a.T), arithmetic.contiguous_numpy(a.T))
        joined, widths = arithmetic.concatenate_numba(*rows), (shape[-1], 1)
        np.testing.assert_array_equal(joined, arithmetic.concatenate_numpy(*rows))
        parts = arithmetic.split_numba(joined, widths), arithmetic.split_numpy(joined, widths)
        for ours, reference, row in zip(*parts, rows, strict=True):
            np.testing.assert_array_equal(ours, row)
            np.testing.assert_array_equal(reference, row)
        total = arithmetic.sum_positions_numba(a)
        expected = a.sum(axis=1, dtype=np.float64)
        bound = 4 * np.finfo(dtype).eps * abs(a).sum(axis=1, dtype=np.float64).max(initial=1)
        assert abs(total - expected).max(initial=0) <= bound
        sums.add(total.tobytes())
    assert len(sums) == 1


@pytest.mark.parametrize("axes", [0, (0, 1), 1, (1, 2), (0, 1, 2), (0, 2), 3, None])
@pytest.mark.parametrize("keepdims", [False, True])
def test_large_sums_are_numpys_whatever_the_axes(axes, keepdims):
    x = normal(7, 30, 31, 8, dtype=np.float64)
    assert_close(ops.sum(Tensor(x), axes, keepdims).data, x.sum(axes, keepdims=keepdims), "reduction")


def test_large_sums_of_small_integers_do_not_overflow():
    assert int(ops.sum(Tensor(np.full((300, 200, 2), 200, np.uint8)), (0, 1)).data[0]) == 200 * 300 * 200


def test_large_operations_have_the_gradients_of_small_ones():
    """Concatenate, slice, add, sum: one linear map, whose gradient is the same for every sample."""
    w = normal(5, 6, 8)

    def gradients(n):
        a, b = (Tensor(np.ones((n, 5, 6, c), np.float32), requires_grad=True) for c in (5, 3))
        joined = ops.concatenate([a, b], axis=-1)
        y = joined[..., 2:7] + joined[..., 1:6]
        (y * Tensor(w[..., :5])).sum().backward()
        return a.grad.data, b.grad.data

    for small, large in zip(gradients(2), gradients(500)):
        np.testing.assert_array_equal(large, np.broadcast_to(small[:1], large.shape))


def test_a_large_slice_is_copied_once_in_order():
    y = Tensor(normal(300, 20, 30))[..., 5:25]
    assert y.data.flags.c_contiguous
