"""What PyTorch's side runs on."""

import torch

from benchmarks.sides import torch_forms  # noqa: F401  (sets the threads)


def facts():
    return {
        "torch": torch.__version__,
        "torch's SIMD": torch.backends.cpu.get_cpu_capability(),
        "torch's oneDNN": "yes" if torch.backends.mkldnn.is_available() else "no",
        "torch's threads": torch.get_num_threads(),
    }
