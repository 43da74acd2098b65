"""A budget of samples is never exceeded, and survives whatever ends a process between writing and drawing."""

import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from training.errors import PrivacyRefused
from training.private.cost import PrivacyTerms, count_cost, count_total, find_noise
from training.private.update_budget import Account, identify_samples, read_account, spend_update
from training.splits import NO_KEYS, NO_LABELS, NO_ROWS, Split

TERMS = PrivacyTerms(8000, 10**10, updates=3)
COST = count_cost(find_noise(TERMS))
DATA_ID = bytes(range(32))


def make_samples(count: int = 5, indexed: bool = True) -> Split:
    rng = np.random.default_rng(count)
    inputs = rng.integers(-100, 100, (count, 4)).astype(np.int16)
    rows = rng.integers(-100, 100, (count, 2)).astype(np.int16)
    labels = rng.integers(0, 9, count).astype(np.int16)
    return Split(inputs, NO_ROWS if indexed else rows, labels if indexed else NO_LABELS, NO_KEYS)


def read(directory: Path) -> Account:
    return read_account(directory / f"{DATA_ID.hex()}.json")


def test_updates_spend_the_total_and_no_more(tmp_path: Path) -> None:
    for number in range(1, 4):
        account = spend_update(tmp_path, DATA_ID, COST, TERMS)
        assert (account.spent, account.updates) == (number * COST, number)
    with pytest.raises(
        PrivacyRefused, match=r"another update: epsilon 8 of 8 \(delta 1e-05\) is spent in 3 updates"
    ):
        spend_update(tmp_path, DATA_ID, COST, TERMS)
    assert read(tmp_path) == account
    assert account.spent <= count_total(TERMS.epsilon, TERMS.delta)


def test_total_can_be_lowered_only(tmp_path: Path) -> None:
    spend_update(tmp_path, DATA_ID, COST, TERMS)
    assert spend_update(tmp_path, DATA_ID, 1, replace(TERMS, epsilon=16000)).epsilon == 8000
    assert spend_update(tmp_path, DATA_ID, 1, replace(TERMS, epsilon=7000)).epsilon == 7000
    with pytest.raises(PrivacyRefused, match="of 7 "):
        spend_update(tmp_path, DATA_ID, 2 * COST, TERMS)


def spend_and_die(directory: str) -> None:
    spend_update(Path(directory), DATA_ID, COST, TERMS)
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_killed_process_wrote_counts(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=spend_and_die, args=(str(tmp_path),))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert read(tmp_path) == Account(8000, 10**10, COST, 1)
    assert spend_update(tmp_path, DATA_ID, COST, TERMS).updates == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"version": 1}',
        '{"version": 2, "epsilon": 1, "delta": 1, "spent": 0, "updates": 0}',
        '{"version": 1, "epsilon": 1, "delta": 1, "spent": -1, "updates": 0}',
        '{"version": 1, "epsilon": 1, "delta": 1, "spent": 0.5, "updates": 0}',
        '{"version": 1, "epsilon": 1, "delta": 1, "spent": true, "updates": 0}',
    ],
)
def test_damaged_file_is_refused_and_left_as_it_is(tmp_path: Path, text: str) -> None:
    path = tmp_path / f"{DATA_ID.hex()}.json"
    path.write_text(text)
    with pytest.raises(PrivacyRefused, match="is damaged"):
        spend_update(tmp_path, DATA_ID, COST, TERMS)
    assert path.read_text() == text


def test_data_id_is_of_the_samples_in_any_order(tmp_path: Path) -> None:
    for indexed in (True, False):
        samples = make_samples(indexed=indexed)
        found = identify_samples(tmp_path, samples)
        turned = [getattr(samples, name)[::-1] if len(getattr(samples, name)) == 5 else getattr(samples, name)
                  for name in ("inputs", "rows", "labels")]  # fmt: skip
        rows = NO_ROWS if indexed else turned[1]
        assert identify_samples(tmp_path, Split(turned[0], rows, turned[2], NO_KEYS)) == found
        changed = samples.inputs.copy()
        changed[0, 0] += 1
        assert identify_samples(tmp_path, replace(samples, inputs=changed)) != found


def test_data_id_is_keyed_with_a_secret_of_the_directory(tmp_path: Path) -> None:
    first, again, other = (identify_samples(tmp_path / name, make_samples()) for name in ("a", "a", "b"))
    assert first == again != other
    secret = tmp_path / "a" / "secret"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert len(secret.read_bytes()) == 32


def test_lost_or_damaged_secret_is_refused_beside_budgets(tmp_path: Path) -> None:
    identify_samples(tmp_path, make_samples())
    (tmp_path / "secret").unlink()
    identify_samples(tmp_path, make_samples())  # nothing was spent under the old one
    spend_update(tmp_path, DATA_ID, COST, TERMS)
    (tmp_path / "secret").write_bytes(b"short")
    with pytest.raises(PrivacyRefused, match="damaged"):
        identify_samples(tmp_path, make_samples())
    (tmp_path / "secret").unlink()
    with pytest.raises(PrivacyRefused, match="lost"):
        identify_samples(tmp_path, make_samples())
