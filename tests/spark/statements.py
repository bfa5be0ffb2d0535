"""Runs SQL statements of the standard input on Spark with Delta, one JSON text a line, and answers with rows as JSON.

Its arguments are the folder of Spark's warehouse and the mark that begins each answer: what starts Spark writes to the
standard output too.
It runs in an environment of its own, which has pyspark and delta-spark and nothing of ours.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from delta import configure_spark_with_delta_pip
from pyspark.sql import SparkSession


def main() -> None:
    folder, mark = sys.argv[1:]
    builder = (
        SparkSession.builder.master("local[2]")
        .config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
        .config("spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog")
        .config("spark.sql.warehouse.dir", str(Path(folder) / "warehouse"))
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.databricks.delta.snapshotPartitions", "2")
        .config("spark.sql.sources.parallelPartitionDiscovery.parallelism", "2")
    )
    spark = configure_spark_with_delta_pip(builder).getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    print(mark, json.dumps("ready"), flush=True)
    for line in sys.stdin:
        rows = [row.asDict(recursive=True) for row in spark.sql(json.loads(line)).collect()]
        print(mark, json.dumps(rows, default=str), flush=True)
    spark.stop()


if __name__ == "__main__":
    main()
