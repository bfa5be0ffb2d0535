//! What is read from logs: equal however it is reached, and named when it is damaged, gone or replaced.

use std::fs;

use crate::fixtures::{Fixture, facts, lake, quiet};
use crate::{CommitStep, Version, commit};

async fn grow(table: &Fixture, upto: Version) {
    table.append(None, &[0]).await;
    for base in 0..upto {
        table.append(Some(base), &[i64::try_from(base).unwrap() + 1]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_are_equal_from_entries_from_a_checkpoint_and_from_the_cache() {
    let table = Fixture::new(&[("delta.enableChangeDataFeed", "true")]);
    grow(&table, 100).await;
    let checkpoint = table.path().join("_delta_log/00000000000000000100.checkpoint.parquet");
    assert!(checkpoint.exists(), "the default interval is 100");
    for base in 100..103 {
        let remove = table.snapshot(Some(base)).await.files[0].clone();
        let mut request = table.request(Some(base), Vec::new());
        request.remove = vec![remove];
        commit(&table.lake, request, &quiet).await.unwrap();
    }
    let carried_on = table.snapshot(None).await;
    let from_checkpoint = lake().snapshot(table.location(), None).await.unwrap();
    assert_eq!(carried_on.version, 103);
    assert_eq!(facts(&carried_on), facts(&from_checkpoint));
    let at_checkpoint = lake().snapshot(table.location(), Some(100)).await.unwrap();
    let ids = table.ids(None).await;

    fs::rename(&checkpoint, table.folder.path().join("aside")).unwrap();
    let from_entries = lake().snapshot(table.location(), None).await.unwrap();
    assert_eq!(facts(&carried_on), facts(&from_entries));
    let entries_only = lake().snapshot(table.location(), Some(100)).await.unwrap();
    assert_eq!(facts(&at_checkpoint), facts(&entries_only));

    fs::rename(table.folder.path().join("aside"), &checkpoint).unwrap();
    for version in 0..100 {
        fs::remove_file(table.entry(version)).unwrap();
    }
    let cleaned = lake().snapshot(table.location(), None).await.unwrap();
    assert_eq!(facts(&carried_on), facts(&cleaned));
    assert_eq!(table.lake.oldest_version(table.location()).await.unwrap(), 100);
    assert_eq!(table.lake.latest_version(table.location(), Some(50)).await.unwrap(), 103);
    assert_eq!(table.ids(None).await, ids);
    let gone = lake().snapshot(table.location(), Some(99)).await.unwrap_err();
    assert_eq!(gone.code(), "history_gone");
    let gone = table.lake.commits(table.location(), 97, 103).await.unwrap_err();
    assert!(matches!(gone, crate::LakeError::HistoryGone { version: 98, .. }), "{gone}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checkpoints_come_at_the_interval_and_are_told() {
    let table = Fixture::new(&[("delta.checkpointInterval", "3")]);
    table.append(None, &[0]).await;
    let told = std::sync::Mutex::new(Vec::new());
    for base in 0..6 {
        let step = |step: CommitStep| {
            if step == CommitStep::Checkpointed {
                told.lock().unwrap().push(base + 1);
            }
        };
        let add = table.write(&[(1, None, 0.0)]).await.unwrap();
        commit(&table.lake, table.request(Some(base), add), &step).await.unwrap();
    }
    assert_eq!(*told.lock().unwrap(), [3, 6]);
}

#[tokio::test]
async fn looks_at_the_log_are_answered_without_opening_the_table() {
    let table = Fixture::new(&[]);
    grow(&table, 2).await;
    let location = table.location();
    assert!(table.lake.next_version_exists(location, 1).await.unwrap());
    assert!(!table.lake.next_version_exists(location, 2).await.unwrap());
    assert_eq!(table.lake.latest_version(location, Some(1)).await.unwrap(), 2);
    assert_eq!(table.lake.latest_version(location, None).await.unwrap(), 2);
    assert_eq!(table.lake.oldest_version(location).await.unwrap(), 0);
    let identity = table.lake.identity(location, 1).await.unwrap();
    assert_eq!(identity.table_id, table.snapshot(None).await.table_id);
    let commits = table.lake.commits(location, 0, 2).await.unwrap();
    assert_eq!(commits[0].hash, identity.commit_hash.unwrap());
    assert_eq!(commits.iter().map(|commit| commit.version).collect::<Vec<_>>(), [1, 2]);
    assert!(commits[0].engine_info.as_ref().unwrap().starts_with("deltakeep/"));
    assert_eq!(commits[0].transactions["deltakeep/v/t"], 1);
    assert_eq!(commits[0].adds.len(), 1);
    assert_eq!(commits[0].info["deltakeep"]["view"], "prices");
    let beyond = table.lake.commits(location, 1, 4).await.unwrap_err();
    assert_eq!(beyond.code(), "version_not_found");
    assert_eq!(table.lake.commits(location, 2, 2).await.unwrap().len(), 0);
}

#[tokio::test]
async fn missing_tables_and_versions_are_named() {
    let table = Fixture::new(&[]);
    let none = table.lake.snapshot(table.location(), None).await.unwrap_err();
    assert_eq!(none.code(), "not_a_table");
    let none = table.lake.latest_version(table.location(), Some(3)).await.unwrap_err();
    assert_eq!(none.code(), "not_a_table");
    grow(&table, 1).await;
    for lake in [&table.lake, &lake()] {
        let beyond = lake.snapshot(table.location(), Some(7)).await.unwrap_err();
        assert_eq!(beyond.code(), "version_not_found");
        assert!(beyond.to_string().contains("newest is 1"), "{beyond}");
    }
}

#[tokio::test]
async fn a_damaged_entry_is_named_with_version_and_line() {
    let table = Fixture::new(&[]);
    grow(&table, 2).await;
    let text = fs::read_to_string(table.entry(1)).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines[1] = "{\"txn\":{\"appId\":";
    fs::write(table.entry(1), lines.join("\n")).unwrap();
    let error = lake().snapshot(table.location(), None).await.unwrap_err();
    assert_eq!(error.code(), "corrupt_log");
    assert!(error.to_string().contains("version 1, line 2"), "{error}");
    let error = table.lake.commits(table.location(), 0, 2).await.unwrap_err();
    assert_eq!(error.code(), "corrupt_log");
    fs::write(table.entry(2), "").unwrap();
    let error = table.lake.commits(table.location(), 1, 2).await.unwrap_err();
    assert!(error.to_string().contains("empty"), "{error}");
}

#[tokio::test]
async fn a_gap_in_the_log_is_damage() {
    let table = Fixture::new(&[]);
    grow(&table, 3).await;
    fs::remove_file(table.entry(2)).unwrap();
    let error = table.lake.latest_version(table.location(), None).await.unwrap_err();
    assert!(matches!(error, crate::LakeError::CorruptLog { version: 2, .. }), "{error}");
    assert!(lake().snapshot(table.location(), None).await.is_err());
    let gone = table.lake.commits(table.location(), 0, 3).await.unwrap_err();
    assert!(matches!(gone, crate::LakeError::HistoryGone { version: 2, .. }), "{gone}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checkpoints_with_sidecars_are_read() {
    use delta_kernel::checkpoint::{CheckpointSpec, V2CheckpointConfig};
    let table = Fixture::new(&[("delta.enableDeletionVectors", "true")]);
    grow(&table, 5).await;
    let first = fs::read_to_string(table.entry(0)).unwrap();
    fs::write(table.entry(0), first.replace("\"deletionVectors\"", "\"deletionVectors\",\"v2Checkpoint\"")).unwrap();
    let from_entries = lake().snapshot(table.location(), None).await.unwrap();
    let engine = table.lake.store(table.location()).unwrap().delta.engine(None);
    let url = table.location().url().unwrap();
    tokio::task::spawn_blocking(move || {
        let snapshot = delta_kernel::Snapshot::builder_for(url).build(engine.as_ref()).unwrap();
        let spec = CheckpointSpec::V2(V2CheckpointConfig::WithSidecar { file_actions_per_sidecar_hint: Some(2) });
        snapshot.checkpoint(engine.as_ref(), Some(&spec)).unwrap();
    })
    .await
    .unwrap();
    assert!(fs::read_dir(table.path().join("_delta_log/_sidecars")).unwrap().count() > 1);
    for version in 0..5 {
        fs::remove_file(table.entry(version)).unwrap();
    }
    let from_checkpoint = lake().snapshot(table.location(), None).await.unwrap();
    assert_eq!(facts(&from_entries), facts(&from_checkpoint));
}

#[tokio::test]
async fn a_table_made_anew_is_noticed() {
    let table = Fixture::new(&[]);
    grow(&table, 2).await;
    let old = table.snapshot(None).await;
    let identity = table.lake.identity(table.location(), 2).await.unwrap();
    fs::remove_dir_all(table.path()).unwrap();
    let other = Fixture::new(&[]);
    grow(&other, 4).await;
    fs::rename(other.path(), table.path()).unwrap();
    let new = table.snapshot(None).await;
    assert_eq!(new.version, 4);
    assert_ne!(new.table_id, old.table_id);
    assert_eq!(new.files.len(), 5);
    assert_ne!(table.snapshot(Some(2)).await.table_id, old.table_id);
    assert_ne!(table.lake.identity(table.location(), 2).await.unwrap(), identity);
}

#[tokio::test]
async fn the_cache_is_bounded() {
    let table = Fixture::new(&[]);
    grow(&table, 40).await;
    for version in 0..=40 {
        assert_eq!(table.snapshot(Some(version)).await.version, version);
    }
    assert!(table.lake.cache().len() <= 16);
}

/// Writes a first entry by hand.
fn plant(table: &Fixture, protocol: &str, configuration: &str, column_metadata: &str) {
    fs::create_dir_all(table.path().join("_delta_log")).unwrap();
    let schema = format!(
        r#"{{"type":"struct","fields":[{{"name":"id","type":"long","nullable":true,"metadata":{column_metadata}}}]}}"#
    );
    let metadata = serde_json::json!({"metaData": {
        "id": "t", "format": {"provider": "parquet", "options": {}}, "schemaString": schema,
        "partitionColumns": [], "configuration": serde_json::from_str::<serde_json::Value>(configuration).unwrap(),
    }});
    fs::write(table.entry(0), format!("{{\"protocol\":{protocol}}}\n{metadata}\n")).unwrap();
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_by_name() {
    let three = |feature: &str| {
        format!(
            r#"{{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":["{feature}"],"writerFeatures":["{feature}"]}}"#
        )
    };
    for feature in ["typeWidening", "catalogManaged", "somethingNew"] {
        let table = Fixture::new(&[]);
        plant(&table, &three(feature), "{}", "{}");
        let error = table.lake.snapshot(table.location(), None).await.unwrap_err();
        assert_eq!(error.code(), "unsupported_feature");
        assert!(error.to_string().contains(feature), "{error}");
    }
    let legacy = r#"{"minReaderVersion":2,"minWriterVersion":5}"#;
    let table = Fixture::new(&[]);
    plant(&table, legacy, r#"{"delta.columnMapping.mode":"name"}"#, "{}");
    let error = table.lake.snapshot(table.location(), None).await.unwrap_err();
    assert!(error.to_string().contains("columnMapping"), "{error}");
    let table = Fixture::new(&[]);
    plant(&table, legacy, "{}", "{}");
    table.snapshot(None).await;
}

#[tokio::test]
async fn what_cannot_be_written_is_refused_by_name() {
    let seven =
        |feature: &str| format!(r#"{{"minReaderVersion":1,"minWriterVersion":7,"writerFeatures":["{feature}"]}}"#);
    let refused = async |protocol: &str, metadata: &str| {
        let table = Fixture::new(&[]);
        plant(&table, protocol, "{}", metadata);
        table.snapshot(None).await;
        let request = table.request(Some(0), Vec::new());
        let error = commit(&table.lake, request, &quiet).await.unwrap_err();
        assert_eq!(error.code(), "unsupported_feature");
        error.to_string()
    };
    for feature in ["rowTracking", "inCommitTimestamp", "clustering", "domainMetadata"] {
        let message = refused(&seven(feature), "{}").await;
        assert!(message.contains(feature), "{message}");
    }
    let legacy = r#"{"minReaderVersion":1,"minWriterVersion":6}"#;
    let message = refused(legacy, r#"{"delta.identity.start":1}"#).await;
    assert!(message.contains("identityColumns"), "{message}");
    let message = refused(legacy, r#"{"delta.generationExpression":"1"}"#).await;
    assert!(message.contains("generatedColumns"), "{message}");
}

#[tokio::test]
async fn invariants_and_constraints_are_part_of_the_snapshot() {
    let table = Fixture::new(&[]);
    plant(
        &table,
        r#"{"minReaderVersion":1,"minWriterVersion":3}"#,
        r#"{"delta.constraints.small":"id < 9"}"#,
        r#"{"delta.invariants":"{\"expression\":{\"expression\":\"id > 0\"}}"}"#,
    );
    let found: Vec<(String, String)> = table
        .snapshot(None)
        .await
        .constraints
        .iter()
        .map(|constraint| (constraint.name.clone(), constraint.expression.clone()))
        .collect();
    assert_eq!(found, [("small".to_owned(), "id < 9".to_owned()), ("id".to_owned(), "id > 0".to_owned())]);
}
