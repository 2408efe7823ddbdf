"""Every row of op_cases.py through every check that an operation must pass."""

import numpy as np
import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st
from op_cases import ACTIVATIONS, CASES
from strategies import layouts
from tolerances import assert_close

from minigen import dispatch, ops
from minigen.autograd import grad
from minigen.dispatch import use_kernels
from minigen.gradcheck import check_grads
from minigen.tensor import Tensor

DTYPES = [np.float32, np.float64]
KERNEL_CASES = [case for case in CASES if case.kernels]
TWINNED = [case for case in CASES if case.torch]
NOT_OPERATIONS = {"arithmetic", "philox", "optimizer"}  # kernel files with tests of their own


def rows(cases):
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


def some(share):
    """A share of the profile's examples, for checks that cost more or say less per example."""
    return settings(max_examples=max(3, int(settings().max_examples * share)))


def is_float(x):
    return x.dtype.kind == "f"


def cast(arrays, dtype):
    return [np.array(x, dtype) if is_float(x) else x for x in arrays]


def as_list(y):
    return list(y) if isinstance(y, (list, tuple)) else [y]


def cotangents(ys):
    """Fixed random cotangents, so that two evaluations can be compared."""
    rng = np.random.default_rng(0)
    return [rng.standard_normal(y.shape).astype(y.dtype) for y in ys]


def evaluate(case, arrays, create_graph=False):
    """Outputs, and gradients of sum_k <output_k, c_k> with respect to the floating-point inputs, as arrays."""
    inputs = [Tensor(x, requires_grad=True) if is_float(x) else x for x in arrays]
    ys = as_list(case.fn(*inputs))
    wanted = [x for x in inputs if isinstance(x, Tensor)]
    found = grad(ys, wanted, [Tensor(c) for c in cotangents(ys)], create_graph)
    return [y.data for y in ys], [g.data for g in found]


def evaluate_torch(torch, case, arrays):
    inputs = [torch.from_numpy(x.copy()).requires_grad_(is_float(x)) for x in arrays]
    ys = as_list(case.torch(torch, *inputs))
    seeds = [torch.from_numpy(c) for c in cotangents([y.detach().numpy() for y in ys])]
    pairs = [(y, c) for y, c in zip(ys, seeds) if y.requires_grad]
    wanted = [x for x in inputs if x.requires_grad]
    found = torch.autograd.grad([y for y, _ in pairs], wanted, [c for _, c in pairs], allow_unused=True)
    gradients = [torch.zeros_like(x) if g is None else g for g, x in zip(found, wanted)]
    return [y.detach().numpy() for y in ys], [g.numpy() for g in gradients]


def compare(case, actual, expected):
    for order, (what, a, e) in enumerate(zip(("output", "gradient"), actual, expected)):
        assert len(a) == len(e)
        for i, (x, y) in enumerate(zip(a, e)):
            assert_close(x, y, case.kind, order, what=f"{what} {i}")


# ---------------------------------------------------------------- right in value and gradient


@rows(KERNEL_CASES)
@pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])
@given(data=st.data())
def test_numba_kernels_equal_the_numpy_definition(case, dtype, data):
    arrays = cast(data.draw(case.inputs), dtype)
    before = [x.copy() for x in arrays]
    with use_kernels("numpy"):
        expected = evaluate(case, arrays)
    with use_kernels("numba"):
        actual = evaluate(case, arrays)
    compare(case, actual, expected)
    assert all(map(np.array_equal, arrays, before)), "an input was changed in place"


@rows(TWINNED)
@pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])
@given(data=st.data())
def test_value_and_gradient_equal_torch(case, dtype, data, torch):
    arrays = cast(data.draw(case.inputs), dtype)
    compare(case, evaluate(case, arrays), evaluate_torch(torch, case, arrays))


@rows(CASES)
@some(0.5)
@given(data=st.data())
def test_gradient_order_1(case, data):
    check_grads(case.fn, data.draw(case.inputs), order=1)


@rows([case for case in CASES if case.order >= 2])
@some(0.3)
@given(data=st.data())
def test_gradient_order_2(case, data):
    check_grads(case.fn, data.draw(case.inputs), order=2, samples=1)


@rows(CASES)
@some(0.3)
@given(data=st.data())
def test_the_recorded_gradient_equals_the_ordinary_one_in_float32(case, data):
    arrays = cast(data.draw(case.inputs), np.float32)
    actual, expected = evaluate(case, arrays, create_graph=True), evaluate(case, arrays)
    for i, (a, e) in enumerate(zip(actual[1], expected[1])):
        assert_close(a, e, "elementwise" if case.kind == "exact" else case.kind, 2, what=f"gradient {i}")


# ---------------------------------------------------------------- whatever way the input comes


@rows(CASES)
@some(0.3)
@given(data=st.data())
def test_memory_layout_changes_nothing_and_inputs_stay_untouched(case, data):
    arrays = cast(data.draw(case.inputs), np.float32)
    expected = evaluate(case, arrays)
    for i, x in enumerate(arrays):
        for layout in layouts(x).values():
            changed = [*arrays[:i], layout, *arrays[i + 1 :]]
            before = [a.copy() for a in changed]
            compare(case, evaluate(case, changed), expected)
            assert all(map(np.array_equal, changed, before)), "an input was changed in place"


@rows(CASES)
@pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])
@some(0.3)
@given(data=st.data())
def test_results_and_gradients_have_the_dtype_of_the_inputs(case, dtype, data):
    arrays = cast(data.draw(case.inputs), dtype)
    for create_graph in (False, True):
        outputs, gradients = evaluate(case, arrays, create_graph)
        assert {x.dtype for x in outputs + gradients} == {np.dtype(dtype)}
        assert [g.shape for g in gradients] == [x.shape for x in arrays if is_float(x)]


def float_places(arrays):
    return [i for i, x in enumerate(arrays) if is_float(x)]


def example(case):
    return find(case.inputs, lambda arrays: True, settings=settings(max_examples=1, database=None, derandomize=True))


@rows([case for case in CASES if len(float_places(example(case))) > 1])
@some(0.1)
@given(data=st.data())
def test_mixed_float_types_are_refused(case, data):
    arrays = data.draw(case.inputs)
    for odd in float_places(arrays):
        dtypes = [np.float32 if i == odd else np.float64 for i in range(len(arrays))]
        mixed = [Tensor(x.astype(dtype)) if is_float(x) else x for x, dtype in zip(arrays, dtypes)]
        with pytest.raises(TypeError, match="float32.*float64|float64.*float32"):
            case.fn(*mixed)


@rows([case for case in CASES if case.empty])
@pytest.mark.parametrize("dialect", ["numpy", "numba"])
def test_empty_inputs_give_empty_or_zero_results(case, dialect):
    arrays = [np.zeros(x, np.float32) if isinstance(x, tuple) else x for x in case.empty]
    with use_kernels(dialect):
        outputs, gradients = evaluate(case, arrays)
        again, recorded = evaluate(case, arrays, create_graph=True)
    assert all(np.isfinite(y).all() for y in outputs)
    assert [y.shape for y in outputs] == [y.shape for y in again]
    for found in (gradients, recorded):
        assert [g.shape for g in found] == [x.shape for x in arrays if is_float(x)]
        assert all(np.isfinite(g).all() for g in found)


SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-30, -1e-30, 0.5, -0.5, 30.0, -30.0, 100.0, -100.0]


@rows([case for case in ACTIVATIONS if case.kernels])
@pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])
def test_special_values_are_treated_alike_in_both_dialects(case, dtype):
    x = np.array(SPECIAL, dtype)
    with np.errstate(all="ignore"):
        with use_kernels("numpy"):
            expected = evaluate(case, [x])
        with use_kernels("numba"):
            actual = evaluate(case, [x])
    compare(case, actual, expected)


NAN_MAY_GO = {"power[0]": "x^0 = 1 for every x (IEEE 754)", "where": "the other input may be chosen"}


@rows([case for case in CASES if case.name not in NAN_MAY_GO and case.op not in NAN_MAY_GO])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@some(0.3)
@given(data=st.data())
def test_a_nan_is_never_swallowed(case, data):
    arrays = data.draw(case.inputs)
    for place in float_places(arrays):
        spoilt = [np.full_like(x, np.nan) if i == place else x for i, x in enumerate(arrays)]
        outputs = evaluate(case, spoilt)[0]
        assert any(np.isnan(y).any() for y in outputs) or not any(y.size for y in outputs)


# ---------------------------------------------------------------- the table is complete


def test_every_public_operation_has_a_row():
    public = {name for name, value in vars(ops).items() if callable(value) and not name.startswith("_")}
    assert public - {case.op for case in CASES} == set()


def test_the_names_of_the_rows_are_distinct():
    assert len({case.name for case in CASES}) == len(CASES)


def kernels_reached(case, monkeypatch):
    """The kernels that a row's value and gradient call."""
    reached, kernel = set(), dispatch.kernel
    monkeypatch.setattr(dispatch, "kernel", lambda name, dialect: reached.add(name) or kernel(name, dialect))
    evaluate(case, example(case))
    return reached


def test_every_kernel_is_reached_by_a_row_that_says_so(monkeypatch):
    reached = set()
    for case in CASES:
        with monkeypatch.context() as patch:
            found = kernels_reached(case, patch)
        assert bool(found) == case.kernels, f"{case.name}: kernels={case.kernels}, but it calls {sorted(found)}"
        reached |= found
    files = set(dispatch.KERNELS) - NOT_OPERATIONS
    assert {name for file in files for name in dispatch.KERNELS[file].split()} - reached == set()
