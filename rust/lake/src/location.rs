//! Where a table is: an absolute URL and the options of its store.
//!
//! Two locations are equal exactly when their normalised URLs and options are.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use url::Url;

use crate::error::{LakeError, Result};

/// The place of a Delta table.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Unparsed")]
pub struct TableLocation {
    /// Absolute URL, normalised, without a slash at its end.
    pub uri: String,
    /// Options of the store, such as an endpoint or credentials.
    pub options: BTreeMap<String, String>,
}

/// A location as somebody wrote it.
#[derive(Deserialize)]
struct Unparsed {
    uri: String,
    #[serde(default)]
    options: BTreeMap<String, String>,
}

impl TryFrom<Unparsed> for TableLocation {
    type Error = LakeError;

    fn try_from(unparsed: Unparsed) -> Result<Self> {
        Self::parse(&unparsed.uri, unparsed.options)
    }
}

impl TableLocation {
    /// Makes a location of a URL or of a path; a relative path counts from the working directory.
    ///
    /// # Errors
    /// `invalid_argument` for an empty or malformed URL, and for the option `AWS_S3_LOCKING_PROVIDER=dynamodb`, which
    /// would not exclude other writers.
    pub fn parse(uri: &str, options: BTreeMap<String, String>) -> Result<Self> {
        if uri.trim().is_empty() {
            return Err(LakeError::invalid("a table needs a location; give a path or a URL"));
        }
        for (key, value) in &options {
            if key.eq_ignore_ascii_case("aws_s3_locking_provider") && value.eq_ignore_ascii_case("dynamodb") {
                return Err(LakeError::invalid(format!(
                    "table '{uri}' asks for the locking provider 'dynamodb', which is not honoured; remove the option \
                     and write this table with conditional puts only"
                )));
            }
        }
        let url = if has_scheme(uri) {
            let mut url = Url::parse(uri)
                .map_err(|error| LakeError::invalid(format!("'{uri}' is not a URL: {error}; give a path or a URL")))?;
            if url.scheme() == "file" {
                url =
                    file_url(&url.to_file_path().map_err(|()| {
                        LakeError::invalid(format!("'{uri}' is not a local path; write file:///path"))
                    })?)?;
            }
            url
        } else {
            file_url(Path::new(uri))?
        };
        Ok(Self { uri: url.as_str().trim_end_matches('/').to_owned(), options })
    }

    /// The URL, with a slash at its end, so that paths of files can be joined to it.
    pub fn url(&self) -> Result<Url> {
        Url::parse(&format!("{}/", self.uri.trim_end_matches('/')))
            .map_err(|error| LakeError::invalid(format!("'{}' is not a URL: {error}", self.uri)))
    }

    /// The directory, if the table is on a local file system.
    pub fn local_path(&self) -> Option<PathBuf> {
        let url = self.url().ok()?;
        if url.scheme() == "file" { url.to_file_path().ok() } else { None }
    }
}

/// A scheme is at least two letters long, so that a drive letter is a path.
fn has_scheme(uri: &str) -> bool {
    uri.split_once("://").is_some_and(|(scheme, _)| {
        scheme.len() > 1 && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    })
}

/// Normalises without touching the disk: the table may not exist yet, and links must stay as the user wrote them.
fn file_url(path: &Path) -> Result<Url> {
    let absolute = std::path::absolute(path)
        .map_err(|error| LakeError::invalid(format!("'{}' is not a path: {error}", path.display())))?;
    let mut normal = PathBuf::new();
    for part in absolute.components() {
        match part {
            Component::ParentDir => {
                normal.pop();
            }
            Component::CurDir => {}
            other => normal.push(other),
        }
    }
    Url::from_file_path(&normal)
        .map_err(|()| LakeError::invalid(format!("'{}' cannot be written as a URL", normal.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_urls_of_one_table_are_one_location() {
        let path = TableLocation::parse("/lake/a/../orders/", BTreeMap::new()).unwrap();
        let url = TableLocation::parse("file:///lake/orders", BTreeMap::new()).unwrap();
        assert_eq!(path, url);
        assert_eq!(path.uri, "file:///lake/orders");
        assert_eq!(path.local_path(), Some(PathBuf::from("/lake/orders")));
        assert_eq!(path.url().unwrap().as_str(), "file:///lake/orders/");
    }

    #[test]
    fn spaces_are_encoded_and_bad_input_is_refused() {
        let location = TableLocation::parse("/lake/late orders", BTreeMap::new()).unwrap();
        assert_eq!(location.uri, "file:///lake/late%20orders");
        assert_eq!(location.local_path(), Some(PathBuf::from("/lake/late orders")));
        assert_eq!(TableLocation::parse(" ", BTreeMap::new()).unwrap_err().code(), "invalid_argument");
        let options = BTreeMap::from([("AWS_S3_LOCKING_PROVIDER".into(), "dynamodb".into())]);
        assert!(TableLocation::parse("s3://bucket/orders", options).is_err());
    }
}
