// Where threads meet: the barrier of a block, the shuffles and votes of a warp, and atomics.
//
// Every function takes the line it is called from. Threads that meet must have come from the same line: a barrier in
// one branch and another in the other hang or corrupt on a GPU, and are reported here.
#pragma once

// ---------------------------------------------------------------- a block

UNCHECKED void __syncthreads(HERE) { coc_barrier(line, 0, nullptr); }
UNCHECKED int __syncthreads_count(int vote, HERE) { int n; coc_barrier(line, !!vote, &n); return n; }
UNCHECKED int __syncthreads_or(int vote, HERE) { int n; coc_barrier(line, !!vote, &n); return n > 0; }
UNCHECKED int __syncthreads_and(int vote, HERE) { int n; coc_barrier(line, !vote, &n); return n == 0; }

// Fibers take turns on one processor, so memory is always consistent: a missing fence is NOT found.
UNCHECKED void __threadfence() {}
UNCHECKED void __threadfence_block() {}
inline void __trap() { __builtin_trap(); }

// ---------------------------------------------------------------- a warp

UNCHECKED void __syncwarp(unsigned mask = ~0u, HERE) {
  unsigned present;
  coc_warp(mask, nullptr, 0, "__syncwarp", line, &present);
}

// `inside`: whether the source lane lies in this lane's group of `width`; outside it, a lane keeps its own value.
template <class T>
UNCHECKED T coc_shuffle(unsigned mask, T mine, int from, bool inside, const char* name, int line) {
  static_assert(sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8, "shuffles move 2, 4 or 8 bytes");
  unsigned present;
  const uint64_t* slot = coc_warp(mask, &mine, sizeof(T), name, line, &present);
  if (!inside) return mine;
  T theirs;
  memset(&theirs, 0xff, sizeof theirs);
  if (present >> from & 1) memcpy(&theirs, &slot[from], sizeof theirs);
  else coc_report(line, "%s reads lane %d, which does not take part (mask %08x)", name, from, mask);
  return theirs;
}
template <class T>
DEVICE T __shfl_sync(unsigned mask, T v, int from, int width = 32, HERE) {
  const int group = coc_lane() & ~(width - 1);
  return coc_shuffle(mask, v, group | (from & (width - 1)), true, "__shfl_sync", line);
}
template <class T>
DEVICE T __shfl_up_sync(unsigned mask, T v, unsigned by, int width = 32, HERE) {
  const int group = coc_lane() & ~(width - 1), from = (int)coc_lane() - (int)by;
  return coc_shuffle(mask, v, from, from >= group, "__shfl_up_sync", line);
}
template <class T>
DEVICE T __shfl_down_sync(unsigned mask, T v, unsigned by, int width = 32, HERE) {
  const int group = coc_lane() & ~(width - 1), from = (int)coc_lane() + (int)by;
  return coc_shuffle(mask, v, from, from < group + width, "__shfl_down_sync", line);
}
template <class T>
DEVICE T __shfl_xor_sync(unsigned mask, T v, int with, int width = 32, HERE) {
  const int group = coc_lane() & ~(width - 1), from = (int)coc_lane() ^ with;
  return coc_shuffle(mask, v, from, from < group + width, "__shfl_xor_sync", line);
}

UNCHECKED unsigned __ballot_sync(unsigned mask, int vote, HERE) {
  unsigned present, result = 0;
  const uint32_t mine = !!vote;
  const uint64_t* slot = coc_warp(mask, &mine, 4, "__ballot_sync", line, &present);
  for (int i = 0; i < 32; i++)
    if ((present >> i & 1) && (uint32_t)slot[i]) result |= 1u << i;
  return result;
}
UNCHECKED int __any_sync(unsigned mask, int vote, HERE) { return __ballot_sync(mask, vote, line) != 0; }
UNCHECKED int __all_sync(unsigned mask, int vote, HERE) { return __ballot_sync(mask, !vote, line) == 0; }

// ---------------------------------------------------------------- atomics
//
// A fiber is never left in the middle of one, so plain arithmetic is atomic. The runtime is told, since two atomics on
// one address are no race.

#define ATOMIC(NAME, RESULT)                                            \
  template <class T>                                                    \
  UNCHECKED T NAME(T* address, std::common_type_t<T> v, HERE) {         \
    coc_atomic((void*)address, sizeof(T), line);                        \
    const T old = *address;                                             \
    *address = RESULT;                                                  \
    return old;                                                         \
  }
ATOMIC(atomicAdd, old + v)
ATOMIC(atomicSub, old - v)
ATOMIC(atomicExch, v)
ATOMIC(atomicMax, old < v ? v : old)
ATOMIC(atomicMin, v < old ? v : old)
ATOMIC(atomicOr, old | v)
ATOMIC(atomicAnd, old & v)
#undef ATOMIC
template <class T>
UNCHECKED T atomicCAS(T* address, std::common_type_t<T> expected, std::common_type_t<T> v, HERE) {
  coc_atomic((void*)address, sizeof(T), line);
  const T old = *address;
  if (old == expected) *address = v;
  return old;
}
