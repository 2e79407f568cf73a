//! Profiles as they are sent. Who asks while another waits gets the same bytes.

use std::io;
use std::sync::{Arc, Weak};

use axum::body::Bytes;
use tokio::sync::Mutex;

use crate::export::{legacy, pprof};
use crate::profile::{Profile, ValueKind};

/// A form of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// pprof, gzipped; viewers show this value first.
    Pprof(ValueKind),
    /// Text, as Go has it.
    Text,
}

/// The last of each form.
#[derive(Default)]
pub(super) struct Encoded(Mutex<Vec<(Form, Weak<Profile>, Bytes)>>);

impl Encoded {
    /// Of a profile that others may ask for, too.
    pub(super) async fn of(&self, profile: &Arc<Profile>, form: Form) -> io::Result<Bytes> {
        // Held meanwhile: the others wait, and make nothing of their own.
        let mut last = self.0.lock().await;
        let is_it = |of: &Weak<Profile>| of.upgrade().is_some_and(|of| Arc::ptr_eq(&of, profile));
        let mut known = last.iter();
        if let Some((_, _, bytes)) = known.find(|(as_form, of, _)| *as_form == form && is_it(of)) {
            return Ok(bytes.clone());
        }
        let bytes = self.once(Arc::clone(profile), form).await?;
        last.retain(|(as_form, ..)| *as_form != form);
        last.push((form, Arc::downgrade(profile), bytes.clone()));
        Ok(bytes)
    }

    /// Of one that is nobody else's.
    pub(super) async fn once(&self, profile: Arc<Profile>, form: Form) -> io::Result<Bytes> {
        let encode = move || {
            let mut bytes = Vec::new();
            match form {
                Form::Pprof(first) => pprof::write_with_default(&profile, first, &mut bytes)?,
                Form::Text => legacy::write(&profile, &mut bytes)?,
            }
            io::Result::Ok(bytes)
        };
        let encoded = tokio::task::spawn_blocking(encode).await;
        Ok(encoded.map_err(io::Error::other)??.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::example::counter_service;

    #[tokio::test]
    async fn the_same_profile_is_encoded_once() -> io::Result<()> {
        let encoded = Encoded::default();
        let form = Form::Pprof(ValueKind::InuseSpace);
        let profile = Arc::new(counter_service());
        let first = encoded.of(&profile, form).await?;
        let again = encoded.of(&profile, form).await?;
        assert_eq!(first.as_ptr(), again.as_ptr());
        let text = encoded.of(&profile, Form::Text).await?;
        assert!(text.starts_with(b"heap profile: "));
        let other = Arc::new(counter_service());
        let others = encoded.of(&other, form).await?;
        assert_ne!(first.as_ptr(), others.as_ptr());
        assert_eq!(encoded.0.lock().await.len(), 2);
        Ok(())
    }
}
