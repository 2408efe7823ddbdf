// The GPU's memory: before and after every allocation lies a megabyte that may not be touched.
//
// An index that runs past the end then faults at once, in fast mode too; only a wilder one can hit something else. What lies between the data's end and the next
// multiple of 16 (the alignment that a GPU promises at least), and before its beginning, is filled with a pattern that
// is looked at after each launch.
#include "runtime.h"
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

static const size_t PAGE = sysconf(_SC_PAGESIZE);  // the data ends at the end of one
static constexpr char PATTERN = (char)0xA5;

struct Layout { size_t padded, mapped; };  // bytes up to a multiple of 16; whole pages that hold them
static Layout layout(size_t bytes) {
  const size_t padded = (bytes + 15) / 16 * 16, pages = (padded + PAGE - 1) / PAGE;
  return {padded, (pages ? pages : 1) * PAGE};
}
static char* pages(void* data, size_t bytes) {
  const Layout l = layout(bytes);
  return (char*)data + l.padded - l.mapped;
}

EXPORT void* coc_alloc(size_t bytes) {
  const Layout l = layout(bytes);
  char* p = (char*)mmap(nullptr, l.mapped + 2 * GUARD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) return nullptr;
  mprotect(p + GUARD, l.mapped, PROT_READ | PROT_WRITE);
  char* data = p + GUARD + l.mapped - l.padded;
  memset(p + GUARD, PATTERN, data - (p + GUARD));
  memset(data, 0xFF, bytes);  // NaN, -1: what was never written does not look like a result
  memset(data + bytes, PATTERN, l.padded - bytes);
  return data;
}

// Whether the bytes around the data are as they were.
EXPORT int coc_intact(void* data, size_t bytes) {
  const char *d = (char*)data, *end = d + layout(bytes).padded;
  for (const char* c = pages(data, bytes); c < d; c++)
    if (*c != PATTERN) return 0;
  for (const char* c = d + bytes; c < end; c++)
    if (*c != PATTERN) return 0;
  return 1;
}

EXPORT void coc_free(void* data, size_t bytes) { munmap(pages(data, bytes) - GUARD, layout(bytes).mapped + 2 * GUARD); }

EXPORT void coc_protect(void* data, size_t bytes, int read_only) {
  mprotect(pages(data, bytes), layout(bytes).mapped, read_only ? PROT_READ : PROT_READ | PROT_WRITE);
}
