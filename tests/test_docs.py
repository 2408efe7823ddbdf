"""The documents say what is there: no dead row, link or name, and the generated page is the present one."""

import ast
import inspect
import re
import runpy
import subprocess
from functools import cache
from pathlib import Path

import pytest

import minigen
from minigen import ops
from minigen.autograd import Operation
from minigen.dispatch import KERNELS, kernel

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "kernels/README.md", *sorted(DOCS.glob("*.md"))]

LINK = re.compile(r"\[((?:[^\[\]`]|`[^`]*`)*)\]\(([^()\s]+)\)")  # [text](target)
EQUATION_OR_SHAPE = re.compile(r" = |->|\w\[\w|\(\*|\bshape|\bax[ei]s\b")

# Text that has no place in the repository: paths of one machine, and the hosts of package indexes.
# (The brackets keep this list from finding itself.)
FOREIGN = re.compile(r"(?<![\w.])/(?:wor[k]|roo[t]|hom[e]|Users)/|/tmp/ven[v]|\bpyp[i]\.|pythonhoste[d]|index-ur[l]")


# ---------------------------------------------------------------- what a row refers to


@cache
def definitions(path):
    """Every name that a Python file defines: functions, classes and their methods as Class.method, variables."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
            members = node.body if isinstance(node, ast.ClassDef) else []
            names |= {f"{node.name}.{m.name}" for m in members if isinstance(m, ast.FunctionDef)}
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


def complaint(reference, root=ROOT):
    """What is wrong with `path::definition`, or None."""
    path, _, symbol = reference.partition("::")
    if not (root / path).is_file():
        return f"{reference}: there is no file {path}"
    if symbol not in definitions(root / path):
        return f"{reference}: {path} does not define {symbol}"
    if path.startswith("tests/") and not symbol.startswith("test_"):
        return f"{reference}: {symbol} is not a test"
    return None


def rows(page):
    """The cells of every table row of a page that refers to a definition."""
    for line in page.read_text().splitlines():
        if line.startswith("| ") and "::" in line:
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


LECTURES = list(rows(DOCS / "lectures.md"))


@pytest.mark.parametrize("row", LECTURES, ids=[f"{i}-{row[0][:40]}" for i, row in enumerate(LECTURES)])
def test_every_row_of_the_lectures_names_a_living_source_and_a_living_test(row):
    topic, equation, source, test = row
    assert topic
    assert equation
    sources, tests = LINK.findall(source), LINK.findall(test)
    assert sources
    assert tests
    for text, target in sources + tests:
        reference = text.strip("`")
        assert complaint(reference) is None, complaint(reference)
        assert target == "../" + reference.partition("::")[0]
    assert all(text.startswith(("`minigen/", "`kernels/")) for text, _ in sources)
    assert all(text.startswith("`tests/") for text, _ in tests)


def test_every_deck_has_rows():
    headings = re.findall(r"^## Deck (\d{3})", (DOCS / "lectures.md").read_text(), re.M)
    assert headings == ["000", "001", "002", "003", "004"]
    assert len(LECTURES) > 50


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("a.py::there", None),
        ("a.py::Thing.method", None),
        ("a.py::TABLE", None),
        ("gone.py::there", "there is no file gone.py"),
        ("a.py::gone", "does not define gone"),
        ("a.py::Thing.gone", "does not define Thing.gone"),
        ("a.py::inner", "does not define inner"),
        ("a.py", "does not define"),
        ("tests/b.py::helper", "is not a test"),
    ],
)
def test_a_dead_reference_is_seen(tmp_path, reference, expected):
    (tmp_path / "tests").mkdir()
    (tmp_path / "a.py").write_text(
        "TABLE = 1\ndef there():\n    def inner(): pass\nclass Thing:\n    def method(self): pass\n"
    )
    (tmp_path / "tests/b.py").write_text("def helper(): pass\n")
    found = complaint(reference, tmp_path)
    assert found is None if expected is None else expected in found


# ---------------------------------------------------------------- quotations


def quotations(text):
    """(path, lines) of every fenced block that begins with a comment that names a file."""
    for block in re.findall(r"^ *```\w+\n(.*?)^ *```", text, re.S | re.M):
        first, *lines = (line.strip() for line in block.splitlines() if line.strip())
        yield first.removeprefix("//").removeprefix("#").strip(), lines


def test_the_page_on_kernels_quotes_what_is_there():
    found = list(quotations((ROOT / "kernels/README.md").read_text()))
    assert len(found) >= 4
    for path, lines in found:
        there = {line.strip() for line in (ROOT / path).read_text().splitlines()}
        assert set(lines) - there == set(), path


# ---------------------------------------------------------------- links


def link_targets(text):
    """Where the links and pictures of a Markdown text lead; fenced code has none."""
    return [target for _, target in LINK.findall(re.sub(r"^```.*?^```", "", text, flags=re.S | re.M))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_relative_link_leads_somewhere(page):
    targets = [target.partition("#")[0] for target in link_targets(page.read_text()) if "://" not in target]
    missing = {target for target in targets if target and not (page.parent / target).exists()}
    assert missing == set()


def test_links_are_found_in_prose_tables_and_pictures_but_not_in_code():
    prose = "see [a b](x.md) and ![a picture](p/q.png) | [`f::g`](../f.py) | [web](https://example.org)\n"
    assert link_targets(prose + "```python\ny = table[i](t)\n```\n[end](z.md)") == [
        "x.md",
        "p/q.png",
        "../f.py",
        "https://example.org",
        "z.md",
    ]


# ---------------------------------------------------------------- the public surface


def documented_names():
    table = (DOCS / "glossary.md").read_text().partition("## Public names")[2]
    return re.findall(r"^\| `(\w+)` \|", table, re.M)


def test_the_documented_names_are_the_public_ones():
    names = documented_names()
    assert sorted(names) == sorted(minigen.__all__)


@pytest.mark.parametrize("name", minigen.__all__)
def test_every_public_name_exists_and_has_a_docstring(name):
    assert (inspect.getdoc(getattr(minigen, name)) or "").strip()


def public_operations():
    """The functions that minigen.ops exports, and the Operation classes of its files."""
    functions = [value for name, value in vars(ops).items() if inspect.isfunction(value) and not name.startswith("_")]
    modules = [module for module in vars(ops).values() if inspect.ismodule(module)]
    classes = [value for module in modules for value in vars(module).values() if inspect.isclass(value)]
    ours = {c for c in classes if issubclass(c, Operation) and c.__module__.startswith("minigen.ops.")}
    return functions + sorted(ours, key=lambda c: c.__name__)


@pytest.mark.parametrize("operation", public_operations(), ids=lambda operation: operation.__name__)
def test_every_operation_states_its_equation_or_its_shapes(operation):
    assert operation.__doc__, "no docstring of its own"
    assert EQUATION_OR_SHAPE.search(operation.__doc__)


@pytest.mark.parametrize("name", " ".join(KERNELS.values()).split())
def test_every_kernel_says_at_its_definition_what_it_is(name):
    assert kernel(name, "numpy").__doc__


# ---------------------------------------------------------------- the generated page


def test_the_table_of_operations_is_current():
    """If not: python docs/make_op_table.py > docs/ops.md"""
    page = runpy.run_path(str(DOCS / "make_op_table.py"))["page"]()
    assert (DOCS / "ops.md").read_text() == page


# ---------------------------------------------------------------- nothing of one machine


def tracked_files():
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout: which files belong to the repository is unknown")
    return [ROOT / name for name in listed.decode().split("\0") if name and (ROOT / name).is_file()]


def text_of(path):
    """The file's text, or nothing for a binary one."""
    data = path.read_bytes()
    return "" if b"\0" in data else data.decode(errors="replace")


def test_no_file_names_this_machine_or_a_package_index():
    files = tracked_files()
    assert ROOT / "setup.py" in files
    found = {f"{path.relative_to(ROOT)}: {hit.group()}" for path in files for hit in FOREIGN.finditer(text_of(path))}
    assert found == set()


@pytest.mark.parametrize("text", ["/wor" + "k/main", "x=/hom" + "e/me/x", "'/tmp/ven" + "v/bin'", "a pyp" + "i.org"])
def test_foreign_paths_are_seen(text):
    assert FOREIGN.search(text)


@pytest.mark.parametrize("text", ["net/wor" + "k/x", "runs/hom" + "e/", "../wor" + "k/", "pyp" + "i", "/tmp/x"])
def test_ordinary_paths_are_not(text):
    assert not FOREIGN.search(text)
