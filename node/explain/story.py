"""What an explanation is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ledger.chain import Chain
from ledger.keys import address_text
from ledger.lifecycle import load_spec
from ledger.state import Overlay
from node.job_words import show_text


@dataclass(slots=True)
class Story:
    """A thing's verdict in one word, its story in sentences, and the figures behind it."""

    kind: str
    id: str
    verdict: str
    sentences: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)  # Any: values of JSON

    def say(self, sentence: str, **facts: Any) -> None:  # Any: values of JSON
        """Add a sentence, and figures it speaks of."""
        self.sentences.append(sentence)
        self.facts |= facts

    def to_json(self) -> dict[str, Any]:  # Any: values of JSON
        return {
            "kind": self.kind,
            "id": self.id,
            "verdict": self.verdict,
            "sentences": self.sentences,
            "facts": self.facts,
        }


def name_job(chain: Chain, job_id: bytes) -> str:
    """Return a job's title with the first digits of its id; what is not printable of the title is replaced."""
    record = Overlay(chain.state).get_job(job_id)
    if record is None:
        return f"job {job_id.hex()[:8]}"
    title = load_spec(record, chain.params).title
    return f"job {job_id.hex()[:8]} ({show_text(title)})"


def name_address(chain: Chain, address: bytes) -> str:
    return address_text(chain.params.address_prefix, address)


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
