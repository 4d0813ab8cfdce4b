//! What one version of the API tells, and another does not.

use corten_daemon::version::Version;
use serde_json::Value;

/// The version from which on an image's configuration has nothing that only a container can have.
const NOTHING_OF_CONTAINERS: Version = Version(1, 50);

/// The version from which on what an image does not say is absent, and not empty.
const NOTHING_EMPTY: Version = Version(1, 52);

/// What an image's configuration had because it was of the same type as a container's.
const OF_CONTAINERS: [&str; 12] = [
    "Hostname",
    "Domainname",
    "AttachStdin",
    "AttachStdout",
    "AttachStderr",
    "Tty",
    "OpenStdin",
    "StdinOnce",
    "Image",
    "NetworkDisabled",
    "MacAddress",
    "StopTimeout",
];

/// Fields of an image, and of its configuration, that may be absent.
const MAY_BE_ABSENT: ([&str; 4], [&str; 8]) = (
    ["Parent", "Comment", "DockerVersion", "Author"],
    ["Cmd", "Entrypoint", "Env", "Labels", "OnBuild", "User", "Volumes", "WorkingDir"],
);

/// An image as a version shows it.
pub(super) fn image(mut own: Value, version: Version) -> Value {
    let mut remove = |within: &str, names: &[&str], if_empty: bool| {
        let Some(fields) = own.pointer_mut(within).and_then(Value::as_object_mut) else { return };
        fields
            .retain(|name, value| !names.contains(&name.as_str()) || if_empty && !is_empty(value));
    };
    if version >= NOTHING_OF_CONTAINERS {
        remove("/Config", &OF_CONTAINERS, false);
    }
    if version >= NOTHING_EMPTY {
        remove("", &MAY_BE_ABSENT.0, true);
        remove("/Config", &MAY_BE_ABSENT.1, true);
    }
    own
}

/// What a version leaves out where it says nothing is there again, as in the types of docker's client: who
/// shows a field by its name need not know whether an image has it.
pub(crate) fn filled(mut own: Value) -> Value {
    let mut fill = |within: &str, names: &[&str]| {
        let Some(fields) = own.pointer_mut(within).and_then(Value::as_object_mut) else { return };
        for name in names {
            let is_text = within.is_empty() || ["User", "WorkingDir"].contains(name);
            let nothing = if is_text { Value::from("") } else { Value::Null };
            fields.entry(*name).or_insert(nothing);
        }
    };
    fill("", &MAY_BE_ABSENT.0);
    fill("/Config", &MAY_BE_ABSENT.1);
    own
}

/// Whether a value says nothing: null, and lists, maps and texts with nothing in them.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::engine::shape::image_config;

    #[test]
    fn an_image_has_what_its_version_has() {
        let config = image_config(json!(crate::engine::options::Config::default()));
        let own = json!({"Id": "x", "Parent": "", "Author": "me", "Comment": "",
            "DockerVersion": "", "Config": config});
        let of = |minor: u16| image(own.clone(), Version(1, minor));
        assert_eq!(of(49), own);
        let names =
            |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
        let mut expected = MAY_BE_ABSENT.1.map(str::to_owned);
        expected.sort();
        let mut of_51 = names(&of(51)["Config"]);
        of_51.sort();
        assert_eq!(of_51, expected);
        assert_eq!(of(51)["Parent"], "");
        assert_eq!(of(52), json!({"Id": "x", "Author": "me", "Config": {}}));
        assert_eq!(filled(of(52)), of(51));
        let said = json!({"Config": {"Env": ["a=b"], "User": "u", "Hostname": "h"}});
        let expected = json!({"Config": {"Env": ["a=b"], "User": "u"}});
        assert_eq!(image(said, Version(1, 53)), expected);
    }
}
