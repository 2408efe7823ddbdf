"""What autograd.py, tensor.py and device.py promise: the graph's life, partial derivatives, NumPy at the border."""

import threading
from unittest import mock

import numpy as np
import pytest

from minigen import ops
from minigen.autograd import Fused, NoDerivative, Operation, backward, grad, is_recording, no_grad
from minigen.device import device, to_device
from minigen.dispatch import dispatch, use_kernels
from minigen.tensor import Tensor

X = np.array([[0.5, -1.0, 2.0], [1.5, 0.3, -0.7]])


def leaf(x=X):
    return Tensor(np.array(x), requires_grad=True)


def calls_of_backward(operation):
    """Count how often an operation's backward runs."""
    return mock.patch.object(operation, "backward", autospec=True, side_effect=operation.backward)


# ---------------------------------------------------------------- the chain rule over a graph


def test_diamond_sums_both_paths_before_it_goes_on():
    x = leaf()
    with calls_of_backward(ops.elementwise.Sin) as count:
        root = ops.sin(x)
        (root * 2.0 + root * root).sum().backward()
    assert count.call_count == 1
    np.testing.assert_allclose(x.grad.data, (2 + 2 * np.sin(X)) * np.cos(X), rtol=1e-14)


def test_backward_twice_accumulates_and_zero_grad_starts_a_new_sum():
    x = leaf()
    (x * x).sum().backward()
    (x * 3.0).sum().backward()
    np.testing.assert_array_equal(x.grad.data, 2 * X + 3)
    x.zero_grad()
    assert x.grad is None
    (x * 3.0).sum().backward()
    np.testing.assert_array_equal(x.grad.data, np.full_like(X, 3))


def test_accumulation_does_not_write_into_a_gradient_that_someone_holds():
    x = leaf()
    (x * 1.0).sum().backward()
    held = x.grad
    (x * 1.0).sum().backward()
    np.testing.assert_array_equal(held.data, np.ones_like(X))
    np.testing.assert_array_equal(x.grad.data, np.full_like(X, 2))


def test_two_leaves_do_not_share_one_gradient_array():
    a, b = leaf(), leaf()
    (a + b).sum().backward()
    (a * 1.0).sum().backward()
    np.testing.assert_array_equal(a.grad.data, np.full_like(X, 2))
    np.testing.assert_array_equal(b.grad.data, np.ones_like(X))


def test_backward_of_a_leaf_is_its_seed():
    x = leaf()
    backward(x, Tensor(X))
    np.testing.assert_array_equal(x.grad.data, X)


def test_a_chain_of_10000_operations_meets_no_recursion_limit():
    x = leaf(1.0)
    y = x
    for _ in range(10_000):
        y = y * 1.0001
    y.backward()
    assert x.grad.item() == pytest.approx(1.0001**10_000, rel=1e-10)
    del y  # freeing such a chain must not recurse either


def test_a_recorded_chain_of_4000_operations_can_be_differentiated_twice():
    x = leaf(0.5)
    y = x
    for _ in range(2_000):
        y = y * 1.0 + x * x * 0.0005
    (first,) = grad(y, [x], create_graph=True)
    (second,) = grad(first, [x])
    assert first.item() == pytest.approx(2.0)
    assert second.item() == pytest.approx(2.0)


# ---------------------------------------------------------------- freed and stale graphs


def test_a_second_backward_through_a_freed_graph_raises():
    x = leaf()
    y = (x * x).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="freed by an earlier backward.*retain_graph=True"):
        y.backward()


def test_retain_graph_allows_a_second_backward():
    x = leaf()
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_allclose(x.grad.data, 4 * X)


def test_backward_drops_what_the_operations_saved():
    x = leaf()
    y = ops.sigmoid(x)
    operation = y.op
    y.sum().backward()
    assert operation.freed
    assert operation.saved == operation.inputs == operation.parents == ()


def test_saving_a_result_ties_no_reference_cycle():
    import gc
    import weakref

    gc.disable()
    try:
        y = ops.exp(leaf())
        reference = weakref.ref(y.op)
        del y
        assert reference() is None
    finally:
        gc.enable()


def test_a_change_in_place_after_use_is_refused():
    x = leaf()
    y = (x * x).sum()
    x.data += 1.0
    x.version += 1
    with pytest.raises(RuntimeError, match=r"input 0 of Multiply \(shape \(2, 3\)\) was changed in place.*recorded 0"):
        y.backward()


def test_a_change_in_place_is_no_harm_to_operations_that_do_not_read_their_inputs():
    x = leaf()
    y = (x + 1.0).sum()
    x.version += 1
    y.backward()
    np.testing.assert_array_equal(x.grad.data, np.ones_like(X))


# ---------------------------------------------------------------- grad


def test_grad_leaves_dot_grad_alone():
    x = leaf()
    (g,) = grad((x * x).sum(), [x])
    np.testing.assert_array_equal(g.data, 2 * X)
    assert x.grad is None
    assert not g.requires_grad


def test_grad_with_respect_to_an_intermediate_tensor():
    x = leaf()
    y = ops.sin(x)
    gx, gy = grad((y * y).sum(), [x, y])
    np.testing.assert_allclose(gy.data, 2 * np.sin(X))
    np.testing.assert_allclose(gx.data, 2 * np.sin(X) * np.cos(X))


def test_several_outputs_are_summed_with_their_cotangents():
    x = leaf()
    y = x * 2.0
    (g,) = grad([y, y, x], [x], [Tensor(X), Tensor(np.ones_like(X)), Tensor(3 * X)])
    np.testing.assert_allclose(g.data, 2 * X + 2 + 3 * X)


def test_an_unused_input_raises_or_is_none():
    x, z = leaf(), leaf()
    with pytest.raises(ValueError, match=r"input 1 of grad \(shape \(2, 3\), requires_grad=True\) does not influence"):
        grad((x * x).sum(), [x, z])
    g, none = grad((x * x).sum(), [x, z], allow_unused=True)
    assert none is None
    assert g.shape == X.shape


def test_derivatives_to_order_3():
    x = leaf(0.7)
    y = ops.sin(x * x)
    (d1,) = grad(y, [x], create_graph=True)
    (d2,) = grad(d1, [x], create_graph=True)
    (d3,) = grad(d2, [x])
    s, c, v = np.sin(0.49), np.cos(0.49), 0.7
    assert d1.item() == pytest.approx(2 * v * c, rel=1e-14)
    assert d2.item() == pytest.approx(2 * c - 4 * v**2 * s, rel=1e-14)
    assert d3.item() == pytest.approx(-12 * v * s - 8 * v**3 * c, rel=1e-13)


def test_backward_with_create_graph_gives_gradients_with_a_graph():
    x = leaf()
    (x * x * x).sum().backward(create_graph=True)
    (second,) = grad(x.grad.sum(), [x])
    np.testing.assert_allclose(second.data, 6 * X)


def test_a_gradient_penalty_reaches_the_weights():
    x, w = leaf(), leaf(np.arange(3.0))
    (slope,) = grad(ops.tanh(x @ w).sum(), [x], create_graph=True)
    (gw,) = grad((slope * slope).sum(), [w])
    t = np.tanh(X @ np.arange(3.0))
    u = (1 - t**2) ** 2  # penalty = sum_n u_n |w|^2
    expected = 2 * u.sum() * np.arange(3.0) - (4 * (1 - t**2) ** 2 * t) @ X * np.sum(np.arange(3.0) ** 2)
    np.testing.assert_allclose(gw.data, expected, rtol=1e-12)


class Product(Fused):
    """y = a b"""

    def forward(self, a, b):
        return a * b

    def backward_fast(self, g, needs, a, b):
        return g * b, g * a

    def composed(self, a, b):
        return a * b


@pytest.mark.parametrize("create_graph", [False, True])
def test_an_input_that_depends_on_another_is_not_counted_twice(create_graph):
    x = leaf()
    y = x * x
    gx, gy = grad(Product()(x, y).sum(), [x, y], create_graph=create_graph)
    np.testing.assert_allclose(gy.data, X)  # the partial derivative: y's own part only
    np.testing.assert_allclose(gx.data, 3 * X**2)  # the total one


@pytest.mark.parametrize("create_graph", [False, True])
def test_the_same_tensor_given_twice(create_graph):
    x = leaf()
    (g,) = grad(Product()(x, x).sum(), [x], create_graph=create_graph)
    np.testing.assert_allclose(g.data, 2 * X)


def test_an_operation_without_second_derivative_raises_rather_than_give_a_wrong_one():
    class OnlyFirst(Fused):
        def forward(self, x):
            return x * x

        def backward_fast(self, g, needs, x):
            return (2 * g * x,)

    x = leaf()
    np.testing.assert_array_equal(grad(OnlyFirst()(x).sum(), [x])[0].data, 2 * X)
    with pytest.raises(NoDerivative, match="OnlyFirst has no second derivative"):
        grad(OnlyFirst()(x).sum(), [x], create_graph=True)


def test_an_operation_without_derivative_raises():
    class NoBackward(Operation):
        def forward(self, x):
            return x

    with pytest.raises(NoDerivative, match="NoBackward has no derivative"):
        NoBackward()(leaf()).sum().backward()


def test_a_gradient_of_the_wrong_shape_is_refused():
    class Broadcasts(Operation):
        def forward(self, a, b):
            return a + b

        def backward(self, g, needs, a, b):
            return g, g

    with pytest.raises(RuntimeError, match=r"Broadcasts.backward gave \(2, 3\) for input 1 of shape \(3,\)"):
        Broadcasts()(leaf(), leaf(X[0])).sum().backward()


# ---------------------------------------------------------------- what nobody asked for is not computed


def test_a_frozen_weight_costs_nothing():
    asked = []

    class Watched(Product):
        def backward_fast(self, g, needs, a, b):
            asked.append(tuple(needs))
            return super().backward_fast(g, needs, a, b)

    x, frozen = leaf(), Tensor(X)
    Watched()(Watched()(frozen, frozen), x).sum().backward()
    assert asked == [(False, True)]  # and nothing for the product of the two frozen ones


def test_grad_visits_only_the_paths_to_its_inputs():
    x, z = leaf(), leaf()
    side = ops.sin(ops.sin(z))
    y = (ops.cos(x) * side).sum()
    with calls_of_backward(ops.elementwise.Sin) as sines, calls_of_backward(ops.elementwise.Cos) as cosines:
        grad(y, [x])
    assert (sines.call_count, cosines.call_count) == (0, 1)


def test_grad_stops_at_an_intermediate_target():
    x = leaf()
    middle = ops.sin(x)
    y = ops.cos(middle).sum()
    with calls_of_backward(ops.elementwise.Sin) as count:
        grad(y, [middle])
    assert count.call_count == 0


def test_nothing_is_recorded_under_no_grad():
    x = leaf()
    with no_grad():
        y = x * x
        assert not is_recording()
    assert is_recording()
    assert y.op is None
    assert not y.requires_grad


def test_no_grad_ends_with_an_exception():
    with pytest.raises(KeyError), no_grad():
        raise KeyError
    assert is_recording()


def test_a_result_of_constants_has_no_graph():
    y = Tensor(X) * 2.0
    assert y.op is None
    with pytest.raises(ValueError, match="has no graph"):
        y.sum().backward()


def test_the_recording_of_one_thread_is_not_that_of_another():
    seen, inside, done = [], threading.Event(), threading.Event()

    def other():
        inside.wait(10)
        seen.append((leaf() * 2.0).requires_grad)
        with no_grad():
            done.set()

    thread = threading.Thread(target=other)
    thread.start()
    with no_grad():
        inside.set()
        thread.join(10)
    assert done.is_set()
    assert seen == [True]
    assert is_recording()


# ---------------------------------------------------------------- seeds


@pytest.mark.parametrize(
    ("seed", "message"),
    [
        (None, r"only a scalar has a gradient of its own; for an output of shape \(2, 3\)"),
        (np.ones((3, 2)), r"grad_outputs is float64\(3, 2\), but the output is float64\(2, 3\)"),
        (np.ones((2, 3), np.float32), r"grad_outputs is float32\(2, 3\), but the output is float64\(2, 3\)"),
    ],
)
def test_a_seed_must_fit_its_output(seed, message):
    x = leaf()
    with pytest.raises(ValueError, match=message):
        backward(x * 2.0, seed)


# ---------------------------------------------------------------- dtypes and devices


@pytest.mark.parametrize("name", ["add", "sub", "mul", "truediv", "matmul"])
def test_float_types_do_not_mix(name):
    a, b = Tensor(np.ones((2, 2), np.float32)), Tensor(np.ones((2, 2)))
    with pytest.raises(TypeError, match=r"input 1 is float64 but another input is float32; convert one with .astype"):
        getattr(a, f"__{name}__")(b)


def test_a_float64_array_does_not_silently_become_float32():
    with pytest.raises(TypeError, match="float64 but another input is float32"):
        Tensor(np.ones(2, np.float32)) + np.ones(2)


@pytest.mark.parametrize("number", [2, 2.5, True, np.float64(2.5), np.int64(2), np.float32(0.5)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_take_the_dtype_of_the_tensor(number, dtype):
    x = Tensor(np.ones(3, dtype))
    for y in (x + number, number + x, x * number, number / x, number - x):
        assert isinstance(y, Tensor)
        assert y.dtype == dtype


def test_astype_returns_the_gradient_in_the_dtype_it_came_from():
    x = leaf()
    (x.astype(np.float32) * 2.0).sum().backward()
    assert x.grad.dtype == np.float64
    np.testing.assert_array_equal(x.grad.data, np.full_like(X, 2))


@pytest.mark.parametrize("data", [np.ones(2, np.float16), np.ones(2, complex), np.array(["a"]), np.array([None])])
def test_a_tensor_of_another_dtype_is_refused(data):
    with pytest.raises(TypeError, match="must be float32, float64, integer or boolean"):
        Tensor(data)


def test_python_floats_become_float32_and_arrays_keep_their_dtype():
    assert Tensor([1.0, 2.0]).dtype == np.float32
    assert Tensor(1.5).dtype == np.float32
    assert Tensor(np.ones(2)).dtype == np.float64
    assert Tensor([1, 2]).dtype.kind == "i"


def test_integers_have_no_gradient():
    with pytest.raises(TypeError, match="only floating-point tensors have gradients, got int64"):
        Tensor(np.arange(3), requires_grad=True)


def test_a_tensor_of_a_tensor_is_refused():
    with pytest.raises(TypeError, match="a Tensor already"):
        Tensor(leaf())


def test_cuda_without_cupy_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "cupy", None)
    for ask in (lambda: device("cuda"), lambda: Tensor(X).to("cuda"), lambda: to_device(X, "cuda")):
        with pytest.raises(RuntimeError, match="needs CuPy: pip install"):
            ask()


def test_an_unknown_device_is_refused():
    with pytest.raises(ValueError, match="must be 'cpu' or 'cuda', got 'tpu'"):
        Tensor(X).to("tpu")


def test_to_the_same_device_is_the_same_tensor():
    x = leaf()
    assert x.to("cpu") is x
    assert x.device == "cpu"


def test_forced_kernels_raise_rather_than_fall_back(monkeypatch):
    with use_kernels("cuda"), pytest.raises(TypeError, match="use_kernels\\('cuda'\\) does not fit arrays of NumPy"):
        ops.silu(leaf())
    with pytest.raises(ValueError, match="one of numpy, numba, cuda, got 'fortran'"), use_kernels("fortran"):
        pass
    with pytest.raises(LookupError, match="no kernel is called 'slu'"):
        dispatch("slu", X)
    asked: list[str] = []
    monkeypatch.setattr("minigen.dispatch.kernel", lambda name, dialect: asked.append(dialect) or (lambda x: x))
    with use_kernels("numpy"):
        dispatch("silu", X)
    assert asked == ["numpy"]


# ---------------------------------------------------------------- NumPy at the border


def test_numpy_can_read_a_tensor():
    x = leaf()
    assert np.asarray(x) is x.data
    assert x.numpy() is x.data
    assert np.array(x) is not x.data
    assert np.asarray(x, np.float32).dtype == np.float32
    assert float(Tensor(2.5)) == 2.5
    assert int(Tensor(np.array(3))) == 3
    assert bool(Tensor(np.array(True)))
    assert len(x) == 2
    assert x.size == 6
    assert x.ndim == 2


@pytest.mark.parametrize("expression", [
    lambda a, x: a + x, lambda a, x: a - x, lambda a, x: a * x, lambda a, x: a / x,
])  # fmt: skip
def test_an_array_on_the_left_stays_on_the_tape(expression):
    a, x = np.full_like(X, 2.0), leaf()
    y = expression(a, x)
    assert isinstance(y, Tensor)
    assert y.requires_grad
    assert y.shape == X.shape
    np.testing.assert_allclose(y.data, expression(a, X))


def test_an_array_times_a_matrix_stays_on_the_tape():
    x = leaf()
    y = np.ones((4, 2)) @ x
    assert y.requires_grad
    np.testing.assert_allclose(y.data, np.ones((4, 2)) @ X)


def test_comparisons_give_plain_boolean_arrays():
    x = leaf()
    for y in (x > 0.5, x >= Tensor(X), np.zeros_like(X) < x):
        assert type(y) is np.ndarray
        assert y.dtype == bool
    np.testing.assert_array_equal(np.zeros_like(X) < x, X > 0)


@pytest.mark.parametrize("name", ["exp", "sqrt", "maximum", "sin"])
def test_a_numpy_function_on_a_tensor_is_refused_with_advice(name):
    function = getattr(np, name)
    with pytest.raises(TypeError, match=rf"np.{name} on a Tensor would lose its gradient: use minigen.ops.{name}"):
        function(*[leaf()] * function.nin)


@pytest.mark.parametrize("call", [lambda x: np.add.reduce(x), lambda x: np.add(X, x, out=np.empty_like(X))])
def test_reductions_and_out_are_refused_too(call):
    with pytest.raises(TypeError, match="would lose its gradient"):
        call(leaf())


def test_repr_tells_shape_dtype_and_origin():
    x = leaf()
    assert "shape=(2, 3), float64, requires_grad" in repr(x)
    assert "made by Multiply" in repr(x * x)


def test_detach_shares_the_array_and_leaves_the_tape():
    x = leaf()
    y = (x * x).detach()
    assert y.op is None
    assert not y.requires_grad
    assert x.detach().data is x.data
