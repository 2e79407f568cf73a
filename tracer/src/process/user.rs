//! Users by name or number.

use std::str::FromStr;

/// A user, and the group that its processes are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// Its number.
    pub id: u32,
    /// The number of its group.
    pub group: u32,
}

impl FromStr for User {
    type Err = String;

    /// `NAME` with its own group, `UID:GID`, or `UID` with the group of the same number.
    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse().map_err(|_| format!("no number: {text:?}"));
        if let Some((id, group)) = text.split_once(':') {
            return Ok(Self {
                id: number(id)?,
                group: number(group)?,
            });
        }
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let id = number(text)?;
            return Ok(Self { id, group: id });
        }
        match nix::unistd::User::from_name(text) {
            Ok(Some(user)) => Ok(Self {
                id: user.uid.as_raw(),
                group: user.gid.as_raw(),
            }),
            Ok(None) => Err("there is no such user".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_a_name_or_numbers() {
        let parse = |text: &str| text.parse::<User>();
        let user = |id, group| Ok(User { id, group });
        assert_eq!(parse("root"), user(0, 0));
        assert_eq!(parse("7"), user(7, 7));
        assert_eq!(parse("7:8"), user(7, 8));
        for wrong in ["", "nobody-has-this-name", "7x", "7:", ":8", "-1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
