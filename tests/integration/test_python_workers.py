"""Where the Python processes that Spark starts get PySpark from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyspark
from pyspark.sql import SparkSession


def test_workers_import_the_installed_package_and_no_archive(spark: SparkSession) -> None:
    def tell(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyspark as imported  # noqa: PLC0415 - in the worker

        for _ in batches:
            yield pa.RecordBatch.from_pydict({"file": [imported.__file__]})

    told = {row["file"] for row in spark.range(4).mapInArrow(tell, "file STRING").collect()}
    assert {Path(file) for file in told} == {Path(pyspark.__file__)}
