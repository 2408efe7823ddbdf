"""How long a newcomer waits: import, --help, and the first training step, each in a fresh process."""

import os
import subprocess
import sys
import tempfile
import time
from statistics import median

FIRST_STEP = """
import time
started = time.perf_counter()
from benchmarks.sides.unet_minigen import build, draw
from minigen.random import Generator
build()[1](*draw(Generator(1)))
print(time.perf_counter() - started)
"""


def measure(repetitions=5):
    """Seconds by name; the median of `repetitions` for what is short."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "MINIGEN_CACHE": cache}
        return {
            "import minigen": median(
                timed([sys.executable, "-c", "import minigen"], environment) for _ in range(repetitions)
            )
            - median(timed([sys.executable, "-c", "pass"], environment) for _ in range(repetitions)),
            "minigen --help": median(
                timed([sys.executable, "-m", "minigen", "--help"], environment) for _ in range(repetitions)
            ),
            "first U-Net step, cold kernel cache": first_step(environment),
            "first U-Net step, warm kernel cache": median(first_step(environment) for _ in range(3)),
        }


def timed(command, environment):
    started = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def first_step(environment):
    """Imports, network and one training step of the benchmark U-Net at batch 32."""
    done = subprocess.run(
        [sys.executable, "-c", FIRST_STEP], env=environment, check=True, capture_output=True, text=True
    )
    return float(done.stdout)
