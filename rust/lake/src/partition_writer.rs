//! Writing the partitions of a plan side by side.
//!
//! A large result gets a file from each partition, so that its rows are encoded on as many threads as compute them; a
//! small one gets one file.  At most [`HELD_BYTES`] wait in memory until that is decided.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::task::JoinSet;

use crate::error::{LakeError, Result};
use crate::lake::Lake;
use crate::properties::DeltaWriteSpec;
use crate::writer::{Writing, WrittenFile};

/// Bytes in memory from which on a result is large.
const HELD_BYTES: u64 = 32 * 1024 * 1024;

/// Writes the rows of several streams into new data files with statistics, as [`crate::write_files`] does those of one.
///
/// # Errors
/// As [`crate::write_files`]; all files are deleted then.
pub async fn write_partitions(
    lake: &Lake,
    spec: &DeltaWriteSpec,
    schema: &SchemaRef,
    streams: Vec<SendableRecordBatchStream>,
) -> Result<Vec<WrittenFile>> {
    write_above(HELD_BYTES, &Writing::new(lake, spec, schema).await?, streams).await
}

/// What became of a partition.
enum Part {
    /// It ended before the result was large.
    Small(Vec<RecordBatch>),
    /// It has files of its own.
    Written(Vec<WrittenFile>),
}

async fn write_above(
    large: u64,
    writing: &Writing,
    streams: Vec<SendableRecordBatchStream>,
) -> Result<Vec<WrittenFile>> {
    let Some(schema) = streams.first().map(|stream| stream.schema()) else { return Ok(Vec::new()) };
    let held = Arc::new(AtomicU64::new(0));
    let failed = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for (number, stream) in streams.into_iter().enumerate() {
        let (writing, held, failed) = (writing.clone(), Arc::clone(&held), Arc::clone(&failed));
        // A write that is dropped half-way drops the set, which ends the tasks, whose files go with them.
        tasks.spawn(async move {
            let ended = part(&writing, until(stream, Arc::clone(&failed)), &held, large).await;
            ended.map(|part| (number, part)).map_err(|error| (failed.swap(true, Ordering::Relaxed), error))
        });
    }
    let (mut parts, mut failure) = (Vec::new(), None);
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok(Ok(part)) => parts.push(part),
            // The first error is the one to tell; the others only followed it.
            Ok(Err((followed, error))) if !followed => failure = Some(error),
            Ok(Err(_)) => {}
            Err(error) => {
                let error = LakeError::store(writing.uri(), "writing data files on several threads", &error);
                failure = failure.or(Some(error));
            }
        }
    }
    if let Some(error) = failure {
        return Err(error);
    }
    parts.sort_by_key(|(number, _)| *number);
    let (mut files, mut rest) = (Vec::new(), Vec::new());
    for (_, part) in parts {
        match part {
            Part::Small(batches) => rest.extend(batches),
            Part::Written(written) => files.extend(written),
        }
    }
    if !rest.is_empty() {
        let rest = RecordBatchStreamAdapter::new(schema, stream::iter(rest.into_iter().map(Ok)));
        files.extend(writing.write(Box::pin(rest)).await?);
    }
    Ok(files)
}

/// The same rows, ending in an error once `failed` is set, so that a file that was begun is taken away in good order.
fn until(stream: SendableRecordBatchStream, failed: Arc<AtomicBool>) -> SendableRecordBatchStream {
    let schema = stream.schema();
    let stream = stream.map(move |batch| {
        if failed.load(Ordering::Relaxed) {
            return Err(DataFusionError::Execution("another partition failed".to_owned()));
        }
        batch
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, stream))
}

/// Holds the rows of a partition until it ends or the whole result is large, and writes them in the second case.
async fn part(writing: &Writing, mut stream: SendableRecordBatchStream, held: &AtomicU64, large: u64) -> Result<Part> {
    let mut batches: Vec<RecordBatch> = Vec::new();
    while let Some(batch) = stream.try_next().await? {
        if batch.num_rows() == 0 {
            continue;
        }
        let bytes = batch.get_array_memory_size() as u64;
        batches.push(batch);
        if held.fetch_add(bytes, Ordering::Relaxed) + bytes >= large {
            let schema = stream.schema();
            let all = stream::iter(batches.into_iter().map(Ok)).chain(stream);
            return Ok(Part::Written(writing.write(Box::pin(RecordBatchStreamAdapter::new(schema, all))).await?));
        }
    }
    Ok(Part::Small(batches))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commit;
    use crate::fixtures::{Fixture, quiet};

    /// Three streams of 100 rows each.
    fn streams(table: &Fixture) -> Vec<SendableRecordBatchStream> {
        (0..3)
            .map(|part| {
                let batches: Vec<_> = (0..10)
                    .map(|number| {
                        let rows: Vec<_> =
                            (0..10).map(|row| (part * 100 + number * 10 + row, Some("name"), 1.0)).collect();
                        Ok(table.batch(&rows))
                    })
                    .collect();
                let schema = Arc::clone(&table.schema);
                Box::pin(RecordBatchStreamAdapter::new(schema, stream::iter(batches))) as SendableRecordBatchStream
            })
            .collect()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_small_result_is_one_file_and_a_large_one_a_file_from_each_partition() {
        for (large, files) in [(u64::MAX, 1), (1, 3)] {
            let table = Fixture::new(&[]);
            let writing = Writing::new(&table.lake, &table.spec, &table.schema).await.unwrap();
            let written = write_above(large, &writing, streams(&table)).await.unwrap();
            assert_eq!(written.len(), files);
            assert_eq!(written.iter().map(|file| file.rows).sum::<u64>(), 300);
            commit(&table.lake, table.request(None, written), &quiet).await.unwrap();
            assert_eq!(table.ids(None).await, (0..300).collect::<Vec<_>>());
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_partition_that_fails_leaves_no_file() {
        let table = Fixture::new(&[]);
        let writing = Writing::new(&table.lake, &table.spec, &table.schema).await.unwrap();
        let mut all = streams(&table);
        let broken = stream::iter([Err(DataFusionError::Execution("broken".to_owned()))]);
        all.push(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&table.schema), broken)));
        let error = write_above(1, &writing, all).await.unwrap_err();
        assert!(error.to_string().contains("broken"), "{error}");
        let left: Vec<_> = std::fs::read_dir(table.path()).map(|found| found.flatten().collect()).unwrap_or_default();
        assert!(left.iter().all(|entry| !entry.path().is_file()), "{left:?}");
    }
}
