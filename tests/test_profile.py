"""minigen.profile: every moment is in one row, nothing is counted twice, and nothing stays behind.

No test here measures real time: the clock is a number that operations made for the purpose move on.
"""

import threading
import tracemalloc

import numpy as np
import pytest
from PIL import Image

import minigen
from minigen import Generator, Tensor, autograd, grad, nn, no_grad, ops
from minigen.autograd import Fused, Operation
from minigen.flame import COLOURS, Frame, boxes, frames, label
from minigen.optim import EMA, AdamW
from minigen.profiler import NOT_OPERATIONS, OUTSIDE, OWN, TAPE


class Clock:
    """Stands still until someone moves it on."""

    def __init__(self):
        self.now = 100

    def __call__(self):
        return self.now


class Kernel(Fused):
    """y = 2 x, which takes 3 seconds; dx = 2 g, which takes 5."""

    def __init__(self, clock):
        self.clock = clock

    def forward(self, x):
        self.clock.now += 3
        return 2 * x

    def backward_fast(self, g, needs, x):
        self.clock.now += 5
        return (2 * g,)

    def composed(self, x):
        return x * 2.0


class Plain(Operation):
    """y = x, which takes 11 seconds; its backward thinks for 13 and then runs a Kernel."""

    def __init__(self, clock):
        self.clock = clock

    def forward(self, x):
        self.clock.now += 11
        return x.copy()

    def backward(self, g, needs, x):
        self.clock.now += 13
        return Kernel(self.clock)(g)


class Block(nn.Module):
    """One operation, and 17 seconds of Python around it."""

    def __init__(self, clock, operation):
        self.clock, self.operation = clock, operation

    def forward(self, x):
        self.clock.now += 17
        return self.operation(self.clock)(x)


class Network(nn.Module):
    def __init__(self, clock):
        self.layers = [Block(clock, Kernel), Block(clock, Plain)]

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


def leaf(*shape, dtype=np.float32):
    return Tensor(np.ones(shape, dtype), requires_grad=True)


def costs(p, what):
    """{(phase, dotted module, operation): what} of the rows where it is not 0."""
    return {(k.phase, ".".join(k.path), k.name): getattr(r, what) for k, r in p.rows.items() if getattr(r, what)}


def operations(p, what):
    """The same for operations alone, added over modules: {(phase, operation): what}."""
    total = {}
    for (phase, _, name), value in costs(p, what).items():
        if name not in NOT_OPERATIONS:
            total[phase, name] = total.get((phase, name), 0) + value
    return total


# ---------------------------------------------------------------- time


def test_every_moment_is_in_the_row_of_who_spent_it():
    clock = Clock()
    network = Network(clock)
    with minigen.profile(clock=clock) as p:
        clock.now += 19
        y = network(leaf(2)).sum()
        clock.now += 23
        y.backward()
    assert costs(p, "seconds") == {
        ("", "", OUTSIDE): 19 + 23,
        ("forward", "Network.layers.0", OUTSIDE): 17,
        ("forward", "Network.layers.0", "Kernel"): 3,
        ("forward", "Network.layers.1", OUTSIDE): 17,
        ("forward", "Network.layers.1", "Plain"): 11,
        ("backward", "Network.layers.1", "Plain"): 13,
        ("backward", "Network.layers.1", "Kernel"): 3,  # made by Plain's backward, for Plain's module
        ("backward", "Network.layers.0", "Kernel"): 5,
    }
    assert p.seconds == clock.now - 100


def test_the_rows_sum_to_the_wall_time_whatever_a_look_at_the_clock_costs():
    ticks = iter(range(10**6))
    network = nn.Linear(3, 2, Generator(0))
    with minigen.profile(clock=lambda: next(ticks)) as p:
        ops.mse(network(leaf(4, 3)), Tensor(np.zeros((4, 2), np.float32))).backward()
    last = next(ticks) - 1
    first = 1  # 0 was read when the profile was made
    assert p.seconds == last - first
    assert {OWN, OUTSIDE, TAPE, "Linear"} <= {place.name for place in p.rows}


def test_handing_gradients_on_is_the_backwards_own():
    """x is used twice: its gradients are added by the tape, in no module, but backward."""
    x = leaf(3)
    with minigen.profile() as p:
        (x.exp() + x).sum().backward()
    assert costs(p, "calls")["backward", "", "Add"] == 1


def test_a_second_derivative_is_backward_through_and_through():
    clock, x = Clock(), leaf(3)
    with minigen.profile(clock=clock) as p:
        (dx,) = grad((Kernel(clock)(x) * x).sum(), x, create_graph=True)
        assert operations(p, "calls")["backward", "Multiply"] > 0  # of the composed twin:
        assert ("backward", "Kernel") not in operations(p, "calls")
        assert operations(p, "seconds") == {("forward", "Kernel"): 3}
        dx.sum().backward()
    assert operations(p, "seconds") == {("forward", "Kernel"): 3, ("backward", "Kernel"): 5}
    assert "forward" not in {phase for phase, name in operations(p, "calls") if name in ("Identity", "BroadcastTo")}


def test_optimisers_and_averages_are_updates():
    network = nn.Linear(3, 2, Generator(0))
    optimizer = AdamW(network.parameters())
    average = EMA(optimizer.flat)
    with minigen.profile() as p:
        network(leaf(4, 3)).sum().backward()
        optimizer.step()
        average.update()
    updates = {key: calls for key, calls in operations(p, "calls").items() if key[0] == "update"}
    assert updates == {("update", "AdamW"): 1, ("update", "EMA"): 1}


# ---------------------------------------------------------------- counts, FLOPs, bytes


def test_the_calls_of_a_small_network():
    generator = Generator(0)
    conv, norm, out = nn.Conv2d(2, 4, 3, generator, padding=1), nn.GroupNorm(2, 4), nn.Linear(4, 1, generator)
    x = Tensor(np.ones((2, 5, 5, 2), np.float32))
    with minigen.profile() as p:
        y = out(norm(conv(x)))
        ops.mse(y, Tensor(np.zeros(y.shape, np.float32))).backward()
    counted = operations(p, "calls")
    assert {name: n for (phase, name), n in counted.items() if phase == "forward"} == {
        "Conv2d": 1, "GroupNorm": 1, "Linear": 1, "SquaredError": 1,
    }  # fmt: skip
    heavy = ("Conv2dInputGrad", "Conv2dWeightGrad", "GroupNorm", "Linear", "SquaredError")
    assert {name: counted.get(("backward", name), 0) for name in heavy} == {
        "Conv2dInputGrad": 0,  # x wants no gradient
        "Conv2dWeightGrad": 1, "GroupNorm": 1, "Linear": 1, "SquaredError": 1,
    }  # fmt: skip


def test_flops_of_a_convolution_and_its_gradients():
    """x (2, 8, 8, 6), window 3 x 3, stride 2, two groups: y (2, 4, 4, 10), each a sum of 3 * 3 * 3 products."""
    x, w = leaf(2, 8, 8, 6), leaf(3, 3, 3, 10)
    with minigen.profile() as p:
        ops.conv2d(x, w, stride=2, padding=1, groups=2).sum().backward()
    products = 2 * 4 * 4 * 10 * 27
    assert operations(p, "flops") == {
        ("forward", "Conv2d"): 2 * products,
        ("backward", "Conv2dInputGrad"): 2 * products,
        ("backward", "Conv2dWeightGrad"): 2 * products,
    }


def test_the_residual_adds_no_products():
    x, w, r = leaf(2, 8, 8, 6), leaf(3, 3, 6, 10), leaf(2, 8, 8, 10)
    with minigen.profile() as p:
        ops.conv2d(x, w, padding=1, residual=r)
    assert operations(p, "flops") == {("forward", "ResidualConv2d"): 2 * (2 * 8 * 8 * 10) * 54}


def test_flops_of_a_matrix_product_and_its_gradients():
    with minigen.profile() as p:
        (leaf(5, 2, 3) @ leaf(3, 4)).sum().backward()
    assert operations(p, "flops") == {("forward", "MatMul"): 2 * 5 * 2 * 3 * 4, ("backward", "MatMul"): 480}


@pytest.mark.parametrize("wanted", [True, False])
def test_flops_of_a_linear_layer_count_the_gradients_that_are_wanted(wanted):
    x, w, b = leaf(5, 3), leaf(3, 4), leaf(4)
    x.requires_grad = wanted
    with minigen.profile() as p:
        ops.linear(x, w, b).sum().backward()
    once = 2 * 5 * 3 * 4
    assert operations(p, "flops") == {("forward", "Linear"): once, ("backward", "Linear"): (1 + wanted) * once}


def test_flops_of_attention():
    """N = 2, heads = 3, L = 4, M = 5, D = 6, E = 7; backward: three products of depth D, two of depth E."""
    q, k, v = leaf(2, 4, 3, 6), leaf(2, 5, 3, 6), leaf(2, 5, 3, 7)
    with minigen.profile() as p:
        ops.attention(q, k, v).sum().backward()
    pairs = 2 * 3 * 4 * 5
    forward, backward = 2 * pairs * (6 + 7), 2 * pairs * (3 * 6 + 2 * 7)
    assert operations(p, "flops") == {("forward", "Attention"): forward, ("backward", "Attention"): backward}


def test_bytes_are_the_arrays_in_and_out_and_a_view_moves_none():
    x, row = leaf(3, 4), leaf(4)
    with minigen.profile() as p, no_grad():
        x + row
        ops.broadcast_to(row, (3, 4)) * x  # what the broadcast repeats is there once
        x.reshape(12), x.transpose(), x[1:]
        ops.silu(x.astype("float64"))
    assert operations(p, "bytes") == {
        ("forward", "Add"): 4 * (12 + 4 + 12),
        ("forward", "Multiply"): 4 * (4 + 12 + 12),
        ("forward", "AsType"): 4 * 12 + 8 * 12,
        ("forward", "SiLU"): 8 * (12 + 12),
    }
    assert operations(p, "calls")["forward", "Reshape"] == 1


def test_bytes_of_a_fused_backward_are_its_gradient_its_inputs_and_what_it_gives():
    clock, x = Clock(), leaf(6)
    y = Kernel(clock)(x)
    with minigen.profile(clock=clock) as p:
        y.backward(np.ones(6, np.float32))
    assert operations(p, "bytes") == {("backward", "Kernel"): 3 * 4 * 6}
    assert costs(p, "seconds") == {("backward", "", "Kernel"): 5}  # made before the block: no module is known


# ---------------------------------------------------------------- nothing stays behind


def replaced():
    owners = [(Operation, "__call__"), (Operation, "gradients"), (autograd, "propagate"), (nn.Module, "__call__")]
    return [getattr(owner, name) for owner, name in [*owners, (AdamW, "step"), (EMA, "update")]]


def test_everything_is_put_back():
    before = replaced()
    with minigen.profile():
        assert all(now is not original for now, original in zip(replaced(), before))
    assert replaced() == before


def test_everything_is_put_back_after_an_exception():
    before, clock = replaced(), Clock()
    network = Network(clock)
    with pytest.raises(ValueError, match="axis"), minigen.profile(clock=clock) as p:
        network(leaf(2)).sum(axis=7)
    assert replaced() == before
    assert p.seconds == clock.now - 100
    with minigen.profile(clock=clock) as p:
        with pytest.raises(ValueError):
            leaf(2, 3) @ leaf(2, 3)
        clock.now += 1
    assert costs(p, "seconds") == {("", "", OUTSIDE): 1}


def test_a_profile_inside_a_profile_is_refused_and_the_outer_one_goes_on():
    with minigen.profile() as p:
        with pytest.raises(RuntimeError, match="open already"), minigen.profile():
            pass
        leaf(2) + 1.0
    assert operations(p, "calls") == {("forward", "Add"): 1}


def test_another_thread_is_left_alone():
    with minigen.profile() as p:
        other = threading.Thread(target=lambda: leaf(2).exp().sum().backward())
        other.start()
        other.join()
    assert operations(p, "calls") == {}


def test_results_are_the_same_bits():
    def gradients():
        network, x = nn.Conv2d(2, 4, 3, Generator(0), padding=1), leaf(2, 5, 5, 2)
        network(x).exp().sum().backward()
        return [x.grad.data, *(q.grad.data for q in network.parameters())]

    plain = gradients()
    with minigen.profile():
        watched = gradients()
    for a, b in zip(plain, watched):
        np.testing.assert_array_equal(a, b)


def test_modules_go_by_the_outermost_one_that_was_called():
    network = Network(Clock())
    with minigen.profile() as p:
        network.layers[0](leaf(2))
        network(leaf(2))
    assert {".".join(place.path) for place in p.rows} == {
        "", "Block", "Network", "Network.layers.0", "Network.layers.1",
    }  # fmt: skip


# ---------------------------------------------------------------- memory


def test_the_peak_of_the_block_is_what_was_alive_at_once():
    kept = np.ones(10**6)
    with minigen.profile(memory=True) as p:
        for _ in range(3):
            del_me = [np.ones(10**6), np.ones(10**6)]  # 8 MB each, together at most three: the old pair goes last
            del_me.clear()
    assert 16e6 <= p.block_peak < 17e6
    assert kept.nbytes == 8e6
    assert not tracemalloc.is_tracing()
    assert "peak memory of the block, on top of what was there: 16." in str(p)


def test_tracing_that_was_on_stays_on():
    tracemalloc.start()
    try:
        before = np.ones(10**6)
        with minigen.profile(memory=True) as p:
            np.ones(10**5)
        assert tracemalloc.is_tracing()
        assert 8e5 <= p.block_peak < 16e5 < before.nbytes
    finally:
        tracemalloc.stop()


def test_without_memory_only_the_systems_own_account_is_given():
    pytest.importorskip("resource")
    with minigen.profile() as p:
        pass
    assert p.block_peak is None
    assert p.process_peak > 20e6  # Python and NumPy
    assert "of the block" not in str(p)


# ---------------------------------------------------------------- what is shown


@pytest.fixture
def seen():
    clock = Clock()
    network = Network(clock)
    with minigen.profile(clock=clock) as p:
        network(leaf(2)).sum().backward()
    return p


def cells(table, name):
    return next(line for line in table.splitlines() if line.startswith(name)).removeprefix(name).split()


def test_the_table_shows_the_dearest_first_and_ends_with_the_sum(seen):
    lines = str(seen).splitlines()
    assert lines[0].split() == ["operation", "calls", "ms", "share", "forward", "backward", "MB", "GB/s", "GFLOP",
                                "GFLOP/s"]  # fmt: skip
    assert lines[1].startswith(OUTSIDE)
    assert cells(str(seen), "Plain")[:5] == ["1", "24,000.00", "34.8%", "11,000.00", "13,000.00"]
    assert cells(str(seen), "Kernel")[:5] == ["3", "11,000.00", "15.9%", "3,000.00", "8,000.00"]
    assert cells(str(seen), "sum: wall time")[1:5] == ["69,000.00", "100.0%", "48,000.00", "21,000.00"]


def test_the_table_by_module(seen):
    table = seen.table("module")
    assert cells(table, "Network.layers.0")[1:5] == ["25,000.00", "36.2%", "20,000.00", "5,000.00"]
    assert cells(table, "Network.layers.1")[1:5] == ["44,000.00", "63.8%", "28,000.00", "16,000.00"]
    with pytest.raises(ValueError, match="'operation' or 'module'"):
        seen.table("modules")


def test_nothing_inside_the_block_is_a_table_and_a_picture_too(tmp_path):
    with minigen.profile(clock=Clock()) as p:
        pass
    assert "sum: wall time" in str(p)
    p.save(tmp_path / "nothing.png")


def test_boxes_lie_inside_their_parents_and_their_lower_edge_is_the_whole_block(seen):
    drawn = list(boxes(frames(seen.rows)))
    assert drawn[0][0].seconds == seen.seconds
    edge = 0
    for frame, left, _ in drawn:
        if not frame.inside:
            assert left == edge
            edge += frame.seconds
        else:
            assert sum(f.seconds for f in frame.inside.values()) == frame.seconds
    assert edge == seen.seconds
    assert [f.name for f, _, depth in drawn if depth == 1] == ["forward", "backward", OUTSIDE, OWN]


@pytest.mark.parametrize(
    ("letters", "expected"),
    [(30, "Conv2dInputGrad  1.5 ms"), (20, "Conv2dInputGrad"), (10, "Conv2dInp…"), (3, "")],
)
def test_a_label_is_as_long_as_its_box_allows(letters, expected):
    from minigen.flame import LETTER

    assert label(Frame("Conv2dInputGrad", 1.5e-3), (letters + 0.5) * LETTER) == expected


def test_the_picture_shows_each_operation_in_its_colour(tmp_path):
    generator = Generator(0)
    network = nn.Sequential(nn.Conv2d(2, 4, 3, generator, padding=1), nn.Conv2d(4, 4, 3, generator, padding=1))
    ticks = iter(range(10**6))
    with minigen.profile(clock=lambda: next(ticks)) as p:
        network(leaf(1, 4, 4, 2)).sum().backward()
    p.save(str(tmp_path / "where.png"))
    assert [path.name for path in tmp_path.iterdir()] == ["where.png"]
    picture = np.asarray(Image.open(tmp_path / "where.png").convert("RGB"))
    assert picture.shape[1] == 2250
    for name in ("Conv2d", "Conv2dInputGrad", "Conv2dWeightGrad"):
        colour = [int(COLOURS[name][i : i + 2], 16) for i in (1, 3, 5)]
        assert (picture == colour).all(-1).sum() > 2000, name
