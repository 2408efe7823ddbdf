"""The vectorised exp against the exact one."""

import numpy as np
import pytest

from minigen.kernels._numba import jit, numba, parallel
from minigen.kernels.simd.transcendental import HIGHEST, LOWEST, exp

pytestmark = pytest.mark.skipif(numba is None, reason="numba is not installed")


@jit
def exp_all(first, last, x, y):
    for i in range(first, last):
        y[i] = exp(x[i])


def exp_of(x):
    y = np.empty_like(x)
    parallel(len(x), exp_all, x, y)
    return y


def error_in_ulps(x):
    exact = np.exp(x.astype(np.float64))
    return (abs(exp_of(x) - exact) / np.spacing(exact.astype(np.float32))).max()


def test_the_error_is_below_two_units_in_the_last_place():
    assert error_in_ulps(np.linspace(LOWEST, HIGHEST, 1_000_003, dtype=np.float32)) < 2
    assert error_in_ulps(np.float32(2.0) ** np.linspace(-126, 6, 100_003, dtype=np.float32)) < 2


@pytest.mark.slow
def test_the_error_is_below_two_units_for_every_float32():
    """All 2^32 of them, in parts: those between the edges in ulps, the others exactly."""
    for start in range(0, 1 << 32, 1 << 24):
        x = np.arange(start, start + (1 << 24), dtype=np.uint64).astype(np.uint32).view(np.float32)
        y = exp_of(x)
        inside = (x >= LOWEST) & (x <= HIGHEST)
        if inside.any():
            assert error_in_ulps(x[inside]) < 2
        assert (y[x < LOWEST] == 0).all()
        assert np.isposinf(y[x > HIGHEST]).all()
        assert np.isnan(y[np.isnan(x)]).all()


def test_the_edges():
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 89.0, -88.0, 1e-45], np.float32)
    np.testing.assert_array_equal(exp_of(x), np.array([np.nan, np.inf, 0, 1, 1, np.inf, 0, 1], np.float32))


def test_float64_is_left_to_the_c_library():
    x = np.linspace(-700, 700, 1001)
    np.testing.assert_allclose(exp_of(x), np.exp(x), rtol=1e-15)
