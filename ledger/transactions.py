"""Transactions: records, bytes, ids and signatures. What they do to the state is not known here.

Source: docs/protocol.md, section 2.
"""

from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

from ledger.codec import MAX_AMOUNT, Encodable, decode, encode, read_bytes, read_list, read_uint
from ledger.errors import DecodeError
from ledger.hashing import HASH_BYTES, read_cid, tagged_hash
from ledger.keys import ADDRESS_BYTES, PUBLIC_KEY_BYTES, SIGNATURE_BYTES, KeyPair, address_of, verify
from ledger.params import ChainParams
from ledger.privacy import PrivacyRecord, list_privacy, split_privacy

MAX_MEMO_BYTES = 64
LOSS_BYTES = 16  # a sum of losses is a u128
SHARE_BYTES = 286  # a header that need not win


@dataclass(frozen=True, slots=True)
class Transfer:
    """Move an amount to an address."""

    kind: ClassVar[int] = 1
    to: bytes
    amount: int
    memo: bytes = b""

    def to_list(self) -> list[Encodable]:
        """Return the fields as encoded."""
        return [self.to, self.amount, self.memo]


@dataclass(frozen=True, slots=True)
class SubmitJob:
    """Open a job: its spec, what pays for it, and the result of its trial."""

    kind: ClassVar[int] = 2
    spec: bytes
    escrow: int
    digest: bytes
    before: int
    after: int

    def to_list(self) -> list[Encodable]:
        """Return the fields as encoded."""
        losses = (self.before.to_bytes(LOSS_BYTES, "big"), self.after.to_bytes(LOSS_BYTES, "big"))
        return [self.spec, self.escrow, self.digest, *losses]


@dataclass(frozen=True, slots=True)
class CancelJob:
    """Ask that the sender's job close at its next boundary."""

    kind: ClassVar[int] = 3
    job_id: bytes

    def to_list(self) -> list[Encodable]:
        """Return the fields as encoded."""
        return [self.job_id]


@dataclass(frozen=True, slots=True)
class CommitUpdate:
    """Commit to an update of a job's round, with the training runs that are its weight."""

    kind: ClassVar[int] = 4
    job_id: bytes
    round: int
    commitment: bytes
    size: int  # bytes of the payload
    shares: tuple[bytes, ...]  # headers of 286 bytes, not decoded

    def to_list(self) -> list[Encodable]:
        """Return the fields as encoded."""
        return [self.job_id, self.round, self.commitment, self.size, list(self.shares)]


@dataclass(frozen=True, slots=True)
class RevealUpdate:
    """Publish the payload of the sender's update, and what its privacy cost if it has any."""

    kind: ClassVar[int] = 5
    job_id: bytes
    round: int
    payload: bytes  # CID
    size: int
    salt: bytes
    privacy: PrivacyRecord | None = None

    def to_list(self) -> list[Encodable]:
        """Return the fields as encoded."""
        fields: list[Encodable] = [self.job_id, self.round, self.payload, self.size, self.salt]
        return fields + list_privacy(self.privacy)


Body: TypeAlias = Transfer | SubmitJob | CancelJob | CommitUpdate | RevealUpdate


@dataclass(frozen=True, slots=True)
class Transaction:
    """A signed transaction; `txid` does not cover the signature."""

    sender: bytes  # public key
    nonce: int
    fee: int
    body: Body
    signature: bytes
    body_bytes: bytes = field(init=False, repr=False, compare=False)
    txid: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        body_bytes = _encode_body(self.sender, self.nonce, self.fee, self.body)
        object.__setattr__(self, "body_bytes", body_bytes)
        object.__setattr__(self, "txid", tagged_hash("gc/tx", body_bytes))

    @property
    def kind(self) -> int:
        """The number of the body's kind."""
        return self.body.kind

    @property
    def sender_address(self) -> bytes:
        """The address of the account that pays."""
        return address_of(self.sender)

    @property
    def size(self) -> int:
        """Bytes of the encoding; the least fee counts them."""
        return len(self.encode())

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        fields = (self.sender, self.nonce, self.fee, self.body.kind, self.body.to_list())
        return encode([*fields, self.signature])


def sign_transaction(keypair: KeyPair, chain_id: bytes, nonce: int, fee: int, body: Body) -> Transaction:
    """Return the signed transaction of a key's account."""
    body_bytes = _encode_body(keypair.public, nonce, fee, body)
    return Transaction(keypair.public, nonce, fee, body, keypair.sign("tx", chain_id, body_bytes))


def verify_signature(tx: Transaction, chain_id: bytes) -> bool:
    """Return whether the sender signed the transaction for this chain."""
    return verify(tx.sender, tx.signature, "tx", chain_id, tx.body_bytes)


def decode_transaction(data: bytes, params: ChainParams) -> Transaction:
    """Return the transaction with that encoding; its signature and a job's spec are not checked."""
    values = read_list(decode(data, params.transaction_limit), "transaction", 6)
    sender, nonce, fee, kind, body, signature = values
    return Transaction(
        sender=read_bytes(sender, "sender", PUBLIC_KEY_BYTES),
        nonce=read_uint(nonce, "nonce", 0, MAX_AMOUNT),
        fee=read_uint(fee, "fee", 0, MAX_AMOUNT),
        body=_read_body(read_uint(kind, "kind"), body, params),
        signature=read_bytes(signature, "signature", SIGNATURE_BYTES),
    )


def _encode_body(sender: bytes, nonce: int, fee: int, body: Body) -> bytes:
    return encode([sender, nonce, fee, body.kind, body.to_list()])


def _read_body(kind: int, value: object, params: ChainParams) -> Body:
    if kind == Transfer.kind:
        return _read_transfer(value)
    if kind == SubmitJob.kind:
        return _read_submit_job(value, params)
    if kind == CancelJob.kind:
        (job_id,) = read_list(value, "cancel_job", 1)
        return CancelJob(read_bytes(job_id, "job id", HASH_BYTES))
    if kind == CommitUpdate.kind:
        return _read_commit_update(value, params)
    if kind == RevealUpdate.kind:
        return _read_reveal_update(value, params)
    raise DecodeError(
        "transaction kind: expected 1 (transfer), 2 (submit_job), 3 (cancel_job), 4 (commit_update) or"
        f" 5 (reveal_update), got {kind}"
    )


def _read_transfer(value: object) -> Transfer:
    to, amount, memo = read_list(value, "transfer", 3)
    return Transfer(
        to=read_bytes(to, "to", ADDRESS_BYTES),
        amount=read_uint(amount, "amount", 1, MAX_AMOUNT),
        memo=read_bytes(memo, "memo", limit=MAX_MEMO_BYTES),
    )


def _read_submit_job(value: object, params: ChainParams) -> SubmitJob:
    spec, escrow, digest, before, after = read_list(value, "submit_job", 5)
    return SubmitJob(
        spec=read_bytes(spec, "spec", limit=params.spec_limit),
        escrow=read_uint(escrow, "escrow", 0, MAX_AMOUNT),
        digest=read_bytes(digest, "trial digest", HASH_BYTES),
        before=_read_loss(before, "trial before"),
        after=_read_loss(after, "trial after"),
    )


def _read_commit_update(value: object, params: ChainParams) -> CommitUpdate:
    job_id, number, commitment, size, shares = read_list(value, "commit_update", 5)
    items = read_list(shares, "shares", limit=params.update_shares)
    if not items:
        raise DecodeError(f"shares: expected 1 to {params.update_shares}, got none")
    return CommitUpdate(
        job_id=read_bytes(job_id, "job id", HASH_BYTES),
        round=read_uint(number, "round", 0, MAX_AMOUNT),
        commitment=read_bytes(commitment, "commitment", HASH_BYTES),
        size=read_uint(size, "payload size", 1, params.payload_limit),
        shares=tuple(read_bytes(item, "share", SHARE_BYTES) for item in items),
    )


def _read_reveal_update(value: object, params: ChainParams) -> RevealUpdate:
    (job_id, number, payload, size, salt), privacy = split_privacy(value, "reveal_update", 5)
    return RevealUpdate(
        job_id=read_bytes(job_id, "job id", HASH_BYTES),
        round=read_uint(number, "round", 0, MAX_AMOUNT),
        payload=read_cid(payload, "payload CID"),
        size=read_uint(size, "payload size", 1, params.payload_limit),
        salt=read_bytes(salt, "salt", HASH_BYTES),
        privacy=privacy,
    )


def _read_loss(value: object, name: str) -> int:
    return int.from_bytes(read_bytes(value, name, LOSS_BYTES), "big")
