"""What an offline W&B run has written down for `wandb sync`, read with W&B's own messages."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

from wandb.proto.wandb_internal_pb2 import ConfigRecord, Record, RunRecord, SummaryRecord

BLOCK = 32768  # bytes; no part of a record lies in two blocks
HEADER = struct.Struct("<IHB")  # checksum, length, kind of each part
FULL, LAST = 1, 4


def records(file: Path) -> Iterator[Record]:
    """The messages of a .wandb file, whose parts are laid out as in a log of LevelDB."""
    data = file.read_bytes()
    assert data[:7] == b":W&B" + struct.pack("<HB", 0xBEE1, 0)
    position, message = 7, b""
    while position < len(data):
        if BLOCK - position % BLOCK < HEADER.size:
            position += BLOCK - position % BLOCK
            continue
        checksum, length, kind = HEADER.unpack_from(data, position)
        part = data[position + HEADER.size : position + HEADER.size + length]
        assert checksum == crc32(bytes([kind]) + part)
        position += HEADER.size + length
        message += part
        if kind in (FULL, LAST):
            yield Record.FromString(message)
            message = b""


def run_of(file: Path) -> tuple[RunRecord, dict, dict]:
    """The run in a .wandb file: how it was opened, and its configuration and summary in the end."""
    opened, config, summary = None, {}, {}
    for record in records(file):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            opened = record.run
            _update(config, record.run.config)
            _update(summary, record.run.summary)
        elif kind in ("config", "summary"):
            _update(config if kind == "config" else summary, getattr(record, kind))
    return opened, config, summary


def _update(values: dict, changes: ConfigRecord | SummaryRecord) -> None:
    for item in changes.update:
        keys = list(item.nested_key) or [item.key]
        node = values
        for key in keys[:-1]:
            node = node.setdefault(key, {})
        node[keys[-1]] = json.loads(item.value_json)
