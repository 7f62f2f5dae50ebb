//! JSON without managedFields (k8s.io/apiserver/pkg/audit/request.go@v0.37.2: copyWithoutManagedFields).
//!
//! Invariant: everything else stays as it was, in its order.

use bytes::Bytes;

/// Where managedFields may be.
#[derive(Clone, Copy)]
enum Place {
    Object { is_list: bool },
    Metadata,
    Items,
    Rows,
    Row,
    Elsewhere,
}

impl Place {
    fn of_member(self, name: &[u8]) -> Place {
        match (self, name) {
            (Place::Object { .. }, b"metadata") => Place::Metadata,
            (Place::Object { is_list: true }, b"items") => Place::Items,
            (Place::Object { is_list: true }, b"rows") => Place::Rows,
            (Place::Row, b"object") => Place::Object { is_list: false },
            _ => Place::Elsewhere,
        }
    }

    fn of_element(self) -> Place {
        match self {
            Place::Items => Place::Object { is_list: false },
            Place::Rows => Place::Row,
            _ => Place::Elsewhere,
        }
    }
}

/// An object, a list or a Table without the managedFields of what it shows. `json` is compact and valid.
pub(super) fn without_managed_fields(json: &Bytes) -> Bytes {
    let mut copy = Copy { json, at: 0, out: Vec::with_capacity(json.len()) };
    match copy.value(Place::Object { is_list: true }) {
        Some(()) => copy.out.into(),
        None => json.clone(),
    }
}

struct Copy<'a> {
    json: &'a [u8],
    at: usize,
    out: Vec<u8>,
}

/// `None` where the text ends too early.
impl Copy<'_> {
    fn value(&mut self, place: Place) -> Option<()> {
        match (self.json.get(self.at)?, place) {
            (b'{', Place::Object { .. } | Place::Metadata | Place::Row) => self.object(place),
            (b'[', Place::Items | Place::Rows) => self.array(place),
            _ => {
                let end = end_of_value(self.json, self.at)?;
                self.out.extend_from_slice(&self.json[self.at..end]);
                self.at = end;
                Some(())
            }
        }
    }

    fn put(&mut self) -> Option<()> {
        self.out.push(*self.json.get(self.at)?);
        self.at += 1;
        Some(())
    }

    fn object(&mut self, place: Place) -> Option<()> {
        self.put()?;
        let mut is_first = true;
        while *self.json.get(self.at)? != b'}' {
            self.at += usize::from(self.json[self.at] == b',');
            let name_end = end_of_value(self.json, self.at)?;
            let name = &self.json[self.at + 1..name_end - 1];
            if matches!(place, Place::Metadata) && name == b"managedFields" {
                self.at = end_of_value(self.json, name_end + 1)?;
                continue;
            }
            if !std::mem::take(&mut is_first) {
                self.out.push(b',');
            }
            let inner = place.of_member(name);
            self.out.extend_from_slice(self.json.get(self.at..=name_end)?);
            self.at = name_end + 1;
            self.value(inner)?;
        }
        self.put()
    }

    fn array(&mut self, place: Place) -> Option<()> {
        self.put()?;
        while *self.json.get(self.at)? != b']' {
            if self.json[self.at] == b',' {
                self.put()?;
            }
            self.value(place.of_element())?;
        }
        self.put()
    }
}

/// Where the value that begins at `at` ends.
fn end_of_value(json: &[u8], at: usize) -> Option<usize> {
    let (mut depth, mut in_text, mut is_escaped) = (0usize, false, false);
    for (place, byte) in json.iter().enumerate().skip(at) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_text => is_escaped = true,
            b'"' => {
                in_text = !in_text;
                if !in_text && depth == 0 {
                    return Some(place + 1);
                }
            }
            _ if in_text => {}
            b'{' | b'[' => depth += 1,
            // A number or a word ends where what it is in goes on or ends.
            b'}' | b']' | b',' if depth == 0 => return Some(place),
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(place + 1);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        let got = without_managed_fields(&Bytes::copy_from_slice(text.as_bytes()));
        assert_eq!(String::from_utf8_lossy(&got), expect);
    }

    #[test]
    fn managed_fields_go_and_the_rest_stays() {
        check(
            r#"{"kind":"Pod","metadata":{"name":"a","managedFields":[{"x":"]}"}],"z":1},"managedFields":2}"#,
            r#"{"kind":"Pod","metadata":{"name":"a","z":1},"managedFields":2}"#,
        );
        check(
            r#"{"metadata":{"managedFields":[]},"a":[1,"\"}",{"metadata":{"managedFields":1}}]}"#,
            r#"{"metadata":{},"a":[1,"\"}",{"metadata":{"managedFields":1}}]}"#,
        );
        check(
            r#"{"items":[{"metadata":{"managedFields":[],"name":"a"}},{"metadata":{}},{}],"metadata":{"resourceVersion":"1"}}"#,
            r#"{"items":[{"metadata":{"name":"a"}},{"metadata":{}},{}],"metadata":{"resourceVersion":"1"}}"#,
        );
        check(
            r#"{"rows":[{"cells":["a",1],"object":{"metadata":{"managedFields":[{}],"name":"a"}}},{"cells":[]}]}"#,
            r#"{"rows":[{"cells":["a",1],"object":{"metadata":{"name":"a"}}},{"cells":[]}]}"#,
        );
        check(
            r#"{"spec":{"metadata":{"managedFields":1}},"items":null}"#,
            r#"{"spec":{"metadata":{"managedFields":1}},"items":null}"#,
        );
        check("{}", "{}");
    }
}
