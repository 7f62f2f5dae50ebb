//! Metrics in Prometheus' text format (github.com/prometheus/common/expfmt/text_create.go).

use std::fmt::Write;

/// Text that grows family by family.
#[derive(Default)]
pub struct Page(pub String);

pub type Labels<'a> = Vec<(&'static str, &'a str)>;

impl Page {
    /// One family; without samples it is left out.
    pub fn family<'a>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'a>, f64)>,
    ) {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return;
        }
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in samples {
            let labels: Vec<String> =
                labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let _ = writeln!(self.0, "{name}{labels} {value}");
        }
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_and_labels() {
        let mut page = Page::default();
        page.family("none", "gauge", "None.", []);
        page.family("one", "gauge", "One.", [(vec![], 1.5)]);
        page.family("two", "counter", "Two.", [(vec![("a", "x\"\\"), ("b", "\n")], 2.0)]);
        let text = "# HELP one One.\n# TYPE one gauge\none 1.5\n\
                    # HELP two Two.\n# TYPE two counter\ntwo{a=\"x\\\"\\\\\",b=\"\\n\"} 2\n";
        assert_eq!(page.0, text);
    }
}
