//! A series as a file: gzip around JSON.
//!
//! It lies in a folder beside the profiles of its windows, and adds what they do not say: which
//! generations survive. The envelope is `{"format": "tracer-series", "version": 1, "series": {…}}`, with
//! the fields of [`Series`] under their own names. A stack's id is the index of its sample in the last of
//! the profiles.

use std::io::{self, BufReader, BufWriter, Read as _, Write};

use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};

use super::ReadError;
use crate::profile::series::Series;

/// The name of the file in its folder.
pub const FILE_NAME: &str = "series.json.gz";

/// `format` of the envelope.
const FORMAT: &str = "tracer-series";
/// `version` of the envelope.
const VERSION: u32 = 1;

/// Most bytes that a series may inflate to.
const MAX_INFLATED: u64 = 2 << 30;

#[derive(Serialize, Deserialize)]
struct Envelope<S> {
    format: String,
    version: u32,
    series: S,
}

/// Writes a series.
///
/// # Errors
/// Those of the writer.
pub fn write(series: &Series, out: &mut impl Write) -> io::Result<()> {
    let envelope = Envelope {
        format: FORMAT.to_owned(),
        version: VERSION,
        series,
    };
    let mut gzip = BufWriter::new(GzEncoder::new(out, Compression::fast()));
    serde_json::to_writer(&mut gzip, &envelope)?;
    let gzip = gzip.into_inner().map_err(io::IntoInnerError::into_error)?;
    gzip.finish()?.flush()
}

/// Reads what [`write`] wrote.
///
/// # Errors
/// When it is something else, or contradicts itself.
pub fn read(bytes: &[u8]) -> Result<Series, ReadError> {
    if bytes.is_empty() {
        return Err(ReadError::Empty);
    }
    let plain = GzDecoder::new(bytes).take(MAX_INFLATED);
    let envelope: Envelope<Series> =
        serde_json::from_reader(BufReader::new(plain)).map_err(|error| {
            match error.io_error_kind() {
                Some(io::ErrorKind::UnexpectedEof) => ReadError::Truncated,
                Some(_) => ReadError::Gzip(error.into()),
                None if error.is_data() => ReadError::NotAProfile,
                None => error.into(),
            }
        })?;
    if envelope.format != FORMAT {
        return Err(ReadError::NotAProfile);
    }
    if envelope.version != VERSION {
        return Err(ReadError::Version(envelope.version));
    }
    envelope.series.validate()?;
    Ok(envelope.series)
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::profile::series::{Counters, Mark, StackId, StackWindow, Survivors, Window};

    fn series() -> Series {
        let mut series = Series::new(10);
        for window in 0..3 {
            let live = u64::from(window) + 1;
            let pushed = series.push(Window {
                mark: Mark {
                    seconds: f64::from(window) + 1.0,
                    ..Mark::default()
                },
                stacks: vec![StackWindow {
                    stack: StackId(2),
                    counters: Counters {
                        alloc_objects: live,
                        alloc_bytes: live * 8,
                        ..Counters::default()
                    },
                    survivors: vec![Survivors {
                        generation: window,
                        objects: live,
                        bytes: live * 8,
                    }],
                }],
            });
            pushed.expect("it is in order");
        }
        series
    }

    fn written(series: &Series) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(series, &mut bytes).expect("memory has room");
        bytes
    }

    #[test]
    fn a_series_comes_back() {
        let series = series();
        assert_eq!(read(&written(&series)).ok(), Some(series));
    }

    #[test]
    fn something_else_is_refused() {
        let bytes = written(&series());
        assert!(matches!(read(&[]), Err(ReadError::Empty)));
        let plain = read(br#"{"format":"tracer-profile"}"#);
        assert!(matches!(plain, Err(ReadError::Gzip(_))), "{plain:?}");
        let cut = read(&bytes[..bytes.len() / 2]);
        assert!(matches!(cut, Err(ReadError::Truncated)), "{cut:?}");
    }

    /// Every index in a series is followed by whoever judges it.
    #[test]
    fn a_series_that_contradicts_itself_is_refused() {
        let text = serde_json::to_string(&series()).expect("it is plain data");
        for (from, to) in [
            (r#""seconds":2.0"#, r#""seconds":0.5"#),
            (r#"{"window":2,"counters""#, r#"{"window":9,"counters""#),
            (r#""generation":1"#, r#""generation":4000000000"#),
            (r#""alloc_objects":2"#, r#""alloc_objects":0"#),
        ] {
            assert!(text.contains(from), "{from} in {text}");
            let wrong = text.replacen(from, to, 1);
            let envelope = format!(r#"{{"format":"{FORMAT}","version":1,"series":{wrong}}}"#);
            let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
            gzip.write_all(envelope.as_bytes())
                .expect("memory has room");
            let bytes = gzip.finish().expect("memory has room");
            assert!(matches!(read(&bytes), Err(ReadError::Invalid(_))), "{to}");
        }
    }
}
