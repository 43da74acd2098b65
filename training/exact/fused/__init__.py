"""Compiled kernels: the same integers as the portable path, several times faster.

Compiled without fast-math. Every product is exact, so its loops may be ordered freely, and its multiplications and
additions fused where the machine can; nothing else is.
"""
