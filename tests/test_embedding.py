"""Embedding tables and sinusoidal features: values, determinism, bad input. (Gradients, torch parity: op_cases.py.)"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_close

from minigen.dispatch import use_kernels
from minigen.kernels import _threads
from minigen.kernels import embedding as kernels
from minigen.kernels.features import sinusoids_grad_numba, sinusoids_grad_numpy, sinusoids_numba, sinusoids_numpy
from minigen.ops.embedding import embedding, fourier_features, sinusoidal_features
from minigen.tensor import Tensor


@pytest.fixture(params=["numpy", "numba"], autouse=True)
def dialect(request):
    with use_kernels(request.param):
        yield request.param


def normal(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


# ---------------------------------------------------------------- embedding


@given(st.lists(st.integers(0, 4), max_size=12))
def test_it_is_a_one_hot_matrix_product_forward_and_backward(indices):
    w = Tensor(normal(5, 3), requires_grad=True)
    onehot, g = np.eye(5)[np.array(indices, int)], normal(len(indices), 3, seed=1)
    y = embedding(w, np.array(indices, int))
    np.testing.assert_array_equal(y.data, w.data[indices].reshape(len(indices), 3))
    y.backward(Tensor(g))
    np.testing.assert_allclose(w.grad.data, onehot.T @ g, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (2, 0, 3)])
def test_indices_of_any_shape_add_one_axis(shape):
    w = Tensor(normal(6, 5), requires_grad=True)
    indices = np.random.default_rng(0).integers(0, 6, shape)
    y = embedding(w, indices)
    assert y.shape == (*shape, 5)
    np.testing.assert_array_equal(y.data, w.data[indices])
    y.sum().backward()
    np.testing.assert_array_equal(w.grad.data[:, 0], np.bincount(indices.reshape(-1), minlength=6))


def test_gradient_has_the_same_bits_for_any_thread_count(monkeypatch):
    g, indices = normal(999, 7, dtype=np.float32), np.random.default_rng(0).integers(0, 13, 999)
    found = set()
    for count in (1, 2, 5):
        monkeypatch.setattr(_threads, "_number_of_threads", count)
        found.add(kernels.embedding_grad_numba(g, indices, 13).tobytes())
    assert found == {kernels.embedding_grad_numpy(g, indices, 13).tobytes()}


@pytest.mark.parametrize(
    ("weight", "indices", "error", "message"),
    [
        (normal(4, 2), [0, 4], ValueError, r"indices must lie in 0\.\.3, got 4"),
        (normal(4, 2), [[-1]], ValueError, r"indices must lie in 0\.\.3, got -1"),
        (normal(4, 2), [0.0], TypeError, "indices must be integers, got float64"),
        (normal(4), [0], ValueError, r"weight must be \(K, D\), got weight\.shape=\(4,\)"),
    ],
)
def test_bad_embedding_input_is_named(weight, indices, error, message):
    with pytest.raises(error, match=message):
        embedding(weight, np.array(indices))


# ---------------------------------------------------------------- sinusoidal features


@pytest.mark.parametrize("dim", [2, 8, 64])
def test_features_are_sines_then_cosines_of_falling_frequencies(dim):
    t = np.array([0, 1, 7, 1000])
    y = sinusoidal_features(t, dim, dtype=np.float64).data
    for n, i in np.ndindex(4, dim // 2):
        angle = t[n] * 10000 ** (-i / (dim / 2))
        assert y[n, i] == pytest.approx(math.sin(angle), abs=1e-12)
        assert y[n, dim // 2 + i] == pytest.approx(math.cos(angle), abs=1e-12)


def test_features_equal_the_usual_torch_formula(torch):
    """As in the reference DDPM code: exp(-ln(1e4) * arange(dim / 2) / (dim / 2)), sines first."""
    t = np.arange(1, 1001)
    f = torch.exp(-math.log(1e4) * torch.arange(16, dtype=torch.float64) / 16)
    angles = torch.tensor(t)[:, None].double() * f
    expected = torch.cat([angles.sin(), angles.cos()], 1).float().numpy()
    np.testing.assert_allclose(sinusoidal_features(t, 32).data, expected, atol=1.2e-7)


def test_float32_features_of_late_steps_are_right_to_the_last_bit_or_two():
    """The angle 999,999 rad in float32 would be off by 0.03 rad."""
    y = sinusoidal_features(np.array([999_999], np.float32), 4, max_period=10).data
    angles = 999_999 * np.array([1, 10**-0.5])
    np.testing.assert_allclose(y[0], np.concatenate([np.sin(angles), np.cos(angles)]), atol=1e-7)


def test_dtype_of_features_is_float32_for_steps_and_ts_own_for_times():
    for dtype in (np.int64, np.int32, np.uint8, np.float32):
        assert sinusoidal_features(np.arange(3, dtype=dtype), 4).dtype == np.float32
    assert sinusoidal_features(np.arange(3.0), 4).dtype == np.float64
    assert sinusoidal_features(Tensor(np.arange(3)), 4, dtype=np.float64).dtype == np.float64
    assert sinusoidal_features(np.arange(3.0), 4, dtype=np.float32).dtype == np.float32


def test_every_feature_pair_has_length_one_and_shifts_are_rotations():
    """sin^2 + cos^2 = 1, and <y(s), y(t)> depends on s - t only: how attention can read distances off them."""
    y = sinusoidal_features(np.arange(20.0), 16).data
    np.testing.assert_allclose(y[:, :8] ** 2 + y[:, 8:] ** 2, 1, rtol=1e-14)
    gram = y @ y.T
    np.testing.assert_allclose(gram[5:, 5:], gram[:-5, :-5], atol=1e-13)


def test_gradient_with_respect_to_time_comes_back_in_times_dtype():
    t = Tensor(np.array([0.5, 2.0]), requires_grad=True)
    sinusoidal_features(t, 2, dtype=np.float32)[:, 0].sum().backward()
    assert t.grad.dtype == np.float64
    np.testing.assert_allclose(t.grad.data, np.cos(t.data), rtol=1e-6)


@pytest.mark.parametrize(
    ("t", "kwargs", "message"),
    [
        (np.arange(3), {"dim": 5}, "dim must be a positive even number .* got dim=5"),
        (np.arange(3), {"dim": 0}, "got dim=0"),
        (np.arange(3), {"dim": 4, "max_period": 0}, "max_period must be positive, got max_period=0"),
        (np.ones((3, 1)), {"dim": 4}, r"t must be a vector \(N,\), got t\.shape=\(3, 1\)"),
    ],
)
def test_bad_feature_input_is_named(t, kwargs, message):
    with pytest.raises(ValueError, match=message):
        sinusoidal_features(t, **kwargs)


# ---------------------------------------------------------------- random Fourier features


def test_fourier_features_are_periodic_in_whole_cycles():
    x, b = normal(2, 5, 3), np.array([[1.0, 2.0], [0.0, -3.0], [4.0, 0.0]])
    y = fourier_features(x, b)
    assert y.shape == (2, 5, 4)
    assert_close(y.data[..., :2], np.sin(2 * np.pi * (x @ b)), "softmax")
    np.testing.assert_allclose(fourier_features(x + np.array([1.0, -2.0, 3.0]), b).data, y.data, atol=1e-13)


def test_inner_products_of_random_features_approach_the_gaussian_kernel():
    """With B from N(0, s^2) the mean of cos(2 pi (x - y) B) is exp(-2 pi^2 s^2 |x - y|^2) (Rahimi and Recht, 2007)."""
    s, m = 0.2, 20_000
    x = normal(6, 2)
    y = fourier_features(x, s * normal(2, m, seed=1)).data
    square = ((x[:, None] - x[None]) ** 2).sum(-1)
    np.testing.assert_allclose(y @ y.T / m, np.exp(-2 * np.pi**2 * s**2 * square), atol=5 / math.sqrt(m))


def test_fourier_features_keep_the_dtype_and_name_shapes_that_do_not_fit():
    b = normal(3, 4)
    assert fourier_features(normal(2, 3, dtype=np.float32), b).dtype == np.float32
    assert fourier_features(np.zeros((0, 3)), b).shape == (0, 8)
    with pytest.raises(ValueError, match=r"got x\.shape=\(2, 4\), frequencies\.shape=\(3, 4\)"):
        fourier_features(normal(2, 4), b)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sinusoids_of_any_angle_equal_the_definition(dtype):
    """Rows within the bound of the vectorised sine, beyond it, and of both kinds."""
    x = np.array([[0.5], [1000.0], [2.0**20], [2.0**20 + 1], [3e7], [np.inf]], dtype)
    frequencies, g = np.array([[1.0, 0.1, np.pi, 1e-4]]), np.ones((len(x), 8), dtype)
    with np.errstate(invalid="ignore"):
        assert_close(sinusoids_numba(x, frequencies), sinusoids_numpy(x, frequencies), "elementwise")
        expected = sinusoids_grad_numpy(g, x, frequencies)
        assert_close(sinusoids_grad_numba(g, x, frequencies), expected, "elementwise", 1)
