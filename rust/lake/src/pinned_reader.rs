//! Reads the bytes of pinned files: counts them, keeps footers, and says which file is missing.
//!
//! Footers are kept in the session's bounded metadata cache under store and path together; DataFusion's own key is the
//! path alone, which two stores may share.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use chrono::DateTime;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use datafusion::datasource::physical_plan::parquet::{
    CachedParquetMetaData, DefaultParquetFileReaderFactory, ParquetFileReaderFactory,
};
use datafusion::error::{DataFusionError, Result as EngineResult};
use datafusion::execution::cache::cache_manager::{CachedFileMetadataEntry, FileMetadataCache};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};

use crate::error::{LakeError, Result};
use crate::table::{DataFile, TableSnapshot, Version};

/// Where footers are kept.
pub(crate) type FooterCache = Arc<FileMetadataCache>;

/// Makes readers for the files of one pinned version.
pub(crate) struct PinnedReaderFactory {
    /// Table and version, for messages.
    pub uri: String,
    pub version: Version,
    /// Tells stores apart in the cache.
    pub store_name: String,
    pub store: Arc<dyn ObjectStore>,
    pub footers: FooterCache,
}

impl std::fmt::Debug for PinnedReaderFactory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PinnedReaderFactory")
            .field("uri", &self.uri)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl PinnedReaderFactory {
    /// Number of physical rows of a file whose log entry does not tell it; reads the footer.
    pub async fn count_rows(&self, location: Path, file: &DataFile) -> Result<u64> {
        let footer = self.source(object_meta(location, file)).footer(None).await;
        match footer {
            Ok(footer) => u64::try_from(footer.file_metadata().num_rows())
                .map_err(|_| LakeError::invalid("a footer counts less than no rows")),
            Err(error) => Err(LakeError::from(DataFusionError::from(error))),
        }
    }

    fn source(&self, meta: ObjectMeta) -> Source {
        Source {
            uri: self.uri.clone(),
            version: self.version,
            key: Path::from_iter([self.store_name.as_str(), meta.location.as_ref()]),
            meta,
            store: Arc::clone(&self.store),
            footers: Arc::clone(&self.footers),
        }
    }
}

/// What the store would say about a file, taken from the log.
pub(crate) fn object_meta(location: Path, file: &DataFile) -> ObjectMeta {
    ObjectMeta {
        location,
        last_modified: DateTime::from_timestamp_millis(file.modification_time_ms).unwrap_or_default(),
        size: file.size,
        e_tag: None,
        version: None,
    }
}

/// The error of a file that the log names and the store does not have.
pub(crate) fn missing_file(snapshot: &TableSnapshot, path: &str) -> LakeError {
    missing(&snapshot.location.uri, snapshot.version, path)
}

fn missing(uri: &str, version: Version, path: &str) -> LakeError {
    LakeError::MissingFile { uri: uri.to_owned(), path: format!("{path}' of version '{version}") }
}

impl ParquetFileReaderFactory for PinnedReaderFactory {
    fn create_reader(
        &self,
        partition_index: usize,
        partitioned_file: PartitionedFile,
        metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> EngineResult<Box<dyn AsyncFileReader + Send>> {
        let source = self.source(partitioned_file.object_meta.clone());
        let bytes = DefaultParquetFileReaderFactory::new(Arc::clone(&self.store)).create_reader(
            partition_index,
            partitioned_file,
            metadata_size_hint,
            metrics,
        )?;
        Ok(Box::new(PinnedReader { source, bytes, metadata_size_hint }))
    }
}

struct PinnedReader {
    source: Source,
    /// Reads ranges, and counts them in the metrics of the scan.
    bytes: Box<dyn AsyncFileReader + Send>,
    metadata_size_hint: Option<usize>,
}

impl AsyncFileReader for PinnedReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        async move {
            match self.bytes.get_bytes(range).await {
                Ok(bytes) => Ok(bytes),
                Err(error) => Err(self.source.explain(error).await),
            }
        }
        .boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>, ParquetError>> {
        async move {
            match self.bytes.get_byte_ranges(ranges).await {
                Ok(bytes) => Ok(bytes),
                Err(error) => Err(self.source.explain(error).await),
            }
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        self.source.footer(self.metadata_size_hint).boxed()
    }
}

/// One file and the ways to it.
struct Source {
    uri: String,
    version: Version,
    key: Path,
    meta: ObjectMeta,
    store: Arc<dyn ObjectStore>,
    footers: FooterCache,
}

impl Source {
    /// The footer with its page indexes, from the cache or the file.
    async fn footer(&self, metadata_size_hint: Option<usize>) -> Result<Arc<ParquetMetaData>, ParquetError> {
        if let Some(entry) = self.footers.get(&self.key)
            && entry.is_valid_for(&self.meta)
            && let Some(footer) = entry.file_metadata.as_any().downcast_ref::<CachedParquetMetaData>()
        {
            return Ok(Arc::clone(footer.parquet_metadata()));
        }
        let fetched = DFParquetMetadata::new(self.store.as_ref(), &self.meta)
            .with_metadata_size_hint(metadata_size_hint)
            .with_page_index_policy(Some(PageIndexPolicy::Optional))
            .fetch_metadata()
            .await;
        match fetched {
            Ok(footer) => {
                let kept = Arc::new(CachedParquetMetaData::new(Arc::clone(&footer)));
                self.footers.put(&self.key, CachedFileMetadataEntry::new(self.meta.clone(), kept));
                Ok(footer)
            }
            // Parquet's own errors say what is wrong, but not where.
            Err(DataFusionError::ParquetError(error)) if !matches!(*error, ParquetError::External(_)) => {
                let (path, version, uri) = (&self.meta.location, self.version, &self.uri);
                let named = format!("file '{path}' of version '{version}' of table '{uri}' cannot be read: {error}");
                Err(self.explain(ParquetError::General(named)).await)
            }
            Err(error) => Err(self.explain(ParquetError::External(Box::new(error))).await),
        }
    }

    /// Says that the file is missing if it is; the store's own words are lost on the way through the readers.
    async fn explain(&self, error: ParquetError) -> ParquetError {
        match self.store.head(&self.meta.location).await {
            Err(object_store::Error::NotFound { .. }) => {
                ParquetError::External(Box::new(missing(&self.uri, self.version, self.meta.location.as_ref())))
            }
            _ => error,
        }
    }
}
