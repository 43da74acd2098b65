"""Chain files: what is written is read again, and nothing else is."""

import io
import zlib
from pathlib import Path

import pytest

from ledger.chain import Chain
from ledger.chainfile import (
    BLOB,
    BLOCK,
    CHECKSUM,
    END,
    END_RECORD_BYTES,
    GENESIS,
    MAGIC,
    PREFIX,
    ChainFile,
    FiledBlock,
    encode_block,
    encode_end,
    encode_start,
    list_sidecars,
    read_end,
)
from ledger.errors import DecodeError
from tests.ledger.chain_builder import DATA, ChainBuilder


def write_chain(chain: Chain) -> bytes:
    """Return the chain file of a chain."""
    parts = [encode_start(chain.genesis)]
    for block_hash in chain.index.main[1:]:
        block = chain.get_block(block_hash)
        assert block is not None
        blobs = [chain.blobs.get(cid) for cid in list_sidecars(block, chain.params)]
        parts += encode_block(block.encode(), blobs)
    return b"".join([*parts, encode_end(chain.head.height, chain.head.hash)])


def read_all(data: bytes) -> list[FiledBlock]:
    return list(ChainFile(io.BytesIO(data).read))


def make_record(kind: int, content: bytes) -> bytes:
    prefix = PREFIX.pack(kind, len(content))
    return prefix + CHECKSUM.pack(zlib.crc32(content, zlib.crc32(prefix))) + content


@pytest.fixture
def builder(tmp_path: Path) -> ChainBuilder:
    builder = ChainBuilder(tmp_path)
    builder.mine()
    builder.open_job()
    builder.mine_many(3)
    return builder


def test_written_chain_reads_back(builder: ChainBuilder) -> None:
    data = write_chain(builder.chain)
    filed = read_all(data)
    assert ChainFile(io.BytesIO(data).read).genesis == builder.genesis
    assert [f.block for f in filed] == [builder.block_at(h) for h in range(1, 6)]
    assert [f.blobs for f in filed] == [(), (DATA,), (), (), ()]
    assert read_end(data[-END_RECORD_BYTES:]) == (5, builder.chain.head.hash)


def test_chain_at_genesis_reads_back(tmp_path: Path) -> None:
    builder = ChainBuilder(tmp_path)
    assert read_all(write_chain(builder.chain)) == []


def test_file_cut_anywhere_is_refused(builder: ChainBuilder) -> None:
    data = write_chain(builder.chain)
    for length in range(0, len(data), 7):
        with pytest.raises(DecodeError):
            read_all(data[:length])
        with pytest.raises(DecodeError):
            read_end(data[:length][-END_RECORD_BYTES:])


def test_flipped_bit_anywhere_is_refused(builder: ChainBuilder) -> None:
    data = write_chain(builder.chain)
    for position in range(0, len(data), 11):
        damaged = bytearray(data)
        damaged[position] ^= 1 << position % 8
        with pytest.raises(DecodeError):
            read_all(bytes(damaged))


def test_bytes_after_the_end_are_refused(builder: ChainBuilder) -> None:
    with pytest.raises(DecodeError, match="after its end"):
        read_all(write_chain(builder.chain) + b"\0")


def test_record_claiming_to_be_huge_is_refused_before_it_is_read(builder: ChainBuilder) -> None:
    asked: list[int] = []
    source = io.BytesIO(encode_start(builder.genesis) + PREFIX.pack(BLOCK, 2**32 - 1) + bytes(100))

    def read(size: int) -> bytes:
        asked.append(size)
        return source.read(size)

    with pytest.raises(DecodeError, match="at most"):
        list(ChainFile(read))
    assert max(asked) < 1 << 16


def test_records_out_of_place_are_refused(builder: ChainBuilder) -> None:
    start, first = encode_start(builder.genesis), builder.block_at(1)
    submission, end = builder.block_at(2), encode_end(1, first.hash)
    wrong = {
        "no genesis": MAGIC + end,
        "genesis twice": start + make_record(GENESIS, builder.genesis.encode()) + end,
        "unknown kind": start + make_record(9, b"") + end,
        "end with a blob waiting": start + make_record(BLOB, b"x") + encode_end(0, builder.genesis.chain_id),
        "blob nobody needs": start + b"".join(encode_block(first.encode(), [DATA])) + end,
        "blob missing": start
        + b"".join(encode_block(submission.encode(), []))
        + encode_end(1, submission.hash),
        "another blob": start
        + b"".join(encode_block(submission.encode(), [b"x"]))
        + encode_end(1, submission.hash),
        "blob twice": start
        + b"".join(encode_block(submission.encode(), [DATA, DATA]))
        + encode_end(1, submission.hash),
        "wrong count": start + make_record(BLOCK, first.encode()) + encode_end(2, first.hash),
        "wrong head": start + make_record(BLOCK, first.encode()) + encode_end(1, submission.hash),
        "not a block": start + make_record(BLOCK, b"\x00") + end,
        "end of another length": start + make_record(END, b"\x00"),
        "blobs without end": start + make_record(BLOB, bytes(400_000)) * 3,
        "empty blob": start + make_record(BLOB, b"") * 3,
    }
    for name, data in wrong.items():
        with pytest.raises(DecodeError):
            pytest.fail(f"{name}: {read_all(data)}")


def test_same_data_of_two_jobs_in_a_block_is_filed_once(tmp_path: Path) -> None:
    from tests.ledger.chain_builder import ALICE, BOB, make_spec

    builder = ChainBuilder(tmp_path)
    builder.mine(builder.submit(ALICE, make_spec(1)), builder.submit(BOB, make_spec(2)))
    (filed,) = read_all(write_chain(builder.chain))
    assert filed.blobs == (DATA,)
