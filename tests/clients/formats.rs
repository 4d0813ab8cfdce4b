//! The command line as a user's fingers and scripts know it: formats, groups, completion, logging in.

use std::io::{Read, Write};
use std::process::Command;

use crate::support::registry::Registry;
use crate::support::{Host, text};

#[corten_tier::t1]
fn lists_are_printed_as_a_template_says() {
    let host = Host::with_busybox();
    let run = [
        "run",
        "-d",
        "--name",
        "web",
        "--label",
        "tier=front",
        "-v",
        "data:/d",
        "-p",
        "127.0.0.1::80",
    ];
    host.corten(&[&run[..], &["busybox", "sleep", "1000"]].concat()).ok();
    for (args, expected) in [
        (
            &["ps", "--format", "{{.Names}} {{.Image}} {{.State}} {{.Label \"tier\"}}"][..],
            "web busybox running front\n",
        ),
        (
            &["ps", "--format", "table {{.Names}}\\t{{.LocalVolumes}}"],
            "NAMES   LOCAL VOLUMES\nweb     1\n",
        ),
        (&["images", "--format", "{{.Repository}}:{{.Tag}}"], "busybox:latest\n"),
        (&["images", "nothing", "--format", "{{.ID}}"], ""),
        (&["image", "ls", "busybox", "--format", "{{.Tag}}"], "latest\n"),
        (&["volume", "ls", "--format", "{{.Driver}}/{{.Name}}"], "local/data\n"),
        (
            &["network", "ls", "-f", "name=bridge", "--format", "{{.Name}}={{.Driver}}"],
            "bridge=bridge\n",
        ),
        (
            &["inspect", "-f", "{{.State.Running}} {{index .Config.Labels \"tier\"}}", "web"],
            "true front\n",
        ),
        (
            &["container", "inspect", "-f", "{{range .Mounts}}{{.Destination}}{{end}}", "web"],
            "/d\n",
        ),
        (&["volume", "inspect", "-f", "{{.Name}}", "data"], "data\n"),
        (
            &["inspect", "-f", "{{.Driver}}", "--type", "volume", "data"],
            "local
",
        ),
        (
            &["inspect", "-f", "{{.Driver}}", "data"],
            "local
",
        ),
        (
            &["container", "inspect", "-s", "-f", "{{ge .SizeRootFs .SizeRw}}", "web"],
            "true
",
        ),
        (&["network", "inspect", "-f", "{{len .Containers}}", "bridge"], "1\n"),
        (&["info", "-f", "{{.ContainersRunning}}/{{.Containers}}"], "1/1\n"),
        (&["system", "info", "--format", "{{.Images}}"], "1\n"),
        (&["version", "--format", "{{.Client.Version}}"], concat!(env!("CARGO_PKG_VERSION"), "\n")),
        (
            &[
                "events",
                "--since",
                "1h",
                "--until",
                "0s",
                "-f",
                "event=start",
                "--format",
                "{{.Type}} {{.Action}}",
            ],
            "container start\n",
        ),
    ] {
        assert_eq!(host.corten(args).ok(), expected, "{args:?}");
    }
    let stats =
        host.corten(&["stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}} {{.NetIO}}"]).ok();
    assert!(stats.starts_with("web 1 ") && stats.contains("B / "), "{stats}");
    let size = host.corten(&["ps", "-s", "--format", "{{.Size}}"]).ok();
    assert!(size.contains("B (virtual "), "{size}");
    let history =
        host.corten(&["history", "--format", "{{.CreatedBy}}|{{.Comment}}", "busybox"]).ok();
    assert_eq!(history.lines().count(), 1, "{history}");
    host.corten(&["ps", "--format", "{{.Nam}}"])
        .fails(1, "map has no entry for key \"Nam\"; there are");
    host.corten(&["ps", "--format", "{{.Names"]).fails(1, "not closed by }}");
    host.corten(&["inspect", "-f", "{{.state}}", "web"]).fails(1, "but .State");
    let told = host.corten(&["doctor"]).ok();
    assert!(
        told.contains("ok       kernel             Linux ") && told.contains("layers"),
        "{told}"
    );
    let port = host.corten(&["port", "web", "80"]).ok();
    let address: std::net::SocketAddr = port.trim().parse().unwrap();
    assert_eq!(host.corten(&["port", "web"]).ok(), format!("80/tcp -> {address}\n"));
    host.corten(&["container", "port", "web", "81"])
        .fails(1, "no public port '81/tcp' published for web");
    host.corten(&["container", "stop", "-t", "0", "web"]).ok();
    host.corten(&["network", "create", "unused"]).ok();
    let pruned = host.corten(&["system", "prune", "-f", "--volumes"]).ok();
    assert!(
        pruned.contains("Deleted Containers:") && pruned.contains("Deleted Networks:\nunused"),
        "{pruned}"
    );
    assert_eq!(host.corten(&["ps", "-a", "-q"]).ok(), "");
    host.corten(&["volume", "rm", "data"]).ok();
    host.assert_clean();
}

/// A bash of its own reads the script and completes.
#[corten_tier::t1]
fn shells_complete_names() {
    let host = Host::with_busybox();
    host.corten(&["create", "--name", "web-1", "busybox"]).ok();
    host.corten(&["create", "--name", "web-2", "busybox"]).ok();
    let script = host.path("corten.bash");
    std::fs::write(&script, host.corten(&["completion", "bash"]).ok()).unwrap();
    let complete = |words: &[&str]| {
        let line = format!(
            "source {}; COMP_WORDS=({}); COMP_CWORD={}; COMP_TYPE=9; _clap_complete_corten corten '{}'; \
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            text(&script),
            words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "),
            words.len() - 1,
            words.last().unwrap(),
        );
        let program = std::path::Path::new(env!("CARGO_BIN_EXE_corten"));
        let path =
            format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
        let output = Command::new("bash")
            .args(["--norc", "-c", &line])
            .env("PATH", path)
            .env("CORTEN_ROOT", host.root())
            .output()
            .unwrap();
        let mut words: Vec<String> = String::from_utf8(output.stdout)
            .unwrap()
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        words.sort();
        words.join(" ")
    };
    assert_eq!(complete(&["corten", "rm", "we"]), "web-1 web-2");
    assert_eq!(complete(&["corten", "container", "start", "web-1", "web-2"]), "web-2");
    assert!(complete(&["corten", "rmi", "b"]).contains("busybox"));
    assert!(complete(&["corten", "run", "--netw"]).contains("--network"));
    assert!(complete(&["corten", "im"]).contains("images"));
    for shell in ["zsh", "fish"] {
        assert!(host.corten(&["completion", shell]).ok().contains("corten"));
    }
    host.corten(&["completion", "csh"]).fails(1, "is none of bash");
    let pages = host.path("man");
    host.corten(&["man", text(&pages)]).ok();
    let page = std::fs::read_to_string(pages.join("corten-container-run.1")).unwrap();
    assert!(page.contains("\\-\\-memory"), "{page}");
    host.corten(&["rm", "web-1", "web-2"]).ok();
    host.assert_clean();
}

/// A registry that lets nobody in; it is there as long as the test.
fn closed() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            // What speaks TLS is answered so, too, and goes on without.
            let _ = stream.read(&mut request);
            let answer = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    port
}

#[corten_tier::t1]
fn credentials_are_kept_where_docker_keeps_them() {
    let registry = Registry::start();
    let host = Host::with_busybox();
    let home = host.path("docker");
    let config = || std::fs::read_to_string(home.join("config.json"));
    let login = |args: &[&str], stdin: &str| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_corten"))
            .args(args)
            .env("DOCKER_CONFIG", &home)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let address = registry.name("");
    let address = address.trim_end_matches('/');
    let options = ["login", "--tls-verify=false", "-u", "me", "--password-stdin"];
    let (status, said) = login(&[&options[..], &[address]].concat(), "secret\n");
    assert!(status == Some(0) && said.contains("Login Succeeded"), "{said}");
    let kept: serde_json::Value = serde_json::from_str(&config().unwrap()).unwrap();
    assert_eq!(kept["auths"][address]["auth"], "bWU6c2VjcmV0");
    let port = closed();
    let refused = format!("127.0.0.1:{port}");
    let (status, said) = login(&[&options[..], &[&refused]].concat(), "wrong");
    assert!(status == Some(1) && said.contains("403"), "{said}");
    assert!(!config().unwrap().contains(&refused), "nothing is kept of what was refused");
    let (status, said) = login(&["login", address], "");
    assert!(status == Some(1) && said.contains("no terminal to ask on"), "{said}");
    assert!(login(&["logout", address], "").1.contains("Removed"));
    assert!(login(&["logout", address], "").1.contains("Not logged in"));
    assert!(!config().unwrap().contains("bWU6"));
}
