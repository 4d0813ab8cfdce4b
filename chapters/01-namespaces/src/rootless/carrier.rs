//! Who carries packets between a network namespace of a user's and the host's sockets: a program of the
//! distribution's, since making a cable to the host's network is root's.
//!
//! `./x run` has this source, too, and does not wait for this crate to be built: so it stands on the standard
//! library alone.

use std::io;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// One of the two programs that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// Of the package passt.
    Pasta,
    /// Of the package of this name.
    Slirp4netns,
}

/// How long it may take to start.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How long after its first route a namespace may get the one that leads everywhere.
const SETTLED: Duration = Duration::from_secs(1);

/// What a namespace has of routes. They come last, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Routes {
    None,
    Some,
    /// Also the one that leads everywhere.
    All,
}

impl Routes {
    /// Reads `/proc/PID/net/route`, whose first line is its head.
    fn read(table: &str) -> Routes {
        let mut lines = table.lines().skip(1).peekable();
        match lines.peek().is_some() {
            false => Routes::None,
            true if lines.any(|line| line.split_whitespace().nth(1) == Some("00000000")) => {
                Routes::All
            }
            true => Routes::Some,
        }
    }
}

impl Carrier {
    /// Its name.
    pub fn program(self) -> &'static str {
        match self {
            Carrier::Pasta => "pasta",
            Carrier::Slirp4netns => "slirp4netns",
        }
    }

    /// The one that this machine has. Both need the device by which a program is a network card.
    pub fn here() -> Option<Carrier> {
        let tun = std::fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun").ok()?;
        drop(tun);
        [Carrier::Pasta, Carrier::Slirp4netns]
            .into_iter()
            .find(|carrier| on_path(carrier.program()))
    }

    /// What is executed to connect the network namespace of the process `pid`. Nothing of the host's
    /// loopback interface can be reached from there, and nothing in there from the host.
    pub fn command(self, pid: u32) -> Command {
        let mut command = Command::new(self.program());
        let pid = pid.to_string();
        match self {
            Carrier::Pasta => {
                command.args(["--foreground", "--config-net", "--quiet", "--no-map-gw"]);
                command.args(["-t", "none", "-u", "none", "-T", "none", "-U", "none", &pid])
            }
            Carrier::Slirp4netns => {
                command.args(["--configure", "--mtu=65520", "--disable-host-loopback"]);
                command.args([&pid, "tap0"])
            }
        };
        command
    }

    /// Connects the network namespace of the process `pid`; gives what is to be ended after it, or `None`
    /// where it cannot be done: then the namespace has its loopback interface.
    ///
    /// # Errors
    /// Where the program cannot be started.
    pub fn connect(self, pid: u32) -> io::Result<Option<Child>> {
        Carrier::start(&mut self.command(pid), pid)
    }

    /// The same by a command that ends up as [`Carrier::command`].
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start(command: &mut Command, pid: u32) -> io::Result<Option<Child>> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let path = format!("/proc/{pid}/net/route");
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE && matches!(child.try_wait(), Ok(None)) {
            match Routes::read(&std::fs::read_to_string(&path).unwrap_or_default()) {
                Routes::All => return Ok(Some(child)),
                // This machine may have no way out to be copied.
                Routes::Some if begun.elapsed() > SETTLED => return Ok(Some(child)),
                Routes::Some | Routes::None => {}
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let _ = child.kill();
        let _ = child.wait();
        Ok(None)
    }
}

/// Whether a program of this name is in a directory of PATH.
pub fn on_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(name).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_out_is_the_last_route() {
        let head = "Iface\tDestination\tGateway\tFlags\n";
        let link = "out\t000200C0\t00000000\t0001\n";
        let out = "out\t00000000\t020200C0\t0003\n";
        for (table, expected) in [
            (String::new(), Routes::None),
            (head.to_owned(), Routes::None),
            (format!("{head}{link}"), Routes::Some),
            (format!("{head}{link}{out}"), Routes::All),
        ] {
            assert_eq!(Routes::read(&table), expected, "{table}");
        }
    }
}
