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
from minigen.train.ddpm import DDPMConfig
from minigen.train.start import prepare
batches, task = prepare(DDPMConfig({settings}))
task.step(batches, 0)
print(time.perf_counter() - started)
"""
JOB = FIRST_STEP.format(settings="")
UNET = FIRST_STEP.format(settings="channels=64, multipliers=(1, 2, 2), blocks=2, attention_levels=(2,), patch=1")


def measure(repetitions=5):
    """Seconds by name; the median of `repetitions` for what is short."""
    with tempfile.TemporaryDirectory() as cache, tempfile.TemporaryDirectory() as other:
        environment, another = ({**os.environ, "MINIGEN_CACHE": folder} for folder in (cache, other))
        return {
            "import minigen": median(
                timed([sys.executable, "-c", "import minigen"], environment) for _ in range(repetitions)
            )
            - median(timed([sys.executable, "-c", "pass"], environment) for _ in range(repetitions)),
            "minigen --help": median(
                timed([sys.executable, "-m", "minigen", "--help"], environment) for _ in range(repetitions)
            ),
            "first training step of `minigen train ddpm`, cold kernel cache": first_step(JOB, environment),
            "first training step of `minigen train ddpm`, warm kernel cache": median(
                first_step(JOB, environment) for _ in range(repetitions)
            ),
            "first U-Net step (6.47 M parameters, batch 32), cold kernel cache": first_step(UNET, another),
            "first U-Net step (6.47 M parameters, batch 32), warm kernel cache": median(
                first_step(UNET, another) for _ in range(repetitions)
            ),
        }


def timed(command, environment):
    started = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def first_step(program, environment):
    """Imports, data or inputs, network and one training step, in a fresh process."""
    done = subprocess.run([sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True)
    return float(done.stdout)
