"""Losses of the papers in float64 with their derivatives by formula, one file per problem: what solvers read."""
