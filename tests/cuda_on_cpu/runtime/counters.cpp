// What a launch asks of the hardware, counted: requests and sectors of global memory, wavefronts of shared memory,
// barriers, lanes that take part.
//
// A GPU serves one load or store of a warp's 32 lanes as one request. Fibers run one after the other, so requests are
// put together afterwards: between two meetings of a warp, the n-th time that each lane passes an instruction is one
// request. (Where lanes pass it different numbers of times, a GPU may group the rest otherwise.)
//
//   global memory   moves in sectors of 32 bytes. Sectors per request, against the fewest that hold the bytes asked for,
//                   is coalescing.
//   shared memory   has 32 banks of 4 bytes each, and serves one word of each bank at a time; two lanes that want
//                   different words of a bank wait for each other. 8-byte accesses are served half a warp at a time,
//                   16-byte ones a quarter.
//
// Source   NVIDIA, CUDA C++ Programming Guide, "Global Memory" and "Shared Memory" of compute capability 5.x and later
#include "runtime.h"
#include <algorithm>
#include <map>
#include <vector>

struct Counters {
  uint64_t requests[2], sectors[2], fewest_sectors[2];   // of global memory: reads, writes
  uint64_t shared_requests, wavefronts, fewest_wavefronts;
  uint64_t bytes_asked[2];
  uint64_t barriers, lanes, requests_of_all_kinds;
};
static Counters counters;

// Arithmetic, counted by the type that stands for float (device/counted.h).
EXPORT uint64_t coc_operations, coc_functions;
uint64_t coc_operations, coc_functions;

EXPORT void coc_count_clear() { counters = {}, coc_operations = coc_functions = 0; }
EXPORT void coc_counters(Counters* out) { *out = counters; }
void count_barrier() { counters.barriers++; }

// ---------------------------------------------------------------- putting requests together

struct Request { unsigned lanes = 0; uintptr_t address[32]; size_t bytes = 0; bool write = false, shared = false; };
struct Instruction { unsigned passed[32] = {}; std::vector<Request> requests; };
static std::map<void*, Instruction> open_requests[MOST_WARPS];

void count_access(const Region& region, const char* address, size_t bytes, bool write, void* pc) {
  if (region.kind == STATIC && bytes == 1) return;  // the compiler's flag beside an array of counted floats
  Instruction& instruction = open_requests[current / 32][pc];
  const int lane = current % 32;
  const unsigned n = instruction.passed[lane]++;
  if (instruction.requests.size() <= n) instruction.requests.resize(n + 1);
  Request& r = instruction.requests[n];
  r.lanes |= 1u << lane;
  r.address[lane] = (uintptr_t)address;
  r.bytes = bytes, r.write = write, r.shared = region.kind != GLOBAL;
}

static size_t distinct(std::vector<uintptr_t>& v) {
  std::sort(v.begin(), v.end());
  return std::unique(v.begin(), v.end()) - v.begin();
}

static void count_global(const Request& r) {
  std::vector<uintptr_t> sectors, words;
  for (int lane = 0; lane < 32; lane++) {
    if (!(r.lanes >> lane & 1)) continue;
    counters.bytes_asked[r.write] += r.bytes;
    for (uintptr_t s = r.address[lane] / 32; s <= (r.address[lane] + r.bytes - 1) / 32; s++) sectors.push_back(s);
    for (size_t i = 0; i < r.bytes; i++) words.push_back(r.address[lane] + i);
  }
  counters.requests[r.write]++;
  counters.sectors[r.write] += distinct(sectors);
  counters.fewest_sectors[r.write] += (distinct(words) + 31) / 32;
}

static void count_shared(const Request& r) {
  const int at_a_time = r.bytes <= 4 ? 32 : r.bytes <= 8 ? 16 : 8;
  counters.shared_requests++;
  for (int first = 0; first < 32; first += at_a_time) {
    std::vector<uintptr_t> in_bank[32];
    size_t most = 0;
    for (int lane = first; lane < first + at_a_time; lane++)
      if (r.lanes >> lane & 1)
        for (uintptr_t w = r.address[lane] / 4; w <= (r.address[lane] + r.bytes - 1) / 4; w++) in_bank[w % 32].push_back(w);
    for (auto& bank : in_bank) most = std::max(most, distinct(bank));
    counters.wavefronts += most;
    counters.fewest_wavefronts += most != 0;
  }
}

void count_flush(int warp) {
  for (auto& [pc, instruction] : open_requests[warp])
    for (const Request& r : instruction.requests) {
      counters.requests_of_all_kinds++;
      counters.lanes += __builtin_popcount(r.lanes);
      r.shared ? count_shared(r) : count_global(r);
    }
  open_requests[warp].clear();
}
