"""Read a job file: TOML in, checked plain values out. docs/job-files.md explains every key.

What the keys say is checked here; whether the data fit them is `training.jobs`, and whether a chain takes the amounts
is the ledger's affair. Numbers are read as decimals, so that 0.1 coins are exactly 10,000,000 units.
"""

import re
import tomllib
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from pathlib import Path

from training.data import Names, describe_choice
from training.exact.grids import DATA
from training.objective_params import OBJECTIVES, ChoiceParam, DecimalParam, Param
from training.quantise import Normalisation
from training.section import JobFileError, Section, Table, show_value

MAX_TITLE_BYTES = 64
MAX_JOB_FILE_BYTES = 1 << 16
MAX_COLUMNS = 1024
MAX_SAMPLES = 1 << 26
MAX_TRANCHES = 256
MAX_TARGET_LOSS = 2**50 - 1  # in units of 2^-40
LOSS_BITS = 40
STEPS, SHARD, SAMPLE, LIFETIME = (2, 64), (1, 4096), (16, 4096), (1, 2**32)
WIDEST_MULTIPLY = Decimal(10) ** 12
AS_IT_IS = Normalisation(1.0, DATA.f, centre=False)
IDS = Normalisation(2.0**-DATA.f, DATA.f, centre=False)
JOB_DIGITS = re.compile(r"[0-9a-f]{4,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ArraySource:
    """Where an array comes from and how it is put on its grid."""

    names: Names
    normalisation: Normalisation
    constant: bool = False  # one more feature that is 1 in every sample, whatever is done to the others


@dataclass(frozen=True, slots=True)
class DataSource:
    """The data file and what is read from it."""

    file: Path
    inputs: ArraySource
    targets: ArraySource
    keys: ArraySource | None

    def get_source(self, role: str) -> ArraySource:
        """The source of "inputs", "targets" or "keys"."""
        sources = {"inputs": self.inputs, "targets": self.targets, "keys": self.keys}
        source = sources[role]
        if source is None:
            raise KeyError(role)
        return source


@dataclass(frozen=True, slots=True)
class Split:
    """Samples of each part, drawn without overlap; those of the evaluation split go into so many tranches."""

    train: int
    judge: int
    holdout: int
    evaluation: int
    tranches: int  # 0 where there is no evaluation split


@dataclass(frozen=True, slots=True)
class Rule:
    """A ticket's local rule. Rates are those of the file: on the mean gradient, one for each tensor."""

    steps: int
    shard: int
    learning_rates: tuple[Fraction, ...]


@dataclass(frozen=True, slots=True)
class Market:
    """Amounts in units; target_loss in 2^-40 for one judging sample, 0 for none."""

    price: int
    round_budget: int
    burn: int
    escrow: int
    target_loss: int
    lifetime_blocks: int
    judging_sample: int
    market_only: bool  # no heights are drawn for it, so it burns nothing


@dataclass(frozen=True, slots=True)
class JobFile:
    """A job as its file states it."""

    path: Path
    title: str
    seed: int
    parent: str  # first digits of the id of the job that this one continues, or nothing
    objective: str
    params: tuple[tuple[str, int], ...]  # in the order of the spec
    data: DataSource
    split: Split
    rule: Rule
    market: Market

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of the tensors that the objective trains, in the order of their rates."""
        return OBJECTIVES[self.objective].tensors

    @property
    def spec_params(self) -> tuple[int, ...]:
        """The objective's parameters as the spec has them: optional ones at the end are left out where all are 0."""
        values = tuple(value for _, value in self.params)
        needed = len(values) - OBJECTIVES[self.objective].optional
        return values if any(values[needed:]) else values[:needed]

    def get_param(self, name: str) -> int:
        """The value of one of the objective's parameters, 0 where it has none of that name."""
        return dict(self.params).get(name, 0)


def load_job_file(path: Path) -> JobFile:
    """Read a job file. Raises JobFileError naming the section, the key and what was expected."""
    root = Section(path, "", _parse(path))
    root.expect(("title", "seed", "parent", "objective", "data", "split", "rule", "market"))
    objective, params = _read_objective(root.take_section("objective"))
    return JobFile(
        path=path,
        title=_read_title(root),
        seed=root.take_integer("seed", 0, 2**63 - 1, default=1),
        parent=_read_parent(root),
        objective=objective,
        params=params,
        data=_read_data(root.take_section("data"), takes_ids=objective == "cycle_rank"),
        split=_read_split(root.take_section("split")),
        rule=_read_rule(root.take_section("rule"), OBJECTIVES[objective].tensors),
        market=_read_market(root.take_section("market")),
    )


# --- sections ---------------------------------------------------------------------------------------------------------


def _parse(path: Path) -> Table:
    text = _read_text(path)
    if not text.strip():
        raise JobFileError(f"{path}: the job file is empty; start from one of examples/")
    try:
        return tomllib.loads(text, parse_float=Decimal)
    except RecursionError as error:
        raise JobFileError(
            f"{path}: not valid TOML: nested too deep; a job file has sections and keys"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise JobFileError(f"{path}: not valid TOML: {error}; {_suggest_repair(str(error))}") from error
    except (ValueError, InvalidOperation) as error:
        raise JobFileError(f"{path}: a number or a date has far too many digits; shorten it") from error


def _read_text(path: Path) -> str:
    try:
        if path.is_dir():
            raise JobFileError(f"{path}: is a folder; expected a job file, such as {path / 'job.toml'}")
        if path.stat().st_size > MAX_JOB_FILE_BYTES:
            raise JobFileError(
                f"{path}: over {MAX_JOB_FILE_BYTES} bytes; a job file names its data, it does not hold them"
            )
        data = path.read_bytes()
    except OSError as error:
        raise JobFileError(f"{path}: cannot read the job file: {error.strerror}; look at its path") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise JobFileError(
            f"{path}: line {line}: byte 0x{data[error.start]:02x} is not UTF-8; save the job file as UTF-8"
        ) from error


def _suggest_repair(problem: str) -> str:
    if "overwrite" in problem or "Cannot declare" in problem:
        return "every key and section may be there once"
    return "texts go in quotes, lists in [ ], and every key has a value"


def _read_title(root: Section) -> str:
    title = root.take_text("title")
    size = len(title.encode())
    if not 1 <= size <= MAX_TITLE_BYTES:
        raise root.fail("title", f"expected 1 to {MAX_TITLE_BYTES} bytes, got {size}")
    if not title.isprintable():
        raise root.fail("title", f"expected printable characters on one line, got {show_value(title)}")
    return title


def _read_parent(root: Section) -> str:
    if "parent" not in root.table:
        return ""
    job = root.take_text("parent").strip().lower()
    if not JOB_DIGITS.fullmatch(job):
        raise root.expected("parent", "a job's id or its first 4 digits or more", root.table["parent"])
    return job


def _read_objective(section: Section) -> tuple[str, tuple[tuple[str, int], ...]]:
    name = section.take_text("name")
    if name not in OBJECTIVES:
        raise section.fail("name", f"unknown objective {name!r}{describe_choice(name, OBJECTIVES)}")
    shape = OBJECTIVES[name]
    section.expect(("name", *(param.name for param in shape.params)))
    return name, tuple((param.name, _read_param(section, param)) for param in shape.params)


def _read_param(section: Section, param: Param) -> int:
    if isinstance(param, ChoiceParam):
        return param.words.index(section.take_word(param.name, param.words, param.default))
    if isinstance(param, DecimalParam):
        return _read_steps(section, param)
    return section.take_integer(param.name, param.low, param.high, default=param.default)


def _read_steps(section: Section, param: DecimalParam) -> int:
    low, high = (Decimal(bound) / 2**param.fraction_bits for bound in (param.low, param.high))
    value = section.take_decimal(param.name, low, high, default=None if param.low else Decimal(0))
    steps = int((value * 2**param.fraction_bits).to_integral_value())
    if value and not steps:
        raise section.expected(param.name, f"0, or {1 / 2**param.fraction_bits:f} or more", value)
    return steps


def _read_data(section: Section, *, takes_ids: bool) -> DataSource:
    section.expect(("file", "inputs", "targets", "keys"))
    return DataSource(
        file=section.path.parent / _read_file_name(section),
        inputs=_read_ids(section) if takes_ids else _read_array(section, "inputs", may_centre=True),
        targets=_read_array(section, "targets", may_centre=False),
        keys=_read_array(section, "keys", may_centre=False) if "keys" in section.table else None,
    )


def _read_file_name(section: Section) -> str:
    name = section.take_text("file")
    if not name or "\0" in name:
        raise section.fail("file", f"expected the path of a data file, got {show_value(name)}")
    return name


def _read_array(parent: Section, key: str, *, may_centre: bool) -> ArraySource:
    """A bare string is the array or column of that name, as it is."""
    given = parent.table.get(key)
    if isinstance(given, str):
        return ArraySource((given,), AS_IT_IS)
    if given is not None and not isinstance(given, dict):
        raise parent.fail(
            key, f"expected a name in quotes, or a table {{ array = ... }}, got {show_value(given)}"
        )
    section = parent.take_section(key)
    section.expect(
        (
            *("array", "columns", "multiply", "fraction_bits"),
            *(("subtract", "divide", "constant") if may_centre else ()),
        )
    )
    subtract = section.take_word("subtract", ("nothing", "mean"), "nothing") if may_centre else "nothing"
    divide = section.take_word("divide", ("nothing", "deviation"), "nothing") if may_centre else "nothing"
    multiply = section.take_decimal("multiply", Decimal(0), WIDEST_MULTIPLY, default=Decimal(1))
    if multiply == 0:
        raise section.fail("multiply", "expected a number above 0")
    fraction_bits = section.take_integer("fraction_bits", 0, DATA.f, default=DATA.f)
    how = Normalisation(float(multiply), fraction_bits, subtract == "mean", divide == "deviation")
    constant = section.take_flag("constant", default=False) if may_centre else False
    return ArraySource(_read_names(section), how, constant)


def _read_ids(parent: Section) -> ArraySource:
    """Inputs that are ids: they are stored as they are, in units of the grid."""
    source = _read_array(parent, "inputs", may_centre=False)
    if source.normalisation != AS_IT_IS:
        raise parent.fail("inputs", "ids are taken as they are; remove multiply and fraction_bits")
    return replace(source, normalisation=IDS)


def _read_names(section: Section) -> Names:
    if ("array" in section.table) == ("columns" in section.table):
        came = "both" if "array" in section.table else "neither"
        raise section.fail(
            "array", f"name either `array` (.npz, .safetensors) or `columns` (.csv), got {came}"
        )
    if "array" in section.table:
        return (section.take_text("array"),)
    names = section.table["columns"]
    if not isinstance(names, list) or not 0 < len(names) <= MAX_COLUMNS:
        came = f"{len(names)} of them" if isinstance(names, list) else show_value(names)
        raise section.fail("columns", f"expected a list of 1 to {MAX_COLUMNS} column names, got {came}")
    wrong = [name for name in names if not isinstance(name, str)]
    if wrong:
        raise section.fail(
            "columns", f"expected a list of column names in quotes, got {show_value(wrong[0])}"
        )
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if twice:
        raise section.fail("columns", f"column {show_value(twice[0])} is named twice; name it once")
    return tuple(names)


def _read_split(section: Section) -> Split:
    section.expect(("train", "judge", "holdout", "evaluation", "tranches"))
    evaluation = section.take_integer("evaluation", 0, MAX_SAMPLES, default=0)
    return Split(
        train=section.take_integer("train", 1, MAX_SAMPLES),
        judge=section.take_integer("judge", 1, MAX_SAMPLES),
        holdout=section.take_integer("holdout", 0, MAX_SAMPLES, default=0),
        evaluation=evaluation,
        tranches=_read_tranches(section, evaluation),
    )


def _read_tranches(section: Section, evaluation: int) -> int:
    if evaluation:
        return section.take_integer("tranches", 1, min(MAX_TRANCHES, evaluation), default=1)
    if "tranches" in section.table:
        raise section.fail("tranches", "there are no samples for them: set evaluation, or remove it")
    return 0


def _read_rule(section: Section, tensors: tuple[str, ...]) -> Rule:
    section.expect(("steps", "shard", "learning_rate"))
    return Rule(
        steps=section.take_integer("steps", *STEPS),
        shard=section.take_integer("shard", *SHARD),
        learning_rates=_read_learning_rates(section, tensors),
    )


def _read_learning_rates(section: Section, tensors: tuple[str, ...]) -> tuple[Fraction, ...]:
    """One number for all tensors, or a table with one for each."""
    if not isinstance(section.table.get("learning_rate"), dict):
        return (_read_learning_rate(section, "learning_rate"),) * len(tensors)
    rates = section.take_section("learning_rate")
    rates.expect(tensors)
    return tuple(_read_learning_rate(rates, tensor) for tensor in tensors)


def _read_learning_rate(section: Section, key: str) -> Fraction:
    rate = section.take_decimal(key, Decimal(0), WIDEST_MULTIPLY)
    if rate == 0:
        raise section.fail(key, "expected a number above 0")
    return Fraction(rate)


def _read_market(section: Section) -> Market:
    section.expect(
        (
            *("market_only", "price", "round_budget", "burn", "escrow"),
            *("target_loss", "lifetime_blocks", "judging_sample"),
        )
    )
    market_only = section.take_flag("market_only", default=False)
    price, budget = (section.take_coins(key, default=0) for key in ("price", "round_budget"))
    burn = section.take_coins("burn", default=0 if market_only else None)
    if market_only:
        _check_market_only(section, burn, {"price": price, "round_budget": budget})
    highest_loss = Decimal(MAX_TARGET_LOSS) / 2**LOSS_BITS
    target_loss = section.take_decimal("target_loss", Decimal(0), highest_loss, default=Decimal(0))
    return Market(
        price=price,
        round_budget=budget,
        burn=burn,
        escrow=section.take_coins("escrow"),
        target_loss=int(Fraction(target_loss) * 2**LOSS_BITS),
        lifetime_blocks=section.take_integer("lifetime_blocks", *LIFETIME),
        judging_sample=section.take_integer("judging_sample", *SAMPLE),
        market_only=market_only,
    )


def _check_market_only(section: Section, burn: int, pays: dict[str, int]) -> None:
    if burn:
        raise section.fail(
            "burn",
            f"expected none where market_only is true, got {section.table['burn']}: no height is drawn for it",
        )
    for key, amount in pays.items():
        if not amount:
            raise section.fail(
                key, "expected more than 0 coins where market_only is true: updates alone train it"
            )
