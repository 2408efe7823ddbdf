"""Print docs/ops.md, the table of all differentiable operations, as their docstrings have it.

    python docs/make_op_table.py > docs/ops.md

A row: the operation's name, the first line of its docstring, the file of minigen/ops that defines it, and the
files of kernels/ that hold its arithmetic. A kernel belongs to an operation if a `dispatch("kernel", ...)` is
reached from the operation's function through the functions and classes of its own file; where there is none the
operation is *plain*: written with NumPy's or CuPy's own functions, or with other operations.
"""

import ast
import inspect
from itertools import groupby
from pathlib import Path

from minigen import ops
from minigen.dispatch import KERNELS

ROOT = Path(__file__).resolve().parents[1]
KERNEL_FILE = {kernel: f"kernels/{file}.py" for file, kernels in KERNELS.items() for kernel in kernels.split()}

HEAD = """# Operations

<!-- Made by docs/make_op_table.py; a test compares the two. Edit the docstrings, not this page. -->

Every differentiable operation of `minigen.ops`, with the first line of its docstring. *Kernel* names the page with
the arithmetic (NumPy definition, Numba and CUDA twins); *plain* operations need none: they are written with the array
module's own functions or with other operations. `+ - * /` and comparisons are Tensor's operators, see
[methods.py](../minigen/ops/methods.py). `(*)` stands for any shape, `(N, H, W, C)` for images, channels last.
"""
TABLE_HEAD = "| operation | what it is | kernel |\n| --- | --- | --- |\n"


def page():
    """The whole of docs/ops.md as a text."""
    parts = [HEAD]
    for file, group in groupby(sorted(operations(), key=lambda f: (source(f), f.__name__)), key=source):
        parts.append(f"\n## [{Path(file).stem}](../{file})\n\n{TABLE_HEAD}")
        parts.extend(row(function) for function in group)
    return "".join(parts)


def row(function):
    links = " ".join(f"[{Path(file).name}](../{file})" for file in kernel_files(function)) or "plain"
    first_line = inspect.getdoc(function).splitlines()[0].split(" Raises ")[0]
    return f"| `{function.__name__}` | {code(first_line)} | {links} |\n"


def code(text):
    """text as a Markdown code span in a table: a backtick would end the span, a bare bar the cell."""
    return "`" + text.replace("`", "").replace("|", r"\|") + "`"


def operations():
    """The public functions of minigen.ops."""
    return [value for name, value in vars(ops).items() if inspect.isfunction(value) and not name.startswith("_")]


def source(function):
    """The file that defines a function, relative to the repository: minigen/ops/norm.py."""
    return function.__module__.replace(".", "/") + ".py"


def kernel_files(function):
    """The kernel files whose kernels the operation dispatches to, sorted; none for a plain operation."""
    definitions = {node.name: node for node in ast.parse((ROOT / source(function)).read_text()).body
                   if isinstance(node, (ast.FunctionDef, ast.ClassDef))}  # fmt: skip
    reached, waiting, files = set(), [function.__name__], set()
    while waiting:
        name = waiting.pop()
        reached.add(name)
        for node in ast.walk(definitions[name]):
            if isinstance(node, ast.Name) and node.id in definitions and node.id not in reached:
                waiting.append(node.id)
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "dispatch":
                files.add(KERNEL_FILE[node.args[0].value])
    return sorted(files)


if __name__ == "__main__":
    print(page(), end="")
