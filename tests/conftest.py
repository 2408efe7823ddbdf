"""What all tests share: Hypothesis profiles, torch and MNIST where they exist, no leaked state.

Environment   HYPOTHESIS_PROFILE       ci (default, the same examples at every run), dev or intense
              MINIGEN_DATA             a folder with the four MNIST files; without it those tests skip
              MINIGEN_REQUIRE_DATA=1   a missing data set is a failure, not a skip
              MINIGEN_REQUIRE_TORCH=1  a missing torch is a failure, not a skip
              MINIGEN_REQUIRE_CUDA_CHECK=1  so are a missing C++ compiler and missing NVRTC
"""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from tiny import SETTINGS, flags, make_data

from minigen import cli, dispatch
from minigen.autograd import is_recording

SHARED = {
    "deadline": None,
    "print_blob": True,
    "suppress_health_check": [HealthCheck.too_slow],
    "phases": set(Phase) - {Phase.explain},  # explaining a failure costs more than finding it
}
settings.register_profile("ci", max_examples=10, derandomize=True, **SHARED)
settings.register_profile("dev", max_examples=30, **SHARED)
settings.register_profile("intense", max_examples=500, **SHARED)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

MNIST_FILES = [f"{part}-{kind}-ubyte.gz" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]


def skip_or_fail(reason, required):
    """Skip, unless the environment says that this must not be missing."""
    if os.environ.get(required) == "1":
        pytest.fail(f"{reason} ({required}=1)", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def torch():
    """The torch module, our independent opinion; it comes with the extra `parity`."""
    try:
        import torch
    except ImportError:
        skip_or_fail("torch is not installed: pip install 'minigen[parity]'", "MINIGEN_REQUIRE_TORCH")
    torch.set_num_threads(1)
    return torch


@pytest.fixture(scope="session")
def mnist_dir():
    """The folder that MINIGEN_DATA names, if the four MNIST files are in it."""
    folder = Path(os.environ.get("MINIGEN_DATA", ""))
    missing = [name for name in MNIST_FILES if not (folder / name).is_file()]
    if not os.environ.get("MINIGEN_DATA") or missing:
        skip_or_fail(f"MINIGEN_DATA must name a folder with {', '.join(MNIST_FILES)}", "MINIGEN_REQUIRE_DATA")
    return folder


@pytest.fixture(scope="session")
def cuda_on_cpu():
    """What compiles and runs CUDA kernels on the CPU: the system's C++ compiler."""
    from cuda_on_cpu import build

    if build.missing():
        skip_or_fail(build.missing(), "MINIGEN_REQUIRE_CUDA_CHECK")


@pytest.fixture
def cupy(cuda_on_cpu):
    """The stand-in for CuPy that runs our CUDA kernels on the CPU: fast, to compare numbers."""
    from cuda_on_cpu.standin import installed

    with installed() as cupy:
        yield cupy


@pytest.fixture
def checked_cupy(cuda_on_cpu):
    """The same with every access checked: races, bounds, alignment, reads of what was never written."""
    from cuda_on_cpu.standin import installed

    with installed(check=True) as cupy:
        yield cupy


@pytest.fixture(autouse=True)
def no_leaked_state():
    """A test that leaves a forced dialect or the recording switched off would change the ones after it."""
    yield
    forced, recording = dispatch._forced.get(), is_recording()
    assert forced is None, f"use_kernels({forced!r}) is still in force after the test"
    assert recording, "recording is still off after the test"


# ---------------------------------------------------------------- the command line, on a run that takes seconds

TINY = {**SETTINGS, "steps": 2, "sample_every": 1000, "checkpoint_every": 1000}


@pytest.fixture
def minigen(capsys):
    """minigen("info") -> exit code, stdout, stderr"""

    def call(*args):
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main([str(arg) for arg in args])
        return end.value.code, *capsys.readouterr()

    return call


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data") / "d")


@pytest.fixture
def tiny_flags(data_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return ["train", "ddpm", *flags({**TINY, "data_dir": data_dir})]
