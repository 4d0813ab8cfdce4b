//! What people are told of images on their way, line by line, as the clients of Docker show it.

use serde_json::{Value, json};

use crate::error::Error;
use crate::reference::Reference;

/// What dockerd says where a registry lets nobody have the image of that name, or has none.
pub fn refusal(name: &Reference, error: &Error) -> Option<String> {
    let Error::Refused(refusal) = error else { return None };
    match refusal.status {
        401 | 403 => Some(format!(
            "pull access denied for {}, repository does not exist or may require 'docker login': \
             denied: requested access to the resource is denied",
            name.familiar_name()
        )),
        404 => Some(format!(
            "manifest for {} not found: manifest unknown: manifest unknown",
            name.familiar()
        )),
        _ => None,
    }
}

/// One thing to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// What it is about: a tag, or a layer's short digest; empty where it needs none.
    pub id: String,
    /// What is said of it.
    pub status: String,
    /// Of what kind it is.
    pub kind: Kind,
}

/// Of what kind a [`Notice`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Said once.
    Text,
    /// The state of a layer, which on a terminal takes the place of the one before.
    Layer,
    /// The same, with bytes so far and all of them.
    Moving(u64, u64),
}

impl Notice {
    /// One that stands for itself.
    pub fn text(status: impl Into<String>) -> Notice {
        Notice { id: String::new(), status: status.into(), kind: Kind::Text }
    }

    /// As a document of the Engine API's streams (`jsonmessage`).
    pub fn document(&self) -> Value {
        let mut document = json!({"status": self.status});
        if !self.id.is_empty() {
            document["id"] = json!(self.id);
        }
        match self.kind {
            Kind::Text => {}
            Kind::Layer => document["progressDetail"] = json!({}),
            Kind::Moving(done, size) => {
                document["progressDetail"] = json!({"current": done, "total": size});
            }
        }
        document
    }

    /// Reads such a document; none where it tells of something else.
    pub fn read(document: &Value) -> Option<Notice> {
        let text = |field: &str| document[field].as_str().unwrap_or_default().to_owned();
        let (id, status, detail) = (text("id"), text("status"), &document["progressDetail"]);
        let kind = match detail["current"].as_u64() {
            Some(done) => Kind::Moving(done, detail["total"].as_u64().unwrap_or(0)),
            None if detail.is_object() && !id.is_empty() => Kind::Layer,
            None => Kind::Text,
        };
        (!status.is_empty()).then_some(Notice { id, status, kind })
    }

    /// As a line of text; none where bytes have moved, for nobody wants each of those in a file.
    pub fn plain(&self) -> Option<String> {
        match (self.kind, self.id.as_str()) {
            (Kind::Moving(..), _) => None,
            (_, "") => Some(self.status.clone()),
            (_, id) => Some(format!("{id}: {}", self.status)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_says_all_of_a_notice() {
        for kind in [Kind::Text, Kind::Layer, Kind::Moving(1, 2)] {
            let notice = Notice { id: "ab".into(), status: "Extracting".into(), kind };
            assert_eq!(Notice::read(&notice.document()), Some(notice));
        }
        let own = Notice::text("Digest: x");
        assert_eq!(own.document(), json!({"status": "Digest: x"}));
        assert_eq!(Notice::read(&own.document()), Some(own));
        assert_eq!(Notice::read(&json!({"stream": "Step 1/1"})), None);
        // dockerd ends a push with a detail of nothing.
        assert_eq!(Notice::read(&json!({"progressDetail": {}, "aux": {}})), None);
        let unknown =
            json!({"id": "ab", "status": "Downloading", "progressDetail": {"current": 5}});
        assert_eq!(Notice::read(&unknown).unwrap().kind, Kind::Moving(5, 0));
    }

    #[test]
    fn what_moves_is_no_line_of_text() {
        let plain = |id: &str, kind| Notice { id: id.into(), status: "x".into(), kind }.plain();
        assert_eq!(plain("ab", Kind::Layer).as_deref(), Some("ab: x"));
        assert_eq!(plain("", Kind::Text).as_deref(), Some("x"));
        assert_eq!(plain("ab", Kind::Moving(1, 2)), None);
    }
}
