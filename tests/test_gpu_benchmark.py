"""The benchmark on a GPU, as far as it goes without one: the order in which its clock does things, and that every row
runs through the stand-in for CuPy to PyTorch's numbers. What the stand-in's clock shows means nothing."""

import pytest

from benchmarks import cases, gpu


class Diary:
    """Events and work that note when they were asked for; elapsed times are given."""

    def __init__(self, milliseconds):
        self.notes, self.milliseconds = [], iter(milliseconds)

    def event(self):
        number = sum(note.startswith("made") for note in self.notes)
        self.notes.append(f"made {number}")
        return type("Event", (), {
            "record": lambda _: self.notes.append(f"record {number}"),
            "synchronize": lambda _: self.notes.append(f"wait {number}"),
        })()  # fmt: skip

    def elapsed(self, start, end):
        self.notes.append("read")
        return next(self.milliseconds)

    def note(self, text):
        return lambda: self.notes.append(text)


def test_one_measurement_empties_the_cache_and_holds_nothing_but_the_work():
    diary = Diary([5.0])
    clock = gpu.Clock(diary.event, diary.elapsed, diary.note("flush"))
    assert clock._once(diary.note("work")) == 0.005
    assert diary.notes == ["made 0", "made 1", "flush", "record 0", "work", "record 1", "wait 1", "read"]


def test_a_repetition_is_the_median_of_several_runs():
    times = [9.0, 1.0, 2.0, 3.0, 1.5, 2.5, 100.0, 2.0, 2.0, 2.0]
    assert len(times) == gpu.RUNS
    diary = Diary(times)
    assert gpu.Clock(diary.event, diary.elapsed, diary.note("flush")).seconds(diary.note("work")) == 0.002
    assert diary.notes.count("flush") == diary.notes.count("work") == gpu.RUNS


SMALL = [
    *cases.conv_cases("conv3x3", 3, 2, 3, 4, 5, None),
    *cases.conv_cases("convt4x4s2", 4, 2, 4, 3, 3, None, stride=2, transposed=True),
    cases.norm_case(2, 16, 3),
    cases.attention_case(2, 7, 2, 8),
    cases.softmax_case(5, 9),
    cases.Case("adamw 2x3x4", "kernels", {"kernel": "adamw", "count": 2, "shape": (3, 4)}, 1e-5, cases.PLAIN_FORMS),
]


@pytest.fixture
def stand_in(cupy, monkeypatch):
    """The stand-in for CuPy, with what the benchmark asks of a GPU."""
    properties = cupy.cuda.runtime.getDeviceProperties(0) | {"l2CacheSize": 1 << 10}
    monkeypatch.setattr(cupy.cuda.runtime, "getDeviceProperties", lambda number: properties)
    monkeypatch.setattr(cupy.cuda.runtime, "runtimeGetVersion", lambda: 13000, raising=False)
    monkeypatch.setattr(cupy.cuda, "get_elapsed_time", lambda start, end: 1.0)
    monkeypatch.setattr(gpu, "COPIED", 1 << 10)
    monkeypatch.setattr(gpu, "SIDE", 8)
    return cupy


def test_every_kind_of_row_runs_on_the_gpu_and_agrees_with_torch(stand_in, torch, monkeypatch):
    monkeypatch.setattr(gpu, "torch_on_gpu", lambda threads: {"torch": torch.__version__})  # it stays on the CPU
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    rows = []
    found = gpu.run(SMALL, {"nchw", "eager"}, 1, 1, None, rows.append, lambda: None)
    assert found["results"] == rows
    assert [row["name"] for row in rows] == [case.name for case in SMALL]
    for row in rows:
        assert "refused" not in row, row
        assert (row["ours_ms"], row["torch_ms"], row["ratio"]) == (1.0, 1.0, 1.0)
    assert found["machine"]["GPU"] == "a CPU that stands in for a GPU"
    assert {"copy GB/s", "sgemm GFLOP/s", "cupy", "torch"} <= set(found["machine"])


def test_the_work_of_a_row_is_done_by_cuda_kernels(stand_in):
    side = gpu.GPUSide("minigen", "cuda", None)
    side.prepare(SMALL[0])
    launched = len(stand_in.launches)
    side.check()
    assert [call.kernel for call in stand_in.launches[launched:]]
