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
    ["minigen.cli", "minigen.report", "minigen.info", "minigen.__init__", "minigen.__main__"],
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


@files
def test_imports_point_downwards(name):
    module = module_of(name)
    assert layer(module) is not None, f"{name} belongs to no layer: give it one in LAYERS"
    for target in imported(ast.parse(FILES[name].read_text()), module):
        root = target.split(".")[0]
        assert root not in NEVER, f"{name} imports {target}"
        assert root != "kernels", f"{name} imports {target}: kernels are imported as minigen.kernels"
        if root == "minigen":
            above = layer(target)
            assert above is not None or target.count(".") == 1, f"{name} imports {target}, which no layer holds"
            assert above is None or above <= layer(module), f"{name} imports {target}, which is above it"


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


def test_an_upward_import_is_seen():
    assert (
        layer("minigen.kernels.conv") < layer("minigen.tensor") < layer("minigen.ops.mse") < layer("minigen.cli.main")
    )
    assert layer("minigen.operations") is None
