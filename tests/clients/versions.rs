//! What newer versions of the API have, and older ones have not: asked for as no client does that is
//! installed here.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::{Host, eventually};

/// One request; gives the status, the headers, and the body without its chunks' lengths.
fn ask(daemon: &Daemon, line: &str, headers: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
    let mut stream = UnixStream::connect(&daemon.socket).unwrap();
    let head = format!(
        "{line} HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    // A daemon that has refused may not read the rest.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let mut rest = &answer[end + 4..];
    let mut whole = Vec::new();
    if head.contains("Transfer-Encoding: chunked") {
        while let Some(at) = rest.windows(2).position(|part| part == b"\r\n") {
            let length = std::str::from_utf8(&rest[..at]).unwrap();
            let length = usize::from_str_radix(length, 16).unwrap();
            whole.extend_from_slice(&rest[at + 2..at + 2 + length]);
            rest = &rest[at + 4 + length..];
        }
    } else {
        whole.extend_from_slice(rest);
    }
    (head[9..12].parse().unwrap(), head, whole)
}

fn get(daemon: &Daemon, path: &str) -> Value {
    let (status, _, body) = ask(daemon, &format!("GET {path}"), "", b"");
    assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
    serde_json::from_slice(&body).unwrap()
}

#[corten_tier::t1]
fn newer_versions_tell_more_of_what_there_is() {
    let host = Host::with_busybox();
    let daemon = Daemon::start(&host, &[]);
    let get = |path: &str| get(&daemon, path);
    let json = "Content-Type: application/json\r\n";
    let body = br#"{"Image": "busybox", "Cmd": ["sleep", "1000"],
        "Healthcheck": {"Test": ["CMD", "false"], "Interval": 50000000, "Retries": 2},
        "HostConfig": {"NetworkMode": "app", "PortBindings": {"80/tcp": []}}}"#;
    let (status, _, made) =
        ask(&daemon, "POST /v1.53/networks/create", json, br#"{"Name": "app"}"#);
    assert_eq!(status, 201, "{}", String::from_utf8_lossy(&made));
    for (version, name, warned) in [("1.51", "old", false), ("1.52", "web", true)] {
        let line = format!("POST /v{version}/containers/create?name={name}");
        let (status, _, made) = ask(&daemon, &line, json, body);
        let made = String::from_utf8(made).unwrap();
        assert_eq!((status, made.contains("empty list of port-bindings: 80/tcp")), (201, warned));
    }
    daemon.docker(&["start", "web"]).ok();
    let port = daemon.docker(&["port", "web", "80"]).ok();
    assert!(!port.starts_with("0.0.0.0:0\n"), "{port}");

    // The list: health as data, also where a filter chooses.
    let health = |row: &Value| row["Health"]["Status"].clone();
    let filter = "filters=%7B%22name%22:%5B%22web%22%5D%7D";
    let row = eventually("it is not well", || {
        let rows = get(&format!("/v1.52/containers/json?{filter}"));
        (health(&rows[0]) == "unhealthy").then(|| rows[0].clone())
    });
    assert!(row["Health"]["FailingStreak"].as_u64() >= Some(2), "{row}");
    let rows = get("/v1.53/containers/json?all=1");
    assert_eq!((health(&rows[0]), health(&rows[1])), (json!("unhealthy"), json!("none")));
    assert_eq!(get("/v1.50/containers/json")[0]["Health"], Value::Null);
    assert_eq!(health(&get("/containers/json?size=1")[0]), "unhealthy");

    // One container, from both ends of the change.
    let (old, new) = (get("/containers/web/json"), get("/v1.53/containers/web/json"));
    let has = |value: &Value, name: &str| value.as_object().unwrap().contains_key(name);
    assert!(has(&old["Config"], "OnBuild") && !has(&new["Config"], "OnBuild"));
    for name in ["IPAddress", "Gateway", "MacAddress", "Bridge"] {
        assert!(has(&new["NetworkSettings"], name), "{name} is read by programs");
    }
    assert_eq!(get("/v1.53/containers/web/stats?stream=false")["os_type"], "linux");

    // The network and its addresses.
    let subnets = get("/v1.52/networks/app")["Status"]["IPAM"]["Subnets"].take();
    let (_, usage) = subnets.as_object().unwrap().iter().next().unwrap();
    assert_eq!(*usage, json!({"IPsInUse": 4, "DynamicIPsAvailable": 65532}));
    assert_eq!(get("/v1.50/networks/app")["Status"], Value::Null);
    let subnets = get("/v1.53/networks/none")["Status"]["IPAM"]["Subnets"].take();
    assert_eq!(subnets, json!({}));

    // The engine.
    let (old, new) = (get("/v1.49/info"), get("/v1.53/info"));
    assert!(has(&old, "BridgeNfIptables") && !has(&old, "DiscoveredDevices"));
    assert!(!has(&new, "BridgeNfIptables") && new["DiscoveredDevices"] == json!([]));
    assert!(has(&get("/info"), "KernelMemoryTCP") && !has(&new, "KernelMemoryTCP"));
    assert_eq!(get("/version")["ApiVersion"], "1.53");
    daemon.docker(&["rm", "-f", "web", "old"]).ok();
    daemon.docker(&["network", "rm", "app"]).ok();
    drop(daemon);
    host.assert_no_trace();
}

#[corten_tier::t1]
fn what_takes_disk_space_is_summed() {
    let host = Host::with_busybox();
    let daemon = Daemon::start(&host, &[]);
    let get = |path: &str| get(&daemon, path);
    let create = |name: &str, command: &str| {
        let run = ["run", "-d", "--name", name, "--network", "none", "-v", "data:/data"];
        daemon.docker(&[&run[..], &["busybox", "sh", "-c", command]].concat()).ok();
    };
    create("up", "echo 0123456789 >/data/f; sleep 1000");
    create("done", "dd if=/dev/zero of=/f bs=1024 count=64");
    daemon.docker(&["wait", "done"]).ok();
    daemon.docker(&["volume", "create", "idle"]).ok();
    for (version, count) in [("1.50", -1), ("1.51", 2), ("1.53", 2)] {
        assert_eq!(get(&format!("/v{version}/images/json"))[0]["Containers"], count, "{version}");
    }
    assert_eq!(get("/system/df")["ImageUsage"]["TotalCount"], 1, "bollard reads it");
    let usage = get("/v1.53/system/df");
    let of = |usage: &Value, name: &str| {
        let count = |what: &str| usage[name][what].as_u64().unwrap();
        (count("TotalCount"), count("ActiveCount"))
    };
    assert_eq!(of(&usage, "ImageUsage"), (1, 1));
    assert_eq!(of(&usage, "ContainerUsage"), (2, 1));
    assert_eq!(of(&usage, "VolumeUsage"), (2, 1));
    assert_eq!(of(&usage, "BuildCacheUsage"), (0, 0));
    assert!(usage["ContainerUsage"]["Reclaimable"].as_u64().unwrap() >= 64 << 10);
    assert_eq!(usage["ImageUsage"]["TotalSize"], usage["LayersSize"]);
    assert_eq!(usage["Containers"].as_array().unwrap().len(), 2, "programs read it");
    let old = get("/v1.50/system/df");
    assert!(old["Images"].is_array() && old["ImageUsage"].is_null());
    let long = get("/v1.52/system/df?verbose=1&type=volume");
    assert_eq!(long["VolumeUsage"]["Items"].as_array().unwrap().len(), 2);
    assert_eq!((&long["Volumes"], &long["ImageUsage"]), (&Value::Null, &Value::Null));
    // The same in corten's own words, which asks for items.
    let place = format!("unix://{}", daemon.socket.display());
    let format = "{{.Type}} {{.TotalCount}} {{.Active}}";
    let theirs = daemon.docker(&["system", "df", "--format", format]);
    let table = host.corten(&["-H", &place, "system", "df"]).ok();
    let lines = table.lines().skip(1).map(|line| {
        line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).take(3).collect::<Vec<_>>()
    });
    let ours: String = lines.map(|cells| cells.join(" ") + "\n").collect();
    assert_eq!(ours, theirs.ok());
    daemon.docker(&["rm", "-f", "up", "done"]).ok();
    daemon.docker(&["volume", "rm", "idle", "data"]).ok();
    drop(daemon);
    host.assert_no_trace();
}

#[corten_tier::t1]
fn images_are_for_platforms_and_events_have_forms() {
    let host = Host::with_busybox();
    let daemon = Daemon::start(&host, &[]);
    let own = corten_registry::Platform::host().architecture;
    let of = |architecture: &str| {
        format!("%7B%22os%22:%22linux%22,%22architecture%22:%22{architecture}%22%7D")
    };
    let (here, there) = (of(&own), of("s390x"));
    let ask = |line: &str, headers: &str, body: &[u8]| ask(&daemon, line, headers, body);
    let image = |version: &str| get(&daemon, &format!("/v{version}/images/busybox/json"));
    let names = |value: Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert!(names(image("1.49")["Config"].take()).contains(&"Hostname".to_owned()));
    assert_eq!(image("1.51")["Config"]["User"], "");
    assert_eq!(image("1.53")["Config"], json!({"Cmd": ["sh"]}));
    assert!(!names(image("1.53")).contains(&"Author".to_owned()));

    let (status, _, archive) =
        ask(&format!("GET /v1.48/images/busybox/get?platform={here}"), "", b"");
    assert_eq!(status, 200);
    let both = format!("platform={there}&platform={here}");
    assert_eq!(ask(&format!("GET /v1.53/images/get?names=busybox&{both}"), "", b"").0, 200);
    let (status, _, why) = ask(&format!("GET /v1.53/images/busybox/get?platform={there}"), "", b"");
    let why = String::from_utf8(why).unwrap();
    assert!(status == 404 && why.contains("wanted linux/s390x"), "{why}");
    let remove = |platform: &str| {
        ask(&format!("DELETE /v1.50/images/busybox?platforms={platform}"), "", b"").0
    };
    assert_eq!([remove("x"), remove(&there), remove(&here)], [400, 404, 200]);
    let load = |platforms: &str| {
        let tar = "Content-Type: application/x-tar\r\n";
        let (_, _, told) = ask(&format!("POST /v1.52/images/load?{platforms}"), tar, &archive);
        String::from_utf8(told).unwrap()
    };
    let told = load(&format!("platform={there}"));
    assert!(told.contains("no image for platform linux/s390x"), "{told}");
    assert_eq!(daemon.docker(&["images", "-q"]).ok(), "");
    let told = load(&both);
    assert!(told.contains("Loaded image: busybox:latest"), "{told}");

    for (version, accept, kind, begin) in [
        ("1.51", "application/json-seq", "application/json", "{"),
        ("1.52", "application/json-seq", "application/json-seq", "\x1e{"),
        ("1.53", "application/jsonl", "application/jsonl", "{"),
    ] {
        let accept = format!("Accept: {accept}\r\n");
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        let line = format!("GET /v{version}/events?since=0&until={now:.3}");
        let (status, head, events) = ask(&line, &accept, b"");
        assert!(status == 200 && head.contains(&format!("Content-Type: {kind}\r\n")), "{head}");
        let events = String::from_utf8(events).unwrap();
        assert!(events.lines().count() > 1, "{events}");
        for event in events.lines() {
            assert!(event.starts_with(begin), "{event}");
            let event: Value = serde_json::from_str(event.trim_start_matches('\x1e')).unwrap();
            assert_eq!(event["status"], event["Action"], "programs read it");
        }
    }
    drop(daemon);
    host.assert_no_trace();
}

/// A request that succeeds.
fn post(daemon: &Daemon, path: &str, body: &Value) {
    let (line, body) = (format!("POST {path}"), body.to_string());
    let (status, _, answer) =
        ask(daemon, &line, "Content-Type: application/json\r\n", body.as_bytes());
    assert!((200..300).contains(&status), "{path}: {}", String::from_utf8_lossy(&answer));
}

/// A container that a client of `version` has made, as that version shows it.
fn make(daemon: &Daemon, version: &str, name: &str, mut body: Value) -> Value {
    body["Image"] = json!("busybox");
    body["Cmd"] = json!(["sleep", "1000"]);
    post(daemon, &format!("/v{version}/containers/create?name={name}"), &body);
    get(daemon, &format!("/v{version}/containers/{name}/json"))
}

// What follows the tests of docker-compose 1.29.2 and of docker-py 5.0.3 have asked for: `./x soak suites`.

#[corten_tier::t1]
fn what_older_clients_know_of_containers() {
    let host = Host::with_busybox();
    let daemon = Daemon::start(&host, &[]);
    // An IPC namespace could be joined; and what nobody has said of name servers is null.
    let old = json!({"HostConfig": {"Tmpfs": {"/t/": "size=1m"}}});
    let old = make(&daemon, "1.39", "old", old);
    assert_eq!(old["HostConfig"]["IpcMode"], "shareable");
    assert_eq!(old["HostConfig"]["Dns"], Value::Null);
    assert_eq!(old["Mounts"], json!([]), "a tmpfs is in HostConfig");

    // A probe of a kind that nobody knows is none.
    let new = json!({"HostConfig": {"Dns": []}, "Healthcheck": {"Test": ["true"]}});
    let new = make(&daemon, "1.40", "new", new);
    assert_eq!(new["HostConfig"]["IpcMode"], "private");
    assert_eq!(new["HostConfig"]["Dns"], json!([]));
    post(&daemon, "/v1.40/containers/new/start", &json!({}));
    let new = get(&daemon, "/v1.40/containers/new/json");
    assert_eq!((&new["State"]["Running"], &new["State"]["Health"]), (&json!(true), &Value::Null));

    // A run that goes on does not hide when the one before it ended.
    assert_eq!(new["State"]["FinishedAt"], "0001-01-01T00:00:00Z");
    post(&daemon, "/v1.40/containers/new/restart?t=0", &json!({}));
    let again = get(&daemon, "/v1.40/containers/new/json");
    assert_eq!(again["State"]["Running"], true, "{again}");
    assert!(again["State"]["FinishedAt"].as_str() > new["State"]["StartedAt"].as_str(), "{again}");
}

#[corten_tier::t1]
fn what_older_clients_know_of_networks() {
    let host = Host::with_busybox();
    let daemon = Daemon::start(&host, &[]);
    let post = |path: &str, body: Value| post(&daemon, &format!("/v1.38{path}"), &body);
    // A project's name may begin with any character, and its network be where neighbours are.
    let ipam = json!({"Config": [{"Subnet": "fe80::/64", "Gateway": "fe80::1001:1"}]});
    post("/networks/create", json!({"Name": "_p_default", "EnableIPv6": true, "IPAM": ipam}));
    let option = json!({"com.docker.network.enable_ipv6": "true"});
    post("/networks/create", json!({"Name": "six", "Options": option}));
    assert_eq!(get(&daemon, "/v1.38/networks/six")["EnableIPv6"], true);

    // Until it has run, a container's own names are not told: compose connects it anew then, and says all
    // that it knows of the network.
    let on = json!({"MacAddress": "02:aa:00:00:00:01", "HostConfig": {"NetworkMode": "_p_default"},
        "NetworkingConfig": {"EndpointsConfig": {"_p_default": {"Aliases": ["web"], "IPAMConfig": {}}}}});
    let web = make(&daemon, "1.38", "web", on);
    let of = |web: &Value| web["NetworkSettings"]["Networks"]["_p_default"].clone();
    assert_eq!(of(&web)["Aliases"], json!(["web"]));
    post("/networks/_p_default/disconnect", json!({"Container": "web"}));
    let local = json!({"Aliases": ["web"], "IPAMConfig": {"LinkLocalIPs": ["169.254.8.8"]}});
    post("/networks/_p_default/connect", json!({"Container": "web", "EndpointConfig": local}));
    post("/containers/web/start", json!({}));
    let web = get(&daemon, "/v1.38/containers/web/json");
    assert_eq!(of(&web)["IPAMConfig"]["LinkLocalIPs"], json!(["169.254.8.8"]));
    assert_eq!(of(&web)["MacAddress"], "02:aa:00:00:00:01", "its own, which create was told");
    let short = json!(&web["Id"].as_str().unwrap()[..12]);
    assert!(of(&web)["Aliases"].as_array().unwrap().contains(&short), "{web}");
}

#[corten_tier::t1]
fn what_older_clients_know_of_builds() {
    let host = Host::with_busybox();
    let daemon = Daemon::start(&host, &[]);
    // The arguments of a build stand in the command of its last step's container.
    let mut context = tar::Builder::new(Vec::new());
    let text = b"FROM busybox\nARG a\nRUN echo ${a}\n";
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    context.append_data(&mut header, "Dockerfile", &text[..]).unwrap();
    let line = "POST /v1.38/build?t=made&networkmode=none&buildargs=%7B%22a%22%3A%221%22%7D";
    let kind = "Content-Type: application/x-tar\r\n";
    let (status, _, said) = ask(&daemon, line, kind, &context.into_inner().unwrap());
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&said));
    let made = get(&daemon, "/v1.38/images/made/json");
    let command = json!(["|1", "a=1", "/bin/sh", "-c", "echo ${a}"]);
    assert_eq!(made["ContainerConfig"]["Cmd"], command, "{}", String::from_utf8_lossy(&said));
}
