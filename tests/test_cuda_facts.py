"""The CUDA kernels compiled for real GPUs, and held to the committed facts: benchmarks/CUDA_FACTS.md.

Slow: every program is compiled for four architectures. After a change on purpose:

    python -m benchmarks cuda-facts --record
"""

import json

import pytest
from conftest import skip_or_fail
from cuda_on_cpu import build, nvrtc, standin

from benchmarks import cuda_facts
from benchmarks.page import RESULTS
from minigen.kernels import _cuda

pytestmark = pytest.mark.slow

KERNELS = _cuda.Path(_cuda.__file__).parent
RECORD = json.loads((RESULTS / "cuda-facts.json").read_text())
ROWS = {(row["file"], row["kernel"], row["parameters"]): row for row in RECORD["figures"]}
PROGRAMS = sorted({(file, parameters) for file, _, parameters in ROWS})

# What may grow without a new record: registers, as a compiler shuffles them; what is counted, hardly.
MORE_REGISTERS, SLACK = 4, 1.02
CONFLICTS = 1.0  # per cent


@pytest.fixture(scope="module")
def compiler():
    if nvrtc.missing():
        skip_or_fail(nvrtc.missing(), "MINIGEN_REQUIRE_CUDA_CHECK")


@pytest.fixture(scope="module")
def compiled(compiler):
    """{(file, parameters, architecture): {kernel: facts}} of today's source."""
    jobs = {
        (file, parameters, a): (_cuda.source(KERNELS / file), options(parameters), a)
        for file, parameters in PROGRAMS
        for a in nvrtc.ARCHITECTURES
    }
    return dict(zip(jobs, nvrtc.facts(list(jobs.values()))))


@pytest.fixture(scope="module")
def counted(cuda_on_cpu):
    """The rows of today's source, without what the compiler says."""
    return {tuple(cuda_facts.identity(c).values()): cuda_facts.counted(c) for c in cuda_facts.launches()}


def options(parameters):
    return _cuda.options([p.split("=", 1) for p in parameters.split()])


# ---------------------------------------------------------------- the compiler


@pytest.mark.parametrize("architecture", nvrtc.ARCHITECTURES)
@pytest.mark.parametrize(("file", "parameters"), PROGRAMS)
def test_a_file_compiles_and_keeps_its_facts(compiled, file, parameters, architecture):
    now = compiled[file, parameters, architecture]
    for (f, kernel, p), row in ROWS.items():
        if (f, p) != (file, parameters) or str(architecture) not in row["compiled"]:
            continue
        then, found = row["compiled"][str(architecture)], now[kernel]
        assert found["spill_stores"] == found["spill_loads"] == 0, f"{kernel} spills registers"
        assert found["local"] <= then["local"], f"{kernel} keeps more variables in local memory"
        for loads in ("ldg128", "stg128", "lds128"):
            assert found[loads] >= then[loads], f"{kernel} has lost its 16-byte accesses: {loads}"
        assert found["hmma"] >= then["hmma"], f"{kernel} has lost tensor-core instructions"
        assert found["registers"] <= then["registers"] + MORE_REGISTERS, kernel
        assert found["shared"] <= then["shared"], kernel


def test_every_version_is_compiled_from_its_least_architecture_up():
    for row in RECORD["figures"]:
        least = cuda_facts.least_architecture(_cuda.source(KERNELS / row["file"]), row["kernel"])
        assert list(row["compiled"]) == [str(a) for a in nvrtc.ARCHITECTURES if a >= least], row["kernel"]


def test_tensor_cores_are_used_where_the_ladder_says_so():
    for row in RECORD["figures"]:
        if row["kernel"].endswith("_v3"):
            assert all(fact["hmma"] > 0 for fact in row["compiled"].values()), row["kernel"]


def test_our_way_to_the_machine_code_is_that_of_cupy(compiler):
    job = _cuda.source(KERNELS / "softmax.cu"), _cuda.options([("REAL", "float")]), 80
    assert nvrtc.ask("same", job)


def test_the_stand_in_has_nothing_that_cupy_has_not(compiler):
    cupy, _ = standin.make()
    names = [f"cupy.{name}" for name in vars(cupy) if not name.startswith("_")]
    names += [f"cupy.cuda.{name}" for name in vars(cupy.cuda)]
    names += [f"cupy.cuda.runtime.{name}" for name in vars(cupy.cuda.runtime)]
    names += [f"cupy.ndarray.{name}" for name in vars(cupy.ndarray) if not name.startswith("_")]
    names += ["cupyx.scipy.special.erf", "cupyx.empty_pinned"]
    assert nvrtc.ask("absent", names) == []


def test_a_spill_would_be_seen(compiler):
    """A kernel with more live numbers than it is granted registers."""
    code = """extern "C" __global__ void __launch_bounds__(1024, 2) k(const float* x, float* y) {
      float v[96];
      for (int i = 0; i < 96; ++i) v[i] = x[i * 1024 + threadIdx.x];
      __syncthreads();
      for (int i = 0; i < 96; ++i) y[i * 1024 + threadIdx.x] = v[i] * v[(i * 7 + 3) % 96];
    }"""
    (facts,) = nvrtc.facts([(code, ("-std=c++17",), 80)])
    assert facts["k"]["spill_stores"] + facts["k"]["local"] > 0


# ---------------------------------------------------------------- what is counted on the CPU


def test_the_record_is_of_these_kernels(counted):
    assert set(counted) == set(ROWS)


def test_no_kernel_asks_more_of_the_hardware_than_it_did(counted):
    for key, now in counted.items():
        then = ROWS[key]
        for fact in ("sectors", "barriers", "flop", "bytes", "dynamic_shared"):
            assert now[fact] <= then[fact] * SLACK, (key, fact)
        assert now["conflicts"] <= then["conflicts"] + CONFLICTS, key
        assert now["lanes"] >= then["lanes"] / SLACK, key


def test_every_kernel_has_its_facts(cuda_on_cpu):
    """A __global__ function that no case of benchmarks/cuda_cases.py launches is neither checked nor measured."""
    known = {kernel for _, kernel, _ in ROWS}
    for path in KERNELS.glob("*.cu"):
        assert set(build.kernel_names(_cuda.source(path), ())) <= known, path.name


def test_the_page_is_made_from_the_record():
    assert cuda_facts.PAGE.read_text() == cuda_facts.page(RECORD)


def test_occupancy():
    """64 registers, 256 threads: 65536 / (64 * 256) = 4 blocks. 100 KiB of shared memory: 2 on sm_90, 1 on sm_80."""

    class Call:
        block, shared = (256, 1, 1), 0

    fact = {"registers": 64, "shared": 0}
    assert cuda_facts.resident_blocks(80, fact, Call) == 4
    Call.shared = 100 * 1024
    assert cuda_facts.resident_blocks(90, fact, Call) == 2
    assert cuda_facts.resident_blocks(80, fact, Call) == 1
