//! Change feeds of ranges that were looked at a moment ago, shared by all views and by all steps of a cycle.
//!
//! What a range of versions changed never changes itself.  A feed is found again by the range and by the identity of the
//! table at its start; that the table is still the one that was pinned is checked once more before each commit.

use datafusion::error::DataFusionError;
use lake::{ChangeFeed, FeedKind, FeedPolicy, TableIdentity, TableLocation, Version};

use crate::change_types::contradiction;
use crate::error::{EngineError, Result};
use crate::execution::Execution;
use crate::recent::Recent;
use crate::session::EngineSession;

/// Feeds that are kept.
const CAPACITY: usize = 64;

/// What tells one feed from another.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    table: TableLocation,
    after: Version,
    upto: Version,
    table_id: Option<String>,
    commit_hash: Option<String>,
    trusted_writers: Vec<String>,
}

/// The feeds that were read last.
pub(crate) struct Feeds(Recent<Key, ChangeFeed>);

impl Feeds {
    pub fn new() -> Self {
        Self(Recent::new(CAPACITY))
    }
}

/// The changes of the versions `(after, upto]`, as [`lake::Lake::change_feed`] gives them.
///
/// Change files of other writers that cannot be true are not read: the changes are then the difference of the files.
pub(crate) async fn change_feed(
    session: &EngineSession,
    table: &TableLocation,
    range: (Version, Version),
    expected: Option<&TableIdentity>,
    trusted_writers: &[String],
) -> Result<ChangeFeed> {
    let (after, upto) = range;
    let key = Key {
        table: table.clone(),
        after,
        upto,
        table_id: expected.map(|identity| identity.table_id.clone()),
        commit_hash: expected.and_then(|identity| identity.commit_hash.clone()),
        trusted_writers: trusted_writers.to_vec(),
    };
    if let Some(feed) = session.feeds().0.get(&key) {
        return Ok(feed);
    }
    let policy = FeedPolicy { trusted_writers: trusted_writers.to_vec(), force: None };
    let mut feed = session.lake().change_feed(table, after, upto, expected, &policy).await?;
    if feed.by_others {
        let wrong = async { contradiction(&Execution::new(session, 0)?, &feed).await };
        let wrong = wrong.await.map_err(|error: DataFusionError| EngineError::execution("change files", error))?;
        if let Some(wrong) = wrong {
            let policy = FeedPolicy { force: Some(FeedKind::Difference), ..policy };
            feed = session.lake().change_feed(table, after, upto, expected, &policy).await?;
            feed.distrusted = Some(wrong);
        }
    }
    // Without the hash of its entry a version could be that of another table at the same place.
    if key.commit_hash.is_some() {
        session.feeds().0.put(key, feed.clone());
    }
    Ok(feed)
}
