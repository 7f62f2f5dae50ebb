//! Values of `--version`: whether to tell the version, or which one to go by
//! (k8s.io/component-base/version/verflag@v0.37.2, k8s.io/component-base/version/dynamic.go@v0.37.2).
//!
//! Invariant: a version to go by has the numbers of our own. Non-goal: what is done with it.

/// Checks a value that is no boolean; `None` for one that has to be.
pub(super) fn check(value: &str) -> Option<Result<(), String>> {
    match value {
        "raw" => Some(Ok(())),
        _ if value.starts_with('v') => Some(to_go_by(value, crate::VERSION)),
        _ => None,
    }
}

fn to_go_by(value: &str, own: &str) -> Result<(), String> {
    if value == own || numbers(value)? == numbers(own)? {
        return Ok(());
    }
    Err(format!("version {value:?} must match major/minor/patch of default version {own:?}"))
}

/// The numbers of a semantic version (k8s.io/apimachinery/pkg/util/version/version.go@v0.37.2: parse).
fn numbers(text: &str) -> Result<Vec<u64>, String> {
    let trimmed = text.trim_start();
    let bare = trimmed.strip_prefix('v').unwrap_or(trimmed);
    let end = numbers_end(bare);
    if end == 0 {
        return Err(format!("could not parse {text:?} as version"));
    }
    let (numbers, extra) = bare.split_at(end);
    let parts: Vec<&str> = numbers.split('.').collect();
    if parts.len() != 3 {
        return Err(format!("illegal version string {text:?}"));
    }
    let number = |part: &&str| {
        not_padded(part, text)?;
        part.parse::<u64>().map_err(|_| {
            let why = format!("strconv.ParseUint: parsing {part:?}: value out of range");
            format!("illegal non-numeric version component {part:?} in {text:?}: {why}")
        })
    };
    let numbers = parts.iter().map(number).collect::<Result<_, _>>()?;
    let Some(pre_release) = pre_release(extra.trim_end()) else {
        return Err(format!("could not parse pre-release/metadata ({extra}) in version {text:?}"));
    };
    pre_release.split('.').filter(|part| part.parse::<u64>().is_ok()).try_for_each(|part| not_padded(part, text))?;
    Ok(numbers)
}

/// How much of the text is numbers with dots between.
fn numbers_end(text: &str) -> usize {
    let mut end = 0;
    for part in text.split('.') {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            break;
        }
        // The dot before all but the first.
        end += digits + usize::from(end > 0);
        if digits < part.len() {
            break;
        }
    }
    end
}

fn not_padded(part: &str, text: &str) -> Result<(), String> {
    if part.len() > 1 && part.starts_with('0') {
        return Err(format!("illegal zero-prefixed version component {part:?} in {text:?}"));
    }
    Ok(())
}

/// What is between the numbers and the metadata; `None` when what follows the numbers is not well formed.
fn pre_release(extra: &str) -> Option<&str> {
    let (before, metadata) = match extra.split_once('+') {
        Some((before, metadata)) => (before, Some(metadata)),
        None => (extra, None),
    };
    let named = |text: &str| {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        text.split('.').all(|part| !part.is_empty() && part.bytes().all(letter))
    };
    let pre_release = if before.is_empty() { Some("") } else { before.strip_prefix('-').filter(|text| named(text)) };
    pre_release.filter(|_| metadata.is_none_or(named))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_to_go_by(value: &str, want: Result<(), &str>) {
        assert_eq!(to_go_by(value, "v1.37.2+own").as_ref().map_err(String::as_str).copied(), want, "{value}");
    }

    #[test]
    fn versions_to_go_by_have_our_numbers() {
        for value in ["v1.37.2", "v1.37.2+own", "v1.37.2-custom", "v1.37.2+own-custom", "v1.37.2-a.0.b+c.d"] {
            check_to_go_by(value, Ok(()));
        }
        for (value, why) in [
            ("v", "could not parse \"v\" as version"),
            ("vx", "could not parse \"vx\" as version"),
            ("v1.37", "illegal version string \"v1.37\""),
            ("v1.37.x", "illegal version string \"v1.37.x\""),
            ("v1.037.2", "illegal zero-prefixed version component \"037\" in \"v1.037.2\""),
            ("v1.37.2x", "could not parse pre-release/metadata (x) in version \"v1.37.2x\""),
            ("v1.37.2-", "could not parse pre-release/metadata (-) in version \"v1.37.2-\""),
            ("v1.37.2+a+b", "could not parse pre-release/metadata (+a+b) in version \"v1.37.2+a+b\""),
            ("v1.37.2-01", "illegal zero-prefixed version component \"01\" in \"v1.37.2-01\""),
            ("v1.37.3", "version \"v1.37.3\" must match major/minor/patch of default version \"v1.37.2+own\""),
        ] {
            check_to_go_by(value, Err(why));
        }
    }

    #[test]
    fn booleans_are_checked_elsewhere() {
        assert_eq!((check("true"), check("x")), (None, None));
        assert_eq!(check("raw"), Some(Ok(())));
    }
}
