// The threads of a block as fibers: each has a stack of its own and runs until it has to wait for others.
//
// A block begins with all its threads in a queue. The scheduler resumes the first; where that one reaches a barrier, a
// warp operation or its end, the next in the queue runs. A barrier opens when every thread that has not returned waits
// at it. If nobody can run and no barrier can open, the kernel would hang on a GPU: a deadlock, reported as such.
//
// The order of the queue is the schedule: by number (order 0), reversed (1), or shuffled anew after every barrier with
// a seed (2 and more). A correct kernel gives the same result under all of them.
#include "runtime.h"
#include <sys/mman.h>
#include <unistd.h>

// ---------------------------------------------------------------- leaving one stack for another

#if defined(__x86_64__) && !defined(CUDA_ON_CPU_PORTABLE)
// What a function call must preserve is pushed; the stack pointer is all that remains to be kept. The way back is a jump:
// the processor predicts that a `ret` goes where the last call came from, and here that is another fiber.
struct Context { void* stack_pointer; };
extern "C" void coc_switch(void** save, void* load) __attribute__((visibility("hidden")));
asm(R"(
.text
.hidden coc_switch
.globl coc_switch
.type coc_switch,@function
coc_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  popq %rcx
  jmp *%rcx
.size coc_switch, .-coc_switch
)");
static void swap(Context& from, Context& to) { coc_switch(&from.stack_pointer, to.stack_pointer); }
static void make(Context& c, char* bottom, size_t bytes, void (*entry)()) {
  void** s = (void**)((uintptr_t)(bottom + bytes) & ~(uintptr_t)15);
  *--s = nullptr;         // where entry would return to; it never does
  *--s = (void*)entry;    // the jump goes there
  for (int i = 0; i < 6; i++) *--s = nullptr;
  c.stack_pointer = s;
}
#else
// Any other processor: the C library's contexts, ten times slower since each switch is a system call.
#include <ucontext.h>
struct Context { ucontext_t u; };
static void swap(Context& from, Context& to) { swapcontext(&from.u, &to.u); }
static void make(Context& c, char* bottom, size_t bytes, void (*entry)()) {
  getcontext(&c.u);
  c.u.uc_stack.ss_sp = bottom;
  c.u.uc_stack.ss_size = bytes;
  c.u.uc_link = nullptr;
  makecontext(&c.u, entry, 0);
}
#endif

// ---------------------------------------------------------------- state

struct Fiber { Context context; Dim index; State state; int line; unsigned mask; };
static Fiber fibers[MOST_THREADS];
static Context scheduler;
static char* stacks;
static const size_t PAGE = sysconf(_SC_PAGESIZE), STRIDE = STACK + PAGE;  // a page between two stacks is not mapped

int current;
bool aborted;
uint32_t epoch, first_epoch_of_block;

static int queue[2 * MOST_THREADS], queue_head, queue_length;
static int sequence[MOST_THREADS];              // the schedule
static int alive, waiting, votes, result;       // of the block and its barrier
static void (*kernel_call)(void*, void**);
static void *kernel_function, **kernel_args;

static void push(int thread) { queue[(queue_head + queue_length++) % (2 * MOST_THREADS)] = thread; }
static int pop() {
  const int thread = queue[queue_head];
  queue_head = (queue_head + 1) % (2 * MOST_THREADS);
  queue_length--;
  return thread;
}

static uint32_t random_state;
static void shuffle() {
  if (launch.order < 2) return;
  for (int i = threads - 1; i > 0; i--) {
    random_state ^= random_state << 13, random_state ^= random_state >> 17, random_state ^= random_state << 5;
    const int j = random_state % (i + 1), t = sequence[i];
    sequence[i] = sequence[j], sequence[j] = t;
  }
}

// ---------------------------------------------------------------- the scheduler

static void open_barrier() {
  int first = -1;
  for (int i = 0; i < threads; i++) {
    if (fibers[i].state != AT_BARRIER) continue;
    if (first < 0) first = i;
    if (fibers[i].line == fibers[first].line) continue;
    report(nullptr, fibers[first].line, "divergent barrier: thread %d waits at line %d, thread %d at line %d", first,
           fibers[first].line, i, fibers[i].line);
    break;
  }
  if (launch.flags & COUNT) count_barrier();
  epoch++;
  waiting = 0, result = votes, votes = 0;
  shuffle();
  for (int i = 0; i < threads; i++)
    if (fibers[sequence[i]].state == AT_BARRIER) wake(sequence[i]);
}

static void deadlock() {
  int in_warp = -1, at_barrier = -1;
  for (int i = 0; i < threads; i++) {
    if (fibers[i].state == AT_WARP) in_warp = i;
    if (fibers[i].state == AT_BARRIER) at_barrier = i;
  }
  const Fiber& f = fibers[in_warp >= 0 ? in_warp : at_barrier];
  if (at_barrier >= 0)
    report(nullptr, f.line, "deadlock: thread %d waits for lanes %08x at line %d, others at the barrier of line %d",
           in_warp, f.mask, f.line, fibers[at_barrier].line);
  else
    report(nullptr, f.line, "deadlock: thread %d waits for lanes %08x at line %d, but some have returned", in_warp,
           f.mask, f.line);
  aborted = true;
}

// Leave the fiber that runs (it is queued, waits or is done) for the next one.
static inline __attribute__((always_inline)) void next() {
  if (!queue_length && alive && waiting == alive) open_barrier();
  Context& mine = fibers[current].context;
  if (!queue_length) {
    if (alive) deadlock();
    swap(mine, scheduler);
    __builtin_unreachable();
  }
  const int thread = pop();
  if (thread == current) return;
  current = thread;
  threadIdx = fibers[thread].index;
  swap(mine, fibers[thread].context);
}

static void entry() {
  kernel_call(kernel_function, kernel_args);
  fibers[current].state = DONE;
  alive--;
  warp_exit(current);
  next();
}

void abandon() {
  aborted = true;
  swap(fibers[current].context, scheduler);
  __builtin_unreachable();
}
void wake(int thread) { fibers[thread].state = READY, push(thread); }
void yield_to_others() { push(current), next(); }
void wait_in_warp(unsigned mask, int line) {
  Fiber& f = fibers[current];
  f.state = AT_WARP, f.mask = mask, f.line = line;
  next();
}
EXPORT void coc_barrier(int line, int vote, int* sum) {
  Fiber& f = fibers[current];
  f.state = AT_BARRIER, f.line = line;
  waiting++, votes += vote;
  next();
  if (sum) *sum = result;
}

// ---------------------------------------------------------------- one block

bool on_a_stack(const char* p) { return p >= stacks && p < stacks + MOST_THREADS * STRIDE; }

void prepare_fibers() {
  random_state = launch.seed * 2654435761u + 88172645u;  // of a xorshift generator; never zero for small seeds
  if (!stacks) {
    const int how = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    stacks = (char*)mmap(nullptr, MOST_THREADS * STRIDE, PROT_READ | PROT_WRITE, how, -1, 0);
    for (int i = 0; i < MOST_THREADS; i++) mprotect(stacks + i * STRIDE, PAGE, PROT_NONE);
  }
  for (int i = 0; i < threads; i++) {
    fibers[i].index = {i % blockDim.x, i / blockDim.x % blockDim.y, i / (blockDim.x * blockDim.y)};
    sequence[i] = launch.order == 1 ? threads - 1 - i : i;
  }
}

void run_block(void (*call)(void*, void**), void* kernel, void** args) {
  kernel_call = call, kernel_function = kernel, kernel_args = args;
  first_epoch_of_block = ++epoch;
  alive = threads;
  waiting = votes = queue_head = queue_length = 0;
  shuffle();
  for (int w = 0; w * 32 < threads; w++) warp_begin(w, threads - w * 32 >= 32 ? ~0u : (1u << (threads - w * 32)) - 1);
  for (int i = 0; i < threads; i++) {
    const int thread = sequence[i];
    const size_t stagger = thread % 32 * 64;  // or the tops of all stacks fall into the same lines of the cache
    make(fibers[thread].context, stacks + thread * STRIDE + PAGE, STACK - 64 - stagger, entry);
    wake(thread);
  }
  current = pop();
  threadIdx = fibers[current].index;
  swap(scheduler, fibers[current].context);
}
