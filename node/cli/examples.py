"""Where the example job is, as one can type it from here."""

from pathlib import Path

EXAMPLE = Path("examples", "digits.toml")
SOURCE = Path(__file__).resolve().parents[2]  # of an editable install: where the examples are


def find_example() -> Path:
    """The example job as one can type it from here."""
    here = EXAMPLE.exists() or not (SOURCE / EXAMPLE).exists()
    return EXAMPLE if here else SOURCE / EXAMPLE
