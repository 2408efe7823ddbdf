"""Without Numba everything runs on the NumPy definitions, slowly, and to the same numbers."""

import subprocess
import sys

import numpy as np

TWO_STEPS = """
import sys
if {blocked}:
    sys.modules["numba"] = sys.modules["llvmlite"] = None  # importing them fails, as where they are not installed
from minigen.train.ddpm import DDPMConfig
from minigen.train.start import prepare
batches, task = prepare(DDPMConfig(batch_size=4, channels=16, T=10))
print(*[value for step in (0, 1) for value in task.step(batches, step).values()])
assert ("numba" in sys.modules and sys.modules["numba"] is not None) != {blocked}
"""


def two_steps(blocked):
    code = TWO_STEPS.format(blocked=blocked)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return np.array(done.stdout.split(), float)


def test_two_training_steps_are_the_same_without_numba():
    np.testing.assert_allclose(two_steps(True), two_steps(False), rtol=1e-4)
