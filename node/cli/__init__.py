"""The command line: talks HTTP to a running node and imports nothing heavy."""
