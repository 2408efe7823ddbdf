"""CUDA pooling and resizing: each version against the NumPy reference, whatever the schedule of threads."""

import numpy as np
import pytest
from cuda_on_cpu.standin import installed
from cuda_pairs import SCHEDULES, compare, normal, reference, run, to_gpu, unaligned
from hypothesis import given
from hypothesis import strategies as st
from strategies import pool_geometries

from minigen.dispatch import kernel

ONE_VERSION = ("max_pool2d_grad",)

versions = pytest.mark.parametrize("version", (1, 2))
modes = pytest.mark.parametrize("mode", ("nearest", "bilinear"))
lengths = st.integers(1, 13)


def pool_cases(shape, size, stride, padding, dtype=np.float32, ties=False):
    """(name, arguments) of max and average pooling and their gradients."""
    x = normal(*shape, dtype=dtype)
    x = np.round(x) if ties else x
    y, cell = reference("max_pool2d", x, size, stride, padding)
    dy, geometry = normal(*y.shape, seed=1, dtype=dtype), (size, stride, padding)
    yield "max_pool2d", (x, *geometry)
    yield "max_pool2d_grad", (dy, cell, shape[1:3])
    yield "avg_pool2d", (x, *geometry)
    yield "avg_pool2d_grad", (dy, shape[1:3], *geometry)


def resize_cases(shape, size, mode, dtype=np.float32):
    yield "resize", (normal(*shape, dtype=dtype), size, mode)
    yield "resize_grad", (normal(shape[0], *size, shape[3], seed=1, dtype=dtype), shape[1:3], mode)


def check(cupy, cases, wanted):
    for name, args in cases:
        version = None if name in ONE_VERSION else wanted
        if name == "max_pool2d":  # chosen, not computed
            for actual, expected in zip(run(cupy, name, *args, version=version), reference(name, *args)):
                assert actual.dtype == expected.dtype
                np.testing.assert_array_equal(actual, expected)
        else:
            compare(cupy, name, *args, version=version, kind="reduction")


def channels(version):
    return st.integers(1, 9) if version == 1 else st.sampled_from([4, 8, 12])


# ---------------------------------------------------------------- random shapes, fast mode


@versions
@given(st.data(), st.integers(1, 3), pool_geometries(), st.booleans(), SCHEDULES)
def test_pooling_is_the_reference(version, data, n, window, ties, schedule):
    (h, w), *geometry = window
    shape = n, h, w, data.draw(channels(version))
    with installed(order=schedule[0], seed=schedule[1]) as cupy:
        check(cupy, pool_cases(shape, *geometry, ties=ties), version)


@versions
@modes
@given(st.data(), st.integers(1, 3), st.tuples(lengths, lengths), st.tuples(lengths, lengths), SCHEDULES)
def test_resizing_is_the_reference(version, mode, data, n, image, size, schedule):
    shape = n, *image, data.draw(channels(version))
    with installed(order=schedule[0], seed=schedule[1]) as cupy:
        check(cupy, resize_cases(shape, size, mode), version)


# ---------------------------------------------------------------- edges, every access checked

POOLS = {
    "one cell": ((1, 1, 1, 4), (1, 1), (1, 1), (0, 0)),
    "windows that overlap": ((2, 5, 6, 4), (3, 3), (1, 1), (1, 1)),
    "cells that no window sees": ((1, 7, 8, 8), (2, 1), (3, 4), (0, 0)),
    "one window for all": ((1, 4, 3, 4), (4, 3), (1, 1), (0, 0)),
    "more results than a block": ((3, 10, 11, 4), (2, 2), (1, 1), (1, 0)),
}
SIZES = [((1, 1), (1, 1)), ((1, 1), (5, 3)), ((5, 3), (1, 1)), ((7, 2), (3, 9)), ((4, 6), (4, 6)), ((3, 13), (11, 4))]


@versions
@pytest.mark.parametrize("case", POOLS.values(), ids=POOLS)
def test_edges_of_pooling_in_check_mode(case, version):
    with installed(check=True) as cupy:
        check(cupy, pool_cases(*case), version)


@versions
@modes
@pytest.mark.parametrize(("image", "size"), SIZES)
def test_edges_of_resizing_in_check_mode(image, size, mode, version):
    with installed(check=True) as cupy:
        check(cupy, resize_cases((2, *image, 4), size, mode), version)


@modes
@pytest.mark.parametrize(("n_in", "n_out"), [(10_000, 3), (3, 10_000), (9_999, 10_000)])
def test_long_lines_are_read_at_the_right_places(n_in, n_out, mode):
    """The largest fraction is 2e8, which an int holds and a float32 does not."""
    with installed() as cupy:
        check(cupy, resize_cases((1, 1, n_in, 1), (1, n_out), mode), None)


def test_float64_is_computed_by_version_1():
    cases = [*pool_cases((2, 5, 6, 4), (3, 2), (2, 1), (1, 0), dtype=np.float64)]
    cases += resize_cases((2, 5, 6, 4), (7, 3), "bilinear", dtype=np.float64)
    with installed() as cupy:
        for name, args in cases:
            check(cupy, [(name, args)], None)
            assert {"-DPACK=1", "-DREAL=double"} <= set(cupy.launches[-1].parameters)
            if name not in ONE_VERSION:
                with pytest.raises(ValueError, match=f"{name}: version 2 computes in float32"):
                    run(cupy, name, *args, version=2)


@versions
def test_a_nan_shows_in_every_window_that_holds_it_and_equal_maxima_go_to_the_first(version):
    x = np.full((1, 6, 6, 4), -np.inf, np.float32)
    x[0, 2, 3, 1] = np.nan
    x[0, 1:3, 1:3, 2] = 7
    x[0, 4, 4, 3] = np.inf
    with installed() as cupy:
        for actual, expected in zip(
            run(cupy, "max_pool2d", x, (3, 3), (1, 1), (1, 1), version=version),
            reference("max_pool2d", x, (3, 3), (1, 1), (1, 1)),
        ):
            np.testing.assert_array_equal(actual, expected)


@modes
def test_a_nan_goes_back_to_the_pixels_that_were_read_and_to_no_other(mode):
    dy = normal(1, 9, 7, 4)
    dy[0, 4, 3, 2] = np.nan
    with installed() as cupy:
        compare(cupy, "resize_grad", dy, (4, 5), mode, version=None, kind="reduction")


# ---------------------------------------------------------------- what the launchers see to


def all_cases(shape):
    yield from pool_cases(shape, (3, 2), (2, 1), (1, 0))
    yield from resize_cases(shape, (7, 3), "nearest")
    yield from resize_cases(shape, (3, 8), "bilinear")


def pack_of(call):
    return next(option for option in call.parameters if "PACK" in option)[-1]


@pytest.mark.parametrize(("c", "pack"), [(8, "4"), (6, "1"), (1, "1")])
def test_without_a_wish_channels_are_taken_in_fours_where_they_come_in_fours(c, pack):
    with installed(check=True) as cupy:
        for name, args in all_cases((2, 5, 4, c)):
            check(cupy, [(name, args)], None)
            assert pack_of(cupy.launches[-1]) == ("1" if name in ONE_VERSION else pack)
            if pack == "1":
                with pytest.raises(ValueError, match=f"{name}: version"):
                    run(cupy, name, *args, version=2)


def test_an_array_that_begins_off_a_multiple_of_16_bytes_is_read_number_by_number():
    with installed(check=True) as cupy:
        for name, (first, *rest) in all_cases((2, 5, 4, 8)):
            result = kernel(name, "cuda")(unaligned(cupy, first), *(to_gpu(cupy, a) for a in rest))
            assert pack_of(cupy.launches[-1]) == "1"
            actual = (result[0] if isinstance(result, tuple) else result).get()
            np.testing.assert_allclose(actual, reference(name, first, *rest)[0], rtol=1e-5, atol=1e-5)


def test_other_layouts_are_made_contiguous():
    with installed() as cupy:
        for name, args in all_cases((2, 5, 4, 8)):
            turned = [cupy.asarray(a.T.copy()).T if isinstance(a, np.ndarray) else a for a in args]
            result = kernel(name, "cuda")(*turned)
            actual = (result[0] if isinstance(result, tuple) else result).get()
            np.testing.assert_allclose(actual, reference(name, *args)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(0, 5, 4, 8), (2, 5, 4, 0)])
def test_no_samples_or_no_channels(shape):
    with installed(check=True) as cupy:
        check(cupy, all_cases(shape), None)


def test_wrong_arrays_are_named():
    with installed() as cupy:
        for name, (first, *rest) in all_cases((2, 5, 4, 8)):
            with pytest.raises(TypeError, match=f"{name}: .* must be float32 or float64, got float16"):
                run(cupy, name, first.astype(np.float16), *rest)
        dy, cell = normal(1, 2, 2, 4), np.zeros((1, 2, 2, 4), np.int32)
        with pytest.raises(ValueError, match="max_pool2d_grad: cell must have shape"):
            run(cupy, "max_pool2d_grad", dy, cell[..., :2], (4, 4))
        with pytest.raises(ValueError, match=r"avg_pool2d_grad: dy must have shape \(1, 3, 3, 4\)"):
            run(cupy, "avg_pool2d_grad", dy, (4, 4), (2, 2), (1, 1), (0, 0))


def test_what_32_bits_cannot_count_is_refused_before_anything_is_allocated():
    one, cell = np.ones((1, 1, 1, 1), np.float32), np.zeros((1, 1, 1, 1), np.int32)
    with installed() as cupy:
        for name, args in (
            ("max_pool2d_grad", (one, cell, (50_000, 50_000))),
            ("avg_pool2d_grad", (one, (50_000, 50_000), (50_000, 50_000), (1, 1), (0, 0))),
            ("resize", (one, (50_000, 50_000), "nearest")),
            ("resize_grad", (one, (50_000, 50_000), "bilinear")),
            ("resize", (np.ones((1, 1, 40_000, 1), np.float32), (1, 40_000), "bilinear")),  # the fractions
        ):
            with pytest.raises(ValueError, match="index with 32 bits"):
                run(cupy, name, *args)
