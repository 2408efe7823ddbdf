"""Bugs that CUDA kernels are known for, each put into a kernel that ships: one line changed, and what must be seen.

Such a change often leaves the numbers right on the card and the day it is tried on: a missing barrier needs bad luck to
show, an index one past the end needs a neighbour. test_museum.py runs each under the checks of tests/cuda_on_cpu, with
the arguments of benchmarks/cuda_cases.py, and compares the results with NumPy's.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Bug:
    """In `file` with its headers, the one occurrence of `find` becomes `replace`; `kernel` in `version` is run.

    sees   a part of the message that the checks must give, or "wrong result"
    sizes  "EDGE", or "EVEN" where the version wants rows of fours
    """

    name: str
    file: str
    find: str
    replace: str
    kernel: str
    version: int | None
    sees: str
    sizes: str = "EDGE"


RACE, OUTSIDE, UNWRITTEN, WRONG = "data race", "out-of-bounds", "nobody has written", "wrong result"

BARRIERS = [
    Bug("a reduction overwrites what the one before is still read from", "group_norm",
        "  v = warp_sum(v);\n  __syncthreads();", "  v = warp_sum(v);",
        "group_norm_grad", 1, RACE),
    Bug("warps' sums are read before they are there", "group_norm",
        "if (LANE == 0) of_warp[WARP] = v;\n  __syncthreads();\n  return warp_sum",
        "if (LANE == 0) of_warp[WARP] = v;\n  return warp_sum",
        "group_norm", 1, RACE),
    Bug("warps' moments are read before they are there", "group_norm",
        "of_warp[WARP] = a;\n  __syncthreads();", "of_warp[WARP] = a;",
        "group_norm", 2, RACE, "EVEN"),
    Bug("lines are added before the others have added theirs", "batch_norm",
        "sums[threadIdx.x] = sum, products[threadIdx.x] = product;\n"
        "  for (int lines = share.lines; lines > 1; lines = (lines + 1) / 2) {\n    __syncthreads();",
        "sums[threadIdx.x] = sum, products[threadIdx.x] = product;\n"
        "  for (int lines = share.lines; lines > 1; lines = (lines + 1) / 2) {",
        "batch_norm_grad", 2, RACE, "EVEN"),
    Bug("moments of lines are merged without waiting", "batch_norm",
        "of_line[mine + q] = moments[q];\n"
        "  for (int lines = share.lines; lines > 1; lines = (lines + 1) / 2) {\n    __syncthreads();",
        "of_line[mine + q] = moments[q];\n"
        "  for (int lines = share.lines; lines > 1; lines = (lines + 1) / 2) {",
        "batch_norm", 2, RACE, "EVEN"),
    Bug("threads without work leave between two barriers", "group_norm",
        "if (share.line >= lines / 2) continue;", "if (share.line >= lines / 2) return;",
        "group_norm_grad", 2, "divergent barrier", "EVEN"),
    Bug("a tree reduction without its barrier", "optimizer",
        "half > 0; half /= 2) {\n    __syncthreads();", "half > 0; half /= 2) {",
        "square_norm", 1, RACE),
    Bug("the barrier between two stages of a sum is gone", "optimizer",
        "if (LANE == 0) of_warp[WARP] = sum;\n  __syncthreads();", "if (LANE == 0) of_warp[WARP] = sum;",
        "square_norm", 2, RACE, "EVEN"),
]  # fmt: skip

WARPS = [
    Bug("a mask for half a warp", "softmax",
        "v += __shfl_xor_sync(ALL_LANES, v, step);", "v += __shfl_xor_sync(0xffffu, v, step);",
        "softmax", 2, "leaves it out"),
    Bug("lanes with nothing to add skip the shuffle", "layer_norm",
        "moments = warp_merge(moments);", "if (LANE * PACK < c) moments = warp_merge(moments);",
        "layer_norm", 2, "deadlock", "EVEN"),
    Bug("one step of the butterfly is missing", "layer_norm",
        "for (int step = 16; step > 0; step /= 2) v +=", "for (int step = 16; step > 1; step /= 2) v +=",
        "layer_norm_grad", 2, WRONG, "EVEN"),
    Bug("more warps are added up than there are", "group_norm",
        "return warp_sum(LANE < WARPS ? of_warp[LANE] : real(0));", "return warp_sum(of_warp[LANE]);",
        "group_norm", 1, UNWRITTEN),
    Bug("of the same, in double precision", "optimizer",
        "sum_of_warp(LANE < WARPS ? of_warp[LANE] : 0.0)", "sum_of_warp(of_warp[LANE])",
        "square_norm", 2, UNWRITTEN, "EVEN"),
    Bug("every lane writes the total", "optimizer",
        "if (LANE == 0) *total = sum;", "*total = sum;",
        "square_norm", 1, RACE),
    Bug("every lane writes the row's statistics", "layer_norm",
        "if (LANE == 0) mu[row] = mean, rstd[row] = scale;", "mu[row] = mean, rstd[row] = scale;",
        "layer_norm", 2, RACE, "EVEN"),
    Bug("every line of a block writes the sums", "group_norm",
        "if (share.line > 0 || k >= size) continue;", "if (k >= size) continue;",
        "group_norm_grad", 2, RACE, "EVEN"),
    Bug("a row's sum stays in the lanes", "softmax",
        "  total = row_sum(total);\n", "",
        "log_softmax_grad", 2, WRONG),
]  # fmt: skip

BOUNDS = [
    Bug("the last thread is one too many", "embedding",
        "if (i < n) y[i] = w", "if (i <= n) y[i] = w",
        "embedding", 1, OUTSIDE),
    Bug("the warps past the last row stay", "layer_norm",
        "const int row = blockIdx.x * WARPS + WARP;       \\\n  if (row >= rows) return;",
        "const int row = blockIdx.x * WARPS + WARP;       \\\n",
        "layer_norm", 2, OUTSIDE, "EVEN"),
    Bug("the threads past the last row stay", "softmax",
        "const int row = blockIdx.x * blockDim.x + threadIdx.x; \\\n  if (row >= rows) return;",
        "const int row = blockIdx.x * blockDim.x + threadIdx.x; \\\n",
        "softmax", 1, OUTSIDE),
    Bug("a loop over k that includes k", "softmax",
        "for (int j = 0; j < k; ++j) mean += g[j] * y[j];", "for (int j = 0; j <= k; ++j) mean += g[j] * y[j];",
        "softmax_grad", 1, OUTSIDE),
    Bug("the warps past the last row of logits stay", "loss",
        "const int i = blockIdx.x * WARPS + WARP;\n  if (i >= n) return;", "const int i = blockIdx.x * WARPS + WARP;\n",
        "cross_entropy", 2, OUTSIDE),
    Bug("row and column exchanged", "loss",
        "real(j == labels[row])", "real(row == labels[j + row])",
        "cross_entropy_grad", None, OUTSIDE),
    Bug("a search runs off the end of its list", "embedding",
        "j < length && in_order[j] == k; j++) sum +=", "in_order[j] == k; j++) sum +=",
        "embedding_grad", 1, OUTSIDE),
    Bug("blocks that cover more than there is", "philox",
        "const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;        \\\n  if (i >= n) return;",
        "const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;        \\\n",
        "philox_bits", 1, OUTSIDE),
    Bug("16 bytes a thread, and the count still in elements", "embedding",
        "store4(y + 4 * i, load4(w", "store4(y + 16 * i, load4(w",
        "embedding", 2, OUTSIDE, "EVEN"),
    Bug("quadruples begin at every element", "embedding",
        "store4(dw + 4 * i, sum);", "store4(dw + i, sum);",
        "embedding_grad", 2, "misaligned", "EVEN"),
]  # fmt: skip

RESULTS = [
    Bug("one of the outputs is not stored", "optimizer",
        "  store4(v + 4 * i, v4);\n\n#define AVERAGE_OF_FOUR", "\n\n#define AVERAGE_OF_FOUR",
        "adamw_step", 2, WRONG, "EVEN"),
    Bug("rescaling forgotten when the maximum grows", "softmax",
        "row_sum(mine.total * exp(mine.value - value))", "row_sum(mine.total)",
        "softmax", 2, WRONG),
    Bug("the statistics of the wrong group", "group_norm",
        "const int s = r / p * groups + k / size, at", "const int s = r / p + k / size, at",
        "group_norm_grad", 1, WRONG),
]  # fmt: skip

TILES = [
    Bug("a tile is multiplied while others still fill it", "conv",
        "    __syncthreads();\n  }\n\n#pragma unroll\n  for (int i = 0; i < 8; ++i) {\n    const int row = first",
        "  }\n\n#pragma unroll\n  for (int i = 0; i < 8; ++i) {\n    const int row = first",
        "conv2d", 2, RACE),
    Bug("of two copies of a tile, the one that is being read is filled", "conv",
        "store4(shared.a[now] + a_line", "store4(shared.a[1 - now] + a_line",
        "conv2d_weight_grad", 2, RACE, "EVEN"),
    Bug("the lower edge of the image is no edge", "conv",
        "row >= 0 && row < o.h && column >= 0", "row >= 0 && column >= 0",
        "conv2d", 1, OUTSIDE),
    Bug("pixels past the last are stored", "conv",
        "if (row >= pixels) continue;", "",
        "conv2d", 2, OUTSIDE, "EVEN"),
    Bug("a last, shorter step reads filters that do not exist", "conv",
        "load_four(weights + d * o.k, d + b_depth < depth ? b_exist : 0)", "load_four(weights + d * o.k, b_exist)",
        "conv2d", 2, OUTSIDE),
    Bug("a thread a result, and more threads than results", "conv",
        "if (m >= n * p * q) return;", "",
        "conv2d", 1, OUTSIDE),
    Bug("tensor cores read the lines of another layout", "conv",
        "b += LANE % 4 * B_LINE + WARP / 2 * 32 + LANE / 4;", "b += LANE / 8 * B_LINE + WARP / 2 * 32 + LANE % 8;",
        "conv2d", 3, WRONG),
    Bug("the last window of a pool hangs over", "pool",
        "return min(i * stride - padding + size, cells);", "return i * stride - padding + size;",
        "max_pool2d", None, OUTSIDE),
    Bug("the first window of a pool begins in the padding", "pool",
        "return max(i * stride - padding, 0);", "return i * stride - padding;",
        "avg_pool2d", None, OUTSIDE),
    Bug("keys are used before they have arrived", "attention",
        "load_tile(values, v, start, m, e, heads, n, h);\n    __syncthreads();\n\n    float s[ROWS][TILE];",
        "load_tile(values, v, start, m, e, heads, n, h);\n\n    float s[ROWS][TILE];",
        "attention", 2, RACE),
    Bug("a vote of the block becomes one of the thread", "attention",
        "    if (!__syncthreads_or(some)) continue;\n    load_tile(keys, k, start, m, d, heads, n, h);\n"
        "    load_tile(values, v, start, m, e, heads, n, h);\n    __syncthreads();\n\n    float s",
        "    if (!some) continue;\n    load_tile(keys, k, start, m, d, heads, n, h);\n"
        "    load_tile(values, v, start, m, e, heads, n, h);\n    __syncthreads();\n\n    float s",
        "attention", 2, RACE),
    Bug("every lane of a query writes its log-sum", "attention",
        "if (PART == 0) lse[(n * heads + h) * l + query[r]] =", "lse[(n * heads + h) * l + query[r]] =",
        "attention", 2, RACE),
    Bug("the keys past the last are attended to", "attention",
        "if (!(query[r] < l && start + j < m && SEEN", "if (!(query[r] < l && SEEN",
        "attention", 2, OUTSIDE),
]  # fmt: skip

BUGS = BARRIERS + WARPS + BOUNDS + TILES + RESULTS
