"""What compiled code needs to be run by several threads, and Numba does not offer: counters that threads share, and
calls by address. Each `intrinsic` writes a few instructions into the kernel that calls it.

Source   LLVM Language Reference, "Atomic Memory Ordering Constraints"; Numba manual, "Implementing intrinsics"
"""

import hashlib

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

# How a worker is told its share; the number counts the integers before its arguments:
SLICED = 0  # worker(*arguments), with a[first:last] in place of every vector a
WHOLE = 2  # worker(first, last, *arguments)
NUMBERED = 3  # worker(me, first, last, *arguments), run by the thread of number `me`

INT, SEVERAL, TOLD = ir.IntType(64), types.UniTuple(types.int64, 2), [types.int64] * 6


def _line(context, builder, kind, board, row):
    """The address of board[row, 0], of an array whose rows are 8 integers."""
    data = context.make_array(kind)(context, builder, board).data
    return builder.gep(data, [builder.mul(row, ir.Constant(INT, 8))])


@intrinsic
def look(_, board, row):
    """board[row, 0] as it is now. Whatever was written before that number is seen from here on."""

    def generate(context, builder, _, values):
        return builder.load_atomic(_line(context, builder, board, *values), "acquire", 8)

    return types.int64(board, types.intp), generate


@intrinsic
def add(_, board, row, number):
    """board[row, 0] += number, in one step -> what it was. Of two threads that do so, one sees what the other did."""

    def generate(context, builder, _, values):
        return builder.atomic_rmw("add", _line(context, builder, board, *values[:2]), values[2], "seq_cst")

    return types.int64(board, types.intp, types.int64), generate


@intrinsic
def addresses(_, arguments):
    """(code, place): the arguments lie at this place until the caller returns; code: what calls a worker with them.

    The code is for `enter`, and knows the arguments' types, so that who runs it need not.
    """

    def generate(context, builder, _, values):
        convention = context.call_conv
        with builder.goto_entry_block():
            place = builder.alloca(values[0].type)
        builder.store(values[0], place)
        kind = convention.get_function_type(types.none, TOLD)
        code = ir.Function(builder.module, kind, builder.function.name + ".entered")
        code.linkage = "internal"
        within = ir.IRBuilder(code.append_basic_block())
        worker, form, address, me, first, last = convention.get_arguments(code)
        given = cgutils.unpack_tuple(within, within.load(within.inttoptr(address, place.type)))
        given = [_borrowed(context, within, *pair) for pair in zip(arguments, given)]
        for number, leading in (WHOLE, [first, last]), (NUMBERED, [me, first, last]), (SLICED, []):
            if number == SLICED:
                given = [_sliced(context, within, *pair, first, last) for pair in zip(arguments, given)]
            with within.if_then(within.icmp_signed("==", form, ir.Constant(INT, number))):
                _call(context, within, worker, [*[types.int64] * number, *arguments], [*leading, *given])
        convention.return_value(within, ir.Constant(code.args[0].type.pointee, None))
        return context.make_tuple(builder, SEVERAL, [builder.ptrtoint(code, INT), builder.ptrtoint(place, INT)])

    return SEVERAL(arguments), generate


def _call(context, builder, worker, kinds, values):
    """worker(*values), of an address; an error in it ends the caller too."""
    code = builder.inttoptr(worker, context.call_conv.get_function_type(types.none, kinds).as_pointer())
    status, _ = context.call_conv.call_function(builder, code, types.none, kinds, values)
    with builder.if_then(status.is_error, likely=False):
        context.call_conv.return_status_propagate(builder, status)


def _borrowed(context, builder, kind, value):
    """An array whose references are not counted: threads that count the same ones take turns, at every slice."""
    if not isinstance(kind, types.Array):
        return value
    array = context.make_array(kind)(context, builder, value)
    array.meminfo = ir.Constant(array.meminfo.type, None)
    return array._getvalue()


def _sliced(context, builder, kind, value, first, last):
    """a[first:last] of a vector, and anything else as it is."""
    if not isinstance(kind, types.Array) or kind.ndim != 1:
        return value
    vector = context.make_array(kind)(context, builder, value)
    (stride,) = cgutils.unpack_tuple(builder, vector.strides)
    vector.data = cgutils.pointer_add(builder, vector.data, builder.mul(first, stride))
    vector.nitems = builder.sub(last, first)
    vector.shape = builder.insert_value(vector.shape, vector.nitems, 0)
    return vector._getvalue()


@intrinsic
def enter(_, code, worker, form, place, me, first, last):
    """Call a worker by what `addresses` told -> 1 if an error has ended it, else 0."""

    def generate(context, builder, _, values):
        kind = context.call_conv.get_function_type(types.none, TOLD)
        code = builder.inttoptr(values[0], kind.as_pointer())
        status, _ = context.call_conv.call_function(builder, code, types.none, TOLD, values[1:])
        return builder.zext(status.is_error, INT)

    return types.int64(types.int64, *TOLD), generate


@intrinsic
def number_of(_, arguments):
    """A number that stands for the types of the arguments."""
    number = number_of_types(arguments)
    return types.int64(arguments), lambda *_: ir.Constant(INT, number)


def number_of_types(kinds):
    """The same number, outside compiled code."""
    return int.from_bytes(hashlib.sha256(repr(list(kinds)).encode()).digest()[:7], "big")


@intrinsic
def pointer(_, address):
    """An address for `numba.carray`."""

    def generate(context, builder, _, values):
        return builder.inttoptr(values[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.int64), generate
