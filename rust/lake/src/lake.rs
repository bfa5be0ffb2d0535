//! The door to tables: stores by location, and a bounded cache of snapshots.
//!
//! A cached snapshot is given out only after the entry of its version proved to be the same object as when it was read.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datafusion::execution::object_store::ObjectStoreUrl;
use deltalake_core::logstore::{LogStoreRef, StorageConfig, logstore_for, logstore_with};
use object_store::ObjectStore;
use object_store::path::Path;
use url::Url;

use crate::error::{LakeError, Result};
use crate::listing::Stamp;
use crate::location::TableLocation;
use crate::log::hash;
use crate::table::{TableSnapshot, Version};

/// Locations whose stores are kept open; beyond it all are opened again.
const MAX_STORES: usize = 4096;

/// How a [`Lake`] works.
#[derive(Clone, Debug)]
pub struct LakeOptions {
    /// Whether local commits survive a loss of power: files and folders are synced around the entry.
    pub durable: bool,
    /// Number of snapshots that are kept.
    pub snapshot_cache: usize,
}

impl Default for LakeOptions {
    fn default() -> Self {
        Self { durable: true, snapshot_cache: 256 }
    }
}

/// Access to Delta tables.  Clones share their caches.
#[derive(Clone)]
pub struct Lake(Arc<Inner>);

struct Inner {
    options: LakeOptions,
    stores: Mutex<HashMap<TableLocation, Arc<Store>>>,
    snapshots: Mutex<SnapshotCache>,
}

/// The stores of one table.
pub(crate) struct Store {
    /// Rooted at the table.
    pub table: Arc<dyn ObjectStore>,
    /// Rooted where the URL's authority ends.
    pub root: Arc<dyn ObjectStore>,
    pub delta: LogStoreRef,
    /// The folder of the log, where it is on a local file system.
    pub local_log: Option<PathBuf>,
}

impl std::fmt::Debug for Lake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lake").field("options", &self.0.options).finish_non_exhaustive()
    }
}

impl Lake {
    /// A lake with empty caches.
    pub fn new(options: LakeOptions) -> Self {
        Self(Arc::new(Inner {
            snapshots: Mutex::new(SnapshotCache::new(options.snapshot_cache)),
            stores: Mutex::default(),
            options,
        }))
    }

    /// Whether local commits are synced.
    pub fn durable(&self) -> bool {
        self.0.options.durable
    }

    /// The store for DataFusion's `RuntimeEnv`, and the URL to register it under.
    ///
    /// The store is rooted where the URL's authority ends, so that all tables of one bucket share it; paths in it come
    /// from [`Lake::object_path`].  Tables of one bucket with different options have different URLs.
    pub fn object_store(&self, location: &TableLocation) -> Result<(ObjectStoreUrl, Arc<dyn ObjectStore>)> {
        let store = self.store(location)?;
        let url = location.url()?;
        let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
        let user = if url.username().is_empty() { String::new() } else { format!("{}@", url.username()) };
        let scheme = if location.options.is_empty() {
            url.scheme().to_owned()
        } else {
            let options = format!("{:?}", location.options);
            format!("{}-{}", url.scheme(), &hash(options.as_bytes())[..12])
        };
        let url = ObjectStoreUrl::parse(format!("{scheme}://{user}{authority}"))?;
        Ok((url, Arc::clone(&store.root)))
    }

    /// Path of a table's file in the store of [`Lake::object_store`].
    ///
    /// `path` is a [`crate::DataFile::path`]: relative to the table, or an absolute URL in the same store.
    pub fn object_path(location: &TableLocation, path: &str) -> Result<Path> {
        let bad = |detail: String| {
            LakeError::invalid(format!("file '{path}' of table '{}' has no usable path: {detail}", location.uri))
        };
        let table = location.url()?;
        if path.contains("://") {
            let url = Url::parse(path).map_err(|error| bad(error.to_string()))?;
            if url.scheme() != table.scheme() || url.authority() != table.authority() {
                return Err(LakeError::UnsupportedFeature {
                    uri: location.uri.clone(),
                    feature: "files in another store".to_owned(),
                    action: "read",
                    hint: format!("'{path}' is not in the table's store; copy the table with its files"),
                });
            }
            return Path::from_url_path(url.path()).map_err(|error| bad(error.to_string()));
        }
        let root = Path::from_url_path(table.path()).map_err(|error| bad(error.to_string()))?;
        let joined = if root.as_ref().is_empty() { path.to_owned() } else { format!("{root}/{path}") };
        Path::parse(joined).map_err(|error| bad(error.to_string()))
    }

    /// Uses `root` (rooted where the URL's authority ends) for the table instead of what its URL names.
    ///
    /// For stores that a URL cannot name, such as one in memory that several users share.
    pub fn register_store(&self, location: &TableLocation, root: Arc<dyn ObjectStore>) -> Result<()> {
        let log_store = logstore_with(root, &location.url()?, storage_config(location))
            .map_err(|error| LakeError::store(&location.uri, "opening the store", &error))?;
        lock(&self.0.stores).insert(location.clone(), Arc::new(Store::new(log_store, None)));
        Ok(())
    }

    pub(crate) fn store(&self, location: &TableLocation) -> Result<Arc<Store>> {
        if let Some(store) = lock(&self.0.stores).get(location) {
            return Ok(Arc::clone(store));
        }
        let log_store = logstore_for(&location.url()?, storage_config(location))
            .map_err(|error| LakeError::store(&location.uri, "opening the store", &error))?;
        let local_log = location.local_path().map(|path| path.join("_delta_log"));
        let store = Arc::new(Store::new(log_store, local_log));
        let mut stores = lock(&self.0.stores);
        if stores.len() >= MAX_STORES {
            stores.clear();
        }
        Ok(Arc::clone(stores.entry(location.clone()).or_insert(store)))
    }

    pub(crate) fn cache(&self) -> MutexGuard<'_, SnapshotCache> {
        lock(&self.0.snapshots)
    }
}

impl Store {
    fn new(log_store: LogStoreRef, local_log: Option<PathBuf>) -> Self {
        Self {
            table: log_store.object_store(None),
            root: log_store.root_object_store(None),
            delta: log_store,
            local_log,
        }
    }
}

fn storage_config(location: &TableLocation) -> StorageConfig {
    location.options.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// The caches hold whole values only, so that a panic elsewhere cannot have left half of one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A snapshot and the object that its version's entry was.
#[derive(Clone, Debug)]
pub(crate) struct CachedSnapshot {
    pub snapshot: Arc<TableSnapshot>,
    pub stamp: Stamp,
    used: u64,
}

/// Snapshots by location and version; the least recently used one goes first.
#[derive(Debug)]
pub(crate) struct SnapshotCache {
    capacity: usize,
    clock: u64,
    kept: HashMap<TableLocation, BTreeMap<Version, CachedSnapshot>>,
    len: usize,
}

impl SnapshotCache {
    fn new(capacity: usize) -> Self {
        Self { capacity, clock: 0, kept: HashMap::new(), len: 0 }
    }

    /// The newest snapshot that is not newer than `upto`.
    pub fn newest(&mut self, location: &TableLocation, upto: Option<Version>) -> Option<CachedSnapshot> {
        self.clock += 1;
        let clock = self.clock;
        let versions = self.kept.get_mut(location)?;
        let found = match upto {
            Some(upto) => versions.range_mut(..=upto).next_back(),
            None => versions.iter_mut().next_back(),
        };
        found.map(|(_, cached)| {
            cached.used = clock;
            cached.clone()
        })
    }

    pub fn insert(&mut self, snapshot: Arc<TableSnapshot>, stamp: Stamp) {
        if self.capacity == 0 {
            return;
        }
        self.clock += 1;
        let cached = CachedSnapshot { stamp, used: self.clock, snapshot };
        let (location, version) = (cached.snapshot.location.clone(), cached.snapshot.version);
        if self.kept.entry(location).or_default().insert(version, cached).is_none() {
            self.len += 1;
        }
        while self.len > self.capacity {
            self.drop_oldest();
        }
    }

    /// Forgets all snapshots of a location, because another table lives there now.
    pub fn forget(&mut self, location: &TableLocation) {
        if let Some(versions) = self.kept.remove(location) {
            self.len -= versions.len();
        }
    }

    fn drop_oldest(&mut self) {
        let oldest = self
            .kept
            .iter()
            .flat_map(|(location, versions)| {
                versions.iter().map(move |(version, cached)| (cached.used, location.clone(), *version))
            })
            .min_by_key(|(used, ..)| *used);
        let Some((_, location, version)) = oldest else {
            self.len = 0;
            return;
        };
        if let Some(versions) = self.kept.get_mut(&location) {
            versions.remove(&version);
            self.len -= 1;
            if versions.is_empty() {
                self.kept.remove(&location);
            }
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_files_are_relative_to_the_root_of_the_store() {
        let location = TableLocation::parse("/lake/late orders", BTreeMap::new()).unwrap();
        let path = |file: &str| Lake::object_path(&location, file).map(|path| path.to_string());
        assert_eq!(path("a=x%20y/p.parquet").unwrap(), "lake/late orders/a=x%20y/p.parquet");
        assert_eq!(path("file:///other/p.parquet").unwrap(), "other/p.parquet");
        assert_eq!(path("s3://bucket/p.parquet").unwrap_err().code(), "unsupported_feature");
    }

    #[test]
    fn options_separate_the_stores_of_one_bucket() {
        let lake = Lake::new(LakeOptions::default());
        let plain = TableLocation::parse("/lake/orders", BTreeMap::new()).unwrap();
        let mut other = plain.clone();
        other.options.insert("key".into(), "value".into());
        let url = |location| lake.object_store(location).unwrap().0.as_str().to_owned();
        assert_eq!(url(&plain), "file:///");
        assert_ne!(url(&plain), url(&other));
    }
}
