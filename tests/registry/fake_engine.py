"""An engine in memory for tests of what is above it: tables are Arrow tables, queries run on the PyPI DataFusion.

It keeps the engine's promises about JSON, versions and errors; its plans are only names for queries.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from typing import Any, cast

import pyarrow as pa
from datafusion import SessionContext

import datafusion_ext
from registry.session import RuntimeProfile, SessionRuntime, build_session_runtime

SNAPSHOT = {
    "snapshot_hash": "functions-1",
    "functions": [
        {
            "name": "cdf_is_upsert",
            "kind": "scalar",
            "signature": "Exact",
            "volatility": "immutable",
            "rewrite_tags": ["cdf", "incremental"],
            "version": 1,
            "hash": "h1",
        }
    ],
    "rewrite_tags": {"cdf": ["cdf_is_upsert"], "incremental": ["cdf_is_upsert"]},
    "domain_planners": ["change_types@1"],
    "registry": {"scalar:upper": "u1", "scalar:cdf_is_upsert": "r1"},
    "registry_hash": "registry-1",
}


class FakeEngine:
    """Counts what it was asked to do, so that a test can say that nothing was planned or written."""

    def __init__(self, snapshot: dict[str, Any] | None = None, engine_version: str = "1") -> None:
        self.snapshot = snapshot or SNAPSHOT
        self.engine_version = engine_version
        self.data: dict[str, list[pa.Table]] = {}
        self.properties: dict[str, dict[str, str]] = {}
        self.compiled: list[str] = []
        self.appends: list[str] = []
        self.compacted: list[str] = []
        self.vacuumed: list[str] = []
        self.fail_appends: list[str] = []

    def settings(self) -> str:
        return json.dumps({"datafusion.execution.batch_size": "8192"})

    def function_snapshot(self) -> str:
        return json.dumps(self.snapshot)

    def _table(self, table: str) -> list[pa.Table]:
        uri = json.loads(table)["uri"]
        if uri not in self.data:
            raise datafusion_ext.DeltakeepError("not_a_table", f"there is no Delta table at '{uri}'")
        return self.data[uri]

    def table_state(self, table: str, version: int | None = None) -> str:
        found = {"version": len(self._table(table)) - 1, "table_id": "t", "timestamp_ms": 0, "schema": "{}"}
        uri = json.loads(table)["uri"]
        return json.dumps({**found, "uri": uri, "properties": self.properties.get(uri, {})})

    def next_version_exists(self, table: str, after: int) -> bool:
        return len(self._table(table)) > after + 1

    def look(self, looks: str) -> str:
        return json.dumps(
            [self.next_version_exists(json.dumps(one["table"]), one["after"]) for one in json.loads(looks)]
        )

    def latest_version(self, table: str, at_least: int | None = None) -> int:
        return len(self._table(table)) - 1

    def identity(self, table: str, version: int) -> str:
        if version >= len(self._table(table)):
            raise datafusion_ext.DeltakeepError("version_not_found", f"version {version} does not exist")
        return json.dumps({"table_id": "t", "commit_hash": str(version)})

    def examine(self, request: str) -> str:
        raise AssertionError("these tests refresh nothing")

    def target_state(self, table: str, view_id: str, version: int | None = None) -> str:
        raise AssertionError("these tests refresh nothing")

    def relations(self, sql: str) -> str:
        if "syntax error" in sql:
            raise datafusion_ext.DeltakeepError(
                "invalid_query", "Expected: an expression, found: syntax at Line: 2, Column: 3"
            )
        return json.dumps(sorted(set(re.findall(r"(?:from|join)\s+(\w+)", sql, re.IGNORECASE))))

    def define_functions(self, sources: str) -> str:
        functions = [{"name": one["name"], "kind": "macro"} for one in json.loads(sources)]
        return json.dumps({"functions": functions, "problems": []})

    def compile(self, request: str, plan: bytes | None = None) -> str:
        asked = json.loads(request)
        self.compiled.append(asked["name"])
        definition = asked["sql"] or (plan or b"").hex()
        if "no such column" in definition:
            raise datafusion_ext.DeltakeepError("invalid_query", "No field named nope at Line: 1, Column: 8")
        content = hashlib.sha256((definition + json.dumps(asked["inputs"])).encode()).hexdigest()
        columns = [{"name": name, "type": "long", "nullable": True} for name in ("day", "amount")]
        fields: list[dict[str, Any]] = [{**column, "metadata": {}} for column in columns]
        return json.dumps(
            {
                "name": asked["name"],
                "encoding": "substrait",
                "encoding_reason": None,
                "plan_bytes": "AAAA",
                "compile_key": self.compile_key(request, plan),
                "fingerprint": f"{content[:8]}-{self.engine_version}",
                "content_key": content,
                "output_schema": columns,
                "table_schema": json.dumps({"type": "struct", "fields": fields}),
                "required_functions": [],
                "required_rewrite_tags": [],
                "function_snapshot_hash": self.snapshot["snapshot_hash"],
                "function_registry_hash": self.snapshot["registry_hash"],
                "functions_used": {"scalar:upper": "u1"} if "upper" in definition else {},
                "domain_planners": self.snapshot["domain_planners"],
                "settings": json.loads(self.settings()),
                "lineage": {
                    "relations": [],
                    "outputs": [{"name": "day", "sources": [{"relation": "orders", "column": "day", "how": "copied"}]}],
                    "filtered_by": [{"relation": "orders", "column": "amount"}],
                },
                "displays": {"logical": "L", "optimized": "O", "physical": None, "graphviz": "G", "pgjson": "[]"},
                "maintenance": {"incremental": True, "reason": None, "operators": []},
                "inputs": {one["relation"]: {"columns": [], "schema_hash": "s"} for one in asked["inputs"]},
                "engine_version": self.engine_version,
                "something_new": {"kept": True},
            }
        )

    def compile_key(self, request: str, plan: bytes | None = None) -> str:
        parts = [request, (plan or b"").hex(), self.snapshot["snapshot_hash"], self.engine_version]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def plan_refresh(self, request: str) -> str:
        raise AssertionError("these tests refresh nothing")

    def refresh(self, request: str, observer: Callable[[str], None] | None = None) -> str:
        raise AssertionError("these tests refresh nothing")

    def verify(self, request: str) -> str:
        raise AssertionError("these tests refresh nothing")

    def digest(self, request: str) -> str:
        raise AssertionError("these tests refresh nothing")

    def query(self, request: str, memory: dict[str, pa.Table] | None = None) -> object:
        asked = json.loads(request)
        context = SessionContext()
        schemas = set()
        for table in asked["tables"]:
            versions = self.data[table["uri"]]
            upto = len(versions) if table["version"] is None else table["version"] + 1
            schema, _, _ = table["name"].rpartition(".")
            if schema and schema not in schemas:
                schemas.add(schema)
                context.sql(f"CREATE SCHEMA {schema}").collect()
            merged = pa.concat_tables(versions[:upto]).combine_chunks()
            batches = merged.to_batches() or [pa.RecordBatch.from_pylist([], schema=merged.schema)]
            context.from_arrow(pa.Table.from_batches(batches), name="staged")
            context.sql(f"CREATE TABLE {table['name']} AS SELECT * FROM staged").collect()
            context.deregister_table("staged")
        frame = context.sql(asked["sql"])
        if asked["limit"] is not None:
            frame = frame.limit(asked["limit"])
        return frame.to_arrow_table().to_reader()

    def append(self, request: str, data: Any) -> int:
        uri = json.loads(request)["table"]["uri"]
        if self.fail_appends:
            raise datafusion_ext.DeltakeepError(self.fail_appends.pop(0), f"cannot write to '{uri}'")
        self.appends.append(uri.rpartition("/")[2])
        self.properties.setdefault(uri, json.loads(request)["properties"])
        self.data.setdefault(uri, []).append(pa.table(data))
        return len(self.data[uri]) - 1

    def compact(self, table: str, target_file_size: int | None = None) -> int | None:
        uri = json.loads(table)["uri"]
        self.compacted.append(uri.rpartition("/")[2])
        return None

    def vacuum(self, table: str) -> int:
        self.vacuumed.append(json.loads(table)["uri"].rpartition("/")[2])
        return 0

    def cancel(self) -> None:
        return None


def runtime_of(engine: FakeEngine) -> SessionRuntime:
    """Build a session over a fake engine, as a new process would."""
    return build_session_runtime(RuntimeProfile(), cast("datafusion_ext.Engine", engine))
