"""The trainer of a node: a process that computes updates, so that mining and replays never wait for torch."""
