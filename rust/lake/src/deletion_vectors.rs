//! Deletion vectors: which physical rows of a data file are not rows of the table, read and written.
//!
//! A vector is immutable once the log names it, so it is read once, checked (length, magic number, CRC-32, cardinality)
//! and kept in a bounded cache keyed by table and unique id.  Storage types `u` (a file beside the table's data), `p` (a
//! file by absolute URL) and `i` (inline in the log) are read, `u` is written, all vectors of a commit into one file; see
//! the Delta protocol, "Deletion Vector Format".

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use bytes::Bytes;
use object_store::ObjectStoreExt;
use parquet::arrow::arrow_reader::RowSelection;
use roaring::RoaringTreemap;
use uuid::Uuid;

use crate::Lake;
use crate::error::{LakeError, Result};
use crate::pinned_reader::missing_file;
use crate::properties::DeltaWriteSpec;
use crate::table::{DataFile, DvDescriptor, TableSnapshot};
use crate::writer::WrittenFile;

/// Bytes of decoded vectors that the process keeps.
const CACHE_BYTES: usize = 64 << 20;

/// Marks the portable serialization of a 64-bit Roaring bitmap, the only one that Delta tables use.
const PORTABLE_MAGIC: u32 = 1_681_511_377;

/// The first byte of a file of vectors.
const FORMAT_VERSION: u8 = 1;

static CACHE: LazyLock<VectorCache> = LazyLock::new(|| VectorCache::new(CACHE_BYTES));

/// The physical row numbers of `file` that its deletion vector removes; empty for a file without one.
///
/// # Errors
/// `missing_file` if the vector's file is gone, `corrupt_log` if it does not hold what the log promises.
pub async fn deleted_rows(lake: &Lake, snapshot: &TableSnapshot, file: &DataFile) -> Result<Arc<RoaringTreemap>> {
    let Some(descriptor) = &file.deletion_vector else {
        return Ok(Arc::new(RoaringTreemap::new()));
    };
    let unique_id = file.key().deletion_vector.unwrap_or_default();
    let key = (snapshot.location.uri.clone(), unique_id);
    if let Some(rows) = CACHE.get(&key) {
        return Ok(rows);
    }
    let damaged = |detail: String| LakeError::CorruptLog {
        uri: snapshot.location.uri.clone(),
        version: snapshot.version,
        line: None,
        detail: format!("the deletion vector of file '{}': {detail}", file.path),
    };
    let payload = if descriptor.storage_type == "i" {
        Bytes::from(decode_z85(descriptor.path_or_inline_dv.as_bytes()).map_err(damaged)?)
    } else {
        fetch_payload(lake, snapshot, descriptor, damaged).await?
    };
    let rows = parse_payload(&payload).map_err(damaged)?;
    if i64::try_from(rows.len()) != Ok(descriptor.cardinality) {
        return Err(damaged(format!("it holds {} rows, the log says {}", rows.len(), descriptor.cardinality)));
    }
    if let (Some(last), Some(count)) = (rows.max(), file.rows)
        && last >= count
    {
        return Err(damaged(format!("it names row {last} of a file of {count} rows")));
    }
    let rows = Arc::new(rows);
    CACHE.put(key, Arc::clone(&rows));
    Ok(rows)
}

/// Hides rows of files of a version, on top of those that are hidden already.
///
/// `gone` has physical row numbers by the path of their file.  Gives the files as a commit puts them into the place of
/// the old ones; nothing is visible until then.
///
/// # Errors
/// As [`deleted_rows`]; `store_error` if the vectors cannot be written.
pub async fn hide_rows(
    lake: &Lake,
    spec: &DeltaWriteSpec,
    snapshot: &TableSnapshot,
    gone: &BTreeMap<String, RoaringTreemap>,
) -> Result<Vec<WrittenFile>> {
    let id = Uuid::new_v4();
    let path = format!("deletion_vector_{id}.bin");
    let mut bytes = vec![FORMAT_VERSION];
    let mut vectors = Vec::with_capacity(gone.len());
    for file in snapshot.files.iter() {
        let Some(more) = gone.get(&file.path) else { continue };
        let rows = deleted_rows(lake, snapshot, file).await?.as_ref() | more;
        let too_large = |_| LakeError::invalid(format!("too many rows of file '{}' are hidden", file.path));
        let offset = i32::try_from(bytes.len()).map_err(too_large)?;
        let payload = payload_of(&rows);
        let size_in_bytes = i32::try_from(payload.len()).map_err(too_large)?;
        bytes.extend_from_slice(&size_in_bytes.to_be_bytes());
        bytes.extend_from_slice(&payload);
        bytes.extend_from_slice(&crc32(&payload).to_be_bytes());
        let descriptor = DvDescriptor {
            storage_type: "u".to_owned(),
            path_or_inline_dv: encode_z85(id.as_bytes()),
            offset: Some(offset),
            size_in_bytes,
            cardinality: i64::try_from(rows.len()).unwrap_or(i64::MAX),
        };
        vectors.push((file, descriptor, rows));
    }
    let store = lake.store(&spec.location)?;
    store
        .table
        .put(&object_store::path::Path::from(path.as_str()), bytes.into())
        .await
        .map_err(|error| LakeError::store(&spec.location.uri, format!("writing '{path}'"), &error))?;
    let mut written = Vec::with_capacity(vectors.len());
    for (file, descriptor, rows) in vectors {
        CACHE.put((snapshot.location.uri.clone(), descriptor.unique_id()), Arc::new(rows));
        // The first of them answers for the file of all.
        let vector_file = written.is_empty().then_some(path.as_str());
        written.push(WrittenFile::with_deletion_vector(lake, spec, file, descriptor, vector_file)?);
    }
    Ok(written)
}

/// The rows of a file with `total` physical rows that are not in `deleted`, as a selection that covers the file exactly.
pub(crate) fn all_but(deleted: &RoaringTreemap, total: usize) -> RowSelection {
    let mut kept = Vec::new();
    let mut next = 0;
    for row in deleted {
        let row = usize::try_from(row).unwrap_or(usize::MAX).min(total);
        if row > next {
            kept.push(next..row);
        }
        next = row.saturating_add(1);
    }
    if next < total {
        kept.push(next..total);
    }
    RowSelection::from_consecutive_ranges(kept.into_iter(), total)
}

/// Only the rows in `selected` of a file with `total` physical rows, as a selection that covers the file exactly.
pub(crate) fn only(selected: &RoaringTreemap, total: usize) -> RowSelection {
    let mut kept: Vec<std::ops::Range<usize>> = Vec::new();
    for row in selected {
        let row = usize::try_from(row).unwrap_or(usize::MAX);
        if row >= total {
            break;
        }
        match kept.last_mut() {
            Some(range) if range.end == row => range.end = row + 1,
            _ => kept.push(row..row + 1),
        }
    }
    RowSelection::from_consecutive_ranges(kept.into_iter(), total)
}

/// Reads the bytes of one vector: magic number and bitmap, after checking length and checksum.
async fn fetch_payload(
    lake: &Lake,
    snapshot: &TableSnapshot,
    descriptor: &DvDescriptor,
    damaged: impl Fn(String) -> LakeError,
) -> Result<Bytes> {
    let path = match descriptor.storage_type.as_str() {
        "u" => relative_path(&descriptor.path_or_inline_dv).map_err(&damaged)?,
        "p" => descriptor.path_or_inline_dv.clone(),
        other => return Err(damaged(format!("storage type '{other}' is not known"))),
    };
    let start = u64::try_from(descriptor.offset.unwrap_or(1)).map_err(|_| damaged("its offset is negative".into()))?;
    let size = u64::try_from(descriptor.size_in_bytes).map_err(|_| damaged("its size is negative".into()))?;
    let (_, store) = lake.object_store(&snapshot.location)?;
    let location = Lake::object_path(&snapshot.location, &path)?;
    // Four bytes of length before the payload, four of checksum after it.
    let stored = store.get_range(&location, start..start + 4 + size + 4).await.map_err(|error| match error {
        object_store::Error::NotFound { .. } => missing_file(snapshot, &path),
        other => LakeError::store(&snapshot.location.uri, format!("reading the deletion vector '{path}'"), &other),
    })?;
    let size = usize::try_from(size).map_err(|_| damaged("it is too large".into()))?;
    if stored.len() != size + 8 {
        return Err(damaged(format!("{} of {} bytes are there", stored.len(), size + 8)));
    }
    let stored_size = big_endian(&stored[..4]);
    if usize::try_from(stored_size) != Ok(size) {
        return Err(damaged(format!("its file says {stored_size} bytes, the log says {size}")));
    }
    let payload = stored.slice(4..4 + size);
    if big_endian(&stored[4 + size..]) != crc32(&payload) {
        return Err(damaged("its checksum does not match its bytes".into()));
    }
    Ok(payload)
}

fn parse_payload(payload: &[u8]) -> Result<RoaringTreemap, String> {
    let (magic, bitmap) = payload.split_first_chunk::<4>().ok_or("it is shorter than its header")?;
    let magic = u32::from_le_bytes(*magic);
    if magic != PORTABLE_MAGIC {
        return Err(format!("its magic number {magic} is not that of a portable bitmap"));
    }
    RoaringTreemap::deserialize_from(bitmap).map_err(|error| error.to_string())
}

fn payload_of(rows: &RoaringTreemap) -> Vec<u8> {
    let mut payload = Vec::with_capacity(4 + rows.serialized_size());
    payload.extend_from_slice(&PORTABLE_MAGIC.to_le_bytes());
    // Writing to memory cannot fail.
    let _ = rows.serialize_into(&mut payload);
    payload
}

/// The path that an encoded name of storage type `u` stands for: a folder, and a UUID in its last 20 characters.
fn relative_path(encoded: &str) -> Result<String, String> {
    let split = encoded
        .len()
        .checked_sub(20)
        .filter(|at| encoded.is_char_boundary(*at))
        .ok_or("its name is shorter than an encoded UUID")?;
    let (folder, name) = encoded.split_at(split);
    let id = Uuid::from_slice(&decode_z85(name.as_bytes())?).map_err(|error| error.to_string())?;
    Ok(if folder.is_empty() {
        format!("deletion_vector_{id}.bin")
    } else {
        format!("{folder}/deletion_vector_{id}.bin")
    })
}

const Z85: &[u8; 85] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

/// Encodes whole groups of four bytes in ZeroMQ's base 85.
fn encode_z85(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() / 4 * 5);
    for group in bytes.chunks_exact(4) {
        let value = big_endian(group);
        for power in [85_u32.pow(4), 85_u32.pow(3), 85_u32.pow(2), 85, 1] {
            text.push(char::from(Z85[(value / power % 85) as usize]));
        }
    }
    text
}

/// Decodes ZeroMQ's base 85 (<https://rfc.zeromq.org/spec/32/>): five characters are four big-endian bytes.
fn decode_z85(text: &[u8]) -> Result<Vec<u8>, String> {
    if !text.len().is_multiple_of(5) {
        return Err("its text is not a multiple of five characters".into());
    }
    let mut bytes = Vec::with_capacity(text.len() / 5 * 4);
    for group in text.chunks_exact(5) {
        let mut value = 0_u64;
        for character in group {
            let digit = Z85
                .iter()
                .position(|known| known == character)
                .ok_or_else(|| format!("its text holds the byte {character}, which is no digit"))?;
            value = value * 85 + digit as u64;
        }
        let value = u32::try_from(value).map_err(|_| "its text is out of range".to_owned())?;
        bytes.extend_from_slice(&value.to_be_bytes());
    }
    Ok(bytes)
}

fn big_endian(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |value, byte| (value << 8) | u32::from(*byte))
}

/// CRC-32 as in ISO-HDLC (zip, PNG), which the format asks for.
fn crc32(bytes: &[u8]) -> u32 {
    static TABLE: [u32; 256] = crc32_table();
    !bytes.iter().fold(u32::MAX, |crc, byte| TABLE[((crc ^ u32::from(*byte)) & 0xff) as usize] ^ (crc >> 8))
}

const fn crc32_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut entry = 0_u32;
    while entry < 256 {
        let mut value = entry;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { 0xedb8_8320 ^ (value >> 1) } else { value >> 1 };
            bit += 1;
        }
        table[entry as usize] = value;
        entry += 1;
    }
    table
}

type VectorKey = (String, String);

/// Decoded vectors, bounded by their bytes; whoever was not asked for the longest leaves first.
struct VectorCache {
    limit: usize,
    state: Mutex<CacheState>,
}

#[derive(Default)]
struct CacheState {
    bytes: usize,
    clock: u64,
    entries: HashMap<VectorKey, CacheEntry>,
}

struct CacheEntry {
    rows: Arc<RoaringTreemap>,
    bytes: usize,
    used: u64,
}

impl VectorCache {
    fn new(limit: usize) -> Self {
        Self { limit, state: Mutex::default() }
    }

    fn get(&self, key: &VectorKey) -> Option<Arc<RoaringTreemap>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.clock += 1;
        let now = state.clock;
        let entry = state.entries.get_mut(key)?;
        entry.used = now;
        Some(Arc::clone(&entry.rows))
    }

    fn put(&self, key: VectorKey, rows: Arc<RoaringTreemap>) {
        let bytes = rows.serialized_size() + 128;
        if bytes > self.limit {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.clock += 1;
        let used = state.clock;
        if let Some(old) = state.entries.insert(key, CacheEntry { rows, bytes, used }) {
            state.bytes -= old.bytes;
        }
        state.bytes += bytes;
        while state.bytes > self.limit {
            let Some(oldest) = state.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| key.clone())
            else {
                break;
            };
            if let Some(gone) = state.entries.remove(&oldest) {
                state.bytes -= gone.bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_and_base_85_match_their_published_examples() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(decode_z85(b"HelloWorld").unwrap(), [0x86, 0x4f, 0xd2, 0x6f, 0xb5, 0x59, 0xf7, 0x5b]);
        assert_eq!(encode_z85(&[0x86, 0x4f, 0xd2, 0x6f, 0xb5, 0x59, 0xf7, 0x5b]), "HelloWorld");
        assert!(decode_z85(b"Hell").is_err());
        assert!(decode_z85(b"Hell~").is_err());
    }

    #[test]
    fn a_relative_name_is_a_folder_and_a_uuid() {
        // The example of the Delta protocol.
        assert_eq!(
            relative_path("ab^-aqEH.-t@S}K{vb[*k^").unwrap(),
            "ab/deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin"
        );
        assert!(relative_path("short").is_err());
    }

    #[test]
    fn an_inline_vector_of_another_writer_is_read() {
        let text = b"^Bg9^0rr910000000000iXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L";
        let payload = decode_z85(text).unwrap();
        let rows = parse_payload(&payload).unwrap();
        assert_eq!(payload_of(&rows), payload);
        assert_eq!(rows.into_iter().collect::<Vec<_>>(), [3, 4, 7, 11, 18, 29]);
    }

    #[test]
    fn selections_cover_the_file_exactly() {
        let rows: RoaringTreemap = [0, 3, 4, 9].into_iter().collect();
        let kept = all_but(&rows, 10);
        assert_eq!(kept.row_count(), 6);
        assert_eq!(kept.skipped_row_count(), 4);
        let chosen = only(&rows, 10);
        assert_eq!(chosen.row_count(), 4);
        assert_eq!(chosen.skipped_row_count(), 6);
        assert_eq!(all_but(&RoaringTreemap::new(), 5).row_count(), 5);
        assert_eq!(only(&RoaringTreemap::new(), 5).skipped_row_count(), 5);
    }

    #[test]
    fn the_cache_forgets_the_oldest_beyond_its_limit() {
        let cache = VectorCache::new(400);
        let rows = |n: u64| Arc::new((0..n).collect::<RoaringTreemap>());
        for name in ["a", "b", "c", "d"] {
            cache.put((String::new(), name.into()), rows(3));
        }
        assert!(cache.get(&(String::new(), "a".into())).is_none());
        assert!(cache.get(&(String::new(), "d".into())).is_some());
        assert!(cache.state.lock().unwrap().bytes <= 400);
    }
}
