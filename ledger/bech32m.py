"""bech32m text for short byte strings. Source: BIP 350 (without the witness version of its addresses)."""

from collections.abc import Iterable

from ledger.errors import DecodeError

ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
CHECKSUM_WORDS = 6
CHECKSUM_CONSTANT = 0x2BC830A3
GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
MAX_LENGTH = 90


def encode(prefix: str, data: bytes) -> str:
    """Return `prefix`, the separator 1, the data in 5-bit words and six check characters, in lower case."""
    words = _to_words(data)
    checked = [*_expand(prefix), *words, *([0] * CHECKSUM_WORDS)]
    residue = _polymod(checked) ^ CHECKSUM_CONSTANT
    check = [(residue >> 5 * (CHECKSUM_WORDS - 1 - i)) & 31 for i in range(CHECKSUM_WORDS)]
    return prefix + "1" + "".join(ALPHABET[word] for word in words + check)


def decode(text: str) -> tuple[str, bytes]:
    """Return prefix and data of a text in one case (BIP 350 allows all upper); DecodeError otherwise."""
    prefix, words = _split(text)
    if _polymod([*_expand(prefix), *words]) != CHECKSUM_CONSTANT:
        raise DecodeError(
            f"address {text!r}: the checksum does not match, a character is mistyped or missing"
        )
    return prefix, _from_words(words[:-CHECKSUM_WORDS], text)


def _split(text: str) -> tuple[str, list[int]]:
    lowered = text.lower()
    if len(text) > MAX_LENGTH or not text.isascii() or text not in (lowered, text.upper()):
        raise DecodeError(
            f"address: expected at most {MAX_LENGTH} characters in one case, got {text[:MAX_LENGTH]!r}"
        )
    prefix, separator, rest = lowered.rpartition("1")
    if not separator or not prefix or len(rest) < CHECKSUM_WORDS:
        raise DecodeError(
            f"address {text!r}: expected a prefix, the digit 1 and at least {CHECKSUM_WORDS} characters"
        )
    if not all("!" <= character <= "~" for character in prefix):
        raise DecodeError(f"address {text!r}: the prefix has a character that cannot be printed")
    bad = [character for character in rest if character not in ALPHABET]
    if bad:
        raise DecodeError(f"address {text!r}: expected characters of {ALPHABET!r}, got {bad[0]!r}")
    return prefix, [ALPHABET.index(character) for character in rest]


def _to_words(data: bytes) -> list[int]:
    """Return the bytes as 5-bit words, the last one filled with zero bits."""
    count = -(-len(data) * 8 // 5)
    number = int.from_bytes(data, "big") << (count * 5 - len(data) * 8)
    return [(number >> 5 * (count - 1 - i)) & 31 for i in range(count)]


def _from_words(words: list[int], text: str) -> bytes:
    number = 0
    for word in words:
        number = number << 5 | word
    length, spare = divmod(len(words) * 5, 8)
    data = (number >> spare).to_bytes(length, "big")
    if _to_words(data) != words:
        raise DecodeError(f"address {text!r}: expected zero bits after the last byte")
    return data


def _expand(prefix: str) -> list[int]:
    return [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]


def _polymod(words: Iterable[int]) -> int:
    check = 1
    for word in words:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ word
        for i, generator in enumerate(GENERATOR):
            check ^= generator if (top >> i) & 1 else 0
    return check
