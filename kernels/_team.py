"""Threads that take shares of a compiled kernel together, and ask nothing of Python while they do.

Python runs one thread at a time: whoever is to call a kernel waits for its lock, and a thread that finds the lock taken
is put to sleep, for longer than many a kernel lasts. So Python makes one call, and the rest happens in compiled code:

    the caller                                        a helper
        run    writes on the board what is to be          serve    watches the board
               done, and opens the door                            comes in, if the door is open
               takes shares until none is left                     takes shares until none is left
               closes the door, and waits until                    leaves, and watches the board
               all who came in have left

The board is memory that all of them see: the number of this call, where its code and its arguments lie, the next share,
how many have come in and how many have left since the beginning. A helper that comes late finds the door closed, and is
not waited for. A worker is compiled for the types of its arguments, as ever, and told by its address: `run` is compiled
once for all workers that take the same types.
"""

import ctypes
import os
import threading
from contextlib import suppress

import numpy as np
from numba import carray, typeof, types
from numba.core.typing.typeof import Purpose

from ._calls import NUMBERED, SLICED, WHOLE, add, addresses, enter, look, number_of, number_of_types, pointer
from ._memory import aligned
from ._numba import jit, jit_for_python

# The board's rows, a cache line each: the number of this call; who came in; the next share; who has left; how many of
# them met an error; the address of the shares, and how many these are; what `enter` is to be told.
CALL, DOOR, NEXT, LEFT, FAILED, SHARES, TOLD = range(7)
CLOSED = 1 << 62  # more than will ever come in
# For so long, 0.25 microseconds a look, a helper watches before it sleeps: for longer than Python takes between two
# kernels, also on a slow processor, since to wake it takes the caller some 90 microseconds there.
LOOKS = 5000
MISSING = -1  # the worker is not compiled for such arguments yet
FORMS = {"first": WHOLE, "me": NUMBERED}  # which shows in the name of a worker's first parameter

give_way = types.ExternalFunction("sched_yield", types.intc()) if hasattr(os, "sched_yield") else jit(lambda: 0)


@jit_for_python
def run(board, cut, known, *arguments):
    """Share a worker's tasks out -> how many threads met an error, or MISSING.

    cut     (shares, 2): the first and last task of each share
    known   (number, form, address) of the worker, for each list of types that it is compiled for
    """
    code, place = addresses(arguments)
    return share_out(board, cut, known, number_of(arguments), code, place)


@jit
def share_out(board, cut, known, number, code, place):
    """The same, of arguments of which only the number that stands for their types and an address are known."""
    for i in range(len(known)):
        if known[i, 0] == number:
            board[TOLD, 0], board[TOLD, 1], board[TOLD, 2], board[TOLD, 3] = code, known[i, 2], known[i, 1], place
            board[SHARES, 0], board[SHARES, 1], board[NEXT, 0], board[FAILED, 0] = cut.ctypes.data, len(cut), 0, 0
            add(board, DOOR, -CLOSED)
            add(board, CALL, 1)
            take_shares(board, 0)
            add(board, DOOR, CLOSED)
            while look(board, LEFT) != look(board, DOOR) - CLOSED:
                give_way()
            return board[FAILED, 0]
    return MISSING


@jit
def take_shares(board, me):
    """What the caller and its helpers do: the next share, until none is left."""
    shares = carray(pointer(board[SHARES, 0]), (board[SHARES, 1], 2), np.int64)
    code, worker, form, place = board[TOLD, 0], board[TOLD, 1], board[TOLD, 2], board[TOLD, 3]
    share = add(board, NEXT, 1)
    while share < len(shares):
        add(board, FAILED, enter(code, worker, form, place, me, shares[share, 0], shares[share, 1]))
        share = add(board, NEXT, 1)


@jit_for_python
def serve(board, me, done, looks):
    """Help with every call after the one of this number, until there has been none for so many looks -> the last one.

    Between looks the processor is offered to whoever else wants it.
    """
    quiet = 0
    while quiet < looks:
        number = look(board, CALL)
        if number == done:
            give_way()
            quiet += 1
            continue
        if add(board, DOOR, 1) < CLOSED:
            take_shares(board, me)
        add(board, LEFT, 1)
        done, quiet = number, 0
    return done


class Team:
    """A board, and the helpers that watch it. Only one call at a time may use it."""

    here = None  # the processor that the helpers keep off

    def __init__(self, helpers):
        self.board = aligned((7, 8), np.int64)
        self.board[:] = 0
        self.board[DOOR, 0] = CLOSED
        if helpers:
            serve(self.board, 0, 0, 0)  # compiled and loaded here: a thread that did so could meet a fork
        self.helpers = [Helper(self.board, 1 + i) for i in range(helpers)]

    def run(self, cut, worker, arguments):
        """Run a worker over every share of the cut. Raises MemoryError where a thread runs out of memory."""
        here = current_cpu() if self.helpers else None
        if here != self.here:
            self.keep_off(here)
        for helper in self.helpers:
            if not helper.awake.is_set():
                helper.awake.set()
        failed = run(self.board, cut, _known.get(worker, NONE), *arguments)
        if failed == MISSING:
            failed = run(self.board, cut, compiled(worker, arguments), *arguments)
        if failed:
            raise MemoryError(f"{worker.__name__}: no memory for what a thread needs beside its arguments")

    def keep_off(self, here):
        """Leave the processor of the thread that calls to it.

        A thread that is woken may be put on the processor of the one that woke it, and some schedulers leave it there
        for longer than the work lasts: both then take turns, in twice the time, while the other processor idles.
        """
        self.here, others = here, os.sched_getaffinity(os.getpid()) - {here}
        if others:
            with suppress(OSError):  # where a process may not choose, the scheduler's choice will do
                for helper in self.helpers:
                    os.sched_setaffinity(helper.thread.native_id, others)


class Helper:
    """A thread that serves a board, and sleeps where that has been quiet for a while."""

    def __init__(self, board, number):
        self.board, self.number, self.awake = board, number, threading.Event()
        self.thread = threading.Thread(target=self.live, name="minigen", daemon=True)
        self.thread.start()

    def live(self):
        """What the thread runs. A caller that saw it awake does not wake it: before it sleeps it looks once more."""
        done = 0
        while True:
            self.awake.wait()
            done = serve(self.board, self.number, done, LOOKS)
            self.awake.clear()
            done = serve(self.board, self.number, done, 1)


def compiled(worker, arguments):
    """Compile a worker, a function under `jit`, for the types of these arguments -> what is `known` of it."""
    form = FORMS.get(worker.py_func.__code__.co_varnames[0], SLICED)
    kinds = tuple(typeof(argument, Purpose.argument) for argument in arguments)
    taken = (*[types.int64] * form, *kinds)
    worker.compile(taken)
    result = worker.overloads[taken]
    if result.signature.return_type != types.none:
        raise TypeError(f"{worker.__name__} must return nothing, got {result.signature.return_type}")
    address = result.library.get_pointer_to_function(result.fndesc.llvm_func_name)
    _known[worker] = np.array([*_known.get(worker, NONE), (number_of_types(kinds), form, address)], np.int64)
    return _known[worker]


NONE = np.empty((0, 3), np.int64)
_known: dict = {}


def current_cpu():
    """The processor that this thread runs on; None where the system does not say, or does not let a thread choose."""
    return _sched_getcpu() if _sched_getcpu else None


_sched_getcpu = getattr(ctypes.PyDLL(None), "sched_getcpu", None) if hasattr(os, "sched_setaffinity") else None
