"""Threads of the arithmetic libraries: one for a process, unless the user says otherwise.

A run's products are small, and a machine often holds several processes: with two threads each, on two busy cores, a
replay of 86 blocks took 94 s instead of 10 s, nearly all of it spent waiting for the other thread's turn.
"""

import os

VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


def use_one_thread() -> None:
    """Ask for one thread here and in child processes; to be called before torch or numba is imported."""
    for name in VARIABLES:
        os.environ.setdefault(name, "1")
