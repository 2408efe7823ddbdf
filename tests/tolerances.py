"""How far two results may lie apart: one table, by kind of operation, dtype and order of derivative.

    |actual - expected| <= tolerance * (|expected| + max(1, largest |expected|))

The second term is there because a sum's rounding error is of the size of its terms, not of its result
(1 - tanh(x)^2 has the error of 1), and the tests' inputs are of order 1. NaN and infinities must stand in
the same places.

Unit roundoff is 6e-8 in float32, 1.1e-16 in float64. Order 0 is the value, 1 its gradient, 2 the
gradient's gradient. The figures are for the sizes that the tests use (sums of up to a few hundred terms),
whatever the two implementations' order of summation and version of exp, erf, tanh (a few ulps each).
"""

import numpy as np

#  kind           float32: values, gradients, second       float64
TOLERANCES = {
    "exact":       {"float32": (0.0, 0.0, 0.0),    "float64": (0.0, 0.0, 0.0)},  # elements moved, not computed
    "elementwise": {"float32": (1e-6, 2e-6, 1e-5), "float64": (2e-15, 1e-14, 1e-13)},
    "reduction":   {"float32": (2e-6, 4e-6, 2e-5), "float64": (4e-15, 2e-14, 2e-13)},
    "matmul":      {"float32": (2e-6, 4e-6, 2e-5), "float64": (4e-15, 2e-14, 2e-13)},
    "conv":        {"float32": (4e-6, 8e-6, 4e-5), "float64": (1e-14, 4e-14, 4e-13)},
    "norm":        {"float32": (1e-5, 4e-5, 2e-4), "float64": (2e-14, 1e-13, 1e-12)},  # divides by a deviation
    "softmax":     {"float32": (2e-6, 8e-6, 4e-5), "float64": (4e-15, 4e-14, 4e-13)},
}  # fmt: skip


def tolerance(kind, dtype, order=0):
    return TOLERANCES[kind][np.dtype(dtype).name][order]


def assert_close(actual, expected, kind, order=0, dtype=None, what="result"):
    """Compare two arrays within the table's figure for `kind`; the dtype is that of `actual` unless given."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, expected {expected.shape}"
    finite = np.isfinite(expected)
    alike = np.array_equal(actual[~finite], expected[~finite], equal_nan=True)
    assert alike, f"{what}: NaN or infinity in other places"
    a, e = actual[finite].astype(np.float64), expected[finite].astype(np.float64)
    if a.size:
        bound = tolerance(kind, dtype or actual.dtype, order) * (abs(e) + max(1.0, abs(e).max()))
        excess = abs(a - e) - bound
        worst = np.argmax(np.where(np.isnan(excess), np.inf, excess))
        assert excess[worst] <= 0, (
            f"{what}: {a[worst]:.17g} against {e[worst]:.17g}, difference {abs(a[worst] - e[worst]):.2g}, "
            f"allowed {bound[worst]:.2g} (kind {kind}, order {order}, {actual.dtype}{actual.shape})"
        )
