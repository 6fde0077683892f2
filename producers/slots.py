"""Where keys go: slots of the stream's hash space, and the shards that own them.

Kinesis gives a record to the shard whose range holds the MD5 of its partition key. A slot is one of a power of two
equal ranges of that space, finer than the shards, and stays what it is when shards split: the events of one key always
ride in the same slot, so that their order survives a reshard.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from botocore.exceptions import ClientError

from producers.errors import ProducerError

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

HASH_BITS: Final = 128
FEWEST_SLOTS: Final = 16
SLOTS_PER_SHARD: Final = 4
FINE_SLOTS: Final = 4_096
"""Slots where nothing gathers in them: fine enough that one that waits holds up little else."""
CACHED_KEYS: Final = 1 << 18


class HashSlots:
    """Equal ranges of the hash space.

    Attributes:
        count: Number of slots, a power of two.
    """

    def __init__(self, count: int) -> None:
        """Divide the space into `count` slots."""
        self.count = count
        self._shift = 32 - (count.bit_length() - 1)
        self.slot_of = lru_cache(maxsize=CACHED_KEYS)(self._slot_of)

    @classmethod
    def for_shards(cls, shards: int) -> HashSlots:
        """Return slots that are several times finer than the shards."""
        return cls(max(FEWEST_SLOTS, 1 << (SLOTS_PER_SHARD * shards - 1).bit_length()))

    def _slot_of(self, key: str) -> int:
        digest = hashlib.md5(key.encode(), usedforsecurity=False).digest()
        return int.from_bytes(digest[:4]) >> self._shift

    def middle(self, slot: int) -> int:
        """Return the hash key in the middle of a slot."""
        return (2 * slot + 1) << (HASH_BITS - self.count.bit_length())


class ShardMap:
    """Open shards by the start of their hash range; read again when an answer names a shard that it does not know."""

    def __init__(self, kinesis: KinesisClient, stream: str) -> None:
        """Read the shards of the stream."""
        self._kinesis, self._stream = kinesis, stream
        self.refresh()

    @property
    def shard_ids(self) -> tuple[str, ...]:
        """Open shards, in order of their hash ranges."""
        return self._open[1]

    def refresh(self) -> None:
        """Read the open shards anew; closed ones take no records."""
        pages = self._kinesis.get_paginator("list_shards").paginate(StreamName=self._stream)
        found = sorted(
            (int(shard["HashKeyRange"]["StartingHashKey"]), shard["ShardId"])
            for page in pages
            for shard in page["Shards"]
            if "EndingSequenceNumber" not in shard["SequenceNumberRange"]
        )
        # Set in one step: other threads look up shards meanwhile.
        self._open = (tuple(start for start, _ in found), tuple(shard_id for _, shard_id in found))

    def shard_of(self, hash_key: int) -> str:
        """Return the shard that owns a hash key."""
        starts, ids = self._open
        return ids[bisect_right(starts, hash_key) - 1]


def read_shards(kinesis: KinesisClient, stream: str) -> ShardMap:
    """Return the open shards of a stream.

    Raises:
        ProducerError: There is no such stream, or nobody answers.
    """
    try:
        return ShardMap(kinesis, stream)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        missing = code == "ResourceNotFoundException"
        raise ProducerError(
            expected=f"the Kinesis stream {stream!r}",
            found="no stream of that name" if missing else f"the refusal {code}",
            do="Check the name, region and endpoint, or create the stream first."
            if missing
            else "Check credentials and permissions (kinesis:ListShards, kinesis:PutRecords).",
        ) from error
