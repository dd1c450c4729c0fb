"""The messages of the blob protocol: what is sent, and what is refused."""

import hashlib
from pathlib import Path

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.blobs import (
    HEAD_BYTES,
    MAX_BLOB_BYTES,
    MAX_REQUEST_BYTES,
    BlobHead,
    BlobRequest,
    BlobStatus,
    OfferedBlobs,
    decode_head,
    decode_request,
    encode_head,
    encode_request,
)
from gossip.refusal import RefusalReason, Refused

SHA256 = hashlib.sha256(b"text").hexdigest()
HASH = bytes.fromhex(SHA256)


def test_a_request_is_the_bytes_that_the_document_names() -> None:
    message = encode_request(BlobRequest(SHA256, 7))
    assert msgpack.unpackb(message) == {"v": 1, "hash": HASH, "offset": 7}
    assert decode_request(message) == BlobRequest(SHA256, 7)
    assert len(encode_request(BlobRequest(SHA256, MAX_BLOB_BYTES))) <= MAX_REQUEST_BYTES


def test_keys_of_later_versions_are_passed_over() -> None:
    later = msgpack.packb({"v": 1, "hash": HASH, "offset": 0, "end": 9})
    assert decode_request(later) == BlobRequest(SHA256)


@pytest.mark.parametrize(
    "fields",
    [
        {"v": 2, "hash": HASH, "offset": 0},
        {"hash": HASH, "offset": 0},
        {"v": 1, "offset": 0},
        {"v": 1, "hash": SHA256, "offset": 0},
        {"v": 1, "hash": HASH[:31], "offset": 0},
        {"v": 1, "hash": HASH},
        {"v": 1, "hash": HASH, "offset": -1},
        {"v": 1, "hash": HASH, "offset": True},
        {"v": 1, "hash": HASH, "offset": 1.0},
        {"v": 1, "hash": HASH, "offset": MAX_BLOB_BYTES + 1},
        [1, HASH, 0],
        "../../identity.key",
    ],
)
def test_a_request_that_breaks_a_rule_is_refused(fields: object) -> None:
    with pytest.raises(Refused) as refused:
        decode_request(msgpack.packb(fields))
    assert refused.value.reason is RefusalReason.MALFORMED


def test_a_long_request_is_not_even_parsed() -> None:
    with pytest.raises(Refused) as refused:
        decode_request(msgpack.packb({"v": 1, "hash": HASH, "offset": 0, "x": bytes(MAX_REQUEST_BYTES)}))
    assert refused.value.reason is RefusalReason.OVERSIZE


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_refused(message: bytes) -> None:
    try:
        request = decode_request(message)
    except Refused:
        return
    assert len(request.sha256) == 64
    assert 0 <= request.offset <= MAX_BLOB_BYTES


@pytest.mark.parametrize("head", [BlobHead(BlobStatus.HERE, MAX_BLOB_BYTES), BlobHead(BlobStatus.BUSY)])
def test_a_head_is_a_status_and_a_size(head: BlobHead) -> None:
    encoded = encode_head(head)
    assert encoded == bytes([head.status]) + head.size_bytes.to_bytes(8, "big")
    assert decode_head(encoded) == head


@given(st.binary(max_size=HEAD_BYTES + 1))
def test_any_bytes_are_a_head_or_refused(head: bytes) -> None:
    try:
        decoded = decode_head(head)
    except Refused:
        return
    assert encode_head(decoded) == head


def test_only_what_was_offered_is_found(tmp_path: Path) -> None:
    file = tmp_path / "shard"
    source = OfferedBlobs({SHA256: file, "ab" * 32: b"brief"})
    assert source.find(SHA256) == file
    assert source.find("ab" * 32) == b"brief"
    assert source.find("cd" * 32) is None
    assert source.find(str(file)) is None
