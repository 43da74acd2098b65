"""Local networks of several nodes: detached daemon processes in one directory. Standard library only."""
