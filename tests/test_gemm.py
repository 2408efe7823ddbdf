"""The matrix product that kernels call, at sizes beside its tiles."""

import numpy as np
import pytest
from other_processor import run_without, shorter_vectors
from tolerances import assert_close

from minigen.kernels._numba import jit, numba
from minigen.kernels.simd.gemm import STRETCH, matrix, multiply, product

pytestmark = pytest.mark.skipif(numba is None, reason="numba is not installed")


@jit
def products(a, a_turned, b, c, c_turned, m, n, depth, accumulate):
    multiply(a, b, c, m, n, depth, accumulate)
    multiply(a_turned.T, b, c_turned, m, n, depth, accumulate)


@jit
def product_of_rows(a, b, c, first, m):
    """The same without `matrix`: rows first, first + 1 ... of A and C."""
    product(
        a[first:].ctypes.data, a.strides[0], 4, b.ctypes.data, b.strides[0], c[first:].ctypes.data, c.strides[0], m,
        b.shape[1], len(b), False, b.ctypes.data,
    )  # fmt: skip


@jit
def new(rows, columns, like):
    return matrix(rows, columns, like.dtype)


def holding(values):
    """A matrix of the kernels' with these values, and what a tile may meet beside them."""
    full = new(*values.shape, values)
    full[:] = np.nan
    full[: values.shape[0], : values.shape[1]] = values
    return full


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize(
    ("m", "n", "depth"),
    [
        (1, 1, 1), (8, 16, 4), (8, 32, 7), (9, 17, 5), (7, 128, 3), (16, 47, 33), (24, 80, 9), (40, 64, 2 * STRETCH),
        (3, 5, STRETCH + 1), (4, 6, 0), (0, 3, 2),
    ],
)  # fmt: skip
def test_a_product_of_any_size_and_of_a_transposed_matrix(m, n, depth, accumulate, dtype):
    rng = np.random.default_rng(m + n + depth)
    a, b, start = (rng.standard_normal(size).astype(dtype) for size in ((m, depth), (depth, n), (m, n)))
    c, c_turned = holding(start), holding(start)
    products(holding(a), holding(a.T.copy()), holding(b), c, c_turned, m, n, depth, accumulate)
    expected = a.astype(np.float64) @ b + (start if accumulate else 0)
    for result in (c, c_turned):
        assert_close(result[:m, :n] / max(depth, 1) ** 0.5, expected / max(depth, 1) ** 0.5, "matmul", 0, dtype)


def test_rows_of_a_matrix_are_not_a_power_of_two_apart():
    for columns in (128, 1000, 1024, 4096):
        stride = new(2, columns, np.zeros(1, np.float32)).strides[0]
        assert stride >= 4 * columns
        assert stride % 512


NUMBERS_IN_A_ROW = """
import numpy as np, test_gemm
print([test_gemm.new(1, columns, np.zeros(1, np.float32)).shape[1] for columns in (1, 9, 20)])
"""


@shorter_vectors
def test_a_matrix_has_room_for_tiles_of_its_transpose_with_shorter_vectors_too(tmp_path, without, lanes):
    """The product takes rows of the transpose by eights, however short a vector is."""
    assert run_without(without, NUMBERS_IN_A_ROW, tmp_path) == "[8, 16, 24]\n"


@pytest.mark.parametrize("n", [64, 48, 32, 16])
@pytest.mark.parametrize("m", [1, 2, 3, 5, 8, 10, 13, 23])
def test_rows_come_in_eights_and_no_other_row_is_written(m, n):
    rng = np.random.default_rng(m)
    a, b = (rng.standard_normal(size).astype(np.float32) for size in ((48, 9), (9, n)))
    c = np.full((48, n), np.nan, np.float32)
    product_of_rows(a, b, c, 8, m)
    last = 8 + -(-m // 8) * 8
    np.testing.assert_allclose(c[8:last], a[8:last].astype(np.float64) @ b, rtol=0, atol=1e-5)
    assert np.isnan(c[:8]).all() and np.isnan(c[last:]).all()
