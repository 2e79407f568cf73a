//! The secret that who asks has to know.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq as _;

use super::ServeError;
use crate::secret::read_secret;

/// Characters of a token at least: fewer can be guessed.
const LEAST: usize = 16;
const MOST: usize = 4096;

/// A secret. It is never shown.
pub struct Token(Vec<u8>);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    /// From a file that nobody but its owner may read. White space around it does not count.
    ///
    /// # Errors
    ///
    /// Others may read it, it is too short or too long, or not plain ASCII.
    pub fn read(path: &Path) -> Result<Self, ServeError> {
        let wrong = |what: String| ServeError::Token {
            path: path.to_owned(),
            what,
        };
        let text = read_secret(path, MOST).map_err(|error| wrong(error.to_string()))?;
        let token = text.trim();
        if !(LEAST..=MOST).contains(&token.len()) {
            return Err(wrong(format!(
                "a token has {LEAST} to {MOST} characters: `head -c 32 /dev/urandom | base64` makes one"
            )));
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong(
                "a token is one word of letters, digits and ASCII signs".to_owned(),
            ));
        }
        Ok(Self(token.as_bytes().to_vec()))
    }

    /// Whether an `Authorization` header has it: as `Bearer TOKEN`, or as the password of `Basic`, whoever the user
    /// is. Takes as long for one that is nearly right as for one that is wrong.
    pub(super) fn is_in(&self, header: &[u8]) -> bool {
        let Some(space) = memchr::memchr(b' ', header) else {
            return false;
        };
        let (scheme, rest) = header.split_at(space);
        let rest = rest.trim_ascii();
        if scheme.eq_ignore_ascii_case(b"bearer") {
            return self.is(rest);
        }
        if !scheme.eq_ignore_ascii_case(b"basic") {
            return false;
        }
        let Ok(decoded) = STANDARD.decode(rest) else {
            return false;
        };
        memchr::memchr(b':', &decoded).is_some_and(|colon| self.is(&decoded[colon + 1..]))
    }

    fn is(&self, given: &[u8]) -> bool {
        self.0.ct_eq(given).into()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn read(content: &str, mode: u32) -> std::io::Result<Result<Token, String>> {
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(content.as_bytes())?;
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode))?;
        Ok(Token::read(file.path()).map_err(|error| error.to_string()))
    }

    #[test]
    fn a_token_is_known_in_both_forms() -> std::io::Result<()> {
        let token = read("  s3cret-s3cret-s3cret\n", 0o600)?;
        let Ok(token) = token else {
            panic!("{token:?}");
        };
        assert_eq!(format!("{token:?}"), "Token");
        assert!(token.is_in(b"Bearer s3cret-s3cret-s3cret"));
        assert!(token.is_in(b"bearer  s3cret-s3cret-s3cret"));
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        assert!(token.is_in(basic("anybody:s3cret-s3cret-s3cret").as_bytes()));
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer s3cret",
            "Bearer s3cret-s3cret-s3cretX",
            "s3cret-s3cret-s3cret",
            "Digest s3cret-s3cret-s3cret",
            "Basic !",
            &basic("s3cret-s3cret-s3cret"),
            &basic("s3cret-s3cret-s3cret:"),
        ] {
            assert!(!token.is_in(wrong.as_bytes()), "{wrong}");
        }
        Ok(())
    }

    #[test]
    fn a_file_that_protects_nothing_is_refused() -> std::io::Result<()> {
        for (content, mode, why) in [
            (
                "s3cret-s3cret-s3cret",
                0o640,
                "others may read it (mode 640)",
            ),
            ("short", 0o600, "16 to 4096 characters"),
            ("", 0o600, "16 to 4096 characters"),
            (&"x".repeat(4097), 0o600, "16 to 4096 characters"),
            ("two words are no token", 0o600, "one word"),
        ] {
            let refused = read(content, mode)?;
            let said = refused.err().unwrap_or_default();
            assert!(said.contains(why), "{said}");
            assert!(content.is_empty() || !said.contains(content), "{said}");
        }
        Ok(())
    }
}
