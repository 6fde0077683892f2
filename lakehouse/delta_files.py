"""Write data files of a Delta table without Spark, in the driver or in a task.

No version of the table has such a file before `lakehouse.delta_commits.Replacement` commits it.
"""

from __future__ import annotations

import io
import json
import time
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def put_data_file(
    s3: S3Client, bucket: str, prefix: str, rows: pa.Table, *, partition: dict[str, str], recurring: Sequence[str]
) -> dict[str, Any]:
    """Write rows as one file of the table under `prefix`.

    Args:
        s3: S3.
        bucket: The table's bucket.
        prefix: The table's folder.
        rows: All columns of the table, by its contract's types; those of `partition` may be left out.
        partition: Value of each partition column, as the log writes it: an ISO date or a number.
        recurring: Columns whose values recur; a dictionary of any other would be made in vain.

    Returns:
        The log's `add` action. It tells of no statistics but the number of rows.
    """
    path = "".join(f"{name}={value}/" for name, value in partition.items()) + f"part-{uuid.uuid4()}.zstd.parquet"
    kept = rows.select([name for name in rows.column_names if name not in partition])
    body = io.BytesIO()
    pq.write_table(kept, body, compression="zstd", use_dictionary=list(recurring))
    s3.put_object(Bucket=bucket, Key=prefix + path, Body=body.getvalue())
    return {
        "path": path,
        "partitionValues": partition,
        "size": body.tell(),
        "modificationTime": now_in_millis(),
        "dataChange": True,
        "stats": json.dumps({"numRecords": rows.num_rows}),
    }


def now_in_millis() -> int:
    """Return the time as Delta's log has it: milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000
