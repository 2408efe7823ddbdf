"""Optimisers against PyTorch's over 20 steps, schedules against their formulas, and what an average forgets."""

import numpy as np
import pytest

from minigen import Tensor, nn, optim
from minigen.nn import Parameter
from minigen.random import Generator

PAIRS = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    ("Adam", {"lr": 0.01, "betas": (0.8, 0.99), "weight_decay": 0.1}),
    ("AdamW", {"lr": 0.01, "eps": 1e-6, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.01, "alpha": 0.9, "weight_decay": 0.01}),
]


def parameters(dtype=np.float64):
    g = Generator(0)
    return [Parameter(g.normal(shape, dtype)) for shape in ((3, 4), (5,), (2, 1, 3))]


@pytest.mark.parametrize(("name", "settings"), PAIRS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_twenty_steps_equal_torchs(torch, name, settings, dtype):
    ours = parameters(dtype)
    theirs = [torch.tensor(p.data.copy(), requires_grad=True) for p in ours]
    optimizer, other = getattr(optim, name)(ours, **settings), getattr(torch.optim, name)(theirs, **settings)
    g = Generator(1)
    for _ in range(20):
        for p, q in zip(ours, theirs):
            gradient = g.normal(p.shape, dtype)
            p.grad, q.grad = Tensor(gradient), torch.from_numpy(gradient.copy())
        optimizer.step()
        other.step()
    for p, q in zip(ours, theirs):
        np.testing.assert_allclose(
            p.data, q.detach().numpy(), rtol=1e-12 if dtype == np.float64 else 1e-5, atol=1e-6 * (dtype == np.float32)
        )


@pytest.mark.parametrize("longer", [True, False])
def test_clipping_bounds_the_norm_of_the_whole_gradient(longer):
    ours = parameters()
    before = np.concatenate([p.data.reshape(-1) for p in ours])
    for p in ours:
        p.grad = Tensor(np.full(p.shape, 2.0))
    size = sum(p.size for p in ours)
    norm = 2 * size**0.5
    limit = norm / 4 if longer else norm * 4
    assert optim.SGD(ours, lr=1.0).step(max_norm=limit) == pytest.approx(norm)
    moved = np.linalg.norm(np.concatenate([p.data.reshape(-1) for p in ours]) - before)
    assert moved == pytest.approx(min(norm, limit))


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop"])
def test_a_saved_optimiser_goes_on_bit_for_bit(name):
    def run(steps, optimizer, ours, g):
        for _ in range(steps):
            for p in ours:
                p.grad = Tensor(g.normal(p.shape, np.float64))
            optimizer.step()

    def fresh(settings={"momentum": 0.9} if name == "SGD" else {}):
        ours = parameters()
        return ours, getattr(optim, name)(ours, **settings)

    straight, optimizer = fresh()
    run(6, optimizer, straight, Generator(5))

    first, optimizer = fresh()
    g = Generator(5)
    run(3, optimizer, first, g)
    second, resumed = fresh()
    for p, q in zip(second, first):
        p.assign(q.data)
    resumed.load_state_dict(optimizer.state_dict())
    run(3, resumed, second, g)
    assert all((p.data == q.data).all() for p, q in zip(straight, second))


@pytest.mark.parametrize(("name", "settings"), PAIRS)
def test_one_step_equals_clipping_then_stepping_then_averaging(name, settings):
    """The average and the clipping as parts of the step, against the same three things one after the other."""
    together, apart = parameters(), parameters()
    both = [getattr(optim, name)(ours, **settings) for ours in (together, apart)]
    averages = [optim.EMA(optimizer.flat, decay=0.9) for optimizer in both]
    g = Generator(2)
    for _ in range(5):
        gradients = [g.normal(p.shape, np.float64) for p in together]
        norm = sum((part**2).sum() for part in gradients) ** 0.5
        for p, q, gradient in zip(together, apart, gradients):
            p.grad, q.grad = Tensor(gradient), Tensor(gradient * (2.0 / norm))
        assert both[0].step(max_norm=2.0, average=averages[0]) == pytest.approx(norm)
        assert both[1].step() is None
        averages[1].update()
    np.testing.assert_allclose(both[0].flat.data, both[1].flat.data, rtol=1e-12)
    np.testing.assert_allclose(averages[0].average, averages[1].average, rtol=1e-12)
    assert averages[0].updates == averages[1].updates == 5


@pytest.mark.parametrize(("name", "settings"), PAIRS)
def test_a_step_leaves_the_gradients_alone(name, settings):
    ours = parameters()
    for p in ours:
        p.grad = Tensor(np.full(p.shape, 2.0))
    getattr(optim, name)(ours, **settings).step(max_norm=0.1)
    assert all((p.grad.data == 2).all() for p in ours)


def test_a_gradient_may_be_a_view_of_any_layout():
    ours, theirs = parameters(), parameters()
    gradients = [
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.broadcast_to(2.0, (5,)),
        np.ones((2, 1, 6))[..., ::2],
    ]
    for p, q, gradient in zip(ours, theirs, gradients):
        p.grad, q.grad = Tensor(gradient), Tensor(np.array(gradient, order="C"))
    for optimizer in (optim.SGD(ours), optim.SGD(theirs)):
        optimizer.step()
    assert all((p.data == q.data).all() for p, q in zip(ours, theirs))


def test_parameters_are_views_of_one_vector():
    ours = parameters()
    flat = optim.FlatParameters(ours)
    flat.data[...] = 3
    assert all((p.data == 3).all() for p in ours)
    ours[1].assign(np.arange(5.0))
    assert (flat.data[12:17] == np.arange(5)).all()


def test_a_missing_gradient_counts_as_zero():
    ours = parameters()
    ours[0].grad = Tensor(np.ones((3, 4)))
    before = ours[1].data.copy()
    optim.SGD(ours, lr=1.0).step()
    np.testing.assert_array_equal(ours[1].data, before)


def test_a_step_makes_older_graphs_stale():
    layer = nn.Linear(2, 1, Generator(0))
    optimizer = optim.SGD(layer.parameters(), lr=0.1)
    x = Tensor(np.ones((1, 2), np.float32))
    loss, late = (layer(x) ** 2).sum(), (layer(x) ** 2).sum()
    loss.backward()
    optimizer.step()
    with pytest.raises(RuntimeError, match="changed in place"):
        late.backward()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.Adam([], lr=1), "at least one parameter"),
        (lambda: optim.Adam(parameters()[:1] * 2), "same parameter twice"),
        (lambda: optim.Adam([*parameters(), Parameter(np.ones(2, np.float32))]), "one dtype"),
        (lambda: optim.Adam(parameters(), lr=-1), "lr must be at least 0, got -1"),
        (lambda: optim.Adam(parameters(), betas=(0.9, 1.0)), "betas must lie in \\[0, 1\\)"),
        (lambda: optim.SGD(parameters()).load_state_dict({}), "holds \\['momentum'\\]"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


# ---------------------------------------------------------------- schedules


def test_the_learning_rate_rises_linearly_and_falls_as_half_a_cosine():
    factors = [optim.warmup_cosine(step, 10, 110) for step in range(111)]
    np.testing.assert_allclose(factors[:10], np.arange(1, 11) / 10)
    np.testing.assert_allclose(factors[10:], 0.5 * (1 + np.cos(np.pi * np.arange(101) / 100)), atol=1e-15)
    assert factors[60] == pytest.approx(0.5)
    assert optim.warmup_cosine(10**6, 10, 110) == 0


def test_a_schedule_without_warm_up_begins_at_the_full_rate():
    assert optim.warmup_cosine(0, 0, 100) == 1
    assert optim.warmup(0, 0) == 1


def test_a_warm_up_longer_than_training_is_refused():
    with pytest.raises(ValueError, match="warm-up must be shorter"):
        optim.warmup_cosine(0, 10, 10)


# ---------------------------------------------------------------- EMA


def test_the_average_follows_its_recursion():
    flat = optim.FlatParameters(parameters())
    ema, expected = optim.EMA(flat, decay=0.5), flat.data.copy()
    for n in range(12):
        flat.data += 1
        ema.update()
        d = min(0.5, (1 + n) / (10 + n))
        expected = d * expected + (1 - d) * flat.data
        np.testing.assert_allclose(ema.average, expected, rtol=1e-12)


def test_the_warm_up_forgets_the_initial_weights():
    """Without it 0.9999^1000 = 90% of the average would still be initial weights after 1,000 steps."""
    p = Parameter(np.ones(1))
    flat = optim.FlatParameters([p])
    ema = optim.EMA(flat, decay=0.9999)
    flat.data[...] = 0
    for _ in range(1000):
        ema.update()
    assert ema.average[0] < 1e-6


def test_the_averaged_weights_are_shown_inside_the_block_only():
    layer = nn.Linear(2, 2, Generator(0))
    ema = optim.EMA(optim.FlatParameters(layer.parameters()), decay=0.9)
    average = layer.weight.data.copy()
    layer.weight.assign(average + 1)
    with ema.weights():
        np.testing.assert_array_equal(layer.weight.data, average)
    np.testing.assert_array_equal(layer.weight.data, average + 1)


def test_a_saved_average_goes_on_with_its_count():
    flat = optim.FlatParameters(parameters())
    ema, other = optim.EMA(flat, 0.99), optim.EMA(optim.FlatParameters(parameters()), 0.99)
    for _ in range(5):
        flat.data += 1
        ema.update()
    other.load_state_dict(ema.state_dict())
    assert other.decay_now() == ema.decay_now()
    np.testing.assert_array_equal(other.average, ema.average)
