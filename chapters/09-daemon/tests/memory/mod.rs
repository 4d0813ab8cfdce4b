//! An engine in memory: containers that are maps, and the socket of a daemon over it.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use corten_builder::run::Cancel;
use corten_daemon::backend::*;
use corten_daemon::listener::Listener;
use corten_daemon::version::Version;
use corten_daemon::{Daemon, Failure};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};

/// How many clients are being served by something that lasts.
pub static ALIVE: AtomicUsize = AtomicUsize::new(0);

/// Counts as long as it lives.
struct Counted;

impl Counted {
    fn new() -> Counted {
        ALIVE.fetch_add(1, Ordering::SeqCst);
        Counted
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, Ordering::SeqCst);
    }
}

#[derive(Default)]
pub struct Memory {
    containers: Mutex<BTreeMap<String, bool>>,
}

fn none(name: &str) -> Failure {
    Failure::missing(format!("No such container: {name}"))
}

impl Memory {
    fn find(&self, name: &str) -> Outcome<bool> {
        self.containers.lock().unwrap().get(name).copied().ok_or_else(|| none(name))
    }
}

/// A feed that never says anything, and knows when nobody listens.
fn silent() -> Feed {
    let (sender, feed) = mpsc::channel(1);
    tokio::runtime::Handle::current().spawn(async move {
        let _alive = Counted::new();
        sender.closed().await;
    });
    feed
}

/// Streams whose program says back what it is told.
fn echo() -> OwnedFd {
    let (ours, theirs) = UnixStream::pair().unwrap();
    std::thread::spawn(move || {
        let _alive = Counted::new();
        let (mut ours, mut buffer) = (ours, [0; 1024]);
        while let Ok(length @ 1..) = ours.read(&mut buffer) {
            if ours.write_all(&buffer[..length]).is_err() {
                return;
            }
        }
    });
    theirs.into()
}

/// Streams whose program says what it has heard, and only when the input has ended.
fn late() -> OwnedFd {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    std::thread::spawn(move || {
        let mut heard = Vec::new();
        let _ = ours.read_to_end(&mut heard);
        std::thread::sleep(std::time::Duration::from_millis(200));
        let _ = ours.write_all(&heard);
    });
    theirs.into()
}

impl Containers for Memory {
    fn list(&self, wanted: &List) -> Outcome<String> {
        let all = self.containers.lock().unwrap();
        let shown = all.iter().filter(|(_, runs)| wanted.all || **runs);
        let shown: Vec<_> = shown.map(|(name, _)| json!({"Names": [format!("/{name}")]})).collect();
        Ok(json!(shown).to_string())
    }
    fn create(&self, wanted: &Create) -> Outcome<Created> {
        if wanted.body["Image"].as_str().is_none() {
            return Err(Failure::invalid("no image"));
        }
        self.containers.lock().unwrap().insert(wanted.name.clone(), false);
        Ok(Created { id: wanted.name.clone(), warnings: Vec::new() })
    }
    fn inspect(&self, name: &str, _: bool) -> Outcome<Value> {
        self.find(name).map(|runs| json!({"Name": name, "State": {"Running": runs}}))
    }
    fn start(&self, name: &str) -> Outcome<bool> {
        self.find(name)?;
        Ok(self.containers.lock().unwrap().insert(name.to_owned(), true) == Some(false))
    }
    fn stop(&self, name: &str, _: Option<&str>, _: Option<i64>) -> Outcome<bool> {
        self.find(name)?;
        Ok(self.containers.lock().unwrap().insert(name.to_owned(), false) == Some(true))
    }
    fn restart(&self, name: &str, _: Option<&str>, _: Option<i64>) -> Outcome<()> {
        self.find(name).map(drop)
    }
    fn kill(&self, name: &str, _: Option<&str>) -> Outcome<()> {
        self.find(name).map(drop)
    }
    fn pause(&self, name: &str) -> Outcome<()> {
        self.find(name).map(drop)
    }
    fn unpause(&self, name: &str) -> Outcome<()> {
        self.find(name).map(drop)
    }
    fn rename(&self, name: &str, _: &str) -> Outcome<()> {
        self.find(name).map(drop)
    }
    fn update(&self, name: &str, _: &Value) -> Outcome<Vec<String>> {
        self.find(name).map(|_| Vec::new())
    }
    fn remove(&self, name: &str, force: bool, _: bool, _: bool) -> Outcome<()> {
        if self.find(name)? && !force {
            return Err(Failure::conflict("it runs"));
        }
        self.containers.lock().unwrap().remove(name);
        Ok(())
    }
    fn prune_containers(&self, _: &Filters) -> Outcome<(Vec<String>, u64)> {
        Ok((Vec::new(), 0))
    }
    fn top(&self, name: &str, _: &[String]) -> Outcome<Top> {
        self.find(name).map(|_| Top::default())
    }
    fn changes(&self, name: &str) -> Outcome<Vec<(String, u8)>> {
        self.find(name).map(|_| Vec::new())
    }
    fn resize(&self, name: &str, _: u16, _: u16) -> Outcome<()> {
        self.find(name).map(drop)
    }
    fn stat_path(&self, name: &str, path: &str) -> Outcome<Value> {
        self.find(name).map(|_| json!({"name": path, "mode": 2_148_532_735_u32}))
    }
    fn read_path(&self, name: &str, path: &str) -> Outcome<(Value, Download)> {
        // Longer than what anybody reads: it ends when the client leaves.
        let write: Download = Box::new(|to| {
            let _alive = Counted::new();
            while to.write_all(&[0; 64 << 10]).is_ok() {}
            Err(Failure::internal("the client has left"))
        });
        Ok((self.stat_path(name, path)?, write))
    }
    fn write_path(&self, name: &str, _: &Unpack, archive: Upload<'_>) -> Outcome<()> {
        self.find(name)?;
        std::io::copy(archive, &mut std::io::sink())
            .map(drop)
            .map_err(|why| Failure::invalid(why.to_string()))
    }
    fn export(&self, name: &str) -> Outcome<Download> {
        self.read_path(name, "/").map(|(_, download)| download)
    }
    fn attach(&self, name: &str, wanted: &Attach) -> Outcome<Attached> {
        let runs = self.find(name)?;
        let (tell, streams) = oneshot::channel();
        if runs {
            let _ = tell.send(if name == "late" { late() } else { echo() });
        } else {
            // Never started: whoever waits for it is heard to leave.
            tokio::runtime::Handle::current().spawn(async move {
                let (_alive, mut tell) = (Counted::new(), tell);
                tell.closed().await;
            });
        }
        let replay = wanted.logs.then(|| {
            let (sender, feed) = mpsc::channel(1);
            sender.try_send(Ok("earlier".into())).unwrap();
            feed
        });
        Ok(Attached { tty: true, replay, streams: wanted.stream.then_some(streams) })
    }
    fn logs(&self, name: &str, _: &LogsWanted) -> Outcome<Logs> {
        self.find(name).map(|_| Logs { tty: false, feed: silent() })
    }
    fn wait(&self, name: &str, _: Condition) -> Outcome<oneshot::Receiver<Exit>> {
        self.find(name)?;
        let (mut tell, told) = oneshot::channel();
        tokio::runtime::Handle::current().spawn(async move {
            let _alive = Counted::new();
            tell.closed().await;
        });
        Ok(told)
    }
    fn stats(&self, name: &str, _: bool, _: bool) -> Outcome<Stats> {
        self.find(name)?;
        let (sender, told) = mpsc::channel(1);
        tokio::runtime::Handle::current().spawn(async move {
            let _alive = Counted::new();
            while sender.send(json!({"read": "now"})).await.is_ok() {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        });
        Ok(told)
    }
}

impl Exec for Memory {
    fn create_exec(&self, container: &str, _: &Value) -> Outcome<String> {
        self.find(container).map(|_| "exec".to_owned())
    }
    fn check_exec(&self, id: &str, _: &ExecStart) -> Outcome<bool> {
        if id == "exec" { Ok(true) } else { Err(Failure::missing("No such exec instance")) }
    }
    fn start_exec(&self, _: &str, _: &ExecStart) -> Outcome<ExecStarted> {
        Ok(ExecStarted { streams: Some(echo()), ended: None })
    }
    fn resize_exec(&self, _: &str, _: u16, _: u16) -> Outcome<()> {
        Ok(())
    }
    fn inspect_exec(&self, id: &str) -> Outcome<Value> {
        Ok(json!({"ID": id}))
    }
}

impl Images for Memory {
    fn list_images(&self, _: bool, _: bool, _: &Filters, _: Version) -> Outcome<Vec<Value>> {
        Ok(Vec::new())
    }
    fn inspect_image(&self, name: &str, _: Version) -> Outcome<Value> {
        Ok(json!({"RepoTags": [name]}))
    }
    fn history(&self, _: &str) -> Outcome<Vec<Value>> {
        Ok(Vec::new())
    }
    fn pull(&self, wanted: &Pull, sink: Sink<'_>) -> Outcome<()> {
        if wanted.image == "nosuch" {
            return Err(Failure::missing("no such image"));
        }
        sink(json!({"status": "Pulling"}));
        Err(Failure::internal("the registry is gone"))
    }
    fn import(&self, _: &Import, _: Upload<'_>, _: Sink<'_>) -> Outcome<()> {
        Ok(())
    }
    fn push(&self, _: &str, _: &str, _: &Credentials, _: Sink<'_>) -> Outcome<()> {
        Ok(())
    }
    fn tag(&self, _: &str, _: &str, _: &str) -> Outcome<()> {
        Ok(())
    }
    fn remove_image(
        &self,
        name: &str,
        _: bool,
        _: bool,
        platforms: &[String],
    ) -> Outcome<Vec<Value>> {
        Ok(vec![json!({"Untagged": name, "Platforms": platforms})])
    }
    fn prune_images(&self, _: &Filters) -> Outcome<(Vec<Value>, u64)> {
        Ok((Vec::new(), 0))
    }
    fn search(&self, _: &str, _: Option<i64>, _: &Filters) -> Outcome<Vec<Value>> {
        Ok(Vec::new())
    }
    fn save(&self, _: &[String], platforms: &[String]) -> Outcome<Download> {
        let tar = format!("tar{}", platforms.join(""));
        Ok(Box::new(move |to| {
            to.write_all(tar.as_bytes()).map_err(|why| Failure::internal(why.to_string()))
        }))
    }
    fn load(&self, _: Upload<'_>, _: bool, platforms: &[String], sink: Sink<'_>) -> Outcome<()> {
        platforms.iter().for_each(|platform| sink(json!({"stream": platform})));
        Ok(())
    }
    fn commit(&self, _: &Commit) -> Outcome<String> {
        Ok("id".to_owned())
    }
    fn distribution(&self, name: &str, _: &Credentials) -> Outcome<Value> {
        Ok(json!({"Descriptor": name}))
    }
}

impl Networks for Memory {
    fn list_networks(&self, _: &Filters) -> Outcome<Vec<Value>> {
        Ok(Vec::new())
    }
    fn inspect_network(&self, name: &str, _: bool, _: &str) -> Outcome<Value> {
        Ok(json!({"Name": name, "Status": {"IPAM": {"Subnets": {}}}}))
    }
    fn create_network(&self, _: &Value) -> Outcome<(String, String)> {
        Ok(("id".to_owned(), String::new()))
    }
    fn remove_network(&self, _: &str) -> Outcome<()> {
        Ok(())
    }
    fn connect(&self, _: &str, _: &Value) -> Outcome<()> {
        Ok(())
    }
    fn disconnect(&self, _: &str, _: &Value) -> Outcome<()> {
        Ok(())
    }
    fn prune_networks(&self, _: &Filters) -> Outcome<Vec<String>> {
        Ok(Vec::new())
    }
}

impl Volumes for Memory {
    fn list_volumes(&self, _: &Filters) -> Outcome<Vec<Value>> {
        Ok(Vec::new())
    }
    fn inspect_volume(&self, name: &str) -> Outcome<Value> {
        Ok(json!({"Name": name}))
    }
    fn create_volume(&self, body: &Value) -> Outcome<Value> {
        Ok(body.clone())
    }
    fn remove_volume(&self, _: &str, _: bool) -> Outcome<()> {
        Ok(())
    }
    fn prune_volumes(&self, _: &Filters, _: Version) -> Outcome<(Vec<String>, u64)> {
        Ok((Vec::new(), 0))
    }
}

impl System for Memory {
    fn info(&self, _: Version) -> Outcome<Value> {
        Ok(json!({}))
    }
    fn version(&self) -> Value {
        json!({"Components": [{"Details": {}}]})
    }
    fn events(&self, _: &EventsWanted) -> Outcome<Feed> {
        Ok(silent())
    }
    fn disk_usage(&self, wanted: &UsageWanted, _: Version) -> Outcome<Value> {
        Ok(json!({"Kinds": wanted.kinds, "Verbose": wanted.verbose}))
    }
    fn login(&self, _: &Credentials) -> Outcome<String> {
        Ok(String::new())
    }
    fn figures(&self) -> Vec<(&'static str, u64)> {
        vec![("corten_containers_running", 1)]
    }
}

impl Build for Memory {
    fn build(&self, _: &BuildRequest, _: Upload<'_>, _: Sink<'_>, _: &Cancel) -> Outcome<()> {
        Err(Failure::absent("no builder"))
    }
    fn prune_builds(&self, _: bool, _: Option<u64>, _: &Filters) -> Outcome<(Vec<String>, u64)> {
        Ok((Vec::new(), 0))
    }
}

/// A daemon over an engine in memory.
pub struct Server {
    pub socket: PathBuf,
    pub daemon: Daemon,
    stop: watch::Sender<bool>,
    runtime: Option<tokio::runtime::Runtime>,
    _directory: tempfile::TempDir,
}

impl Server {
    pub fn start() -> Server {
        Server::start_with(|socket| vec![Listener::unix(socket, Some("")).unwrap()])
    }

    pub fn start_with(listen: impl FnOnce(&std::path::Path) -> Vec<Listener>) -> Server {
        let memory = Memory::default();
        memory.containers.lock().unwrap().extend([
            ("up".to_owned(), true),
            ("late".to_owned(), true),
            ("new".to_owned(), false),
        ]);
        Server::over(Arc::new(memory), listen)
    }

    /// The daemon over another engine.
    pub fn over(
        engine: Arc<dyn Backend>,
        listen: impl FnOnce(&std::path::Path) -> Vec<Listener>,
    ) -> Server {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("socket");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(64)
            .enable_all()
            .build()
            .unwrap();
        let (stop, stopping) = watch::channel(false);
        let daemon = Daemon::new(engine);
        let _inside = runtime.enter();
        let listeners = listen(&socket);
        runtime.spawn(daemon.clone().serve(listeners, stopping));
        drop(_inside);
        Server { socket, daemon, stop, runtime: Some(runtime), _directory: directory }
    }

    /// Sends bytes, and gives all that comes back until the server closes.
    pub fn talk(&self, request: &[u8]) -> String {
        let mut stream = self.connect();
        // A server that has read enough need not take the rest.
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// A request without a body on a connection of its own: the status, and the answer.
    pub fn get(&self, method: &str, path: &str) -> (u16, String) {
        self.send(method, path, "", "")
    }

    pub fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
        let length = body.len();
        let text = self.talk(
            format!(
                "{method} {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Length: \
                 {length}\r\n{headers}\r\n{body}"
            )
            .as_bytes(),
        );
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        (status, text)
    }

    pub fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).unwrap();
        let patience = corten_tier::patience(std::time::Duration::from_secs(30));
        stream.set_read_timeout(Some(patience)).unwrap();
        stream
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(std::time::Duration::from_secs(5));
        }
    }
}
