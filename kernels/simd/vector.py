"""A small vocabulary of vectors, for the few places where a loop that the compiler vectorises is not enough.

A vector is LANES float32 numbers in one register: 16 where the processor has AVX-512, 8 with AVX2 or NEON
pairs, 4 otherwise. A function decorated with `vectors` is a recipe for straight-line code on them:

    @vectors
    def add16(v, a, b, out):                       # addresses, as integers
        v.store(v.load(a) + v.load(b), out)

Numba runs the recipe while it compiles a kernel that calls `add16(a, b, out)`, and what the recipe's loads,
stores and operators *emit* becomes part of that kernel: Python's `for` in a recipe unrolls. Nothing here
checks bounds. Addresses come from `array.ctypes.data`, and a step along them is in bytes (BYTES a vector).

Why not leave it to the compiler? A transform of a 6x6 tile reads 36 streams and writes 36. Before it may
vectorise such a loop, the compiler must prove, or check while it runs, that no write hits a later read; with so
many streams it gives up. And a matrix product wants its sums held in registers across the whole inner loop.

Source   LLVM Language Reference, "Vector Type", "llvm.fma"; Numba manual, "Implementing intrinsics"
"""

import inspect

from .._numba import jit, numba

if numba is not None:
    from llvmlite import binding, ir
    from numba import types
    from numba.extending import intrinsic

    def _lanes():
        features = binding.get_host_cpu_features()
        return 16 if features.get("avx512f") else 8 if features.get("avx2") or features.get("neon") else 4

    LANES = _lanes()
    BYTES = 4 * LANES
    INT, FLOAT = ir.IntType(64), ir.FloatType()
    VECTOR = ir.VectorType(FLOAT, LANES)
    EXACT_ENOUGH = ("contract", "nsz")  # a multiplication and an addition may become one fma; NaN and order stay


class Vector:
    """LANES numbers; `a + b`, `a - b`, `a * b`, with a Python number as the other operand too."""

    def __init__(self, emitter, value):
        self.emitter, self.value = emitter, value

    def _with(self, other, instruction):
        other = other if isinstance(other, Vector) else self.emitter.constant(other)
        return Vector(self.emitter, instruction(self.value, other.value, flags=EXACT_ENOUGH))

    def __add__(self, other):
        return self._with(other, self.emitter.builder.fadd)

    def __sub__(self, other):
        return self._with(other, self.emitter.builder.fsub)

    def __mul__(self, other):
        return self._with(other, self.emitter.builder.fmul)

    __radd__, __rmul__ = __add__, __mul__


class Emitter:
    """What a recipe calls: each method appends instructions to the kernel that is being compiled."""

    def __init__(self, builder):
        self.builder = builder

    def constant(self, number):
        """A Python number in every lane."""
        return Vector(self, ir.Constant(VECTOR, [float(number)] * LANES))

    def at(self, address, offset):
        """The address `offset` bytes further on; offset: a Python integer or an emitted one."""
        return self.builder.add(address, ir.Constant(INT, offset) if isinstance(offset, int) else offset)

    def steps(self, address, step, count):
        """So many addresses, each `step` bytes further on than the one before."""
        addresses = [address]
        for _ in range(count - 1):
            addresses.append(self.at(addresses[-1], step))
        return addresses

    def load(self, address):
        """LANES numbers from memory."""
        value = self.builder.load(self.builder.inttoptr(address, ir.PointerType(VECTOR)))
        value.align = 4  # any float's address will do
        return Vector(self, value)

    def times(self, integer, factor):
        """An emitted integer times a Python one."""
        return self.builder.mul(integer, ir.Constant(INT, factor))

    def integer(self, address):
        """An integer from memory: an address in a table."""
        return self.builder.load(self.builder.inttoptr(address, ir.PointerType(INT)))

    def prefetch(self, address, to_write=False, level=1):
        """Ask for the cache line at an address that will be read soon, or written, into the cache of this level."""
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        name = "llvm.prefetch.p0i8"
        function = self.builder.module.globals.get(name) or ir.Function(self.builder.module, kind, name)
        how = [ir.Constant(number, n) for n in (int(to_write), 4 - level, 1)]
        self.builder.call(function, [self.builder.inttoptr(address, byte), *how])

    def store(self, vector, address):
        """LANES numbers into memory."""
        self.builder.store(vector.value, self.builder.inttoptr(address, ir.PointerType(VECTOR))).align = 4

    def broadcast(self, address):
        """One float from memory in every lane."""
        number = self.builder.load(self.builder.inttoptr(address, ir.PointerType(FLOAT)))
        number.align = 4
        undefined, index = ir.Constant(VECTOR, ir.Undefined), ir.IntType(32)
        first = self.builder.insert_element(undefined, number, ir.Constant(index, 0))
        everywhere = ir.Constant(ir.VectorType(index, LANES), [0] * LANES)
        return Vector(self, self.builder.shuffle_vector(first, undefined, everywhere))

    def fma(self, a, b, c):
        """a b + c, rounded once."""
        kind = ir.FunctionType(VECTOR, [VECTOR] * 3)
        name = f"llvm.fma.v{LANES}f32"
        function = self.builder.module.globals.get(name) or ir.Function(self.builder.module, kind, name)
        return Vector(self, self.builder.call(function, [a.value, b.value, c.value]))

    def transposed(self, rows):
        """LANES vectors, the rows of a square -> its columns.

        Squares of 2x2 numbers swap two of them; then squares of 2x2 such squares, and so on: after log2(LANES) rounds
        every number is in its place. (Eklundh, A Fast Computer Method for Matrix Transposing, 1972)
        """
        rows, step = list(rows), 1
        while step < LANES:
            upper = [LANES + j - step if j & step else j for j in range(LANES)]
            lower = [LANES + j if j & step else j + step for j in range(LANES)]
            for i in range(LANES):
                if not i & step:
                    pair = rows[i].value, rows[i + step].value
                    rows[i], rows[i + step] = self.chosen(*pair, upper), self.chosen(*pair, lower)
            step *= 2
        return rows

    def chosen(self, a, b, places):
        """A vector of the numbers at these places of a, and, from LANES on, of b."""
        mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), places)
        return Vector(self, self.builder.shuffle_vector(a, b, mask))

    def if_not_0(self, number, then, otherwise):
        """Emit `then() if number else otherwise`, both lists of Vectors -> such a list."""
        before = self.builder.block
        inside, after = (self.builder.append_basic_block(name) for name in ("then", "joined"))
        self.builder.cbranch(self.builder.icmp_signed("!=", number, ir.Constant(INT, 0)), inside, after)
        self.builder.position_at_end(inside)
        results, last = then(), self.builder.block
        self.builder.branch(after)
        self.builder.position_at_end(after)
        joined = [self.builder.phi(VECTOR) for _ in results]
        for phi, result, other in zip(joined, results, otherwise):
            phi.add_incoming(result.value, last)
            phi.add_incoming(other.value, before)
        return [Vector(self, phi) for phi in joined]

    def loop(self, count, carried, body):
        """Emit `for i in range(count): carried = body(i, carried)` for count >= 1 -> carried after the last round.

        carried: a list of Vectors. They stay in registers from round to round.
        """
        before = self.builder.block
        inside, after = (self.builder.append_basic_block(name) for name in ("rounds", "after"))
        self.builder.branch(inside)
        self.builder.position_at_end(inside)
        index = self.builder.phi(INT)
        held = [self.builder.phi(VECTOR) for _ in carried]
        results = body(index, [Vector(self, phi) for phi in held])
        following = self.builder.add(index, ir.Constant(INT, 1))
        last = self.builder.block
        for phi, first, again in zip([index, *held], [ir.Constant(INT, 0), *carried], [following, *results]):
            phi.add_incoming(getattr(first, "value", first), before)
            phi.add_incoming(getattr(again, "value", again), last)
        self.builder.cbranch(self.builder.icmp_signed("<", following, count), inside, after)
        self.builder.position_at_end(after)
        return [Vector(self, getattr(result, "value", result)) for result in results]


def vectors(recipe):
    """Make a recipe(v, *integers) callable from kernels; v is the Emitter. It returns nothing: it stores."""
    if numba is None:
        return recipe

    def generate(context, builder, _, arguments):
        recipe(Emitter(builder), *arguments)
        return context.get_dummy_value()

    return _of_integers(recipe, list(inspect.signature(recipe).parameters)[1:], lambda context: generate)


def of_integers(function):
    """`jit` for a function that takes nothing but integers and returns nothing, compiled once for all.

    By itself Numba compiles it for every mix of signed, unsigned and constant ones.
    """
    if numba is None:
        return function
    compiled, names = jit(function), list(inspect.signature(function).parameters)

    def prepare(context):
        kind = types.Dispatcher(compiled)
        call = kind.get_call_type(context, [types.intp] * len(names), {})
        return lambda target, builder, _, arguments: target.get_function(kind, call)(builder, arguments)

    return _of_integers(function, names, prepare)


def _of_integers(function, names, prepare):
    """Make prepare(typing context) -> what writes the instructions of a call to the function, of so many integers."""
    signature = types.void(*[types.intp] * len(names))
    # Numba reads the number of arguments from the function's own signature, so it is spelt out.
    scope = {"signature": signature, "prepare": prepare}
    exec(f"def typed(context, {', '.join(names)}): return signature, prepare(context)", scope)
    scope["typed"].__name__ = function.__name__
    scope["typed"].__module__ = function.__module__
    return intrinsic(scope["typed"])


@vectors
def transpose_square(v, source, source_row, target, target_row):
    """LANES x LANES numbers, whose rows lie so many bytes apart."""
    rows = [v.load(address) for address in v.steps(source, source_row, LANES)]
    for column, address in zip(v.transposed(rows), v.steps(target, target_row, LANES)):
        v.store(column, address)


@vectors
def add_rows(v, source, row, count, target):
    """To LANES numbers are added those of so many rows."""
    (total,) = v.loop(count, [v.load(target)], lambda i, sums: [sums[0] + v.load(v.at(source, v.builder.mul(i, row)))])
    v.store(total, target)
