//! The other end of the wire: a daemon elsewhere as a backend.
#![allow(clippy::unwrap_used)]

mod memory;

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;

use corten_daemon::backend::*;
use corten_daemon::client::{Place, Remote};
use corten_daemon::listener::Listener;
use memory::Server;
use serde_json::json;

fn connect(socket: &std::path::Path) -> Remote {
    Remote::connect(Place::Unix(socket.to_owned()), None).unwrap()
}

/// The routes in front of a client of the same routes.
fn proxy(server: &Server) -> Server {
    let engine = Arc::new(connect(&server.socket));
    Server::over(engine, |socket| vec![Listener::unix(socket, Some("")).unwrap()])
}

/// What an answer says, without its headers.
fn said((status, text): (u16, String)) -> (u16, String) {
    (status, text.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned()))
}

#[test]
fn an_operation_is_the_same_through_a_proxy() {
    // Each has containers of its own, for some requests change them.
    let (server, other) = (Server::start(), Server::start());
    let proxy = proxy(&other);
    for (method, path, body) in [
        ("GET", "/containers/json?all=1", ""),
        ("GET", "/containers/up/json", ""),
        ("GET", "/containers/none/json", ""),
        ("POST", "/containers/up/start", ""),
        ("POST", "/containers/up/stop?t=3", ""),
        ("POST", "/containers/up/start", ""),
        ("POST", "/containers/up/kill?signal=USR1", ""),
        ("POST", "/containers/up/rename?name=x", ""),
        ("POST", "/containers/up/update", "{}"),
        ("POST", "/containers/up/resize?h=3&w=4", ""),
        ("GET", "/containers/up/top", ""),
        ("GET", "/containers/up/changes", ""),
        ("HEAD", "/containers/up/archive?path=/a%20b", ""),
        ("HEAD", "/containers/none/archive?path=/", ""),
        ("PUT", "/containers/up/archive?path=/", "archive"),
        ("DELETE", "/containers/up", ""),
        ("POST", "/containers/create?name=a%2Fb", "{\"Image\":\"x\"}"),
        ("POST", "/containers/create", "{\"Cmd\":[]}"),
        ("POST", "/containers/prune", ""),
        ("POST", "/containers/up/exec", "{}"),
        ("GET", "/exec/exec/json", ""),
        ("GET", "/images/json", ""),
        ("GET", "/images/a/b:c/json", ""),
        ("GET", "/images/a/history", ""),
        ("GET", "/images/a/get", ""),
        ("POST", "/images/a/b/tag?repo=x&tag=y", ""),
        ("DELETE", "/images/a:b", ""),
        ("POST", "/images/create?fromImage=nosuch", ""),
        ("POST", "/images/create?fromImage=x", ""),
        ("POST", "/images/load", "archive"),
        ("POST", "/commit?container=up", "{}"),
        ("GET", "/distribution/a/json", ""),
        ("POST", "/build", "archive"),
        ("POST", "/build/prune", ""),
        ("GET", "/networks", ""),
        ("GET", "/networks/a%20b", ""),
        ("POST", "/networks/create", "{}"),
        ("DELETE", "/networks/a", ""),
        ("POST", "/networks/a/connect", "{}"),
        ("GET", "/volumes", ""),
        ("GET", "/volumes/a", ""),
        ("POST", "/volumes/create", "{\"Name\":\"v\"}"),
        ("DELETE", "/volumes/a?force=1", ""),
        ("GET", "/info", ""),
        ("GET", "/version", ""),
        ("GET", "/system/df", ""),
        ("POST", "/auth", "{}"),
    ] {
        let headers = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        let ask = |server: &Server| said(server.send(method, path, headers, body));
        let [direct, passed] = [&server, &proxy].map(ask);
        assert_eq!(direct, passed, "{method} {path}");
    }
}

#[test]
fn streams_pass_both_ways_and_end() {
    let server = Server::start();
    let proxy = proxy(&server);
    let remote = connect(&proxy.socket);
    let wanted = Attach { stream: true, stdin: true, stdout: true, ..Attach::default() };
    let attached = remote.attach("up", &wanted).unwrap();
    let mut stream = UnixStream::from(attached.streams.unwrap().blocking_recv().unwrap());
    stream.write_all(b"said back").unwrap();
    let mut heard = [0; 9];
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"said back");
    // The end of input is not that of output.
    let attached = remote.attach("late", &wanted).unwrap();
    let mut stream = UnixStream::from(attached.streams.unwrap().blocking_recv().unwrap());
    stream.write_all(b"and more").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).unwrap();
    assert!(heard.ends_with("and more"), "{heard}");
    let mut stats = remote.stats("up", true, false).unwrap();
    for _ in 0..3 {
        assert_eq!(stats.blocking_recv().unwrap()["read"], "now");
    }
}

/// A daemon that says these bytes to whoever has asked it for something, each in a piece of its own.
fn scripted(pieces: &'static [&'static [u8]]) -> (tempfile::TempDir, Remote) {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        for (turn, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let mut head = [0; 4096];
            let _ = stream.read(&mut head);
            if turn == 0 {
                let pong = b"HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nConnection: close\r\n\r\nOK";
                stream.write_all(pong).unwrap();
                continue;
            }
            for piece in pieces {
                let _ = stream.write_all(piece);
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        }
    });
    let remote = connect(&socket);
    (directory, remote)
}

const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn an_answer_is_read_wherever_it_is_cut() {
    let pieces: &[&[u8]] = &[
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Enc",
        b"oding: chunked\r\n\r",
        b"\n5\r\n[{\"Na",
        b"\r\nA;x=y\r\nme\":\"a\"}]\n",
        b"\r",
        b"\n0\r\nTrailer: x\r\n\r\n",
    ];
    let (_directory, remote) = scripted(pieces);
    assert_eq!(remote.list_networks(&Filters::new()).unwrap(), [json!({"Name": "a"})]);
    assert_eq!(remote.api_version().to_string(), "1.41");
}

#[test]
fn what_was_cut_off_does_not_look_whole() {
    for pieces in [
        &[CHUNKED, b"3\r\ntar\r\n"][..],
        &[CHUNKED, b"5\r\ntar"],
        &[b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ntar"],
    ] {
        let (_directory, remote) = scripted(Box::leak(pieces.to_vec().into_boxed_slice()));
        let mut got = Vec::new();
        let why = remote.save(&["x".to_owned()], &[]).unwrap()(&mut got).unwrap_err();
        assert_eq!((got.as_slice(), why.status), (&b"tar"[..], 502));
    }
}

#[test]
fn what_is_no_http_is_told() {
    for (pieces, why) in [
        (&[&b"SSH-2.0-x\r\n\r\n"[..]][..], "no HTTP"),
        (&[CHUNKED, b"x\r\n"], "length of a chunk"),
        (&[b""], "closed before there was an answer"),
        (&[b"HTTP/1.1 418 I'm a teapot\r\nContent-Length: 6\r\n\r\nteapot"], "teapot"),
    ] {
        let (_directory, remote) = scripted(Box::leak(pieces.to_vec().into_boxed_slice()));
        let told = remote.info(corten_daemon::version::NEWEST).unwrap_err().message;
        assert!(told.contains(why), "{told}");
    }
}

#[test]
fn who_takes_no_more_is_heard_before_the_end() {
    const REFUSAL: &[u8] =
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 21\r\n\r\n{\"message\":\"nobody\"} ";
    let (_directory, remote) = scripted(&[REFUSAL]);
    // There is no end of it.
    let mut archive = std::io::repeat(0);
    let why = remote.write_path("x", &Unpack::default(), &mut archive).unwrap_err();
    assert_eq!((why.status, why.message.as_str()), (404, "nobody"));
    // One that cannot be read is the one to be told.
    struct Bad;
    impl Read for Bad {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("unreadable"))
        }
    }
    let why = remote.write_path("x", &Unpack::default(), &mut Bad).unwrap_err();
    assert!(why.message.contains("unreadable"), "{why}");
}

/// A daemon that says much before it takes what it is sent.
fn talkative(listener: &UnixListener) {
    let (mut first, _) = listener.accept().unwrap();
    let mut head = [0; 4096];
    let _ = first.read(&mut head);
    first.write_all(b"HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nConnection: close\r\n\r\n").unwrap();
    drop(first);
    let (mut stream, _) = listener.accept().unwrap();
    let line = format!("{{\"status\":\"{}\"}}\n", "x".repeat(1 << 10));
    stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").unwrap();
    for _ in 0..1 << 11 {
        stream.write_all(line.as_bytes()).unwrap();
    }
    let (mut piece, mut tail) = ([0; 64 << 10], Vec::new());
    while !tail.ends_with(b"\r\n0\r\n\r\n") {
        let length = stream.read(&mut piece).unwrap();
        assert!(length > 0, "the archive was cut off");
        tail.extend_from_slice(&piece[..length]);
        tail.drain(..tail.len().saturating_sub(16));
    }
    stream.write_all(b"{\"stream\":\"loaded\"}\n").unwrap();
}

#[test]
fn who_tells_its_progress_is_heard_while_it_is_sent_something() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let daemon = std::thread::spawn(move || talkative(&listener));
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let remote = connect(&socket);
        let mut lines = 0;
        let mut archive = std::io::repeat(7).take(4 << 20);
        remote.load(&mut archive, false, &[], &mut |_| lines += 1).unwrap();
        tell.send(lines).unwrap();
    });
    let lines = told.recv_timeout(std::time::Duration::from_secs(60)).expect("nobody waits");
    assert_eq!(lines, (1 << 11) + 1);
    daemon.join().unwrap();
}

/// A daemon that writes down what it is asked for, and has nothing to say.
fn recorder(listener: UnixListener, asked: std::sync::mpsc::Sender<String>) {
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let (mut text, mut piece) = (Vec::new(), [0; 4096]);
        // A body ends with its last chunk, or is short enough to come with the head.
        loop {
            let length = stream.read(&mut piece).unwrap();
            text.extend_from_slice(&piece[..length]);
            let chunked = text.windows(7).any(|part| part == b"chunked");
            let end: &[u8] = if chunked { b"0\r\n\r\n" } else { b"\r\n\r\n" };
            if length == 0 || text.windows(end.len()).any(|part| part == end) {
                break;
            }
        }
        let line = String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned();
        let mut more = "Api-Version: 1.53\r\nX-Docker-Container-Path-Stat: e30=\r\n".to_owned();
        if !line.starts_with("HEAD") {
            more += "Content-Length: 4\r\n";
        }
        let answer = format!("HTTP/1.1 200 OK\r\n{more}Connection: close\r\n\r\n");
        stream.write_all(answer.as_bytes()).unwrap();
        if !line.starts_with("HEAD") {
            stream.write_all(b"null").unwrap();
        }
        if !line.contains("_ping") && asked.send(line).is_err() {
            return;
        }
    }
}

/// The method, the path without its version, and the parameters in the order of their names.
fn parts(line: &str) -> (String, Vec<String>) {
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let target = target.strip_prefix("/v1.53").unwrap_or(target);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut query: Vec<String> = query.split('&').map(str::to_owned).collect();
    query.sort();
    (format!("{method} {path}"), query)
}

#[test]
fn a_parameter_arrives_as_it_was_sent() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    let (tell, asked) = std::sync::mpsc::channel();
    std::thread::spawn(move || recorder(listener, tell));
    let engine = Arc::new(connect(&socket));
    let proxy = Server::over(engine, |socket| vec![Listener::unix(socket, Some("")).unwrap()]);
    let filters = "filters=%7B%22label%22%3A%7B%22a%3Db%22%3Atrue%7D%7D";
    for (line, body) in [
        (&*format!("GET /containers/json?all=1&limit=3&size=1&{filters}"), ""),
        ("POST /containers/create?name=a&platform=linux%2Farm64", "{\"Image\":\"x\"}"),
        ("GET /containers/a/json?size=1", ""),
        ("POST /containers/a/stop?signal=USR1&t=-1", ""),
        ("POST /containers/a/restart?signal=USR1&t=5", ""),
        ("POST /containers/a/kill?signal=9", ""),
        ("POST /containers/a/pause", ""),
        ("POST /containers/a/unpause", ""),
        ("POST /containers/a/rename?name=b", ""),
        ("POST /containers/a/resize?h=3&w=4", ""),
        ("DELETE /containers/a?force=1&v=1", ""),
        ("GET /containers/a/top?ps_args=-o+pid", ""),
        ("PUT /containers/a/archive?copyUIDGID=1&path=%2Fa", "x"),
        ("PUT /containers/a/archive?noOverwriteDirNonDir=1&path=%2Fa+b", "x"),
        ("GET /containers/a/archive?path=%2F%26", ""),
        ("HEAD /containers/a/archive?path=%2Fa", ""),
        ("POST /containers/a/wait?condition=removed", ""),
        ("POST /containers/a/wait?condition=next-exit", ""),
        ("POST /exec/a/resize?h=3&w=4", ""),
        (&*format!("GET /images/json?all=1&digests=1&{filters}"), ""),
        ("POST /images/create?fromImage=a&platform=linux%2Farm64&tag=b", ""),
        ("POST /images/create?changes=ENV+a%3Db&fromSrc=-&message=m&repo=r&tag=t", "x"),
        ("POST /images/a/b/push?tag=t", ""),
        ("POST /images/a/tag?repo=b&tag=t", ""),
        ("DELETE /images/a?force=1&noprune=1", ""),
        ("DELETE /v1.53/images/a?platforms=%7B%7D&platforms=%5B%5D", ""),
        ("GET /images/search?limit=3&term=x", ""),
        ("GET /images/get?names=a&names=b%3Ac", ""),
        ("GET /v1.53/images/get?names=a&platform=%7B%7D&platform=%5B%5D", ""),
        ("POST /images/load?quiet=1", "x"),
        ("POST /v1.53/images/load?platform=%7B%7D&platform=%5B%5D&quiet=1", "x"),
        (
            "POST /commit?author=a&changes=ENV+a%3Db&comment=c&container=d&pause=0&repo=r&tag=t",
            "{}",
        ),
        ("POST /build/prune?all=1&keep-storage=5", ""),
        ("POST /networks/a/connect", "{}"),
        ("POST /networks/a/disconnect", "{}"),
        ("GET /networks/a?scope=local&verbose=1", ""),
        ("DELETE /volumes/a?force=1", ""),
        ("GET /system/df?type=image&type=volume", ""),
        ("GET /v1.53/system/df?type=image&verbose=0", ""),
        (
            "POST /build?buildargs=%7B%22a%22%3Anull%7D&cachefrom=%5B%22x%22%5D&cgroupparent=g&\
             cpuperiod=1&cpuquota=2&cpusetcpus=0&cpusetmems=1&cpushares=3&dockerfile=D&extrahosts=a%3A1&\
             forcerm=1&labels=%7B%22l%22%3A%22m%22%7D&memory=4&memswap=5&networkmode=none&nocache=1&\
             platform=p&pull=1&q=1&rm=1&shmsize=6&squash=1&t=one&t=two&target=s&ulimits=%5B1%5D&version=1",
            "x",
        ),
    ] {
        let (method, target) = line.split_once(' ').unwrap();
        let headers = if body == "{}" || body.starts_with("{\"I") {
            "Content-Type: application/json\r\n"
        } else {
            "Content-Type: application/x-tar\r\n"
        };
        proxy.send(method, target, headers, body);
        let arrived = asked.recv_timeout(std::time::Duration::from_secs(20)).expect(line);
        assert_eq!(parts(&arrived), parts(line));
    }
}
