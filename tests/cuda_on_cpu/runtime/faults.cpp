// Messages, and the ways in which a kernel makes itself heard: signals and the compiler's own checks.
#include "runtime.h"
#include <csetjmp>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <ucontext.h>

// ---------------------------------------------------------------- messages, one for each place in the code

struct Report { char text[240]; void* pc; int line; Dim block, thread; };
static Report reports[32];
static const void* places[256];
static int n_kept, n_places;
long n_reports;

static void add(void* pc, int line, const char* format, va_list values) {
  n_reports++;
  const void* place = pc ? pc : (const void*)((uintptr_t)line << 8 ^ (uintptr_t)format);
  for (int i = 0; i < n_places; i++)
    if (places[i] == place) return;
  if (n_places < 256) places[n_places++] = place;
  if (n_kept == 32) return;
  Report& r = reports[n_kept++];
  vsnprintf(r.text, sizeof r.text, format, values);
  r.pc = pc, r.line = line, r.block = blockIdx, r.thread = threadIdx;
}
void report(void* pc, int line, const char* format, ...) {
  va_list values;
  va_start(values, format);
  add(pc, line, format, values);
  va_end(values);
}
EXPORT void coc_report(int line, const char* format, ...) {
  va_list values;
  va_start(values, format);
  add(nullptr, line, format, values);
  va_end(values);
}
EXPORT int coc_reports(Report* out, int most) {
  const int n = n_kept < most ? n_kept : most;
  memcpy(out, reports, n * sizeof(Report));
  n_kept = n_places = 0, n_reports = 0;
  return n;
}

// ---------------------------------------------------------------- signals

static sigjmp_buf trap;

static void* program_counter(void* context) {
#if defined(__x86_64__)
  return (void*)((ucontext_t*)context)->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
  return (void*)((ucontext_t*)context)->uc_mcontext.pc;
#else
  return nullptr;
#endif
}

static void on_signal(int signal, siginfo_t* info, void* context) {
  void* pc = program_counter(context);
  const char* p = (const char*)info->si_addr;
  const Region* near = nullptr;
  for (int i = 0; i < n_regions; i++)
    if (p >= regions[i].begin - GUARD && p < regions[i].begin + regions[i].bytes + GUARD) near = &regions[i];
  if (signal == SIGFPE) report(pc, 0, "integer division by zero");
  else if (signal == SIGTRAP || signal == SIGILL) report(pc, 0, "__trap() was called");
  else if (near && (size_t)(p - near->begin) < near->bytes)
    report(pc, 0, "write through a pointer to const, argument %d", near->argument);
  else if (near)
    report(pc, 0, "out-of-bounds access of argument %d at byte %ld of %zu", near->argument, (long)(p - near->begin),
           near->bytes);
  else if (on_a_stack(p) || on_a_stack(p + STACK)) report(pc, 0, "a thread's own variables take more than %d KiB", STACK / 1024);
  else report(pc, 0, "access of %p, which is no argument's memory (or a misaligned vector)", (const void*)p);
  siglongjmp(trap, 1);
}

bool guarded(void (*run)()) {
  static char stack[65536];  // the fiber's own may be what has run over
  const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
  struct sigaction ours {}, before[5];
  stack_t alternative{}, old;
  alternative.ss_sp = stack, alternative.ss_size = sizeof stack;
  ours.sa_sigaction = on_signal;
  ours.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaltstack(&alternative, &old);
  for (int i = 0; i < 5; i++) sigaction(signals[i], &ours, &before[i]);
  const bool whole = sigsetjmp(trap, 1) == 0;
  if (whole) run();
  for (int i = 0; i < 5; i++) sigaction(signals[i], &before[i], nullptr);
  sigaltstack(&old, nullptr);
  return whole;
}

// ---------------------------------------------------------------- -fsanitize=alignment,bounds,...
// The compiler hands over a record that begins with the place in the source.

struct Place { const char* file; uint32_t line, column; };
#define HANDLER(NAME, TEXT) \
  EXPORT void __ubsan_handle_##NAME(Place* at, long a, long b) { coc_report(at->line, TEXT, a, b); }
HANDLER(type_mismatch_v1, "misaligned access of address %#lx, or through a null pointer")
HANDLER(out_of_bounds, "index %ld is outside its array")
HANDLER(add_overflow, "integer overflow: %ld + %ld")
HANDLER(sub_overflow, "integer overflow: %ld - %ld")
HANDLER(mul_overflow, "integer overflow: %ld * %ld")
HANDLER(divrem_overflow, "integer overflow: %ld / %ld")
HANDLER(negate_overflow, "integer overflow: -%ld")
