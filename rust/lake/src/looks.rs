//! Looks: whether tables have a new version, many of them in one call.
//!
//! A look opens nothing.  It costs one `stat` on a local file system, one request anywhere else; a table that cannot be
//! looked at is an error in its own place and hurts no other.

use std::path::PathBuf;

use futures::StreamExt;
use futures::future::join;

use crate::error::{LakeError, Result};
use crate::lake::Lake;
use crate::location::TableLocation;
use crate::log::entry_name;
use crate::table::Version;

/// Requests to stores that are under way at once.
const REQUESTS_AT_ONCE: usize = 32;

impl Lake {
    /// For each table whether the version after the given one is there, in the order of the looks.
    ///
    /// As [`Lake::next_version_exists`] for each of them; the looks at local tables share one thread, because handing
    /// each to a thread of its own costs more than the look, and the requests to stores run side by side.
    pub async fn next_versions_exist(&self, looks: Vec<(TableLocation, Version)>) -> Vec<Result<bool>> {
        let mut found: Vec<Option<Result<bool>>> = looks.iter().map(|_| None).collect();
        let (mut local, mut remote) = (Vec::new(), Vec::new());
        for (place, (location, after)) in looks.into_iter().enumerate() {
            match self.store(&location) {
                Ok(store) => match &store.local_log {
                    Some(log) => local.push((place, location.uri, log.join(entry_name(after + 1)))),
                    None => remote.push((place, location, after)),
                },
                Err(error) => found[place] = Some(Err(error)),
            }
        }
        let requests = futures::stream::iter(remote)
            .map(|(place, location, after)| async move { (place, self.next_version_exists(&location, after).await) })
            .buffer_unordered(REQUESTS_AT_ONCE)
            .collect::<Vec<_>>();
        let (stats, requests) = join(all_stats(local), requests).await;
        for (place, answer) in stats.into_iter().chain(requests) {
            found[place] = Some(answer);
        }
        let unanswered = || Err(LakeError::invalid("a look was given up; look again"));
        found.into_iter().map(|answer| answer.unwrap_or_else(unanswered)).collect()
    }
}

/// Looks at local entries, off the threads that must not wait.
async fn all_stats(entries: Vec<(usize, String, PathBuf)>) -> Vec<(usize, Result<bool>)> {
    if entries.is_empty() {
        return Vec::new();
    }
    let work = move || entries.into_iter().map(|(place, uri, entry)| (place, exists(&uri, &entry))).collect();
    // The thread ends early only where the process does.
    tokio::task::spawn_blocking(work).await.unwrap_or_default()
}

fn exists(uri: &str, entry: &std::path::Path) -> Result<bool> {
    match std::fs::metadata(entry) {
        Ok(found) => Ok(found.is_file()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(LakeError::store(uri, "looking for the next version", &error)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use object_store::memory::InMemory;
    use object_store::path::Path;
    use object_store::{ObjectStoreExt, PutPayload};

    use super::*;
    use crate::LakeOptions;
    use crate::fixtures::Fixture;

    #[tokio::test]
    async fn looks_are_answered_in_their_order_and_each_for_itself() {
        let table = Fixture::new(&[]);
        table.append(None, &[0]).await;
        table.append(Some(0), &[1]).await;
        let blocked = table.folder.path().join("blocked");
        std::fs::write(&blocked, "a file where a folder should be").unwrap();
        let blocked = TableLocation::parse(blocked.to_str().unwrap(), BTreeMap::new()).unwrap();
        let absent = table.folder.path().join("absent");
        let absent = TableLocation::parse(absent.to_str().unwrap(), BTreeMap::new()).unwrap();
        let looks = vec![(table.location().clone(), 1), (absent, 0), (blocked, 0), (table.location().clone(), 0)];
        let found = table.lake.next_versions_exist(looks.clone()).await;
        assert_eq!(found.len(), 4);
        assert!(!found[0].as_ref().unwrap());
        assert!(!found[1].as_ref().unwrap());
        assert_eq!(found[2].as_ref().unwrap_err().code(), "store_error");
        assert!(found[3].as_ref().unwrap());
        for ((location, after), answer) in looks.into_iter().zip(found) {
            let single = table.lake.next_version_exists(&location, after).await;
            assert_eq!(single.map_err(|error| error.code()), answer.map_err(|error| error.code()), "{location:?}");
        }
    }

    #[tokio::test]
    async fn a_store_that_is_no_file_system_is_asked_by_requests() {
        let lake = Lake::new(LakeOptions::default());
        let store = Arc::new(InMemory::new());
        let location = TableLocation::parse("memory:///orders", BTreeMap::new()).unwrap();
        lake.register_store(&location, Arc::clone(&store) as _).unwrap();
        let entry = Path::from(format!("orders/_delta_log/{}", entry_name(3)));
        store.put(&entry, PutPayload::from_static(b"{}")).await.unwrap();
        let found = lake.next_versions_exist(vec![(location.clone(), 2), (location, 3)]).await;
        assert!(found[0].as_ref().unwrap());
        assert!(!found[1].as_ref().unwrap());
    }
}
