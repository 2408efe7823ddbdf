"""CUDA C++ kernels on the CPU: the same text, run by fibers, with checks that a GPU does not make. See README.md."""
