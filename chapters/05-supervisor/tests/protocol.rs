//! The packets of version 1, which every later version understands.
#![allow(clippy::unwrap_used)]

use corten_supervisor::protocol::{Message, Request};
use serde_json::Value;

fn golden(kind: &str) -> Vec<Value> {
    let document: Value = serde_json::from_str(include_str!("protocol.json")).unwrap();
    document[kind].as_array().unwrap().clone()
}

/// Read, and written again: nothing of it is lost, and nothing has another name.
#[track_caller]
fn survive<T: serde::Serialize + serde::de::DeserializeOwned>(packets: &[Value]) {
    for packet in packets {
        let text = packet.to_string();
        let read: T = serde_json::from_str(&text).unwrap_or_else(|why| panic!("{text}: {why}"));
        let written = serde_json::to_value(&read).unwrap();
        assert!(contains(&written, packet), "{packet} became {written}");
    }
}

/// Whether `new` has all that `old` has; a later version adds fields.
fn contains(new: &Value, old: &Value) -> bool {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => {
            old.iter().all(|(name, value)| new.get(name).is_some_and(|n| contains(n, value)))
        }
        (Value::Array(new), Value::Array(old)) => {
            new.len() == old.len() && new.iter().zip(old).all(|(n, o)| contains(n, o))
        }
        _ => new == old,
    }
}

#[test]
fn requests_of_version_1_are_understood() {
    survive::<Request>(&golden("requests"));
}

#[test]
fn messages_of_version_1_are_understood() {
    survive::<Message>(&golden("messages"));
}

/// One of each, so that a new operation is not forgotten here.
#[test]
fn every_operation_is_in_the_file() {
    let names = [
        "start",
        "status",
        "attach",
        "resize",
        "signal",
        "stop",
        "wait",
        "pause",
        "resume",
        "update",
        "policy",
        "exec",
        "wait-exec",
        "events",
    ];
    let name = |request: &Value| match &request["do"] {
        Value::String(name) => name.clone(),
        fields => fields.as_object().unwrap().keys().next().unwrap().clone(),
    };
    let seen: Vec<String> = golden("requests").iter().map(name).collect();
    for known in names {
        assert!(seen.iter().any(|name| name == known), "{known}");
    }
}
