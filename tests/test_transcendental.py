"""The vectorised functions against the C library in float64, which is exact as seen from float32."""

import numpy as np
import pytest
from scipy import special

from minigen.kernels._numba import jit, numba
from minigen.kernels._threads import parallel
from minigen.kernels.simd import transcendental as fast
from minigen.kernels.simd.transcendental import (
    ERFC_LAST,
    HIGHEST,
    LOWEST,
)
from minigen.kernels.simd.trigonometric import FURTHEST, sin_cos, sin_cos64

pytestmark = pytest.mark.skipif(numba is None, reason="numba is not installed")


@jit
def sin32(x):
    return sin_cos(np.float64(x), np.dtype("float32"))[0]


@jit
def cos32(x):
    return sin_cos(np.float64(x), np.dtype("float32"))[1]


def with_edges(exact, lowest=-np.inf, below=0, highest=np.inf, above=0):
    """`exact` from lowest to highest, and what the docstring promises for the arguments outside."""
    return lambda x: np.where(x < lowest, below, np.where(x > highest, above, exact(x)))


CASES = {  # name: (function, its exact values, largest error in ulps)
    "exp": (fast.exp, with_edges(np.exp, LOWEST, 0, HIGHEST, np.inf), 1.1),
    "expm1": (fast.expm1, with_edges(np.expm1, highest=HIGHEST, above=np.inf), 1.5),
    "log": (fast.log, np.log, 0.9),
    "log1p": (fast.log1p, np.log1p, 1.5),
    "tanh": (fast.tanh, np.tanh, 1.4),
    "logistic": (fast.logistic, with_edges(special.expit, -HIGHEST), 1.7),
    "erf": (fast.erf, special.erf, 1.8),
    "erfc": (fast.erfc, with_edges(special.erfc, highest=ERFC_LAST), 6),  # and x^2 more
    "sin": (sin32, with_edges(np.sin, -FURTHEST, np.nan, FURTHEST, np.nan), 1.3),
    "cos": (cos32, with_edges(np.cos, -FURTHEST, np.nan, FURTHEST, np.nan), 1.3),
}
ODD_OR_EVEN = ["tanh", "erf", "sin", "cos"]
names = pytest.mark.parametrize("name", CASES)


def loop_over(function):
    @jit
    def loop(x, y):
        for i in range(len(x)):
            y[i] = function(x[i])

    return loop


LOOPS = {name: loop_over(function) for name, (function, _, _) in CASES.items()}


def computed(name, x):
    y = np.empty_like(x)
    LOOPS[name](x, y)
    return y


@jit
def error_bits(x, y, exact, growth):
    """The bits of the error in ulps (units of the last place of a float32 like `exact`; growth x^2 are forgiven).

    As whole numbers they are ordered like the errors, and NaN is above all; their maximum vectorises.
    """
    leading = max(fast.double_of_bits(fast.bits_of_double(exact) & 0x7FF0000000000000), 2.0**-126)
    error = abs(max(abs(y - exact) / leading * 2.0**23 - growth * x * x, 0.0))  # abs: NaN may carry a minus
    alike = y == exact or (y != y and exact != exact)
    return 0 if alike else fast.bits_of_double(error)


@jit
def largest_error(x, y, exact, growth):
    worst = 0
    for i in range(len(y)):
        worst = max(worst, error_bits(x[i], y[i], exact[i], growth))
    return fast.double_of_bits(worst)


@jit
def largest_error_from_a_line(x, y, value, slope, growth):
    worst = 0
    for i in range(len(y)):
        worst = max(worst, error_bits(x[i], y[i], value + slope * x[i] if slope else value, growth))
    return fast.double_of_bits(worst)


@jit
def fill_with_floats(first, x):
    """The len(x) float32 whose bits are those of first, first + 1, ..."""
    for i in range(len(x)):
        x[i] = fast.float_of_bits(first + i)


def error_in_ulps(name, x, y):
    exact, growth = CASES[name][1], 1.0 if name == "erfc" else 0.0
    LOOPS[name](x, y)
    with np.errstate(all="ignore"):
        ends = x[[0, -1]].astype(np.float64)
        line = line_through(exact, ends)
        if line:
            return largest_error_from_a_line(x, y, *line, growth)
        return largest_error(x, y, exact(x.astype(np.float64)), growth)


def line_through(exact, ends):
    """Value and slope of the function between two neighbouring arguments, where its ends tell them, or None.

    f, and f(x) / x near 0, are monotone (all but sin and cos far from 0, where equal ends would be chance and the
    wrong values be found out). So when either is the same at both ends, it is the same all the way.
    """
    values = exact(ends)
    if np.allclose(*values, rtol=1e-10, atol=0, equal_nan=True):
        return values[1], 0.0
    if abs(ends).max() < 1 and np.allclose(*(values / ends), rtol=1e-10, atol=0):
        return 0.0, values[1] / ends[1]
    return None


def floats(first, last, step):
    return np.arange(first, last, step, dtype=np.uint64).astype(np.uint32).view(np.float32)


@names
def test_the_error_in_ulps_of_a_sample_of_all_float32(name):
    x = floats(0, 1 << 32, 4099)
    assert error_in_ulps(name, x, np.empty_like(x)) <= CASES[name][2]


RUN = 1 << 18  # floats that fit into the cache


@pytest.mark.slow
def test_the_error_in_ulps_of_every_float32():
    """All 2^32 of them, a run of neighbours at a time; of odd and even functions the half without a sign."""
    for name, (_, _, bound) in CASES.items():
        worst = np.zeros((1 << (31 if name in ODD_OR_EVEN else 32)) // RUN)
        parallel(len(worst), errors_of_runs, name, worst)
        print(f"{name}: {worst.max():.3f} ulp")
        assert worst.max() <= bound, name


def errors_of_runs(first, last, name, worst):
    x, y = np.empty(RUN, np.float32), np.empty(RUN, np.float32)
    for i in range(first, last):
        fill_with_floats(i * RUN, x)
        worst[i] = error_in_ulps(name, x, y)


@names
def test_the_edges(name):
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-45, 1e-38, -1e-38, 3e38, -3e38, 1, -1], np.float32)
    with np.errstate(all="ignore"):
        exact = CASES[name][1](x.astype(np.float64)).astype(np.float32)
    np.testing.assert_array_max_ulp(computed(name, x), exact, maxulp=2)
    if name in ("expm1", "log1p", "tanh", "erf"):
        assert (np.signbit(computed(name, x[3:5])) == [False, True]).all()  # -0 stays -0


@pytest.mark.parametrize("name", ODD_OR_EVEN)
def test_odd_and_even_functions_are_so_exactly(name):
    x = floats(0, 1 << 31, 4099)
    np.testing.assert_array_equal(computed(name, -x), computed(name, x) if name == "cos" else -computed(name, x))


@pytest.mark.parametrize("name", [name for name in CASES if name not in ("sin", "cos")])
def test_float64_is_left_to_the_c_library(name):
    x = np.linspace(-5, 5, 1001)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(computed(name, x), CASES[name][1](x), rtol=1e-14)


def test_the_float64_forms_behind_the_normal_draws():
    quarters = np.arange(5) * 2.0**30  # of a turn: the words next to them lie next to a zero of sin or cos
    u = (np.concatenate([np.arange(0, 2**32, 99991), quarters[:-1], quarters[1:] - 1]) + 0.5) * 2.0**-32
    log, pair = np.array([fast.log_normal64(v) for v in u]), np.array([sin_cos64(2 * np.pi * v) for v in u])
    np.testing.assert_array_max_ulp(log, np.log(u), maxulp=2)
    np.testing.assert_array_max_ulp(pair[:, 0], np.sin(2 * np.pi * u), maxulp=2)
    np.testing.assert_array_max_ulp(pair[:, 1], np.cos(2 * np.pi * u), maxulp=2)
