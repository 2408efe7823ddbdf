"""The checker itself: it must reject each of these wrong gradients, and accept right ones."""

import numpy as np
import pytest

from minigen import ops
from minigen.autograd import Fused, Identity, Operation, grad, is_recording
from minigen.device import CPU
from minigen.gradcheck import Check, GradientError, check_grads
from minigen.tensor import Tensor

rng = np.random.default_rng(0)
X, Y = rng.standard_normal((3, 4)), rng.standard_normal((3, 4))
W = rng.standard_normal((4, 4))


def operation(forward, backward, base=Operation):
    """A function made of one operation with the given forward (on arrays) and backward (on Tensors)."""
    body = {"forward": lambda self, *xs: forward(*xs), "backward": lambda self, g, needs, *xs: backward(g, *xs)}
    return lambda *xs: type("Written", (base,), body)()(*xs)


def fused(forward, backward_fast, composed):
    body = {
        "forward": lambda self, *xs: forward(*xs),
        "backward_fast": lambda self, g, needs, *xs: backward_fast(g, *xs),
        "composed": lambda self, *xs: composed(*xs),
    }
    return lambda *xs: type("Written", (Fused,), body)()(*xs)


def softmax_array(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def one_element_wrong(g, x):
    mask = np.ones(x.shape)
    mask[1, 2] = 1.001
    return g * ops.cos(x) * mask


class CountsTwice(Fused):
    """y = a b, whose recorded gradient follows a's own history too: wrong where a depends on b."""

    def forward(self, a, b):
        return a * b

    def backward_fast(self, g, needs, a, b):
        return g * b, g * a

    def backward(self, g, needs, a, b):
        if not is_recording():
            return super().backward(g, needs, a, b)
        return grad(ops.exp(ops.log(a)) * b, [a, b], g, create_graph=True)


class KeepsOnTheClass(Operation):
    """y = x^2, but what backward reads is shared by all calls: the latest forward wins."""

    latest = None

    def forward(self, x):
        KeepsOnTheClass.latest = x
        return x * x

    def backward(self, g, needs, x):
        return g * Tensor(self.latest) * 2.0


class IgnoresNeeds(Operation):
    """y = a b, which hands the gradients of those inputs that want one, in order, but to the wrong places."""

    def forward(self, a, b):
        return a * b

    def backward(self, g, needs, a, b):
        return (g * b, g * a) if all(needs) else (g * b, g * b)


def doubles_its_input(x):
    x *= 2.0
    return x


def changes_its_cotangent(g, x):
    g.data *= 2.0
    return g


def float32_inside(x):
    return ops.exp(x).astype(np.float32).astype(np.float64)


def noisy(x):
    return x * rng.standard_normal()


# name: (function, inputs, what the message must say)
WRONG = {
    "sign": (operation(np.cos, lambda g, x: g * ops.sin(x)), [X], "input 0 is wrong"),
    "missing factor": (operation(lambda x: x**3, lambda g, x: g * x * x), [X], "input 0 is wrong"),
    "transposed": (
        operation(lambda a, b: a @ b, lambda g, a, b: (g @ b, a.transpose() @ g)), [X, W], "input 0 is wrong"),
    "missing term of a product": (
        operation(lambda x: x * np.exp(x), lambda g, x: g * ops.exp(x)), [X], "input 0 is wrong"),
    "forgotten broadcast sum": (
        operation(lambda a, b: a + b, lambda g, a, b: (g, g[0])), [X, X[0]], "input 1 is wrong"),
    "mean in place of the broadcast sum": (
        operation(lambda a, b: a + b, lambda g, a, b: (g, g.mean(0))), [X, X[0]], "input 1 is wrong"),
    "one element, by a thousandth": (operation(np.sin, one_element_wrong), [X], r"most wrong at element \(1, 2\)"),
    "zero, with outputs that sum to 1": (operation(softmax_array, lambda g, x: g * 0.0), [X], "input 0 is wrong"),
    "constant, at a point where it is right on average": (
        operation(np.abs, lambda g, x: g * float(np.sign(x.data).mean())), [X], "input 0 is wrong"),
    "of the other input": (operation(lambda a, b: a * np.sin(b), lambda g, a, b: (g * a * ops.cos(b), g * ops.sin(b))),
                           [X, Y], "input 0 is wrong"),
    "right for a cotangent of ones only": (
        operation(lambda x: x.sum(0) * x, lambda g, x: (g + 1.0) * x.sum(0)), [X], "input 0 is wrong"),
    "right at first order, wrong at second": (
        operation(np.exp, lambda g, x: g * operation(np.exp, lambda h, z: h * z)(x)), [X],
        "order 2: .*input 0 is wrong"),
    "detached from its input": (
        operation(np.exp, lambda g, x: g * ops.exp(x.detach())), [X], "order 2: .*input 0 is wrong"),
    "detached from its cotangent": (
        operation(np.sin, lambda g, x: ops.cos(x) * g.detach()), [X], "order 2: .*cotangent 0 of order 1 is wrong"),
    "right at second order, wrong at third": (
        operation(np.exp, lambda g, x: g * operation(np.exp, lambda h, z: h * ops.exp(z.detach()))(x)), [X], "order 3"),
    "composed unlike fast": (
        fused(np.sin, lambda g, x: (g * np.cos(x),), lambda x: ops.sin(x) * 1.01), [X], "create_graph=True differs"),
    "composed misses a term": (
        fused(lambda a, b: a * b, lambda g, a, b: (g * b, g * a), lambda a, b: a * b.detach() + b * 0.0), [X, Y],
        "input 1 with create_graph=True differs"),
    "an input that depends on another counted twice": (
        lambda x: CountsTwice()(x * x + 1.0, x), [X], "input 0 with create_graph=True differs"),
    "ignores needs": (lambda a, b: IgnoresNeeds()(a, b), [X, Y], "input 1 when asked for alone"),
    "state shared between calls": (lambda x: KeepsOnTheClass()(x), [X], "input 0 is wrong"),
    "changes its input": (operation(doubles_its_input, lambda g, x: g * 2.0), [X], "changed input 0 in place"),
    "changes its cotangent": (operation(lambda x: 2.0 * x, changes_its_cotangent), [X], "changed the cotangents"),
    "a step with a slope": (operation(np.floor, lambda g, x: g), [X], "input 0 is wrong"),
    "float32 inside": (float32_inside, [X], "float32 inside"),
    "float32 result": (lambda x: x.astype(np.float32), [X], "output 0 is float32"),
    "noise": (noisy, [X], "two different results"),
    "outside the domain": (ops.log, [-abs(X)], "not finite"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_gradient_is_rejected(name):
    function, inputs, message = WRONG[name]
    with pytest.raises(GradientError, match=message):
        check_grads(function, inputs, order=3 if "third" in name else 2)


@pytest.mark.parametrize("seed", range(5))
def test_rejection_does_not_hang_on_the_seed(seed):
    for name in ("zero, with outputs that sum to 1", "one element, by a thousandth", "detached from its input"):
        function, inputs, message = WRONG[name]
        with pytest.raises(GradientError, match=message):
            check_grads(function, inputs, seed=seed)


def diamond(x):
    a, b = ops.sin(x), x * x
    return a * b + a / (b + 1.0)


def newton_step(x):
    """A function that contains a derivative of its own."""
    y = ops.exp(x) + x * x
    (slope,) = grad(y, [x], Tensor(np.ones(x.shape)), create_graph=True)
    return x - y / slope


# name: (function, inputs, order)
RIGHT = {
    "diamond": (diamond, [X], 3),
    "the same tensor twice": (lambda x: x * x + x / (x * x + 1.0), [X], 3),
    "an input that depends on another, fused": (lambda x: ops.mse(ops.silu(x), x * x, reduction="none"), [X], 3),
    "linear": (lambda x, w: x @ w, [X, W], 3),
    "linear in one input": (lambda a, b: a * ops.exp(b), [X, Y], 2),
    "two results": (lambda a, b: (a * b, ops.sin(a)), [X, Y], 2),
    "a result without a graph": (lambda x: (x * x, Tensor(np.ones(3))), [X], 2),
    "an input that is not used": (lambda a, b: a * a, [X, Y], 2),
    "kinks at every element": (ops.relu, [np.zeros((3, 4))], 2),
    "kinks at some": (lambda x: ops.absolute(x) * ops.maximum(x, 0.5), [np.array([0.0, 0.5, 1.0, -0.5])], 2),
    "a kink in the slope": (lambda x: ops.relu(x) * x, [np.zeros(3)], 2),
    "ties": (ops.max, [np.ones((3, 2))], 2),
    "steps, whose slope is 0": (operation(np.floor, lambda g, x: g * 0.0), [X], 2),
    "integer inputs": (lambda w, i: w[i], [X, np.array([0, 2, 0])], 2),
    "a boolean input": (lambda m, x: ops.where(m, x, 0.0), [X > 0, X], 2),
    "no elements": (lambda x: ops.exp(x).sum(0), [np.zeros((0, 3))], 2),
    "a scalar": (ops.tanh, [np.array(0.3)], 3),
    "a derivative inside": (newton_step, [X], 2),
    "float32 and read-only inputs": (ops.sin, [np.broadcast_to(np.float32(0.5), (2, 3))], 2),
    "Tensors as inputs": (ops.sin, [Tensor(X, requires_grad=True)], 2),
    "small results": (lambda x: ops.exp(x) * 1e-3, [X], 2),
    "large results": (lambda x: ops.exp(x) * 1e6, [X], 2),
    "an identity": (lambda x: Identity()(x), [X], 3),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_gradient_is_accepted(name):
    function, inputs, order = RIGHT[name]
    before = [np.array(x) for x in inputs]
    check_grads(function, inputs, order)
    assert all(np.array_equal(np.asarray(x), b) for x, b in zip(inputs, before))


def test_order_1_does_not_ask_for_a_second_derivative():
    only_first = fused(np.sin, lambda g, x: (g * np.cos(x),), Fused().composed)
    check_grads(only_first, [X], order=1)
    with pytest.raises(RuntimeError, match="no second derivative"):
        check_grads(only_first, [X], order=2)


@pytest.mark.parametrize("share", [0.0, 0.1, 1 / 3, 0.4, 0.5, 0.7, 0.9])
def test_a_kink_within_the_step_is_seen_wherever_it_lies(share):
    """At 0 the central slopes are blind to it, at one third of the step the second differences."""
    step = 1e-5
    check = Check(lambda x: (ops.relu(x - share * step),), CPU, ["x"], 1, step, 1e-6, rng)
    _, roughness, _ = check.slope([np.zeros(1)], [np.ones(1)], [np.ones(1)])
    assert roughness > 0.1  # of a jump of 1


@pytest.mark.parametrize(("bad", "message"), [({"order": 0}, "order must be at least 1"), ({}, "floating-point array")])
def test_bad_arguments_are_named(bad, message):
    inputs = [X] if bad else [np.arange(3)]
    with pytest.raises(ValueError, match=message):
        check_grads(ops.sin, inputs, **bad)


def test_a_composed_form_that_loses_an_input_is_refused_by_the_tape():
    lost = fused(lambda a, b: a * b, lambda g, a, b: (g * b, g * a), lambda a, b: a * b.detach())
    with pytest.raises(ValueError, match="input 1 of grad .* does not influence"):
        check_grads(lost, [X, Y])
