"""Section 9 of docs/protocol.md, and a ticket of section 7, by their words in plain Python: no tensor, no kernel.

Integers are Python's; floats only where the protocol has float64, one operation after the other. Streams, samples and
tagged hashes, which have vectors of their own, are the project's.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, chain, pairwise

from tests.training.problems import Problem
from training.exact.counter import GAMMA, draw_sample, get_word, mix, open_stream
from training.hashing import compute_tagged_hash
from training.objectives.base import LOSS_CAP

Row = list[int]
Rows = list[Row]
WORD = 1 << 64


@dataclass
class Sample:
    """Inputs, a row for each token; targets, one row that serves every token, or a row for each."""

    inputs: Rows
    targets: Rows
    noise: tuple[int, ...] = ()  # of a cell: on the rows that it reads


@dataclass
class Step:
    """A sample's traced products in declared order, but for the gradients, and its part of each gradient."""

    products: list[Rows]
    gradients: list[Rows]
    traces_gradients: bool = True


# --- a ticket ---------------------------------------------------------------------------------------------------------


def run_ticket(
    problem: Problem, samples: Sequence[Sample], keys: Rows, master: Row, seed: bytes
) -> tuple[bytes, int, int]:
    """Digest, loss before and loss after of a ticket on training samples."""
    task = problem.task
    shard = [samples[i] for i in draw_sample(open_stream(seed, "shard"), len(samples), task.shard)]
    start = [saturate(n + 256 * d, 27) for n, d in zip(master, draw_dither(seed, len(master)), strict=True)]
    weights, traced = list(start), Traced()
    for t in range(1, task.steps + 1):
        noisy, noisy_keys = add_noise(problem, shard, keys, seed, t)
        gradients = take_gradients(problem, noisy, noisy_keys, weights, traced)
        weights = move(problem, weights, gradients)
    delta = [after - before for after, before in zip(weights, start, strict=True)]
    moved = [saturate(n + d, 27) for n, d in zip(master, delta, strict=True)]
    raw = struct.pack(f"<{len(delta)}q", *delta)
    digest = compute_tagged_hash("gc/delta", traced.total.to_bytes(8, "big"), raw)
    before, after = (sum(compute_loss(problem, s, keys, w) for s in shard) for w in (master, moved))
    return digest, before, after


class Traced:
    """The sum of section 7 over the entries of products, as they come."""

    def __init__(self) -> None:
        self.total, self._index = 0, 0

    def add(self, rows: Rows) -> None:
        for entry in chain.from_iterable(rows):
            self._index += 1
            self.total = (self.total + mix((entry + self._index * GAMMA) % WORD)) % WORD


def take_gradients(
    problem: Problem, shard: Sequence[Sample], keys: Rows, master: Row, traced: Traced
) -> list[Rows]:
    """Sums over the shard; every product of the step is traced, each over all samples before the next."""
    tensors = read_weights(problem, master)
    steps = [STEPS[problem.task.objective](problem, sample, keys, tensors) for sample in shard]
    for parts in zip(*(step.products for step in steps), strict=True):
        for rows in parts:
            traced.add(rows)
    gradients = [add_up([step.gradients[i] for step in steps]) for i in range(len(tensors))]
    for gradient in gradients if steps[0].traces_gradients else ():
        traced.add(gradient)
    return gradients


def move(problem: Problem, master: Row, gradients: list[Rows]) -> Row:
    """The step of section 9.3; g * mantissa is taken in float64."""
    steps, scales = [], GRADIENT_FS[problem.task.objective]
    if problem.task.objective == "kronecker_spectral":
        scales = (26 + problem.task.params[1],)
    for (mantissa, shift), f, gradient in zip(problem.task.rates, scales, gradients, strict=True):
        scale = 2.0 ** (24 - f - shift)
        steps += [round((float(g) * mantissa) * scale) for g in chain.from_iterable(gradient)]
    return [saturate(n - step, 27) for n, step in zip(master, steps, strict=True)]


def add_noise(
    problem: Problem, shard: Sequence[Sample], keys: Rows, seed: bytes, t: int
) -> tuple[list[Sample], Rows]:
    stream, count = open_stream(seed, f"noise/{t}"), 0
    if problem.task.objective == "cycle_rank":
        entries = 3 * problem.task.params[3] ** 2
        drawn = [take_nibble(stream, j) - 8 for j in range(entries * len(shard))]
        return [
            Sample(sample.inputs, sample.targets, tuple(drawn[s * entries : (s + 1) * entries]))
            for s, sample in enumerate(shard)
        ], keys

    def take(rows: Rows) -> Rows:
        nonlocal count
        out = []
        for row in rows:
            out.append([saturate(n + take_nibble(stream, count + j) - 8, 15) for j, n in enumerate(row)])
            count += len(row)
        return out

    noisy = [Sample(take(sample.inputs), sample.targets) for sample in shard]
    return noisy, take(keys)


def draw_dither(seed: bytes, count: int) -> Row:
    stream = open_stream(seed, "dither")
    return [(take_nibble(stream, j) & 7) - 4 for j in range(count)]


def take_nibble(stream: int, j: int) -> int:
    return (get_word(stream, j // 16) >> (4 * (j % 16))) & 15


def read_weights(problem: Problem, master: Row) -> list[Rows]:
    """Tensors as products read them."""
    shapes = SHAPES[problem.task.objective](problem.task.params)
    ends = accumulate((rows * cols for rows, cols in shapes), initial=0)
    flats = [[round_weight(n) for n in master[first:last]] for first, last in pairwise(ends)]
    return [cut(flat, cols) for flat, (_, cols) in zip(flats, shapes, strict=True)]


# --- losses and steps of the objectives -------------------------------------------------------------------------------


def compute_loss(problem: Problem, sample: Sample, keys: Rows, master: Row) -> int:
    return LOSSES[problem.task.objective](problem, sample, keys, read_weights(problem, master))


def attend(sample: Sample, tensors: list[Rows]) -> tuple[list[Rows], Rows, Rows, Rows]:
    """Section 9.3 up to R: products 1 to 4, P, C on its grid, and R."""
    a, (x, y) = sample.inputs, tensors
    q = multiply(a, x)
    s = multiply(rescale(q, 28, 14, 20), transpose(a))
    p = [take_softmax(row, 26) for row in s]
    c = multiply(p, a)
    kept = rescale(c, 32, 14, 18)
    v = multiply(kept, y)
    b = sample.targets
    r = [
        [saturate(n - 256 * t, 26) for n, t in zip(row, b[i % len(b)], strict=True)]
        for i, row in enumerate(rescale(v, 30, 20, 26))
    ]
    return [q, s, c, v], p, kept, r


def lose_attention(problem: Problem, sample: Sample, keys: Rows, tensors: list[Rows]) -> int:
    return min(LOSS_CAP, sum(n * n for row in attend(sample, tensors)[-1] for n in row))


def step_attention(problem: Problem, sample: Sample, keys: Rows, tensors: list[Rows]) -> Step:
    a = sample.inputs
    products, p, c, r = attend(sample, tensors)
    g = rescale(r, 19, 14, 20)
    d = multiply(g, transpose(tensors[1]))
    t = multiply(rescale(d, 30, 14, 20), transpose(a))
    z = []
    for row, weights in zip(rescale(t, 26, 14, 22), p, strict=True):
        mean = dot(row, weights)
        z.append(
            [saturate(scale_product((n << 20) - mean, w, -36), 22) for n, w in zip(row, weights, strict=True)]
        )
    u = multiply(z, a)
    gradients = [multiply(transpose(a), rescale(u, 30, 18, 22)), multiply(transpose(c), g)]
    return Step([*products, d, t, u], gradients)


def score(sample: Sample, keys: Rows, x: Rows) -> tuple[list[Rows], int]:
    """The products that lead to a row's scores, the last of them, and its f (section 9.5)."""
    q = multiply(sample.inputs, x)
    if not keys:
        return [q], 28
    return [q, multiply(rescale(q, 28, 14, 20), transpose(keys))], 26


def lose_softmax(problem: Problem, sample: Sample, keys: Rows, tensors: list[Rows]) -> int:
    products, f = score(sample, keys, tensors[0])
    return lose_row(products[-1][0], f, sample.targets[0], *get_function(problem))


def step_softmax(problem: Problem, sample: Sample, keys: Rows, tensors: list[Rows]) -> Step:
    products, f = score(sample, keys, tensors[0])
    q = [differentiate_row(products[-1][0], f, sample.targets[0], *get_function(problem))]
    if keys:
        u = multiply(q, keys)
        products.append(u)
        q = rescale(u, 30, 18, 22)
    return Step(products, [multiply(transpose(sample.inputs), q)])


def lose_sequence(problem: Problem, sample: Sample, keys: Rows, tensors: list[Rows]) -> int:
    s = multiply(sample.inputs, tensors[0])
    return lose_row([row[0] for row in s], 28, sample.targets[0], *problem.task.params[2:])


def step_sequence(problem: Problem, sample: Sample, keys: Rows, tensors: list[Rows]) -> Step:
    s = multiply(sample.inputs, tensors[0])
    q = differentiate_row([row[0] for row in s], 28, sample.targets[0], *problem.task.params[2:])
    return Step([s], [multiply(transpose(sample.inputs), [[n] for n in q])])


def sum_exponentials(sample: Sample, tensors: list[Rows]) -> tuple[Rows, Row, int]:
    """Section 9.8: S, sign u, R."""
    s = multiply(sample.inputs, tensors[0])
    u = [take_function(n, 1) for n in read_scores(s[0], 28)]
    signed = [n if r % 2 == 0 else -n for r, n in enumerate(u)]
    return s, signed, saturate(sum(signed) - 256 * sample.targets[0][0], 26)


def lose_exponential(problem: Problem, sample: Sample, keys: Rows, tensors: list[Rows]) -> int:
    return min(LOSS_CAP, sum_exponentials(sample, tensors)[2] ** 2)


def step_exponential(problem: Problem, sample: Sample, keys: Rows, tensors: list[Rows]) -> Step:
    s, signed, r = sum_exponentials(sample, tensors)
    g = saturate(shift(r, -5), 20)
    q = [saturate(shift(n * g, -16), 22) for n in signed]
    return Step([s], [multiply(transpose(sample.inputs), [q])])


def read_cell(problem: Problem, sample: Sample, tensors: list[Rows]) -> tuple[list[Rows], Rows, int, int]:
    """Section 9.9: U_a, V_b, W_c, the exact P, the exact F, R."""
    k = problem.task.params[3]
    matrices = []
    for mode, (number, tensor) in enumerate(zip(sample.inputs[0], tensors, strict=True)):
        noise = sample.noise[mode * k * k : (mode + 1) * k * k] or [0] * (k * k)
        one = [(1 << 16) * (mode > 0 and i == j) for i in range(k) for j in range(k)]
        flat = [saturate(sum(parts), 19) for parts in zip(tensor[number], noise, one, strict=True)]
        matrices.append(cut(flat, k))
    u, v, w = matrices
    p = multiply(u, v)
    f = sum(dot(row, column) for row, column in zip(rescale(p, 32, 14, 20), transpose(w), strict=True))
    return matrices, p, f, saturate(saturate(shift(f, -10), 26) - 256 * sample.targets[0][0], 26)


def lose_cell(problem: Problem, sample: Sample, keys: Rows, tensors: list[Rows]) -> int:
    return min(LOSS_CAP, read_cell(problem, sample, tensors)[-1] ** 2)


def step_cell(problem: Problem, sample: Sample, keys: Rows, tensors: list[Rows]) -> Step:
    (u, v, w), p, f, r = read_cell(problem, sample, tensors)
    q, t = multiply(v, w), multiply(w, u)
    g = saturate(shift(r, -5), 20)
    kept = [transpose(rescale(rows, 32, 14, 20)) for rows in (q, t, p)]
    parts = [[g * n for row in rows for n in row] for rows in kept]
    gradients = [[[0] * len(row) for row in tensor] for tensor in tensors]
    for gradient, number, part in zip(gradients, sample.inputs[0], parts, strict=True):
        gradient[number] = part
    return Step([p, [[f]], q, t, [list(chain(*parts))]], gradients, traces_gradients=False)


def look(problem: Problem, x: Row, y: int, w: Rows) -> tuple[Row, Row, int]:
    """Section 9.10 at a point: S, M, R."""
    s = multiply([x], w)[0]
    u = [max(saturate(shift(n, -8), 24) - (problem.task.params[4] << 12), 0) for n in s]
    signs = [1 - 2 * (r % 2) for r in range(len(u))]
    return (
        s,
        [sign * (n > 0) for sign, n in zip(signs, u, strict=True)],
        saturate(dot(signs, u) - 256 * y, 26),
    )


def attack(problem: Problem, sample: Sample, tensors: list[Rows]) -> tuple[list[Rows], Row, Row, int]:
    """Products 1 to 2P + 1, x_P, M and R there."""
    d, m, steps, stride, _ = problem.task.params
    stream = open_stream(compute_tagged_hash("gc/relu"), "weights")
    drawn = [[get_word(stream, i * (m // 2) + j) % 2**17 - 2**16 for j in range(m // 2)] for i in range(d)]
    w = [
        [saturate(n + row[r // 2], 19) for r, n in enumerate(own)]
        for own, row in zip(tensors[0], drawn, strict=True)
    ]
    a, y = sample.inputs[0], sample.targets[0][0]
    s, active, r = look(problem, a, y, w)
    x, products = a, [[s]]
    for _ in range(steps):
        h = multiply([active], transpose(w))[0]
        x = [saturate(n + stride * sign(r) * sign(k), 15) for n, k in zip(x, h, strict=True)]
        s, active, r = look(problem, x, y, w)
        products += [[h], [s]]
    return products, x, active, r


def lose_attacked(problem: Problem, sample: Sample, keys: Rows, tensors: list[Rows]) -> int:
    return min(LOSS_CAP, attack(problem, sample, tensors)[-1] ** 2)


def step_attacked(problem: Problem, sample: Sample, keys: Rows, tensors: list[Rows]) -> Step:
    products, x, active, r = attack(problem, sample, tensors)
    g = saturate(shift(r, -5), 20)
    return Step(products, [multiply(transpose([x]), [[g * n for n in active]])])


def probe(problem: Problem, sample: Sample, tensors: list[Rows]) -> tuple[int, int]:
    """Section 9.11: F exact, R."""
    counted = [min(max(n + (1 << 16), 0), (1 << 19) - 1) for (n,) in tensors[0]]
    f = dot(sample.inputs[0], counted)
    output = saturate(shift(f, -8 - problem.task.params[1]), 26)
    return f, saturate(output - 256 * sample.targets[0][0], 26)


def lose_probe(problem: Problem, sample: Sample, keys: Rows, tensors: list[Rows]) -> int:
    return min(LOSS_CAP, probe(problem, sample, tensors)[1] ** 2)


def step_probe(problem: Problem, sample: Sample, keys: Rows, tensors: list[Rows]) -> Step:
    f, r = probe(problem, sample, tensors)
    return Step([[[f]]], [[[n * saturate(shift(r, -5), 20)] for n in sample.inputs[0]]])


def read_node(problem: Problem, sample: Sample, tensors: list[Rows]) -> tuple[Rows, Rows, Row, Rows]:
    """Section 9.12: S, u, h, Z."""
    m = problem.task.params[2]
    stream = open_stream(compute_tagged_hash("gc/graph"), "weights")
    fixed = [[get_word(stream, i * m + r) % 2**17 - 2**16 for r in range(m)] for i in range(len(tensors[0]))]
    pairs = zip(tensors[0], fixed, strict=True)
    weights = [[saturate(n + k, 19) for n, k in zip(own, row, strict=True)] for own, row in pairs]
    s = multiply(sample.inputs, weights)
    u = [[max(saturate(shift(n, -8), 24), 0) for n in row] for row in s]
    h = [saturate(shift(sum(column), -6), 20) for column in transpose(u)]
    return s, u, h, multiply([h], tensors[1])


def lose_node(problem: Problem, sample: Sample, keys: Rows, tensors: list[Rows]) -> int:
    return lose_row(read_node(problem, sample, tensors)[-1][0], 30, sample.targets[0], 0, 0)


def step_node(problem: Problem, sample: Sample, keys: Rows, tensors: list[Rows]) -> Step:
    s, u, h, z = read_node(problem, sample, tensors)
    q = differentiate_row(z[0], 30, sample.targets[0], 0, 0)
    d = multiply([q], transpose(tensors[1]))
    t = [[k * (n > 0) for n, k in zip(row, rescale(d, 34, 18, 22)[0], strict=True)] for row in u]
    return Step([s, z, d], [multiply(transpose(sample.inputs), t), multiply(transpose([h]), [q])])


def sign(n: int) -> int:
    return (n > 0) - (n < 0)


def get_function(problem: Problem) -> tuple[int, ...]:
    """Function and weight."""
    return problem.task.params[4:] or (0, 0)


SHAPES: dict[str, Callable[[tuple[int, ...]], list[tuple[int, int]]]] = {
    "attention_regression": lambda p: [(features(p), features(p)), (features(p), p[2])],
    "softmax_regression": lambda p: [(p[0], p[2] or p[1])],
    "sequence_regression": lambda p: [(p[1], 1)],
    "exponential_regression": lambda p: [(p[0], p[1])],
    "cycle_rank": lambda p: [(size, p[3] ** 2) for size in p[:3]],
    "adversarial_relu": lambda p: [(p[0], p[1])],
    "kronecker_spectral": lambda p: [(p[0], 1)],
    "graph_network": lambda p: [(p[1], p[2]), (p[2], p[3])],
}
GRADIENT_FS = {
    "attention_regression": (30, 28),
    "softmax_regression": (30,),
    "sequence_regression": (30,),
    "exponential_regression": (30,),
    "cycle_rank": (28, 28, 28),
    "adversarial_relu": (26,),
    "kronecker_spectral": (26,),  # and its scale
    "graph_network": (30, 32),
}
LOSSES: dict[str, Callable[[Problem, Sample, Rows, list[Rows]], int]] = {
    "attention_regression": lose_attention,
    "softmax_regression": lose_softmax,
    "sequence_regression": lose_sequence,
    "exponential_regression": lose_exponential,
    "cycle_rank": lose_cell,
    "adversarial_relu": lose_attacked,
    "kronecker_spectral": lose_probe,
    "graph_network": lose_node,
}
STEPS: dict[str, Callable[[Problem, Sample, Rows, list[Rows]], Step]] = {
    "attention_regression": step_attention,
    "softmax_regression": step_softmax,
    "sequence_regression": step_sequence,
    "exponential_regression": step_exponential,
    "cycle_rank": step_cell,
    "adversarial_relu": step_attacked,
    "kronecker_spectral": step_probe,
    "graph_network": step_node,
}


def features(params: tuple[int, ...]) -> int:
    """Of a token of attention, after expansion."""
    return params[1] * (params[0] if params[3] else 1)


def expand(objective: str, params: tuple[int, ...], stored: Row) -> Rows:
    """A sample's stored inputs as rows of tokens."""
    if objective == "sequence_regression":
        return cut(stored, params[1])
    if objective == "graph_network":
        return cut(stored, params[1])
    if objective != "attention_regression":
        return [stored]
    tokens, width, _, placement, _ = params
    rows = cut(stored, width)
    if not placement:
        return rows
    return [[0] * (i * width) + row + [0] * ((tokens - 1 - i) * width) for i, row in enumerate(rows)]


# --- functions of a row of scores, sections 9.1, 9.5 and 9.6 ----------------------------------------------------------


def lose_row(scores: Row, f: int, targets: Row, function: int, weight: int) -> int:
    r, t = compute_residuals(scores, f, targets, function, weight)
    return min(LOSS_CAP, sum(n * n for n in r) + sum(n * n for n in t))


def compute_residuals(scores: Row, f: int, targets: Row, function: int, weight: int) -> tuple[Row, Row]:
    s = read_scores(scores, f)
    if function == 0:
        r = [saturate(p - 256 * b, 24) for p, b in zip(take_softmax(scores, f), targets, strict=True)]
    else:
        u = [take_function(n, function) for n in s]
        alpha = sum(u)
        r = [saturate(shift(4096 * n - alpha * b, -12), 26) for n, b in zip(u, targets, strict=True)]
    return r, [saturate(shift(weight * n, -8), 26) for n in s]


def differentiate_row(scores: Row, f: int, targets: Row, function: int, weight: int) -> Row:
    """q on f18."""
    r, t = compute_residuals(scores, f, targets, function, weight)
    if function == 0:
        p = take_softmax(scores, f)
        g = [saturate(shift(n, -3), 18) for n in r]
        mean = dot(p, g)
        q = [scale_product((n << 20) - mean, w, -38) for n, w in zip(g, p, strict=True)]
    else:
        v = [take_derivative(n, function) for n in read_scores(scores, f)]
        g = [saturate(shift(n, -5), 20) for n in r]
        mean = dot(targets, g)
        q = [scale_product((n << 12) - mean, w, -28) for n, w in zip(g, v, strict=True)]
    if function == 0 and weight == 0:
        return [saturate(n, 20) for n in q]
    return [saturate(n + shift(weight * k, -9), 22) for n, k in zip(q, t, strict=True)]


def read_scores(scores: Row, f: int) -> Row:
    return [saturate(shift(n, 20 - f), 22) for n in scores]


def take_function(s: int, function: int) -> int:
    up, down = take_exp(s * 2.0**-20), take_exp(s * -(2.0**-20))
    if function == 1:
        return round(up * 2.0**20)
    return round((up + down) * 2.0**19) if function == 2 else round((up - down) * 2.0**19)


def take_derivative(s: int, function: int) -> int:
    return take_function(s, {1: 1, 2: 3, 3: 2}[function])


def take_softmax(scores: Row, f: int) -> Row:
    highest = max(scores)
    terms = [round(take_exp((n - highest) * 2.0**-f) * 2.0**30) for n in scores]
    return [round((n / sum(terms)) * 2.0**20) for n in terms]


def take_exp(x: float) -> float:
    """Section 9.1, every operation on its own; Python's floats are IEEE doubles, its round is half to even."""
    x = max(x, -40.0)
    k = round(x * (1 / 0.6931471805599453))
    r = (x - k * 0.693359375) - k * -2.12194440054690583e-4
    p = 1 / math.factorial(8)
    for i in range(7, -1, -1):
        p = p * r
        p = p + 1 / math.factorial(i)
    return float(math.ldexp(p, k))


# --- integers ---------------------------------------------------------------------------------------------------------


def scale_product(left: int, right: int, power: int) -> int:
    """rint((left * right) * 2^power), the product in float64."""
    return round((float(left) * float(right)) * 2.0**power)


def shift(n: int, power: int) -> int:
    """rint(n * 2^power)."""
    return round(Fraction(n) * Fraction(2) ** power)


def rescale(rows: Rows, f: int, g: int, p: int) -> Rows:
    return [[saturate(shift(n, g - f), p) for n in row] for row in rows]


def round_weight(master: int) -> int:
    return saturate(shift(master, -8), 19)


def saturate(n: int, p: int) -> int:
    limit = (1 << p) - 1
    return max(-limit, min(n, limit))


def multiply(left: Rows, right: Rows) -> Rows:
    columns = transpose(right)
    return [[dot(row, column) for column in columns] for row in left]


def transpose(rows: Rows) -> Rows:
    return [list(column) for column in zip(*rows, strict=True)]


def add_up(parts: Sequence[Rows]) -> Rows:
    return [[sum(entries) for entries in zip(*rows, strict=True)] for rows in zip(*parts, strict=True)]


def cut(flat: Row, cols: int) -> Rows:
    return [flat[i : i + cols] for i in range(0, len(flat), cols)]


def dot(left: Row, right: Row) -> int:
    return sum(a * b for a, b in zip(left, right, strict=True))
