"""CUDA softmax and log-softmax: each version against the NumPy reference, short rows by warps, long ones by blocks."""

import numpy as np
import pytest
from cuda_on_cpu.standin import installed
from cuda_pairs import SCHEDULES, compare, normal, reference, run, unaligned
from hypothesis import given
from hypothesis import strategies as st

versions = pytest.mark.parametrize("version", [1, 2])


def cases(*shape, dtype=np.float32):
    """(name, arguments) of both functions and of their gradients."""
    x, g = 5 * normal(*shape, dtype=dtype), normal(*shape, seed=1, dtype=dtype)
    for name in ("softmax", "log_softmax"):
        yield name, (x,)
        yield f"{name}_grad", (g, *reference(name, x))


def check(cupy, version, *shape, **more):
    for name, args in cases(*shape, **more):
        compare(cupy, name, *args, version=version, kind="softmax", order=int(name.endswith("grad")))


@versions
@given(st.integers(1, 9), st.integers(1, 100), SCHEDULES)
def test_softmax_is_the_reference(version, rows, k, schedule):
    with installed(order=schedule[0], seed=schedule[1]) as cupy:
        check(cupy, version, rows, k)


@versions
@pytest.mark.parametrize("shape", [(1,), (5, 1), (2, 3, 33), (3, 1025), (0, 4), (4, 0)])
def test_edges_in_check_mode(shape, version):
    with installed(check=True) as cupy:
        check(cupy, version, *shape)


def test_short_rows_are_taken_by_a_warp_and_long_ones_by_a_block():
    with installed() as cupy:
        for k, parameter in ((1024, "-DROW=32"), (1025, "-DROW=256")):
            check(cupy, None, 2, k)
            assert all(parameter in call.parameters for call in cupy.launches)
            cupy.launches.clear()


def test_float64_is_computed_by_version_1():
    with installed() as cupy:
        check(cupy, None, 3, 40, dtype=np.float64)
        assert all(call.kernel.endswith("_v1") for call in cupy.launches)
        with pytest.raises(ValueError, match="softmax: version 2 computes in float32, and the arrays are float64"):
            run(cupy, "softmax", normal(2, 3, dtype=np.float64), version=2)


@versions
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_infinities_and_nan_come_out_as_in_the_reference(name, version):
    inf, nan = np.inf, np.nan
    x = np.array([[-inf, -inf, -inf], [-inf, 1, 2], [nan, 0, 1], [inf, 0, 1], [-3e38, -3e38, 0]], np.float32)
    x = np.concatenate([x, np.full((5, 40), -inf, np.float32)], axis=1)
    with installed() as cupy:
        for a, e in zip(run(cupy, name, x, version=version), reference(name, x)):
            np.testing.assert_allclose(a, e, rtol=1e-6)


def test_an_unaligned_view_and_another_layout_give_the_same():
    x = normal(6, 20)
    (expected,) = reference("softmax", x)
    with installed(check=True) as cupy:
        for given_x in (unaligned(cupy, x), cupy.asarray(x.T.copy()).T):
            np.testing.assert_allclose(run(cupy, "softmax", given_x)[0], expected, rtol=1e-5)


def test_wrong_arrays_are_named():
    with installed() as cupy:
        with pytest.raises(TypeError, match="softmax: x must be float32 or float64, got int64"):
            run(cupy, "softmax", np.arange(3))
        with pytest.raises(ValueError, match=r"softmax_grad: y must have shape \(2, 3\), got \(2, 4\)"):
            run(cupy, "softmax_grad", normal(2, 3), normal(2, 4))
