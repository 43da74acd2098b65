"""Compiled kernels: the same integers as the portable path, several times faster.

Compiled without fast-math and without fused multiply-add; every product is exact, so loops may be ordered freely.
"""
