//! Query parameters as the API's conversion reads them
//! (k8s.io/apimachinery/pkg/runtime/converter.go@v0.37.2), and what they mean for logs.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// Parameters in order, decoded.
#[derive(Clone, Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

pub(super) fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let digit = |at: Option<u8>| at.and_then(|byte| char::from(byte).to_digit(16));
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let mut ahead = rest.clone();
                match (digit(ahead.next()), digit(ahead.next())) {
                    (Some(high), Some(low)) => {
                        bytes.push((high * 16 + low) as u8);
                        rest = ahead;
                    }
                    _ => bytes.push(b'%'),
                }
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Query {
    pub(super) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        Query(pairs.map(|(name, value)| (decode(name), decode(value))).collect())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|pair| pair.0 == name)
    }

    /// The first value, "" when absent.
    pub(super) fn get(&self, name: &str) -> &str {
        self.all(name).next().unwrap_or("")
    }

    pub(super) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |pair| pair.0 == name).map(|pair| pair.1.as_str())
    }

    /// Anything but a clear no is yes.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.has(name) && !matches!(self.get(name).to_ascii_lowercase().as_str(), "false" | "0")
    }

    fn number(&self, name: &str) -> Result<Option<i64>, Wrong> {
        match self.get(name) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| Wrong::Query),
        }
    }
}

/// PodLogOptions, resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LogOptions {
    pub(super) follow: bool,
    pub(super) previous: bool,
    pub(super) timestamps: bool,
    pub(super) since: Option<Timestamp>,
    pub(super) tail_lines: Option<u64>,
    pub(super) limit_bytes: Option<u64>,
}

/// Why options do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// Not even readable (400).
    Query,
    /// Readable but forbidden (422).
    Options,
}

impl LogOptions {
    pub(super) fn of(query: &Query, now: Timestamp) -> Result<Self, Wrong> {
        let tail_lines = match query.get("tail") {
            "" => query.number("tailLines")?,
            // Of old clients.
            "all" => None,
            tail => Some(tail.parse().map_err(|_| Wrong::Query)?),
        };
        let seconds = query.number("sinceSeconds")?;
        let time = match query.get("sinceTime") {
            "" => None,
            text => Some(text.parse::<Timestamp>().map_err(|_| Wrong::Query)?),
        };
        let since = match (seconds, time) {
            (Some(_), Some(_)) => return Err(Wrong::Options),
            (Some(seconds), None) if seconds < 1 => return Err(Wrong::Options),
            (Some(seconds), None) => now.checked_sub(SignedDuration::from_secs(seconds)).ok(),
            (None, time) => time,
        };
        let limit_bytes = query.number("limitBytes")?;
        if limit_bytes.is_some_and(|limit| limit < 1) {
            return Err(Wrong::Options);
        }
        let unsigned = |number: Option<i64>| number.map(u64::try_from).transpose().map_err(|_| Wrong::Options);
        Ok(LogOptions {
            follow: query.flag("follow"),
            previous: query.flag("previous"),
            timestamps: query.flag("timestamps"),
            since,
            tail_lines: unsigned(tail_lines)?,
            limit_bytes: unsigned(limit_bytes)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        let query = Query::parse("command=ls&command=-l%20%2Ftmp&tty&a=x+y&bad=%zz");
        assert_eq!(query.all("command").collect::<Vec<_>>(), ["ls", "-l /tmp"]);
        assert!(query.flag("tty") && !query.flag("stdin"));
        assert_eq!((query.get("a"), query.get("bad")), ("x y", "%zz"));
    }

    #[test]
    fn log_options() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().expect("a time");
        let of = |text| LogOptions::of(&Query::parse(text), now);
        let base = LogOptions::default();
        assert_eq!(of(""), Ok(base.clone()));
        assert_eq!(
            of("follow=true&timestamps=1&previous=false"),
            Ok(LogOptions { follow: true, timestamps: true, ..base.clone() })
        );
        let since = Some("2026-01-01T00:00:50Z".parse().expect("a time"));
        assert_eq!(of("sinceSeconds=10"), Ok(LogOptions { since, ..base.clone() }));
        assert_eq!(of("sinceTime=2026-01-01T00%3A00%3A50Z"), Ok(LogOptions { since, ..base.clone() }));
        assert_eq!(of("tail=3"), Ok(LogOptions { tail_lines: Some(3), ..base.clone() }));
        assert_eq!(of("tail=all&tailLines=3"), Ok(base));
        for (text, wrong) in [
            ("tailLines=x", Wrong::Query),
            ("sinceTime=yesterday", Wrong::Query),
            ("tailLines=-1", Wrong::Options),
            ("limitBytes=0", Wrong::Options),
            ("sinceSeconds=0", Wrong::Options),
            ("sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z", Wrong::Options),
        ] {
            assert_eq!(of(text), Err(wrong), "{text}");
        }
    }
}
