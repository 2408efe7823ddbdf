"""Every mutant of mutants.py dies of the test that it names; the same tests pass on the unchanged source."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

import pytest
from mutants import MUTANTS

ROOT = Path(__file__).resolve().parents[1]
WORKERS = 2
PASSED, FAILED = 0, 1  # pytest's exit codes; the others mean that it could not run the test


def copy_of_the_source(folder):
    for name in ("minigen", "kernels", "tests", "benchmarks"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignore)
    shutil.copy2(ROOT / "pyproject.toml", folder)
    return folder


def run_tests(folder, names):
    """Run tests by name on the copy in `folder` -> pytest's exit code and its output."""
    command = [sys.executable, "-m", "pytest", "-x", "--tb=line", "-p", "no:cacheprovider", "-p", "no:randomly"]
    environment = os.environ | {
        "PYTHONPATH": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",  # two versions of a file within one second would share their bytecode
        "MINIGEN_CACHE": str(folder / "cache"),
    }
    done = subprocess.run(
        [*command, *[f"tests/{name}" for name in names]],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    return done.returncode, done.stdout[-2000:] + done.stderr[-2000:]


def mutate(folder, mutant):
    path = folder / mutant.file
    text = path.read_text()
    path.write_text(text.replace(mutant.find, mutant.replace))


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """{mutant's name: future of (exit code, output)}, worked off by a few processes with a copy each."""
    folders = Queue()
    for _ in range(WORKERS):
        folders.put(copy_of_the_source(tmp_path_factory.mktemp("copy")))

    def outcome(mutant):
        folder = folders.get()
        try:
            mutate(folder, mutant)
            return run_tests(folder, [mutant.killed_by])
        finally:
            shutil.copy2(ROOT / mutant.file, folder / mutant.file)
            folders.put(folder)

    with ThreadPoolExecutor(WORKERS) as pool:
        yield {mutant.name: pool.submit(outcome, mutant) for mutant in MUTANTS}


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_the_mutant_dies(mutant, outcomes):
    code, output = outcomes[mutant.name].result()
    assert code != PASSED, f"survived {mutant.killed_by}: {mutant.find!r} -> {mutant.replace!r}"
    assert code == FAILED, f"{mutant.killed_by} could not be run:\n{output}"


@pytest.mark.slow
def test_the_tests_that_kill_pass_on_the_unchanged_source(tmp_path):
    code, output = run_tests(copy_of_the_source(tmp_path / "copy"), sorted({mutant.killed_by for mutant in MUTANTS}))
    assert code == PASSED, output


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_the_mutant_changes_one_place_of_the_present_source(mutant):
    text = (ROOT / mutant.file).read_text()
    assert text.count(mutant.find) == 1
    assert mutant.replace != mutant.find
    file, _, name = mutant.killed_by.partition("::")
    assert f"def {name.split('[')[0]}" in (ROOT / "tests" / file).read_text()


def test_the_names_of_the_mutants_are_distinct():
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
