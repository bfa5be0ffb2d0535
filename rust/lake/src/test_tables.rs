//! Tables for tests, written by hand: Parquet files and log entries, without the code under test.
//!
//! A table remembers the rows of each version, so that what readers give can be compared with what was meant.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use roaring::RoaringTreemap;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::TableLocation;
use crate::test_rows::{Bag, Row, bag};

/// A table in a folder that goes when it is dropped.  Columns: `id` Int64, `part` Int32, `name` Utf8, perhaps `extra`.
pub(crate) struct TestTable {
    folder: TempDir,
    pub partitioned: bool,
    /// Writes change files for commits that remove rows, as a writer that is trusted.
    pub records_changes: bool,
    /// Rows in a row group.
    pub row_group: usize,
    /// Whether the log has the row counts and bounds of new files.
    pub statistics: bool,
    state: State,
    history: Vec<State>,
    names: usize,
}

#[derive(Clone, Default)]
struct State {
    extra: bool,
    files: BTreeMap<String, TestFile>,
}

#[derive(Clone)]
struct TestFile {
    rows: Arc<Vec<Row>>,
    deleted: BTreeSet<usize>,
    part: Option<i32>,
    size: u64,
    statistics: bool,
    vector: Option<Value>,
}

impl TestFile {
    fn live(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().enumerate().filter(|(position, _)| !self.deleted.contains(position)).map(|(_, row)| row)
    }
}

impl TestTable {
    /// Version 0: no rows.
    pub fn new(partitioned: bool) -> Self {
        let mut table = Self {
            folder: tempfile::tempdir().unwrap(),
            partitioned,
            records_changes: false,
            row_group: 4,
            statistics: true,
            state: State::default(),
            history: Vec::new(),
            names: 0,
        };
        fs::create_dir_all(table.path().join("_delta_log")).unwrap();
        let protocol = json!({"protocol": {
            "minReaderVersion": 3, "minWriterVersion": 7,
            "readerFeatures": ["deletionVectors"], "writerFeatures": ["deletionVectors", "changeDataFeed"],
        }});
        let metadata = table.metadata();
        table.commit("CREATE TABLE", vec![protocol, metadata]);
        table
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("table")
    }

    pub fn location(&self) -> TableLocation {
        TableLocation::parse(self.path().to_str().unwrap(), BTreeMap::new()).unwrap()
    }

    pub fn version(&self) -> u64 {
        self.history.len() as u64 - 1
    }

    /// Whether the table has the column `extra` at a version.
    pub fn has_extra(&self, version: u64) -> bool {
        self.history[usize::try_from(version).unwrap()].extra
    }

    /// The rows of a version.
    pub fn bag(&self, version: u64) -> Bag {
        let state = &self.history[usize::try_from(version).unwrap()];
        bag(state.files.values().flat_map(TestFile::live).cloned())
    }

    /// Paths of the live files.
    pub fn paths(&self) -> Vec<String> {
        self.state.files.keys().cloned().collect()
    }

    pub fn append(&mut self, rows: &[Row]) {
        let actions = self.add_rows(rows, true);
        self.commit("WRITE", actions);
    }

    /// Changes rows by writing their files anew: `change` gives what a row becomes.
    pub fn rewrite(&mut self, change: impl Fn(&Row) -> Option<Row>) {
        let (mut actions, gone, new) = self.rewritten(change);
        actions.extend(self.change_files(&[("delete", &gone), ("insert", &new)]));
        self.commit("UPDATE", actions);
    }

    /// Changes rows and adds others in one commit.
    pub fn merge(&mut self, change: impl Fn(&Row) -> Option<Row>, rows: &[Row]) {
        let (mut actions, gone, new) = self.rewritten(change);
        actions.extend(self.add_rows(rows, true));
        actions.extend(self.change_files(&[("update_preimage", &gone), ("update_postimage", &new), ("insert", rows)]));
        self.commit("MERGE", actions);
    }

    /// Writes files anew: what to commit, the rows that were in them, and those that are.
    fn rewritten(&mut self, change: impl Fn(&Row) -> Option<Row>) -> (Vec<Value>, Vec<Row>, Vec<Row>) {
        let mut actions = Vec::new();
        let (mut gone, mut new) = (Vec::new(), Vec::new());
        for (path, file) in self.state.files.clone() {
            let kept: Vec<Row> = file.live().filter_map(&change).collect();
            if kept.iter().eq(file.live()) {
                continue;
            }
            gone.extend(file.live().cloned());
            new.extend(kept.iter().cloned());
            actions.push(remove(&path, &file, true));
            self.state.files.remove(&path);
            actions.extend(self.add_rows(&kept, true));
        }
        (actions, gone, new)
    }

    /// Deletes rows by deletion vectors, inline ones or in a file.
    pub fn delete_by_vector(&mut self, inline: bool, doomed: impl Fn(&Row) -> bool) {
        let mut actions = Vec::new();
        let mut gone = Vec::new();
        for (path, file) in self.state.files.clone() {
            let mut next = file.clone();
            for (position, row) in file.rows.iter().enumerate() {
                if doomed(row) && next.deleted.insert(position) {
                    gone.push(row.clone());
                }
            }
            if next.deleted == file.deleted {
                continue;
            }
            next.vector = Some(self.write_vector(&next.deleted, inline));
            actions.push(remove(&path, &file, true));
            actions.push(self.add(&path, &next, true));
            self.state.files.insert(path, next);
        }
        actions.extend(self.change_files(&[("delete", &gone)]));
        self.commit("DELETE", actions);
    }

    pub fn overwrite(&mut self, rows: &[Row]) {
        let gone: Vec<Row> = self.rows();
        let mut actions: Vec<Value> = self.state.files.iter().map(|(path, file)| remove(path, file, true)).collect();
        self.state.files.clear();
        actions.extend(self.add_rows(rows, true));
        actions.extend(self.change_files(&[("delete", &gone), ("insert", rows)]));
        self.commit("WRITE", actions);
    }

    /// Writes all rows into one file a partition and says that none changed.
    pub fn compact(&mut self) {
        let rows = self.rows();
        let mut actions: Vec<Value> = self.state.files.iter().map(|(path, file)| remove(path, file, false)).collect();
        self.state.files.clear();
        actions.extend(self.add_rows(&rows, false));
        self.commit("OPTIMIZE", actions);
    }

    /// Makes the files of an older version live again, its schema with them.
    pub fn restore(&mut self, version: u64) {
        let old = self.history[usize::try_from(version).unwrap()].clone();
        let mut actions = Vec::new();
        for (path, file) in &self.state.files {
            if old.files.get(path).map(|file| &file.vector) != Some(&file.vector) {
                actions.push(remove(path, file, true));
            }
        }
        for (path, file) in &old.files {
            if self.state.files.get(path).map(|file| &file.vector) != Some(&file.vector) {
                actions.push(self.add(path, file, true));
            }
        }
        let schema_changed = old.extra != self.state.extra;
        self.state = old;
        if schema_changed {
            actions.push(self.metadata());
        }
        self.commit("RESTORE", actions);
    }

    /// Adds the nullable column `extra`.
    pub fn add_column(&mut self) {
        self.state.extra = true;
        let metadata = self.metadata();
        self.commit("ADD COLUMNS", vec![metadata]);
    }

    fn rows(&self) -> Vec<Row> {
        self.state.files.values().flat_map(TestFile::live).cloned().collect()
    }

    fn metadata(&self) -> Value {
        let field =
            |name: &str, data_type: &str| json!({"name": name, "type": data_type, "nullable": true, "metadata": {}});
        let mut fields = vec![field("id", "long"), field("part", "integer"), field("name", "string")];
        if self.state.extra {
            fields.push(field("extra", "long"));
        }
        let partition: &[&str] = if self.partitioned { &["part"] } else { &[] };
        json!({"metaData": {
            "id": "3bd5ba1e-6bd2-4f4a-9a8e-000000000001",
            "format": {"provider": "parquet", "options": {}},
            "schemaString": json!({"type": "struct", "fields": fields}).to_string(),
            "partitionColumns": partition,
            "configuration": {"delta.enableDeletionVectors": "true", "delta.enableChangeDataFeed": "true"},
            "createdTime": 0,
        }})
    }

    fn add_rows(&mut self, rows: &[Row], data_change: bool) -> Vec<Value> {
        let mut actions = Vec::new();
        for (part, rows) in self.by_partition(rows) {
            let path = self.new_path(part, "f");
            let size = self.write_file(&path, &rows, None);
            let file = TestFile {
                rows: Arc::new(rows),
                deleted: BTreeSet::new(),
                part,
                size,
                statistics: self.statistics,
                vector: None,
            };
            actions.push(self.add(&path, &file, data_change));
            self.state.files.insert(path, file);
        }
        actions
    }

    fn change_files(&mut self, changes: &[(&str, &[Row])]) -> Vec<Value> {
        if !self.records_changes {
            return Vec::new();
        }
        let mut actions = Vec::new();
        for (kind, rows) in changes {
            for (part, rows) in self.by_partition(rows) {
                let path = self.new_path(part, "_change_data/c");
                let size = self.write_file(&path, &rows, Some(kind));
                actions.push(json!({"cdc": {
                    "path": path, "size": size, "dataChange": false, "partitionValues": self.partition_values(part),
                }}));
            }
        }
        actions
    }

    fn by_partition(&self, rows: &[Row]) -> BTreeMap<Option<i32>, Vec<Row>> {
        let mut parts: BTreeMap<Option<i32>, Vec<Row>> = BTreeMap::new();
        for row in rows {
            let mut row = row.clone();
            if !self.state.extra {
                row.extra = None;
            }
            let part = row.part.filter(|_| self.partitioned);
            parts.entry(part).or_default().push(row);
        }
        parts
    }

    fn new_path(&mut self, part: Option<i32>, prefix: &str) -> String {
        self.names += 1;
        let name = self.names;
        match part {
            Some(part) if self.partitioned => format!("{prefix}-part={part}/{name:05}.parquet"),
            _ => format!("{prefix}-{name:05}.parquet"),
        }
    }

    fn partition_values(&self, part: Option<i32>) -> Value {
        if self.partitioned { json!({"part": part.map(|part| part.to_string())}) } else { json!({}) }
    }

    fn write_file(&self, path: &str, rows: &[Row], change: Option<&str>) -> u64 {
        let mut columns: Vec<(&str, ArrayRef)> =
            vec![("id", Arc::new(rows.iter().map(|row| row.id).collect::<Int64Array>()))];
        if !self.partitioned {
            let parts: Int32Array = rows.iter().map(|row| row.part).collect();
            columns.push(("part", Arc::new(parts)));
        }
        let names: StringArray = rows.iter().map(|row| row.name.clone()).collect();
        columns.push(("name", Arc::new(names)));
        if self.state.extra {
            let extra: Int64Array = rows.iter().map(|row| row.extra).collect();
            columns.push(("extra", Arc::new(extra)));
        }
        if let Some(change) = change {
            let kinds: StringArray = rows.iter().map(|_| Some(change)).collect();
            columns.push(("_change_type", Arc::new(kinds)));
        }
        let fields: Vec<Field> =
            columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
        let schema = Arc::new(Schema::new(fields));
        let arrays = columns.into_iter().map(|(_, array)| array).collect();
        let batch = RecordBatch::try_new(Arc::clone(&schema), arrays).unwrap();
        let target = self.path().join(path);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        let properties = WriterProperties::builder().set_max_row_group_row_count(Some(self.row_group)).build();
        let file = fs::File::create(&target).unwrap();
        let mut writer = ArrowWriter::try_new(file, schema, Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        fs::metadata(&target).unwrap().len()
    }

    fn add(&self, path: &str, file: &TestFile, data_change: bool) -> Value {
        let mut add = json!({
            "path": path, "size": file.size, "modificationTime": 0, "dataChange": data_change,
            "partitionValues": self.partition_values(file.part),
        });
        if file.statistics || file.vector.is_some() {
            let ids = || file.rows.iter().filter_map(|row| row.id);
            let nulls = file.rows.iter().filter(|row| row.id.is_none()).count();
            let mut stats = json!({
                "numRecords": file.rows.len(), "nullCount": {"id": nulls}, "tightBounds": file.vector.is_none(),
            });
            if let (Some(min), Some(max)) = (ids().min(), ids().max()) {
                stats["minValues"] = json!({"id": min});
                stats["maxValues"] = json!({"id": max});
            }
            add["stats"] = json!(stats.to_string());
        }
        if let Some(vector) = &file.vector {
            add["deletionVector"] = vector.clone();
        }
        json!({"add": add})
    }

    fn write_vector(&self, deleted: &BTreeSet<usize>, inline: bool) -> Value {
        let rows: RoaringTreemap = deleted.iter().map(|row| *row as u64).collect();
        let mut payload = 1_681_511_377_u32.to_le_bytes().to_vec();
        rows.serialize_into(&mut payload).unwrap();
        if inline {
            payload.resize(payload.len().next_multiple_of(4), 0);
            return json!({
                "storageType": "i", "pathOrInlineDv": encode_z85(&payload), "sizeInBytes": payload.len(),
                "cardinality": deleted.len(),
            });
        }
        let id = uuid::Uuid::new_v4();
        let mut bytes = vec![1];
        bytes.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
        bytes.extend(&payload);
        bytes.extend(slow_crc32(&payload).to_be_bytes());
        fs::write(self.path().join(format!("deletion_vector_{id}.bin")), bytes).unwrap();
        json!({
            "storageType": "u", "pathOrInlineDv": encode_z85(id.as_bytes()), "offset": 1,
            "sizeInBytes": payload.len(), "cardinality": deleted.len(),
        })
    }

    fn commit(&mut self, operation: &str, actions: Vec<Value>) {
        let writer = if self.records_changes { "deltakeep/test" } else { "someone/1.0" };
        let version = self.history.len();
        let info = json!({"commitInfo": {
            "timestamp": 1_700_000_000_000_u64 + version as u64, "operation": operation, "engineInfo": writer,
        }});
        let lines: Vec<String> = std::iter::once(info).chain(actions).map(|action| action.to_string()).collect();
        let entry = self.path().join(format!("_delta_log/{version:020}.json"));
        fs::write(entry, lines.join("\n")).unwrap();
        self.history.push(self.state.clone());
    }
}

fn remove(path: &str, file: &TestFile, data_change: bool) -> Value {
    let mut remove = json!({"path": path, "deletionTimestamp": 0, "dataChange": data_change});
    if let Some(vector) = &file.vector {
        remove["deletionVector"] = vector.clone();
    }
    json!({"remove": remove})
}

/// Bit by bit, so that it shares nothing with the code under test.
fn slow_crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

fn encode_z85(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";
    let mut text = String::new();
    for group in bytes.chunks_exact(4) {
        let value = u32::from_be_bytes(group.try_into().unwrap());
        for power in [85_u32.pow(4), 85_u32.pow(3), 85_u32.pow(2), 85, 1] {
            text.push(char::from(DIGITS[(value / power % 85) as usize]));
        }
    }
    text
}
