"""Adversarial training of wide nets that looks at few neurons: `train` in loop.py says what it does."""

from training.solvers.adversarial.loop import DEFAULT, Settings, Step, Trained, Trainer, train, train_net
from training.solvers.adversarial.net import ShiftedNet, draw_net
from training.solvers.adversarial.problem import Adversary

__all__ = [
    "DEFAULT",
    "Adversary",
    "Settings",
    "ShiftedNet",
    "Step",
    "Trained",
    "Trainer",
    "draw_net",
    "train",
    "train_net",
]
