//! A store that remembers which files were begun, so that a write that ends half-way leaves none behind.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult,
};

use crate::durability::FileGuard;

/// Passes everything on, and guards the files that are begun.
pub(crate) struct RecordingStore {
    inner: Arc<dyn ObjectStore>,
    guards: Mutex<BTreeMap<String, FileGuard>>,
    guard: Box<dyn Fn(&Path) -> FileGuard + Send + Sync>,
}

impl RecordingStore {
    /// Writes into `inner`, and guards each file that is begun by what `guard` makes of its path there.
    pub fn new(inner: Arc<dyn ObjectStore>, guard: impl Fn(&Path) -> FileGuard + Send + Sync + 'static) -> Self {
        Self { inner, guards: Mutex::default(), guard: Box::new(guard) }
    }

    /// Hands out the guards by path; from here on the caller has the files.
    pub fn take(&self) -> BTreeMap<String, FileGuard> {
        std::mem::take(&mut *self.guards.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn record(&self, path: &Path) {
        let guard = (self.guard)(path);
        self.guards.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_string(), guard);
    }
}

impl std::fmt::Debug for RecordingStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RecordingStore({:?})", self.inner)
    }
}

impl std::fmt::Display for RecordingStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for RecordingStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        self.record(location);
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.record(location);
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
