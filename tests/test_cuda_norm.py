"""CUDA group, layer and batch norm: each version against the NumPy reference, under several schedules of threads."""

import numpy as np
import pytest
from cuda_on_cpu.standin import installed
from cuda_pairs import SCHEDULES, assert_same_bits_under_every_schedule, compare, normal, reference, run, unaligned
from hypothesis import given
from hypothesis import strategies as st

VERSIONS = (1, 2)
EPS = 1e-5

versions = pytest.mark.parametrize("version", VERSIONS)


def group_norm_cases(n, p, c, groups, silu, mean=0.0, dtype=np.float32):
    """(name, arguments) of the forward kernel and of its gradient."""
    x, gamma, beta = (
        normal(n, p, c, dtype=dtype, mean=mean),
        normal(c, seed=1, dtype=dtype),
        normal(c, seed=2, dtype=dtype),
    )
    _, mu, rstd = reference("group_norm", x, gamma, beta, groups, EPS, silu)
    dy = normal(n, p, c, seed=3, dtype=dtype)
    yield "group_norm", (x, gamma, beta, groups, EPS, silu)
    yield (
        "group_norm_grad",
        (dy, x, gamma, beta, mu, rstd, silu, normal(n, p, c, seed=4, dtype=dtype) if silu else None),
    )


def layer_norm_cases(rows, c, mean=0.0, dtype=np.float32):
    x, gamma, beta = (
        normal(rows, c, dtype=dtype, mean=mean),
        normal(c, seed=1, dtype=dtype),
        normal(c, seed=2, dtype=dtype),
    )
    _, mu, rstd = reference("layer_norm", x, gamma, beta, EPS)
    yield "layer_norm", (x, gamma, beta, EPS)
    yield "layer_norm_grad", (normal(rows, c, seed=3, dtype=dtype), x, gamma, mu, rstd)


def batch_norm_cases(rows, c, mean=0.0, dtype=np.float32):
    x, gamma, beta = (
        normal(rows, c, dtype=dtype, mean=mean),
        normal(c, seed=1, dtype=dtype),
        normal(c, seed=2, dtype=dtype),
    )
    _, mu, var = reference("batch_norm", x, gamma, beta, EPS)
    rstd = (1 / np.sqrt(var + EPS)).astype(dtype)
    yield "batch_norm", (x, gamma, beta, EPS)
    yield "batch_norm_grad", (normal(rows, c, seed=3, dtype=dtype), x, gamma, mu, rstd)


def check(cupy, cases, version):
    for name, args in cases:
        ran = compare(cupy, name, *args, version=version, kind="norm", order=int(name.endswith("grad")))
        if version is not None:
            assert all(kernel.endswith(f"_v{version}") or kernel == "add_parts" for kernel in ran)


# ---------------------------------------------------------------- random shapes, fast mode


@versions
@given(st.integers(1, 3), st.integers(1, 40), st.integers(1, 3), st.integers(1, 9), st.booleans(), SCHEDULES)
def test_group_norm_is_the_reference(version, n, p, groups, size, silu, schedule):
    with installed(order=schedule[0], seed=schedule[1]) as cupy:
        check(cupy, group_norm_cases(n, p, groups * size, groups, silu), version)


@versions
@given(st.integers(1, 20), st.integers(1, 140), SCHEDULES)
def test_layer_norm_is_the_reference(version, rows, c, schedule):
    with installed(order=schedule[0], seed=schedule[1]) as cupy:
        check(cupy, layer_norm_cases(rows, c), version)


@versions
@given(st.integers(2, 300), st.integers(1, 12), SCHEDULES)
def test_batch_norm_is_the_reference(version, rows, c, schedule):
    with installed(order=schedule[0], seed=schedule[1]) as cupy:
        check(cupy, batch_norm_cases(rows, c), version)


# ---------------------------------------------------------------- edges, every access checked

EDGES = {
    "one channel a group": lambda **more: group_norm_cases(2, 9, 4, 4, False, **more),
    "one number a group": lambda **more: group_norm_cases(2, 1, 3, 3, True, **more),
    "one group": lambda **more: group_norm_cases(1, 5, 12, 1, True, **more),
    "more packs than threads": lambda **more: group_norm_cases(1, 2, 1100, 1, False, **more),
    "more channels than threads": lambda **more: group_norm_cases(1, 2, 259, 1, True, **more),
    "a line of threads left over": lambda **more: group_norm_cases(2, 100, 28, 4, False, **more),
    "rows of one": lambda **more: layer_norm_cases(3, 1, **more),
    "rows of 33": lambda **more: layer_norm_cases(9, 33, **more),
    "rows of 17 x 4": lambda **more: layer_norm_cases(130, 68, **more),
    "two rows in a batch": lambda **more: batch_norm_cases(2, 5, **more),
    "several blocks of rows": lambda **more: batch_norm_cases(260, 8, **more),
    "more channels than a block": lambda **more: batch_norm_cases(3, 1030, **more),
}
edges = pytest.mark.parametrize("cases", EDGES.values(), ids=EDGES)


@versions
@edges
def test_edges_in_check_mode(cases, version):
    with installed(check=True) as cupy:
        check(cupy, cases(), version)


@edges
def test_float64_is_computed_by_version_1(cases):
    with installed() as cupy:
        for name, args in cases(dtype=np.float64):
            ran = compare(cupy, name, *args, version=None, kind="norm", order=int(name.endswith("grad")))
            assert all(kernel.endswith("_v1") for kernel in ran)
            with pytest.raises(ValueError, match=f"{name}: version 2 computes in float32, and the arrays are float64"):
                run(cupy, name, *args, version=2)


@versions
@pytest.mark.parametrize("family", [group_norm_cases, layer_norm_cases, batch_norm_cases])
def test_a_mean_of_100_with_deviation_1_costs_no_digits_of_the_variance(family, version):
    """In float32, E[x^2] - E[x]^2 would leave 3 digits of it; the statistics here are good to 5."""
    sizes = (2, 300, 8, 2, False) if family is group_norm_cases else (300, 40)
    (name, args), _ = family(*sizes, mean=100.0)
    wide = [a.astype(np.float64) if isinstance(a, np.ndarray) else a for a in args]
    with installed() as cupy:
        y, mu, spread = run(cupy, name, *args, version=version)
    y64, mu64, spread64 = reference(name, *wide)
    np.testing.assert_allclose(mu, mu64, rtol=2e-7)
    np.testing.assert_allclose(spread, spread64, rtol=1e-5)
    np.testing.assert_allclose(y, y64, atol=5e-5)


# ---------------------------------------------------------------- what the launchers see to


@versions
@pytest.mark.parametrize("shape", [(0, 4, 6), (2, 0, 6), (2, 4, 0)])
def test_an_empty_array_has_mean_0_and_gradients_0(shape, version):
    n, p, c = shape
    with installed() as cupy:
        version = None if version == 2 else version
        check(cupy, group_norm_cases(n, p, c, 2, True), version)
        check(cupy, layer_norm_cases(n * p, c), version)


def test_without_a_wish_version_2_runs_with_16_byte_loads_where_rows_allow_it():
    with installed(check=True) as cupy:
        for c, packed in ((16, "-DPACK=4"), (10, "-DPACK=1")):
            check(cupy, group_norm_cases(2, 5, c, 2, False), None)
            check(cupy, layer_norm_cases(5, c), None)
            check(cupy, batch_norm_cases(5, c), None)
            options = {option for call in cupy.launches for option in call.parameters if "PACK" in option}
            assert packed in options
            cupy.launches.clear()


def test_an_array_that_begins_off_a_multiple_of_16_bytes_is_loaded_number_by_number():
    with installed(check=True) as cupy:
        for cases in (group_norm_cases(2, 5, 16, 2, True), layer_norm_cases(5, 16), batch_norm_cases(5, 16)):
            for name, (first, *rest) in cases:
                shifted = unaligned(cupy, first), *rest
                actual, expected = run(cupy, name, *shifted, version=2), run(cupy, name, first, *rest, version=2)
                assert "-DPACK=4" in cupy.launches[-1].parameters
                for a, e in zip(actual, expected):
                    np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-6)


def test_other_layouts_are_made_contiguous():
    with installed() as cupy:
        for name, args in group_norm_cases(2, 6, 8, 2, False):
            turned = [a.swapaxes(1, 2).copy().swapaxes(1, 2) if np.ndim(a) == 3 else a for a in args]
            for a, e in zip(run(cupy, name, *turned), reference(name, *args)):
                np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-5)


def test_gradients_are_the_same_bits_under_every_schedule():
    for cases in (group_norm_cases(3, 50, 6, 2, True), layer_norm_cases(300, 6), batch_norm_cases(300, 6)):
        for name, args in cases:
            for version in VERSIONS:
                assert_same_bits_under_every_schedule(name, args, version)


def test_wrong_arrays_are_named():
    with installed() as cupy:
        (name, args), (grad, grad_args) = group_norm_cases(2, 3, 4, 2, False)
        x, gamma, *rest = args
        with pytest.raises(TypeError, match="group_norm: x must be float32 or float64, got float16"):
            run(cupy, name, x.astype(np.float16), gamma, *rest)
        with pytest.raises(TypeError, match="group_norm: gamma must be float32 like the arrays before it, got float64"):
            run(cupy, name, x, gamma.astype(np.float64), *rest)
        with pytest.raises(ValueError, match=r"group_norm: gamma must have shape \(4,\), got \(3,\)"):
            run(cupy, name, x, gamma[:3], *rest)
        with pytest.raises(ValueError, match=r"group_norm_grad: dy must have shape \(2, 3, 4\), got \(1, 3, 4\)"):
            run(cupy, grad, grad_args[0][:1], *grad_args[1:])
        with pytest.raises(ValueError, match=r"group_norm: version must be one of \[1, 2\], got 3"):
            run(cupy, name, *args, version=3)
