"""Errors of the training engine: one root, and one class for each thing a caller does differently.

Messages say what was wrong, what was expected and what came.
"""


class TrainingError(Exception):
    """Root of everything the engine raises on purpose."""


class TaskRefused(TrainingError):
    """A training task outside its objective's domain. `field` names the part of the task that is wrong."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class BlobRefused(TrainingError):
    """A data blob that is not the canonical form of anything. `field` names the part that is wrong."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class PayloadRefused(TrainingError):
    """Bytes that are no update's payload (section 10.2). `field` names the part that is wrong."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class BadInput(TrainingError):
    """Weights, deltas or samples of the wrong size or range: a fault of the caller, not of a peer."""


class ProblemRefused(TrainingError):
    """Data, weights or a start that make no sense of a loss. `field` names which; the message has the remedy."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class PrivacyRefused(TrainingError):
    """A release that cannot be private, or not of use. `field` names what to change; the message how."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class CheckpointRefused(TrainingError):
    """A file that does not hold exact weights of a task. `field` is `file` if it is no checkpoint at all."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class BudgetExceeded(TrainingError):
    """A product whose declared ranges do not fit the bit budget: a fault in the objective's code."""


class SelfTestFailed(TrainingError):
    """This machine does not compute exactly; it must neither mine nor judge."""
