"""CUDA convolution: each version of the three products against the NumPy reference, under several schedules."""

import numpy as np
import pytest
from cuda_on_cpu.standin import installed
from cuda_pairs import SCHEDULES, compare, normal, reference, run, to_gpu, unaligned
from hypothesis import given
from hypothesis import strategies as st

from minigen.dispatch import kernel
from minigen.kernels import conv, conv_cuda

NAMES = ("conv2d", "conv2d_input_grad", "conv2d_weight_grad")
WINOGRAD_ERROR = 1.5e-5  # of the largest result: as in test_winograd.py

direct_and_tiled = pytest.mark.parametrize("version", (1, 2))
channels = st.one_of(st.integers(1, 9), st.sampled_from([12, 16, 20]))


@st.composite
def geometries(draw):
    """(x's shape, w's shape, stride, padding, dilation, groups) with at least one pixel of y."""
    two = lambda low, high: draw(st.tuples(st.integers(low, high), st.integers(low, high)))  # noqa: E731
    window, stride, padding, dilation, groups = two(1, 4), two(1, 3), two(0, 3), two(1, 3), draw(st.integers(1, 3))
    reach = [d * (k - 1) + 1 - 2 * p for d, k, p in zip(dilation, window, padding)]
    image = [max(1, r) + draw(st.integers(0, 5)) for r in reach]
    c, k = draw(channels), draw(channels)
    return (draw(st.integers(1, 3)), *image, c * groups), (*window, c, k * groups), stride, padding, dilation, groups


def cases(x_shape, w_shape, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, bias="one", dtype=np.float32):
    """(name, arguments) of the three products."""
    x, w = normal(*x_shape, dtype=dtype), normal(*w_shape, seed=1, dtype=dtype)
    shapes = {"one": w_shape[3:], "each": (x_shape[0], w_shape[3])}
    b = normal(*shapes[bias], seed=2, dtype=dtype) if bias else None
    geometry = stride, padding, dilation, groups
    size = conv.output_size(x_shape, w_shape, stride, padding, dilation)
    dy = normal(x_shape[0], *size, w_shape[3], seed=3, dtype=dtype)
    yield NAMES[0], (x, w, b, *geometry)
    yield NAMES[1], (dy, w, x_shape[1:3], *geometry)
    yield NAMES[2], (x, dy, w_shape[:2], *geometry)


def check(cupy, all_cases, version):
    """Returns which kernels ran."""
    return [ran for name, args in all_cases for ran in compare(cupy, name, *args, version=version, kind="conv")]


def check_winograd(cupy, all_cases, version=4):
    for name, args in all_cases:
        (actual,), (expected,) = run(cupy, name, *args, version=version), reference(name, *args)
        assert actual.shape == expected.shape and actual.dtype == np.float32
        assert abs(actual - expected).max() <= WINOGRAD_ERROR * abs(expected).max(), name


def rounded_to_tf32(a):
    """To 10 bits of mantissa, ties away from zero."""
    return ((a.view(np.uint32) + 0x1000) & ~np.uint32(0x1FFF)).view(np.float32)


def check_tensor_cores(cupy, all_cases):
    """Products of rounded numbers are exact in float32: against their reference, only the errors of sums are left."""
    for name, (a, b, *rest) in all_cases:
        (actual,) = run(cupy, name, a, b, *rest, version=3)
        (expected,) = reference(name, rounded_to_tf32(a), rounded_to_tf32(b), *rest)
        np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-6 * max(1, abs(expected).max()), err_msg=name)


# ---------------------------------------------------------------- random shapes, fast mode


@direct_and_tiled
@given(geometries(), st.sampled_from(["one", "each", None]), SCHEDULES)
def test_the_three_products_are_the_reference(version, geometry, bias, schedule):
    with installed(order=schedule[0], seed=schedule[1]) as cupy:
        check(cupy, cases(*geometry, bias=bias), version)


@given(
    st.integers(1, 2), st.integers(1, 9), st.integers(1, 9), channels, channels,
    st.tuples(st.integers(0, 3), st.integers(0, 3)), st.sampled_from(["one", "each", None]), SCHEDULES,
)  # fmt: skip
def test_winograd_is_the_reference(n, h, w, c, k, padding, bias, schedule):
    h, w = (max(side, 3 - 2 * pad) for side, pad in zip((h, w), padding))
    with installed(order=schedule[0], seed=schedule[1]) as cupy:
        check_winograd(cupy, cases((n, h, w, c), (3, 3, c, k), padding=padding, bias=bias))


@given(st.integers(1, 2), st.integers(3, 6), st.integers(1, 5), st.integers(1, 9), st.integers(1, 2), SCHEDULES)
def test_tensor_cores_are_the_reference_of_rounded_numbers(n, side, c, k, stride, schedule):
    with installed(order=schedule[0], seed=schedule[1]) as cupy:
        check_tensor_cores(cupy, cases((n, side, 4, c), (2, 1, c, k), stride=(stride, 1), bias="each"))


# ---------------------------------------------------------------- edges, every access checked

EDGES = {
    "one number": {"x_shape": (1, 1, 1, 1), "w_shape": (1, 1, 1, 1)},
    "one number each way": {"x_shape": (2, 1, 1, 3), "w_shape": (3, 3, 3, 2), "padding": (1, 1), "bias": "each"},
    "one pixel past a tile": {"x_shape": (1, 3, 43, 4), "w_shape": (1, 1, 4, 8)},
    "one channel past a tile": {"x_shape": (1, 2, 2, 8), "w_shape": (1, 1, 8, 65)},
    "one tap past a tile": {"x_shape": (1, 3, 3, 43), "w_shape": (3, 1, 43, 4)},
    "depth of one step": {"x_shape": (1, 2, 3, 8), "w_shape": (1, 1, 8, 4)},
    "depth one past a step": {"x_shape": (1, 2, 3, 9), "w_shape": (1, 1, 9, 4)},
    "strided 1x1": {"x_shape": (2, 5, 6, 4), "w_shape": (1, 1, 4, 4), "stride": (2, 3), "bias": "each"},
    "stride beyond the window": {"x_shape": (1, 7, 8, 4), "w_shape": (2, 2, 4, 4), "stride": (3, 4)},
    "stride and dilation with a factor": {
        "x_shape": (1, 13, 11, 4),
        "w_shape": (3, 2, 4, 8),
        "stride": (4, 2),
        "dilation": (2, 4),
        "padding": (3, 1),
    },
    "padding beyond the window": {"x_shape": (1, 2, 3, 4), "w_shape": (2, 1, 4, 4), "padding": (3, 2)},
    "even window": {"x_shape": (1, 6, 6, 4), "w_shape": (4, 2, 4, 4), "stride": (2, 2), "padding": (1, 0)},
    "pixels that no window sees": {"x_shape": (1, 6, 8, 4), "w_shape": (2, 3, 4, 4), "stride": (3, 3)},
    "depthwise": {"x_shape": (2, 4, 4, 12), "w_shape": (3, 3, 1, 12), "padding": (1, 1), "groups": 12},
    "groups in fours": {"x_shape": (1, 4, 4, 24), "w_shape": (3, 2, 8, 36), "groups": 3, "bias": "each"},
    "pixels in parts": {"x_shape": (3, 16, 16, 4), "w_shape": (1, 2, 4, 4), "bias": None},
}
edges = pytest.mark.parametrize("case", EDGES.values(), ids=EDGES)


@direct_and_tiled
@edges
def test_edges_in_check_mode(case, version):
    with installed(check=True) as cupy:
        check(cupy, cases(**case), version)


@pytest.mark.parametrize("edge", ["one number each way", "strided 1x1", "groups in fours", "even window"])
def test_edges_on_tensor_cores_in_check_mode(edge):
    with installed(check=True) as cupy:
        check_tensor_cores(cupy, cases(**EDGES[edge]))


@pytest.mark.parametrize(
    ("x_shape", "k", "padding"),
    [
        ((1, 1, 1, 1), 1, (1, 1)),
        ((2, 4, 4, 3), 5, (1, 1)),
        ((1, 5, 8, 4), 4, (1, 1)),
        ((1, 3, 3, 2), 3, (0, 0)),
        ((2, 2, 9, 4), 8, (3, 2)),
    ],
)
def test_edges_of_winograd_in_check_mode(x_shape, k, padding):
    with installed(check=True) as cupy:
        check_winograd(cupy, cases(x_shape, (3, 3, x_shape[3], k), padding=padding, bias="each"))


@edges
def test_float64_is_computed_by_version_1(case):
    with installed() as cupy:
        ran = check(cupy, cases(**case, dtype=np.float64), None)
        assert {name.rpartition("_")[2] for name in ran} == {"v1"}
        for version in (2, 3, 4):
            for name, args in cases(**case, dtype=np.float64):
                with pytest.raises(ValueError, match=f"{name}: version {version} computes in float32"):
                    run(cupy, name, *args, version=version)


def test_the_weight_gradient_is_the_same_bits_under_every_schedule():
    *_, (name, args) = cases(**EDGES["pixels in parts"])
    found = []
    for order in range(3):
        with installed(order=order, seed=order) as cupy:
            found.append(run(cupy, name, *args, version=2)[0])
            assert [call.kernel for call in cupy.launches] == ["conv2d_weight_grad_v2", "conv2d_sum_parts"]
            assert cupy.launches[0].grid[2] == 3  # 720 pixels, of which a block adds 256
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


# ---------------------------------------------------------------- which version runs


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "more", "expected"),
    [
        ((1, 4, 4, 16), (3, 3, 16, 16), {}, (2, 2, 2)),
        ((1, 8, 8, 64), (3, 3, 64, 64), {"padding": (1, 1)}, (4, 4, 4)),
        ((1, 8, 8, 64), (3, 3, 64, 64), {"padding": (1, 1), "stride": (2, 2)}, (2, 2, 2)),
        ((1, 8, 8, 64), (3, 3, 64, 63), {"padding": (1, 1)}, (2, 2, 2)),
        ((1, 4, 1, 64), (3, 3, 64, 64), {"padding": (1, 1)}, (2, 2, 2)),  # tiles of which a quarter is used
        ((1, 4, 4, 16), (3, 3, 16, 3), {}, (1, 2, 2)),
        ((1, 4, 4, 3), (3, 3, 3, 16), {}, (2, 1, 2)),
        ((1, 4, 4, 16), (3, 3, 1, 16), {"groups": 16}, (1, 1, 2)),
    ],
)
def test_without_a_wish_the_version_that_should_be_fastest_runs(x_shape, w_shape, more, expected):
    with installed() as cupy:
        for (name, args), version in zip(cases(x_shape, w_shape, **more), expected):
            cupy.launches.clear()
            run(cupy, name, *args)
            ran = [call.kernel for call in cupy.launches]
            if version == 4:
                assert ran[0] == "winograd_image" and any(kernel.endswith("_v2") for kernel in ran)
            else:
                assert {kernel.rpartition("_")[2] for kernel in ran} == {f"v{version}"}, name


def test_tensor_cores_want_a_gpu_that_has_them():
    with installed(capability=75) as cupy:
        for name, args in cases(**EDGES["even window"]):
            with pytest.raises(ValueError, match=f"{name}: version 3 needs tensor cores with TF32: sm_80"):
                run(cupy, name, *args, version=3)
            run(cupy, name, *args, version=2)


def test_a_version_that_does_not_cover_the_case_says_why():
    with installed() as cupy:
        for edge in ("even window", "strided 1x1", "depthwise"):
            for name, args in cases(**EDGES[edge]):
                with pytest.raises(ValueError, match=f"{name}: version 4 is for 3x3 filters"):
                    run(cupy, name, *args, version=4)
                with pytest.raises(ValueError, match=f"{name}: version must be one of"):
                    run(cupy, name, *args, version=5)


# ---------------------------------------------------------------- what the launchers see to


def test_16_byte_loads_are_taken_where_arrays_begin_at_16_bytes_and_channels_come_in_fours():
    with installed(check=True) as cupy:

        def width(name, args, moved=None):
            """What a load brought; the array number `moved` begins 4 bytes past a multiple of 16."""
            given = [unaligned(cupy, a) if i == moved else to_gpu(cupy, a) for i, a in enumerate(args)]
            y = kernel(name, "cuda")(*given, version=2).get()
            np.testing.assert_allclose(y, reference(name, *args)[0], rtol=1e-5, atol=2e-5)
            (parameter,) = (option for option in cupy.launches[-1].parameters if "WIDTH" in option)
            return int(parameter[-1])

        forward, input_grad, weight_grad = cases(**EDGES["groups in fours"])
        assert [width(*forward, moved) for moved in (None, 0, 1, 2)] == [4, 1, 1, 1]
        assert [width(*input_grad, moved) for moved in (None, 0, 1)] == [4, 1, 4]  # the filters are copied on the way
        assert [width(*weight_grad, moved) for moved in (None, 0, 1)] == [4, 1, 1]
        for c, k in ((6, 4), (4, 6)):
            assert [width(*case) for case in cases((1, 3, 3, c), (2, 2, c, k))] == [1, 1, 1]


@pytest.mark.parametrize("version", [1, 2, 4])
def test_other_layouts_are_made_contiguous(version):
    with installed() as cupy:
        for name, args in cases((2, 5, 6, 4), (3, 3, 4, 8), padding=(1, 1), bias="each"):
            turned = [cupy.asarray(a.T.copy()).T if isinstance(a, np.ndarray) else a for a in args]
            y = kernel(name, "cuda")(*turned, version=version).get()
            np.testing.assert_allclose(y, reference(name, *args)[0], rtol=1e-4, atol=5e-5)


@pytest.mark.parametrize("version", [None, 1])
@pytest.mark.parametrize(
    ("x_shape", "w_shape"),
    [((0, 5, 5, 4), (3, 3, 4, 8)), ((2, 5, 5, 0), (3, 3, 0, 8)), ((2, 5, 5, 4), (3, 3, 4, 0))],
    ids=["no samples", "no channels", "no filters"],
)
def test_nothing_to_add_up(x_shape, w_shape, version):
    with installed(check=True) as cupy:
        check(cupy, cases(x_shape, w_shape, bias=None), version)


@pytest.mark.parametrize("version", [2, 3, 4])
def test_no_samples(version):
    with installed(check=True) as cupy:
        check(cupy, cases((0, 5, 5, 4), (3, 3, 4, 8)), version)


def test_wrong_arrays_are_named():
    with installed() as cupy:
        (x_case, dy_case, dw_case) = (args for _, args in cases((2, 5, 5, 4), (3, 3, 4, 8)))
        x, w, b, *geometry = x_case
        with pytest.raises(TypeError, match="conv2d: x must be float32 or float64, got float16"):
            run(cupy, "conv2d", x.astype(np.float16), w, b, *geometry)
        with pytest.raises(TypeError, match="conv2d: w must be float32 like the arrays before it, got float64"):
            run(cupy, "conv2d", x, w.astype(np.float64), b, *geometry)
        with pytest.raises(TypeError, match="conv2d: bias must be float32 like the arrays before it, got float64"):
            run(cupy, "conv2d", x, w, b.astype(np.float64), *geometry)
        with pytest.raises(ValueError, match=r"conv2d: bias must have shape \(8,\), got \(7,\)"):
            run(cupy, "conv2d", x, w, b[:7], *geometry)
        with pytest.raises(ValueError, match=r"conv2d: bias must have shape \(2, 8\), got \(1, 8\)"):
            run(cupy, "conv2d", x, w, b[None], *geometry)
        with pytest.raises(ValueError, match=r"conv2d: x must have shape \(2, 5, 5, 4\), got \(2, 5, 5, 3\)"):
            run(cupy, "conv2d", x[..., :3], w, b, *geometry)
        for name, (a, c, *rest), at in ((NAMES[1], dy_case, 0), (NAMES[2], dw_case, 1)):
            pair = [a, c]
            pair[at] = pair[at][:, :2]
            with pytest.raises(ValueError, match=rf"{name}: dy must have shape \(2, 3, 3, 8\), got \(2, 2, 3, 8\)"):
                run(cupy, name, *pair, *rest)


def test_what_32_bits_cannot_count_is_refused_before_anything_is_allocated():
    one, unit = np.ones((1, 1, 1, 1), np.float32), (1, 1)
    with installed() as cupy:
        with pytest.raises(ValueError, match="index with 32 bits"):
            run(cupy, "conv2d", one, one, None, unit, (30_000, 30_000), unit, 1)
        with pytest.raises(ValueError, match="index with 32 bits"):
            run(cupy, "conv2d_input_grad", one, one, (50_000, 50_000), (50_000, 50_000), (0, 0), unit, 1)
        with pytest.raises(ValueError, match="index with 32 bits"):
            run(cupy, "conv2d_weight_grad", one, one, (50_001, 50_001), unit, (25_000, 25_000), unit, 1)
        points = np.broadcast_to(np.float32(0), (2**20, 8, 8, 64))  # x and y can be counted, 36 points of a tile cannot
        geometry = (3, 3, 64, 64), unit, unit, 1
        assert conv_cuda.chosen("conv2d", None, points[: 2**10], *geometry) == 4
        assert conv_cuda.chosen("conv2d", None, points, *geometry) == 2
        with pytest.raises(ValueError, match="index with 32 bits"):
            conv_cuda.chosen("conv2d", 4, points, *geometry)
