"""Launchers of CUDA kernels that work element by element: one for activations and losses, and what others share."""

from ._cuda import C_NAMES, aligned, blocks, empty, i32, launch
from ._versions import check_shapes, choose, float32_only, floats

THREADS = 256  # a block


def over_elements_cuda(file, kernel, outputs=1, versions=(1,)):
    """A launcher of kernel_v1 (and _v2) in the .cu file beside `file`: kernel(*arrays, *new, *scalars, number).

    new: `outputs` arrays like the first. Version 2 reads four neighbours at once and counts quadruples.
    Raises TypeError unless all arrays are float32 or all float64, ValueError where their shapes differ or the
    version asked for does not fit them.
    """

    def launcher(*given, version=None):
        named = {f"array {i}": a for i, a in enumerate(given) if hasattr(a, "__cuda_array_interface__")}
        arrays, scalars = floats(kernel, **named), given[len(named) :]
        first = arrays[0]
        check_shapes(kernel, first.shape, **named)
        new = [empty(first.shape, first) for _ in range(outputs)]
        chosen = fitting(kernel, version, versions, *arrays, *new)
        over(file, f"{kernel}_v{chosen}", chosen, (*arrays, *new, *map(first.dtype.type, scalars)), first)
        return new[0] if outputs == 1 else tuple(new)

    return launcher


def fitting(kernel, version, versions, *arrays):
    """The version to run: the one asked for, or 2 where 16-byte loads fit all arrays, else 1. Raises ValueError."""
    fours = all(a.size % 4 == 0 for a in arrays) and aligned(*arrays)
    obstacle = float32_only(arrays[0]) or (None if fours else "needs elements in fours, at addresses that 16 divides")
    return choose(kernel, version, {v: {1: None, 2: obstacle}[v] for v in versions})


def over(file, kernel, version, args, like):
    """Launch a kernel whose last parameter counts what its threads work on: elements of `like`, or its quadruples."""
    tasks = like.size // 4 if version == 2 else like.size
    if tasks:
        launch(file, kernel, blocks(tasks, THREADS), THREADS, (*args, i32(tasks)), REAL=C_NAMES[like.dtype.name])
