"""Every file in examples/ runs as its docstring says, with few steps.

An example takes `--steps N`, learns from the digits that ship with the package, and writes below the current folder.
Those that need the real MNIST also take `--data-dir FOLDER`; they are in NEEDS_MNIST.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
NEEDS_MNIST = ("train_classifier.py",)


def run(example, folder, *arguments):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(example), "--steps", "2", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs_in_an_empty_folder(example, tmp_path, request):
    arguments = []
    if example.name in NEEDS_MNIST:
        arguments = ["--data-dir", str(request.getfixturevalue("mnist_dir")), "--out", "weights.safetensors"]
    done = run(example, tmp_path, *arguments)
    assert done.returncode == 0, done.stderr[-2000:]
    assert any(tmp_path.iterdir())


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_says_how_to_run_it(example):
    docstring = example.read_text().split('"""')[1]
    assert f"python examples/{example.name}" in docstring
