"""Compile kernels for real GPUs without having one: NVRTC with the options that CuPy gives it.

NVRTC, the compiler that CuPy calls, needs no GPU; neither do nvdisasm, which lists the machine code, and ptxas, whose
report on registers and spills NVRTC passes on. They come with the extra `cuda-check`. CuPy itself only does without a
driver up to the point where machine code is loaded, so what it would compile is asked of it in a process of its own.
"""

import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ARCHITECTURES = (75, 80, 90, 100)
INSTRUCTIONS = {  # what is counted in the machine code
    "ldg128": r"LDG\b.*\.128",
    "stg128": r"STG\b.*\.128",
    "lds128": r"LDS\b.*\.128",
    "hmma": r"HMMA",
    "ffma": r"FFMA",
    "local": r"(LDL|STL)\b",
}


def missing():
    """Why nothing can be compiled here, or None."""
    for name in ("cupy", "nvidia.cu13"):
        try:
            found = importlib.util.find_spec(name)
        except ModuleNotFoundError:
            found = None
        if found is None:
            return f"{name} is not installed: pip install 'minigen[cuda-check]'"
    return None if _tool() else "nvdisasm is not installed: pip install 'minigen[cuda-check]'"


def facts(jobs):
    """[(code, options, architecture)] -> for each {kernel: its resources and instructions}. Kept on disk."""
    from . import build

    keys = [hashlib.sha256(json.dumps([job, Path(__file__).read_text()]).encode()).hexdigest()[:24] for job in jobs]
    paths = [build.folder() / f"{key}.json" for key in keys]
    todo = {path: job for path, job in zip(paths, jobs) if not path.exists()}
    if todo:
        parts = [list(todo.items())[i :: os.cpu_count() or 1] for i in range(os.cpu_count() or 1)]
        with ThreadPoolExecutor() as pool:
            for part, results in zip(parts, pool.map(lambda part: ask("facts", [job for _, job in part]), parts)):
                for (path, _), result in zip(part, results):
                    scratch = path.with_suffix(f".{os.getpid()}")
                    scratch.write_text(json.dumps(result))
                    scratch.replace(path)
    return [json.loads(path.read_text()) for path in paths]


def ask(question, about):
    """One of QUESTIONS, in a process of its own, which never sees the stand-in and may import the real CuPy."""
    tests = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(tests), "CUPY_CACHE_IN_MEMORY": "1"}
    command = [sys.executable, "-W", "ignore", "-m", "cuda_on_cpu.nvrtc", question]
    done = subprocess.run(command, input=json.dumps(about), capture_output=True, text=True, env=environment, cwd=tests)
    if done.returncode:
        raise RuntimeError(f"NVRTC:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout)


# ---------------------------------------------------------------- answered in that process


def compile_as_cupy(code, options, architecture):
    """-> (machine code, the compiler's report), through NVRTC with CuPy's own options for RawModule."""
    from cupy._core import core
    from cupy.cuda import nvrtc

    ours = (*options, "--ptxas-options=-v")
    options = (*core.assemble_cupy_compiler_options(ours), "-ftz=true", f"-arch=sm_{architecture}")
    program = nvrtc.createProgram(code, "kernel.cu", (), ())
    try:
        nvrtc.compileProgram(program, (*options, "--device-as-default-execution-space"))
        return nvrtc.getCUBIN(program) + b"\0", nvrtc.getProgramLog(program)  # CuPy drops the last byte
    except nvrtc.NVRTCError:
        raise RuntimeError(f"sm_{architecture}: {nvrtc.getProgramLog(program)}") from None
    finally:
        nvrtc.destroyProgram(program)


def resources(log):
    """{kernel: registers, bytes of shared memory and of spills} from the report of ptxas."""
    found = {}
    for part in re.split(r"Compiling entry function '", log)[1:]:
        numbers = {}
        for name, pattern in (
            ("registers", r"Used (\d+) registers"),
            ("shared", r"(\d+) bytes smem"),
            ("stack", r"(\d+) bytes stack"),
            ("spill_stores", r"(\d+) bytes spill stores"),
            ("spill_loads", r"(\d+) bytes spill loads"),
        ):
            match = re.search(pattern, part)
            numbers[name] = int(match[1]) if match else 0
        found[part.split("'")[0]] = numbers
    return found


def instructions(cubin):
    """{kernel: {name of INSTRUCTIONS: how often it stands in the machine code}}."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        listing = subprocess.run([_tool(), "-c", file.name], capture_output=True, text=True, check=True).stdout
    found, now = {}, Counter()
    for line in listing.splitlines():
        if section := re.match(r"\s*\.text\.(\w+):", line):
            now = found.setdefault(section[1], Counter())
        elif opcode := re.search(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+ )?([A-Z][A-Z0-9_.]+)", line):
            now[opcode[1]] += 1
    return {
        kernel: {
            name: sum(n for op, n in ops.items() if re.match(pattern, op)) for name, pattern in INSTRUCTIONS.items()
        }
        for kernel, ops in found.items()
    }


def _tool():
    spec = importlib.util.find_spec("nvidia")
    folders = [Path(folder) / "cu13" / "bin" for folder in (spec.submodule_search_locations if spec else [])]
    return next((str(folder / "nvdisasm") for folder in folders if (folder / "nvdisasm").exists()), None)


def compile_through_cupy(code, options, architecture):
    """The machine code that RawModule would load, by CuPy's own way there: only the driver's part is replaced."""
    from cupy._core import raw
    from cupy.cuda import compiler, function

    class Module(function.Module):
        def load(self, cubin):
            self.cubin = cubin

    class Driver:
        LinkState = function.LinkState

    Driver.Module = Module
    compiler.function = Driver
    of_device = compiler._get_arch_for_options_for_nvrtc
    compiler._get_arch_for_options_for_nvrtc = getattr(of_device, "__wrapped__", of_device)  # not remembered
    compiler._get_arch = lambda: str(architecture)
    options = (*options, "--ptxas-options=-v")
    return raw._get_raw_module.__wrapped__(code, None, options, "nvrtc", False, False, False, (), None).cubin + b"\0"


def absent(names):
    """Which dotted names the real CuPy does not have."""
    import cupy
    import cupyx.scipy.special

    def has(name):
        value = {"cupy": cupy, "cupyx": cupyx}[name.split(".")[0]]
        for part in name.split(".")[1:]:
            if not hasattr(value, part):
                return False
            value = getattr(value, part)
        return True

    return [name for name in names if not has(name)]


def same_as_cupy(job):
    return compile_as_cupy(*job)[0] == compile_through_cupy(*job)


def compiled_facts(jobs):
    results = []
    for job in jobs:
        cubin, log = compile_as_cupy(*job)
        counted = instructions(cubin)
        results.append({kernel: {**numbers, **counted[kernel]} for kernel, numbers in resources(log).items()})
    return results


QUESTIONS = {"facts": compiled_facts, "same": same_as_cupy, "absent": absent}

if __name__ == "__main__":
    json.dump(QUESTIONS[sys.argv[1]](json.load(sys.stdin)), sys.stdout)
