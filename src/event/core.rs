//! What foldlog itself knows of a session: the fold of its own events.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::own::{Described, OwnBody};
use crate::error::{Error, ErrorKind};

/// The most bytes of a title: a line of a list, and not a text.
pub(super) const TITLE_BYTES_MAX: usize = 1024;
/// The most labels of a session. All of them stand in the session's row of the list, which each describe writes anew
/// and each listing reads: at most about 10 KiB with these three limits.
const LABELS_MAX: usize = 32;
/// The most labels that one describe names: all of a session's may be exchanged for as many others.
pub(super) const DESCRIBED_LABELS_MAX: usize = 2 * LABELS_MAX;
/// The most bytes of a label's name.
pub(super) const LABEL_BYTES_MAX: usize = 64;
/// The most bytes of a label's value.
pub(super) const LABEL_VALUE_BYTES_MAX: usize = 256;

/// What foldlog itself knows of a session, whatever the session model: [`View::core`](crate::View::core). It is folded
/// from foldlog's own events, as the session model's view is from the others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SessionCore {
    /// The title; empty if the session has none.
    pub title: String,
    /// The labels, each with its value.
    pub labels: BTreeMap<String, String>,
}

impl SessionCore {
    /// Refuses more labels than a session may have.
    pub(crate) fn check(&self) -> Result<(), Error> {
        at_most("labels of a session", "labels", self.labels.len(), LABELS_MAX)
    }

    /// Folds an event of foldlog's own.
    pub(crate) fn apply(&mut self, body: &OwnBody) {
        match body {
            OwnBody::Described(Described { title, labels }) => {
                if let Some(title) = title {
                    self.title.clone_from(title);
                }
                for (label, value) in labels {
                    match value {
                        Some(value) => drop(self.labels.insert(label.clone(), value.clone())),
                        None => drop(self.labels.remove(label)),
                    }
                }
            }
            OwnBody::Redacted(_) => {}
        }
    }
}

pub(super) fn at_most(what: &'static str, unit: &'static str, size: usize, limit: usize) -> Result<(), Error> {
    if size <= limit {
        return Ok(());
    }
    Err(ErrorKind::TooLarge { what, unit, size: size as u64, limit: limit as u64 }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(title: Option<&str>, labels: &[(&str, Option<&str>)]) -> OwnBody {
        let owned = |text: &str| text.to_owned();
        let labels = labels.iter().map(|(label, value)| (owned(label), value.map(owned))).collect();
        OwnBody::Described(Described { title: title.map(owned), labels })
    }

    #[test]
    fn a_describe_changes_what_it_names_and_nothing_else() {
        let mut core = SessionCore::default();
        core.apply(&described(Some("one"), &[("a", Some("1")), ("b", Some("2"))]));
        core.apply(&described(None, &[("b", Some("3")), ("absent", None)]));
        let labels = |labels: &[(&str, &str)]| {
            labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>()
        };
        assert_eq!(core, SessionCore { title: "one".to_owned(), labels: labels(&[("a", "1"), ("b", "3")]) });
        core.apply(&described(Some(""), &[("a", None)]));
        assert_eq!(core, SessionCore { title: String::new(), labels: labels(&[("b", "3")]) });
    }
}
