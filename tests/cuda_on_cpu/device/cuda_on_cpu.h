// What a .cu text finds already declared, so that a C++ compiler for the CPU takes it as it is.
//
// A kernel is written from the point of view of one thread. A grid of blocks runs it; the up to 1024 threads of a block
// share `__shared__` memory and meet at barriers; 32 consecutive threads of a block are a warp, whose lanes can read
// each other's registers. Here every thread is a fiber: an ordinary C++ call of the kernel with a stack of its own,
// left and resumed at barriers (runtime/fibers.cpp). `threadIdx` and `blockIdx` are plain variables that the scheduler
// sets before it resumes a fiber.
#pragma once
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <type_traits>
#include <utility>

// ---------------------------------------------------------------- qualifiers

#define __global__
#define __device__ __attribute__((always_inline))
#define __host__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)
#define __constant__ static
// thread_local is legal in a function and on an `extern` array alike, and gathers all shared variables of a module in
// one segment, whose address and size the dynamic loader knows: that is how the runtime finds, fills and guards them.
#define __shared__ thread_local

typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;

// A struct that is handed to a function, or returned by one, in memory is not seen by the checks: so every function is
// put in the place of its call, as the GPU's compiler does as well.
#define DEVICE inline __attribute__((always_inline))
#define UNCHECKED inline __attribute__((no_sanitize("thread", "undefined")))  // reads and writes that are not the kernel's
#define LAUNCHER extern "C" __attribute__((visibility("default")))
#define HERE int line = __builtin_LINE()                                      // the caller's line, for messages

#ifdef CUDA_ON_CPU_COUNT
#include "counted.h"
#define float counted::Float
#endif
#include "vector_types.h"

// ---------------------------------------------------------------- what the runtime provides

#pragma GCC visibility push(default)
extern "C" {
extern const uint3 threadIdx, blockIdx;
extern const uint3 blockDim, gridDim;

// All threads of the block meet here. `votes` becomes the sum of what they brought.
void coc_barrier(int line, int vote, int* votes);
// The lanes in `mask` meet here and show each other `bytes` bytes each -> what lane i showed is at slot[i], for the
// lanes that `present` names.
const uint64_t* coc_warp(unsigned mask, const void* shown, unsigned bytes, const char* name, int line, unsigned* present);
unsigned coc_lane();
void coc_atomic(void* address, unsigned bytes, int line);
void coc_report(int line, const char* format, ...);

struct coc_shared { char* dynamic; unsigned capacity; const void* any; };  // `any`: some variable of the segment
struct coc_launch { unsigned grid[3], block[3], shared, order, seed, flags; };
int coc_run(void (*call)(void* kernel, void** args), void* kernel, void** args, const coc_launch*, const coc_shared*);
}
#pragma GCC visibility pop
constexpr int warpSize = 32;

#include "collectives.h"
#include "intrinsics.h"
#include "launch.h"
