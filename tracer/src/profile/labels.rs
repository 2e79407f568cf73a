//! What samples are told apart by beside their stack: service, host, version, whatever was asked for.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use regex::Regex;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Sample;

/// Keys and their values. Cheap to clone: the samples of a recording share them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Option<Arc<BTreeMap<String, String>>>);

impl Labels {
    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.as_ref()?.get(key).map(String::as_str)
    }

    /// All of them, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.0.iter().flat_map(|labels| labels.iter());
        pairs.map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Those that both have.
    #[must_use]
    pub fn common_with(&self, other: &Self) -> Self {
        if self == other {
            return self.clone();
        }
        let both = self
            .iter()
            .filter(|(key, value)| other.get(key) == Some(*value));
        both.collect()
    }
}

impl From<BTreeMap<String, String>> for Labels {
    fn from(labels: BTreeMap<String, String>) -> Self {
        Self((!labels.is_empty()).then(|| Arc::new(labels)))
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Labels {
    fn from_iter<T: IntoIterator<Item = (&'a str, &'a str)>>(pairs: T) -> Self {
        let pairs = pairs.into_iter();
        let owned = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
        owned.collect::<BTreeMap<_, _>>().into()
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeMap::deserialize(deserializer).map(Self::from)
    }
}

impl Sample {
    /// Its labels, its process among them where it tells.
    pub(super) fn tags(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        let pid = self.pid.filter(|_| self.labels.get(PID).is_none());
        let pid = pid.map(|pid| (PID, Cow::Owned(pid.to_string())));
        let labels = self.labels.iter();
        labels
            .map(|(key, value)| (key, Cow::Borrowed(value)))
            .chain(pid)
    }
}

const PID: &str = "pid";

/// Which samples are meant, with pprof's meaning of `tagfocus`: `KEY=REGEX`, where one of several patterns with
/// commas between them has to match the value; or `REGEX`, where each has to match some `KEY:VALUE`.
#[derive(Clone, Debug)]
pub struct TagFilter {
    text: String,
    key: Option<String>,
    patterns: Vec<Regex>,
}

impl TagFilter {
    /// As it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it means the sample.
    #[must_use]
    pub fn matches(&self, sample: &Sample) -> bool {
        match &self.key {
            Some(wanted) => sample.tags().any(|(key, value)| {
                key == wanted && self.patterns.iter().any(|pattern| pattern.is_match(&value))
            }),
            None => self.patterns.iter().all(|pattern| {
                let mut tags = sample.tags();
                tags.any(|(key, value)| pattern.is_match(&format!("{key}:{value}")))
            }),
        }
    }
}

impl FromStr for TagFilter {
    type Err = regex::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (key, patterns) = match text.split_once('=') {
            Some((key, patterns)) => (Some(key.to_owned()), patterns),
            None => (None, text),
        };
        Ok(Self {
            text: text.to_owned(),
            key,
            patterns: patterns
                .split(',')
                .map(Regex::new)
                .collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().copied().collect()
    }

    #[test]
    fn common_are_those_of_both() {
        let one = labels(&[("host", "a"), ("service", "shop")]);
        let other = labels(&[("host", "b"), ("service", "shop")]);
        assert_eq!(one.common_with(&other), labels(&[("service", "shop")]));
        assert_eq!(one.common_with(&one), one);
        assert!(one.common_with(&Labels::default()).is_empty());
        assert_eq!(labels(&[]), Labels::default());
    }

    #[test]
    fn tags_match_as_in_pprof() -> Result<(), regex::Error> {
        let sample = Sample {
            labels: labels(&[("host", "web-1"), ("service", "shop")]),
            pid: Some(4711),
            ..Sample::default()
        };
        for (filter, is_meant) in [
            ("host=web", true),
            ("host=^web$", false),
            ("host=db,web", true),
            ("service=web", false),
            ("shop", true),
            ("service:shop,web-1", true),
            ("service:shop,web-2", false),
            ("pid=4711", true),
            ("pid=4712", false),
            ("other=", false),
            ("host=", true),
        ] {
            let filter: TagFilter = filter.parse()?;
            assert_eq!(filter.matches(&sample), is_meant, "{}", filter.as_str());
        }
        assert!("a=(".parse::<TagFilter>().is_err());
        Ok(())
    }

    #[test]
    fn json_has_them_as_an_object() -> serde_json::Result<()> {
        let labels = labels(&[("host", "a"), ("service", "shop")]);
        let text = serde_json::to_string(&labels)?;
        assert_eq!(text, r#"{"host":"a","service":"shop"}"#);
        assert_eq!(serde_json::from_str::<Labels>(&text)?, labels);
        Ok(())
    }
}
