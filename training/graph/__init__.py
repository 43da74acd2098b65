"""Graph networks in floating point: sums, means and maxima over neighbours, layers made of them, and their training.

Features are aggregated a slice of columns after the other over edges sorted by destination, without a message for every
edge. Source: arXiv 2104.03058.
"""
