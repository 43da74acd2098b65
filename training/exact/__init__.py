"""Arithmetic in which every result is an integer that no machine, thread count or library can change.

Section 9.1 of docs/protocol.md. Two paths compute the same integers: plain torch operations (`portable`), allowed by
name in `allowlist.py`, and compiled kernels (`fused/`).
"""
