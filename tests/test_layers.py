"""The shape of the source: imports point downwards only, and no file or function outgrows its budget."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

LAYERS = [  # from the ground up; a module may import its own layer and those below
    ["minigen.kernels"],
    ["minigen.dispatch", "minigen.device"],
    ["minigen.autograd", "minigen.tensor"],
    ["minigen.ops"],
    ["minigen.nn", "minigen.optim", "minigen.random", "minigen.gradcheck"],
    ["minigen.models", "minigen.diffusion"],
    ["minigen.train", "minigen.metrics", "minigen.data"],
    ["minigen.cli", "minigen.report", "minigen.pictures", "minigen.info", "minigen.profiler", "minigen.flame"]
    + ["minigen.__init__", "minigen.__main__"],
]
NEVER = {"torch", "jax", "tensorflow", "sklearn", "pickle"}
FILE_BUDGETS = {"minigen/autograd.py": 250, "minigen/tensor.py": 300}
FILE_BUDGET, FUNCTION_BUDGET = 350, 50

PATHS = [path for folder in ("minigen", "kernels") for path in (ROOT / folder).rglob("*.py")]
FILES = {path.relative_to(ROOT).as_posix(): path for path in PATHS if ROOT / "minigen/kernels" not in path.parents}
files = pytest.mark.parametrize("name", sorted(FILES))


def module_of(name):
    """minigen/ops/norm.py -> minigen.ops.norm; kernels/conv.py -> minigen.kernels.conv"""
    dotted = name.removesuffix(".py").replace("/", ".")
    return f"minigen.{dotted}" if dotted.startswith("kernels.") else dotted


def imported(tree, module):
    """Every name that a file imports, anywhere in it, made absolute: `from ..ops import mse` -> minigen.ops.mse"""
    for n in ast.walk(tree):
        if isinstance(n, ast.Import):
            yield from (alias.name for alias in n.names)
        elif isinstance(n, ast.ImportFrom):
            base = module.split(".")[: -n.level] if n.level else []
            yield from (".".join([*base, *([n.module] if n.module else []), alias.name]) for alias in n.names)


def layer(module):
    """The number of a module's layer; None for one that the table does not know."""
    within = [i for i, names in enumerate(LAYERS) for name in names if f"{module}.".startswith(f"{name}.")]
    return within[0] if within else None


def complaints(name, text):
    """What is wrong with the imports of the file `name` that holds `text`."""
    module = module_of(name)
    if layer(module) is None:
        yield f"{name} belongs to no layer: give it one in LAYERS"
        return
    for target in imported(ast.parse(text), module):
        root = target.split(".")[0]
        if root in NEVER:
            yield f"{name} imports {target}"
        if root == "kernels":
            yield f"{name} imports {target}: kernels are imported as minigen.kernels"
        if root == "minigen" and layer(target) is None and target.count(".") > 1:
            yield f"{name} imports {target}, which no layer holds"
        if root == "minigen" and layer(target) is not None and layer(target) > layer(module):
            yield f"{name} imports {target}, which is above it"


@files
def test_imports_point_downwards(name):
    assert list(complaints(name, FILES[name].read_text())) == []


@pytest.mark.parametrize(
    ("name", "text", "number"),
    [
        ("minigen/tensor.py", "from .device import device_of", 0),
        ("minigen/tensor.py", "def f():\n    from .autograd import backward", 0),
        ("minigen/tensor.py", "def f():\n    from .nn import Linear", 1),
        ("kernels/conv.py", "from ._numba import jit", 0),
        ("kernels/conv.py", "from ..dispatch import dispatch", 1),
        ("minigen/ops/norm.py", "from kernels import conv\nimport torch.nn", 2),
        ("minigen/ops/norm.py", "from .. import nn", 1),
        ("minigen/new.py", "", 1),
    ],
)
def test_a_wrong_import_is_seen(name, text, number):
    assert len(list(complaints(name, text))) == number


@files
def test_a_file_is_small_enough_to_read_in_one_sitting(name):
    lines, budget = len(FILES[name].read_text().splitlines()), FILE_BUDGETS.get(name, FILE_BUDGET)
    assert lines <= budget, f"{name} has {lines} lines, budget {budget}: it is two ideas, split it"


@files
def test_a_function_fits_on_a_screen(name):
    for n in ast.walk(ast.parse(FILES[name].read_text())):
        if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines = n.end_lineno - n.lineno + 1
            assert lines <= FUNCTION_BUDGET, f"{name}: {n.name} has {lines} lines, budget {FUNCTION_BUDGET}"


@pytest.mark.parametrize(
    ("text", "module", "expected"),
    [
        ("from ..ops import mse", "minigen.models.unet", ["minigen.ops.mse"]),
        ("from .. import ops", "minigen.models.unet", ["minigen.ops"]),
        ("from .unet import UNet", "minigen.models.__init__", ["minigen.models.unet.UNet"]),
        ("def f():\n    from .cli import main", "minigen.tensor", ["minigen.cli.main"]),
        ("import numpy as np, torch", "minigen.tensor", ["numpy", "torch"]),
    ],
)
def test_imports_are_resolved(text, module, expected):
    assert list(imported(ast.parse(text), module)) == expected
