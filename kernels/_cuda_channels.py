"""Launcher of CUDA kernels that have one thread for every pack of neighbouring channels of a result (N, ., ., C)."""

from ._cuda import C_NAMES, aligned, blocks, i32, launch
from ._versions import choose, float32_only

THREADS = 256  # a block


def over_channels(file, kernel, version, arrays, result, numbers, **parameters):
    """Run kernel(*arrays, *numbers), which fills `result`, one of the arrays: version 1 by single channels, 2 by fours.

    Raises ValueError for a version that does not fit, or for more elements than 32 bits count.
    """
    fours = result.shape[3] % 4 == 0 and aligned(*arrays)
    obstacle = float32_only(result) or (None if fours else "needs channels in fours, at addresses that 16 divides")
    pack = {1: 1, 2: 4}[choose(kernel, version, {1: None, 2: obstacle})]
    i32(result.size + THREADS)  # the threads of the last block count that far
    if result.size:
        grid = blocks(result.size // pack, THREADS)
        args = *arrays, *map(i32, numbers)
        launch(file, kernel, grid, THREADS, args, REAL=C_NAMES[result.dtype.name], PACK=pack, **parameters)
    return result
