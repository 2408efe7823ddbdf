// One launch: the blocks of the grid, one after the other.
#include "runtime.h"
#include <cstring>
#include <link.h>

Launch launch;
int threads;
bool running;
uint64_t block;
Dim threadIdx, blockIdx, blockDim, gridDim;

// ---------------------------------------------------------------- the segment of shared variables

struct Stretch { const char* begin; size_t bytes; };
static Stretch loaded[2];  // the kernel's library and this one: constants and counters are there
static struct { char* begin; size_t bytes; } segment;
static Shared shared;
static void *kernel, **args;

bool in_program(const char* p) {
  for (const Stretch& l : loaded)
    if ((size_t)(p - l.begin) < l.bytes) return true;
  return false;
}

static int look_at_library(dl_phdr_info* info, size_t, void*) {
  const char *low = (char*)~(uintptr_t)0, *high = nullptr;
  size_t bytes = 0;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const auto& h = info->dlpi_phdr[i];
    const char* begin = (char*)info->dlpi_addr + h.p_vaddr;
    if (h.p_type == PT_TLS) bytes = h.p_memsz;
    if (h.p_type != PT_LOAD) continue;
    if (begin < low) low = begin;
    if (begin + h.p_memsz > high) high = begin + h.p_memsz;
  }
  const auto holds = [&](const void* p) { return p >= low && p < high; };
  if (holds(&launch)) loaded[0] = {low, (size_t)(high - low)};
  if (holds(kernel)) {
    loaded[1] = {low, (size_t)(high - low)};
    segment = {(char*)info->dlpi_tls_data, bytes};
  }
  return 0;
}

// Shared memory holds anything when a block begins; NaN shows best. Of dynamic memory, the part that was asked for.
static void spoil_shared() {
  if (!segment.begin) return;
  char* end = segment.begin + segment.bytes;
  char* from = shared.dynamic ? shared.dynamic : end;
  const size_t capacity = shared.dynamic ? shared.capacity : 0;
  memset(segment.begin, 0xFF, from - segment.begin);
  if (capacity) memset(from, 0xFF, launch.shared);
  memset(from + capacity, 0xFF, end - (from + capacity));
}

// Static variables lie on both sides of the dynamic array.
static void add_shared_regions() {
  if (!segment.begin) return;
  char *end = segment.begin + segment.bytes, *d = shared.dynamic;
  if (!d) return add_region(segment.begin, segment.bytes, STATIC, -1, false, nullptr);
  if (d > segment.begin) add_region(segment.begin, d - segment.begin, STATIC, -1, false, nullptr);
  if (launch.shared) add_region(d, launch.shared, DYNAMIC, -1, false, nullptr);
  if (d + shared.capacity < end) add_region(d + shared.capacity, end - (d + shared.capacity), STATIC, -1, false, nullptr);
}

// ---------------------------------------------------------------- the grid

static void (*call)(void*, void**);

static void run_grid() {
  const uint64_t x = gridDim.x, y = gridDim.y, blocks = x * y * gridDim.z;
  for (uint64_t i = 0; i < blocks && !aborted; i++) {
    block = launch.order == 1 ? blocks - 1 - i : i;
    blockIdx = {(unsigned)(block % x), (unsigned)(block / x % y), (unsigned)(block / (x * y))};
    spoil_shared();
    run_block(call, kernel, args);
  }
}

EXPORT int coc_run(void (*c)(void*, void**), void* k, void** a, const Launch* l, const Shared* s) {
  launch = *l, shared = *s, call = c, kernel = k, args = a;
  gridDim = {l->grid[0], l->grid[1], l->grid[2]};
  blockDim = {l->block[0], l->block[1], l->block[2]};
  threads = blockDim.x * blockDim.y * blockDim.z;
  aborted = false, epoch = 0;
  dl_iterate_phdr(look_at_library, nullptr);
  if (launch.flags) add_shared_regions();
  if (launch.flags & CHECK) prepare_cells();
  prepare_fibers();
  running = true;
  guarded(run_grid);
  running = false;
  return n_reports != 0;
}
