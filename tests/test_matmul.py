"""Matrix products in parts: every way of cutting one gives the product, on any number of threads."""

import numpy as np
import pytest
from other_processor import run_without, shorter_vectors

from minigen.kernels import _threads, linear, matmul

SHAPES = {  # samples, inputs, outputs, large enough to be cut; which of the layer's products is cut how
    "rows": (600, 200, 100),
    "columns": (128, 300, 700),
    "odd": (301, 257, 129),
    "tiles": (2056, 104, 48),
    "panels": (136, 300, 208),
    "panels, an odd number of samples": (101, 304, 208),
    "panels, an odd number of columns": (128, 520, 41),
    "tiles of the input gradient alone": (1024, 32, 40),
    "squares of tiles": (1040, 48, 32),
    "columns that fill no panel": (600, 200, 20),
    "strips": (136, 304, 208),
    "strips in stretches": (600, 72, 80),
    "strips that are not whole": (300, 77, 52),
    "no inputs": (1024, 0, 16),
    "depth of the weight gradient": (40000, 12, 20),
    "depth of the product": (9, 60000, 11),
    "small": (7, 5, 3),
    "one sample": (1, 3000, 2000),
}


def layer(shape, seed=0):
    """x, W, b, g of a linear layer, in float64."""
    rng = np.random.default_rng(seed)
    samples, inputs, outputs = SHAPES[shape]
    return [rng.standard_normal(s) for s in ((samples, inputs), (inputs, outputs), (outputs,), (samples, outputs))]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_layer_in_parts_equals_the_definition(monkeypatch, shape, threads, dtype):
    monkeypatch.setattr(_threads, "_number_of_threads", threads)
    x, w, b, g = exact = layer(shape)
    near = [a.astype(dtype) for a in exact]
    needs = (True, True, True)
    ours = [
        linear.linear_numba(*near[:3]),
        matmul.matmul_numba(*near[:2]),
        *linear.linear_grad_numba(near[3], near[0], near[1], needs),
    ]
    expected = [x @ w + b, x @ w, *linear.linear_grad_numpy(g, x, w, needs)]
    digits = 1e-6 if dtype == np.float32 else 1e-14
    terms = 10 * max(SHAPES[shape]) ** 0.5
    for name, a, exactly in zip(("y", "product", "dx", "dw", "db"), ours, expected):
        assert a.dtype == dtype, name
        np.testing.assert_allclose(a, exactly, rtol=0, atol=digits * terms * abs(exactly).max(initial=0), err_msg=name)


EVERY_SHAPE = """
import pytest, test_matmul
from minigen.kernels.simd.vector import LANES
for shape in test_matmul.SHAPES:
    with pytest.MonkeyPatch.context() as monkeypatch:
        test_matmul.test_a_layer_in_parts_equals_the_definition(monkeypatch, shape, 2, test_matmul.np.float32)
print(LANES)
"""


@shorter_vectors
def test_processors_with_shorter_vectors_compute_the_same(tmp_path, without, lanes):
    """Whose panels are narrower too."""
    assert run_without(without, EVERY_SHAPE, tmp_path) == f"{lanes}\n"


@pytest.mark.parametrize("dialect", ["numpy", "numba"])
@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape != "no inputs"])
def test_what_came_to_the_input_by_other_ways_is_added(dialect, shape):
    x, w, _, g = (a.astype(np.float32) for a in layer(shape))
    so_far = x[::-1]
    alone, *others = linear.linear_grad_numpy(g, x, w, (True, True, True))
    dx, *same = getattr(linear, f"linear_grad_{dialect}")(g, x, w, (True, True, True), so_far)
    for ours, expected in zip([dx, *same], [alone + so_far, *others]):
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5 * abs(expected).max())


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape != "no inputs"])
def test_a_bias_may_be_a_view(shape):
    """Tiles read it where it lies, so it must be laid out first."""
    x, w, b, _ = (a.astype(np.float32) for a in layer(shape))
    expected = linear.linear_numpy(x, w, b[::-1])
    ours = linear.linear_numba(x, w, b[::-1])
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5 * abs(expected).max())


@pytest.mark.parametrize("dialect", ["numpy", "numba"])
@pytest.mark.parametrize("needs", [(True, False, False), (False, True, False), (False, False, True), (False,) * 3])
@pytest.mark.parametrize("shape, dtype, error", [("rows", np.float64, 1e-10), ("tiles", np.float32, 1e-2)])
def test_only_the_gradients_that_are_wanted_are_made(dialect, needs, shape, dtype, error):
    x, w, _, g = (a.astype(dtype) for a in layer(shape))
    kernel = getattr(linear, f"linear_grad_{dialect}")
    for ours, everything, need in zip(kernel(g, x, w, needs), linear.linear_grad_numpy(g, x, w, (True,) * 3), needs):
        assert (ours is not None) == need
        if need:
            np.testing.assert_allclose(ours, everything, atol=error)


def test_the_same_thread_count_gives_the_same_bits(monkeypatch):
    monkeypatch.setattr(_threads, "_number_of_threads", 2)
    x, w, _, g = (a.astype(np.float32) for a in layer("depth of the weight gradient"))
    first = linear.linear_grad_numba(g, x, w, (True, True, True))
    for _ in range(5):
        again = linear.linear_grad_numba(g, x, w, (True, True, True))
        assert all((a == b).all() for a, b in zip(first, again))
