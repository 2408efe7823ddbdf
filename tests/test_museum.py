"""The checks see every bug of the museum, and nothing in the kernels as they ship, whatever the schedule."""

import re

import numpy as np
import pytest
from cuda_on_cpu.gpu_array import Uninitialised
from cuda_on_cpu.module import KernelError
from cuda_on_cpu.standin import installed
from museum import BUGS, WRONG

from benchmarks import cuda_cases as cases
from minigen.dispatch import kernel
from minigen.kernels import _cuda

SIZES = {"EDGE": cases.EDGE, "EVEN": cases.EVEN}
SCHEDULES = [{"order": 0}, {"order": 1}, {"order": 2, "seed": 1}, {"order": 2, "seed": 2}]
NAMES = cases.names()

pytestmark = pytest.mark.usefixtures("cuda_on_cpu")


def arrays(value):
    """All arrays in a result or an argument, as NumPy's float64; other numbers too."""
    if isinstance(value, (list, tuple)):
        return [a for v in value for a in arrays(v)]
    if hasattr(value, "get") and hasattr(value, "dtype"):
        value = value.get()
    return [np.asarray(value, np.float64)] if isinstance(value, (np.ndarray, float)) else []


def error(name, sizes, cupy, version):
    """The largest difference from NumPy's results, relative; arguments that are written in place count too."""
    expected_arguments = cases.Arguments(sizes).of(name)
    expected = kernel(cases.base(name), "numpy")(*expected_arguments)
    given = cases.arguments(name, sizes, cupy)
    found = cases.run(name, given, version)
    pairs = zip(arrays([found, *given]), arrays([expected, *expected_arguments]), strict=True)
    return max(np.abs(a - b).max() / max(np.abs(b).max(), 1e-9) for a, b in pairs)


def tolerance(version):
    """Of the largest value: rounding of float32, or of what tensor cores are fed (TF32, halves: 10 bits)."""
    return 3e-3 if version == 3 else 2e-5


# ---------------------------------------------------------------- as they ship


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_the_kernels_are_silent_and_right_under_every_schedule(name, schedule):
    with installed(check=True, **schedule) as cupy:
        ran = 0
        for sizes in SIZES.values():
            for version in cases.versions(name):
                try:
                    assert error(name, sizes, cupy, version) < tolerance(version), (version, sizes)
                except cases.NotCovered:
                    continue
                ran += 1
    assert ran


# ---------------------------------------------------------------- with a bug


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_bug_is_seen(bug, monkeypatch):
    source = _cuda.source

    def with_bug(file):
        text = source(file)
        if _cuda.Path(file).stem != bug.file:
            return text
        assert text.count(bug.find) == 1, "the line that the bug changes is not there, or not once"
        return text.replace(bug.find, bug.replace)

    monkeypatch.setattr(_cuda, "source", with_bug)
    with installed(check=True) as cupy:
        try:
            seen = (
                WRONG
                if not error(bug.kernel, SIZES[bug.sizes], cupy, bug.version) < tolerance(bug.version)
                else "nothing"
            )
        except (KernelError, Uninitialised) as complaint:
            seen = str(complaint)
    assert bug.sees in seen


def test_the_museum_is_large_enough_and_each_bug_is_one_line():
    assert len(BUGS) >= 24
    assert len({bug.name for bug in BUGS}) == len(BUGS)
    for bug in BUGS:
        old, new = bug.find.splitlines(), bug.replace.splitlines()
        assert sum(line not in new for line in old) <= 1, bug.name
        assert sum(line not in old for line in new) <= 1, bug.name


def test_the_files_of_the_bugs_exist():
    for bug in BUGS:
        assert re.fullmatch(r"\w+", bug.file)
        assert bug.kernel in NAMES
