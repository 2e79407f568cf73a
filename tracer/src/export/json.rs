//! Profiles as JSON, for machines: everything a profile holds, frames hidden elsewhere included.
//!
//! The envelope is `{"format": "tracer-profile", "version": 1, "profile": {…}}`. Inside `profile`
//! the fields are those of [`Profile`] under their own names; indices are
//! 0-based positions in the arrays beside them, addresses are numbers, `null` is "none". The version
//! grows when a field changes its meaning or goes; a new field does not change it.

use std::io;
use std::io::Write;

use serde::{Deserialize, Serialize};

use super::ReadError;
use crate::printable::JsonEscapes;
use crate::profile::Profile;

/// `format` of the envelope.
pub const FORMAT: &str = "tracer-profile";
/// `version` of the envelope.
pub const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Envelope<P> {
    format: String,
    version: u32,
    profile: P,
}

/// The envelope alone: what is in `profile` is not looked at before the version is known.
#[derive(Deserialize)]
struct Head {
    format: String,
    version: u32,
}

/// Writes the profile in its envelope, on one line.
///
/// # Errors
/// Those of the writer.
pub fn write(profile: &Profile, out: &mut impl Write) -> io::Result<()> {
    let envelope = Envelope {
        format: FORMAT.to_owned(),
        version: VERSION,
        profile,
    };
    serde_json::to_writer(JsonEscapes(&mut *out), &envelope)?;
    out.write_all(b"\n")
}

/// Reads what [`write`] wrote.
pub(super) fn read(bytes: &[u8]) -> Result<Profile, ReadError> {
    let head: Head = match serde_json::from_slice(bytes) {
        Ok(head) => head,
        Err(error) if error.is_data() => return Err(ReadError::NotAProfile),
        Err(error) => return Err(error.into()),
    };
    if head.format != FORMAT {
        return Err(ReadError::NotAProfile);
    }
    if head.version != VERSION {
        return Err(ReadError::Version(head.version));
    }
    let envelope: Envelope<Profile> = serde_json::from_slice(bytes)?;
    let mut profile = envelope.profile;
    profile.validate()?;
    if profile.peak.is_none() {
        profile.forget_peak();
    }
    if !profile.sampled.is_some_and(|sampled| sampled.is_sane()) {
        profile.forget_errors();
    }
    Ok(profile)
}

#[cfg(test)]
mod tests {
    use super::{read, write};
    use crate::export::ReadError;
    use crate::export::example::counter_service;
    use crate::profile::Profile;

    #[test]
    fn the_envelope_names_format_and_version() -> std::io::Result<()> {
        let mut out = Vec::new();
        write(&Profile::default(), &mut out)?;
        insta::assert_snapshot!(String::from_utf8_lossy(&out), @r#"{"format":"tracer-profile","version":1,"profile":{"metadata":{"time_nanos":0,"duration_nanos":null,"period":0,"source":"","pids":[],"notes":[]},"mappings":[],"functions":[],"locations":[],"samples":[],"counters":[],"verdict":{"verdict":"complete"}}}"#);
        Ok(())
    }

    #[test]
    fn every_field_comes_back() -> Result<(), Box<dyn std::error::Error>> {
        let mut profile = counter_service();
        profile.counters[0].value = 0;
        let mut out = Vec::new();
        write(&profile, &mut out)?;
        assert_eq!(read(&out)?, profile);
        Ok(())
    }

    #[test]
    fn other_json_is_refused() -> std::io::Result<()> {
        let mut out = Vec::new();
        write(&counter_service(), &mut out)?;
        let text = String::from_utf8_lossy(&out).into_owned();

        let other = text.replace("\"tracer-profile\"", "\"speedscope\"");
        assert!(matches!(
            read(other.as_bytes()),
            Err(ReadError::NotAProfile)
        ));
        assert!(matches!(read(b"{\"a\": 1}"), Err(ReadError::NotAProfile)));

        let newer = text.replace("\"version\":1", "\"version\":2");
        assert!(matches!(read(newer.as_bytes()), Err(ReadError::Version(2))));

        let cut = &out[..out.len() / 2];
        assert!(matches!(read(cut), Err(ReadError::Truncated)));

        let dangling = text.replace("\"mapping\":0", "\"mapping\":9");
        assert!(matches!(
            read(dangling.as_bytes()),
            Err(ReadError::Invalid(_))
        ));

        let wrong = text.replace("\"period\":1", "\"period\":\"one\"");
        assert!(matches!(read(wrong.as_bytes()), Err(ReadError::Json(_))));
        Ok(())
    }
}
