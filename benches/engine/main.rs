//! The engine as a library: a container from its making to its removal, and a program in a container
//! that runs, without the start of a process that asks for it. Needs root; `./x bench engine`.
#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on has failed")]

use std::path::Path;

use corten::engine::Engine;
use corten::engine::container::Request;
use corten::engine::exec;
use corten::engine::options::{Config, HostConfig};
use corten_registry::Reference;
use corten_supervisor::protocol::Exec;
use corten_unionfs::fixture::LayerBuilder;
use criterion::{Criterion, criterion_group, criterion_main};

/// A state directory in memory, with the image `busybox`.
fn engine(directory: &Path) -> Engine {
    corten_tier::enter_t1();
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(Some("state"), directory, Some("tmpfs"), flags, None::<&str>).unwrap();
    let root = directory.join("state");
    let supervisor = Path::new(env!("CARGO_BIN_EXE_corten")).with_file_name("corten-supervisor");
    let engine = Engine::open(&root, &root.join("run")).unwrap();
    let engine = engine.supervised_by(&supervisor).unwrap();
    let busybox = std::fs::read("/bin/busybox").unwrap();
    let layer = LayerBuilder::new()
        .dir("bin", 0o755)
        .dir("proc", 0o555)
        .file("bin/busybox", 0o755, busybox)
        .symlink("bin/true", "busybox")
        .symlink("bin/sleep", "busybox");
    let name: Reference = "busybox".parse().unwrap();
    engine.import(&mut &layer.build()[..], Some(&name), &[], "", None).unwrap();
    engine
}

fn request<const N: usize>(command: [&str; N], auto_remove: bool) -> Request {
    let network_mode = "none".to_owned();
    Request {
        image: "busybox".into(),
        config: Config { cmd: command.into(), ..Config::default() },
        host_config: HostConfig { auto_remove, network_mode, ..HostConfig::default() },
        ..Request::default()
    }
}

/// Its status.
fn execute(engine: &Engine, id: &str) -> u8 {
    let request = exec::Request { command: vec!["true".into()], ..exec::Request::default() };
    let (process, mut client) = engine.exec_process(id, &request).unwrap();
    let (exec, ..) = client.exec(Exec { process, attach: None, detach: false }).unwrap();
    client.wait_exec(exec).unwrap()
}

fn measure(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    let engine = engine(directory.path());
    let short = request(["true"], true);
    criterion.bench_function("engine-run", |bencher| {
        bencher.iter(|| {
            let started = engine.run_detached(&short, &mut |_| {}).unwrap();
            assert_eq!(engine.wait(&started.record.id).unwrap(), 0);
        });
    });
    let long = request(["sleep", "100000"], false);
    let id = engine.run_detached(&long, &mut |_| {}).unwrap().record.id;
    criterion.bench_function("engine-exec", |bencher| {
        bencher.iter(|| assert_eq!(execute(&engine, &id), 0));
    });
    engine.remove_container(&id, true, true).unwrap();
    drop(engine);
    nix::mount::umount2(directory.path(), nix::mount::MntFlags::MNT_DETACH).unwrap();
}

criterion_group!(benches, measure);
criterion_main!(benches);
