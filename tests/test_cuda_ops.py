"""Every row of op_cases.py on a GPU, for which the stand-in for CuPy does duty: it runs our CUDA kernels on the CPU,
and refuses what CuPy refuses. Values and gradients equal those of the CPU's kernels.

Integer and boolean inputs come from the CPU, as a data set's labels do: an operation brings them to where it works.
"""

import numpy as np
import pytest
from cuda_on_cpu import build
from cuda_on_cpu.standin import installed
from hypothesis import given
from hypothesis import strategies as st
from op_cases import CASES, seeing_one
from test_ops import DTYPES, as_list, cast, compare, cotangents, evaluate, example, is_float, rows, some
from tolerances import assert_close

from minigen import Tensor, check_grads, ops, use_kernels
from minigen.autograd import grad

pytestmark = pytest.mark.skipif(build.missing() is not None, reason=str(build.missing()))


def evaluate_on_gpu(cupy, case, arrays, create_graph=False):
    """As test_ops.evaluate, with the floating-point inputs on the GPU."""
    inputs = [Tensor(cupy.asarray(x), requires_grad=True) if is_float(x) else x for x in arrays]
    ys = as_list(case.fn(*inputs))
    wanted = [x for x in inputs if isinstance(x, Tensor)]
    seeds = [Tensor(cupy.asarray(c)) for c in cotangents(ys)]
    found = grad(ys, wanted, seeds, create_graph)
    assert {x.device for x in (*ys, *found)} == {"cuda"}
    return [y.numpy() for y in ys], [g.numpy() for g in found]


@rows(CASES)
@pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])
@some(0.3)
@given(data=st.data())
def test_value_and_gradient_equal_those_of_the_cpu(case, dtype, data):
    arrays = cast(data.draw(case.inputs), dtype)
    expected = evaluate(case, arrays)
    with installed() as cupy:
        compare(case, evaluate_on_gpu(cupy, case, arrays), expected)


@rows(CASES)
def test_a_kernel_touches_what_it_should_and_the_recorded_gradient_is_the_ordinary_one(case, checked_cupy):
    arrays = cast(example(case), np.float32)
    outputs, gradients = evaluate_on_gpu(checked_cupy, case, arrays)
    compare(case, (outputs, gradients), evaluate(case, arrays))
    recorded = evaluate_on_gpu(checked_cupy, case, arrays, create_graph=True)[1]
    for i, (a, e) in enumerate(zip(recorded, gradients)):
        assert_close(a, e, "elementwise" if case.kind == "exact" else case.kind, 2, what=f"gradient {i}")


@rows([case for case in CASES if case.empty])
def test_empty_inputs_give_empty_or_zero_results(case, cupy):
    arrays = [np.zeros(x, np.float32) if isinstance(x, tuple) else x for x in case.empty]
    outputs, gradients = evaluate_on_gpu(cupy, case, arrays)
    assert [y.shape for y in outputs] == [y.shape for y in evaluate(case, arrays)[0]]
    assert [g.shape for g in gradients] == [x.shape for x in arrays if is_float(x)]
    assert all(np.isfinite(x).all() for x in outputs + gradients)


SECOND_ORDER = ["silu", "matmul", "conv2d[3x3]", "group_norm_silu", "attention[masked]", "embedding", "index[repeated]"]


@rows([case for case in CASES if case.name in SECOND_ORDER])
def test_gradients_to_second_order_by_finite_differences(case, cupy):
    arrays = [cupy.asarray(x) if is_float(x) else x for x in example(case)]
    check_grads(case.fn, arrays, order=2, samples=1)


@rows([case for case in CASES if any(not is_float(x) for x in example(case))])
def test_integers_and_masks_may_live_on_the_gpu_too(case, cupy):
    arrays = cast(example(case), np.float32)
    moved = [cupy.asarray(x) for x in arrays]
    if case.name == "attention[masked]":
        moved[0] = cupy.asarray(seeing_one(arrays[0]))
        y = ops.attention(*map(Tensor, moved[1:]), mask=moved[0])
    else:
        y = case.fn(*[Tensor(x) if is_float(x) else x for x in moved])
    compare(case, ([y.numpy()], []), (evaluate(case, arrays)[0], []))


# ---------------------------------------------------------------- what must not pass in silence


def test_two_devices_in_one_operation_are_refused(cupy):
    x = Tensor(np.ones(3, np.float32))
    with pytest.raises(TypeError, match="input 1 is on cuda but another input is on cpu; move one with .to"):
        x + x.to("cuda")
    with pytest.raises(TypeError, match="input 1 is on cpu"):
        ops.mse(x.to("cuda"), np.ones(3, np.float32))


def test_a_dialect_of_the_cpu_is_refused_for_arrays_on_the_gpu(cupy):
    with use_kernels("numba"), pytest.raises(TypeError, match=r"use_kernels\('numba'\) does not fit arrays on the GPU"):
        ops.silu(Tensor(cupy.ones(3)))


def test_a_repeated_index_adds_up_in_one_order_under_every_schedule():
    """CuPy's own add.at would use atomic additions, whose order is that of the moment."""
    index, g = np.array([0, 1, 0, 0, 1]), np.array([1e8, 1.0, -1e8, 1.0, 1.0], np.float32)
    for order in range(4):
        with installed(order=order) as cupy:
            x = Tensor(cupy.zeros(2, np.float32), requires_grad=True)
            (dx,) = grad(x[index], x, Tensor(cupy.asarray(g)))
            assert dx.numpy().tolist() == [1.0, 2.0]


def test_labels_that_come_from_the_cpu_are_checked_without_waiting_for_the_gpu(cupy, monkeypatch):
    logits = Tensor(cupy.zeros((3, 4), np.float32))
    with monkeypatch.context() as patch:
        for name in ("__bool__", "__int__", "item", "get"):
            patch.setattr(cupy.ndarray, name, None)
        loss = ops.cross_entropy(logits, np.array([0, 3, 1]))
    assert loss.item() == pytest.approx(np.log(4), rel=1e-6)
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.3, got 4"):
        ops.cross_entropy(logits, np.array([0, 4, 1]))


def test_a_tensor_goes_to_the_gpu_and_back(cupy):
    x = Tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    there = x.to("cuda")
    assert (there.device, there.requires_grad, there.op) == ("cuda", True, None)
    assert there.to("cuda") is there
    assert np.array_equal(there.to("cpu").data, x.data)
    assert np.array_equal(np.asarray(there), x.data)
    assert "Tensor(" in repr(there)
    assert (there * 2).sum().item() == 30.0
