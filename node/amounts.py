"""Amounts as people write them."""

UNITS_PER_COIN = 10**8


def format_coins(units: str | int) -> str:
    """Exact coins, without trailing zeros: '150000000' -> '1.5'."""
    whole, part = divmod(abs(int(units)), UNITS_PER_COIN)
    fraction = f".{part:08d}".rstrip("0").rstrip(".")
    return f"{'-' if int(units) < 0 else ''}{whole:,}{fraction}"


def format_amount(units: str | int) -> str:
    """Coins with their noun: '1 coin', '1.5 coins'."""
    number = format_coins(units)
    return f"{number} coin{'' if number == '1' else 's'}"
