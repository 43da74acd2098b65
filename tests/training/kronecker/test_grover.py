"""The search in the plane has the law of all n amplitudes, and charges every use of the oracle."""

import math

import numpy as np
import pytest

from training.kronecker.grover import PATIENCE, compute_chance, find_all
from training.kronecker.statevector import MOST_ITEMS, measure_states, run_grover


@pytest.mark.parametrize(
    ("n", "marked"), [(2, 1), (16, 16), (97, 5), (1000, 0), (4096, 1), (MOST_ITEMS, 300)]
)
def test_law_of_outcomes_is_that_of_all_amplitudes(n: int, marked: int) -> None:
    ids = np.random.default_rng(n).permutation(n)[:marked]
    for iterations in (0, 1, 2, 7, 40):
        law = np.full(n, np.nan)
        chance = compute_chance(n, marked, iterations)
        if marked < n:
            law[:] = (1 - chance) / (n - marked)
        law[ids] = chance / max(1, marked)
        assert np.abs(run_grover(n, ids, iterations) ** 2 - law).max() < 1e-12


def test_too_many_amplitudes_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 16384 items expected, 16385 came"):
        run_grover(MOST_ITEMS + 1, np.arange(1), 1)


@pytest.mark.parametrize("measure", [None, measure_states])
def test_all_marked_are_found_once(measure: object) -> None:
    marked = np.arange(3, 400, 17)
    options = {"measure": measure} if measure else {}
    search = find_all(400, marked, np.random.default_rng(1), **options)  # type: ignore[arg-type]
    assert sorted(search.found) == list(marked)


def test_search_without_marked_items_ends_and_is_charged() -> None:
    search = find_all(10_000, np.arange(0), np.random.default_rng(1))
    assert len(search.found) == search.finding == 0
    assert PATIENCE * 100 <= search.certifying <= PATIENCE * 100 + 100


def test_every_use_of_the_oracle_is_charged() -> None:
    used = []

    def measure(n: int, marked: np.ndarray, iterations: int, rng: np.random.Generator) -> int:
        used.append(iterations + 1)
        return 0 if len(marked) and rng.random() < 0.3 else -1

    search = find_all(500, np.arange(40), np.random.default_rng(1), measure)
    assert len(search.found) == 40
    assert search.finding + search.certifying == sum(used)


def test_queries_grow_as_the_root_of_items_times_marked() -> None:
    rng = np.random.default_rng(1)
    for n, marked in ((1 << 16, 50), (1 << 20, 50), (1 << 20, 800)):
        finding = [find_all(n, rng.permutation(n)[:marked], rng).finding for _ in range(5)]
        assert 1.4 < np.mean(finding) / math.sqrt(n * marked) < 2.4  # (pi/2) with k known, and what m costs
