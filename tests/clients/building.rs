//! `corten -H … build`: what Docker's API has not.

use std::process::Stdio;

use crate::remote::at;
use crate::support::daemon::Daemon;
use crate::support::{self, Host, outcome, text};

#[corten_tier::t1]
fn a_build_elsewhere_has_secrets_contexts_and_outputs() {
    let home = tempfile::tempdir().unwrap();
    let host = Host::with_busybox();
    let log = host.path("log");
    let socket = host.path("socket");
    let mut command = host.command(&["daemon", "-l", "debug", "-H"]);
    command.arg(format!("unix://{}", socket.display()));
    command.stderr(std::fs::File::create(&log).unwrap()).stdout(Stdio::null());
    let daemon = Daemon { child: command.spawn().unwrap(), socket };
    support::eventually("it answers", || (daemon.docker(&["version"]).status == 0).then_some(()));
    let place = at(&daemon);
    let file = |name: &str, content: &str| {
        let path = home.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
    };
    file(
        "ctx/Dockerfile",
        "FROM busybox\nCOPY --from=far /f /far\nCOPY . /all\n\
        RUN --mount=type=secret,id=s,env=S test ${#S} = 11 && chown 7 /far\nRUN --network=host true\nVOLUME /v\n",
    );
    file("ctx/own", "own");
    file("far/f", "far away");
    file("secret", "geheim-4711");
    let path = |name: &str| home.path().join(name).display().to_string();
    let build = |place: &[&str], more: &[&str]| {
        let secret = format!("id=s,src={}", path("secret"));
        let far = format!("far={}", path("far"));
        let usual = ["build", "-t", "made", "--network", "none", "--allow", "network.host"];
        let given = ["--secret", &secret, "--build-context", &far];
        let context = path("ctx");
        let all = [place, &usual, &given, more, &[&context]].concat();
        outcome(host.command(&all).env("HOME", home.path()).output().unwrap())
    };
    let outputs = |to: &str| {
        ["local", "tar", "oci"]
            .map(|kind| format!("type={kind},dest={}", path(&format!("{to}-{kind}"))))
    };
    for (to, place) in [("here", &["--force-rm"][..]), ("there", &["-H", &place])] {
        let [local, tar, oci] = outputs(to);
        let place = if to == "here" { &[][..] } else { place };
        build(place, &["-o", &local, "-o", &tar, "-o", &oci]).ok();
    }
    let shown =
        |script: &str| support::wire::sh(&format!("cd {}; {script}", home.path().display()));
    let list =
        "find . ! -path ./proc ! -path ./sys ! -path ./dev -printf '%p %m %U %y %l\\n' | sort";
    let [here, there] = ["here", "there"].map(|to| shown(&format!("cd {to}-local; {list}")));
    assert_eq!(here, there);
    assert_eq!(
        shown("cat there-local/far there-local/all/own; ls there-local/all"),
        "far awayownDockerfile\nown\n"
    );
    let [here, there] = ["here", "there"].map(|to| {
        shown(&format!("tar tvf {to}-tar | awk '{{print $1, $2, $6}}' | sed 's,\\./,,' | sort"))
    });
    assert_eq!(here, there);
    assert_eq!(
        shown("tar xOf there-oci oci-layout; ls there-oci | wc -l"),
        "{\"imageLayoutVersion\":\"1.0.0\"}1\n"
    );
    let piped = build(&["-H", &place], &["-q", "-o", "-"]);
    assert!(piped.out.contains("far away") && !piped.out.contains("sha256:"), "{}", piped.err);
    assert_eq!(daemon.docker(&["ps", "-aq"]).ok(), "", "nothing is left of exporting");
    let found = shown(&format!("grep -rl geheim-4711 {} || true", host.path("").display()));
    assert_eq!(found, "", "the secret is in no file of the daemon's, nor in its log");
    assert!(std::fs::metadata(&log).unwrap().len() > 0);
    // What names the daemon's own files is no context, in the address or by a link in the archive.
    let ask = |contexts: &str| {
        let mut asked = daemon.program("curl", &["-s", "--unix-socket", text(&daemon.socket)]);
        asked.args(["-X", "POST", "-H", "Content-Type: application/x-tar", "--data-binary"]);
        asked.arg(format!("@{}", path("hostile.tar")));
        asked.arg(format!("http://d/build?contexts=%7B%22far%22%3A%22{contexts}%22%7D"));
        outcome(asked.output().unwrap()).ok()
    };
    shown(
        "mkdir -p hostile/.contexts.corten && cp ctx/Dockerfile hostile && \
         ln -s /etc hostile/.contexts.corten/0 && tar -C hostile -cf hostile.tar .",
    );
    let answer = ask("%2Fetc");
    assert!(answer.contains("is no number, no address"), "{answer}");
    for (number, what) in [("0", "a link"), ("1", "nothing")] {
        let answer = ask(number);
        assert!(answer.contains("is no folder .contexts.corten/"), "{what}: {answer}");
    }
}
