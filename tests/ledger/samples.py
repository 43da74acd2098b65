"""One fixed example of each record, for tests and vectors."""

from dataclasses import replace

from ledger.blocks import HEARTBEAT, VERSION, Block, Header, WorkHeader, sign_header, tx_root_of
from ledger.commitments import make_commitment
from ledger.genesis import local_accounts, local_genesis
from ledger.hashing import cid_of, tagged_hash
from ledger.jobspec import JobSpec, encode_spec
from ledger.privacy import PrivacyRecord
from ledger.transactions import (
    Body,
    CancelJob,
    CommitUpdate,
    RevealUpdate,
    SubmitJob,
    Transaction,
    Transfer,
    sign_transaction,
)

SEED = "vectors"
GENESIS = local_genesis(SEED)
PARAMS = GENESIS.params
CHAIN_ID = GENESIS.chain_id
ALICE, BOB, MINER = local_accounts(SEED)[:3]
BLOB = b"GCD1 stands at the start of a data blob"

SPEC = JobSpec(
    title="Attention in context: Übung 1",
    objective="attention_regression",
    params=(4, 8, 2, 0, 0),
    data_cid=cid_of(BLOB),
    data_size=len(BLOB),
    init_seed=tagged_hash("gc/test", b"init"),
    steps=8,
    shard=64,
    rates=((3, 10), (1, 9)),
    sample=256,
    price=10**9,
    budget=10**10,
    burn=5 * 10**7,
    target=2**38,
    lifetime=100_000,
    market_only=0,
    evaluation=b"",
)
MARKET_SPEC = replace(SPEC, title="Updates alone", burn=0, market_only=1)
CHILD_SPEC = replace(SPEC, parent=tagged_hash("gc/test", b"job"), parent_weights=cid_of(b"weights"))
SUBMISSION = SubmitJob(
    spec=encode_spec(SPEC),
    escrow=20_000_000_000,
    digest=tagged_hash("gc/test", b"digest"),
    before=2**70,
    after=2**69 + 12345,
)
JOB_ID = tagged_hash("gc/test", b"job")
PAYLOAD, SALT = cid_of(b"payload"), tagged_hash("gc/test", b"salt")
COMMITMENT = make_commitment(ALICE.public, JOB_ID, 7, PAYLOAD, SALT)
SHARE = Header(
    WorkHeader(
        version=VERSION,
        height=6,
        parent=tagged_hash("gc/test", b"parent of a share"),
        time_ms=1_800_000_000_000,
        miner=ALICE.public,
        target=2**247,
        job_id=JOB_ID,
        tx_root=bytes(32),
        tx_count=0,
        state_root=bytes(32),
        nonce=11,
    ),
    digest=tagged_hash("gc/test", b"digest of a share"),
    before=2**60,
    after=2**59,
)
PRIVACY = PrivacyRecord(
    data_id=tagged_hash("gc/test", b"samples"),
    epsilon=8000,
    delta=10**10,
    clip=3 << 20,
    noise=113_930_901,
    steps=1,
    spent=3 * 95_371_000_000,
)
BODIES: tuple[Body, ...] = (
    Transfer(to=BOB.address, amount=123_456_789, memo=b"thanks"),
    SUBMISSION,
    CancelJob(job_id=JOB_ID),
    CommitUpdate(job_id=JOB_ID, round=7, commitment=COMMITMENT, size=2**15, shares=(SHARE.encode(),) * 2),
    RevealUpdate(job_id=JOB_ID, round=7, payload=PAYLOAD, size=2**15, salt=SALT),
    RevealUpdate(job_id=JOB_ID, round=8, payload=PAYLOAD, size=2**15, salt=SALT, privacy=PRIVACY),
)
TRANSACTIONS: tuple[Transaction, ...] = tuple(
    sign_transaction(ALICE, CHAIN_ID, nonce, 1000 + nonce, body) for nonce, body in enumerate(BODIES)
)
WORK = WorkHeader(
    version=VERSION,
    height=7,
    parent=tagged_hash("gc/test", b"parent"),
    time_ms=1_800_000_000_123,
    miner=MINER.public,
    target=2**247 + 99,
    job_id=HEARTBEAT,
    tx_root=tx_root_of(TRANSACTIONS),
    tx_count=len(TRANSACTIONS),
    state_root=tagged_hash("gc/test", b"state"),
    nonce=2**64 - 1,
)
HEADER = Header(work=WORK, digest=tagged_hash("gc/test", b"result"), before=2**100 + 1, after=2**99)
BLOCK = Block(HEADER, sign_header(MINER, CHAIN_ID, HEADER), TRANSACTIONS)
