"""A compiled kernel text: what each kernel's parameters are, and how it is launched."""

import ctypes
import re
import subprocess
from functools import cache

import numpy as np

from . import build
from .memory import library, memory_of

FLAGS = {"fast": 0, "check": 1, "count": 2}


class KernelError(RuntimeError):
    """What the run of a kernel has shown to be wrong, one line each."""


class Launch(ctypes.Structure):
    _fields_ = [("grid", ctypes.c_uint * 3), ("block", ctypes.c_uint * 3)]
    _fields_ += [(name, ctypes.c_uint) for name in ("shared", "order", "seed", "flags")]


class Report(ctypes.Structure):
    _fields_ = [("text", ctypes.c_char * 240), ("pc", ctypes.c_void_p), ("line", ctypes.c_int)]
    _fields_ += [("block", ctypes.c_uint * 3), ("thread", ctypes.c_uint * 3)]


class Counters(ctypes.Structure):
    """As in runtime/counters.cpp; pairs are of reads and of writes."""

    _fields_ = [(name, ctypes.c_uint64 * 2) for name in ("requests", "sectors", "fewest_sectors")]
    _fields_ += [(name, ctypes.c_uint64) for name in ("shared_requests", "wavefronts", "fewest_wavefronts")]
    _fields_ += [("bytes_asked", ctypes.c_uint64 * 2)]
    _fields_ += [(name, ctypes.c_uint64) for name in ("barriers", "lanes", "all_requests")]


@cache
def module(code, options, mode):
    return Module(code, options, mode)


class Module:
    def __init__(self, code, options, mode):
        self.runtime = library()
        path, self.names = build.module(code, options, mode)
        self.path, self.mode = str(path), mode
        self.library = ctypes.CDLL(self.path)
        self.halves = re.search(r"\b(half|__half|_Float16)\b", code) is not None
        self.kernels = {name: Kernel(self, name) for name in self.names}

    def place(self, pc):
        """The file and line of an address in the machine code."""
        with open("/proc/self/maps") as maps:
            base = next(int(line.split("-")[0], 16) for line in maps if self.path in line)
        command = ["addr2line", "-e", self.path, hex(pc - base - 1)]
        return subprocess.run(command, capture_output=True, text=True).stdout.split(" ")[0].strip().split("/")[-1]


class Kernel:
    def __init__(self, module, name):
        self.module, self.name = module, name
        describe = getattr(module.library, f"coc_parameters_{name}")
        describe.restype = ctypes.c_char_p
        self.parameters = [Parameter(name, i, text) for i, text in enumerate(describe().decode().split())]
        self.function = getattr(module.library, f"coc_launch_{name}")
        widths = [parameter.size for parameter in self.parameters if parameter.pointer]
        self.granule = min([*widths, 2 if module.halves else 4]).bit_length() - 1

    def __call__(self, grid, block, args, shared=0, order=0, seed=0):
        """Run the kernel. args: NumPy arrays that lie in a Memory, NumPy numbers. Raises KernelError."""
        if len(args) != len(self.parameters):
            raise KernelError(f"{self.name} has {len(self.parameters)} parameters, {len(args)} arguments were given")
        runtime, flags = self.module.runtime, FLAGS[self.module.mode]
        values = [parameter.value(a) for parameter, a in zip(self.parameters, args)]
        pointers = (ctypes.c_void_p * max(1, len(values)))(*(ctypes.addressof(value) for value in values))
        launch = Launch(tuple(grid), tuple(block), shared, order, seed, flags)
        spans = _spans([(p, a) for p, a in zip(self.parameters, args) if p.pointer])
        runtime.coc_clear()
        runtime.coc_granule(self.granule)
        for span in spans:
            span.open(runtime)
        runtime.coc_count_clear()
        failed = self.function(pointers, ctypes.byref(launch))
        damaged = [span.number for span in spans if not span.close(runtime)]
        lines = self._reports() if failed else []
        lines += [f"{self.name}: bytes around argument {number} were overwritten" for number in damaged]
        if lines:
            raise KernelError("\n".join(lines))

    def counters(self):
        """What the last launch counted, {name: number or (reads, writes)}. Only in count mode."""
        runtime, counters = self.module.runtime, Counters()
        runtime.coc_counters(ctypes.byref(counters))
        found = {name: getattr(counters, name) for name, _ in Counters._fields_}
        found = {name: value if isinstance(value, int) else tuple(value) for name, value in found.items()}
        for name in ("operations", "functions"):
            found[name] = ctypes.c_uint64.in_dll(runtime, f"coc_{name}").value
        return found

    def _reports(self):
        reports = (Report * 32)()
        n = self.module.runtime.coc_reports(reports, 32)
        lines = []
        for r in reports[:n]:
            where = self.module.place(r.pc) if r.pc else f"line {r.line}"
            at = f"block {tuple(r.block)} thread {tuple(r.thread)}"
            lines.append(f"{self.name}, {where}: {r.text.decode()} [{at}]")
        return lines


class Parameter:
    """One parameter of a kernel, deduced from its C++ type: "Pcf4" is a pointer to const float, "Si4" an int."""

    def __init__(self, kernel, number, text):
        self.where = f"{kernel}, argument {number}"
        self.number = number
        self.pointer, self.const = text[0] == "P", text[1] == "c"
        self.kind, self.size = text[1 + self.const], int(text[2 + self.const :])

    def value(self, a):
        """The argument as the driver is handed it. Raises KernelError where a GPU would misread its bytes."""
        if self.pointer:
            return self._address(a)
        a = np.asarray(a)[()] if isinstance(a, (bool, int, float)) else a  # 64 bits, as CuPy passes them
        if not isinstance(a, np.generic):
            raise KernelError(f"{self.where}: a number is expected, got {type(a).__name__}")
        if a.dtype.itemsize != self.size or (a.dtype.kind == "f") != (self.kind == "f"):
            raise KernelError(f"{self.where}: {a.dtype} given for a parameter of kind {self.kind}{self.size}")
        return ctypes.create_string_buffer(a.tobytes(), 16)

    def _address(self, a):
        if not isinstance(a, np.ndarray):
            raise KernelError(f"{self.where}: an array is expected, got {type(a).__name__}")
        if not a.flags.c_contiguous:
            raise KernelError(f"{self.where}: an array of shape {a.shape} is not contiguous")
        if not self._fits(a.dtype):
            raise KernelError(f"{self.where}: array of {a.dtype} for a pointer to {self.kind}{self.size}")
        return ctypes.c_void_p(a.__array_interface__["data"][0])

    def _fits(self, dtype):
        if self.kind == "V":  # float4, half
            return self.size % dtype.itemsize == 0
        if dtype.kind == "b":
            return self.size == 1
        return dtype.itemsize == self.size and dtype.kind == self.kind


class Span:
    """A stretch of memory that a launch may touch: one array, or several that overlap."""

    def __init__(self, parameter, array):
        self.number, self.read_only = parameter.number, parameter.const
        self.begin = array.__array_interface__["data"][0]
        self.end = self.begin + array.nbytes
        self.memory = memory_of(array)
        if self.memory is None:
            raise KernelError(f"{parameter.where}: an array in the CPU's memory")
        self.alone = True

    def join(self, other):
        self.begin, self.end = min(self.begin, other.begin), max(self.end, other.end)
        self.read_only &= other.read_only

    def open(self, runtime):
        written = self.memory.written
        marks = written.ctypes.data + self.begin - self.memory.pointer if written is not None else None
        runtime.coc_argument(self.begin, self.end - self.begin, self.number, int(self.read_only), marks)
        if self.read_only and self.alone:
            runtime.coc_protect(self.memory.pointer, self.memory.bytes, 1)

    def close(self, runtime):
        if self.read_only and self.alone:
            runtime.coc_protect(self.memory.pointer, self.memory.bytes, 0)
        return runtime.coc_intact(self.memory.pointer, self.memory.bytes)


def _spans(arguments):
    spans = []
    for parameter, array in arguments:
        span = Span(parameter, array)
        over = [s for s in spans if s.begin < span.end and span.begin < s.end]
        for other in over:
            span.join(other)
            spans.remove(other)
        spans.append(span)
    for span in spans:
        span.alone = sum(s.memory is span.memory for s in spans) == 1
    return spans
