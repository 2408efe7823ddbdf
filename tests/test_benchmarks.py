"""The benchmark's own rules: what it refuses, what it writes, what it calls a regression. Nothing here is timed."""

import importlib
import importlib.util
import json
import re
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import cases, compare, page, suite
from benchmarks.__main__ import main
from benchmarks.paired import SideError
from benchmarks.sides.data import SHAPES, kernel_inputs

CASE = cases.Case("conv1x1 1x2x2x2 forward", "kernels", {}, 1e-5, ("nchw", "compile"), 1.0, 100.0, 50.0)


class FakeSide:
    """A side that computes `result` and always takes `seconds`."""

    def __init__(self, result, seconds=0.001, failure=None):
        self.result, self.seconds, self.failure, self.asked = np.float32(result), seconds, failure, []

    def prepare(self, case):
        if self.failure:
            raise SideError(self.failure)

    def check(self):
        self.asked.append("check")
        return {"y": self.result}

    def time(self):
        self.asked.append("time")
        return self.seconds


@pytest.fixture
def command(monkeypatch):
    """command("kernels", "--filter", "x") -> click's result, with one fake suite behind it."""
    rows = []

    def run(chosen, forms, repetitions, threads, folder, report, tick):
        rows.extend(suite.measure(case, *command.sides, repetitions) for case in chosen)
        return {"machine": suite.facts(threads), "results": rows}

    def command(*arguments):
        return CliRunner().invoke(main, [*arguments])

    command.sides = FakeSide([1.0]), {"nchw": FakeSide([1.0], 0.002)}
    monkeypatch.setattr(suite, "run", run)
    return command


# ---------------------------------------------------------------- rows


def test_a_row_holds_both_medians_the_fastest_form_and_the_ratio_of_torch_to_ours():
    torch = {"nchw": FakeSide([1.0], 0.004), "compile": FakeSide([1.0 + 1e-6], 0.002)}
    row = suite.measure(CASE, FakeSide([1.0], 0.001), torch, repetitions=3)
    assert (row["ours_ms"], row["torch_ms"], row["torch_form"]) == (1.0, 2.0, "compile")
    assert row["ratio"] == pytest.approx(2.0)
    assert row["spread"] == row["ours_spread"] == 0
    assert row["max_error"] == pytest.approx(1e-6, rel=0.1)
    assert row["forms_ms"] == {"nchw": 4.0, "compile": 2.0}


def test_results_are_compared_before_anything_is_timed():
    ours, torch = FakeSide([1.0]), FakeSide([1.0])
    suite.measure(CASE, ours, {"nchw": torch}, repetitions=2)
    for side in (ours, torch):
        assert side.asked == ["check"] + ["time"] * (2 + suite.WARM_UP)


@pytest.mark.parametrize("wrong", [[1.001], [float("nan")], [1.0, 1.0]])
def test_a_row_on_which_the_sides_disagree_is_refused_and_not_timed(wrong):
    ours, torch = FakeSide([1.0]), FakeSide(wrong)
    row = suite.measure(CASE, ours, {"nchw": FakeSide([1.0]), "compile": torch}, repetitions=3)
    assert "differs from torch (compile)" in row["refused"]
    assert not {"ours_ms", "torch_ms", "ratio"} & set(row)
    assert "time" not in ours.asked + torch.asked


def test_disagreement_is_relative_to_the_largest_value_of_the_array():
    assert suite.disagreement({"y": np.array([100.0, 0.1])}, {"y": np.array([100.0, 0.0])}) == pytest.approx(1e-3)
    assert suite.disagreement({"y": np.zeros(2)}, {"y": np.zeros(2)}) == 0
    assert suite.disagreement({"y": np.ones(2)}, {"y": np.zeros(2)}) == np.inf
    assert suite.disagreement({"y": np.ones(2)}, {"z": np.ones(2)}) == np.inf


def test_a_gradient_that_is_zero_is_held_to_the_size_of_the_other_gradients():
    ours = {"gradient w": np.ones(2), "gradient bias": np.full(2, 1e-7)}
    theirs = {"gradient w": np.ones(2), "gradient bias": np.zeros(2)}
    assert suite.disagreement(ours, theirs) == pytest.approx(1e-7 / suite.FLOOR)


def test_only_torch_compile_may_be_missing_and_the_row_says_so():
    broken = FakeSide([1.0], failure="InvalidCxxCompiler: No working C++ compiler found")
    row = suite.measure(CASE, FakeSide([1.0]), {"nchw": FakeSide([1.0]), "compile": broken}, repetitions=1)
    assert row["torch_form"] == "nchw"
    assert "No working C++ compiler" in row["notes"][0]
    with pytest.raises(SideError):
        suite.measure(CASE, FakeSide([1.0]), {"nchw": broken}, repetitions=1)


def test_without_an_opponent_only_our_side_is_timed():
    row = suite.measure(CASE, FakeSide([1.0]), {}, repetitions=2)
    assert row["ours_ms"] == 1.0
    assert row["max_error"] is None
    assert not {"torch_ms", "ratio"} & set(row)


def test_memory_is_compared_with_the_form_that_needs_least():
    peaks = {"nchw": {"process": 300.0, "step": 200.0}, "channels_last": {"process": 200.0, "step": 150.0}}
    row = suite.memory_row({"process": 100.0, "step": 50.0}, peaks)
    assert (row["ratio"], row["torch_form"], row["ours_mb"]) == (2.0, "channels_last", 100.0)


# ---------------------------------------------------------------- the command


def test_the_json_file_has_the_promised_layout(command, tmp_path):
    done = command("kernels", "--filter", "conv1x1 32x128", "--json", str(tmp_path / "out.json"))
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "out.json").read_text())
    assert set(record) == {"command", "commit", "machine", "results"}
    assert record["machine"]["cpu"]
    assert len(record["results"]) == 3
    assert all({"name", "ours_ms", "torch_ms", "torch_form", "ratio", "spread", "max_error"} <= set(row)
               for row in record["results"])  # fmt: skip


def test_a_refused_row_ends_the_command_with_exit_code_1(command, tmp_path):
    command.sides = FakeSide([1.0]), {"nchw": FakeSide([2.0])}
    done = command("kernels", "--filter", "softmax", "--json", str(tmp_path / "out.json"))
    assert done.exit_code == 1
    assert "disagree on 2 of 2 rows" in done.output
    assert all(row["refused"] for row in json.loads((tmp_path / "out.json").read_text())["results"])


def test_a_missing_torch_is_one_line_that_names_the_extra(command, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    done = command("models", "--against", "torch")
    assert done.exit_code == 2
    assert done.output.splitlines() == [
        "error: --against torch needs PyTorch, which is not installed: pip install 'minigen[parity]'"
    ]


def test_a_missing_gpu_is_one_line(command, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    done = command("kernels", "--device", "cuda")
    assert (done.exit_code, len(done.output.splitlines())) == (2, 1)
    assert done.output.startswith("error: device 'cuda' needs CuPy: pip install 'minigen[cuda12x]'")


def test_on_a_gpu_only_kernels_are_measured_and_nothing_is_recorded(command, cupy):
    for arguments, message in ((["models"], "measures kernels only, not models"), (["kernels", "--record"], "--json")):
        done = command(*arguments, "--device", "cuda")
        assert (done.exit_code, len(done.output.splitlines())) == (2, 1)
        assert message in done.output


@pytest.mark.parametrize(
    "arguments",
    [["--filter", "nothing"], ["--record"], ["--against", "torch", "--forms", "tf"], ["--record", "--filter", "conv"]],
)
def test_what_cannot_be_done_ends_with_exit_code_2(command, arguments):
    assert command("kernels", *arguments).exit_code == 2


@pytest.mark.parametrize("name", cases.SUITES)
def test_pictures_are_written(name, tmp_path):
    from benchmarks import plots

    chosen = cases.SUITES[name]()
    figures = {"ours_ms": 1.0, "torch_ms": 2.0, "ratio": 2.0, "ours_mb": 1.0, "forms_mb": {"nchw": 2.0}}
    rows = [{"name": case.name, "target": case.target, "flops": case.flops, "bytes": case.bytes, **figures}
            for case in chosen]  # fmt: skip
    rows.append({"name": "refused", "refused": "differs"})
    record = {"machine": {"sgemm GFLOP/s": 100.0, "copy GB/s": 10.0}, "results": rows}
    paths = plots.save(name, record, tmp_path / "new")
    assert paths
    assert all(path.read_bytes()[1:4] == b"PNG" for path in paths)


# ---------------------------------------------------------------- names and inputs


@pytest.mark.parametrize("name", cases.SUITES)
def test_names_are_unique_and_hold_the_shape(name):
    names = [case.name for case in cases.SUITES[name]()]
    assert len(set(names)) == len(names)
    assert all(re.search(r" \d+(x\d+)+( |$)", text) for text in names)


def test_the_convolutions_of_the_target_table_are_there():
    names = {case.name for case in cases.kernels()}
    for shape in ("64x64x32", "128x128x16", "256x256x8", "40x40x28", "96x96x14"):
        assert {f"conv3x3 32x{shape} {which}" for which in cases.PASSES} <= names


def test_inputs_are_the_same_in_every_process_and_have_the_shape_in_the_name():
    for case in cases.kernels():
        assert case.shape["kernel"] in SHAPES
    case = next(case for case in cases.kernels() if case.name == "convt4x4s2 64x128x64x8 forward").to_dict()
    inputs = kernel_inputs(json.loads(json.dumps(case)))
    assert inputs["x"].shape == (64, 8, 8, 128)
    assert inputs["dy"].shape == (64, 16, 16, 64)
    assert inputs["w"].shape == (4, 4, 64, 128)
    np.testing.assert_array_equal(inputs["x"], kernel_inputs(case)["x"])


SMALL = [
    *cases.conv_cases("conv3x3", 3, 2, 16, 32, 7, None),
    *cases.conv_cases("conv4x4s2", 4, 2, 3, 5, 8, None, stride=2),
    *cases.conv_cases("convt4x4s2", 4, 2, 5, 3, 4, None, stride=2, transposed=True),
    *cases.conv_cases("conv1x1", 1, 2, 3, 5, 4, None),
    cases.norm_case(2, 16, 5),
    cases.attention_case(2, 8, 2, 4),
    cases.softmax_case(5, 7),
    cases.Case("adamw 2x3x4", "kernels", {"kernel": "adamw", "count": 2, "shape": (3, 4)}, 1e-5, cases.PLAIN_FORMS),
    cases.unet_case("train", n=2, width=32, pixels=8),
    cases.unet_case("forward", n=2, width=32, pixels=8),
    cases.Case("vae train 4x784x8x2", "vae", {"n": 4, "hidden": 8, "latent": 2}, 1e-5, cases.PLAIN_FORMS),
    cases.Case("dcgan train 3x8x32", "dcgan", {"n": 3, "width": 8, "latent": 4}, 1e-3),
]


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.name)
def test_both_sides_compute_the_same(torch, case, tmp_path, monkeypatch):
    """Inputs, weights, layouts: every kind of case, small, without the processes."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    ours, theirs = (importlib.import_module(f"benchmarks.sides.{case.side}_{name}") for name in ("minigen", "torch"))
    expected = ours.prepare(case.to_dict(), "numba", tmp_path).check()
    for form in case.forms:
        if form != "compile":
            work = theirs.prepare(case.to_dict(), form, tmp_path)
            assert suite.disagreement(expected, work.check()) <= case.tolerance
            work.run()


# ---------------------------------------------------------------- compare


def record(**rows):
    return {"machine": {"cpu": "a", "threads": 2}, "results": [{"name": name, **row} for name, row in rows.items()]}


def timed(ms, ratio=None, spread=0.02):
    return {"ours_ms": ms, "spread": spread, **({"ratio": ratio} if ratio else {})}


OLD = record(a=timed(1.0, 2.0), b=timed(1.0), c=timed(1.0, 2.0), d=timed(1.0, 2.0), e=timed(1.0), f=timed(1.0, 2.0))
NEW = record(
    a=timed(3.0, 1.95),  # three times slower, and PyTorch too: the machine was busy
    b=timed(1.3),
    c=timed(1.0, 1.5),
    d={"refused": "differs from torch"},
    f=timed(0.5, 4.0, spread=0.3),
    g=timed(1.0),
)


def test_compare_tells_regressions_from_noise():
    verdicts = {name: verdict for name, *_, verdict in compare.compare(OLD, NEW)}
    assert verdicts == {
        "a": "same", "b": "REGRESSION", "c": "REGRESSION", "d": "REGRESSION: differs from torch",
        "e": "REGRESSION: gone", "f": "better", "g": "new",
    }  # fmt: skip


def test_a_change_within_the_spread_of_both_is_noise():
    noisy = record(a=timed(1.3, spread=0.2))
    assert compare.compare(record(a=timed(1.0, spread=0.2)), noisy)[0][-1] == "same"


def test_a_row_that_was_refused_before_is_not_a_change():
    refused = record(a={"refused": "differs from torch"})
    assert compare.compare(refused, refused)[0][-1] == "refused, as before"
    assert compare.compare(refused, record(a=timed(1.0)))[0][-1] == "new"


def test_compare_exits_with_1_on_a_regression_and_0_without(tmp_path):
    for name, figures in (("old", OLD), ("new", NEW)):
        (tmp_path / name).write_text(json.dumps(figures))
    bad = CliRunner().invoke(main, ["compare", str(tmp_path / "old"), str(tmp_path / "new")])
    assert bad.exit_code == 1
    assert "4 of 7 rows are worse" in bad.output
    good = CliRunner().invoke(main, ["compare", str(tmp_path / "old"), str(tmp_path / "old")])
    assert good.exit_code == 0
    assert "no regression" in good.output


def test_compare_says_when_the_machines_differ():
    other = {**OLD, "machine": {"cpu": "b", "threads": 2}}
    assert "cpu: a then, b now" in compare.text(OLD, other)[0]


# ---------------------------------------------------------------- the page


def test_the_page_shows_figures_refusals_and_notes():
    row = suite.measure(CASE, FakeSide([1.0]), {"nchw": FakeSide([1.0], 0.002)}, repetitions=2)
    refused = suite.measure(CASE, FakeSide([1.0]), {"nchw": FakeSide([2.0])}, repetitions=2)
    machine = {"cpu": "some CPU", "sgemm GFLOP/s": 100.0, "copy GB/s": 10.0}
    figures = {"command": "python -m benchmarks kernels", "machine": machine, "results": [row, refused]}
    text = page.page({"kernels": figures})
    assert "some CPU" in text
    assert "**2.00**" in text
    assert "refused: differs from torch (nchw)" in text
    assert all(line.count("|") == 11 for line in text.splitlines() if line.startswith("|"))


def test_a_record_of_a_named_machine_stands_after_the_unnamed_one(tmp_path, monkeypatch):
    figures = {"command": "python -m benchmarks", "machine": {"cpu": "some CPU"}, "results": []}
    for name in ("models-other", "kernels", "models", "cuda-facts"):
        (tmp_path / f"{name}.json").write_text(json.dumps(figures))
    monkeypatch.setattr(page, "RESULTS", tmp_path)
    heads = [line for line in page.page(page.committed()).splitlines() if line.startswith("## ")]
    assert heads == ["## models", "## models, on other", "## kernels"]
    refused = CliRunner().invoke(main, ["models", "--against", "torch", "--record", "../other"])
    assert refused.exit_code == 2 and "letters and digits, got '../other'" in refused.output


@pytest.mark.skipif(not page.PAGE.is_file(), reason="no full run has been recorded yet")
def test_the_committed_page_is_that_of_the_committed_results():
    assert page.PAGE.read_text() == page.page(page.committed()), "make it again: python -m benchmarks SUITE --record"
