"""Modules and layers: how parts are found, saved and printed, and what the initialisers promise."""

import numpy as np
import pytest

from minigen import Tensor, nn, ops
from minigen.nn import init
from minigen.random import Generator


class Small(nn.Module):
    def __init__(self, generator):
        self.first = nn.Linear(3, 4, generator)
        self.layers = [nn.GroupNorm(2, 4), nn.BatchNorm(4)]
        self.named = {"last": nn.Linear(4, 2, generator)}
        self.shared = self.first

    def forward(self, x):
        h = self.first(x)
        for layer in self.layers:
            h = layer(h)
        return self.named["last"](h)


def test_parameters_are_found_in_attributes_lists_and_dicts_each_once():
    names = [name for name, _ in Small(Generator(0)).named_parameters()]
    assert names == ["first.weight", "first.bias", "layers.0.gamma", "layers.0.beta", "layers.1.gamma", "layers.1.beta",
                     "named.last.weight", "named.last.bias"]  # fmt: skip


def test_a_state_dict_brings_a_module_back():
    one, other = Small(Generator(0)), Small(Generator(1))
    one(Tensor(Generator(2).normal((5, 3))))  # moves the running statistics
    assert set(one.state_dict()) - {n for n, _ in one.named_parameters()} == {
        "layers.1.running_mean",
        "layers.1.running_var",
    }
    other.load_state_dict(one.state_dict())
    x = Tensor(Generator(3).normal((5, 3)))
    np.testing.assert_array_equal(one.eval()(x).data, other.eval()(x).data)


def test_a_state_dict_is_a_copy():
    module = Small(Generator(0))
    module.state_dict()["first.weight"][...] = 7
    assert not (module.first.weight.data == 7).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("first.bias"), "missing \\['first.bias'\\]"),
        (lambda s: s.update(extra=np.zeros(1)), "unexpected \\['extra'\\]"),
        (lambda s: s.update({"first.bias": np.zeros(5)}), "'first.bias'.*\\(5,\\).*\\(4,\\)"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(change, message):
    module = Small(Generator(0))
    before = module.state_dict()
    state = {name: array + 1 for name, array in module.state_dict().items()}
    change(state)
    with pytest.raises(ValueError, match=message):
        module.load_state_dict(state)
    assert all((module.state_dict()[name] == array).all() for name, array in before.items())


def test_modes_reach_every_module():
    module = Small(Generator(0)).eval()
    assert not any(part.training for _, part in module.named_modules())
    assert all(part.training for _, part in module.train().named_modules())


def test_freezing_leaves_no_gradient_and_thaws():
    module = Small(Generator(0)).requires_grad(False)
    assert not module(Tensor(np.ones((2, 3), np.float32), requires_grad=False)).requires_grad
    module.requires_grad()
    module(Tensor(np.ones((2, 3), np.float32))).sum().backward()
    assert module.first.weight.grad is not None


def test_repr_shows_shapes_and_counts():
    text = repr(Small(Generator(0)))
    assert "first: Linear(weight (3, 4), bias (4,))  # 16 parameters" in text
    assert text.splitlines()[0] == "Small()  # 42 parameters"


def test_watch_reports_inner_modules_first():
    module, seen = Small(Generator(0)), []
    with nn.watch(lambda part, result: seen.append((type(part).__name__, result.shape))):
        module(Tensor(np.ones((2, 3), np.float32)))
    assert seen == [
        ("Linear", (2, 4)),
        ("GroupNorm", (2, 4)),
        ("BatchNorm", (2, 4)),
        ("Linear", (2, 2)),
        ("Small", (2, 2)),
    ]


def test_an_assignment_makes_older_graphs_stale():
    layer = nn.Linear(2, 2, Generator(0))
    loss = (layer(Tensor(np.ones((1, 2), np.float32))) ** 2).sum()
    layer.weight.assign(layer.weight.data * 2)
    with pytest.raises(RuntimeError, match="changed in place"):
        loss.backward()


# ---------------------------------------------------------------- layers


def test_dropout_keeps_the_mean_and_the_stated_share():
    x = np.ones((200, 500), np.float32)
    y = nn.Dropout(0.3, Generator(0))(Tensor(x)).data
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.7)}
    assert (y == 0).mean() == pytest.approx(0.3, abs=5 * (0.3 * 0.7 / x.size) ** 0.5)


def test_a_conv_transpose_layer_reaches_the_size_that_is_asked_for():
    layer = nn.ConvTranspose2d(3, 2, 2, Generator(0), stride=2)
    x = Tensor(np.ones((1, 4, 3, 3), np.float32))
    assert layer(x).shape == (1, 8, 6, 2)
    assert layer(x, (9, 7)).shape == (1, 9, 7, 2)
    with pytest.raises(ValueError, match="output_padding"):
        layer(x, (10, 6))


def test_attention_ignores_the_order_of_what_it_attends_to():
    layer, g = nn.Attention(8, 2, Generator(0), context_channels=5), Generator(1)
    x, context = Tensor(g.normal((2, 3, 8))), g.normal((2, 7, 5))
    shuffled = context[:, g.permutation(7)]
    np.testing.assert_allclose(layer(x, Tensor(context)).data, layer(x, Tensor(shuffled)).data, atol=1e-6)


def test_self_attention_is_attention_to_oneself():
    layer, x = nn.Attention(8, 2, Generator(0)), Tensor(Generator(1).normal((2, 3, 8)))
    np.testing.assert_array_equal(layer(x).data, layer(x, x).data)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda g: nn.GroupNorm(3, 8), "groups must divide channels: got groups=3, channels=8"),
        (lambda g: nn.Attention(8, 3, g), "heads must divide channels: got heads=3, channels=8"),
        (lambda g: nn.Dropout(1.0, g), "p must lie in \\[0, 1\\), got 1.0"),
        (lambda g: nn.Conv2d(3, 4, 3, g, groups=2), "groups must divide the input channels"),
    ],
)
def test_layers_refuse_what_cannot_be(make, message):
    with pytest.raises(ValueError, match=message):
        make(Generator(0))


def test_layers_train():
    """An MLP on a product of two inputs, which no linear map can fit: the loss falls a hundredfold."""
    from minigen.optim import AdamW

    g = Generator(0)
    x = g.normal((256, 2))
    y = x[:, :1] * x[:, 1:]
    network = nn.Sequential(nn.Linear(2, 64, g), ops.silu, nn.Linear(64, 1, g))
    optimizer, losses = AdamW(network.parameters(), lr=1e-2), []
    for _ in range(300):
        loss = ops.mse(network(Tensor(x)), Tensor(y))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 100


# ---------------------------------------------------------------- initial weights


@pytest.mark.parametrize(
    ("initialiser", "variance"),
    [
        (init.uniform_fan_in, 1 / (3 * 9 * 20)),
        (init.xavier_uniform, 2 / (9 * 20 + 9 * 60)),
        (init.kaiming_normal, 2 / (9 * 20)),
        (init.normal, 0.02**2),
    ],
)
def test_initial_weights_have_the_stated_variance(initialiser, variance):
    """10,800 weights: the sample variance is within 5 standard errors (of a normal law, the wider one)."""
    w = initialiser((3, 3, 20, 60), Generator(0)).astype(np.float64)
    assert w.var() == pytest.approx(variance, rel=5 * (2 / w.size) ** 0.5)
    assert abs(w.mean()) < 5 * (variance / w.size) ** 0.5


def test_he_initialisation_keeps_the_signal_through_relu_layers():
    """E[y^2] after 20 layers is of the size that went in; with half the variance it would be 2^-20 of it."""
    g = Generator(0)
    x = Tensor(g.normal((64, 256)))
    for _ in range(20):
        x = ops.relu(ops.matmul(x, Tensor(init.kaiming_normal((256, 256), g))))
    assert 0.2 < (x.data**2).mean() < 5
