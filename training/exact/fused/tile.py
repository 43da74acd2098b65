"""Matrix products of grid integers, in tiles that stay in vector registers.

The tile is written in LLVM's own vector types: eight float64 lanes, which LLVM maps to whatever registers the machine
has. Multiply and add may be fused here, and here alone: the sums are exact either way.
"""
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False

from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from training.exact.fused.compiler import kernel

LANES = 8
# As many rows as leave registers free: LANES are one of AVX-512's 32, two of AVX2's 16.
TILE_ROWS = 8 if binding.get_host_cpu_features().get("avx512f") else 4


# Any: numba hands typing and code generation contexts that have no published types.
def make_tile(rows: int) -> Any:
    """Build tile(c, c0, ldc, a, a0, row_step, term_step, b, b0, ldb, terms, add): rows x LANES entries of a product.

    c[c0 + r * ldc + lane] (+)= sum over k of a[a0 + r * row_step + k * term_step] * b[b0 + k * ldb + lane]
    """

    @intrinsic
    def tile(
        typing_context: Any, c: Any, c0: Any, ldc: Any, a: Any, a0: Any, row_step: Any, term_step: Any,
        b: Any, b0: Any, ldb: Any, terms: Any, add: Any,
    ) -> Any:  # fmt: skip
        n = types.intp
        return types.void(c, n, n, a, n, n, n, b, n, n, n, types.boolean), generate

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        c, c0, ldc, a, a0, row_step, term_step, b, b0, ldb, terms, add = args
        c, a, b = (
            context.make_array(signature.args[i])(context, builder, value).data
            for i, value in ((0, c), (3, a), (7, b))
        )
        lanes = _Lanes(builder)
        sums = [lanes.make_room() for _ in range(rows)]
        places = [builder.add(c0, builder.mul(ldc, ir.Constant(ldc.type, r))) for r in range(rows)]
        with builder.if_else(add) as (then, otherwise):
            with then:
                for total, place in zip(sums, places, strict=True):
                    builder.store(lanes.load(c, place), total)
            with otherwise:
                for total in sums:
                    builder.store(ir.Constant(lanes.vector, [0.0] * LANES), total)
        with cgutils.for_range(builder, terms) as loop:
            right = lanes.load(b, builder.add(b0, builder.mul(loop.index, ldb)))
            first = builder.add(a0, builder.mul(loop.index, term_step))
            for r, total in enumerate(sums):
                place = builder.add(first, builder.mul(row_step, ir.Constant(row_step.type, r)))
                lanes.accumulate(total, lanes.spread(a, place), right)
        for total, place in zip(sums, places, strict=True):
            lanes.store(builder.load(total), c, place)
        return context.get_dummy_value()

    return tile


def make_dots(rows: int) -> Any:
    """Build dots(out, out0, a, a0, lda, x, x0, terms): products of `rows` rows with one vector, `terms` whole LANES.

    out[out0 + r] = sum over k of a[a0 + r * lda + k] * x[x0 + k]
    """

    @intrinsic
    def dots(
        typing_context: Any, out: Any, out0: Any, a: Any, a0: Any, lda: Any, x: Any, x0: Any, terms: Any
    ) -> Any:
        n = types.intp
        return types.void(out, n, a, n, n, x, n, n), generate

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        out, out0, a, a0, lda, x, x0, terms = args
        out, a, x = (
            context.make_array(signature.args[i])(context, builder, value).data
            for i, value in ((0, out), (2, a), (5, x))
        )
        lanes = _Lanes(builder)
        sums = [lanes.make_room() for _ in range(rows)]
        for total in sums:
            builder.store(ir.Constant(lanes.vector, [0.0] * LANES), total)
        step = ir.Constant(terms.type, LANES)
        with cgutils.for_range_slice(builder, ir.Constant(terms.type, 0), terms, step, terms.type) as (k, _):
            right = lanes.load(x, builder.add(x0, k))
            for r, total in enumerate(sums):
                row = builder.add(a0, builder.mul(lda, ir.Constant(lda.type, r)))
                lanes.accumulate(total, lanes.load(a, builder.add(row, k)), right)
        for r, total in enumerate(sums):
            place = builder.gep(out, [builder.add(out0, ir.Constant(out0.type, r))])
            builder.store(lanes.sum(builder.load(total)), place)
        return context.get_dummy_value()

    return dots


class _Lanes:
    """Loads, stores and broadcasts of eight float64 at an index of a buffer."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder
        self.vector = ir.VectorType(ir.DoubleType(), LANES)

    def make_room(self) -> Any:
        """A variable; LLVM turns it into a register."""
        make: Any = cgutils.alloca_once
        return make(self.builder, self.vector)

    def load(self, buffer: Any, index: Any) -> Any:
        return self.builder.load(self._point(buffer, index), align=8)

    def store(self, value: Any, buffer: Any, index: Any) -> None:
        self.builder.store(value, self._point(buffer, index), align=8)

    def spread(self, buffer: Any, index: Any) -> Any:
        i32 = ir.IntType(32)
        undefined = ir.Constant(self.vector, ir.Undefined)
        number = self.builder.load(self.builder.gep(buffer, [index]))
        single = self.builder.insert_element(undefined, number, ir.Constant(i32, 0))
        return self.builder.shuffle_vector(
            single, undefined, ir.Constant(ir.VectorType(i32, LANES), [0] * LANES)
        )

    def accumulate(self, total: Any, left: Any, right: Any) -> None:
        """total += left * right, in one instruction where the machine has it: every sum is an integer below 2^50, so
        that rounding once or twice is the same."""
        term = self.builder.fmul(left, right, flags=("contract",))
        self.builder.store(self.builder.fadd(self.builder.load(total), term, flags=("contract",)), total)

    def sum(self, value: Any) -> Any:
        """The lanes' sum; exact, so in any order."""
        i32 = ir.IntType(32)
        total = self.builder.extract_element(value, ir.Constant(i32, 0))
        for lane in range(1, LANES):
            total = self.builder.fadd(total, self.builder.extract_element(value, ir.Constant(i32, lane)))
        return total

    def _point(self, buffer: Any, index: Any) -> Any:
        return self.builder.bitcast(self.builder.gep(buffer, [index]), self.vector.as_pointer())


tile_many = make_tile(TILE_ROWS)
tile_1 = make_tile(1)
dots_many = make_dots(TILE_ROWS)
dots_1 = make_dots(1)


@kernel
def pad(count):
    """Entries from a row to the next for rows of `count`: whole LANES, and no multiple of 512 bytes for long rows: a
    column of such a matrix would share a few lines of the first-level cache."""
    padded = (count + LANES - 1) // LANES * LANES
    if padded >= 128 and padded % 64 == 0:
        padded += LANES
    return padded


@kernel
def multiply(c, c0, ldc, a, a0, row_step, term_step, b, b0, ldb, rows, cols, terms, add):
    """c (+)= a @ b over flat buffers; `cols` is a multiple of LANES, `a` may be read transposed by its two steps.

    Sweeps columns outermost: LANES columns of b stay in the first-level cache while the rows go by.
    """
    whole = rows - rows % TILE_ROWS
    for j in range(0, cols, LANES):
        for i in range(0, whole, TILE_ROWS):
            tile_many(
                c,
                c0 + i * ldc + j,
                ldc,
                a,
                a0 + i * row_step,
                row_step,
                term_step,
                b,
                b0 + j,
                ldb,
                terms,
                add,
            )
        for i in range(whole, rows):
            tile_1(
                c,
                c0 + i * ldc + j,
                ldc,
                a,
                a0 + i * row_step,
                row_step,
                term_step,
                b,
                b0 + j,
                ldb,
                terms,
                add,
            )


@kernel
def multiply_vector(out, out0, a, a0, lda, x, x0, rows, terms):
    """out = a @ x for `rows` rows of `terms` entries, whole LANES of them."""
    whole = rows - rows % TILE_ROWS
    for i in range(0, whole, TILE_ROWS):
        dots_many(out, out0 + i, a, a0 + i * lda, lda, x, x0, terms)
    for i in range(whole, rows):
        dots_1(out, out0 + i, a, a0 + i * lda, lda, x, x0, terms)


@kernel
def add_rows(out, a, lda, factors, rows, cols):
    """out[:cols] += sum over r of factors[r] * a's row r."""
    for r in range(rows):
        row, factor = a[r * lda : r * lda + cols], factors[r]
        for k in range(cols):
            out[k] += factor * row[k]
