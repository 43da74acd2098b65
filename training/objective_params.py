"""What a job file calls the parameters of the objectives, in the order of the spec (docs/protocol.md, section 9)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class IntegerParam:
    """A parameter that is a number."""

    name: str
    low: int
    high: int
    default: int | None = None


@dataclass(frozen=True, slots=True)
class ChoiceParam:
    """A parameter that is one of a few words; the spec stores the word's place."""

    name: str
    words: tuple[str, ...]
    default: str | None = None


@dataclass(frozen=True, slots=True)
class DecimalParam:
    """A parameter that the spec stores in steps of 2^-fraction_bits, `low` to `high` of them; 0 unless given, if it may
    be 0."""

    name: str
    high: int
    fraction_bits: int
    low: int = 0


Param = IntegerParam | ChoiceParam | DecimalParam

TARGETS = ChoiceParam("targets", ("values", "class"))
FUNCTION = ChoiceParam("function", ("softmax", "exp", "cosh", "sinh"), "softmax")
WEIGHT = DecimalParam("weight", 4095, 8)


@dataclass(frozen=True, slots=True)
class ObjectiveShape:
    """An objective's parameters in the order of the spec, and the tensors it trains.

    The last `optional` ones are left out of the spec where all of them are 0.
    """

    params: tuple[Param, ...]
    tensors: tuple[str, ...]
    optional: int = 0


OBJECTIVES = {
    "attention_regression": ObjectiveShape(
        params=(
            IntegerParam("tokens", 1, 64),
            IntegerParam("width", 1, 256),
            IntegerParam("outputs", 1, 256),
            ChoiceParam("placement", ("plain", "positional"), "plain"),
            TARGETS,
        ),
        tensors=("X", "Y"),
    ),
    "softmax_regression": ObjectiveShape(
        params=(
            IntegerParam("features", 1, 1024),
            IntegerParam("outputs", 2, 1024),
            IntegerParam("key_width", 0, 1024, 0),
            TARGETS,
            FUNCTION,
            WEIGHT,
        ),
        tensors=("X",),
        optional=2,
    ),
    "sequence_regression": ObjectiveShape(
        params=(IntegerParam("tokens", 1, 256), IntegerParam("width", 1, 1024), FUNCTION, WEIGHT),
        tensors=("x",),
    ),
    "exponential_regression": ObjectiveShape(
        params=(IntegerParam("features", 1, 1024), IntegerParam("neurons", 2, 4096)), tensors=("W",)
    ),
    "adversarial_relu": ObjectiveShape(
        params=(
            IntegerParam("features", 1, 1024),
            IntegerParam("neurons", 2, 4096),
            IntegerParam("steps", 1, 8),
            DecimalParam("stride", 1023, 12, 1),
            DecimalParam("shift", 4095, 8),
        ),
        tensors=("W",),
    ),
    "kronecker_spectral": ObjectiveShape(
        params=(IntegerParam("pairs", 1, 4096), IntegerParam("scale", 0, 12)), tensors=("w",)
    ),
    "graph_network": ObjectiveShape(
        params=(
            IntegerParam("tokens", 1, 64),
            IntegerParam("width", 1, 256),
            IntegerParam("neurons", 8, 1024),
            IntegerParam("outputs", 2, 256),
            TARGETS,
        ),
        tensors=("U", "V"),
    ),
    "cycle_rank": ObjectiveShape(
        params=(
            IntegerParam("first", 1, 4096),
            IntegerParam("second", 1, 4096),
            IntegerParam("third", 1, 4096),
            IntegerParam("rank", 1, 8),
        ),
        tensors=("U", "V", "W"),
    ),
}
