// What the parts of the runtime know of each other. There is one launch at a time, so its state is global.
#pragma once
#include <cstddef>
#include <cstdint>

#define EXPORT extern "C" __attribute__((visibility("default")))

constexpr int MOST_THREADS = 1024, MOST_WARPS = 32;

// ---------------------------------------------------------------- the launch (run.cpp)

struct Dim { unsigned x, y, z; };
struct Launch { unsigned grid[3], block[3], shared, order, seed, flags; };
struct Shared { char* dynamic; unsigned capacity; const void* any; };
enum Flags { CHECK = 1, COUNT = 2 };

extern Launch launch;
extern int threads;       // of a block
extern bool running;      // the launchers themselves are compiled like kernels, but not looked at
extern uint64_t block;    // its number, counting x fastest
EXPORT Dim threadIdx, blockIdx, blockDim, gridDim;

// ---------------------------------------------------------------- threads and warps (fibers.cpp, warps.cpp)

extern int current;       // the thread that runs, counting x fastest
extern bool aborted;

// Time in a block advances at its barriers, in a warp also where all its lanes meet. Two accesses of different threads
// are ordered if such a moment lies between them.
extern uint32_t epoch, first_epoch_of_block;
struct Warp;
uint32_t warp_epoch(int warp);

enum State { READY, AT_BARRIER, AT_WARP, DONE };
void wait_in_warp(unsigned mask, int line);
void wake(int thread);
void yield_to_others();
void warp_begin(int warp, unsigned lanes);
void warp_exit(int thread);
[[noreturn]] void abandon();
void run_block(void (*call)(void*, void**), void* kernel, void** args);
bool on_a_stack(const char* address);
bool in_program(const char* address);  // constants and the like
void prepare_fibers();
constexpr int STACK = 64 * 1024;

// ---------------------------------------------------------------- memory (buffers.cpp, checker.cpp, counters.cpp)

enum Kind { GLOBAL, DYNAMIC, STATIC };
struct Cell;
// A range that the kernel may touch. `written`: a byte for each byte of global memory, or null where all of it is.
struct Region { char* begin; size_t bytes; Kind kind; int argument; bool read_only; uint8_t* written; Cell* cells; };
constexpr size_t GUARD = 1 << 20;
extern Region regions[64];
extern int n_regions;
void add_region(char* begin, size_t bytes, Kind kind, int argument, bool read_only, uint8_t* written);
void prepare_cells();
void access(char* address, size_t bytes, bool write, bool atomic, void* pc, int line);

void count_access(const Region& region, const char* address, size_t bytes, bool write, void* pc);
void count_flush(int warp);       // the lanes of a warp have met: requests of before and after are different ones
void count_barrier();

// ---------------------------------------------------------------- errors (faults.cpp)

void report(void* pc, int line, const char* format, ...) __attribute__((format(printf, 3, 4)));
extern long n_reports;
bool guarded(void (*run)());      // run, and turn signals into reports; false if one ended it
