//! The servers that images are pulled from and pushed to.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::error::{Error, OnPath, Result};

/// A program that is ended when this is dropped.
pub struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.0.id().cast_signed());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

/// Starts it, and waits until it is `ready`.
///
/// # Errors
/// Where it cannot be started, or is not ready within 20 s.
pub fn serve(command: &mut Command, ready: impl Fn() -> bool) -> Result<Server> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().map_err(|e| Error::failed(format!("start {program}: {e}")))?;
    let server = Server(child);
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end {
        if ready() {
            return Ok(server);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(Error::failed(format!("{program} is not ready within 20 s")))
}

/// docker-registry on loopback.
pub struct Registry {
    /// Its address, as images are named by it.
    pub host: String,
    _server: Server,
}

impl Registry {
    /// With its content in `dir`.
    ///
    /// # Errors
    /// As [`serve`].
    pub fn start(dir: &Path) -> Result<Registry> {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let host = free.map_err(|e| Error::failed(format!("no free port: {e}")))?.to_string();
        fs::create_dir_all(dir).on("create", dir)?;
        let config = dir.with_extension("json");
        let document = json!({
            "version": 0.1,
            "log": {"level": "error", "accesslog": {"disabled": true}},
            "storage": {"filesystem": {"rootdirectory": dir}},
            "http": {"addr": host},
        });
        fs::write(&config, document.to_string()).on("write", &config)?;
        let mut command = Command::new("docker-registry");
        let server =
            serve(command.arg("serve").arg(&config), || TcpStream::connect(&host).is_ok())?;
        Ok(Registry { host, _server: server })
    }
}
