"""Shows that a command waits, for how long, and for what: on a terminal only."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from node.cli.output import warn

Say = Callable[[str], None]


@contextmanager
def waiting(what: str) -> Iterator[Say]:
    """Show a line with a clock on stderr until the block ends; nothing where stderr is no terminal.

    What else is to be said meanwhile goes through the function that the block gets.
    """
    if not sys.stderr.isatty():
        yield warn
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        progress.add_task(what, total=None)
        yield lambda text: progress.console.print(text, markup=False, highlight=False)
