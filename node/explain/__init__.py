"""Why something on the chain is as it is: words and figures from a chain that was replayed."""
