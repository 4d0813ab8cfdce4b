//! What dockerd 20.10 said of each request in tests/dockerd/refusals.txt, beside what is said here.

use serde_json::{Value, json};

use super::check::check;
use super::{Config, HostConfig};
use crate::engine::machine::{Machine, Support};
use crate::engine::oci::golden_machine;
use crate::engine::volumes::mount_points;
use crate::engine::volumes::point::volumes_from;

/// Where what is said differs, and why: a part of the request, and the reason.
const DIFFERENT: [(&str, &str); 16] = [
    (r#""Hostname":"a b""#, "it would become a line of /etc/hosts"),
    ("80/xyz", "taken at creation, refused at the start"),
    ("90-80", "taken at creation, refused at the start"),
    (r#""HostIp":"x""#, "taken at creation, refused at the start"),
    (r#""IpcMode":"mine""#, "taken at creation, refused at the start"),
    (r#""PidMode":"container:""#, "taken at creation, refused at the start"),
    (r#""PidMode":"mine""#, "taken at creation, refused at the start"),
    (r#""UTSMode":"x""#, "taken at creation, refused at the start"),
    (r#""UsernsMode":"x""#, "there is no other user namespace here"),
    ("DeviceCgroupRules", "taken at creation, refused at the start"),
    (r#""CpuShares":-1"#, "taken at creation, refused at the start"),
    ("Ulimits", "only the client knows the names"),
    (r#""/a":"bogus""#, "taken at creation, refused at the start"),
    ("StorageOpt", "each storage driver has its own words"),
    ("/no/such", "looked at when the mount is attached"),
    (r#""Name":"nope""#, "looked at when the volume is made"),
];

fn said(request: &Value) -> String {
    let mut config: Config = serde_json::from_value(request.clone()).unwrap();
    let host = request.get("HostConfig").cloned().unwrap_or(json!({}));
    let mut host: HostConfig = serde_json::from_value(host).unwrap();
    // The kernel on which dockerd was asked.
    let support = Support { blkio_weight: false, blkio_weight_device: false, ..Support::ALL };
    let machine = Machine { support, ..golden_machine() };
    let image = serde_json::from_value(json!({"Cmd": ["sh"]})).unwrap();
    let answer = config
        .merge(&image)
        .and_then(|()| check(&mut config, &mut host, &machine))
        .and_then(|warnings| {
            host.volumes_from.iter().try_for_each(|text| volumes_from(text).map(drop))?;
            mount_points(&config, &host, &[]).map(|_| warnings.join("|"))
        });
    answer.unwrap_or_else(|error| error.to_string())
}

/// Without a warning about the machine's routing, which chapter 7 will see to; since 23 dockerd's
/// sentences begin in lower case.
fn normal(text: &str) -> String {
    let warning = "IPv4 forwarding is disabled. Networking will not work.";
    let text = text.replace(&format!("|{warning}"), "").replace(warning, "");
    text.chars().take(1).flat_map(char::to_lowercase).chain(text.chars().skip(1)).collect()
}

#[test]
fn what_is_refused_is_refused_in_dockerd_s_words() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dockerd/refusals.json");
    let all: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(all.len() > 80, "{}", all.len());
    let mut problems = Vec::new();
    for entry in &all {
        let request = entry["request"].to_string();
        let (own, theirs) =
            (normal(&said(&entry["request"])), normal(entry["said"].as_str().unwrap()));
        let expected = DIFFERENT.iter().any(|(part, _)| request.contains(part));
        if (own == theirs) == expected {
            problems.push(format!("{request}\n  ours   {own}\n  theirs {theirs}"));
        }
    }
    assert!(problems.is_empty(), "{} of {}:\n{}", problems.len(), all.len(), problems.join("\n"));
}
