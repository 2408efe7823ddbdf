"""Losses: closed forms, units, stability at the ends, bad input. (Gradients and torch parity: op_cases.py.)"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.integrate import quad
from tolerances import assert_close

from minigen.dispatch import use_kernels
from minigen.ops.loss import bce_with_logits, cross_entropy, gaussian_nll, kl_gaussian, kl_gaussians, l1, mse
from minigen.tensor import Tensor

ALIKE = {mse: 2, l1: 2, bce_with_logits: 2, gaussian_nll: 3, kl_gaussian: 2, kl_gaussians: 4}  # and their inputs


@pytest.fixture(params=["numpy", "numba"], autouse=True)
def dialect(request):
    with use_kernels(request.param):
        yield request.param


def leaf(values, dtype=np.float64):
    return Tensor(np.array(values, dtype), requires_grad=True)


def normals(count, *shape, seed=0):
    return [Tensor(x, requires_grad=True) for x in np.random.default_rng(seed).standard_normal((count, *shape))]


# ---------------------------------------------------------------- what they are


def test_squared_and_absolute_error_by_hand():
    pred, target = leaf([1.0, 2.0, 5.0]), leaf([1.0, 4.0, 4.0])
    mse(pred, target).backward()
    np.testing.assert_allclose(pred.grad.data, [0, -4 / 3, 2 / 3], rtol=1e-15)
    np.testing.assert_array_equal(target.grad.data, -pred.grad.data)
    assert mse(pred, target).item() == pytest.approx(5 / 3, rel=1e-15)
    pred, target = leaf(pred.data), leaf(target.data)
    l1(pred, target, "sum").backward()
    np.testing.assert_array_equal(pred.grad.data, [0, -1, 1])  # 0 where they are equal
    np.testing.assert_array_equal(target.grad.data, [0, 1, -1])


@given(st.floats(-15, 15), st.floats(0, 1))
def test_bce_is_minus_the_log_likelihood_of_a_coin(x, t):
    s = 1 / (1 + math.exp(-x))  # far from 0, the plain formula loses its digits in 1 - s
    expected = -t * math.log(s) - (1 - t) * math.log1p(-s)
    assert bce_with_logits(leaf([x]), leaf([t])).item() == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("create_graph", [False, True])
def test_bce_is_finite_and_right_at_logits_of_a_hundred(dtype, create_graph):
    """ln(1 - sigmoid(100)) is ln 0 in floating point; the loss is 100 and its slope 1."""
    x, t = leaf([100, -100, 100, -100], dtype), leaf([0, 1, 1, 0], dtype)
    loss = bce_with_logits(x, t, "none")
    np.testing.assert_allclose(loss.data, [100, 100, 0, 0], atol=1e-30)
    loss.sum().backward(create_graph=create_graph)
    np.testing.assert_allclose(x.grad.data, [1, -1, 0, 0], atol=1e-30)
    np.testing.assert_array_equal(t.grad.data, [-100, 100, -100, 100])


def test_generator_losses_of_a_gan_by_logit():
    """Deck 000: the slope of -ln sigmoid(a) is -(1 - sigmoid(a)), that of ln(1 - sigmoid(a)) is -sigmoid(a)."""
    a = leaf([-100.0, -1.0, 0.0, 2.0, 100.0])
    s = 1 / (1 + np.exp(-a.data))
    bce_with_logits(a, np.ones(5), "sum").backward()
    assert_close(a.grad.data, -(1 - s), "elementwise", 1)
    a.zero_grad()
    (-bce_with_logits(a, np.zeros(5), "sum")).backward()
    assert_close(a.grad.data, -s, "elementwise", 1)


def test_cross_entropy_of_equal_logits_is_ln_k_and_its_gradient_softmax_minus_onehot():
    x = leaf(np.zeros((3, 10)))
    loss, weights = cross_entropy(x, np.array([0, 4, 9]), "none"), np.array([1.0, 2.0, -3.0])
    np.testing.assert_allclose(loss.data, math.log(10), rtol=1e-14)
    loss.backward(Tensor(weights))
    np.testing.assert_allclose(x.grad.data, weights[:, None] * (0.1 - np.eye(10)[[0, 4, 9]]), rtol=1e-14)


def test_cross_entropy_is_exact_at_large_logits():
    x = leaf([[1000.0, 0.0], [0.0, 1000.0]])
    loss = cross_entropy(x, np.array([0, 0]), "none")
    np.testing.assert_array_equal(loss.data, [0, 1000])
    loss.sum().backward()
    np.testing.assert_array_equal(x.grad.data, [[0, 0], [-1, 1]])


def test_cross_entropy_of_two_classes_is_bce_of_the_difference():
    (x,) = normals(1, 5, 2)
    labels = np.array([0, 1, 1, 0, 1])
    two = cross_entropy(x, labels).item()
    assert two == pytest.approx(bce_with_logits(x.data[:, 1] - x.data[:, 0], labels.astype(float)).item(), rel=1e-13)


@given(st.floats(-3, 3), st.floats(-3, 3), st.floats(-4, 4))
def test_gaussian_nll_is_scipys_density_in_nats(x, mean, logvar):
    expected = -stats.norm.logpdf(x, mean, math.exp(logvar / 2))
    assert gaussian_nll(leaf([x]), leaf([mean]), leaf([logvar])).item() == pytest.approx(expected, rel=1e-10, abs=1e-12)


def test_gaussian_nll_integrates_to_one_as_a_density():
    mass, _ = quad(lambda x: math.exp(-gaussian_nll(leaf([x]), leaf([0.3]), leaf([-0.7])).item()), -8, 8)
    assert mass == pytest.approx(1, abs=1e-8)


@pytest.mark.parametrize(("m1", "w1", "m2", "w2"), [(0.3, -0.5, -0.2, 0.4), (1.5, 0.8, 0, 0), (0, -2, 1, 1)])
def test_kl_is_its_integral(m1, w1, m2, w2):
    p, q = stats.norm(m1, math.exp(w1 / 2)), stats.norm(m2, math.exp(w2 / 2))
    expected, _ = quad(lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), -15, 15)
    assert kl_gaussians(leaf([m1]), leaf([w1]), leaf([m2]), leaf([w2])).item() == pytest.approx(expected, rel=1e-8)


def test_kl_to_the_standard_normal_is_the_special_case():
    m, w = normals(2, 4, 3)
    zero = np.zeros((4, 3))
    assert_close(kl_gaussian(m, w, "none").data, kl_gaussians(m, w, zero, zero, "none").data, "elementwise")


@pytest.mark.parametrize("create_graph", [False, True])
def test_kl_is_zero_with_zero_gradient_between_equals_and_positive_elsewhere(create_graph):
    m1, w1 = normals(2, 6)
    m2, w2 = leaf(m1.data), leaf(w1.data)
    loss = kl_gaussians(m1, w1, m2, w2, "none")
    np.testing.assert_allclose(loss.data, 0, atol=1e-16)
    loss.sum().backward(create_graph=create_graph)
    for x in (m1, w1, m2, w2):
        np.testing.assert_allclose(x.grad.data, 0, atol=1e-16)
    assert (kl_gaussians(*normals(4, 50), "none").data > 0).all()


def test_kl_of_nearly_equal_gaussians_keeps_its_digits_in_float32():
    """(exp(w) - 1 - w) / 2 is w^2 / 4 + O(w^3): exp(w) - 1 would leave rounding noise of 1e-8."""
    w = np.float32(1e-3)
    assert kl_gaussian(leaf([0], np.float32), leaf([w], np.float32)).item() == pytest.approx(2.5e-7, rel=1e-3)


def test_a_bernoulli_likelihood_sums_to_one_over_all_images():
    """All 2^4 binary images: exp(-bce) is a probability. A mean over pixels, or another unit than nats, is not."""
    images = ((np.arange(16)[:, None] >> np.arange(4)) & 1).astype(float)
    (x,) = normals(1, 4)
    nats = bce_with_logits(np.broadcast_to(x.data, (16, 4)), images, "none").data.sum(1)
    assert np.exp(-nats).sum() == pytest.approx(1, rel=1e-14)


# ---------------------------------------------------------------- reductions, flow of gradients, bad input


@pytest.mark.parametrize("loss", ALIKE, ids=lambda f: f.__name__)
def test_mean_and_sum_are_those_of_the_elements(loss):
    inputs = normals(ALIKE[loss], 3, 4)
    elements = loss(*inputs, reduction="none").data
    assert elements.shape == (3, 4)
    assert loss(*inputs).item() == pytest.approx(elements.mean(), rel=1e-13)
    assert loss(*inputs, reduction="sum").item() == pytest.approx(elements.sum(), rel=1e-13)


def test_mean_cross_entropy_is_over_rows_not_elements():
    (x,) = normals(1, 3, 4)
    rows = cross_entropy(x, np.array([0, 1, 2]), "none").data
    assert rows.shape == (3,)
    assert cross_entropy(x, np.array([0, 1, 2])).item() == pytest.approx(rows.sum() / 3, rel=1e-14)


@pytest.mark.parametrize("loss", ALIKE, ids=lambda f: f.__name__)
def test_every_input_gets_its_gradient_alone_and_together(loss):
    arrays = [x.data for x in normals(ALIKE[loss], 5)]
    together = [leaf(a) for a in arrays]
    loss(*together).backward()
    for i, full in enumerate(together):
        alone = leaf(arrays[i])
        loss(*arrays[:i], alone, *arrays[i + 1 :]).backward()
        np.testing.assert_array_equal(alone.grad.data, full.grad.data)
        assert full.grad.data.any()


@pytest.mark.parametrize("loss", ALIKE, ids=lambda f: f.__name__)
def test_a_nan_shows(loss):
    for i in range(ALIKE[loss]):
        inputs = normals(ALIKE[loss], 5)
        inputs[i].data[2] = np.nan
        assert math.isnan(loss(*inputs).item())


@pytest.mark.parametrize("loss", ALIKE, ids=lambda f: f.__name__)
def test_shapes_that_would_broadcast_are_refused(loss):
    *inputs, last = normals(ALIKE[loss], 5)
    with pytest.raises(ValueError, match=rf"{loss.__name__} takes inputs of one shape .* \w+\.shape=\(5, 1\)"):
        loss(*inputs, last.reshape(5, 1))


@pytest.mark.parametrize("loss", ALIKE, ids=lambda f: f.__name__)
def test_other_bad_input_is_named(loss):
    inputs = normals(ALIKE[loss], 5)
    with pytest.raises(ValueError, match="reduction must be 'mean', 'sum' or 'none', got 'avg'"):
        loss(*inputs, reduction="avg")
    with pytest.raises(TypeError, match="float32"):
        loss(*inputs[:-1], inputs[-1].data.astype(np.float32))
    with pytest.raises(TypeError, match=r"takes float32 or float64, got \w+ of int64"):
        loss(*[np.arange(3)] * len(inputs))
    with pytest.raises(ValueError, match="mean over no elements"):
        loss(*normals(ALIKE[loss], 0, 3))
    assert loss(*normals(ALIKE[loss], 0, 3), reduction="sum").item() == 0


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ([0, 4, 1], ValueError, r"labels must lie in 0\.\.3, got 4"),
        ([0, -1, 1], ValueError, r"labels must lie in 0\.\.3, got -1"),
        ([0, 1], ValueError, r"labels must be \(N,\) for logits \(N, K\): got labels \(2,\), logits \(3, 4\)"),
        ([[0], [1], [2]], ValueError, r"got labels \(3, 1\)"),
        ([0.0, 1.0, 2.0], TypeError, "labels must be integers, got float64"),
    ],
)
def test_labels_that_do_not_fit_are_named(labels, error, message):
    (x,) = normals(1, 3, 4)
    with pytest.raises(error, match=message):
        cross_entropy(x, np.array(labels))


def test_labels_may_be_any_integers_even_in_a_tensor():
    (x,) = normals(1, 3, 4)
    expected = cross_entropy(x, np.array([0, 3, 1])).item()
    for labels in (Tensor(np.array([0, 3, 1])), np.array([0, 3, 1], np.uint8), [0, 3, 1]):
        assert cross_entropy(x, labels).item() == expected
