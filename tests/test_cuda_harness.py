"""The emulation of CUDA itself: that it computes, that it sees what it claims to see, and stays silent otherwise.

Each check has a kernel that breaks one rule and, where that is not obvious, its twin that keeps it.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cuda_on_cpu.gpu_array import Uninitialised
from cuda_on_cpu.module import KernelError
from cuda_on_cpu.standin import installed

ROOT = Path(__file__).parents[1]
f32, i32 = np.float32, np.int32
SCHEDULES = [{"order": 0}, {"order": 1}, {"order": 2, "seed": 1}, {"order": 2, "seed": 2}]

pytestmark = pytest.mark.usefixtures("cuda_on_cpu")


def run(cupy, body, *args, grid=1, block=32, shared=0, parameters="float* y"):
    """Run one kernel, given its body."""
    code = f'extern "C" __global__ void k({parameters}) {{ const int t = threadIdx.x; {body} }}'
    kernel = cupy.RawModule(code=code).get_function("k")
    kernel((grid,), (block,), args, shared_mem=shared)


def zeros(cupy, n=64):
    return cupy.zeros(n, f32)


# ---------------------------------------------------------------- what is seen

BROKEN = {
    "bounds: one past the end": (
        "if (t <= 31) y[t + 1] = 1;",
        "out-of-bounds write of argument 0 at byte 128 of 128",
        {},
    ),
    "bounds: before the start": ("y[t - 1] = 1;", "out-of-bounds write of argument 0 at byte -4", {}),
    "bounds: row of a shared array": (
        "__shared__ float s[4][8]; s[t / 8][t % 8 + 1] = 1; __syncthreads(); y[t] = s[0][0];",
        "index 8 is outside its array",
        {},
    ),
    "bounds: dynamic shared memory": (
        "extern __shared__ float s[]; s[t + 1] = 1; __syncthreads(); y[t] = s[t + 1];",
        "out-of-bounds write of dynamic shared memory at byte 128 of 128",
        {"shared": 128},
    ),
    "alignment: a float4 from an odd float": ("y[t] = reinterpret_cast<float4*>(y + 1)->x;", "misaligned", {}),
    "const: written through a cast": (
        "const_cast<float*>((const float*)y)[t] = 1;",
        "pointer to const",
        {"const": True},
    ),
    "race: shared memory without a barrier": (
        "__shared__ float s[64]; s[t] = t; y[t] = s[63 - t];",
        "race on static shared memory",
        {"block": 64, "n": 64},
    ),
    "race: the second barrier is missing": (
        "__shared__ float s[64]; for (int i = 0; i < 2; ++i) { s[t] = t + i; __syncthreads(); y[t] = s[63 - t]; }",
        "race on static shared memory",
        {"block": 64, "n": 64},
    ),
    "race: lanes of a warp without __syncwarp": ("__shared__ float s[32]; s[t] = t; y[t] = s[31 - t];", "race", {}),
    "race: all threads write one element": ("y[0] = t;", "data race on argument 0, byte 0: write", {}),
    "race: all blocks add to one element": ("if (t == 0) y[0] += blockIdx.x;", "data race", {"grid": 3}),
    "read: shared memory nobody wrote": (
        "__shared__ float s[64]; s[t] = t; __syncthreads(); y[t] = s[t + 32];",
        "which nobody has written",
        {},
    ),
    "barrier: in two branches": (
        "if (t < 16)\n __syncthreads();\n else\n __syncthreads();\n y[t] = 1;",
        "divergent barrier",
        {},
    ),
    "barrier: some lanes shuffle, others wait": (
        "if (t < 16) y[t] = __shfl_sync(~0u, t, 0);\n else\n __syncthreads();",
        "deadlock",
        {},
    ),
    "warp: the mask leaves the caller out": ("y[t] = __shfl_sync(0xffffu, t, 0);", "which leaves it out", {}),
    "warp: from a lane that takes no part": (
        "if (t < 16) y[t] = __shfl_down_sync(0xffffu, t, 8);",
        "which does not take part",
        {},
    ),
    "warp: lanes that have returned are waited for": (
        "if (t >= 16) return; y[t] = __shfl_sync(~0u, t, 0);",
        "but some have returned",
        {},
    ),
    "warp: different operations meet": (
        "if (t < 16)\n y[t] = __shfl_sync(~0u, t, 0);\n else\n y[t] = __ballot_sync(~0u, t);",
        "divergent warp",
        {},
    ),
    "integers: overflow": ("int big = 65536 + (int)y[t]; y[t] = big * big;", "integer overflow", {}),
    "integers: division by zero": ("y[t] = 7 / (int)y[t];", "integer division by zero", {}),
    "stack: too many variables of a thread": (
        "float a[32768]; for (int i = 0; i < 32768; ++i) a[i] = y[t] + i; y[t] = a[(int)y[t]];",
        "a thread's own variables",
        {},
    ),
    "trap": ("if (t == 3) __trap();", "__trap() was called", {}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_kernel_is_seen(checked_cupy, name):
    body, message, how = BROKEN[name]
    how = dict(how)
    y, parameters = zeros(checked_cupy, how.pop("n", 32)), "const float* y" if how.pop("const", False) else "float* y"
    with pytest.raises(KernelError) as error:
        run(checked_cupy, body, y, parameters=parameters, **how)
    assert message in str(error.value)


SOUND = {
    "barrier between": ("__shared__ float s[64]; s[t] = t; __syncthreads(); y[t] = s[63 - t];", lambda t: 63 - t),
    "warps of their own": (
        "__shared__ float s[64]; const int w = t / 32 * 32; s[t] = t; __syncwarp(); y[t] = s[w + 31 - t % 32];",
        lambda t: t // 32 * 32 + 31 - t % 32,
    ),
    "butterfly": (
        "float v = t; for (int d = 16; d > 0; d /= 2) v += __shfl_xor_sync(~0u, v, d); y[t] = v;",
        lambda t: np.where(t < 32, 496, 1520),
    ),
    "half a warp": (
        "float v = t; if (t % 32 < 16) v = __shfl_up_sync(0xffffu, v, 1, 16); y[t] = v;",
        lambda t: np.where((t % 32 < 16) & (t % 32 > 0), t - 1, t),
    ),
    "votes": (
        "y[t] = __popc(__ballot_sync(~0u, t % 3 == 0)) + 100 * __any_sync(~0u, t == 40);\n"
        "y[t] += 1000 * __all_sync(~0u, t < 40);",
        lambda t: np.where(t < 32, 11 + 1000, 11 + 100),
    ),
    "count at a barrier": ("y[t] = __syncthreads_count(t < 5);", lambda t: 5 + 0 * t),
    "threads that returned are not waited for": (
        "if (t >= 40) return;\n __syncthreads(); y[t] = 1;",
        lambda t: 1.0 * (t < 40),
    ),
    "atomics": ("atomicAdd(&y[t % 2], 1.f);", lambda t: 32.0 * (t < 2)),
}


@pytest.mark.parametrize("name", SOUND)
@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
@pytest.mark.parametrize("check", [False, True])
def test_a_sound_kernel_is_silent_and_right_under_every_schedule(name, schedule, check):
    body, expected = SOUND[name]
    with installed(check=check, **schedule) as cupy:
        y = zeros(cupy)
        run(cupy, body, y, block=64)
        np.testing.assert_array_equal(y.get(), expected(np.arange(64)))


def test_schedules_differ():
    """Otherwise nothing is gained by running several."""
    found = set()
    for schedule in SCHEDULES:
        with installed(**schedule) as cupy:
            y = zeros(cupy, 33)
            run(cupy, "y[(int)atomicAdd(&y[32], 1.f)] = t;", y)
            found.add(tuple(y.get()[:32]))
    assert len(found) == len(SCHEDULES)


def test_fast_mode_sees_what_costs_nothing(cupy):
    with pytest.raises(KernelError, match="out-of-bounds access of argument 0"):
        run(cupy, "y[t + 32] = 1;", zeros(cupy, 32))
    with pytest.raises(KernelError, match="bytes around argument 0 were overwritten"):
        run(cupy, "if (t == 0) y[-1] = 1;", zeros(cupy, 32))
    with pytest.raises(KernelError, match="pointer to const, argument 0"):
        run(cupy, "const_cast<float*>(y)[t] = 1;", zeros(cupy, 32), parameters="const float* y")
    with pytest.raises(KernelError, match="divergent barrier"):
        run(cupy, "if (t < 16)\n __syncthreads();\n else\n __syncthreads();", zeros(cupy, 32))


def test_after_a_fault_the_next_launch_is_sound(cupy):
    with pytest.raises(KernelError):
        run(cupy, "y[t + 100000] = 1;", zeros(cupy, 32))
    y = zeros(cupy, 32)
    run(cupy, "y[t] = t;", y)
    np.testing.assert_array_equal(y.get(), np.arange(32))


def test_what_a_kernel_forgot_to_write_is_seen_when_it_is_read(checked_cupy):
    y = checked_cupy.empty(32, f32)
    run(checked_cupy, "if (t != 5) y[t] = t;", y)
    np.testing.assert_array_equal(y[:5].get(), np.arange(5))
    with pytest.raises(Uninitialised, match="1 of 32"):
        y.get()
    with pytest.raises(Uninitialised, match="1 of 32"):
        y + 1
    y[5] = 5
    np.testing.assert_array_equal(y.get(), np.arange(32))


def test_a_kernel_may_not_read_what_nobody_wrote(checked_cupy):
    with pytest.raises(KernelError, match="read of argument 0, byte 0, which nobody has written"):
        run(checked_cupy, "y[t] += 1;", checked_cupy.empty(32, f32))


def test_in_fast_mode_what_was_not_written_is_nan(cupy):
    assert np.isnan(cupy.empty(5, f32).get()).all()
    assert (cupy.empty(5, i32).get() == -1).all()


# ---------------------------------------------------------------- launches and arguments


@pytest.mark.parametrize(
    ("grid", "block", "shared"),
    [
        ((0,), (32,), 0),
        ((1,), (0,), 0),
        ((1,), (1025,), 0),
        ((1,), (32, 32, 2), 0),
        ((1,), (1, 1, 65), 0),
        ((1, 65536), (32,), 0),
        ((1, 1, 65536), (32,), 0),
        ((2**31,), (32,), 0),
        ((1,), (32,), 48 * 1024 + 4),
    ],
)
def test_the_limits_of_a_launch(cupy, grid, block, shared):
    kernel = cupy.RawModule(code='extern "C" __global__ void k(float* y) {}').get_function("k")
    with pytest.raises(RuntimeError, match="CUDA_ERROR_INVALID_VALUE"):
        kernel(grid, block, (zeros(cupy),), shared_mem=shared)


def test_more_than_48_kib_of_shared_memory_must_be_asked_for(cupy):
    code = 'extern "C" __global__ void k(float* y) { extern __shared__ float s[]; s[16000] = 3; y[0] = s[16000]; }'
    kernel = cupy.RawModule(code=code).get_function("k")
    kernel.max_dynamic_shared_size_bytes = 64 * 1024
    y = zeros(cupy, 1)
    kernel((1,), (1,), (y,), shared_mem=64 * 1024)
    assert float(y[0]) == 3
    with pytest.raises(RuntimeError, match="CUDA_ERROR_INVALID_VALUE"):
        kernel.max_dynamic_shared_size_bytes = 228 * 1024


@pytest.mark.parametrize(
    ("parameters", "make", "message"),
    [
        ("float* y, int n", lambda c: (zeros(c), 3), "int64 given for a parameter of kind i4"),
        ("float* y, float s", lambda c: (zeros(c), 0.5), "float64 given for a parameter of kind f4"),
        ("float* y, float s", lambda c: (zeros(c), i32(1)), "int32 given for a parameter of kind f4"),
        ("float* y, int n", lambda c: (zeros(c),), "has 2 parameters, 1 arguments were given"),
        ("float* y", lambda c: (c.zeros(8, np.float64),), "array of float64 for a pointer to f4"),
        ("int* y", lambda c: (c.zeros(8, np.uint32),), "array of uint32 for a pointer to i4"),
        ("float* y", lambda c: (c.zeros((4, 4), f32).T,), "not contiguous"),
        ("float* y", lambda c: (f32(1),), "an array is expected"),
        ("float y", lambda c: (zeros(c),), "a number is expected"),
    ],
)
def test_arguments_of_the_wrong_type_are_refused(cupy, parameters, make, message):
    with pytest.raises(KernelError, match=message):
        run(cupy, "", *make(cupy), parameters=parameters)


def test_a_host_array_is_no_argument(cupy):
    with pytest.raises(TypeError, match="Unsupported type"):
        run(cupy, "", np.zeros(4, f32))


def test_views_of_one_array_may_be_two_arguments(checked_cupy):
    both = zeros(checked_cupy)
    both[:32] = checked_cupy.arange(32, dtype=f32)
    run(checked_cupy, "y[t] = x[t];", both[:32], both[32:], parameters="const float* x, float* y")
    np.testing.assert_array_equal(both[32:].get(), np.arange(32))
    with pytest.raises(KernelError, match="data race"):
        run(checked_cupy, "y[t] = x[t + 1];", both[:40], both[:40], parameters="const float* x, float* y")


# ---------------------------------------------------------------- counters


def counters(body, *, n=64, block=32, **how):
    with installed(count=True) as cupy:
        run(cupy, body, cupy.zeros(n, f32), block=block, **how)
        return cupy.launches[-1].counters


@pytest.mark.parametrize(
    ("index", "sectors", "fewest"), [("t", 4, 4), ("2 * t", 8, 4), ("8 * t", 32, 4), ("0", 1, 1), ("t + 1", 5, 4)]
)
def test_sectors_of_a_request(index, sectors, fewest):
    found = counters(f"float v = y[{index}]; if (v == 7) y[0] = v;", n=512)
    assert found["requests"] == (1, 0)
    assert found["sectors"] == (sectors, 0)
    assert found["fewest_sectors"] == (fewest, 0)
    assert found["lanes"] == 32


def test_a_float4_is_one_request():
    found = counters("reinterpret_cast<float4*>(y)[t] = make_float4(1, 2, 3, 4);", n=128)
    assert (found["requests"], found["sectors"]) == ((0, 1), (0, 16))


@pytest.mark.parametrize(("index", "wavefronts"), [("t", 1), ("2 * t", 2), ("32 * t", 32), ("33 * t", 1), ("0 * t", 1)])
def test_bank_conflicts(index, wavefronts):
    found = counters(f"extern __shared__ float s[]; s[{index}] = 1;", shared=4400)
    assert (found["shared_requests"], found["wavefronts"], found["fewest_wavefronts"]) == (1, wavefronts, 1)


def test_wide_accesses_of_shared_memory_are_served_in_parts():
    found = counters("extern __shared__ float4 s[]; s[t] = make_float4(1, 2, 3, 4);", shared=512)
    assert (found["shared_requests"], found["wavefronts"], found["fewest_wavefronts"]) == (1, 4, 4)


def test_arithmetic_barriers_and_lanes():
    found = counters("float v = t; v = v * 2.f + 1.f; v = fmaf(v, v, v); __syncthreads(); if (t < 8) y[t] = expf(v);")
    assert found["operations"] == 32 * (2 + 2)
    assert found["functions"] == 8
    assert found["barriers"] == 1
    assert (found["lanes"], found["all_requests"]) == (8, 1)


# ---------------------------------------------------------------- the stand-in's manners


@pytest.mark.parametrize(
    "mix",
    [
        lambda c, x: np.asarray(x),
        lambda c, x: x + np.ones(4),
        lambda c, x: np.ones(4) + x,
        lambda c, x: np.add(x, np.ones(4)),
        lambda c, x: np.sum(x),
        lambda c, x: c.sum(np.ones(4)),
        lambda c, x: c.concatenate([x, np.ones(4)]),
        lambda c, x: x.__setitem__(slice(None), np.ones(4)),
        lambda c, x: x[np.array([0, 1])],
        lambda c, x: np.array([1.0, 2.0]) @ x[:2],
    ],
)
def test_numpy_and_the_gpu_do_not_mix(cupy, mix):
    with pytest.raises(TypeError):
        mix(cupy, cupy.ones(4))


def test_numbers_do_mix_and_results_stay_on_the_gpu(cupy):
    x = cupy.asarray(np.arange(4, dtype=f32))
    for y in (x + 1, 2 * x, x * f32(3), x.sum(), x[1], x.reshape(2, 2).T, cupy.exp(x), np.exp(x), x.max(axis=0)):
        assert isinstance(y, cupy.ndarray)
        assert y.dtype == f32
    assert float(x.sum()) == 6
    assert isinstance(x.get(), np.ndarray)
    assert isinstance(cupy.asnumpy(x), np.ndarray)


def test_a_view_shares_memory_and_a_copy_does_not(cupy):
    x = cupy.zeros((4, 4), f32)
    x[1:].reshape(-1)[:] = 1
    assert float(x.sum()) == 12
    x.T.reshape(-1)[:] = 5
    assert float(x.sum()) == 12


def test_the_stand_in_leaves_nothing_behind():
    before = sys.modules.get("cupy")
    with installed():
        import cupy

        assert cupy.__version__ == "stand-in"
    assert sys.modules.get("cupy") is before


# ---------------------------------------------------------------- other processors


def test_the_portable_switch_of_fibers_gives_the_same(tmp_path):
    """The same tests in a process whose fibers are the C library's contexts."""
    environment = {**os.environ, "CUDA_ON_CPU_PORTABLE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    command += ["-k", "sound_kernel or schedules or deadlock or barrier or after_a_fault"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
