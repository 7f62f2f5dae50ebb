//! Static bearer tokens: `--token-auth-file`, a CSV of token, user name, uid and optional quoted groups.
//!
//! Upstream: `k8s.io/apiserver/pkg/authentication/token/tokenfile/tokenfile.go@v0.37.2`.

use std::collections::HashMap;

use aws_lc_rs::constant_time::verify_slices_are_equal;

use super::cache::digest;
use super::{ConfigError, User};

/// Users by the digest of their token.
pub(super) struct TokenFile {
    users: HashMap<[u8; 32], (String, User)>,
}

impl TokenFile {
    /// Reads the CSV; a record with fewer than three columns is an error, one with an empty token is skipped.
    pub(super) fn parse(content: &str) -> Result<Self, ConfigError> {
        let mut users = HashMap::new();
        for (index, line) in content.lines().enumerate().filter(|(_, line)| !line.trim_end().is_empty()) {
            let record = split_record(line)
                .ok_or_else(|| ConfigError::TokenFile(format!("token file: bad quoting on line {}", index + 1)))?;
            let [token, name, uid, rest @ ..] = record.as_slice() else {
                let text = "token file must have at least 3 columns (token, user name, user uid)";
                return Err(ConfigError::TokenFile(format!("{text}, found {}", record.len())));
            };
            if token.is_empty() {
                tracing::warn!(record = index + 1, "empty token has been found in token file");
                continue;
            }
            let groups = rest.first().map(|g| g.split(',').map(str::to_owned).collect()).unwrap_or_default();
            let user = User { name: name.clone(), uid: uid.clone(), groups, ..User::default() };
            if users.insert(digest([token.as_bytes()]), (token.clone(), user)).is_some() {
                tracing::warn!(record = index + 1, "duplicate token has been found in token file");
            }
        }
        Ok(TokenFile { users })
    }

    pub(super) fn find(&self, token: &str) -> Option<User> {
        let (known, user) = self.users.get(&digest([token.as_bytes()]))?;
        verify_slices_are_equal(known.as_bytes(), token.as_bytes()).ok().map(|()| user.clone())
    }
}

/// One CSV record; `None` when a quote is not closed or stands in the middle of a bare field.
fn split_record(line: &str) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => split_quoted(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        if !rest.starts_with('"') && field.contains('"') {
            return None;
        }
        fields.push(field);
        match after.strip_prefix(',') {
            Some(more) => rest = more,
            None => return after.is_empty().then_some(fields),
        }
    }
}

fn split_quoted(quoted: &str) -> Option<(String, &str)> {
    let mut field = String::new();
    let mut rest = quoted;
    loop {
        let end = rest.find('"')?;
        field.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(more) => {
                field.push('"');
                rest = more;
            }
            None => return Some((field, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_upstream_format() {
        let file = TokenFile::parse(
            "token1,user1,uid1\ntoken2,user2,uid2,\"group1,group2\"\ntoken3,user3,uid3,group1\n,x,y\n",
        );
        let file = file.unwrap();
        let groups = |token: &str| file.find(token).map(|u| (u.name, u.uid, u.groups.join("+")));
        let want = |n: &str, u: &str, g: &str| Some((n.to_owned(), u.to_owned(), g.to_owned()));
        assert_eq!(groups("token1"), want("user1", "uid1", ""));
        assert_eq!(groups("token2"), want("user2", "uid2", "group1+group2"));
        assert_eq!(groups("token3"), want("user3", "uid3", "group1"));
        assert_eq!(groups("token4"), None);
        assert_eq!(groups(""), None);
    }

    #[test]
    fn refuses_bad_files() {
        for (content, part) in
            [("token1,user1\n", "found 2"), ("\"open,user,uid\n", "quoting"), ("a\"b,c,d\n", "quoting")]
        {
            let error = TokenFile::parse(content).err().expect(content).to_string();
            assert!(error.contains(part), "{content:?}: {error}");
        }
    }
}
