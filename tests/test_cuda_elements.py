"""CUDA kernels that work element by element or row by row, run on the CPU: they equal the NumPy definitions.

Activations, losses, embedding, sinusoids, Philox, optimiser steps. Hypothesis draws shapes and the schedule of
threads; the edge shapes run once more with every access checked.
"""

from functools import cache

import numpy as np
import pytest
from cuda_on_cpu import build
from cuda_on_cpu.standin import installed
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_close

from minigen.dispatch import KERNELS, kernel

pytestmark = pytest.mark.skipif(build.missing() is not None, reason=str(build.missing()))

DTYPES = ["float32", "float64"]
ACTIVATIONS = KERNELS["activation"].split()
LOSSES = [name for name in KERNELS["loss"].split() if not name.startswith("cross_entropy")]
INPUTS = {"mse": 2, "l1": 2, "bce": 2, "gaussian_nll": 3, "kl_gaussian": 2, "kl_gaussians": 4}
CHUNK = 256  # threads a block
EDGES = [(0,), (1,), (3,), (4,), (CHUNK,), (CHUNK + 1,), (4 * CHUNK + 4,), (2, 0, 3), (), (7, 5)]

shapes = st.lists(st.integers(0, 9), max_size=3).map(tuple)
schedules = st.tuples(st.integers(0, 3), st.integers(0, 9))
dtypes = st.sampled_from(DTYPES)


def arrays_for(name, shape, dtype, rng):
    """Random inputs of an elementwise kernel, and its scalars."""
    forward = name.removesuffix("_grad")
    number = INPUTS.get(forward, 1) + name.endswith("_grad")
    arrays = [np.asarray(rng.standard_normal(shape), dtype) for _ in range(number)]
    return arrays, [np.dtype(dtype).type(0.2)] if forward == "leaky_relu" else []


def on_gpu(cupy, arrays):
    return [cupy.asarray(a) if isinstance(a, np.ndarray) else a for a in arrays]


def as_tuple(y):
    return y if isinstance(y, tuple) else (y,)


def equal(name, arguments, cupy, kind="reduction", **options):
    """The CUDA kernel's results on `arguments` are those of the NumPy definition, and its inputs stay as they were."""
    moved = on_gpu(cupy, arguments)
    actual = as_tuple(kernel(name, "cuda")(*moved, **options))
    expected = as_tuple(kernel(name, "numpy")(*arguments))
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected):
        assert a.dtype == e.dtype
        assert_close(a.get(), e, kind, what=name)
    assert all(np.array_equal(m.get(), a) for m, a in zip(moved, arguments) if isinstance(a, np.ndarray))


# ---------------------------------------------------------------- activations and losses


@pytest.mark.parametrize("name", ACTIVATIONS + LOSSES)
@given(shapes, dtypes, schedules, st.integers(0, 99))
def test_elementwise_kernels_equal_their_definition(name, shape, dtype, schedule, seed):
    arrays, scalars = arrays_for(name, shape, dtype, np.random.default_rng(seed))
    with installed(order=schedule[0], seed=schedule[1]) as cupy:
        equal(name, arrays + scalars, cupy)


@pytest.mark.parametrize("name", ["silu", "leaky_relu_grad", "kl_gaussians_grad"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", EDGES, ids=str)
def test_elementwise_kernels_touch_nothing_but_their_elements(name, dtype, shape, checked_cupy):
    arrays, scalars = arrays_for(name, shape, dtype, np.random.default_rng(0))
    equal(name, arrays + scalars, checked_cupy)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_has_a_version_that_reads_four_at_once(name, checked_cupy):
    arrays, scalars = arrays_for(name, (3, 8), "float32", np.random.default_rng(0))
    equal(name, arrays + scalars, checked_cupy, version=2)
    assert checked_cupy.launches[-1].kernel == f"{name}_v2"
    equal(name, arrays + scalars, checked_cupy, version=1)
    assert checked_cupy.launches[-1].kernel == f"{name}_v1"


def test_the_wide_version_is_taken_where_it_fits(cupy):
    silu, x = kernel("silu", "cuda"), np.linspace(-3, 3, 48).astype(np.float32)
    for array, version in (
        (cupy.asarray(x), 2),
        (cupy.asarray(x[:47]), 1),  # four does not divide it
        (cupy.asarray(x)[1:41], 1),  # begins 4 bytes behind a multiple of 16
        (cupy.asarray(x)[4:44], 2),
        (cupy.asarray(x.astype(np.float64)), 1),
    ):
        assert_close(silu(array).get(), kernel("silu", "numpy")(array.get()), "elementwise")
        assert cupy.launches[-1].kernel == f"silu_v{version}"


def test_an_array_whose_elements_are_not_in_order_is_copied_first(cupy):
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    y = kernel("silu", "cuda")(cupy.asarray(x).T)
    assert np.array_equal(y.get(), kernel("silu", "cuda")(cupy.asarray(np.ascontiguousarray(x.T))).get())


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_special_values_are_those_of_the_definition(name, dtype, cupy):
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-30, -1e-30, 30.0, -30.0, 100.0, -100.0, 0.5], dtype)
    arrays, scalars = arrays_for(name, special.shape, dtype, np.random.default_rng(0))
    arrays[-1] = special if name not in ("sigmoid_grad", "tanh_grad") else np.clip(special, -1, 1)
    with np.errstate(all="ignore"):
        expected = kernel(name, "numpy")(*arrays, *scalars)
    actual = kernel(name, "cuda")(*on_gpu(cupy, arrays), *scalars).get()
    finite = ~np.isnan(special)
    assert_close(actual[finite], expected[finite], "elementwise", what=name)
    if not name.endswith("_grad"):
        assert np.isnan(actual[0])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda xp: kernel("silu", "cuda")(xp.zeros(4, "int32")),
            TypeError,
            "silu: array 0 must be float32 or float64, got int32",
        ),
        (lambda xp: kernel("silu", "cuda")(xp.zeros(4, "float16")), TypeError, "got float16"),
        (
            lambda xp: kernel("mse", "cuda")(xp.zeros(4, "f4"), xp.zeros(4)),
            TypeError,
            "array 1 must be float32 .*, got float64",
        ),
        (lambda xp: kernel("mse", "cuda")(xp.zeros(4), xp.zeros(5)), ValueError, r"shape \(4,\), got \(5,\)"),
        (
            lambda xp: kernel("silu", "cuda")(xp.zeros(6, "f4"), version=2),
            ValueError,
            "version 2 needs elements in fours",
        ),
        (lambda xp: kernel("silu", "cuda")(xp.zeros(8), version=2), ValueError, "version 2 computes in float32"),
        (lambda xp: kernel("silu", "cuda")(xp.zeros(8, "f4")[1:5], version=2), ValueError, "addresses that 16"),
        (lambda xp: kernel("silu", "cuda")(xp.zeros(8), version=3), ValueError, r"one of \[1, 2\], got 3"),
        (lambda xp: kernel("mse", "cuda")(xp.zeros(8), xp.zeros(8), version=2), ValueError, r"one of \[1\], got 2"),
    ],
)
def test_what_a_kernel_cannot_take_is_refused(call, error, message, cupy):
    with pytest.raises(error, match=message):
        call(cupy)
    assert not cupy.launches


# ---------------------------------------------------------------- cross-entropy, embedding, sinusoids


@given(st.integers(0, 9), st.sampled_from([1, 2, 10, 31, 32, 33, 70]), dtypes, schedules, st.sampled_from([None, 1, 2]))
def test_cross_entropy(n, k, dtype, schedule, version):
    rng = np.random.default_rng(n + k)
    x, labels = 3 * rng.standard_normal((n, k)).astype(dtype), rng.integers(0, k, n)
    g, lse = rng.standard_normal(n).astype(dtype), kernel("cross_entropy", "numpy")(x, labels)[1]
    with installed(order=schedule[0], seed=schedule[1]) as cupy:
        equal("cross_entropy", [x, labels], cupy, "softmax", version=version)
        equal("cross_entropy_grad", [g, x, labels, lse], cupy, "softmax")


@given(st.integers(1, 6), st.integers(0, 12), st.integers(1, 9), dtypes, schedules)
def test_embedding(rows, n, width, dtype, schedule):
    rng = np.random.default_rng(rows + n + width)
    w, g = rng.standard_normal((rows, width)).astype(dtype), rng.standard_normal((n, width)).astype(dtype)
    indices = rng.integers(0, rows, n)
    with installed(order=schedule[0], seed=schedule[1]) as cupy:
        equal("embedding", [w, indices], cupy, "exact")
        equal("embedding_grad", [g, indices, rows], cupy)


def test_the_gradient_of_an_embedding_adds_up_in_the_order_of_the_indices():
    """One row's gradients in order, in float32: 1e8 + 1 - 1e8 is 0, and 1e8 - 1e8 + 1 is 1."""
    g = np.array([[1e8], [1.0], [-1e8], [1e8], [-1e8], [1.0]], np.float32)
    indices = np.array([0, 0, 0, 1, 1, 1])
    for order in range(4):
        with installed(order=order) as cupy:
            dw = kernel("embedding_grad", "cuda")(cupy.asarray(g), cupy.asarray(indices), 2)
            assert dw.get().tolist() == [[0.0], [1.0]]


@given(st.integers(0, 7), st.integers(1, 3), st.integers(1, 6), dtypes, schedules)
def test_sinusoids(n, d, m, dtype, schedule):
    rng = np.random.default_rng(n + d + m)
    x, frequencies = rng.standard_normal((n, d)).astype(dtype), rng.standard_normal((d, m))
    with installed(order=schedule[0], seed=schedule[1]) as cupy:
        equal("sinusoids", [x, frequencies], cupy)
        equal("sinusoids_grad", [rng.standard_normal((n, 2 * m)).astype(dtype), x, frequencies], cupy)


def row_kernels(dtype):
    """(name, arguments) of the kernels of this section on awkward sizes."""
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((9, 33)).astype(dtype), rng.integers(0, 33, 9)
    lse = kernel("cross_entropy", "numpy")(x, labels)[1]
    yield "cross_entropy", [x, labels]
    yield "cross_entropy_grad", [rng.standard_normal(9).astype(dtype), x, labels, lse]
    for width in (3, 8):
        indices = rng.integers(0, 5, 13)
        yield "embedding", [rng.standard_normal((5, width)).astype(dtype), indices]
        yield "embedding_grad", [rng.standard_normal((13, width)).astype(dtype), indices, 5]
    x, frequencies = rng.standard_normal((5, 2)).astype(dtype), rng.standard_normal((2, 7))
    yield "sinusoids", [x, frequencies]
    yield "sinusoids_grad", [rng.standard_normal((5, 14)).astype(dtype), x, frequencies]


@pytest.mark.parametrize("dtype", DTYPES)
def test_row_kernels_touch_nothing_but_their_rows(dtype, checked_cupy):
    for name, arguments in row_kernels(dtype):
        equal(name, arguments, checked_cupy, "softmax")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda xp, x, i: kernel("cross_entropy", "cuda")(x, i.astype("int32")), TypeError, "labels must be int64"),
        (lambda xp, x, i: kernel("cross_entropy", "cuda")(x, i[:2]), ValueError, r"got \(3, 4\) and \(2,\)"),
        (lambda xp, x, i: kernel("cross_entropy", "cuda")(x, i, version=3), ValueError, r"one of \[1, 2\], got 3"),
        (lambda xp, x, i: kernel("embedding", "cuda")(x, i.astype("int32")), TypeError, "indices must be int64"),
        (lambda xp, x, i: kernel("embedding", "cuda")(x[:, :2], i, version=2), ValueError, "version 2 needs"),
        (lambda xp, x, i: kernel("sinusoids", "cuda")(x, x), TypeError, "frequencies must be float64"),
        (lambda xp, x, i: kernel("sinusoids", "cuda")(x, xp.zeros((3, 2))), ValueError, r"got \(3, 4\) and \(3, 2\)"),
    ],
)
def test_what_a_row_kernel_cannot_take_is_refused(call, error, message, cupy):
    with pytest.raises(error, match=message):
        call(cupy, cupy.zeros((3, 4), "float32"), cupy.zeros(3, "int64"))


# ---------------------------------------------------------------- Philox

KNOWN_ANSWERS = [  # Random123, tests/kat_vectors, "philox4x32 10": counter, key -> words
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def number(words):
    return sum(int(word, 16) << 32 * i for i, word in enumerate(words.split()))


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN_ANSWERS)
@pytest.mark.parametrize("version", [1, 2])
def test_philox_gives_the_published_words(counter, key, words, version, cupy):
    found = kernel("philox_bits", "cuda")(number(key), number(counter), 4, version=version)
    assert found.get().tolist() == [int(word, 16) for word in words.split()]


@given(
    st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 999), st.integers(0, 3), st.integers(0, 2100), dtypes, schedules
)
def test_philox_draws_the_same_numbers_as_on_the_cpu(seed, position, family, n, dtype, schedule):
    counter = (family << 64) + position
    with installed(order=schedule[0], seed=schedule[1]) as cupy:
        words = kernel("philox_bits", "cuda")(seed, counter, n)
        assert np.array_equal(words.get(), kernel("philox_bits", "numpy")(seed, counter, n))
        equal("philox_uniform", [seed, counter, n, dtype], cupy, "exact")
        equal("philox_normal", [seed, counter, n, dtype], cupy, "elementwise")
        equal("philox_normal", [seed, counter, n, dtype], cupy, "elementwise", version=1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_philox_writes_every_number_and_nothing_else(dtype, checked_cupy):
    for n in (1, 4, 5, 4 * CHUNK, 4 * CHUNK + 1):
        equal("philox_uniform", [7, 5, n, dtype], checked_cupy, "exact")
        equal("philox_normal", [7, 5, n, dtype], checked_cupy, "elementwise")


def test_philox_refuses_what_the_cpu_refuses(cupy):
    with pytest.raises(TypeError, match="float32 or float64"):
        kernel("philox_normal", "cuda")(0, 0, 4, np.float16)
    with pytest.raises(ValueError, match="version 2 stores 16 bytes, not 32"):
        kernel("philox_normal", "cuda")(0, 0, 4, np.float64, version=2)
    with pytest.raises(ValueError, match="leaves the stream"):
        kernel("philox_bits", "cuda")(0, 2**64 - 1, 5)
    with pytest.raises(ValueError, match="index with 32 bits"):
        kernel("philox_bits", "cuda")(0, 0, 2**31)


# ---------------------------------------------------------------- optimiser steps

ADAMW = (0.01, 0.9, 0.999, 1e-8, 0.1, 3)  # lr, beta1, beta2, eps, decay, step
STEPS = {  # (state vectors, scalars after the gradient's scale)
    "sgd_step": (1, (0.1, 0.9, 0.01)),
    "rmsprop_step": (1, (0.1, 0.99, 1e-8)),
    "adamw_step": (2, ADAMW),
}


@cache
def cut(n, parts, seed):
    """n split into `parts` lengths."""
    ends = np.sort(np.random.default_rng(seed).integers(0, n + 1, parts - 1))
    return np.diff([0, *ends, n])


def step(name, dialect, n, parts, dtype, cupy=None, averaged=False, **options):
    """Run one step from fixed random vectors -> those it has written, as NumPy."""
    rng, (states, scalars) = np.random.default_rng(n), STEPS[name]
    vectors = [abs(rng.standard_normal(n)).astype(dtype) for _ in range(1 + states + averaged)]
    g = rng.standard_normal(n).astype(dtype)
    pieces = [piece.copy() for piece in np.split(g, np.cumsum(cut(n, parts, n))[:-1])]
    if cupy is not None:
        vectors, pieces = on_gpu(cupy, vectors), on_gpu(cupy, pieces)
    p, *state = vectors
    more = (state.pop(), 0.9) if averaged else ()
    kernel(name, dialect)(p, pieces, *state, 0.5, *scalars, *more, **options)
    return [v.get() if cupy is not None else v for v in vectors]


@pytest.mark.parametrize(("name", "averaged"), [*((name, False) for name in STEPS), ("adamw_step", True)])
@given(st.integers(1, 40), st.integers(1, 3), dtypes, schedules)
def test_an_optimiser_step(name, averaged, n, parts, dtype, schedule):
    expected = step(name, "numpy", n, parts, dtype, averaged=averaged)
    with installed(order=schedule[0], seed=schedule[1]) as cupy:
        for a, e in zip(step(name, "cuda", n, parts, dtype, cupy, averaged), expected):
            assert_close(a, e, "reduction", order=1, what=name)


@pytest.mark.parametrize(("name", "averaged"), [*((name, False) for name in STEPS), ("adamw_step", True)])
@pytest.mark.parametrize(("n", "version"), [(1, 1), (CHUNK + 1, 1), (4, 2), (4 * CHUNK + 4, 2)])
def test_an_optimiser_step_touches_nothing_but_its_vectors(name, averaged, n, version, checked_cupy):
    actual = step(name, "cuda", n, 1, "float32", checked_cupy, averaged, version=version)
    assert checked_cupy.launches[-1].kernel.endswith(f"_v{version}")
    for a, e in zip(actual, step(name, "numpy", n, 1, "float32", averaged=averaged)):
        assert_close(a, e, "reduction", order=1, what=name)


@given(st.integers(1, 99), dtypes, schedules)
def test_the_moving_average(n, dtype, schedule):
    rng = np.random.default_rng(n)
    average, p = rng.standard_normal((2, n)).astype(dtype)
    expected = average.copy()
    kernel("ema_step", "numpy")(expected, p, 0.7)
    with installed(order=schedule[0], seed=schedule[1]) as cupy:
        actual = cupy.asarray(average)
        kernel("ema_step", "cuda")(actual, cupy.asarray(p), 0.7)
        assert_close(actual.get(), expected, "elementwise")


@pytest.mark.parametrize("n", [1, 3, 4, 31, 4 * CHUNK, 16 * CHUNK, 16 * CHUNK + 4, 40_001])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_sum_of_squares_is_the_same_bits_under_every_schedule(n, dtype):
    g = np.random.default_rng(n).standard_normal(n).astype(dtype)
    found = set()
    for order in range(4):
        with installed(order=order, seed=order) as cupy:
            parts = [cupy.asarray(part) for part in np.split(g, [n // 3])]
            found.add(kernel("square_norm", "cuda")(*parts))
    assert len(found) == 1
    assert found.pop() == pytest.approx(kernel("square_norm", "numpy")(g), rel=1e-13)


@pytest.mark.parametrize("version", [1, 2])
def test_the_sum_of_squares_has_no_race(version, checked_cupy):
    g = np.random.default_rng(0).standard_normal(16 * CHUNK + 4).astype(np.float32)
    found = kernel("square_norm", "cuda")(checked_cupy.asarray(g), version=version)
    assert found == pytest.approx(kernel("square_norm", "numpy")(g), rel=1e-13)
