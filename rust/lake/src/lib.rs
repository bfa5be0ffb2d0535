//! Everything Delta: identity, log, pinned scans, change feeds, writers, strict commits.
//!
//! No other crate names `deltalake`.  The log is the truth: what a version holds is decided by its entries alone, every
//! commit is a compare-and-set of the next entry, and what cannot be read or written rightly is refused by its name.

mod actions;
mod change_feed;
mod change_files;
mod checkpoint;
mod cleaning;
mod commit;
mod commit_entry;
mod compact;
mod constraints;
mod deletion_vectors;
mod durability;
mod error;
mod file_statistics;
mod float_pruning;
mod lake;
mod listing;
mod location;
mod log;
mod looks;
mod partition_values;
mod partition_writer;
mod pinned_reader;
mod pinned_scan;
mod pinned_schema;
mod properties;
mod pruning;
mod recording_store;
mod schema;
mod snapshot;
mod statistics;
mod table;
mod writer;

#[cfg(test)]
mod change_feed_tests;
#[cfg(test)]
mod commit_tests;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod log_tests;
#[cfg(test)]
mod pinned_scan_tests;
#[cfg(test)]
mod test_rows;
#[cfg(test)]
mod test_tables;

pub use actions::{Format, Metadata, Protocol};
pub use change_feed::*;
pub use change_files::CHANGE_TYPE;
pub use cleaning::vacuum;
pub use commit::{CommitOutcome, CommitRequest, CommitStep, commit};
pub use compact::{compact, purge};
pub use constraints::{checked_stream, required_constraints};
pub use deletion_vectors::*;
pub use error::{LakeError, Result};
pub use lake::{Lake, LakeOptions};
pub use location::TableLocation;
pub use log::{ChangeFile, Commit, RemovedFile};
pub use partition_writer::write_partitions;
pub use pinned_scan::*;
pub use pinned_schema::view_typed;
pub use properties::DeltaWriteSpec;
pub use pruning::*;
pub use schema::{delta_schema_json, schema_from_delta_json, storable_schema};
pub use statistics::{ColumnStatistics, FileStatistics};
pub use table::{Constraint, DataFile, DvDescriptor, FileEntry, FileKey, TableIdentity, TableSnapshot, Version};
pub use writer::{WrittenFile, write_change_files, write_files};

/// The version of the Delta library that this crate is built upon.
pub fn deltalake_version() -> &'static str {
    deltalake_core::crate_version()
}
