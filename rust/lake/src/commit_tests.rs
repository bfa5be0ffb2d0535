//! Tables made, appended to, changed and contested through the crate's own writer.

use std::sync::{Arc, Mutex};

use datafusion::scalar::ScalarValue;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;

use crate::fixtures::{Fixture, committed, quiet, stream};
use crate::{
    CommitOutcome, CommitStep, DvDescriptor, Lake, LakeOptions, TableLocation, Version, WrittenFile, commit, compact,
    vacuum, write_change_files, write_files,
};

#[tokio::test]
async fn a_created_table_holds_its_rows_properties_and_statistics() {
    let table = Fixture::new(&[("delta.enableChangeDataFeed", "true"), ("deltakeep.view", "prices")]);
    let add = table.write(&[(1, Some("a"), 0.5), (3, None, 2.5)]).await.unwrap();
    let steps = Mutex::new(Vec::new());
    let step = |step: CommitStep| steps.lock().unwrap().push(step);
    let outcome = commit(&table.lake, table.request(None, add), &step).await.unwrap();
    assert_eq!(committed(outcome), 0);
    assert_eq!(
        *steps.lock().unwrap(),
        [CommitStep::FilesWritten, CommitStep::FilesSynced, CommitStep::EntryWritten, CommitStep::EntrySynced]
    );
    let snapshot = table.snapshot(None).await;
    assert_eq!(snapshot.version, 0);
    assert_eq!(snapshot.timestamp_ms, 1_700_000_000_000);
    assert_eq!(snapshot.rows(), Some(2));
    assert_eq!((snapshot.reader_version, snapshot.writer_version), (1, 4));
    assert!(snapshot.change_data_feed());
    assert_eq!(snapshot.properties["deltakeep.view"], "prices");
    assert_eq!(snapshot.transactions["deltakeep/v/t"], 0);
    let columns = &snapshot.files[0].columns;
    assert_eq!(columns["id"].min, Some(ScalarValue::Int64(Some(1))));
    assert_eq!(columns["id"].max, Some(ScalarValue::Int64(Some(3))));
    assert_eq!(columns["name"].null_count, Some(1));
    assert_eq!(table.ids(None).await, [1, 3]);
}

#[tokio::test]
async fn of_two_writers_on_one_base_one_wins_and_the_other_can_come_again() {
    let table = Fixture::new(&[]);
    table.append(None, &[1]).await;
    let first = table.write(&[(2, None, 0.0)]).await.unwrap();
    let second = table.write(&[(3, None, 0.0)]).await.unwrap();
    let won = commit(&table.lake, table.request(Some(0), first), &quiet).await.unwrap();
    assert_eq!(committed(won), 1);
    let lost = commit(&table.lake, table.request(Some(0), second.clone()), &quiet).await;
    assert_eq!(lost.unwrap(), CommitOutcome::Conflict { winner: 1 });
    let again = commit(&table.lake, table.request(Some(1), second), &quiet).await.unwrap();
    assert_eq!(committed(again), 2);
    assert_eq!(table.ids(None).await, [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_racing_writers_exactly_one_wins() {
    let table = Arc::new(Fixture::new(&[]));
    table.append(None, &[0]).await;
    let mut racers = tokio::task::JoinSet::new();
    for id in 1..=8 {
        let table = Arc::clone(&table);
        racers.spawn(async move {
            let add = table.write(&[(id, None, 0.0)]).await.unwrap();
            commit(&table.lake, table.request(Some(0), add), &quiet).await.unwrap()
        });
    }
    let outcomes = racers.join_all().await;
    let won = outcomes.iter().filter(|outcome| matches!(outcome, CommitOutcome::Committed { version: 1, .. })).count();
    assert_eq!(won, 1);
    assert_eq!(table.ids(None).await.len(), 2);
}

#[tokio::test]
async fn removed_files_leave_with_all_that_their_add_said() {
    let table = Fixture::new(&[]);
    table.append(None, &[1]).await;
    table.append(Some(0), &[2]).await;
    let snapshot = table.snapshot(None).await;
    let gone = snapshot.files.iter().find(|file| file.columns["id"].min == Some(ScalarValue::Int64(Some(1))));
    let mut request = table.request(Some(1), Vec::new());
    request.remove = vec![gone.unwrap().clone()];
    assert_eq!(committed(commit(&table.lake, request.clone(), &quiet).await.unwrap()), 2);
    assert_eq!(table.ids(None).await, [2]);
    let entry = std::fs::read_to_string(table.entry(2)).unwrap();
    for field in ["\"stats\":", "\"size\":", "\"partitionValues\":", "\"extendedFileMetadata\":true"] {
        assert!(entry.contains(field), "{field} is missing in {entry}");
    }
    request.base = Some(2);
    let twice = commit(&table.lake, request, &quiet).await.unwrap_err();
    assert_eq!(twice.code(), "commit_conflict");
}

#[tokio::test]
async fn files_that_nothing_commits_are_deleted() {
    let table = Fixture::new(&[]);
    table.append(None, &[1]).await;
    let count = || {
        std::fs::read_dir(table.path())
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|e| e == "parquet"))
            .count()
    };
    assert_eq!(count(), 1);
    let add = table.write(&[(2, None, 0.0)]).await.unwrap();
    let copy = add.clone();
    assert_eq!(count(), 2);
    drop(add);
    assert_eq!(count(), 2);
    drop(copy);
    assert_eq!(count(), 1);
    // A stream that fails leaves nothing either.
    let null_id = arrow::array::RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(arrow::array::Int64Array::from(vec![Some(1), None])) as _, true),
        ("name", Arc::new(arrow::array::StringArray::from(vec![None::<&str>, None])) as _, true),
        ("price", Arc::new(arrow::array::Float64Array::from(vec![0.0, 0.0])) as _, true),
    ])
    .unwrap();
    let failed = write_files(&table.lake, &table.spec, &table.schema, stream(null_id)).await;
    let error = failed.unwrap_err();
    assert_eq!(error.code(), "constraint_violated");
    assert!(error.to_string().contains("'id' is NULL"), "{error}");
    assert_eq!(count(), 1);
}

#[tokio::test]
async fn constraints_and_append_only_are_obeyed() {
    let table = Fixture::new(&[("delta.constraints.positive", "price > 0")]);
    table.append(None, &[1]).await;
    let broken = table.write(&[(2, None, 1.0), (3, None, -1.0)]).await.unwrap_err();
    assert_eq!(broken.code(), "constraint_violated");
    assert!(broken.to_string().contains("positive"), "{broken}");
    assert!(broken.to_string().contains("id=3"), "{broken}");

    let table = Fixture::new(&[("delta.appendOnly", "true")]);
    table.append(None, &[1]).await;
    let mut request = table.request(Some(0), Vec::new());
    request.remove = table.snapshot(None).await.files.to_vec();
    let error = commit(&table.lake, request.clone(), &quiet).await.unwrap_err();
    assert_eq!(error.code(), "constraint_violated");
    request.data_change = false;
    committed(commit(&table.lake, request, &quiet).await.unwrap());
}

#[tokio::test]
async fn a_changed_file_with_a_vector_needs_change_files() {
    let table = Fixture::new(&[("delta.enableChangeDataFeed", "true"), ("delta.enableDeletionVectors", "true")]);
    table.append(None, &[1, 2]).await;
    let snapshot = table.snapshot(None).await;
    assert_eq!((snapshot.reader_version, snapshot.writer_version), (3, 7));
    let file = &snapshot.files[0];
    let vector = DvDescriptor {
        storage_type: "i".to_owned(),
        path_or_inline_dv: "unread".to_owned(),
        offset: None,
        size_in_bytes: 34,
        cardinality: 1,
    };
    let hidden = WrittenFile::with_deletion_vector(&table.lake, &table.spec, file, vector, None).unwrap();
    let mut request = table.request(Some(0), vec![hidden]);
    request.remove = vec![file.clone()];
    let error = commit(&table.lake, request.clone(), &quiet).await.unwrap_err();
    assert_eq!(error.code(), "invalid_argument");

    let (schema, change) = table.change("delete", &[(1, None, 0.5)]);
    request.change_files = write_change_files(&table.lake, &table.spec, &schema, stream(change)).await.unwrap();
    assert!(request.change_files[0].path.starts_with("_change_data/"));
    committed(commit(&table.lake, request, &quiet).await.unwrap());
    let snapshot = table.snapshot(None).await;
    assert_eq!(snapshot.files.len(), 1);
    assert_eq!(snapshot.rows(), Some(1));
    assert!(!snapshot.files[0].tight_bounds);
    let commits = table.lake.commits(table.location(), 0, 1).await.unwrap();
    assert_eq!(commits[0].change_files.len(), 1);
    assert!(commits[0].data_changed);
    assert!(table.path().join(&commits[0].change_files[0].path).exists());
}

#[tokio::test]
async fn odd_values_of_partitions_survive_and_need_no_decoding() {
    let mut table = Fixture::new(&[]);
    table.spec.partition_by = vec!["name".to_owned()];
    let add = table.write(&[(1, Some("a b/ü=1%"), 0.5), (2, None, 0.5), (3, Some("c"), 0.5)]).await.unwrap();
    committed(commit(&table.lake, table.request(None, add), &quiet).await.unwrap());
    let snapshot = table.snapshot(None).await;
    let mut values: Vec<Option<String>> =
        snapshot.files.iter().map(|file| file.partition_values["name"].clone()).collect();
    values.sort();
    assert_eq!(values, [None, Some("a b/ü=1%".to_owned()), Some("c".to_owned())]);
    for file in snapshot.files.iter() {
        assert!(table.path().join(&file.path).exists(), "{}", file.path);
        assert!(!file.entry.path.contains('%'), "delta-rs would not decode '{}' in a change feed", file.entry.path);
    }
    assert_eq!(table.ids(None).await, [1, 2, 3]);
    let (schema, change) = table.change("delete", &[(1, Some("a b/ü=1%"), 0.5)]);
    let change_files = write_change_files(&table.lake, &table.spec, &schema, stream(change)).await.unwrap();
    assert_eq!(change_files[0].partition_values["name"].as_deref(), Some("a b/ü=1%"));
    assert!(!change_files[0].path.contains('%'), "delta-rs would not decode it");
    for text in ["", "__HIVE_DEFAULT_PARTITION__"] {
        let refused = table.write(&[(4, Some(text), 0.5)]).await.unwrap_err();
        assert_eq!(refused.code(), "schema_mismatch");
        assert!(refused.to_string().contains(&format!("'{text}'")), "{refused}");
    }
}

#[tokio::test]
async fn a_column_with_nan_has_no_bounds() {
    let table = Fixture::new(&[]);
    let add = table.write(&[(1, None, f64::NAN), (2, None, 1.0)]).await.unwrap();
    committed(commit(&table.lake, table.request(None, add), &quiet).await.unwrap());
    let snapshot = table.snapshot(None).await;
    let columns = &snapshot.files[0].columns;
    assert!(columns["id"].max.is_some());
    assert!(columns.get("price").is_none_or(|price| price.max.is_none() && price.min.is_none()));
}

#[tokio::test]
async fn metadata_updates_keep_the_table_and_raise_the_protocol() {
    let mut table = Fixture::new(&[]);
    table.append(None, &[1]).await;
    let before = table.snapshot(None).await;
    table.spec.properties.insert("delta.enableDeletionVectors".into(), "true".into());
    let mut request = table.request(Some(0), Vec::new());
    request.metadata_update = true;
    committed(commit(&table.lake, request, &quiet).await.unwrap());
    let after = table.snapshot(None).await;
    assert_eq!(after.table_id, before.table_id);
    assert_eq!(after.created_ms, before.created_ms);
    assert!(after.deletion_vectors());
    assert_eq!((after.reader_version, after.writer_version), (3, 7));
    assert!(before.writer_features.is_subset(&after.writer_features));
    assert_eq!(table.ids(None).await, [1]);
}

#[tokio::test]
async fn rows_of_another_shape_are_refused() {
    let table = Fixture::new(&[]);
    table.append(None, &[1]).await;
    let add = table.write(&[(2, None, 0.0)]).await.unwrap();
    let mut request = table.request(Some(0), add);
    let mut fields = table.schema.fields().to_vec();
    fields.swap(0, 2);
    request.schema = Arc::new(arrow::datatypes::Schema::new(fields));
    let error = commit(&table.lake, request, &quiet).await.unwrap_err();
    assert_eq!(error.code(), "schema_mismatch");
    assert!(!table.entry(1).exists());
}

#[tokio::test]
async fn compaction_changes_files_and_no_rows() {
    let table = Fixture::new(&[]);
    table.append(None, &[1]).await;
    for base in 0..4 {
        table.append(Some(base), &[i64::try_from(base).unwrap() + 2]).await;
    }
    assert_eq!(compact(&table.lake, table.location(), None).await.unwrap(), Some(5));
    let snapshot = table.snapshot(None).await;
    assert_eq!(snapshot.files.len(), 1);
    assert_eq!(table.ids(None).await, [1, 2, 3, 4, 5]);
    assert_eq!(snapshot.transactions["deltakeep/v/t"], 4);
    let commits = table.lake.commits(table.location(), 4, 5).await.unwrap();
    assert!(!commits[0].data_changed);
    assert_eq!(commits[0].info["deltakeep"]["view"], "prices");
    assert_eq!(compact(&table.lake, table.location(), None).await.unwrap(), None);
}

#[tokio::test]
async fn a_large_file_is_merged_once_the_small_ones_have_grown() {
    let table = Fixture::new(&[]);
    let many: Vec<i64> = (0..200_000).map(|id| id * 7919 % 1_000_003).collect();
    table.append(None, &many).await;
    for base in 0..3 {
        table.append(Some(base), &[i64::try_from(base).unwrap()]).await;
    }
    let files = async || table.snapshot(None).await.files.len();
    assert_eq!(files().await, 4);
    assert_eq!(compact(&table.lake, table.location(), None).await.unwrap(), Some(4));
    assert_eq!(files().await, 2, "the large file stays as it is");
    assert_eq!(compact(&table.lake, table.location(), None).await.unwrap(), None);
    table.append(Some(4), &many).await;
    assert_eq!(compact(&table.lake, table.location(), None).await.unwrap(), Some(6));
    assert_eq!(files().await, 1);
    assert_eq!(table.ids(None).await.len(), 400_003);
}

#[tokio::test]
async fn durable_commits_and_remote_stores_work_alike() {
    let table = Fixture::new(&[]);
    let durable = Lake::new(LakeOptions::default());
    let add = table.write(&[(1, None, 0.0)]).await.unwrap();
    committed(commit(&durable, table.request(None, add), &quiet).await.unwrap());

    let mut remote = Fixture::new(&[("delta.checkpointInterval", "2")]);
    remote.spec.location = TableLocation::parse("memory:///lake/t", std::collections::BTreeMap::new()).unwrap();
    let store = Arc::new(InMemory::new());
    remote.lake.register_store(remote.location(), Arc::<InMemory>::clone(&store)).unwrap();
    remote.append(None, &[1]).await;
    remote.append(Some(0), &[2]).await;
    remote.append(Some(1), &[3]).await;
    let lost = commit(&remote.lake, remote.request(Some(1), Vec::new()), &quiet).await;
    assert_eq!(lost.unwrap(), CommitOutcome::Conflict { winner: 2 });
    assert_eq!(remote.ids(None).await, [1, 2, 3]);
    let checkpoint = "lake/t/_delta_log/00000000000000000002.checkpoint.parquet";
    store.head(&checkpoint.into()).await.unwrap();
}

/// Makes everything that the log has of a version look as if it was written a year ago.
fn age(table: &Fixture, version: Version) {
    let year = std::time::Duration::from_hours(365 * 24);
    for file in std::fs::read_dir(table.path().join("_delta_log")).unwrap() {
        let file = file.unwrap();
        if file.file_name().to_str().unwrap().starts_with(&format!("{version:020}")) {
            let file = std::fs::File::options().append(true).open(file.path()).unwrap();
            file.set_modified(std::time::SystemTime::now() - year).unwrap();
        }
    }
}

#[tokio::test]
async fn a_checkpoint_lets_expired_entries_go_and_no_others() {
    for (property, gone) in
        [(("delta.logRetentionDuration", "interval 7 days"), true), (("delta.enableExpiredLogCleanup", "false"), false)]
    {
        let table = Fixture::new(&[("delta.checkpointInterval", "2"), property]);
        table.append(None, &[0]).await;
        for base in 0..5 {
            table.append(Some(base), &[i64::try_from(base).unwrap() + 1]).await;
            age(&table, base);
        }
        // The checkpoint of version 6 is the last one; what it deletes is what version 4's leaves behind: version 5 is
        // young, and to be read it needs the checkpoint of version 4.
        table.append(Some(5), &[6]).await;
        for version in 0..=6 {
            assert_eq!(table.entry(version).exists(), version >= 4 || !gone, "{version} {property:?}");
        }
        assert_eq!(table.ids(None).await, [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(table.ids(Some(5)).await, [0, 1, 2, 3, 4, 5]);
    }
}

#[tokio::test]
async fn vacuum_deletes_what_left_the_table_long_ago() {
    let parquet = |table: &Fixture| {
        let files = std::fs::read_dir(table.path()).unwrap().map(|file| file.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|extension| extension == "parquet")).count()
    };
    for (retention, expired) in [("interval 0 days", 3), ("interval 7 days", 0)] {
        let table = Fixture::new(&[("delta.deletedFileRetentionDuration", retention)]);
        table.append(None, &[1]).await;
        table.append(Some(0), &[2]).await;
        table.append(Some(1), &[3]).await;
        assert_eq!(vacuum(&table.lake, table.location()).await.unwrap(), 0);
        compact(&table.lake, table.location(), None).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        assert_eq!(vacuum(&table.lake, table.location()).await.unwrap(), expired, "{retention}");
        assert_eq!(parquet(&table), 4 - expired);
        assert_eq!(table.ids(None).await, [1, 2, 3]);
        let newest = table.snapshot(None).await.version;
        assert_eq!(vacuum(&table.lake, table.location()).await.unwrap(), 0);
        assert_eq!(table.snapshot(None).await.version, newest, "nothing to delete, nothing committed");
    }
}
