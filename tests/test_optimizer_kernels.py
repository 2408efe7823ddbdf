"""Optimiser kernels: both dialects against the published recursions, torch, and each other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigen.kernels import _threads
from minigen.kernels import optimizer as kernels

DIALECTS = ["numpy", "numba"]


def step(name, dialect):
    return getattr(kernels, f"{name}_{dialect}")


def vectors(count, size, dtype=np.float64, seed=0):
    return list(np.random.default_rng(seed).standard_normal((count, size)).astype(dtype))


def run_beside_torch(torch, make_optimizer, our_step, state_count, dtype, size=257, steps=20):
    """Parameters after `steps` steps with the same gradients: (ours, torch's)."""
    (p, *gradients) = vectors(steps + 1, size, dtype)
    theirs = torch.tensor(p.copy(), requires_grad=True)
    optimizer = make_optimizer(theirs)
    state = [np.zeros_like(p) for _ in range(state_count)]
    for k, g in enumerate(gradients, start=1):
        our_step(p, g, state, k)
        theirs.grad = torch.tensor(g)
        optimizer.step()
    return p, theirs.detach().numpy()


TOLERANCE = {np.float32: 1e-6, np.float64: 1e-12}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dialect", DIALECTS)
class TestTwentyStepsEqualTorch:
    @pytest.mark.parametrize("decay", [0.0, 0.1])
    def test_adamw(self, torch, dialect, dtype, decay):
        def ours(p, g, state, k):
            step("adamw_step", dialect)(p, [g], *state, 1.0, 1e-2, 0.9, 0.999, 1e-8, decay, k)

        def make(p):
            return torch.optim.AdamW([p], lr=1e-2, betas=(0.9, 0.999), eps=1e-8, weight_decay=decay)

        np.testing.assert_allclose(*run_beside_torch(torch, make, ours, 2, dtype), rtol=0, atol=TOLERANCE[dtype])

    @pytest.mark.parametrize(("momentum", "decay"), [(0.0, 0.0), (0.9, 0.0), (0.9, 0.1)])
    def test_sgd(self, torch, dialect, dtype, momentum, decay):
        def ours(p, g, state, k):
            step("sgd_step", dialect)(p, [g], *state, 1.0, 1e-2, momentum, decay)

        def make(p):
            return torch.optim.SGD([p], lr=1e-2, momentum=momentum, weight_decay=decay)

        np.testing.assert_allclose(*run_beside_torch(torch, make, ours, 1, dtype), rtol=0, atol=TOLERANCE[dtype])

    def test_rmsprop(self, torch, dialect, dtype):
        def ours(p, g, state, k):
            step("rmsprop_step", dialect)(p, [g], *state, 1.0, 1e-2, 0.99, 1e-8)

        def make(p):
            return torch.optim.RMSprop([p], lr=1e-2, alpha=0.99, eps=1e-8)

        np.testing.assert_allclose(*run_beside_torch(torch, make, ours, 1, dtype), rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dialect", DIALECTS)
def test_first_adam_step_has_length_lr_whatever_the_gradient(dialect):
    """With both bias corrections m^ / sqrt(v^) = g / |g| at step 1."""
    p, g = np.zeros(5), np.array([1e-3, -1e-1, 1.0, -10.0, 1e3])
    step("adamw_step", dialect)(p, [g], np.zeros(5), np.zeros(5), 1.0, 0.01, 0.9, 0.999, 1e-12, 0.0, 1)
    np.testing.assert_allclose(p, -0.01 * np.sign(g), rtol=1e-8)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_decoupled_decay_shrinks_by_lr_times_decay_whatever_the_gradient(dialect):
    p, g = vectors(2, 50)
    with_decay, without = p.copy(), p.copy()
    for q, decay in ((with_decay, 0.2), (without, 0.0)):
        step("adamw_step", dialect)(q, [g], np.zeros(50), np.zeros(50), 1.0, 0.01, 0.9, 0.999, 1e-8, decay, 1)
    np.testing.assert_allclose(with_decay - without, -0.01 * 0.2 * p, atol=1e-15)


@pytest.mark.parametrize("name, states, scalars", [
    ("sgd_step", 1, (1.0, 0.1, 0.9, 0.0)), ("rmsprop_step", 1, (1.0, 0.1, 0.9, 1e-8)),
    ("adamw_step", 2, (1.0, 0.1, 0.9, 0.9, 1e-8, 0.0, 5000)),
])  # fmt: skip
def test_means_end_at_zero_where_the_gradient_has_become_zero(name, states, scalars):
    """They would decay to numbers below the smallest normal one, which are slow; a NaN must not be taken for small."""
    dead, alive, broken = 0, 1, 2
    p, g = np.ones(3, np.float32), np.array([0, 1e-3, np.nan], np.float32)
    means = [np.full(3, 1e-5, np.float32) for _ in range(states)]
    for _ in range(900):
        step(name, "numba")(p, [g], *means, *scalars)
    for mean in means:
        assert mean[dead] == 0 and mean[alive] > 1e-7 and np.isnan(mean[broken])


@pytest.mark.parametrize("dialect", DIALECTS)
def test_ema_of_a_constant_after_k_steps(dialect):
    """e_k = c + d^k (e_0 - c)."""
    start, c = vectors(2, 33)
    ema = start.copy()
    for _ in range(7):
        step("ema_step", dialect)(ema, c, 0.9)
    np.testing.assert_allclose(ema, c + 0.9**7 * (start - c), rtol=1e-13)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_square_norm_adds_in_float64(dialect):
    """2^26 + 50,000 ones: float32 would lose the ones, one at a time."""
    g = np.ones(50_001, np.float32)
    g[0] = 2.0**13
    assert step("square_norm", dialect)(g) == 2.0**26 + 50_000


def test_square_norm_has_the_same_bits_for_any_thread_count(monkeypatch):
    (g,) = vectors(1, 100_003, np.float32)
    found = set()
    for count in (1, 2, 3, 7):
        monkeypatch.setattr(_threads, "_number_of_threads", count)
        found.add(kernels.square_norm_numba(g[:77], g[77:40_000], g[40_000:]))
    assert len(found) == 1
    assert found.pop() == pytest.approx(kernels.square_norm_numpy(g), rel=1e-14)


STEPS = {  # name: (vectors, scalars)
    "sgd_step": (3, (0.7, 0.1, 0.9, 0.01)),
    "rmsprop_step": (3, (0.7, 0.1, 0.9, 1e-6)),
    "adamw_step": (4, (0.7, 0.1, 0.9, 0.99, 1e-6, 0.01, 3)),
    "ema_step": (2, (0.9,)),
}


def take(name, dialect, arrays, scalars, cuts=()):
    """One step; the gradient, which is the second array, comes in parts."""
    p, g, *state = arrays
    step(name, dialect)(p, g if name == "ema_step" else np.split(g, cuts), *state, *scalars)


@pytest.mark.parametrize("name", STEPS)
@given(
    size=st.integers(0, 40),
    cuts=st.lists(st.integers(0, 40), max_size=3),
    dtype=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 99),
)
def test_both_dialects_write_the_same_numbers_and_leave_the_gradient_alone(name, size, cuts, dtype, seed):
    count, scalars = STEPS[name]
    start = [abs(a) for a in vectors(count, size, dtype, seed)]  # v is a mean of squares: not negative
    results = {dialect: [a.copy() for a in start] for dialect in DIALECTS}
    for dialect, arrays in results.items():
        take(name, dialect, arrays, scalars, sorted(cuts))
    for a, b in zip(results["numpy"], results["numba"]):
        np.testing.assert_allclose(a, b, rtol=0, atol=10 * TOLERANCE[dtype])
    np.testing.assert_array_equal(results["numba"][1], start[1])


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", STEPS)
def test_a_nan_in_the_gradient_reaches_the_parameters(name, dialect):
    count, scalars = STEPS[name]
    arrays = [np.ones(9) for _ in range(count)]
    arrays[1][4] = np.nan
    take(name, dialect, arrays, scalars)
    assert np.isnan(arrays[0][4])
    assert np.isfinite(np.delete(arrays[0], 4)).all()


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(lambda a: np.repeat(a, 2)[::2], id="strided"),
        pytest.param(lambda a: a.reshape(3, 3), id="matrix"),
        pytest.param(lambda a: a[:-1], id="shorter"),
        pytest.param(lambda a: a.astype(np.float32), id="other dtype"),
    ],
)
def test_what_would_lose_the_step_is_refused(name, dialect, bad):
    count, scalars = STEPS[name]
    arrays = [np.ones(9) for _ in range(count)]
    arrays[-1] = bad(arrays[-1])
    with pytest.raises(ValueError, match="must be (a C-contiguous float vector|as long as)"):
        take(name, dialect, arrays, scalars)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_one_pass_equals_clipping_then_adamw_then_averaging(monkeypatch, dialect, dtype, threads):
    """In 100,003 numbers, so that pieces and threads meet; the gradient in parts that none of them knows of."""
    monkeypatch.setattr(_threads, "_number_of_threads", threads)
    p, g, m, v, ema = vectors(5, 100_003, dtype)
    scale, d, v = 0.3, 0.9, abs(v)
    settings = (0.01, 0.9, 0.99, 1e-6, 0.1, 3)
    apart = [a.astype(np.float64) for a in (p, scale * g, m, v, ema)]
    kernels.adamw_step_numpy(apart[0], [apart[1]], *apart[2:4], 1.0, *settings)
    kernels.ema_step_numpy(apart[4], apart[0], d)
    parts = np.split(g, [1, 40_000, 40_000, 90_001])
    step("adamw_step", dialect)(p, parts, m, v, scale, *settings, ema, d)
    for ours, expected in zip((p, m, v, ema), (apart[0], *apart[2:])):
        np.testing.assert_allclose(ours, expected, rtol=0, atol=10 * TOLERANCE[dtype])


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", ["sgd_step", "rmsprop_step", "adamw_step"])
def test_parts_of_a_gradient_that_are_too_short_together_are_refused(name, dialect):
    count, scalars = STEPS[name]
    p, g, *state = (np.ones(9) for _ in range(count))
    with pytest.raises(ValueError, match="g must be as long as the first vector, 9: got 8"):
        step(name, dialect)(p, [g[:4], g[:4]], *state, *scalars)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_average_that_cannot_be_written_is_refused(dialect):
    p, g, m, v, ema = vectors(5, 9)
    ema.flags.writeable = False
    with pytest.raises(ValueError, match="ema is written in place"):
        step("adamw_step", dialect)(p, [g], m, abs(v), 1.0, 0.1, 0.9, 0.99, 1e-6, 0.0, 1, ema, 0.9)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_read_only_parameter_is_refused_by_name(dialect):
    p, g = vectors(2, 9)
    p.flags.writeable = False
    with pytest.raises(ValueError, match="p is written in place"):
        step("sgd_step", dialect)(p, [g], np.zeros(9), 1.0, 0.1, 0.0, 0.0)
