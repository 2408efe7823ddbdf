"""Installs minigen: the package itself, and the top-level folder kernels/ as minigen.kernels."""

import re
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
version = re.search(r'^__version__ = "(.+)"$', (here / "minigen" / "__init__.py").read_text(), re.MULTILINE).group(1)

TEST = ["pytest>=8", "hypothesis>=6.100"]
PARITY = ["torch>=2.2"]  # the oracle of the tests and the opponent of the benchmarks; never needed at run time
# The CUDA kernels compiled for real GPUs where there is none: pinned, since registers are counted in the tests.
CUDA_CHECK = ["cupy-cuda13x==14.2.0", "nvidia-cuda-nvrtc==13.0.88", "nvidia-cuda-nvdisasm==13.5.37"]

setup(
    name="minigen",
    version=version,
    description="Deep generative models from scratch: autograd, kernels, diffusion, made to be read",
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    packages=[*find_packages(include=["minigen", "minigen.*"]), "minigen.kernels", "minigen.kernels.simd"],
    package_dir={"minigen.kernels": "kernels"},
    package_data={
        "minigen.kernels": ["*.cu", "*.cuh"],
        "minigen.data": ["mnist_mini/*"],
        "minigen.models": ["weights/*"],
    },
    install_requires=[
        "numpy>=1.24",
        "scipy>=1.10",
        "numba>=0.59",
        "threadpoolctl>=3.1",
        "click>=8.4",
        "tqdm>=4.60",
        "safetensors>=0.4",
        "filelock>=3.12",
        "pillow>=9.4",
        "matplotlib>=3.7",
    ],
    extras_require={
        "cuda12x": ["cupy-cuda12x>=13"],
        "cuda13x": ["cupy-cuda13x>=13.6"],
        "cuda-check": CUDA_CHECK,
        "test": TEST,
        "parity": PARITY,
        "bench": PARITY,
        "dev": [*TEST, "ruff>=0.6", "mypy>=1.10", "pytest-cov>=5", "build>=1.2"],
    },
    entry_points={"console_scripts": ["minigen = minigen.cli:main"]},
    classifiers=[
        "License :: OSI Approved :: MIT License",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
