"""Reductions over edges sorted by destination, in blocks of columns that stay in vector registers.

Every feature has its additions in the order of the edges, in float64 whatever the features are, so that neither blocks
nor slices nor threads change a bit. All in one file, as numba keeps machine code by the file a kernel stands in.
"""
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from training.exact.fused.compiler import kernel

AHEAD = 16  # edges: whose features are asked for while others are summed
LINE = 64  # bytes of a cache line
DOUBLE, INT32, BYTES = ir.DoubleType(), ir.IntType(32), ir.IntType(8).as_pointer()


class _Block:
    """Code for some columns of one destination: loads of a row's columns, and what is kept in registers."""

    def __init__(self, context: Any, builder: Any, signature: Any, args: Any, width: int) -> None:
        # Any: numba hands typing and code generation contexts that have no published types.
        self.builder = builder
        self.arrays = [
            context.make_array(kind)(context, builder, value).data if isinstance(kind, types.Array) else value
            for kind, value in zip(signature.args, args, strict=True)
        ]
        self.width, self.number = width, context.get_data_type(signature.args[0].dtype)
        self.bytes = signature.args[0].dtype.bitwidth // 8

    def make_variable(self, of: Any, start: float) -> Any:
        """A vector; LLVM turns it into registers."""
        vector = ir.VectorType(of, self.width)
        make: Any = cgutils.alloca_once
        variable = make(self.builder, vector)
        self.builder.store(ir.Constant(vector, [start] * self.width), variable)
        return variable

    def load(self, buffer: Any, index: Any) -> Any:
        return self.builder.load(self._point(buffer, index, self.number), align=self.bytes)

    def store(self, value: Any, buffer: Any, index: Any, of: Any = None) -> None:
        self.builder.store(value, self._point(buffer, index, of or self.number), align=4)

    def spread(self, number: Any) -> Any:
        vector = ir.VectorType(number.type, self.width)
        single = self.builder.insert_element(ir.Constant(vector, ir.Undefined), number, ir.Constant(INT32, 0))
        everywhere = ir.Constant(ir.VectorType(INT32, self.width), [0] * self.width)
        return self.builder.shuffle_vector(single, ir.Constant(vector, ir.Undefined), everywhere)

    def widen(self, value: Any) -> Any:
        return (
            value if self.number == DOUBLE else self.builder.fpext(value, ir.VectorType(DOUBLE, self.width))
        )

    def narrow(self, value: Any) -> Any:
        return (
            value
            if self.number == DOUBLE
            else self.builder.fptrunc(value, ir.VectorType(self.number, self.width))
        )

    def find(self, sources: Any, edge: Any, row: Any, column: Any) -> Any:
        """Where the columns of an edge's source begin."""
        source = self.builder.sext(self.builder.load(self.builder.gep(sources, [edge])), row.type)
        return self.builder.add(self.builder.mul(source, row), column)

    def fetch(self, buffer: Any, index: Any) -> None:
        """Ask for the columns at an index, to be there later."""
        hint = [BYTES, INT32, INT32, INT32]
        prefetch = self.builder.module.declare_intrinsic(
            "llvm.prefetch", [BYTES], ir.FunctionType(ir.VoidType(), hint)
        )
        for column in range(0, self.width, LINE // self.bytes):
            place = self.builder.gep(buffer, [self.builder.add(index, ir.Constant(index.type, column))])
            read, keep, data = (ir.Constant(INT32, value) for value in (0, 3, 1))
            self.builder.call(prefetch, [self.builder.bitcast(place, BYTES), read, keep, data])

    def look_ahead(self, edge: Any, last: Any) -> Any:
        """The edge AHEAD places on, of those that there are."""
        later = self.builder.add(edge, ir.Constant(edge.type, AHEAD))
        return self.builder.select(self.builder.icmp_signed("<", later, last), later, edge)

    def _point(self, buffer: Any, index: Any, of: Any) -> Any:
        return self.builder.bitcast(
            self.builder.gep(buffer, [index]), ir.VectorType(of, self.width).as_pointer()
        )


# Any: as above.
def make_sum(width: int) -> Any:
    """Build sum(y, at, x, row, column, sources, weights, first, last, all, divisor): `width` columns of a sum.

    y[at + c] = sum over edges first .. last of weights[edge] * x[sources[edge] * row + column + c], / divisor;
    without weights if they are None.
    """

    @intrinsic
    def add_up(
        typing_context: Any, y: Any, at: Any, x: Any, row: Any, column: Any,
        sources: Any, weights: Any, first: Any, last: Any, count: Any, divisor: Any,
    ) -> Any:  # fmt: skip
        n = types.intp
        return types.void(y, n, x, n, n, sources, weights, n, n, n, types.float64), generate

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        block = _Block(context, builder, signature, args, width)
        y, at, x, row, column, sources, weights, first, last, count, divisor = block.arrays
        total = block.make_variable(DOUBLE, 0.0)
        one = ir.Constant(first.type, 1)
        with cgutils.for_range_slice(builder, first, last, one, first.type) as (edge, _):
            block.fetch(x, block.find(sources, block.look_ahead(edge, count), row, column))
            term = block.widen(block.load(x, block.find(sources, edge, row, column)))
            if isinstance(signature.args[6], types.Array):
                term = builder.fmul(term, block.spread(builder.load(builder.gep(weights, [edge]))))
            builder.store(builder.fadd(builder.load(total), term), total)
        result = builder.fdiv(builder.load(total), block.spread(divisor))
        block.store(block.narrow(result), y, at)
        return context.get_dummy_value()

    return add_up


def make_max(width: int) -> Any:
    """Build max(y, winners, at, x, row, column, sources, first, last, all): `width` columns of a maximum.

    y[at + c] = the largest x[source * row + column + c], winners[at + c] = the first source that has it.
    """

    @intrinsic
    def find_largest(
        typing_context: Any, y: Any, winners: Any, at: Any, x: Any, row: Any, column: Any,
        sources: Any, first: Any, last: Any, count: Any,
    ) -> Any:  # fmt: skip
        n = types.intp
        return types.void(y, winners, n, x, n, n, sources, n, n, n), generate

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        block = _Block(context, builder, signature, args, width)
        y, winners, at, x, row, column, sources, first, last, count = block.arrays
        best, which = block.make_variable(block.number, float("-inf")), block.make_variable(INT32, -1)
        one = ir.Constant(first.type, 1)
        with cgutils.for_range_slice(builder, first, last, one, first.type) as (edge, _):
            block.fetch(x, block.find(sources, block.look_ahead(edge, count), row, column))
            value = block.load(x, block.find(sources, edge, row, column))
            source = block.spread(builder.load(builder.gep(sources, [edge])))
            is_more = builder.fcmp_ordered(">", value, builder.load(best))
            builder.store(builder.select(is_more, value, builder.load(best)), best)
            builder.store(builder.select(is_more, source, builder.load(which)), which)
        block.store(builder.load(best), y, at)
        block.store(builder.load(which), winners, at, INT32)
        return context.get_dummy_value()

    return find_largest


sum_64, sum_16, sum_4, sum_1 = (make_sum(width) for width in (64, 16, 4, 1))
max_32, max_8, max_1 = (make_max(width) for width in (32, 8, 1))


@kernel
def reduce_sum(y, x, starts, sources, weights, is_mean, cuts, first, last):
    """Rows `first` .. `last` of y [n, F]: sums over neighbours of x [n, F], cut into slices at the columns `cuts`.

    weights: one for each edge, or None. A mean is the sum by the number of edges; without edges both are 0."""
    y_flat, x_flat, row, count = y.ravel(), x.ravel(), x.shape[1], len(sources)
    for part in range(len(cuts) - 1):
        for i in range(first, last):
            a, b = starts[i], starts[i + 1]
            divisor = float(b - a) if is_mean and b > a else 1.0
            c, end, at = cuts[part], cuts[part + 1], i * row
            while c + 64 <= end:
                sum_64(y_flat, at + c, x_flat, row, c, sources, weights, a, b, count, divisor)
                c += 64
            while c + 16 <= end:
                sum_16(y_flat, at + c, x_flat, row, c, sources, weights, a, b, count, divisor)
                c += 16
            while c + 4 <= end:
                sum_4(y_flat, at + c, x_flat, row, c, sources, weights, a, b, count, divisor)
                c += 4
            while c < end:
                sum_1(y_flat, at + c, x_flat, row, c, sources, weights, a, b, count, divisor)
                c += 1


@kernel
def reduce_max(y, winners, x, starts, sources, cuts, first, last):
    """The same with maxima, and winners [n, F]: whose they are, the first of several. Without edges 0 and -1."""
    y_flat, winners_flat, x_flat, row, count = y.ravel(), winners.ravel(), x.ravel(), x.shape[1], len(sources)
    for part in range(len(cuts) - 1):
        for i in range(first, last):
            a, b = starts[i], starts[i + 1]
            c, end, at = cuts[part], cuts[part + 1], i * row
            if a == b:
                y_flat[at + c : at + end] = 0
                winners_flat[at + c : at + end] = -1
                continue
            while c + 32 <= end:
                max_32(y_flat, winners_flat, at + c, x_flat, row, c, sources, a, b, count)
                c += 32
            while c + 8 <= end:
                max_8(y_flat, winners_flat, at + c, x_flat, row, c, sources, a, b, count)
                c += 8
            while c < end:
                max_1(y_flat, winners_flat, at + c, x_flat, row, c, sources, a, b, count)
                c += 1


@kernel
def return_to_winners(x_slopes, room, y_slopes, winners, first, last):
    """Columns `first` .. `last` of x_slopes [n, F]: sums of the slopes of y [n, F] over what each node won.

    room [n, columns] float64: where they are summed."""
    room[:] = 0.0
    for i in range(len(y_slopes)):
        for c in range(first, last):
            winner = winners[i, c]
            if winner >= 0:
                room[winner, c - first] += y_slopes[i, c]
    for i in range(len(x_slopes)):
        for c in range(first, last):
            x_slopes[i, c] = room[i, c - first]
