"""`python -m node.cli`: the command line where the console script is not on the path."""

from node.cli.start import main

main()
