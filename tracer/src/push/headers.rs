//! Headers that go with each request, from a file: they hold secrets.

use std::path::Path;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::PushError;
use crate::secret::read_secret;

/// Bytes of a file at most.
const MOST: usize = 64 * 1024;

/// Headers. Their values are never shown.
#[derive(Clone, Debug, Default)]
pub struct Headers(HeaderMap);

impl Headers {
    /// From a file that nobody but its owner may read: a line `Name: value` each; empty lines and those that begin with
    /// `#` do not count.
    ///
    /// # Errors
    ///
    /// Others may read it, or a line is no header.
    pub fn read(path: &Path) -> Result<Self, PushError> {
        let wrong = |what: String| PushError::Headers {
            path: path.to_owned(),
            what,
        };
        let text = read_secret(path, MOST).map_err(|error| wrong(error.to_string()))?;
        if text.len() > MOST {
            return Err(wrong(format!("more than {MOST} bytes")));
        }
        let mut headers = HeaderMap::new();
        for (number, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            // The line itself may be a secret.
            let no_header = || wrong(format!("line {}: write `Name: value`", number + 1));
            let (name, value) = line.split_once(':').ok_or_else(no_header)?;
            let name = name.parse::<HeaderName>().map_err(|_| no_header())?;
            let mut value = HeaderValue::from_str(value.trim()).map_err(|_| no_header())?;
            value.set_sensitive(true);
            headers.append(name, value);
        }
        Ok(Self(headers))
    }

    pub(super) fn map(&self) -> HeaderMap {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn read(content: &str) -> std::io::Result<Result<Headers, String>> {
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(content.as_bytes())?;
        Ok(Headers::read(file.path()).map_err(|error| error.to_string()))
    }

    #[test]
    fn a_line_is_a_header() -> std::io::Result<()> {
        let read_well = read("# who\nX-Scope-OrgID: shop\n\nAuthorization:  Bearer s3cret \n")?;
        let headers = read_well.map_err(std::io::Error::other)?;
        let map = headers.map();
        let value = map.get("authorization").map(HeaderValue::as_bytes);
        assert_eq!(value, Some(&b"Bearer s3cret"[..]));
        assert_eq!(map.len(), 2);
        assert!(!format!("{headers:?}").contains("s3cret"), "{headers:?}");
        Ok(())
    }

    #[test]
    fn what_is_no_header_is_refused_without_being_shown() -> std::io::Result<()> {
        for wrong in ["s3cret", "A\u{1}: s3cret", "a: ok\nb: s3cret\u{7}"] {
            let said = read(wrong)?.err().unwrap_or_default();
            assert!(said.contains("write `Name: value`"), "{said}");
            assert!(!said.contains("s3cret"), "{said}");
        }
        Ok(())
    }
}
