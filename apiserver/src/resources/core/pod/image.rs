//! Names of images, as far as the API server looks at them: whether the tag is `latest`, said or not
//! (pkg/util/parsers/parsers.go@v1.37.2 over github.com/distribution/reference).

use std::sync::LazyLock;

use regex::Regex;

/// A name without tag and digest, in bytes.
const NAME_BYTES_MAX: usize = 255;

static REFERENCE: LazyLock<Regex> = LazyLock::new(|| {
    let host = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])";
    let domain = format!(r"(?:{host}(?:\.{host})*|\[(?:[a-fA-F0-9:]+)\])(?::[0-9]+)?");
    let part = r"[a-z0-9]+(?:(?:[._]|__|[-]+)[a-z0-9]+)*";
    let digest = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[[:xdigit:]]{32,}";
    // Go's \w is of ASCII; that of any script is a hundred times as large.
    let whole = format!(r"^({domain}/{part}(?:/{part})*)(?::([0-9A-Za-z_][0-9A-Za-z_.-]{{0,127}}))?(?:@({digest}))?$");
    Regex::new(&whole).expect("a fixed expression")
});

/// With the registry that short names stand for, which may be any as long as it is one.
fn normalized(image: &str) -> String {
    let (first, rest) = image.split_once('/').unwrap_or(("", image));
    let is_domain = first.contains(['.', ':']) || first == "localhost" || first.chars().any(char::is_uppercase);
    match (is_domain, first) {
        (true, _) => format!("{first}/{rest}"),
        (false, "") => format!("default/library/{rest}"),
        (false, _) => format!("default/{image}"),
    }
}

/// No tag and no digest, or the tag `latest`; false for what is no name of an image.
pub(super) fn is_latest(image: &str) -> bool {
    if image.len() == 64 && image.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return false;
    }
    let whole = normalized(image);
    let Some(found) = REFERENCE.captures(&whole) else { return false };
    if found[1].len() > NAME_BYTES_MAX {
        return false;
    }
    match (found.get(2), found.get(3)) {
        (Some(tag), _) => tag.as_str() == "latest",
        (None, digest) => digest.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_decide_how_images_are_pulled() {
        let digest = format!("a@sha256:{}", "0".repeat(64));
        let both = format!("a:latest@sha256:{}", "0".repeat(64));
        for (image, latest) in [
            ("a", true),
            ("a:latest", true),
            ("a:1", false),
            ("b/a", true),
            ("host:5000/a", true),
            ("host:5000/a:1", false),
            ("Host/a", true),
            (digest.as_str(), false),
            (both.as_str(), true),
            ("", false),
            ("A", false),
            ("a b", false),
            ("a@sha256:0", false),
        ] {
            assert_eq!(is_latest(image), latest, "{image}");
        }
    }
}
