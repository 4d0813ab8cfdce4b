//! Libraries with which programs drive a daemon. bollard is a crate; the others come by npm and pip, which
//! nobody has to have who runs the tests: `./x clients` fetches them, and CI does that.

use std::path::PathBuf;
use std::process::Command;

use crate::bollard;
use crate::support::daemon::Daemon;
use crate::support::{Host, outcome, text};

/// A daemon with the image busybox, driven by `drive` with a directory of the test's own, and what it leaves.
fn driven(drive: impl FnOnce(&Host, &Daemon)) {
    let host = Host::with_busybox();
    let daemon = Daemon::start(&host, &[]);
    drive(&host, &daemon);
    drop(daemon);
    host.assert_no_trace();
}

#[corten_tier::t1]
fn bollard_works() {
    driven(|_, daemon| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let limit = std::time::Duration::from_secs(120);
        let drive =
            async { tokio::time::timeout(limit, bollard::drive(text(&daemon.socket))).await };
        runtime.block_on(drive).expect("it does not end").unwrap();
    });
}

/// Where `./x clients` has put what it fetched.
fn fetched(path: &str) -> PathBuf {
    let root = std::env::var_os("CORTEN_CLIENTS").expect("./x clients runs this");
    PathBuf::from(root).join(path)
}

/// Runs `script`, as `name`, with a Dockerfile beside it.
fn scripted(name: &str, script: &str, program: &str, variables: &[(&str, &str)]) {
    corten_tier::enter_t1();
    driven(|host, daemon| {
        let directory = host.path("script");
        std::fs::create_dir(&directory).unwrap();
        let path = directory.join(name);
        std::fs::write(&path, script).unwrap();
        let dockerfile = "FROM busybox\nCMD [\"sh\", \"-c\", \"echo built; exec sleep 1000\"]\n";
        std::fs::write(directory.join("Dockerfile"), dockerfile).unwrap();
        let mut command: Command = daemon.program(program, &[text(&path)]);
        let done = outcome(command.envs(variables.iter().copied()).output().unwrap());
        assert_eq!((done.status, done.out.as_str()), (0, "all is well\n"), "{done:?}");
    });
}

#[test]
#[ignore = "it comes by npm: ./x clients"]
fn dockerode_works() {
    let modules = fetched("node/node_modules");
    scripted("script.js", include_str!("dockerode.js"), "node", &[("NODE_PATH", text(&modules))]);
}

#[test]
#[ignore = "it comes by pip: ./x clients"]
fn testcontainers_works() {
    let python = fetched("python/bin/python");
    // The container that removes what a killed test has left is an image from elsewhere.
    let variables = [("TESTCONTAINERS_RYUK_DISABLED", "true")];
    scripted("script.py", include_str!("testcontainers.py"), text(&python), &variables);
}
