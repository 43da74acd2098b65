"""Spectral approximation of A1 (x) A2 by few pairs of rows, with a quantum algorithm's queries counted (2402.07027)."""
