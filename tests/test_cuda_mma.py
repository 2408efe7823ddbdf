"""The products of mma.cuh: numbers put where the PTX manual's tables want them, and the result read where they say."""

from pathlib import Path

import numpy as np
import pytest
from cuda_on_cpu.standin import installed

from minigen.kernels import _cuda

KERNEL = """
#include "mma.cuh"
extern "C" __global__ void product(const FACTOR* a, const FACTOR* b, float* d) {
  unsigned left[4], right[2];
  float sum[4];
  for (int i = 0; i < 4; ++i) left[i] = REGISTER(a[4 * threadIdx.x + i]), sum[i] = d[4 * threadIdx.x + i];
  for (int i = 0; i < 2; ++i) right[i] = REGISTER(b[2 * threadIdx.x + i]);
  MULTIPLY(sum, left, right);
  for (int i = 0; i < 4; ++i) d[4 * threadIdx.x + i] = sum[i];
}
extern "C" __global__ void rounded(const float* x, unsigned* pairs, unsigned* bits) {
  pairs[threadIdx.x] = halves(x[2 * threadIdx.x], x[2 * threadIdx.x + 1]);
  bits[threadIdx.x] = tf32(x[threadIdx.x]);
}
"""
HALVES = "-DFACTOR=unsigned", "-DREGISTER(x)=(x)", "-DMULTIPLY=mma_m16n8k16"
TF32 = "-DFACTOR=float", "-DREGISTER(x)=tf32(x)", "-DMULTIPLY=mma_m16n8k8"

LANE = np.arange(32)
GROUP, MEMBER = LANE // 4, LANE % 4  # groupID and threadID_in_group of the manual


def number_d(i):
    """Row and column of accumulator number c_i. Both shapes of product have the same table."""
    return (GROUP if i < 2 else GROUP + 8), 2 * MEMBER + i % 2


def kernel(cupy, name, options, tmp_path):
    file = tmp_path / "product.cu"
    header = Path(_cuda.__file__).with_name("mma.cuh").read_text()
    file.write_text(KERNEL.replace('#include "mma.cuh"', header))
    return cupy.RawModule(code=_cuda.source(file), options=options).get_function(name)


def multiply(cupy, options, a, b, c, tmp_path):
    """d = c + a b, from the registers a and b of every lane."""
    d = np.empty((32, 4), np.float32)
    for i in range(4):
        d[:, i] = c[number_d(i)]
    on_gpu = [cupy.asarray(x) for x in (a, b, d)]
    kernel(cupy, "product", options, tmp_path)((1,), (32,), tuple(on_gpu))
    result = np.empty((16, 8), np.float32)
    for i in range(4):
        result[number_d(i)] = on_gpu[2].get()[:, i]
    return result


@pytest.mark.parametrize("check", [False, True])
def test_m16n8k16_of_halves_follows_the_manuals_tables(check, tmp_path):
    """PTX ISA, Matrix Fragments for mma.m16n8k16 with floating point type: a_0 to a_7, b_0 to b_3, two a register."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(shape).astype(np.float16) for shape in ((16, 16), (16, 8)))
    c = rng.standard_normal((16, 8)).astype(np.float32)
    of_a, of_b = np.empty((32, 8), np.float16), np.empty((32, 4), np.float16)
    for i in range(8):
        row = GROUP if i < 2 or 4 <= i < 6 else GROUP + 8
        of_a[:, i] = a[row, 2 * MEMBER + (i & 1) + (8 if i >= 4 else 0)]
    for i in range(4):
        of_b[:, i] = b[2 * MEMBER + (i & 1) + (8 if i >= 2 else 0), GROUP]
    with installed(check=check, order=2) as cupy:
        d = multiply(cupy, HALVES, of_a.view(np.uint32), of_b.view(np.uint32), c, tmp_path)
    np.testing.assert_allclose(d, c + a.astype(np.float64) @ b.astype(np.float64), atol=1e-5)


@pytest.mark.parametrize("check", [False, True])
def test_m16n8k8_of_tf32_follows_the_manuals_tables(check, tmp_path):
    """PTX ISA, Matrix Fragments for mma.m16n8k8, .tf32: a_0 to a_3, b_0 and b_1, one a register."""
    rng = np.random.default_rng(1)
    a, b = (rng.integers(-1024, 1024, shape).astype(np.float32) for shape in ((16, 8), (8, 8)))  # exact in TF32
    of_a, of_b = np.empty((32, 4), np.float32), np.empty((32, 2), np.float32)
    for i in range(4):
        of_a[:, i] = a[GROUP if i in (0, 2) else GROUP + 8, MEMBER if i < 2 else MEMBER + 4]
    for i in range(2):
        of_b[:, i] = b[MEMBER + 4 * i, GROUP]
    with installed(check=check, order=1) as cupy:
        d = multiply(cupy, TF32, of_a, of_b, np.zeros((16, 8), np.float32), tmp_path)
    np.testing.assert_array_equal(d, a @ b)


def test_halves_and_tf32_round_as_the_instruction_cvt_does(tmp_path):
    """Halves to the nearest, ties to even; TF32 to the nearest, ties away from zero; the first half is the low one."""
    tie = 1 + 2.0**-11
    x = np.array([tie, -tie, 1 + 3 * 2.0**-11, 65504, 1e6, np.inf, np.nan, 3e-8] * 8, np.float32)
    with installed() as cupy:
        arrays = cupy.asarray(x), cupy.zeros(32, np.uint32), cupy.zeros(32, np.uint32)
        kernel(cupy, "rounded", HALVES, tmp_path)((1,), (32,), arrays)
        pairs, bits = arrays[1].get(), arrays[2].get()
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(pairs.view(np.float16), x.astype(np.float16))
    up = 1 + 2.0**-10
    expected = np.array([up, -up, 1 + 4 * 2.0**-11, 65504, 1e6, np.inf, np.nan, 3e-8] * 4, np.float32)
    np.testing.assert_allclose(bits.view(np.float32), expected, rtol=2.0**-11)
    np.testing.assert_array_equal(bits.view(np.float32)[:3], expected[:3])
    assert not (bits[np.isfinite(x[:32])] & 0x1FFF).any()
