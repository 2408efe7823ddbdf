// Who touched what, when: out-of-bounds accesses, reads of what was never written, and races.
//
// In check mode the compiler calls a function before every load and store (-fsanitize=thread inserts the calls; its own
// runtime is not linked, these functions take its place). Each cell of memory remembers its last writer and its last
// readers, with the block and the epoch they were in. Two accesses by different threads, one of them a write, are a
// race unless something orders them: a barrier of the block between them, or a meeting of the whole warp for two lanes
// of one warp. Blocks are never ordered within a launch.
#include "runtime.h"
#include <cstdio>
#include <cstdlib>

// Threads count from 1, so that 0 means nobody.
constexpr uint32_t SEVERAL = ~0u;
constexpr uint16_t SEVERAL_WARPS = 0xffff;
struct Access { uint32_t thread, block, epoch, warp_epoch; uint16_t warp; };
struct Cell { Access written, read; bool atomic; };

Region regions[64];
int n_regions;
static int last;             // the region found last, tried first
static int granule = 2;      // log2 of the bytes of a cell: the narrowest type in the kernel's arguments

EXPORT void coc_granule(int log2_bytes) { granule = log2_bytes; }
EXPORT void coc_clear() {
  for (int i = 0; i < n_regions; i++) free(regions[i].cells);
  n_regions = last = 0;
}
void add_region(char* begin, size_t bytes, Kind kind, int argument, bool read_only, uint8_t* written) {
  if (n_regions == 64) return report(nullptr, 0, "more arguments than the emulation keeps (60)");
  regions[n_regions++] = {begin, bytes, kind, argument, read_only, written, nullptr};
}
EXPORT void coc_argument(void* p, size_t bytes, int argument, int read_only, uint8_t* written) {
  add_region((char*)p, bytes, GLOBAL, argument, read_only, written);
}

void prepare_cells() {
  for (int i = 0; i < n_regions; i++) regions[i].cells = (Cell*)calloc((regions[i].bytes >> granule) + 2, sizeof(Cell));
}

// ---------------------------------------------------------------- one access

static void name(char* out, const Region& r) {
  if (r.kind == GLOBAL) snprintf(out, 40, "argument %d", r.argument);
  else snprintf(out, 40, r.kind == DYNAMIC ? "dynamic shared memory" : "static shared memory");
}

static Region* find(const char* p) {
  if (last < n_regions && (size_t)(p - regions[last].begin) < regions[last].bytes) return &regions[last];
  for (int i = 0; i < n_regions; i++)
    if ((size_t)(p - regions[i].begin) < regions[i].bytes) return &regions[last = i];
  return nullptr;
}

static void outside(const char* p, bool write, void* pc, int line) {
  if (on_a_stack(p) || in_program(p)) return;  // a thread's own variables, constants
  const Region* nearest = nullptr;
  long least = 65536;
  for (int i = 0; i < n_regions; i++) {
    const long offset = p - regions[i].begin, past = offset - (long)regions[i].bytes;
    const long distance = past >= 0 ? past : -offset;
    if (distance < least) least = distance, nearest = &regions[i];
  }
  const char* what = write ? "write" : "read";
  if (!nearest) return report(pc, line, "%s of %p, which is no argument's memory", what, (const void*)p);
  char where[40];
  name(where, *nearest);
  report(pc, line, "out-of-bounds %s of %s at byte %ld of %zu", what, where, (long)(p - nearest->begin), nearest->bytes);
}

static bool ordered_before_now(const Access& a) {
  if (a.block != (uint32_t)block) return false;
  if (a.epoch != epoch) return true;
  return a.warp == current / 32 && a.warp_epoch < warp_epoch(current / 32);
}
static bool mine(const Access& a) { return a.thread == (uint32_t)current + 1 && a.block == (uint32_t)block; }

static void check_cell(Region& r, size_t c, bool write, bool atomic, void* pc, int line) {
  Cell& s = r.cells[c];
  const bool shared = r.kind != GLOBAL;  // which begins anew with every block
  const bool written = s.written.thread && !(shared && s.written.epoch < first_epoch_of_block);
  const bool read = s.read.thread && !(shared && s.read.epoch < first_epoch_of_block);
  const bool after_write = written && !mine(s.written) && !(atomic && s.atomic) && !ordered_before_now(s.written);
  const bool after_read = write && read && !mine(s.read) && !ordered_before_now(s.read);
  char what[40];
  if (after_write || after_read) {
    const Access& other = after_write ? s.written : s.read;
    name(what, r);
    report(pc, line, "data race on %s, byte %zu: %s by thread %d after %s by thread %d of block %d, and no barrier between",
           what, c << granule, write ? "write" : "read", current, after_write ? "write" : "read",
           other.thread == SEVERAL ? -1 : (int)other.thread - 1, other.thread == SEVERAL ? -1 : (int)other.block);
  }
  const Access now = {(uint32_t)current + 1, (uint32_t)block, epoch, warp_epoch(current / 32), (uint16_t)(current / 32)};
  if (write) {
    s.written = now;
    s.atomic = atomic;
    if (r.written)
      for (size_t i = c << granule; i < (c + 1) << granule && i < r.bytes; i++) r.written[i] = 1;
    return;
  }
  if (shared ? !written : r.written && !r.written[c << granule]) {
    name(what, r);
    report(pc, line, "read of %s, byte %zu, which nobody has written", what, c << granule);
  }
  if (!read || mine(s.read) || (s.read.block == (uint32_t)block && s.read.epoch != epoch)) {
    s.read = now;
  } else if (s.read.block != (uint32_t)block) {
    s.read.thread = s.read.block = SEVERAL, s.read.warp = SEVERAL_WARPS;
  } else {
    s.read.thread = SEVERAL, s.read.warp_epoch = now.warp_epoch;
    if (s.read.warp != now.warp) s.read.warp = SEVERAL_WARPS;
  }
}

void access(char* p, size_t bytes, bool write, bool atomic, void* pc, int line) {
  if (!running) return;
  Region* r = find(p);
  if (!r) return outside(p, write, pc, line);
  const size_t offset = p - r->begin;
  if (offset + bytes > r->bytes) return outside(r->begin + r->bytes, write, pc, line);
  if (offset % (bytes & -bytes) && r->kind != GLOBAL)
    report(pc, line, "misaligned %zu-byte %s of shared memory at byte %zu", bytes, write ? "write" : "read", offset);
  if (r->kind == GLOBAL && (uintptr_t)p % (bytes & -bytes))
    report(pc, line, "misaligned %zu-byte %s of argument %d at byte %zu", bytes, write ? "write" : "read", r->argument,
           offset);
  if (write && r->read_only) report(pc, line, "write through a pointer to const, argument %d", r->argument);
  if (launch.flags & COUNT) return count_access(*r, p, bytes, write, pc);
  for (size_t c = offset >> granule; c <= (offset + bytes - 1) >> granule; c++)
    check_cell(*r, c, write, atomic, pc, line);
}

// ---------------------------------------------------------------- what the compiler and the device headers call

EXPORT void coc_atomic(void* p, unsigned bytes, int line) {
  if (launch.flags) access((char*)p, bytes, true, true, nullptr, line);
}

#define HOOK(NAME, N, WRITE, ATOMIC) \
  EXPORT void __tsan_##NAME##N(void* p) { access((char*)p, N, WRITE, ATOMIC, __builtin_return_address(0), 0); }
#define HOOKS(N)                          \
  HOOK(read, N, false, false)             \
  HOOK(write, N, true, false)             \
  HOOK(unaligned_read, N, false, false)   \
  HOOK(unaligned_write, N, true, false)   \
  HOOK(volatile_read, N, false, true)     \
  HOOK(volatile_write, N, true, true)
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)
EXPORT void __tsan_read_range(void* p, size_t n) { access((char*)p, n, false, false, __builtin_return_address(0), 0); }
EXPORT void __tsan_write_range(void* p, size_t n) { access((char*)p, n, true, false, __builtin_return_address(0), 0); }
EXPORT void __tsan_init() {}
EXPORT void __tsan_func_entry(void*) {}
EXPORT void __tsan_func_exit() {}
EXPORT void __tsan_vptr_update(void**, void*) {}
