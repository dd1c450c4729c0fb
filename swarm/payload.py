"""Payloads of records: a model as a msgpack map, and back with nothing but MalformedRecord going wrong."""

import json
from typing import Any, TypeVar

import msgpack
from pydantic import BaseModel, ValidationError

from swarm.words import MalformedRecord

MAX_PAYLOAD_BYTES = 64 * 1024
RECORD_ID = r"^[0-9a-f]{64}$"
RFC_3339 = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z$"  # UTC

Model = TypeVar("Model", bound=BaseModel)


def encode(model: BaseModel) -> bytes:
    return msgpack.packb(model.model_dump(mode="json"), use_bin_type=True)


def decode(kind: type[Model], payload: bytes, name: str) -> Model:
    """Raises MalformedRecord, and nothing else, whatever the bytes. `name`: what they should be, for the sentence."""
    try:
        return kind.model_validate_json(json.dumps(_unpack(payload), allow_nan=False))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise MalformedRecord(f"{name} field {where}: {first['msg']}") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise MalformedRecord(f"not a {name}: {type(error).__name__}") from None


def _unpack(payload: bytes) -> Any:  # Any: whatever a stranger packed
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise MalformedRecord(f"payload of {len(payload)} bytes is larger than {MAX_PAYLOAD_BYTES}")
    try:
        return msgpack.unpackb(payload, strict_map_key=True, max_array_len=4096, max_map_len=256, max_ext_len=0)
    except Exception as error:  # msgpack raises many classes on hostile bytes; all mean the same here
        raise MalformedRecord(f"payload is not msgpack: {type(error).__name__}") from None
