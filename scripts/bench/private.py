"""Private attention: samples by exact accounting against the paper's rule, errors of both mechanisms, and an attack.

What is drawn repeats for the same seed, as its noise does: these are measurements, not releases. Source of the problem:
2305.04701.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from designs import make_rng
from figures import Report, finish, parse_options

from training.private.attention import make_attention
from training.private.gram import Array, Terms, clip_records, make_gram
from training.private.noise import SecretNoise
from training.private.release import Mechanism, Plan, draw_bartlett, make_plan, release, round_release
from training.private.samples import Accounted, account, count_samples

EPSILON, DELTA = 1.0, 1e-5
ROWS, RECORDS, LARGEST = 16, 4096, 0.09  # n, d, and what d alpha^2 is
RIDGES = (256, 1024, 4096, 65536)  # eta in units of alpha^2; M has 256 on its diagonal
REPEATS, QUICK_REPEATS = 100, 4
RATIOS = (*(10 ** (-step / 4) for step in range(20)), 0.3, 0.15)
EPSILONS, DELTAS = (0.1, 0.5, 1.0, 2.0, 8.0), (1e-3, 1e-5, 1e-9)
GAME_DELTA, GAME_RATIO, TRIALS, QUICK_TRIALS = 0.02, 0.05, 40_000, 500
TAIL = 0.001  # of a game's confidence bounds: each holds with probability 0.999
RHO_ROWS, RHO_SAMPLES = 16, 360

Draw = Callable[[Array], Array]


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_options("private", __doc__, arguments)
    torch.set_num_threads(1)
    report = Report("private", options.seed, options.quick)
    measure_accounting(report)
    measure_errors(report)
    measure_spectrum(report)
    play_games(report)
    finish(report, options)


def make_noise(report: Report, label: str) -> SecretNoise:
    return SecretNoise(hashlib.sha256(f"{report.seed}/{label}".encode()).digest())


# --- accounting -------------------------------------------------------------------------------------------------------


def measure_accounting(report: Report) -> None:
    found = [(terms, accounted) for terms in list_terms(report.quick) if (accounted := try_count(terms))]
    worst = max(abs(a.inverted - a.integrated) / a.inverted for _, a in found)
    most = max(max(a.inverted, a.integrated) / terms.delta for terms, a in found)
    report.add_one(
        f"two accountants, {len(found)} issued k: largest relative difference", worst, "", at_most=1e-6
    )
    report.add_one("their larger delta(epsilon), of the delta asked for, largest", most, "x", at_most=1.0)
    terms = Terms(1.0, 1000.0, EPSILON, DELTA)
    accounted = count_samples(terms)
    name = "k at alpha^2/eta 0.001, epsilon 1, delta 1e-5"
    report.add_one(f"{name}: by the paper", accounted.by_paper, "samples")
    report.add_one(f"{name}: by exact accounting", accounted.samples, "samples")
    report.add_one(
        f"{name}: exact over the paper's", accounted.samples / accounted.by_paper, "x", at_least=10.0
    )
    begin_s = time.thread_time()
    count_samples(terms)
    report.add_one("finding it, both accountants", (time.thread_time() - begin_s) * 1e3, "ms")


def list_terms(quick: bool) -> list[Terms]:
    ratios = RATIOS[::6] if quick else RATIOS
    return [Terms(1.0, 1 / ratio, e, d) for ratio in ratios for e in EPSILONS for d in DELTAS]


def try_count(terms: Terms) -> Accounted | None:
    return count_samples(terms) if account(terms, 1).delta <= terms.delta else None


# --- errors -----------------------------------------------------------------------------------------------------------


def measure_errors(report: Report) -> None:
    """The largest error of an entry of the attention: medians over repetitions, ratios within each."""
    alpha = math.sqrt(LARGEST / RECORDS)
    records = make_rng(report.seed, "private").standard_normal((ROWS, RECORDS))
    repeats = QUICK_REPEATS if report.quick else REPEATS
    sigma = make_plan(Terms(alpha, alpha**2, EPSILON, DELTA), "gaussian").sigma
    gram = make_gram(clip_records(records, alpha))
    noise = make_noise(report, "errors")
    white = draw_errors(records, gram, repeats, make_release(alpha, RIDGES[0], "gaussian", noise))
    plain = draw_errors(gram, gram, repeats, lambda matrix: round_release(matrix + draw_plain(sigma, noise)))
    name = f"largest error of the attention, n={ROWS} d={RECORDS}"
    report.add(f"{name}: Gaussian", white, "")
    report.add(f"{name}: Gaussian, one deviation for all entries (textbook)", plain, "")
    for ridge in RIDGES:
        sampled = draw_errors(records, gram, repeats, make_release(alpha, ridge, "sampling", noise))
        report.add(f"{name}: sampling, eta {ridge} alpha^2", sampled, "")
        for label, other in (("textbook's", plain), ("Gaussian's", white)):
            ratio = float(np.mean(sampled) / np.mean(other))
            has_aim = label == "textbook's" and ridge == RIDGES[-1] and not report.quick
            report.add_one(
                f"{name}: sampling, eta {ridge} alpha^2, over the {label} (means)",
                ratio,
                "x",
                at_most=1.0 if has_aim else None,
            )
    report.notes.append(
        "over the Gaussian's, theory expects 1 + 256 alpha^2 / eta; what 100 draws say of it is uncertain by 0.02"
    )


def make_release(alpha: float, ridge: int, mechanism: Mechanism, noise: SecretNoise) -> Draw:
    plan = make_plan(Terms(alpha, ridge * alpha**2, EPSILON, DELTA), mechanism)
    return lambda records: release(plan, records, noise)


def draw_plain(sigma: float, noise: SecretNoise) -> Array:
    drawn = noise.draw_normal(ROWS * ROWS).reshape(ROWS, ROWS) * sigma
    plain: Array = np.tril(drawn) + np.tril(drawn, -1).T
    return plain


def draw_errors(given: Array, gram: Array, repeats: int, draw: Draw) -> list[float]:
    true = make_attention(round_release(gram))
    return [float(np.abs(make_attention(draw(given)) - true).max()) for _ in range(repeats)]


def measure_spectrum(report: Report) -> None:
    """rho: by how much the average of k outer products differs from its mean, relative, in the spectral norm."""
    noise, n, k = make_noise(report, "spectrum"), RHO_ROWS, RHO_SAMPLES
    found = []
    for _ in range(QUICK_REPEATS if report.quick else REPEATS):
        t = draw_bartlett(n, k, noise)
        found.append(float(np.abs(np.linalg.eigvalsh(t @ t.T / k) - 1).max()))
    most = round(2 * math.sqrt(n / k) + n / k, 3)
    report.add(f"n={n}, k={k}: spectral error rho, at most 2 sqrt(n/k) + n/k", found, "", at_most=most)


# --- a game -----------------------------------------------------------------------------------------------------------


def play_games(report: Report) -> None:
    """Guess from a release which of two neighbours it is of: the worst pair, the best test, its best threshold.

    Half of the trials chooses the threshold, the other half gives the bounds, so that the choice proves nothing. The
    control draws four times the samples, or half the noise: it must be caught, or the game could catch nothing.
    """
    trials = QUICK_TRIALS if report.quick else TRIALS
    terms = Terms(1.0, 1 / GAME_RATIO, EPSILON, GAME_DELTA)
    noise = make_noise(report, "game")
    name = f"game, epsilon 1, delta {GAME_DELTA:g}, {trials:,} trials a side"
    for mechanism in ("sampling", "gaussian"):
        plan = make_plan(terms, mechanism)
        for label, played, wanted in (
            ("", plan, {"at_most": EPSILON}),
            (", control", weaken(plan), {} if report.quick else {"at_least": EPSILON}),
        ):
            least, delta = play(terms, played, trials, noise)
            report.add_one(f"{name}, {mechanism}{label}: epsilon shown at that delta", least, "", **wanted)
            report.add_one(f"{name}, {mechanism}{label}: delta seen at that epsilon", delta, "")


def weaken(plan: Plan) -> Plan:
    accounted = plan.accounted
    assert accounted is not None
    more = Accounted(4 * accounted.samples, 0.0, 0.0, 0)
    return Plan(plan.terms, plan.mechanism, more, plan.sigma / 2)


def play(terms: Terms, plan: Plan, trials: int, noise: SecretNoise) -> tuple[float, float]:
    """Return what epsilon is shown to be at the least, and delta(epsilon) as it was seen."""
    first, second = np.array([[terms.alpha], [0.0]]), np.array([[0.0], [terms.alpha]])
    own, other = (
        np.array([score(release(plan, y, noise), terms) for _ in range(trials)]) for y in (first, second)
    )
    half = trials // 2
    threshold = choose_threshold(own[:half], other[:half])
    hits, alarms = int((own[half:] > threshold).sum()), int((other[half:] > threshold).sum())
    low, high = bound_below(hits, trials - half), 1 - bound_below(trials - half - alarms, trials - half)
    least = math.log((low - terms.delta) / high) if low > terms.delta else 0.0
    return max(0.0, least), see_delta(own, other, terms.epsilon)


def score(z: Array, terms: Terms) -> float:
    """The likelihood ratio's statistic: both mechanisms' is a multiple of Z_11 - Z_22."""
    return float(z[0, 0] - z[1, 1])


def choose_threshold(own: Array, other: Array) -> float:
    """Where ln((hits - delta) / alarms) is largest, of those with enough alarms to say anything."""
    places = np.quantile(other, 1 - np.geomspace(0.002, 0.5, 60))
    gains = [((own > t).mean() - GAME_DELTA) / max((other > t).mean(), 1e-9) for t in places]
    return float(places[int(np.argmax(gains))])


def see_delta(own: Array, other: Array, epsilon: float) -> float:
    """The largest P(above t) - e^epsilon P'(above t) over thresholds t."""
    places = np.quantile(np.concatenate([own, other]), np.linspace(0.5, 1, 400))
    return max(float((own > t).mean() - math.exp(epsilon) * (other > t).mean()) for t in places)


def bound_below(hits: int, trials: int) -> float:
    """Clopper and Pearson's lower bound: the share at which `hits` or more have probability TAIL."""
    if hits == 0:
        return 0.0
    counts = np.arange(hits, trials + 1)
    ways = np.array(
        [math.lgamma(trials + 1) - math.lgamma(c + 1) - math.lgamma(trials - c + 1) for c in counts]
    )
    low, high = 0.0, hits / trials
    for _ in range(50):
        middle = (low + high) / 2
        logarithms = ways + counts * math.log(middle) + (trials - counts) * math.log1p(-middle)
        low, high = (middle, high) if np.exp(logarithms).sum() < TAIL else (low, middle)
    return low


if __name__ == "__main__":
    main()
