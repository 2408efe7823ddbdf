"""What compiled code needs to be run by several threads, and Numba does not offer: counters that threads share, and
calls by address. Each function here writes a few instructions into the kernel that calls it.

Source   LLVM Language Reference, "Atomic Memory Ordering Constraints"; Numba manual, "Implementing intrinsics"
"""

import hashlib

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import impl_ret_borrowed
from numba.extending import intrinsic

INT, SEVERAL, ENTERED = ir.IntType(64), types.UniTuple(types.int64, 2), [types.int64, types.int64]


def _line(context, builder, kind, board, row):
    """The address of board[row, 0], of an array whose rows are 8 integers."""
    data = context.make_array(kind)(context, builder, board).data
    return builder.gep(data, [builder.mul(row, ir.Constant(INT, 8))])


@intrinsic
def look(_, board, row):
    """board[row, 0] as it is now. Whatever was written before that number is seen from here on."""

    def generate(context, builder, signature, values):
        return builder.load_atomic(_line(context, builder, board, *values), "acquire", 8)

    return types.int64(board, types.intp), generate


@intrinsic
def add(_, board, row, number):
    """board[row, 0] += number, in one step -> what it was. Of two threads that do so, one sees what the other did."""

    def generate(context, builder, signature, values):
        return builder.atomic_rmw("add", _line(context, builder, board, *values[:2]), values[2], "seq_cst")

    return types.int64(board, types.intp, types.int64), generate


@intrinsic
def call(_, worker, leading, arguments):
    """worker(*leading, *arguments), of the address of compiled code that returns nothing."""
    taken = [*leading, *arguments]

    def generate(context, builder, _, values):
        given = [*cgutils.unpack_tuple(builder, values[1]), *cgutils.unpack_tuple(builder, values[2])]
        code = builder.inttoptr(values[0], context.call_conv.get_function_type(types.none, taken).as_pointer())
        status, _ = context.call_conv.call_function(builder, code, types.none, taken, given)
        with builder.if_then(status.is_error, likely=False):
            context.call_conv.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.void(types.int64, leading, arguments), generate


@intrinsic
def sliced(_, arguments, first, last):
    """The arguments, with a[first:last] for every vector a."""

    def generate(context, builder, _, values):
        pack, first, last = values
        for i, kind in enumerate(arguments):
            if isinstance(kind, types.Array):
                vector = context.make_array(kind)(context, builder, builder.extract_value(pack, i))
                vector.data, vector.nitems = builder.gep(vector.data, [first]), builder.sub(last, first)
                vector.shape = builder.insert_value(vector.shape, vector.nitems, 0)
                pack = builder.insert_value(pack, vector._getvalue(), i)
        return impl_ret_borrowed(context, builder, arguments, pack)

    return arguments(arguments, types.int64, types.int64), generate


@intrinsic
def addresses(typing, function, argument):
    """The address of code for `enter`, which calls function(argument, me), and that of the argument.

    Both are good until the caller returns.
    """
    inner = function.get_call_type(typing, (argument, types.int64), {})

    def generate(context, builder, _, values):
        convention = context.call_conv
        with builder.goto_entry_block():
            place = builder.alloca(values[1].type)
        builder.store(values[1], place)
        kind = convention.get_function_type(types.none, ENTERED)
        code = ir.Function(builder.module, kind, builder.function.name + ".entered")
        code.linkage = "internal"
        within = ir.IRBuilder(code.append_basic_block())
        address, me = convention.get_arguments(code)
        argument = within.load(within.inttoptr(address, place.type))
        context.get_function(function, inner)(within, [argument, me])
        convention.return_value(within, ir.Constant(code.args[0].type.pointee, None))
        return context.make_tuple(builder, SEVERAL, [builder.ptrtoint(code, INT), builder.ptrtoint(place, INT)])

    return SEVERAL(function, argument), generate


@intrinsic
def enter(_, code, argument, me):
    """Run what `addresses` told -> 1 if an error has ended it, else 0."""

    def generate(context, builder, _, values):
        kind = context.call_conv.get_function_type(types.none, ENTERED)
        code = builder.inttoptr(values[0], kind.as_pointer())
        status, _ = context.call_conv.call_function(builder, code, types.none, ENTERED, values[1:])
        return builder.zext(status.is_error, INT)

    return types.int64(types.int64, *ENTERED), generate


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
    return types.voidptr(types.int64), lambda context, builder, _, values: builder.inttoptr(
        values[0], ir.IntType(8).as_pointer()
    )
