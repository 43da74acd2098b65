"""Finding what an id means, and telling it. Source: docs/api.md.

An id is a job's, a transaction's, a block's (hash or height), an update's (its commitment) or a share's or ticket's
(its seed): all of it, or its first digits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ledger.blocks import HEARTBEAT, Block, Header, decode_header
from ledger.chain import Chain
from ledger.commitments import make_commitment
from ledger.hashing import HASH_BYTES
from ledger.records import JOB
from ledger.transactions import CancelJob, CommitUpdate, RevealUpdate, SubmitJob, Transaction, Transfer
from node.amounts import format_amount
from node.explain.job import explain_job
from node.explain.story import Story, count, name_address, name_job
from node.explain.update import UpdatePlace, explain_update

MIN_DIGITS = 6
LOOKED_AT = (
    5_000  # newest blocks in which the digits of an id are looked for: a second or two of the chain's thread
)
DIGITS = frozenset("0123456789abcdef")


class NotOnChain(LookupError):
    """Nothing on the main chain has that id."""


def explain(chain: Chain, name: str) -> Story:
    """Tell what an id stands for and why it is as it is; NotOnChain if nothing has it."""
    name = name.strip().lower()
    if name.isdigit() and len(name) < MIN_DIGITS:
        return _explain_height(chain, int(name))
    if len(name) < MIN_DIGITS or not DIGITS.issuperset(name) or len(name) > 64:
        raise NotOnChain(
            f"expected a height, or {MIN_DIGITS} to 64 hex digits of an id (job, transaction, block, update, ticket or "
            f"share), got {name[:80]!r}"
        )
    for find in (_find_job, _find_whole, _find_in_blocks):
        story = find(chain, name)
        if story is not None:
            return story
    raise NotOnChain(
        f"nothing on the chain up to height {chain.head.height} has an id that starts with {name} (of more than "
        f"{LOOKED_AT:,} blocks the newest are searched; jobs, and blocks and transactions by their whole id, are found "
        "anywhere)"
    )


def tell_all(chain: Chain) -> Iterator[Story]:
    """Tell everything the main chain holds, from genesis on: every block, its ticket, transactions, their updates and
    shares; last the jobs, in the order of their ids. For a chain that nobody else uses meanwhile: it takes its time."""
    for height in range(1, chain.head.height + 1):
        block_hash = chain.get_main_hash(height)
        block = chain.get_block(block_hash) if block_hash else None
        assert block is not None  # the main chain's bodies are kept
        for _, tell in _list_ids(chain, block):
            yield tell()
    for key in sorted(key for key in chain.state.entries() if key[0] == JOB):
        yield explain_job(chain, key[1:])


def _explain_height(chain: Chain, height: int) -> Story:
    block_hash = chain.get_main_hash(height)
    block = chain.get_block(block_hash) if block_hash and height else None
    if block is None:
        raise NotOnChain(f"height: expected 1..{chain.head.height}, got {height}")
    return explain_block(chain, block)


def _find_job(chain: Chain, name: str) -> Story | None:
    ids = sorted(key[1:] for key in chain.state.entries() if key[0] == JOB and key[1:].hex().startswith(name))
    return explain_job(chain, ids[0]) if ids else None


def _find_whole(chain: Chain, name: str) -> Story | None:
    """Find a block or a transaction by its whole id, without a search."""
    if len(name) != 2 * HASH_BYTES:
        return None
    whole = bytes.fromhex(name)
    place, entry = chain.find_transaction(whole), chain.index.get(whole)
    if place is not None:
        block = chain.get_block(chain.index.main[place[0]])
        assert block is not None
        return explain_transaction(chain, block, block.transactions[place[1]])
    block = chain.get_block(whole) if entry is not None and chain.index.on_main(entry) else None
    return explain_block(chain, block) if block is not None else None


def _find_in_blocks(chain: Chain, name: str) -> Story | None:
    """Look through the newest blocks of the main chain, newest first, for whatever has the id."""
    for height in range(chain.head.height, max(0, chain.head.height - LOOKED_AT), -1):
        block_hash = chain.get_main_hash(height)
        assert block_hash is not None
        block = chain.get_block(block_hash)
        assert block is not None
        for known, tell in _list_ids(chain, block):
            if known.hex().startswith(name):
                return tell()
    return None


def _list_ids(chain: Chain, block: Block) -> Iterator[tuple[bytes, Callable[[], Story]]]:
    """Yield the ids that a block brings, with what tells each."""
    yield block.hash, lambda: explain_block(chain, block)
    yield block.header.seed, lambda: explain_ticket(chain, block.header)
    for tx in block.transactions:
        yield tx.txid, lambda tx=tx: explain_transaction(chain, block, tx)  # type: ignore[misc]  # bound now
        if isinstance(tx.body, CommitUpdate):
            place = UpdatePlace(tx.body.job_id, tx.body.round, tx.body.commitment)
            yield tx.body.commitment, lambda place=place: explain_update(chain, place)  # type: ignore[misc]
            for data in tx.body.shares:
                share = decode_header(data)
                yield (
                    share.seed,
                    lambda share=share, place=place: explain_share(chain, share, place),  # type: ignore[misc]
                )


def explain_block(chain: Chain, block: Block) -> Story:
    story = explain_ticket(chain, block.header)
    work = block.header.work
    story.kind, story.id, story.verdict = "block", block.hash.hex(), "accepted"
    confirmations = chain.head.height - work.height + 1
    story.say(
        f"It carries {count(work.tx_count, 'transaction')} and has {count(confirmations, 'confirmation')}.",
        transactions=[tx.txid.hex() for tx in block.transactions],
        confirmations=confirmations,
    )
    return story


def explain_ticket(chain: Chain, header: Header) -> Story:
    """Tell why a block's ticket won."""
    work = header.work
    story = Story("ticket", header.seed.hex(), "won")
    miner = name_address(chain, _address_of(header))
    heartbeat = work.job_id == HEARTBEAT
    whose = "the heartbeat" if heartbeat else name_job(chain, work.job_id)
    story.say(
        f"{miner} won block {work.height} with a training run for {whose}.",
        height=work.height,
        block=header.hash.hex(),
        miner=miner,
        job=None if heartbeat else work.job_id.hex(),
    )
    fall = 100 * (header.before - header.after) / header.before
    story.say(
        f"On its shard the loss fell by {fall:.4f} %, and its ticket came under the threshold. Every node replayed the "
        "run and got the same bits.",
        before_units=str(header.before),
        after_units=str(header.after),
        digest=header.digest.hex(),
        ticket=f"{header.ticket:064x}",
        target=f"{work.target:064x}",
    )
    return story


def explain_share(chain: Chain, share: Header, place: UpdatePlace) -> Story:
    """Tell what a share was used for."""
    whose = "the heartbeat" if share.work.job_id == HEARTBEAT else name_job(chain, share.work.job_id)
    story = Story("share", share.seed.hex(), "spent")
    story.say(
        f"A training run for {whose} on height {share.work.height} that did not need to win: its ticket is under "
        f"{chain.params.share_factor} times the threshold.",
        height=share.work.height,
        before_units=str(share.before),
        after_units=str(share.after),
        digest=share.digest.hex(),
        ticket=f"{share.ticket:064x}",
    )
    story.say(
        f"It gives weight to update {place.commitment.hex()[:12]} of round {place.round}, and every node replayed it.",
        update=place.commitment.hex(),
    )
    return story


def explain_transaction(chain: Chain, block: Block, tx: Transaction) -> Story:
    """Tell what a transaction did; that of an update tells the update."""
    height = block.header.work.height
    story = _tell_body(chain, tx)
    fee = {"txid": tx.txid.hex(), "fee": str(tx.fee), "height": height, "block": block.hash.hex()}
    burned = tx.fee - tx.fee // 2
    paid = (
        f"Its fee of {format_amount(tx.fee)} was half burned ({format_amount(burned)})"
        if tx.fee
        else "It was free"
    )
    story.say(f"It is transaction {tx.txid.hex()[:12]} of block {height}. {paid}.", **fee)
    return story


def _tell_body(chain: Chain, tx: Transaction) -> Story:
    sender = name_address(chain, tx.sender_address)
    body = tx.body
    match body:
        case CommitUpdate():
            return explain_update(chain, UpdatePlace(body.job_id, body.round, body.commitment))
        case RevealUpdate():
            made = make_commitment(tx.sender, body.job_id, body.round, body.payload, body.salt)
            return explain_update(chain, UpdatePlace(body.job_id, body.round, made))
        case SubmitJob():
            return explain_job(chain, tx.txid)
        case CancelJob():
            story = explain_job(chain, body.job_id)
            story.say(f"{sender}, its owner, asked to cancel it.")
            return story
        case Transfer():
            story = Story("transaction", tx.txid.hex(), "accepted")
            to = name_address(chain, body.to)
            story.say(
                f"{sender} sent {format_amount(body.amount)} to {to}.",
                sender=sender,
                to=to,
                amount=str(body.amount),
            )
            return story


def _address_of(header: Header) -> bytes:
    from ledger.keys import address_of

    return address_of(header.work.miner)
