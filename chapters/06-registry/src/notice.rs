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

    /// As a line of text; none where bytes have moved, for nobody wants each of those in a file.
    pub fn plain(&self) -> Option<String> {
        match (self.kind, self.id.as_str()) {
            (Kind::Moving(..), _) => None,
            (_, "") => Some(self.status.clone()),
            (_, id) => Some(format!("{id}: {}", self.status)),
        }
    }
}
