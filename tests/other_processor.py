"""Code run as if on a processor with shorter vectors: Numba compiles for whichever processor it is told of."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

WITH_FEWER_FEATURES = """
from llvmlite import binding
features = binding.get_host_cpu_features()
for name in features:
    features[name] = features[name] and not name.startswith({without!r})
binding.get_host_cpu_features = lambda: features
"""


def run_without(features, code, cache):
    """What the code prints where the processor lacks the features of those names. cache: where machine code is kept."""
    paths = os.pathsep.join(map(str, Path(__file__).parents[:2]))
    environment = {**os.environ, "PYTHONPATH": paths, "MINIGEN_CACHE": str(cache)}
    command = [sys.executable, "-c", WITH_FEWER_FEATURES.format(without=features) + code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def shorter_vectors(test):
    """Run test(without, lanes) for a processor without AVX-512, and for one without any AVX or FMA."""
    each = pytest.mark.parametrize(("without", "lanes"), [(("avx512",), 8), (("avx", "fma"), 4)])
    x86 = platform.machine() in ("x86_64", "AMD64")
    return pytest.mark.skipif(not x86, reason="x86 is what differs in width")(each(test))
