"""`python -m training.private.command FILE.npz ...`: the work behind `gradientcoin private-attention`.

Prints one JSON line with everything, or one with `error`; its reader is the command line. In order: what is public is
decided, the budget is written down, the noise is drawn, the file is written.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from training.errors import PrivacyRefused
from training.private.attention import claim_error, estimate_error, make_attention
from training.private.budget import Budget, identify_records, spend, write_whole
from training.private.gram import (
    MEMORY_LIMIT,
    Array,
    Terms,
    check_records,
    check_scale,
    clip_records,
    make_gram,
)
from training.private.noise import SecretNoise
from training.private.recommend import expect_error, recommend
from training.private.release import Mechanism, Plan, make_plan, release, round_release

Json = dict[str, object]
Choice = Literal["auto", "sampling", "gaussian"]
FAILED, BAD_USAGE, BAD_FILE = 1, 2, 3
NAME = "Y"
CODES = {"Y": BAD_FILE, "budget": BAD_FILE, "total_epsilon": FAILED, "total_delta": FAILED}  # else BAD_USAGE


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    try:
        answer = run(options)
    except PrivacyRefused as error:
        return refuse(str(error), CODES.get(error.field, BAD_USAGE))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return refuse(f"{where}{(error.strerror or str(error)).lower()}; nothing was released", FAILED)
    print_line(answer)
    return 0


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.private.command", description=__doc__)
    parser.add_argument("file", type=Path)
    for name in ("epsilon", "delta", "alpha", "eta"):
        parser.add_argument(f"--{name}", type=float, required=True)
    parser.add_argument("--mechanism", choices=get_args(Choice), default="auto")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--project", action="store_true", help="make Z positive semidefinite")
    parser.add_argument("--compare", action="store_true", help="tell the true error, which is not private")
    parser.add_argument("--budget-dir", type=Path)
    parser.add_argument("--total-epsilon", type=float)
    parser.add_argument("--total-delta", type=float)
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> Json:
    terms = Terms(options.alpha, options.eta, options.epsilon, options.delta)
    records = load_records(options.file)
    check_scale(terms, *records.shape)
    plan, reason = choose_plan(terms, options.mechanism, *records.shape)
    if options.output.exists():
        raise PrivacyRefused("output", f"{options.output} exists, and may be a release that was paid for")
    if not options.output.absolute().parent.is_dir():
        raise PrivacyRefused("output", f"there is no directory {options.output.absolute().parent}")
    budget = spend_budget(options, records, plan)
    z = release(plan, records, SecretNoise(), options.project)
    attention = make_attention(z)
    write_whole(options.output, encode_release(plan, z, attention, options.project))
    answer = describe(plan, reason, z, records.shape[1])
    answer |= {"file": str(options.output), "projected": options.project, "budget": describe_budget(budget)}
    return answer | ({"true_error": compare(records, terms, z, attention)} if options.compare else {})


def load_records(path: Path) -> Array:
    """Y of an npz file, or its only array. Raises PrivacyRefused."""
    if not path.is_file():
        raise PrivacyRefused(NAME, f"there is no file {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {info.filename: info.file_size for info in archive.infolist()}
        name = NAME if f"{NAME}.npy" in sizes or len(sizes) != 1 else next(iter(sizes)).removesuffix(".npy")
        if f"{name}.npy" not in sizes:
            raise PrivacyRefused(
                NAME, f"{path} has {', '.join(sizes) or 'nothing'}; an array Y [n, d] expected"
            )
        if sizes[f"{name}.npy"] > MEMORY_LIMIT:
            raise PrivacyRefused(NAME, f"at most {MEMORY_LIMIT:,} bytes expected, {path} has more")
        with np.load(path, allow_pickle=False) as arrays:
            values = arrays[name]
    except (zipfile.BadZipFile, ValueError) as error:
        raise PrivacyRefused(NAME, f"{path} is no npz file of numbers: {error}") from None
    if values.dtype.kind not in "fiu":
        raise PrivacyRefused(NAME, f"real numbers expected, {values.dtype} came")
    records: Array = values.astype(np.float64)
    check_records(records)
    return records


def choose_plan(terms: Terms, choice: Choice, n: int, d: int) -> tuple[Plan, str]:
    best, reason = recommend(terms, n, d)
    if choice == "auto" or choice == best.mechanism:
        return best, reason
    mechanism: Mechanism = choice
    return make_plan(terms, mechanism), f"asked for; auto would take {best.mechanism}: {reason}"


def spend_budget(options: argparse.Namespace, records: Array, plan: Plan) -> Budget | None:
    totals = options.total_epsilon, options.total_delta
    if options.budget_dir is None:
        if totals != (None, None):
            raise PrivacyRefused("budget_dir", "a total needs a directory where what was spent is kept")
        return None
    for field, total in zip(("total_epsilon", "total_delta"), totals, strict=True):
        if total is None or not (math.isfinite(total) and total > 0):
            raise PrivacyRefused(field, f"with a budget a number above 0 expected, {total} came")
    name = identify_records(records)
    return spend(options.budget_dir, name, plan.terms.epsilon, plan.delta, totals)


def encode_release(plan: Plan, z: Array, attention: Array, project: bool) -> bytes:
    """What may be published: Z, the attention made of it, and the terms."""
    terms, file = plan.terms, io.BytesIO()
    public: Json = {"alpha": terms.alpha, "eta": terms.eta, "epsilon": terms.epsilon, "delta": plan.delta}
    public |= {"mechanism": plan.mechanism, "projected": project}
    public |= {"samples": plan.samples} if plan.mechanism == "sampling" else {"sigma": plan.sigma}
    np.savez_compressed(file, Z=z, attention=attention, terms=np.array(json.dumps(public)))
    return file.getvalue()


def describe(plan: Plan, reason: str, z: Array, d: int) -> Json:
    terms, accounted, n = plan.terms, plan.accounted, len(z)
    claimed, claim = claim_error(plan, n, d)
    expected = expect_error(plan, n, d)
    return {
        "n": n,
        "d": d,
        "mechanism": plan.mechanism,
        "reason": reason,
        "epsilon": terms.epsilon,
        "delta": terms.delta,
        "delta_spent": plan.delta,
        "alpha": terms.alpha,
        "eta": terms.eta,
        "samples": plan.samples,
        "samples_by_paper": accounted.by_paper if accounted else 0,
        "delta_inverted": accounted and accounted.inverted,
        "delta_integrated": accounted and accounted.integrated,
        "sigma": plan.sigma,
        "expected_gram_error": {
            "gaussian": expected.gaussian,
            "sampling_least": expected.sampling_least if accounted else None,
            "sampling_most": expected.sampling_most if accounted else None,
        },
        "expected_error": estimate_error(z, plan),
        "claimed_error": claimed,
        "claim": claim,
    }


def describe_budget(budget: Budget | None) -> Json | None:
    if budget is None:
        return None
    return {
        "epsilon": budget.epsilon,
        "delta": budget.delta,
        "total_epsilon": budget.total_epsilon,
        "total_delta": budget.total_delta,
        "releases": len(budget.spent),
    }


def compare(records: Array, terms: Terms, z: Array, attention: Array) -> Json:
    """How far off the release is. These numbers tell of the data, beyond epsilon."""
    gram = make_gram(clip_records(records, terms.alpha))
    off = attention - make_attention(round_release(gram))
    return {
        "attention_max": float(np.abs(off).max()),
        "attention_rms": float(np.sqrt(np.square(off).mean())),
        "gram_rms": float(np.sqrt(np.square(z - gram).mean())),
    }


def print_line(line: Json) -> None:
    print(json.dumps(line), flush=True)


def refuse(message: str, code: int) -> int:
    print_line({"error": message, "exit_code": code})
    return code


if __name__ == "__main__":
    sys.exit(main())
