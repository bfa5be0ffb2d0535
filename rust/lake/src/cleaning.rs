//! Cleaning: what a table keeps only for its past goes when the table's own properties say so.
//!
//! No version within the retention loses anything, and the newest version never does.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use delta_kernel::table_properties::TableProperties;
use deltalake_core::DeltaTable;
use deltalake_core::protocol::checkpoints::cleanup_expired_logs_for;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use crate::error::{LakeError, Result};
use crate::lake::Lake;
use crate::location::TableLocation;
use crate::table::Version;

/// For how long entries are kept where the table does not say it: the default of Delta.
const LOG_RETENTION: Duration = Duration::from_hours(30 * 24);

/// Deletes the entries and checkpoints that are older than the log retention and that no version within it needs.
///
/// `checkpoint` is a version that has a checkpoint.  A table with `delta.enableExpiredLogCleanup = false` keeps all.
/// Returns how many files went.
pub(crate) async fn expire_log(
    lake: &Lake,
    location: &TableLocation,
    properties: &TableProperties,
    checkpoint: Version,
) -> Result<usize> {
    if properties.enable_expired_log_cleanup == Some(false) {
        return Ok(0);
    }
    let retention = properties.log_retention_duration.unwrap_or(LOG_RETENTION);
    let cutoff = now_ms().saturating_sub(i64::try_from(retention.as_millis()).unwrap_or(i64::MAX));
    let store = lake.store(location)?;
    cleanup_expired_logs_for(checkpoint, store.delta.as_ref(), cutoff, None)
        .await
        .map_err(|error| LakeError::store(&location.uri, "deleting expired log entries", &error))
}

/// Deletes the data files that left the table longer ago than its `delta.deletedFileRetentionDuration`, a week where it
/// does not say.
///
/// Only for tables that nobody reads at old versions.  Returns how many files went.
///
/// # Errors
/// `store_error`; what was deleted before stays deleted, and the next call goes on.
pub async fn vacuum(lake: &Lake, location: &TableLocation) -> Result<usize> {
    let failed = |error| LakeError::store(&location.uri, "deleting files that left the table", &error);
    let store = lake.store(location)?;
    let mut table = DeltaTable::new(Arc::clone(&store.delta));
    table.load().await.map_err(failed)?;
    let (_, planned) = table.clone().vacuum().with_dry_run(true).await.map_err(failed)?;
    // Entries name a file that left the table long after it is gone.
    let mut there = 0;
    for path in planned.files_deleted {
        there += usize::from(store.table.head(&Path::from(path)).await.is_ok());
    }
    // Nothing to delete, nothing committed.
    if there > 0 {
        table.vacuum().await.map_err(failed)?;
    }
    Ok(there)
}

/// The only place of this crate that asks the clock: nothing that a view shows depends on when files were merged or
/// deleted.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|time| i64::try_from(time.as_millis()).ok())
        .unwrap_or_default()
}
