"""Two processes compile the kernels of the very first training step, from its two ends.

A kernel is compiled when it is first called, and kept on disk for ever after. On a new installation that makes the
first step as long as hundreds of others; Python does most of that work, and one thread of a process at a time.

    this process    forward ->                       backward -> optimiser
    the helper      forward by NumPy's definitions,  backward -> optimiser
                    which nothing compiles

So the helper is at the backward pass at once, and compiles it while this process compiles the forward pass. What either
has compiled the other finds on disk; what both happen to compile at the same moment is compiled twice.
"""

import json
import os
import subprocess
import sys
from contextlib import suppress

from ..dispatch import KERNELS, use_kernels
from ..kernels import _numba
from ..kernels._threads import get_num_threads


def compile_ahead(config):
    """Start a helper for training by `config`, where no kernel has been compiled yet and a second core is there.

    It writes nothing but compiled kernels, and nobody waits for it: where it cannot work, the first step takes longer.
    """
    global helper
    if helper or not _numba.cache_is_new or get_num_threads() == 1 or config.device != "cpu":
        return
    print(f"compiling the kernels, once: they are kept in {_numba.folder}", file=sys.stderr, flush=True)
    settings = json.dumps({"model": config.model, "config": config.to_dict()})
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    alone = {**os.environ, "MINIGEN_THREADS": "1"}  # one thread: it starts no helper of its own
    with suppress(OSError):
        helper = subprocess.Popen([sys.executable, "-m", __name__, settings], env=alone, **quiet)


helper: subprocess.Popen | None = None


def backwards_only(name):
    """The dialect of a kernel in the helper: Numba for gradients, their sums and optimisers."""
    return "numba" if "grad" in name or name in BESIDES else "numpy"


BESIDES = set(f"{KERNELS['arithmetic']} {KERNELS['optimizer']}".split())


def first_step(settings):
    """What the helper does: the first step of this training, or as far as it gets."""
    from .start import MODELS, prepare

    with use_kernels(backwards_only):
        batches, task = prepare(MODELS[settings["model"]][0].from_dict(settings["config"]))
        task.step(batches, 0)


if __name__ == "__main__":
    first_step(json.loads(sys.argv[1]))
