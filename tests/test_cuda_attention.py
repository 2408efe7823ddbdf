"""CUDA attention: each version against the NumPy reference, masked, causal and not, under several schedules."""

import numpy as np
import pytest
from cuda_on_cpu.standin import installed
from cuda_pairs import SCHEDULES, assert_same_bits_under_every_schedule, compare, normal, reference, run, unaligned
from hypothesis import given
from hypothesis import strategies as st

versions = pytest.mark.parametrize("version", [1, 2])


def qkv(n, length, m, heads, d, e, dtype=np.float32):
    shapes = (n, length, heads, d), (n, m, heads, d), (n, m, heads, e)
    return [normal(*shape, seed=i, dtype=dtype) for i, shape in enumerate(shapes)]


def with_gradient(q, k, v, mask=None):
    """(name, arguments) of the forward kernel and of its gradient."""
    o, lse = reference("attention", q, k, v, mask)
    yield "attention", (q, k, v, mask)
    yield "attention_grad", (normal(*o.shape, seed=9, dtype=o.dtype), q, k, v, mask, lse)


def check(cupy, version, *arrays):
    with np.errstate(divide="ignore"):
        for name, args in with_gradient(*arrays):
            compare(cupy, name, *args, version=version, kind="softmax", order=int(name.endswith("grad")))


MASKS = {
    "none": lambda shape, rng: None,
    "causal": lambda shape, rng: np.tril(np.ones(shape[2:], bool)),
    "random": lambda shape, rng: rng.random(shape) < 0.5,
    "of keys": lambda shape, rng: rng.random((shape[0], 1, 1, shape[3])) < 0.5,
    "of heads": lambda shape, rng: rng.random((shape[1], 1, 1)) < 0.5,
    "nothing": lambda shape, rng: np.zeros((1, 1), bool),
}

# ---------------------------------------------------------------- random shapes, fast mode


@versions
@given(
    st.integers(1, 2), st.integers(1, 40), st.integers(1, 40), st.integers(1, 2), st.integers(1, 20),
    st.integers(1, 20), st.sampled_from(sorted(MASKS)), SCHEDULES,
)  # fmt: skip
def test_attention_is_the_reference(version, n, length, m, heads, d, e, mask, schedule):
    mask = MASKS[mask]((n, heads, length, m), np.random.default_rng(5))
    with installed(order=schedule[0], seed=schedule[1]) as cupy:
        check(cupy, version, *qkv(n, length, m, heads, d, e), mask)


# ---------------------------------------------------------------- edges, every access checked

EDGES = {  # n, L, M, heads, D, E and the mask
    "one query, one key": ((1, 1, 1, 1, 16, 16), "none"),
    "L = 33, D = 17": ((1, 33, 33, 2, 17, 17), "causal"),
    "longer than a tile of queries": ((1, 70, 18, 1, 16, 8), "random"),
    "D = 64, E = 20": ((1, 5, 17, 2, 64, 20), "of keys"),
    "D = 128": ((1, 9, 20, 1, 128, 128), "causal"),
    "nothing to attend to": ((1, 20, 20, 1, 8, 8), "nothing"),
    "cross-attention, odd widths": ((2, 6, 19, 2, 5, 7), "of heads"),
}


@versions
@pytest.mark.parametrize(("shape", "mask"), EDGES.values(), ids=EDGES)
def test_edges_in_check_mode(shape, mask, version):
    n, length, m, heads, d, e = shape
    with installed(check=True) as cupy:
        check(cupy, version, *qkv(*shape), MASKS[mask]((n, heads, length, m), np.random.default_rng(7)))


@versions
@pytest.mark.parametrize("shape", [(0, 3, 4, 2), (2, 0, 4, 2), (2, 3, 0, 2), (2, 3, 4, 0)])
def test_empty_axes_give_empty_or_zero_results(shape, version):
    with installed() as cupy:
        check(cupy, version, *qkv(*shape, 8, 8))


def test_float64_and_wide_heads_are_computed_by_version_1():
    with installed() as cupy:
        for arrays, complaint in (
            (qkv(1, 5, 6, 2, 8, 8, np.float64), "computes in float32, and the arrays are float64"),
            (qkv(1, 3, 4, 1, 130, 8), "is for heads of at most 128 numbers, and these have 130"),
        ):
            for name, args in with_gradient(*arrays):
                ran = compare(cupy, name, *args, version=None, kind="softmax", order=int(name.endswith("grad")))
                assert all(kernel.endswith("_v1") for kernel in ran)
                with pytest.raises(ValueError, match=f"{name}: version 2 {complaint}"):
                    run(cupy, name, *args, version=2)


def test_without_a_wish_version_2_runs_with_16_byte_loads_where_widths_and_addresses_allow_it():
    with installed(check=True) as cupy:
        for d, packed in ((8, "-DPACK=4"), (6, "-DPACK=1")):
            q, k, v = qkv(1, 5, 6, 2, d, 8)
            assert compare(cupy, "attention", q, k, v, None, version=None, kind="softmax") == ["attention_v2"]
            assert packed in cupy.launches[-1].parameters
        q, k, v = qkv(1, 5, 6, 2, 8, 8)
        found = run(cupy, "attention", unaligned(cupy, q), k, v, None)
        assert "-DPACK=1" in cupy.launches[-1].parameters
        for a, e in zip(found, reference("attention", q, k, v, None)):
            np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-6)


# ---------------------------------------------------------------- what softmax and masks promise


@versions
def test_scores_of_a_thousand_do_not_overflow(version):
    q, k, v = qkv(1, 6, 40, 1, 16, 16)
    with installed() as cupy:
        o, lse = run(cupy, "attention", np.float32(1e5) * q, k, v, None, version=version)
    nearest = np.einsum("nlhd,nmhd->nlhm", q, k).argmax(-1)[0, :, 0]
    np.testing.assert_allclose(o[0, :, 0], v[0, nearest, 0], rtol=1e-5)
    assert np.isfinite(lse).all()


@versions
def test_a_nan_stays_visible_and_stays_in_its_head(version):
    q, k, v = qkv(2, 5, 20, 2, 8, 8)
    k[0, 3, 1, 0] = np.nan
    with installed() as cupy:
        o, lse = run(cupy, "attention", q, k, v, None, version=version)
    assert np.isnan(o[0, :, 1]).all()
    assert np.isnan(lse[0, 1]).all()
    assert np.isfinite(o[0, :, 0]).all()
    assert np.isfinite(o[1]).all()


def test_tiles_that_no_query_sees_are_not_even_read():
    """Version 2 passes over them: NaN among their values, which would make 0 * NaN, has no influence."""
    q, k, v = qkv(1, 4, 64, 1, 16, 16)
    mask = np.zeros((1, 1, 4, 64), bool)
    mask[..., 16:32] = True
    expected, _ = reference("attention", q, k, v, mask)
    v[:, 32:] = np.nan
    with installed() as cupy:
        o, _ = run(cupy, "attention", q, k, v, mask, version=2)
    np.testing.assert_allclose(o, expected, rtol=1e-5, atol=1e-6)


def test_gradients_are_the_same_bits_under_every_schedule():
    _, (name, args) = with_gradient(*qkv(1, 20, 35, 2, 12, 8), None)
    for version in (1, 2):
        assert_same_bits_under_every_schedule(name, args, version)


def test_wrong_arrays_are_named():
    q, k, v = qkv(2, 3, 4, 2, 8, 8)
    with installed() as cupy:
        with pytest.raises(TypeError, match="attention: q must be float32 or float64, got int32"):
            run(cupy, "attention", q.astype(np.int32), k, v, None)
        with pytest.raises(TypeError, match="attention: v must be float32 like the arrays before it, got float64"):
            run(cupy, "attention", q, k, v.astype(np.float64), None)
        with pytest.raises(ValueError, match=r"attention: k must have shape \(2, 4, 2, 8\), got \(2, 4, 2, 7\)"):
            run(cupy, "attention", q, k[..., :7], v, None)
        with pytest.raises(TypeError, match="mask must be boolean, got int64"):
            run(cupy, "attention", q, k, v, np.ones((3, 4), np.int64))
        with pytest.raises(ValueError, match=r"mask must broadcast to .* = \(2, 2, 3, 4\), got \(4, 3\)"):
            run(cupy, "attention", q, k, v, np.ones((4, 3), bool))
        with pytest.raises(ValueError, match=r"version must be one of \[1, 2, 3\], got 4"):
            run(cupy, "attention", q, k, v, None, version=4)


# ---------------------------------------------------------------- version 3: halves multiplied, float32 summed


def rounded(a):
    """To halves, as version 3 does with q, k, v and the gradient of o."""
    return a.astype(np.float16).astype(np.float32)


def close_as_halves(actual, expected):
    """Each factor of a product has a relative error of 2^-11, and a result is a sum of such products."""
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=0, atol=3e-3 * max(1, abs(e[np.isfinite(e)]).max(initial=0)))


@given(
    st.integers(1, 2), st.integers(1, 40), st.integers(1, 40), st.integers(1, 20), st.integers(1, 16),
    st.sampled_from(sorted(MASKS)), SCHEDULES,
)  # fmt: skip
def test_version_3_is_the_reference_to_the_precision_of_halves(n, length, m, d, e, mask, schedule):
    arrays = qkv(n, length, m, 1, d, e)
    mask = MASKS[mask]((n, 1, length, m), np.random.default_rng(5))
    with installed(order=schedule[0], seed=schedule[1]) as cupy, np.errstate(divide="ignore"):
        for name, args in with_gradient(*arrays, mask):
            close_as_halves(run(cupy, name, *args, version=3), reference(name, *args))


@pytest.mark.parametrize(("shape", "mask"), [EDGES["L = 33, D = 17"], ((1, 9, 35, 1, 64, 64), "causal")])
def test_version_3_in_check_mode(shape, mask):
    n, length, m, heads, d, e = shape
    mask = MASKS[mask]((n, heads, length, m), np.random.default_rng(7))
    with installed(check=True) as cupy:
        for name, args in with_gradient(*qkv(*shape), mask):
            close_as_halves(run(cupy, name, *args, version=3), reference(name, *args))


def test_version_3_multiplies_exactly_what_halves_hold():
    """Keys and queries of small integers: the scores are exact, and so are lse and the choice of the largest."""
    rng = np.random.default_rng(1)
    q, k = (rng.integers(-8, 9, (1, 20, 1, 16)).astype(np.float32) for _ in range(2))
    v = rounded(normal(1, 20, 1, 16))
    with installed() as cupy:
        o, lse = run(cupy, "attention", q, k, v, None, version=3)
    expected, expected_lse = reference("attention", q, k, v, None)
    np.testing.assert_allclose(lse, expected_lse, rtol=1e-6)
    np.testing.assert_allclose(o, expected, atol=2e-3)


def test_version_3_runs_only_where_asked_for_and_there_are_tensor_cores():
    q, k, v = qkv(1, 5, 6, 2, 16, 16)
    with installed() as cupy:
        compare(cupy, "attention", q, k, v, None, version=None, kind="softmax")
        assert [call.kernel for call in cupy.launches] == ["attention_v2"]
    no_tensor_cores = pytest.raises(ValueError, match="version 3 needs tensor cores of sm_80 or later")
    with installed(capability=75) as cupy, no_tensor_cores:
        run(cupy, "attention", q, k, v, None, version=3)


def test_version_3_takes_heads_of_128_forward_and_says_that_it_does_not_backward():
    (name, args), (grad, grad_args) = with_gradient(*qkv(1, 9, 20, 1, 128, 100))
    with installed() as cupy:
        close_as_halves(run(cupy, name, *args, version=3), reference(name, *args))
        with pytest.raises(ValueError, match="is for heads of at most 64 numbers backward, and these have 128"):
            run(cupy, grad, *grad_args, version=3)
