//! How long it takes to set up and to tear down one container's network, in milliseconds of the caller's
//! time: `speed ROUNDS ATTACHED PORTS`. ATTACHED containers are connected before. Each line is one
//! round: the namespace, the connection, both, and the end.
//!
//! It makes a host of its own: run it as root, anywhere. The kernel takes apart what has ended in the
//! background; the pause between two rounds keeps that out of the next one, as it is between two
//! containers of a person's.
#![deny(unsafe_code)]

use std::path::Path;
use std::time::{Duration, Instant};

use corten_network::network::Request;
use corten_network::ports::parse;
use corten_network::{EndpointRequest, Namespace, Networks, Result};
use nix::sched::{CloneFlags, unshare};

fn request(name: &str, path: &Path, ports: &[&str]) -> Result<EndpointRequest> {
    let ports: Vec<_> = ports.iter().map(|port| parse::publish(port)).collect::<Result<_>>()?;
    Ok(EndpointRequest {
        container: format!("{name:-<64}"),
        name: name.to_owned(),
        namespace: path.to_owned(),
        ports: ports.concat(),
        ..EndpointRequest::default()
    })
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let numbers: Vec<usize> =
        std::env::args().skip(1).map(|n| n.parse()).collect::<std::result::Result<_, _>>()?;
    let [rounds, attached, published] = numbers[..] else {
        return Err("usage: speed ROUNDS ATTACHED PORTS".into());
    };
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)?;
    // As on /run, where an engine has it.
    let nothing = None::<&str>;
    let private = nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_PRIVATE;
    nix::mount::mount(nothing, "/", nothing, private, nothing)?;
    nix::mount::mount(Some("tmpfs"), "/mnt", Some("tmpfs"), nix::mount::MsFlags::empty(), nothing)?;
    let place = Path::new("/mnt");
    let networks = Networks::open(&place.join("root"), &place.join("state"))?;
    networks.create(&Request { name: "app".into(), ..Request::default() })?;
    for number in 0..attached {
        let name = format!("a{number}");
        let path = place.join(&name);
        Namespace::create(&path)?;
        networks.connect("app", &request(&name, &path, &[])?)?;
    }
    // An engine lives longer than a container.
    let mut engines = Vec::new();
    for round in 0..rounds {
        let name = format!("b{round}");
        let path = place.join(&name);
        let port = format!("8080-{}:80-{}", 8079 + published, 79 + published);
        let ports: &[&str] = if published > 0 { &[&port] } else { &[] };
        let wanted = request(&name, &path, ports)?;
        let start = Instant::now();
        // As each command of an engine begins.
        let networks = Networks::open(&place.join("root"), &place.join("state"))?;
        let mut namespace = Namespace::create(&path)?;
        let made = start.elapsed();
        networks.connect_in("app", &wanted, &mut namespace)?;
        drop(namespace);
        let connected = start.elapsed();
        let end = Instant::now();
        networks.release(&wanted.container)?;
        let ended = end.elapsed();
        engines.push(networks);
        let connection = milliseconds(connected - made);
        let (made, connected, ended) =
            (milliseconds(made), milliseconds(connected), milliseconds(ended));
        println!("{made:.3} {connection:.3} {connected:.3} {ended:.3}");
        std::thread::sleep(Duration::from_millis(60));
    }
    Ok(())
}
