"""Tensors of low cycle rank, by rotation and sketch: see decompose.py."""
