"""The helper of the first step: when there is one, and that it compiles what training will want, for every model."""

import json
import os
import subprocess
import sys

import pytest
from tiny import config, make_data

from minigen.dispatch import KERNELS, kernel, use_kernels
from minigen.kernels import _numba
from minigen.train import MODELS, ahead
from minigen.train.start import prepare

needs_numba = pytest.mark.skipif(_numba.numba is None, reason="needs Numba")


@pytest.fixture
def started(monkeypatch):
    """The commands of helpers that would have been started, where the cache is new and two threads may work."""
    commands = []
    monkeypatch.setattr(ahead.subprocess, "Popen", lambda command, **options: commands.append((command, options)) or 1)
    monkeypatch.setattr(_numba, "cache_is_new", True)
    monkeypatch.setattr(_numba, "folder", "the cache", raising=False)
    monkeypatch.setattr(ahead, "helper", None)
    monkeypatch.setattr(ahead, "get_num_threads", lambda: 2)
    return commands


def test_the_first_training_starts_one_helper_and_says_so(started, tmp_path, capsys):
    settings = config(make_data(tmp_path / "data"))
    prepare(settings), prepare(settings)
    ((command, options),) = started
    given = json.loads(command[-1])
    assert MODELS[given["model"]][0].from_dict(given["config"]) == settings
    assert options["env"]["MINIGEN_THREADS"] == "1"
    assert capsys.readouterr().err.splitlines() == ["compiling the kernels, once: they are kept in the cache"]


@pytest.mark.parametrize("reason", ["kernels are there", "one thread", "a GPU", "no process can be started"])
def test_there_is_no_helper_where_none_can_help(started, monkeypatch, tmp_path, capsys, reason):
    settings = config(make_data(tmp_path / "data"))
    if reason == "kernels are there":
        monkeypatch.setattr(_numba, "cache_is_new", False)
    elif reason == "one thread":
        monkeypatch.setattr(ahead, "get_num_threads", lambda: 1)
    elif reason == "a GPU":
        object.__setattr__(settings, "device", "cuda")
    else:
        monkeypatch.setattr(ahead.subprocess, "Popen", refuse)
    ahead.compile_ahead(settings)
    assert not started and ahead.helper is None
    assert bool(capsys.readouterr().err) == (reason == "no process can be started")


def refuse(command, **options):
    raise OSError("no more processes")


@needs_numba
@pytest.mark.parametrize("model", sorted(MODELS))
def test_the_helper_gets_through_the_first_step_of_every_model(model):
    """Forward in NumPy, backward and optimiser in Numba: of the gradient kernels none runs in NumPy."""
    ran = set()

    def noted(name):
        ran.add((name, ahead.backwards_only(name)))
        return ahead.backwards_only(name)

    with use_kernels(noted):
        batches, task = prepare(MODELS[model][0](batch_size=4))
        task.step(batches, 0)
    assert {dialect for name, dialect in ran if "grad" in name} == {"numba"}
    assert ("adamw_step", "numba") in ran and ("linear_grad", "numba") in ran
    assert "numpy" in {dialect for name, dialect in ran if not name.startswith("philox")}


@needs_numba
def test_what_the_helper_compiles_is_what_the_step_asks_for():
    """The types of the arrays do not depend on who went forward, so one finds what the other has compiled."""
    files = [kernel(name, "numba").__module__ for names in KERNELS.values() for name in names.split()]
    kernels = [k for file in sorted(set(files)) for k in vars(__import__(file, fromlist="*")).values()]
    dispatchers = {id(k): k for k in kernels if hasattr(k, "signatures")}

    def signatures():
        return {(id(k), str(signature)) for k in dispatchers.values() for signature in k.signatures}

    settings = MODELS["ddpm"][0](batch_size=4)
    batches, task = prepare(settings)
    task.step(batches, 0)
    known = signatures()
    assert known
    ahead.first_step({"model": "ddpm", "config": settings.to_dict()})
    assert signatures() == known, "the helper called a kernel with other types"


def test_the_last_kernels_are_the_helpers_first():
    assert ahead.backwards_only("group_norm_grad") == ahead.backwards_only("adamw_step") == "numba"
    assert ahead.backwards_only("group_norm") == ahead.backwards_only("philox_normal") == "numpy"


@needs_numba
def test_two_processes_that_compile_at_once_keep_their_code_apart(tmp_path):
    """Neither has seen the other's index: whichever is written last, its types lead to its own code."""
    program = """
import sys
from minigen.kernels import _numba
from numba.core.caching import IndexDataCacheFile
folder, name = sys.argv[1:]
IndexDataCacheFile(folder, "kernel", "stamp").save(f"types of {name}", f"code of {name}")
"""
    from numba.core.caching import IndexDataCacheFile

    index, written = tmp_path / "kernel.nbi", {}
    for name in ("one", "other"):
        index.unlink(missing_ok=True)
        subprocess.run([sys.executable, "-c", program, str(tmp_path), name], check=True)
        written[name] = index.read_bytes()
    for name, entries in written.items():
        index.write_bytes(entries)
        assert IndexDataCacheFile(str(tmp_path), "kernel", "stamp").load(f"types of {name}") == f"code of {name}"


@needs_numba
def test_what_is_compiled_for_other_kernels_may_be_called_from_python_too(tmp_path):
    """Before and after another kernel has called it, compiled and from the disk."""
    program = """
import sys, numpy as np
from minigen.kernels import softmax
from minigen.kernels._threads import parallel
x, results = np.array([[1.0, 3.0, 2.0]]), []
for step in sys.argv[1:]:
    y = np.empty_like(x)
    if step == "python":
        softmax.softmax_rows(0, 1, x, y)
        assert softmax.largest(x, 0, 3) == 3
    else:
        parallel(1, softmax.softmax_rows, x, y)
    np.testing.assert_allclose(y, softmax.softmax_numpy(x))
"""
    for steps in ("python", "compiled"), ("compiled", "python"), ("python", "compiled", "python"):
        environment = {**os.environ, "MINIGEN_CACHE": str(tmp_path)}
        subprocess.run([sys.executable, "-c", program, *steps], env=environment, check=True)


@needs_numba
def test_where_no_folder_can_be_written_the_kernels_are_kept_in_a_temporary_one(tmp_path):
    """A read-only home and a cache folder that is none: before and after something was compiled."""
    program = """
from minigen.kernels import _numba
new = _numba.cache_is_new
from minigen import Tensor, ops
ops.silu(Tensor([1.0]))
print(new, _numba.folder)
"""
    nowhere = {"MINIGEN_CACHE": os.devnull, "HOME": os.devnull, "TMPDIR": str(tmp_path)}
    for new in (True, False):
        done = subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, **nowhere}, capture_output=True, text=True
        )
        assert done.stdout.startswith(f"{new} {tmp_path}"), done.stderr


@needs_numba
def test_a_full_disk_costs_the_kept_kernels_and_not_the_training(tmp_path):
    """Every write of machine code fails: one warning, and the right result."""
    program = """
import errno, os
import numba.core.caching as caching
from minigen.kernels import _numba
from minigen import Tensor, ops
def refuse(self, path):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
caching.IndexDataCacheFile._open_for_write = refuse
print(ops.silu(Tensor([0.0])).data, ops.sigmoid(Tensor([0.0])).data)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "MINIGEN_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "[0.] [0.5]\n", done.stderr
    assert done.stderr.count("UserWarning: compiled kernels cannot be kept in") == 1 and "No space left" in done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
