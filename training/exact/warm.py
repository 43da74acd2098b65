"""Compile every kernel into the cache: `python -m training.exact.warm`. Set-up does it once."""

import time
from collections.abc import Callable

from training.exact.fused.cache import choose_cache_folder, mark_compiled
from training.exact.selftest import (
    check_primitives,
    run_attention,
    run_cycle,
    run_exponential,
    run_graph,
    run_heartbeat,
    run_predictions,
    run_relu,
    run_sequence,
    run_softmax,
    run_spectral,
)

KERNELS: tuple[tuple[str, Callable[[], object]], ...] = (
    ("attention_regression", lambda: run_attention("fused")),
    ("softmax_regression", lambda: run_softmax("fused")),
    ("exponential_regression", lambda: run_exponential("fused")),
    ("sequence_regression", lambda: run_sequence("fused")),
    ("cycle_rank", lambda: run_cycle("fused")),
    ("adversarial_relu", lambda: run_relu("fused")),
    ("kronecker_spectral", lambda: run_spectral("fused")),
    ("graph_network", lambda: run_graph("fused")),
    ("primitives", lambda: check_primitives("fused")),
    ("predictions", lambda: run_predictions("fused")),
    ("heartbeat", lambda: run_heartbeat("fused")),
)


def main() -> None:
    for name, run in KERNELS:
        start = time.perf_counter()
        run()
        print(f"{name}: ready in {time.perf_counter() - start:.1f} s")
    mark_compiled()
    print(f"kernels are in {choose_cache_folder()}")


if __name__ == "__main__":
    main()
