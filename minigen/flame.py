"""A profile as a picture: time to the right, and downwards the phase, the modules from the outside in, the operation.

    +------------------------- 310 ms -------------------------+
    | forward           | backward                     | update|
    | UNet              | UNet                         | AdamW |
    | in | down  | up   | out | up        | down       |       |
    | C  | N C N | ...  | ... operations, coloured ...  |       |

The width of a box is the time spent in it, and the boxes under it are what it was spent on; a gap is Python.
Operations reach down to the axis, in the order in which they first ran, so that the lower edge is the whole block.
Boxes of the same name at the same place are merged: a block that ran ten steps shows one.

Source   Gregg, The Flame Graph, Communications of the ACM 59(6), 2016 (here with the root on top: an icicle)
"""

from collections import defaultdict
from dataclasses import dataclass, field
from io import BytesIO

from .profiler import NOT_OPERATIONS, OUTSIDE, OWN, TAPE
from .train.checkpoint import write_whole

WIDTH, ROW, DPI = 15.0, 0.4, 150  # inches, inches, pixels an inch
LETTER, MARGIN = 4.2, 4  # points: about one letter of the labels, and the room that a label leaves
COLOURS = {  # the same in every picture, so that two can be compared
    "Conv2d": "#1f4e79", "Conv2dInputGrad": "#3d7ab5", "Conv2dWeightGrad": "#6ca6d9",
    "MatMul": "#d9822b", "Linear": "#e8a65c", "Attention": "#8e5ea2", "GroupNorm": "#4f9d69",
}  # fmt: skip
SPARE = ("#c8504b", "#3aa6a0", "#d4a92a", "#b07d62", "#d37295")  # for the dearest of the other operations
OTHER = "#a9a19c"
FRAMES = ("#edf1f5", "#dde4ec")  # modules, by turns
GAPS = {TAPE: "#c9cdd2", OUTSIDE: "#ffffff", OWN: "#ffffff"}
DARK, LIGHT = "#26323d", "#ffffff"  # ink


@dataclass
class Frame:
    """A box: its name, its seconds, and the boxes inside it. `operation`: nothing can be inside."""

    name: str
    seconds: float = 0.0
    operation: bool = False
    inside: dict = field(default_factory=dict)


def frames(rows):
    """The tree of all boxes, from {Place: Row}."""
    root = Frame("wall time")
    for place, row in rows.items():
        frame, way = root, [*filter(None, [place.phase, *place.path])]
        root.seconds += row.seconds
        for name in way:
            frame = frame.inside.setdefault((name, False), Frame(name))
            frame.seconds += row.seconds
        leaf = frame.inside.setdefault((place.name, True), Frame(place.name, operation=True))
        leaf.seconds += row.seconds
    return root


def boxes(frame, left=0.0, depth=0):
    """(frame, left edge in seconds, depth) of a box and all inside it: in order, what is no operation last."""
    yield frame, left, depth
    for child in sorted(frame.inside.values(), key=lambda f: f.operation and f.name in NOT_OPERATIONS):
        yield from boxes(child, left, depth + 1)
        left += child.seconds


def save(profile, path):
    """Draw the Profile and write it to `path` as PNG, whole or not at all."""
    from matplotlib.figure import Figure  # takes half a second to import

    total = profile.seconds or 1.0
    drawn = list(boxes(frames(profile.rows)))
    floor = max(depth for _, _, depth in drawn) + 2  # room for upright labels
    colours = colours_of(profile.rows)
    figure = Figure(figsize=(WIDTH, ROW * floor + 1.4), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    for frame, left, depth in drawn:
        draw(axes, frame, left, depth, floor, colours, points=72 * 0.97 * WIDTH / total)
    axes.set(xlim=(0, 1e3 * total), ylim=(floor, 0), yticks=[], xlabel="ms")
    axes.spines[["left", "right", "top"]].set_visible(False)
    add_legend(axes, profile, colours)
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    write_whole(path, buffer.getvalue())


def draw(axes, frame, left, depth, floor, colours, points):
    """One box, with as much of its label as fits; points: the width of a second on the page."""
    from matplotlib.patches import Rectangle

    face = colours.get(frame.name, OTHER) if frame.operation else FRAMES[depth % 2]
    room, height = frame.seconds * points, floor - depth if frame.operation else 1
    border = min(0.6, room / 8)  # a thin box would be nothing but border
    corner, width = (1e3 * left, depth), 1e3 * frame.seconds
    axes.add_patch(Rectangle(corner, width, height, facecolor=face, edgecolor="white", linewidth=border))
    upright = frame.operation and room < LETTER * len(frame.name) + MARGIN and room > 10  # a tall thin box
    text = label(frame, (72 * ROW * height if upright else room) - MARGIN)
    axes.text(
        1e3 * (left + frame.seconds / 2), depth + height / 2, text, ha="center", va="center", fontsize=7.5,
        rotation=90 if upright else 0, color=DARK if face in (*FRAMES, *GAPS.values()) else LIGHT,
        weight="bold" if depth < 2 else "normal", clip_on=True,
    )  # fmt: skip


def label(frame, room):
    """The name and the time, the name, its beginning, or nothing: whatever fits into `room` points."""
    letters = int(room / LETTER)
    full = f"{frame.name}  {1e3 * frame.seconds:,.1f} ms"
    if len(full) <= letters:
        return full
    if len(frame.name) <= letters:
        return frame.name
    return frame.name[: letters - 1] + "…" if letters > 5 else ""


def colours_of(rows):
    """{name: colour} of the operations that have one, the dearest first, and of what is no operation."""
    seconds = seconds_of(rows)
    dearest = sorted((name for name in seconds if name not in NOT_OPERATIONS), key=lambda name: -seconds[name])
    spare = iter(SPARE)
    found = {name: COLOURS.get(name) or next(spare, None) for name in dearest}
    return {**{name: colour for name, colour in found.items() if colour}, **GAPS}


def seconds_of(rows):
    """{name: seconds}, over all phases and modules."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for place, row in rows.items():
        seconds[place.name] += row.seconds
    return seconds


def add_legend(axes, profile, colours):
    """The coloured operations with their time, the other operations, Python."""
    from matplotlib.patches import Patch

    seconds, total = seconds_of(profile.rows), profile.seconds or 1.0
    others = sum(spent for name, spent in seconds.items() if name not in colours)
    entries = [(name, seconds[name], colour) for name, colour in colours.items() if name in seconds]
    gaps = sum(name in GAPS for name, _, _ in entries)
    entries.insert(len(entries) - gaps, ("other operations", others, OTHER))
    patches = [
        Patch(facecolor=colour, edgecolor="#8a929b", linewidth=0.5 * (name in GAPS),
              label=f"{name}  {1e3 * spent:,.1f} ms  {spent / total:.0%}")
        for name, spent, colour in entries
    ]  # fmt: skip
    axes.legend(
        handles=patches, loc="lower center", bbox_to_anchor=(0.5, 1.01), ncols=5, frameon=False, fontsize=8,
        handlelength=1, handleheight=1, borderaxespad=0,
    )  # fmt: skip
