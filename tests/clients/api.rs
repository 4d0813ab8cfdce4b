//! What programs ask of the daemon that docker's own client does not, or only as a part of more.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use crate::support::daemon::Daemon;
use crate::support::{self, Host, busybox_layer};

/// Serves one answer to all who ask, on this thread's loopback; gives its address, and what was asked.
fn serve(answer: Vec<u8>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&asked);
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut buffer = [0; 4096];
            let length = stream.read(&mut buffer).unwrap_or(0);
            let request = String::from_utf8_lossy(&buffer[..length]).into_owned();
            // Before all else is asked how the server is spoken to.
            let line = request.lines().next().unwrap_or_default();
            if line.starts_with("GET ") && !line.contains("/v2/") {
                heard.lock().unwrap().push(line.to_owned());
            }
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                answer.len()
            );
            let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&answer));
        }
    });
    (address, asked)
}

#[corten_tier::t1]
fn an_image_is_imported_from_where_it_is() {
    let host = Host::with_busybox();
    let daemon = Daemon::start(&host, &[]);
    let (address, served) = serve(busybox_layer());
    daemon.docker(&["import", &format!("http://{address}/root.tar"), "fetched:v1"]).ok();
    assert_eq!(*served.lock().unwrap(), ["GET /root.tar HTTP/1.1"]);
    let shown = daemon.docker(&["image", "inspect", "fetched:v1", "-f", "{{.Comment}}"]).ok();
    assert_eq!(shown, format!("Imported from http://{address}/root.tar\n"));
    let run = ["run", "--rm", "--network", "none", "fetched:v1", "echo", "here"];
    assert_eq!(daemon.docker(&run).ok(), "here\n");
    let gone = daemon.docker(&["import", "http://127.0.0.1:1/root.tar"]);
    assert!(gone.status != 0 && gone.err.contains("refused"), "{gone:?}");
}

#[corten_tier::t1]
fn a_registry_that_can_search_is_asked() {
    let host = Host::with_busybox();
    let daemon = Daemon::start(&host, &[]);
    let found =
        br#"{"results":[{"name":"me/web","description":"d","star_count":3,"is_official":true},
        {"name":"me/other","description":"","star_count":1}]}"#;
    let (address, served) = serve(found.to_vec());
    let format = "{{.Name}} {{.Description}} {{.StarCount}} {{.IsOfficial}}";
    let search = |more: &[&str]| {
        let term = format!("{address}/a b");
        daemon.docker(&[&["search", "--format", format], more, &[term.as_str()]].concat()).ok()
    };
    assert_eq!(search(&["--limit", "2"]), "me/web d 3 [OK]\nme/other  1 \n");
    assert_eq!(search(&["--filter", "stars=2"]), "me/web d 3 [OK]\n");
    let asked = ["GET /v1/search?n=2&q=a%20b HTTP/1.1", "GET /v1/search?n=25&q=a%20b HTTP/1.1"];
    assert_eq!(*served.lock().unwrap(), asked);
    // The same by corten, which asks the registry itself, and by the daemon.
    let term = format!("{address}/a b");
    let place = format!("unix://{}", daemon.socket.display());
    for before in [&[][..], &["-H", &place]] {
        let search =
            |more: &[&str]| host.corten(&[before, &["search"], more, &[term.as_str()]].concat());
        let found = search(&["--format", format, "--limit", "2", "-f", "is-official=true"]);
        assert_eq!(found.ok(), "me/web d 3 [OK]\n");
        let table = search(&[]).ok();
        let titles: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
        assert_eq!(titles, ["NAME", "DESCRIPTION", "STARS", "OFFICIAL"]);
        assert_eq!(table.lines().count(), 3, "{table}");
        search(&["--limit", "101"]).fails(1, "Limit 101 is outside the range of [1, 100]");
        search(&["-f", "nosuch=1"]).fails(1, "invalid filter 'nosuch'");
    }
}

#[corten_tier::t1]
fn a_link_is_known_to_one_container_alone() {
    let host = Host::with_busybox();
    let daemon = Daemon::start(&host, &[]);
    daemon.docker(&["network", "create", "app"]).ok();
    let run = |name: &str, more: &[&str]| {
        let args = ["run", "-d", "--name", name, "--network", "app"];
        daemon.docker(&[&args, more, &["busybox", "sleep", "1000"]].concat()).ok();
    };
    run("db", &[]);
    run("web", &["--link", "db:store"]);
    run("other", &[]);
    let asks = |who: &str, name: &str| daemon.docker(&["exec", who, "nslookup", name]).status;
    assert_eq!((asks("web", "store"), asks("web", "db")), (0, 0));
    assert_ne!(asks("other", "store"), 0, "it is not other's");
    // Whom it means may come again with another address.
    daemon.docker(&["rm", "-f", "db"]).ok();
    assert_ne!(asks("web", "store"), 0);
    run("taker", &[]);
    run("db", &[]);
    assert_eq!(asks("web", "store"), 0);
    daemon.docker(&["rm", "-f", "web", "db", "other", "taker"]).ok();
    daemon.docker(&["network", "rm", "app"]).ok();
    drop(daemon);
    host.assert_no_trace();
}

/// dockerode attaches without an upgrade: the options are the body, and what follows is input.
#[corten_tier::t1]
fn input_comes_after_the_body_of_a_plain_attach() {
    let host = Host::with_busybox();
    let daemon = Daemon::start(&host, &[]);
    daemon
        .docker(&["create", "-i", "--name", "box", "--network", "none", "busybox", "wc", "-c"])
        .ok();
    let mut stream = UnixStream::connect(&daemon.socket).unwrap();
    let body = r#"{"stream":true,"stdin":true,"stdout":true}"#;
    let request = format!(
        "POST /containers/box/attach?stream=true&stdin=true&stdout=true HTTP/1.1\r\nHost: d\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut byte = [0];
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        assert_eq!(stream.read(&mut byte).unwrap(), 1);
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 200"));
    daemon.docker(&["start", "box"]).ok();
    stream.write_all(b"typed\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut out = Vec::new();
    stream.read_to_end(&mut out).unwrap();
    assert_eq!(out, b"\x01\0\0\0\0\0\0\x026\n");
    assert_eq!(daemon.docker(&["wait", "box"]).ok(), "0\n");
    daemon.docker(&["rm", "box"]).ok();
}

#[corten_tier::t1]
fn an_address_of_one_link_is_had_beside_the_network_s() {
    let host = Host::with_busybox();
    let daemon = Daemon::start(&host, &[]);
    daemon.docker(&["network", "create", "app"]).ok();
    for (name, address) in [("web", "169.254.8.8"), ("db", "169.254.8.9")] {
        daemon.docker(&["create", "--name", name, "busybox", "sleep", "1000"]).ok();
        let connect = ["network", "connect", "--link-local-ip", address, "app", name];
        daemon.docker(&connect).ok();
        daemon.docker(&["start", name]).ok();
    }
    // It may be sent from, which the guard of addresses must know.
    daemon.docker(&["exec", "web", "busybox", "ping", "-c", "1", "-W", "5", "169.254.8.9"]).ok();
    let format = "{{json .NetworkSettings.Networks.app.IPAMConfig.LinkLocalIPs}}";
    assert_eq!(daemon.docker(&["inspect", "-f", format, "web"]).ok(), "[\"169.254.8.8\"]\n");
    daemon.docker(&["rm", "-f", "web", "db"]).ok();
    daemon.docker(&["network", "rm", "app"]).ok();
    drop(daemon);
    host.assert_no_trace();
}

/// Sends a body as newer clients than the one that is installed do; gives the whole answer.
fn post(daemon: &Daemon, path: &str, body: &str) -> String {
    let mut stream = UnixStream::connect(&daemon.socket).unwrap();
    let head = format!(
        "POST /v1.48{path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[corten_tier::t1]
fn priorities_and_options_of_networks_come_over_the_api_and_warnings_go_back() {
    let host = Host::with_busybox();
    let drop_all =
        "table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }";
    support::wire::sh(&format!("nft '{drop_all}'"));
    let (corten, log) = (host.command(&[]), host.path("log"));
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "log=$1; shift; exec \"$@\" 2>\"$log\"", "sh"]).arg(&log);
    command.arg(corten.get_program()).args(corten.get_args()).args(["daemon", "-H"]);
    command.arg(format!("unix://{}", host.path("socket").display()));
    command.envs(corten.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let daemon = Daemon::of(command, host.path("socket"));
    let dropped = "the chain ip filter FORWARD drops";
    assert!(std::fs::read_to_string(&log).unwrap().contains(dropped), "in the log, at the start");
    for name in ["app", "other"] {
        daemon.docker(&["network", "create", name]).ok();
    }
    let body = r#"{"Image": "busybox", "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": "app"},
        "NetworkingConfig": {"EndpointsConfig": {"app": {}, "other": {"GwPriority": 3,
            "DriverOpts": {"com.docker.network.endpoint.ifname": "lan"}}}}}"#;
    let made = post(&daemon, "/containers/create?name=web", body);
    assert!(made.starts_with("HTTP/1.1 201") && made.contains(dropped), "{made}");
    daemon.docker(&["start", "web"]).ok();
    let format = "{{json .NetworkSettings.Networks.other}}";
    let shown: serde_json::Value =
        serde_json::from_str(&daemon.docker(&["inspect", "-f", format, "web"]).ok()).unwrap();
    let way = daemon.docker(&["exec", "web", "busybox", "ip", "route", "get", "192.0.2.9"]).ok();
    let expected = format!("via {} dev lan", shown["Gateway"].as_str().unwrap());
    assert!(way.contains(&expected), "{way}: {expected}");
    assert_eq!(shown["DriverOpts"]["com.docker.network.endpoint.ifname"], "lan");
    let refused = r#"{"Container": "web", "EndpointConfig": {"DriverOpts": {"com.docker.network.speed": "1"}}}"#;
    let created = post(&daemon, "/networks/create", r#"{"Name": "third"}"#);
    assert!(created.starts_with("HTTP/1.1 201") && created.contains(dropped), "{created}");
    let refused = post(&daemon, "/networks/third/connect", refused);
    assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");
    assert!(
        refused.contains("driver option com.docker.network.speed: is not supported"),
        "{refused}"
    );
    let higher = r#"{"Container": "web", "EndpointConfig": {"GwPriority": 4}}"#;
    assert!(post(&daemon, "/networks/third/connect", higher).starts_with("HTTP/1.1 200"));
    let way = daemon.docker(&["exec", "web", "busybox", "ip", "route", "get", "192.0.2.9"]).ok();
    assert!(way.contains("dev eth2"), "{way}");
    // Nobody drops what passes any more: nobody is told.
    support::wire::sh("nft delete table ip filter");
    let quiet = post(&daemon, "/containers/create?name=other", r#"{"Image": "busybox"}"#);
    assert!(quiet.contains(r#""Warnings":[]"#), "{quiet}");
    daemon.docker(&["rm", "-f", "web", "other"]).ok();
    daemon.docker(&["network", "rm", "app", "other", "third"]).ok();
    drop(daemon);
    host.assert_no_trace();
}

/// Programs that ask for the log right after the start are told what was said, and not that it was nothing.
#[corten_tier::t1]
fn what_a_short_program_says_is_in_its_log_at_once() {
    let host = Host::with_busybox();
    let daemon = Daemon::start(&host, &[]);
    let script = "sleep 0.05; echo said";
    for number in 0..3 {
        let name = format!("box{number}");
        let create =
            ["create", "--name", &name, "--network", "none", "busybox", "sh", "-c", script];
        daemon.docker(&create).ok();
        let mut stream = UnixStream::connect(&daemon.socket).unwrap();
        let mut ask = |method: &str, path: &str| {
            let request =
                format!("{method} {path} HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(request.as_bytes()).unwrap();
            let mut buffer = [0; 4096];
            let length = stream.read(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        };
        let started = ask("POST", &format!("/containers/{name}/start"));
        assert!(started.starts_with("HTTP/1.1 204"), "{started}");
        let path = format!("/containers/{name}/logs?stdout=1");
        let mut log = ask("GET", &path);
        while !log.ends_with("0\r\n\r\n") {
            let mut buffer = [0; 4096];
            let length = stream.read(&mut buffer).unwrap();
            assert_ne!(length, 0);
            log.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
        assert!(log.contains("said"), "{log}");
        daemon.docker(&["rm", "-f", &name]).ok();
    }
}
