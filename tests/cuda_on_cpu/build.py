"""Compile the runtime and kernels with the system's C++ compiler; what has been built once is kept on disk."""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
COMPILER = os.environ.get("CXX", "g++")
LANGUAGE = ["-std=c++17", "-fPIC", "-w", "-g1", "-march=native", "-U_FORTIFY_SOURCE"]
# Floats as on a GPU: a * b + c may become one rounding; no errno. Bits may be read as another type.
KERNEL = [
    *LANGUAGE,
    "-fvisibility=hidden",
    "-fno-extern-tls-init",
    "-fno-math-errno",
    "-fno-strict-aliasing",
    "-ffp-contract=fast",
    "-fstack-clash-protection",
]
# Every load and store calls the runtime; a struct of four floats stays one 16-byte access.
INSTRUMENTED = ["-O1", "-fno-tree-vectorize", "-fno-tree-sra", "-fno-ipa-sra", "-fsanitize=thread"]
INSTRUMENTED += ["--param", "tsan-instrument-func-entry-exit=0"]
CHECKS = ["-fsanitize=alignment,bounds,signed-integer-overflow"]
MODES = {
    "fast": ["-O1"],
    "check": [*INSTRUMENTED, *CHECKS],
    "count": [*INSTRUMENTED, "-DCUDA_ON_CPU_COUNT"],
}
MOST_SHARED = 232448  # bytes of dynamic shared memory: 227 KiB, the most that a block gets on sm_90


class BuildError(RuntimeError):
    pass


def missing():
    """Why kernels cannot be built here, or None."""
    return None if shutil.which(COMPILER) else f"no C++ compiler: {COMPILER} (12 or later) is not installed"


def runtime():
    """The path of the shared library that every kernel module runs in."""
    portable = os.environ.get("CUDA_ON_CPU_PORTABLE") == "1"  # the fallback for other processors, to be tested here
    sources = sorted((HERE / "runtime").glob("*.cpp"))
    flags = [*LANGUAGE, "-O2", "-flto", "-fvisibility=hidden", *(["-DCUDA_ON_CPU_PORTABLE"] if portable else [])]

    def make(out, folder):
        _run([COMPILER, *flags, "-shared", "-o", out, *map(str, sources)])

    return _kept("runtime.so", [*flags, _text("runtime")], make)


@cache
def headers(mode):
    """The folder of the device headers as the compiler keeps them, read: a third of the time of a build."""
    flags = [*KERNEL, *MODES[mode]]

    def make(out, folder):
        _run([COMPILER, *flags, "-x", "c++-header", "-o", out, str(HERE / "device" / "cuda_on_cpu.h")])

    return _kept("cuda_on_cpu.h.gch", [*flags, _text("device")], make).parent


def module(code, options, mode):
    """-> (path, names): a library with a launcher for every kernel in the text.

    code     CUDA C++ without #include but cuda_fp16.h and mma.h
    options  as CuPy's RawModule takes them; -D counts, the rest is for NVRTC
    mode     "fast", "check" or "count"
    """
    defines = [option for option in options if option.startswith("-D")]
    flags = [*KERNEL, *MODES[mode], *defines]
    names = kernel_names(code, tuple(defines))
    text = _wrapped(code, names)

    def make(out, folder):
        source, object = Path(folder, "kernel.cpp"), Path(folder, "kernel.o")
        source.write_text(text)
        includes = [f"-I{headers(mode)}", f"-I{HERE / 'device'}"]
        _run([COMPILER, *flags, *includes, "-c", "-o", str(object), str(source)])
        _run(
            [COMPILER, "-shared", "-nostdlib", "-o", out, str(object)]
        )  # without -fsanitize, which would link its runtime

    return _kept("kernels.so", [*flags, text, _text("device")], make), names


@cache
def kernel_names(code, defines):
    """The names of the __global__ functions, also of those that macros write."""
    if re.search(r"^\s*#define.*(\\\n.*)*__global__", code, re.MULTILINE):
        plain = re.sub(r"^\s*#include.*$", "", code, flags=re.MULTILINE)
        command = [COMPILER, "-E", "-P", "-x", "c++", *defines, "-"]
        code = subprocess.run(command, input=plain, capture_output=True, text=True, check=True).stdout
    bounds = r"(?:__launch_bounds__\s*\((?:[^()]|\([^()]*\))*\)\s*)?"
    return tuple(dict.fromkeys(re.findall(rf"__global__\s+{bounds}void\s+{bounds}(\w+)\s*\(", code)))


def _wrapped(code, names):
    """The text between the device header and one launcher a kernel."""
    arrays = set(
        re.findall(r"extern\s+__shared__\s+(?:__align__\(\d+\)\s*|alignas\(\d+\)\s*)?([\w ]+?)\s+(\w+)\s*\[\s*\]", code)
    )
    if len({name for _, name in arrays}) > 1:
        raise BuildError(f"dynamic shared memory has one name in a file, not {sorted(name for _, name in arrays)}")
    dynamic, capacity, lines = "nullptr", 0, ["thread_local char coc_any;"]
    for kind, name in arrays:
        dynamic, capacity = f"(char*){name}", MOST_SHARED
        lines.append(f"alignas(128) thread_local {kind} {name}[{MOST_SHARED} / sizeof({kind})];")
    for name in names:
        lines += [
            f"LAUNCHER const char* coc_parameters_{name}() {{ return coc::parameters(&{name}); }}",
            f"LAUNCHER int coc_launch_{name}(void** args, const coc_launch* launch) {{",
            f"  const coc_shared shared = {{{dynamic}, {capacity}, &coc_any}};",
            f"  return coc::launch(&{name}, args, launch, &shared);",
            "}",
        ]
    return "\n".join(['#include "cuda_on_cpu.h"', '#line 1 "kernel.cu"', code, '#line 1 "launchers"', *lines, ""])


# ---------------------------------------------------------------- kept on disk


@cache
def folder():
    """Where libraries are kept: under MINIGEN_CACHE, else in the temporary folder of this user."""
    root = os.environ.get("MINIGEN_CACHE")
    path = Path(root) if root else Path(tempfile.gettempdir(), f"minigen-{os.getuid()}")
    path = path / "cuda_on_cpu"
    path.mkdir(parents=True, exist_ok=True)
    return path


def _kept(name, key, make):
    """The file of that name which make(path, scratch folder) writes; made once for all that `key` says."""
    path = folder() / hashlib.sha256("\0".join([*key, _machine()]).encode()).hexdigest()[:24] / name
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder()) as scratch:
            made = Path(scratch, name)
            make(str(made), scratch)
            os.replace(made, path)  # at once: another process may be building the same
    return path


@cache
def _machine():
    """What else a library depends on: -march=native is of this machine, and the compiler and this file may change."""
    cpu = Path("/proc/cpuinfo")
    flags = re.search(r"^(flags|Features).*$", cpu.read_text(), re.MULTILINE) if cpu.exists() else None
    version = subprocess.run([COMPILER, "--version"], capture_output=True, text=True, check=True).stdout
    return f"{platform.machine()} {flags[0] if flags else ''} {version} {Path(__file__).read_text()}"


@cache
def _text(part):
    return "\0".join(path.read_text() for path in sorted((HERE / part).iterdir()) if path.is_file())


def _run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise BuildError(f"{COMPILER} refuses the kernel:\n{done.stderr[:4000]}")
