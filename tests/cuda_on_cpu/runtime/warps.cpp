// The 32 lanes of a warp meet: __syncwarp, shuffles, votes.
//
// Lanes that call with the same mask form a group. The first to arrive opens a meeting; each puts what it shows into
// its slot and waits; the last wakes the others. The slots are doubled, since a lane may already show something new
// while a slower one still reads what was shown before.
#include "runtime.h"
#include <cstring>

struct Meeting {
  bool open;
  unsigned mask, arrived;
  const char* name;
  int line, turn;
  uint64_t slot[2][32];
  unsigned present[2];
};
struct Warp { Meeting meetings[8]; uint32_t epoch; unsigned exist, exited; };
static Warp warps[MOST_WARPS];

uint32_t warp_epoch(int warp) { return warps[warp].epoch; }
EXPORT unsigned coc_lane() { return current % 32; }
void warp_exit(int thread) {
  warps[thread / 32].exited |= 1u << thread % 32;
  if (launch.flags & COUNT && warps[thread / 32].exited == warps[thread / 32].exist) count_flush(thread / 32);
}
void warp_begin(int w, unsigned lanes) {
  warps[w].exist = lanes;
  warps[w].exited = 0;
  for (Meeting& m : warps[w].meetings) m.open = false, m.arrived = 0;
}

static Meeting& meeting_of(Warp& w, unsigned mask, int line) {
  for (Meeting& m : w.meetings)
    if (m.open && m.mask == mask) return m;
  for (Meeting& m : w.meetings)
    if (!m.open) {
      m.open = true, m.mask = mask, m.arrived = 0;
      return m;
    }
  report(nullptr, line, "more groups of lanes meet at once than the emulation keeps (8)");
  abandon();
}

EXPORT const uint64_t* coc_warp(unsigned mask, const void* shown, unsigned bytes, const char* name, int line,
                                unsigned* present) {
  Warp& w = warps[current / 32];
  const int lane = current % 32, first = current - lane;
  if (!(mask >> lane & 1)) {
    report(nullptr, line, "%s: lane %d calls it with mask %08x, which leaves it out", name, lane, mask);
    mask |= 1u << lane;
  }
  const unsigned needed = mask & w.exist;
  Meeting& m = meeting_of(w, needed, line);
  if (m.arrived && (m.line != line || strcmp(m.name, name)))
    report(nullptr, line, "divergent warp: %s of line %d meets %s of line %d", name, line, m.name, m.line);
  m.name = name, m.line = line;
  const int turn = m.turn & 1;
  if (bytes) m.slot[turn][lane] = 0, memcpy(&m.slot[turn][lane], shown, bytes);
  m.arrived |= 1u << lane;
  if (m.arrived != needed) {
    wait_in_warp(mask, line);
  } else {
    m.present[turn] = needed, m.arrived = 0, m.turn++;
    if (needed == (w.exist & ~w.exited)) {
      w.epoch++;
      if (launch.flags & COUNT) count_flush(current / 32);
    }
    for (int l = 0; l < 32; l++)
      if (l != lane && (needed >> l & 1)) wake(first + l);
    if (launch.order) yield_to_others();  // the last to arrive need not be the first to go on
  }
  *present = m.present[turn];
  return m.slot[turn];
}
