"""Ways to lower a loss in floating point. Free arithmetic: nothing here is ever compared."""
