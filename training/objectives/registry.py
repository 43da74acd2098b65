"""The objectives a job can name."""

from collections.abc import Sequence

from training.errors import TaskRefused
from training.objectives.adversarial_relu import AdversarialRelu
from training.objectives.attention_regression import AttentionRegression
from training.objectives.base import Objective
from training.objectives.cycle_rank import CycleRank
from training.objectives.exponential_regression import ExponentialRegression
from training.objectives.graph_network import GraphNetwork
from training.objectives.kronecker_spectral import KroneckerSpectral
from training.objectives.sequence_regression import SequenceRegression
from training.objectives.softmax_regression import SoftmaxRegression

OBJECTIVES: dict[str, type[Objective]] = {
    AttentionRegression.name: AttentionRegression,
    SoftmaxRegression.name: SoftmaxRegression,
    SequenceRegression.name: SequenceRegression,
    ExponentialRegression.name: ExponentialRegression,
    CycleRank.name: CycleRank,
    AdversarialRelu.name: AdversarialRelu,
    KroneckerSpectral.name: KroneckerSpectral,
    GraphNetwork.name: GraphNetwork,
}

# No tickets: their work can be spared (sections 9.10 to 9.12).
UPDATES_ALONE = frozenset({AdversarialRelu.name, KroneckerSpectral.name, GraphNetwork.name})


def get_objective(name: str, params: Sequence[int]) -> Objective:
    """The objective with these parameters; raises TaskRefused."""
    if name not in OBJECTIVES:
        raise TaskRefused("objective", f"one of {', '.join(OBJECTIVES)} expected, got {name!r}")
    return OBJECTIVES[name].parse(params)
