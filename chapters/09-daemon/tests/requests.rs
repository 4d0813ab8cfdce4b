//! Requests of every kind, sensible or not: the daemon answers them or closes the connection, and goes on.
#![allow(clippy::unwrap_used)]

mod memory;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use memory::Server;
use proptest::prelude::*;

const JSON: &str = "Content-Type: application/json\r\n";

/// The headers of an answer, and nothing behind them.
fn headers(stream: &mut impl Read) -> String {
    let (mut text, mut byte) = (Vec::new(), [0]);
    while !text.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|length| length == 1) {
        text.push(byte[0]);
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Parameters of the API, and what clients write there.
const PARAMETERS: &[&str] = &[
    "all",
    "limit",
    "size",
    "filters",
    "follow",
    "stdout",
    "stderr",
    "since",
    "until",
    "tail",
    "stream",
    "one-shot",
    "condition",
    "signal",
    "t",
    "h",
    "w",
    "path",
    "name",
    "fromImage",
    "fromSrc",
    "repo",
    "tag",
    "names",
    "force",
    "v",
    "link",
    "ps_args",
    "logs",
    "stdin",
    "detachKeys",
    "platform",
    "type",
    "scope",
    "container",
    "changes",
    "noprune",
    "quiet",
    "remote",
    "dockerfile",
    "buildargs",
    "noOverwriteDirNonDir",
];
const VALUES: &[&str] = &[
    "",
    "1",
    "0",
    "true",
    "x",
    "-1",
    "99999999999999999999",
    "1.5",
    "all",
    "removed",
    "SIGKILL",
    "/etc",
    "%7B%7D",
    "%7B%22label%22%3A%5B%22a%22%5D%7D",
    "%7B%22label%22%3A1%7D",
    "%5B%5D",
    "null",
    "%00",
];

fn known(all: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop::sample::select(all)
}

/// JSON under names that mean something to somebody.
fn json_value() -> impl Strategy<Value = serde_json::Value> {
    let names = [
        "Image",
        "Cmd",
        "HostConfig",
        "Name",
        "Container",
        "Driver",
        "Detach",
        "Tty",
        "Labels",
        "IPAM",
    ];
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        "[ -~]{0,8}".prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 20, 5, move |inner| {
        let name = prop::sample::select(names.to_vec()).prop_map(str::to_owned);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::btree_map(name, inner, 0..5)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever comes, the daemon answers it or closes the connection, and serves the next.
    #[test]
    fn nothing_that_is_sent_ends_the_daemon(
        route in 0..corten_daemon::route::ROUTES.len(),
        name in "[ -~]{0,40}",
        query in "[a-zA-Z0-9=&%{}\":\\[\\],._-]{0,80}",
        body in prop::collection::vec(any::<u8>(), 0..200),
        cut in any::<bool>(),
    ) {
        thread_local!(static SERVER: Server = Server::start());
        let route = &corten_daemon::route::ROUTES[route];
        let encoded: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let path = route.path.replace("{name}", &encoded);
        SERVER.with(|server| {
            let mut stream = server.connect();
            stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            let head = format!(
                "{} {path}?{query} HTTP/1.1\r\nHost: d\r\nContent-Length: {}\r\n{JSON}\r\n",
                route.method, body.len() + usize::from(cut),
            );
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.write_all(&body);
            let mut answer = [0; 4096];
            let length = stream.read(&mut answer).unwrap_or(0);
            let text = String::from_utf8_lossy(&answer[..length]).into_owned();
            drop(stream);
            assert!(!text.contains("panicked"), "{text}");
            assert_eq!(server.get("GET", "/_ping").0, 200);
        });
    }

    /// The same for JSON of any shape under the names that there are, and for parameters that mean something:
    /// the headers of an answer come, whatever it is about.
    #[test]
    fn whatever_is_asked_in_the_right_form_is_answered(
        route in 0..corten_daemon::route::ROUTES.len(),
        name in prop::sample::select(vec!["up", "new", "late", "exec", "nosuch", "a/b:c", "..", "%2e"]),
        parameters in prop::collection::vec((known(PARAMETERS), known(VALUES)), 0..5),
        body in json_value(),
        version in prop::sample::select(vec!["", "/v1.24", "/v1.41", "/v1.53"]),
    ) {
        thread_local!(static SERVER: Server = Server::start());
        let route = &corten_daemon::route::ROUTES[route];
        let query: String = parameters.iter().map(|(name, value)| format!("{name}={value}&")).collect();
        let path = format!("{version}{}?{query}", route.path.replace("{name}", name));
        let text = body.to_string();
        SERVER.with(|server| {
            let mut stream = server.connect();
            let length = text.len();
            let head = format!(
                "{} {path} HTTP/1.1\r\nHost: d\r\nContent-Length: {length}\r\n{JSON}\r\n{text}",
                route.method,
            );
            let _ = stream.write_all(head.as_bytes());
            let answer = headers(&mut stream);
            let status = answer.split(' ').nth(1).unwrap_or_default().to_owned();
            assert!(answer.starts_with("HTTP/1.1 ") && !status.starts_with("10"), "{head}: {answer}");
            // Of all bodies dockerd calls this one's faults its own.
            if status == "500" && route.path != "/containers/create" {
                panic!("{head}: {answer}");
            }
        });
    }

    /// The same for what is no HTTP.
    #[test]
    fn noise_is_answered_or_not(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        thread_local!(static SERVER: Server = Server::start());
        SERVER.with(|server| {
            let mut stream = server.connect();
            let _ = stream.write_all(&bytes);
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.read(&mut [0; 100]);
            assert_eq!(server.get("GET", "/_ping").0, 200);
        });
    }
}
