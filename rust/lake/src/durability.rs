//! Local files that survive a loss of power, and those that must not stay.
//!
//! An entry of the log is linked into place only when its bytes are on disk, so that a torn entry cannot be seen.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use object_store::{ObjectStore, ObjectStoreExt};
use uuid::Uuid;

use crate::table::Version;

/// Syncs files below `table`, then all folders from them up to the one that holds the table.
pub(crate) fn sync_files(table: &Path, files: &[String]) -> io::Result<()> {
    let mut folders = BTreeSet::new();
    for file in files {
        let path = table.join(file);
        File::open(&path)?.sync_all()?;
        let mut folder = path.parent();
        while let Some(current) = folder {
            folders.insert(current.to_path_buf());
            if current == table {
                break;
            }
            folder = current.parent();
        }
    }
    folders.extend(table.parent().map(Path::to_path_buf));
    // The deepest first: a folder is worth syncing when what it names is there.
    for folder in folders.iter().rev() {
        sync_folder(folder)?;
    }
    Ok(())
}

/// Syncs the entries of a folder.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Puts an entry into the log of a local table unless its version is taken; returns whether it was put.
pub(crate) fn put_entry(table: &Path, version: Version, bytes: &[u8], durable: bool) -> io::Result<bool> {
    let log = table.join("_delta_log");
    fs::create_dir_all(&log)?;
    let entry = log.join(format!("{version:020}.json"));
    // A name that no reader of the log takes for one of its files.
    let staged = Staged(log.join(format!(".{version:020}.{}.staged", Uuid::new_v4())));
    let mut file = File::create_new(&staged.0)?;
    file.write_all(bytes)?;
    if durable {
        file.sync_all()?;
    }
    drop(file);
    match fs::hard_link(&staged.0, &entry) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

struct Staged(PathBuf);

impl Drop for Staged {
    fn drop(&mut self) {
        // What remains is passed over by every reader.
        let _ = fs::remove_file(&self.0);
    }
}

/// Deletes a file when the last clone is dropped, unless the file was kept.
pub(crate) struct FileGuard {
    store: Arc<dyn ObjectStore>,
    local: Option<PathBuf>,
    path: object_store::path::Path,
    kept: AtomicBool,
}

impl FileGuard {
    /// Guards `path` in the store of a table that is at `table` if it is local.
    pub fn new(store: Arc<dyn ObjectStore>, table: Option<&Path>, path: object_store::path::Path) -> Self {
        Self { local: table.map(|table| table.join(path.as_ref())), store, path, kept: AtomicBool::new(false) }
    }

    /// Sets whether the file stays: once an entry may name it, it must.
    pub fn keep(&self, kept: bool) {
        self.kept.store(kept, Ordering::SeqCst);
    }
}

impl std::fmt::Debug for FileGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileGuard").field("path", &self.path).field("kept", &self.kept).finish_non_exhaustive()
    }
}

impl Drop for FileGuard {
    /// Best effort: a file that stays is garbage that VACUUM takes.
    fn drop(&mut self) {
        if self.kept.load(Ordering::SeqCst) {
            return;
        }
        if let Some(local) = &self.local {
            let _ = fs::remove_file(local);
        } else if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (store, path) = (Arc::clone(&self.store), self.path.clone());
            runtime.spawn(async move {
                let _ = store.delete(&path).await;
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_put_once_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        assert!(put_entry(folder.path(), 0, b"first", true).unwrap());
        assert!(!put_entry(folder.path(), 0, b"second", true).unwrap());
        let log = folder.path().join("_delta_log");
        let names: Vec<_> = fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["00000000000000000000.json"]);
        assert_eq!(fs::read(log.join(&names[0])).unwrap(), b"first");
    }

    #[test]
    fn a_guarded_file_goes_unless_it_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn ObjectStore> = Arc::new(object_store::memory::InMemory::new());
        for kept in [false, true] {
            let file = folder.path().join("part.parquet");
            fs::write(&file, b"rows").unwrap();
            let guard = FileGuard::new(Arc::clone(&store), Some(folder.path()), "part.parquet".into());
            guard.keep(kept);
            drop(guard);
            assert_eq!(file.exists(), kept);
        }
    }

    #[test]
    fn syncing_needs_the_files_to_be_there() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("day=1")).unwrap();
        fs::write(folder.path().join("day=1/a"), b"rows").unwrap();
        sync_files(folder.path(), &["day=1/a".to_owned()]).unwrap();
        assert!(sync_files(folder.path(), &["day=1/b".to_owned()]).is_err());
    }
}
