"""Normalisation: what shares a mean, closed forms, statistics far from zero, running averages, bad input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_close

from minigen import Tensor, grad
from minigen.dispatch import use_kernels
from minigen.gradcheck import check_grads
from minigen.kernels import _threads
from minigen.kernels.batch_norm import batch_norm_numba
from minigen.kernels.group_norm import group_norm_numba
from minigen.kernels.layer_norm import layer_norm_numba
from minigen.ops import batch_norm, group_norm, group_norm_silu, instance_norm, layer_norm, silu

DIALECTS = ["numpy", "numba"]


def normal(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def value_and_gradients(fn, *arrays):
    """fn's result and its gradients with respect to every array, for a random cotangent, as arrays."""
    inputs = [Tensor(a, requires_grad=True) for a in arrays]
    y = fn(*inputs)
    return [y.data] + [g.data for g in grad(y, inputs, Tensor(normal(*y.shape, seed=9, dtype=y.dtype)))]


NORMS = {
    "group": lambda x, gamma, beta, **k: group_norm(x, gamma, beta, 2, **k),
    "instance": instance_norm,
    "layer": layer_norm,
    "batch": batch_norm,
}
AXES = {"group": (1, 2, 4), "instance": (1, 2, 4), "layer": (3, 4), "batch": (0, 1, 2, 4)}  # of x as (N, H, W, G, C/G)
GROUPS = {"group": 2, "instance": 6, "layer": 1, "batch": 6}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", NORMS)
@given(n=st.integers(2, 3), h=st.integers(1, 5), w=st.integers(2, 5), seed=st.integers(0, 99))
def test_each_mean_is_beta_and_each_variance_var_over_var_plus_eps(dialect, name, n, h, w, seed):
    x, grouped = 3 * normal(n, h, w, 6, seed=seed) + 1, (n, h, w, GROUPS[name], 6 // GROUPS[name])
    with use_kernels(dialect):
        y = NORMS[name](Tensor(x), Tensor(np.full(6, 2.0)), Tensor(np.full(6, 5.0)), eps=0.5).data
    var = x.reshape(grouped).var(AXES[name])
    np.testing.assert_allclose(y.reshape(grouped).mean(AXES[name]), 5, rtol=1e-12)
    np.testing.assert_allclose(y.reshape(grouped).var(AXES[name]), 4 * var / (var + 0.5), rtol=1e-9)


@pytest.mark.parametrize("name", NORMS)
def test_eps_is_added_to_the_variance(name):
    """Alternating -1 and 1 has variance 1 over any even set, so eps = 3 halves x: it stands under the root."""
    x = np.indices((2, 2, 2, 6)).sum(0) % 2 * 2.0 - 1
    y = NORMS[name](Tensor(x), Tensor(np.ones(6)), Tensor(np.zeros(6)), eps=3.0)
    np.testing.assert_array_equal(y.data, x / 2)


@pytest.mark.parametrize("name", NORMS)
def test_gamma_and_beta_belong_to_their_channel(name):
    x, gamma, beta = normal(2, 3, 3, 6), normal(6, seed=1), normal(6, seed=2)
    xhat = NORMS[name](Tensor(x), Tensor(np.ones(6)), Tensor(np.zeros(6))).data
    y = NORMS[name](Tensor(x), Tensor(gamma), Tensor(beta)).data
    np.testing.assert_allclose(y, xhat * gamma + beta, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("norm", [group_norm, group_norm_silu])
@pytest.mark.parametrize("way", ["before", "after", "both", "twice"])
def test_a_residual_that_goes_round_a_norm_adds_its_gradient_once(dialect, norm, way):
    """x -> norm(x) and other ways from x: what comes by them is added in the norm's own pass, wherever they are."""
    ways = {
        "before": lambda x, y: x * 2.0 + y * y,
        "after": lambda x, y: y * y + x * 2.0,
        "both": lambda x, y: x * 2.0 + y * y + x * x,
        "twice": lambda x, y: norm(x + x, gamma, beta, 2) * y + x,
    }
    gamma, beta, x = Tensor(normal(6, seed=1)), Tensor(normal(6, seed=2)), normal(2, 3, 4, 6)
    with use_kernels(dialect):
        value = Tensor(x, requires_grad=True)
        found = grad(ways[way](value, norm(value, gamma, beta, 2)).sum(), [value])[0].data
        check_grads(lambda x: ways[way](x, norm(x, gamma, beta, 2)), [x], order=2)
        composed = grad(ways[way](value, norm(value, gamma, beta, 2)).sum(), [value], create_graph=True)[0].data
        leaf = Tensor(x, requires_grad=True)
        for _ in range(2):
            ways[way](leaf, norm(leaf, gamma, beta, 2)).sum().backward()
    np.testing.assert_allclose(found, composed, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(leaf.grad.data, 2 * found, rtol=1e-12)


def test_one_group_is_layer_norm_of_the_sample_and_one_channel_a_group_is_instance_norm():
    x, ones, zeros = normal(3, 4, 5, 6), np.ones(6), np.zeros(6)
    flat = layer_norm(Tensor(x.reshape(3, -1)), Tensor(np.ones(120)), Tensor(np.zeros(120))).data
    whole = group_norm(Tensor(x), Tensor(ones), Tensor(zeros), 1).data
    np.testing.assert_allclose(whole, flat.reshape(x.shape), rtol=1e-12)
    each = group_norm(Tensor(x), Tensor(ones), Tensor(zeros), 6).data
    np.testing.assert_array_equal(instance_norm(Tensor(x)).data, each)


def test_batch_norm_of_one_sample_is_its_instance_norm():
    arrays = normal(1, 7, 5, 3), normal(3, seed=1), normal(3, seed=2)
    for a, b in zip(value_and_gradients(batch_norm, *arrays), value_and_gradients(instance_norm, *arrays)):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", [*NORMS, "group_silu"])
def test_mean_100_and_deviation_1_in_float32(dialect, name):
    """Nothing cancels: value and gradients are those of float64 on the same numbers, within 1e-4 of the largest."""
    norm = NORMS.get(name, lambda x, gamma, beta: group_norm_silu(x, gamma, beta, 2))
    x, *parameters = normal(3, 28, 28, 8), normal(8, seed=1), normal(8, seed=2)
    arrays = [a.astype(np.float32) for a in (x + 100, *parameters)]
    with use_kernels(dialect):
        single = value_and_gradients(norm, *arrays)
    double = value_and_gradients(norm, *[a.astype(np.float64) for a in arrays])
    for a, b in zip(single, double):
        assert a.dtype == np.float32
        assert abs(a - b).max() < 1e-4 * abs(b).max()


@pytest.mark.parametrize("border", [0, 1], ids=["without border", "with a border"])
def test_the_deviation_of_numbers_near_3000_is_right_in_float32(border):
    """The squares are near 10^7: E[x^2] - mu^2 would keep no digit. A border misleads a first guess of the mean."""
    x = normal(1, 1024, 16).astype(np.float32) + np.float32(3000)
    x[:, :border] -= 100
    whole, ones, zeros = x.astype(np.float64), np.ones(16, np.float32), np.zeros(16, np.float32)
    _, _, rstd = group_norm_numba(x, ones, zeros, 1, 0.0, False)
    _, _, var = batch_norm_numba(x[0], ones, zeros, 0.0)
    _, _, of_rows = layer_norm_numba(
        x.reshape(1, -1), np.ones(16 * 1024, np.float32), np.zeros(16 * 1024, np.float32), 0.0
    )
    np.testing.assert_allclose([rstd.item(), of_rows.item()], 1 / whole.std(), rtol=5e-6)
    np.testing.assert_allclose(var, whole[0].var(axis=0), rtol=5e-6)


@pytest.mark.parametrize("channels", [1, 3, 33, 64, 257, 300])
def test_rows_that_hold_several_positions_or_part_of_one_and_a_shorter_last_row(channels):
    """The Numba kernels read several positions at a time where the channels are few."""
    arrays = [normal(*shape, dtype=np.float32) for shape in [(2, 13, 7, channels), (channels,), (channels,)]]
    for norm in {**NORMS, "group": lambda *a: group_norm_silu(*a, 3 if channels % 3 == 0 else 1)}.values():
        with use_kernels("numba"):
            fast = value_and_gradients(norm, *arrays)
        with use_kernels("numpy"):
            plain = value_and_gradients(norm, *arrays)
        for a, b in zip(fast, plain):
            assert_close(a, b, "norm", 1)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", NORMS)
def test_mean_a_million_in_float64(dialect, name):
    x, ones, zeros = normal(2, 9, 9, 6), Tensor(np.ones(6)), Tensor(np.zeros(6))
    with use_kernels(dialect):
        near, far = NORMS[name](Tensor(x), ones, zeros).data, NORMS[name](Tensor(x + 1e6), ones, zeros).data
    assert abs(far - near).max() < 1e-8  # x + 1e6 is itself rounded to 1e-10


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", NORMS)
def test_the_gradient_changes_neither_mean_nor_scale(dialect, name):
    """y does not depend on adding a constant to what shares a mean, nor (eps = 0) on scaling it."""
    x, shape = normal(3, 4, 3, 6), (3, 4, 3, GROUPS[name], 6 // GROUPS[name])
    with use_kernels(dialect):
        _, dx, _, _ = value_and_gradients(lambda *a: NORMS[name](*a, eps=0.0), x, normal(6, seed=1), normal(6, seed=2))
    centred = x.reshape(shape) - x.reshape(shape).mean(AXES[name], keepdims=True)
    np.testing.assert_allclose(dx.reshape(shape).sum(AXES[name]), 0, atol=1e-12)
    np.testing.assert_allclose((dx.reshape(shape) * centred).sum(AXES[name]), 0, atol=1e-12)


@pytest.mark.parametrize("dialect", DIALECTS)
@given(n=st.integers(0, 3), h=st.integers(0, 4), groups=st.integers(1, 3), size=st.integers(1, 3))
def test_group_norm_silu_is_silu_of_group_norm(dialect, n, h, groups, size):
    arrays = normal(n, h, 3, groups * size), normal(groups * size, seed=1), normal(groups * size, seed=2)
    with use_kernels(dialect):
        fused = value_and_gradients(lambda *a: group_norm_silu(*a, groups), *arrays)
        apart = value_and_gradients(lambda *a: silu(group_norm(*a, groups)), *arrays)
    for a, b in zip(fused, apart):
        assert_close(a, b, "norm", 1)


@pytest.mark.parametrize("name, shape", [("layer", (3, 50, 6)), ("batch", (3, 300, 6)), ("group", (5, 50, 6))])
def test_sums_over_many_blocks_are_right_and_the_same_bits_for_any_number_of_threads(monkeypatch, name, shape):
    arrays = normal(*shape), normal(6, seed=1), normal(6, seed=2)
    with use_kernels("numpy"):
        reference = value_and_gradients(NORMS[name], *arrays)
    results = []
    for threads in (1, 3):
        monkeypatch.setattr(_threads, "_number_of_threads", threads)
        with use_kernels("numba"):
            results.append(value_and_gradients(NORMS[name], *arrays))
    for one, three, expected in zip(*results, reference):
        assert_close(one, expected, "norm", 1)
        np.testing.assert_array_equal(one, three)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_nan_is_seen_and_stays_in_its_group(dialect):
    x = normal(2, 3, 3, 6)
    x[1, 2, 0, 4] = np.nan
    with use_kernels(dialect):
        y = group_norm(Tensor(x), Tensor(np.ones(6)), Tensor(np.zeros(6)), 2).data
    assert np.isnan(y[1, ..., 3:]).all()
    assert np.isfinite(y[0]).all() and np.isfinite(y[1, ..., :3]).all()


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("shape", [(0, 3, 3, 6), (2, 0, 3, 6), (2, 3, 3, 0)])
@pytest.mark.parametrize("name", ["group", "instance", "layer"])
def test_nothing_is_normalised_to_nothing(dialect, shape, name):
    with use_kernels(dialect):
        y, dx, dgamma, dbeta = value_and_gradients(NORMS[name], normal(*shape), normal(shape[-1]), normal(shape[-1]))
    assert y.shape == dx.shape == shape
    np.testing.assert_array_equal([*dgamma, *dbeta], 0)


# ---------------------------------------------------------------- batch norm's running averages


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_running_averages_move_by_momentum_and_hold_the_unbiased_variance(dtype):
    x, gamma, beta = normal(5, 4, 3, dtype=dtype), normal(3, seed=1, dtype=dtype), normal(3, seed=2, dtype=dtype)
    mean, var = np.full(3, 10, dtype), np.full(3, 20, dtype)
    y = batch_norm(Tensor(x), Tensor(gamma), Tensor(beta), mean, var, momentum=0.25)
    np.testing.assert_array_equal(y.data, batch_norm(Tensor(x), Tensor(gamma), Tensor(beta)).data)
    np.testing.assert_allclose(mean, 0.75 * 10 + 0.25 * x.mean((0, 1)), rtol=1e-6)
    np.testing.assert_allclose(var, 0.75 * 20 + 0.25 * x.var((0, 1), ddof=1), rtol=1e-6)


def test_evaluation_uses_the_running_averages_and_leaves_them():
    x, gamma, beta = normal(5, 4, 3), normal(3, seed=1), normal(3, seed=2)
    mean, var = normal(3, seed=3), np.full(3, 3.0)
    kept = mean.copy(), var.copy()
    y = batch_norm(Tensor(x), Tensor(gamma), Tensor(beta), mean, var, training=False, eps=1.0)
    np.testing.assert_allclose(y.data, (x - mean) / 2 * gamma + beta, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal([mean, var], kept)


@pytest.mark.parametrize("shape", [(1, 3), (0, 3), (4, 0)])
def test_evaluation_takes_any_batch(shape):
    x, ones, zeros = normal(*shape), np.ones(shape[-1]), np.zeros(shape[-1])
    y = batch_norm(Tensor(x), Tensor(ones), Tensor(zeros), zeros, ones, training=False)
    assert y.shape == shape


def test_evaluation_is_differentiable_in_all_three_to_second_order():
    def evaluated(x, gamma, beta):
        return batch_norm(x, gamma, beta, np.arange(3.0), np.arange(1.0, 4.0), training=False)

    check_grads(evaluated, [normal(2, 4, 3), normal(3, seed=1), normal(3, seed=2)], order=2)


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_equals_torch_with_its_running_averages(torch, training):
    x, gamma, beta = normal(4, 5, 3, 6), normal(6, seed=1), normal(6, seed=2)
    mean, var = normal(6, seed=3), np.full(6, 2.0)
    theirs = [torch.tensor(a) for a in (mean, var)]
    expected = torch.nn.functional.batch_norm(
        torch.tensor(x).permute(0, 3, 1, 2), *theirs, torch.tensor(gamma), torch.tensor(beta), training, 0.3, 1e-3
    )
    y = batch_norm(Tensor(x), Tensor(gamma), Tensor(beta), mean, var, training, 0.3, 1e-3)
    assert_close(y.data, expected.permute(0, 2, 3, 1).numpy(), "norm")
    assert_close(mean, theirs[0].numpy(), "norm")
    assert_close(var, theirs[1].numpy(), "norm")


# ---------------------------------------------------------------- bad input


def test_groups_that_do_not_divide_the_channels():
    for function in (group_norm, group_norm_silu):
        for groups in (0, 4, -2):
            with pytest.raises(ValueError, match=rf"groups must divide the channels.*groups={groups}"):
                function(Tensor(normal(2, 3, 6)), Tensor(np.ones(6)), Tensor(np.zeros(6)), groups)


@pytest.mark.parametrize("name", NORMS)
def test_wrong_shapes_and_dtypes_name_the_argument(name):
    x, six, five = Tensor(normal(2, 3, 6)), Tensor(np.ones(6)), Tensor(np.ones(5))
    with pytest.raises(ValueError, match="gamma must have one value a channel"):
        NORMS[name](x, five, six)
    with pytest.raises(ValueError, match="beta must have one value a channel"):
        NORMS[name](x, six, five)
    with pytest.raises(TypeError, match="x must be float32 or float64"):
        NORMS[name](*[Tensor(np.ones(shape, np.int64)) for shape in [(2, 3, 6), 6, 6]])
    with pytest.raises(TypeError, match="float32"):
        NORMS[name](x, six.astype(np.float32), six)
    with pytest.raises(ValueError, match="at least"):
        NORMS[name](Tensor(np.float64(1)), six, six)


def test_batch_norm_says_what_it_misses():
    x, ones, zeros = normal(2, 3), np.ones(3), np.zeros(3)
    given = Tensor(x), Tensor(ones), Tensor(zeros)
    for n in (0, 1):
        with pytest.raises(ValueError, match=f"at least 2 values a channel: got {n}"):
            batch_norm(Tensor(x[:n]), Tensor(ones), Tensor(zeros))
    with pytest.raises(ValueError, match="needs both"):
        batch_norm(*given, training=False)
    with pytest.raises(ValueError, match="belong together"):
        batch_norm(*given, running_mean=zeros)
    with pytest.raises(ValueError, match="running_var must have one value a channel"):
        batch_norm(*given, zeros, np.ones(4))
    with pytest.raises(TypeError, match="running_mean must be a plain array of x's dtype float64"):
        batch_norm(*given, zeros.astype(np.float32), ones)
    with pytest.raises(TypeError, match="running_mean must be a plain array"):
        batch_norm(*given, Tensor(zeros), ones)
    with pytest.raises(ValueError, match="momentum must be between 0 and 1, got 1.5"):
        batch_norm(*given, zeros, ones, momentum=1.5)
