"""On a real GPU: python -m pytest -m gpu

CuPy itself takes the place of its stand-in, and the cases are those of test_cuda_ops.py and test_cuda_training.py. The
expected numbers come from the CPU. What only a real card can show is here too: that streams keep their order, that two
runs give the same bits, that tensor cores round as they say.

These tests were written without a GPU at hand and have never run on one: they are skipped where none is found. The
tolerances are those of the table; should a card's exp or erf need more, say so there with the card's name.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from op_cases import CASES
from test_cuda_elements import KNOWN_ANSWERS, STEPS, number, step
from test_cuda_ops import evaluate_on_gpu
from test_cuda_training import three_steps, train_classifier, train_gan, train_vae
from test_ops import DTYPES, cast, compare, evaluate, is_float, rows, some
from tiny import config, make_data
from tolerances import assert_close

from benchmarks import cuda_cases, gpu
from minigen import Generator, check_grads
from minigen.data import Batches, Prefetched
from minigen.device import NoGPU, device
from minigen.dispatch import KERNELS, kernel

pytestmark = pytest.mark.gpu

KERNEL_NAMES = [name for names in KERNELS.values() for name in names.split()]
SIZES = {"typical": cuda_cases.TYPICAL, "edge": cuda_cases.EDGE, "even": cuda_cases.EVEN}
TENSOR_CORES = 3  # the version, wherever there is one; its inputs keep 10 or 11 bits
ROUNDED = 2e-2


@pytest.fixture(scope="session")
def cupy():
    """CuPy on a real card; without one, the reason why the test is skipped."""
    try:
        return device("cuda").xp
    except NoGPU as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data") / "d")


# ---------------------------------------------------------------- operations


@rows(CASES)
@pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])
@given(data=st.data())
def test_value_and_gradient_equal_those_of_the_cpu(case, dtype, data, cupy):
    arrays = cast(data.draw(case.inputs), dtype)
    compare(case, evaluate_on_gpu(cupy, case, arrays), evaluate(case, arrays))


@rows(CASES)
@some(0.3)
@given(data=st.data())
def test_gradients_to_second_order_by_finite_differences(case, data, cupy):
    arrays = [cupy.asarray(x) if is_float(x) else x for x in data.draw(case.inputs)]
    check_grads(case.fn, arrays, order=case.order, samples=1)


@rows([case for case in CASES if case.empty])
def test_empty_inputs_give_empty_or_zero_results(case, cupy):
    arrays = [np.zeros(x, np.float32) if isinstance(x, tuple) else x for x in case.empty]
    outputs, gradients = evaluate_on_gpu(cupy, case, arrays)
    assert [y.shape for y in outputs] == [y.shape for y in evaluate(case, arrays)[0]]
    assert all(np.isfinite(x).all() for x in outputs + gradients)


# ---------------------------------------------------------------- kernels, every version


def results(y):
    return [a for a in (y if isinstance(y, tuple) else (y,)) if a is not None]


@pytest.mark.parametrize("name", [name for name in KERNEL_NAMES if not name.endswith("_step")])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_every_version_of_a_kernel_equals_the_definition_and_itself(name, sizes, cupy):
    arguments = cuda_cases.Arguments(sizes).of(name)
    expected = results(kernel(name, "numpy")(*arguments))
    ran = 0
    for version in cuda_cases.versions(name):
        try:
            given = cuda_cases.arguments(name, sizes, cupy)
            first, second = (results(cuda_cases.run(name, given, version)) for _ in range(2))
        except cuda_cases.NotCovered:
            continue
        ran += 1
        for a, b, e in zip(first, second, expected):
            a, b = (x.get() if hasattr(x, "get") else np.asarray(x) for x in (a, b))
            assert np.array_equal(a, b, equal_nan=True), f"version {version}: another run, other bits"
            if version == TENSOR_CORES:
                assert abs(a - e).max() <= ROUNDED * abs(e).max()
            elif a.dtype.kind == "f":
                assert_close(a, e, "norm", 1, what=f"version {version}")
            else:
                assert np.array_equal(a, e)
    assert ran


@pytest.mark.parametrize(("name", "averaged"), [*((name, False) for name in STEPS), ("adamw_step", True)])
@pytest.mark.parametrize("version", [1, 2])
def test_an_optimiser_step(name, averaged, version, cupy):
    expected = step(name, "numpy", 4096, 3, "float32", averaged=averaged)
    for a, e in zip(step(name, "cuda", 4096, 3, "float32", cupy, averaged, version=version), expected):
        assert_close(a, e, "reduction", order=1, what=name)


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN_ANSWERS)
def test_philox_gives_the_published_words(counter, key, words, cupy):
    found = kernel("philox_bits", "cuda")(number(key), number(counter), 4)
    assert found.get().tolist() == [int(word, 16) for word in words.split()]


def test_a_generator_draws_the_same_numbers_on_both_devices(cupy):
    here, there = Generator(7), Generator(7)
    assert np.array_equal(there.uniform((999,), device="cuda").get(), here.uniform((999,)))
    assert_close(there.normal((999,), device="cuda").get(), here.normal((999,)), "elementwise")


# ---------------------------------------------------------------- training


@pytest.mark.parametrize("train", [train_vae, train_gan, train_classifier])
def test_training_on_the_gpu_is_training_on_the_cpu(train, cupy):
    images = np.random.default_rng(0).uniform(-1, 1, (6, 8, 8, 1)).astype(np.float32)
    expected, actual = train("cpu", images)[0], train("cuda", images)[0]
    assert_close(np.array(actual, np.float32), np.array(expected, np.float32), "norm", 1, what="losses")


def test_three_steps_of_ddpm_give_the_losses_of_the_cpu_and_the_same_bits_twice(data_dir, cupy):
    expected = three_steps(config(data_dir, steps=3))[0]
    (actual, task), (again, other) = (three_steps(config(data_dir, steps=3, device="cuda")) for _ in range(2))
    assert actual == again
    for mine, theirs in zip(actual, expected):
        assert_close(np.float32(mine["loss"]), np.float32(theirs["loss"]), "norm", 1, what="loss")
    arrays, others = task.state()[0], other.state()[0]
    assert all(np.array_equal(array, others[name]) for name, array in arrays.items())


def test_batches_that_are_fetched_ahead_are_those_that_were_asked_for(cupy):
    images = np.random.default_rng(0).integers(0, 256, (512, 64, 64, 3)).astype(np.uint8)
    here = Batches(images, np.arange(512), batch_size=128, seed=0)
    there = Prefetched(Batches(images, np.arange(512), batch_size=128, seed=0))
    busy = cupy.ones((2048, 2048), np.float32)
    kept = []
    for index in range(12):
        busy = busy @ busy * 1e-4  # so that the copies have something to overtake
        kept.append(there.batch_at(index))
    for index, batch in enumerate(kept):
        assert all(np.array_equal(a.get(), e) for a, e in zip(batch, here.batch_at(index)))


def test_the_clock_of_the_benchmark_sees_twice_the_work(cupy):
    clock, a = gpu.cupy_clock(cupy), cupy.ones(1 << 26, np.float32)
    once, twice = clock.seconds(lambda: a + 1), clock.seconds(lambda: (a + 1, a + 1))
    assert 1.5 < twice / once < 2.5
