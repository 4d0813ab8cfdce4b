//! The API over an engine in memory: routes, versions, bodies, streams, clients that leave and clients
//! that lie. No root is needed.
#![allow(clippy::unwrap_used)]

mod memory;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use memory::{ALIVE, Server};

const JSON: &str = "Content-Type: application/json\r\n";

#[test]
fn the_api_that_is_served_is_the_golden_one() {
    let served: String =
        corten_daemon::route::ROUTES.iter().map(|route| format!("{route:?}\n")).collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/api.golden");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &served).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(served, golden, "run with UPDATE_GOLDEN=1, and look at the difference");
}

#[test]
fn ping_and_every_answer_tell_the_version() {
    let server = Server::start();
    let (status, text) = server.get("GET", "/_ping");
    assert_eq!(status, 200);
    assert!(text.contains("\r\nApi-Version: "), "as Go writes it: {text}");
    let text = text.to_ascii_lowercase();
    for wanted in ["api-version: 1.53", "ostype: linux", "docker-experimental: false", "no-store"] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    assert!(text.ends_with("ok"));
    let (status, text) = server.get("HEAD", "/v1.41/_ping");
    assert!(status == 200 && text.ends_with("\r\n\r\n"), "{text}");
}

#[test]
fn paths_have_versions_and_what_is_nowhere_is_not_found() {
    let server = Server::start();
    for (method, path, status, words) in [
        ("GET", "/v1.40/info", 200, "{}"),
        ("GET", "/v1.99/info", 400, "client version 1.99 is too new"),
        ("GET", "/v1.2/info", 400, "too old"),
        ("GET", "/nothing", 404, "page not found"),
        ("PUT", "/info", 404, "page not found"),
        ("GET", "/containers/nosuch/json", 404, "No such container: nosuch"),
        ("GET", "/containers/%2Fup/json", 200, "\"up\""),
        ("GET", "/images/a.b/c/d:e/json", 200, "a.b/c/d:e"),
        ("DELETE", "/images/a/b", 200, "a/b"),
        ("GET", "/distribution/a/b/json", 200, "a/b"),
        ("GET", "/swarm", 503, "swarm"),
        ("POST", "/build", 501, "no builder"),
        ("GET", "/containers/up/logs", 400, "at least one stream"),
        ("POST", "/containers/up/wait?condition=x", 400, "invalid condition"),
        ("POST", "/containers/up/resize?h=x&w=1", 400, "invalid syntax"),
        ("GET", "/containers/json?filters=x", 400, "invalid filter"),
        ("GET", "/containers/json?limit=x", 400, "invalid syntax"),
        ("GET", "/containers/up/archive", 400, "path is missing"),
        ("GET", "/metrics", 200, "corten_containers_running 1"),
    ] {
        let (got, text) = server.get(method, path);
        assert!(got == status && text.contains(words), "{method} {path}: {text}");
    }
}

#[test]
fn a_version_has_what_is_of_its_time() {
    let server = Server::start();
    let several = "platform=%7B%7D&platform=%5B%5D";
    let status = r#"{"Name":"a","Status":{"IPAM":{"Subnets":{}}}}"#;
    let removed = |platforms: &str| format!(r#"[{{"Platforms":{platforms},"Untagged":"a"}}]"#);
    let usage = |verbose: &str| format!(r#"{{"Kinds":[],"Verbose":{verbose}}}"#);
    for (method, path, expected) in [
        ("GET", "/v1.50/networks/a", r#"{"Name":"a"}"#.to_owned()),
        ("GET", "/networks/a", status.to_owned()),
        ("GET", "/v1.52/networks/a", status.to_owned()),
        ("DELETE", "/v1.49/images/a?platforms=%7B%7D", removed("[]")),
        ("DELETE", "/v1.50/images/a?platforms=%7B%7D&platforms=x", removed(r#"["{}","x"]"#)),
        ("GET", "/v1.47/images/a/get?platform=%7B%7D", "\r\ntar\r\n".to_owned()),
        ("GET", "/v1.48/images/a/get?platform=%7B%7D", "tar{}".to_owned()),
        ("GET", &format!("/v1.52/images/a/get?{several}"), "tar{}[]".to_owned()),
        ("GET", &format!("/v1.53/images/get?names=a&{several}"), "tar{}[]".to_owned()),
        ("GET", "/v1.50/system/df?verbose=1", usage("null")),
        ("GET", "/system/df?verbose=1", usage("true")),
        ("GET", "/v1.53/system/df?verbose=0", usage("false")),
        ("GET", "/v1.53/system/df", usage("null")),
    ] {
        let (got, text) = server.get(method, path);
        assert!(got == 200 && text.contains(&expected), "{method} {path}: {text}");
    }
    let (_, text) = server.get("POST", &format!("/v1.52/images/load?{several}"));
    assert!(text.contains("{\"stream\":\"{}\"}\r\n") && text.contains("\"[]\"}\r\n"), "{text}");
    for (method, path) in [
        ("POST", format!("/v1.51/images/load?{several}")),
        ("GET", format!("/images/get?names=a&{several}")),
    ] {
        let (got, text) = server.get(method, &path);
        assert!(got == 400 && text.contains("use API version 1.52 or later"), "{path}: {text}");
    }
    assert_eq!(server.get("GET", "/v1.52/system/df?verbose=x").0, 400);
}

#[test]
fn events_come_in_the_form_that_a_client_reads() {
    let server = Server::start();
    for (path, accept, kind) in [
        ("/events", "application/jsonl", "application/json"),
        ("/v1.52/events", "application/jsonl, application/x-ndjson", "application/x-ndjson"),
        ("/v1.53/events", "*/*", "application/json"),
        ("/v1.53/events", "application/json-seq", "application/json-seq"),
        ("/v1.53/events", "application/json\r\nAccept: application/jsonl", "application/jsonl"),
    ] {
        let mut stream = server.connect();
        let request = format!("GET {path} HTTP/1.1\r\nHost: d\r\nAccept: {accept}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let headers = headers(&mut stream);
        assert!(headers.contains(&format!("Content-Type: {kind}\r\n")), "{path}: {headers}");
    }
}

#[test]
fn a_body_is_json_and_says_so() {
    let server = Server::start();
    let create = |headers: &str, body: &str| {
        server.send("POST", "/containers/create?name=made", headers, body)
    };
    assert_eq!(create(JSON, r#"{"Image":"x","Later":1}"#).0, 201);
    assert_eq!(
        create("Content-Type: application/json; charset=utf-8\r\n", r#"{"Image":"x"}"#).0,
        201
    );
    let (status, text) = create("Content-Type: text/plain\r\n", "{}");
    assert!(status == 400 && text.contains("must be 'application/json'"), "{text}");
    assert_eq!(create(JSON, "{").0, 500, "of all bodies dockerd calls this one its own fault");
    assert_eq!(create(JSON, "").0, 400);
    assert_eq!(server.send("POST", "/networks/create", JSON, "{").0, 400);
    let large = format!(r#"{{"Image":"{}"}}"#, "x".repeat(17 << 20));
    assert_eq!(create(JSON, &large).0, 413);
}

#[test]
fn what_has_not_changed_is_told() {
    let server = Server::start();
    let post = |path: &str| server.get("POST", path).0;
    assert_eq!(post("/containers/new/start"), 204);
    assert_eq!(post("/containers/new/start"), 304);
    assert_eq!(post("/containers/new/stop"), 204);
    assert_eq!(post("/containers/new/stop"), 304);
    assert_eq!(server.get("DELETE", "/containers/up").0, 409);
    assert_eq!(server.get("DELETE", "/containers/up?force=1").0, 204);
}

#[test]
fn an_error_after_the_first_line_is_a_line() {
    let server = Server::start();
    assert_eq!(server.get("POST", "/images/create?fromImage=nosuch&tag=x").0, 404);
    let (status, text) = server.get("POST", "/images/create?fromImage=a&tag=x");
    assert_eq!(status, 200);
    assert!(text.contains("{\"status\":\"Pulling\"}\r\n"), "{text}");
    assert!(text.contains("\"errorDetail\":{\"message\":\"the registry is gone\"}"), "{text}");
}

/// The headers of an answer, and nothing behind them.
fn headers(stream: &mut impl Read) -> String {
    let (mut text, mut byte) = (Vec::new(), [0]);
    while !text.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|length| length == 1) {
        text.push(byte[0]);
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// What a program says that is told this, and nothing more.
fn said_back(stream: &mut std::os::unix::net::UnixStream, text: &str) -> String {
    stream.write_all(text.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut back = String::new();
    stream.read_to_string(&mut back).unwrap();
    back
}

#[test]
fn an_upgraded_connection_is_the_program_s_and_half_of_it_can_be_closed() {
    let server = Server::start();
    let mut stream = server.connect();
    let request = "POST /v1.41/containers/up/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: \
                   d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let head = headers(&mut stream).to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101") && head.contains("upgrade: tcp"), "{head}");
    assert!(head.contains("application/vnd.docker.raw-stream"), "{head}");
    assert_eq!(said_back(&mut stream, "hello"), "hello");
}

/// `echo hello | docker run -i … sort`: the program has nothing to say before its input has ended.
#[test]
fn what_is_said_after_the_input_s_end_arrives() {
    let server = Server::start();
    let mut stream = server.connect();
    let request = "POST /containers/late/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: d\r\n\
                   Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    headers(&mut stream);
    assert_eq!(said_back(&mut stream, "hello"), "hello");
}

#[test]
fn what_was_logged_comes_before_what_is_said() {
    let server = Server::start();
    for upgrade in ["", "Connection: Upgrade\r\nUpgrade: tcp\r\n"] {
        for stream in [0, 1] {
            let mut connection = server.connect();
            let path = format!("/containers/up/attach?logs=1&stream={stream}&stdout=1");
            let head = format!("POST {path} HTTP/1.1\r\nHost: d\r\n{upgrade}\r\n");
            connection.write_all(head.as_bytes()).unwrap();
            headers(&mut connection);
            let mut buffer = [0; 100];
            let length = connection.read(&mut buffer).unwrap();
            let text = String::from_utf8_lossy(&buffer[..length]);
            assert!(text.contains("earlier"), "{path} {upgrade}: {text}");
        }
    }
    let url = "ws://d/containers/up/attach/ws?logs=1";
    let (mut socket, _) = tungstenite::client(url, server.connect()).unwrap();
    assert_eq!(socket.read().unwrap().into_data(), &b"earlier"[..]);
}

/// dockerode starts a container only when it has the headers of its attach.
#[test]
fn who_does_not_upgrade_has_the_headers_before_the_start() {
    let server = Server::start();
    let mut stream = server.connect();
    let request = "POST /containers/new/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: d\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    assert!(headers(&mut stream).starts_with("HTTP/1.1 200"));
}

/// dockerode's usual attach: no upgrade, options as a body of a known length, then input.
#[test]
fn what_follows_the_body_of_an_attach_without_an_upgrade_is_input() {
    let server = Server::start();
    let target = "/containers/up/attach?stream=1&stdin=1&stdout=1";
    for (body, rest) in [("{\"stdin\":true}", "hello"), ("", "hello")] {
        let mut stream = server.connect();
        let length = body.len();
        let request =
            format!("POST {target} HTTP/1.1\r\nHost: d\r\nContent-Length: {length}\r\n\r\n{body}");
        // A part of the input is there before the answer.
        stream.write_all(format!("{request}{}", &rest[..2]).as_bytes()).unwrap();
        let head = headers(&mut stream).to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 200") && !head.contains("transfer-encoding"), "{head}");
        stream.write_all(&rest.as_bytes()[2..]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut back = String::new();
        stream.read_to_string(&mut back).unwrap();
        assert_eq!(back, rest);
    }
}

/// curl sends what is between quotes as it is.
#[test]
fn a_query_need_not_be_a_uri() {
    let server = Server::start();
    for _ in 0..2 {
        let (status, text) = server.get("GET", "/containers/json?filters={\"name\":[\"^u|x\"]}");
        assert_eq!(status, 200, "{text}");
    }
    assert_eq!(server.get("GET", "/containers/json?filters={\"name\":").0, 400);
}

#[test]
fn a_web_socket_is_the_program_s() {
    use tungstenite::Message;
    let server = Server::start();
    let url = "ws://d/v1.41/containers/up/attach/ws?stream=1&stdin=1&stdout=1";
    let (mut socket, _) = tungstenite::client(url, server.connect()).unwrap();
    socket.send(Message::Binary(b"hello"[..].into())).unwrap();
    assert_eq!(socket.read().unwrap().into_data(), &b"hello"[..]);
    socket.send(Message::Text("again".into())).unwrap();
    assert_eq!(socket.read().unwrap().into_data(), &b"again"[..]);
    socket.close(None).unwrap();
    assert_eq!(server.get("GET", "/containers/up/attach/ws").0, 400, "without an upgrade");
}

/// The program says back what it is told: while it waits that its output is taken, it takes no input.
#[test]
fn a_web_socket_s_output_does_not_wait_for_its_input() {
    use tungstenite::Message;
    const PIECES: usize = 64;
    let server = Server::start();
    let url = "ws://d/containers/up/attach/ws?stream=1&stdin=1&stdout=1";
    let (mut socket, _) = tungstenite::client(url, server.connect()).unwrap();
    let mut other = tungstenite::WebSocket::from_raw_socket(
        socket.get_ref().try_clone().unwrap(),
        tungstenite::protocol::Role::Client,
        None,
    );
    let writer = std::thread::spawn(move || {
        (0..PIECES).for_each(|_| {
            other.send(Message::Binary(vec![b'x'; 64 << 10].into())).unwrap();
        });
    });
    let mut back = 0;
    while back < PIECES * (64 << 10) {
        back += socket.read().unwrap().into_data().len();
    }
    writer.join().unwrap();
}

#[test]
fn wait_sends_its_headers_at_once() {
    let server = Server::start();
    let mut stream = server.connect();
    stream.write_all(b"POST /containers/up/wait HTTP/1.1\r\nHost: d\r\n\r\n").unwrap();
    assert!(headers(&mut stream).starts_with("HTTP/1.1 200"));
}

/// Waits until nothing lasts any more that clients have asked for.
fn all_have_left(server: &Server) {
    let begin = Instant::now();
    let left = || (ALIVE.load(Ordering::SeqCst), server.daemon.counts().connections);
    let patience = corten_tier::patience(Duration::from_secs(30));
    while left() != (0, 0) {
        assert!(begin.elapsed() < patience, "{:?} are left", left());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// The counter is one for the whole process, so these run one after the other.
#[test]
fn of_a_thousand_clients_that_leave_in_the_middle_nothing_is_left() {
    let server = Server::start();
    server.get("GET", "/_ping");
    all_have_left(&server);
    let before = descriptors();
    let paths = [
        ("GET", "/events", ""),
        ("GET", "/containers/up/logs?stdout=1&follow=1", ""),
        ("GET", "/containers/up/stats", ""),
        ("POST", "/containers/up/wait", ""),
        ("POST", "/containers/up/attach?stream=1&stdin=1&stdout=1", "Upgrade: tcp\r\n"),
        ("POST", "/containers/new/attach?stream=1&stdin=1&stdout=1", "Upgrade: tcp\r\n"),
        ("GET", "/containers/up/archive?path=/", ""),
        ("POST", "/exec/exec/start", "Upgrade: tcp\r\n"),
    ];
    for round in 0..10 {
        let clients: Vec<_> = (0..100)
            .map(|at| {
                let (method, path, more) = paths[at % paths.len()];
                let mut stream = server.connect();
                let connection = if more.is_empty() { "" } else { "Connection: Upgrade\r\n" };
                let head = format!("{method} {path} HTTP/1.1\r\nHost: d\r\n{connection}{more}\r\n");
                stream.write_all(head.as_bytes()).unwrap();
                // Some leave before they are answered.
                if at % 3 > 0 {
                    headers(&mut stream);
                }
                stream
            })
            .collect();
        drop(clients);
        assert_eq!(server.get("GET", "/_ping").0, 200, "round {round}");
    }
    all_have_left(&server);
    let begin = Instant::now();
    while descriptors() > before {
        assert!(begin.elapsed() < Duration::from_secs(10), "{} > {before}", descriptors());
        std::thread::sleep(Duration::from_millis(20));
    }
    half_a_body_is_given_up(&server);
}

fn half_a_body_is_given_up(server: &Server) {
    let mut stream = server.connect();
    let head = "PUT /containers/up/archive?path=/ HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: \
                chunked\r\n\r\n400\r\nabc";
    stream.write_all(head.as_bytes()).unwrap();
    drop(stream);
    all_have_left(server);
    assert_eq!(server.get("GET", "/_ping").0, 200);
}

#[test]
fn headers_have_limits() {
    let server = Server::start();
    let many: String = (0..300).map(|at| format!("X-{at}: y\r\n")).collect();
    let (status, _) = server.send("GET", "/_ping", &many, "");
    assert_eq!(status, 431);
    let long = format!("X-Long: {}\r\n", "y".repeat(512 << 10));
    let (status, _) = server.send("GET", "/_ping", &long, "");
    assert!(status == 431 || status == 0, "{status}");
    assert_eq!(server.get("GET", "/_ping").0, 200);
}
