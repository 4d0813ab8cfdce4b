//! The resolvers outside: which they are, and which of them have been silent lately.

use std::collections::HashMap;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::files::resolv::ResolvConf;

/// As many as the C library asks (resolv.conf(5)).
const MOST: usize = 3;

/// For how long one that has not answered is asked after the others.
const PENANCE: Duration = Duration::from_secs(30);

/// The host's resolvers, and what is known of all that were asked.
#[derive(Debug)]
pub(super) struct Resolvers {
    file: PathBuf,
    /// What told the file apart when it was read.
    seen: Option<(u64, i64, i64, u64)>,
    host: Vec<IpAddr>,
    host_searches: bool,
    silent: HashMap<IpAddr, Instant>,
}

impl Resolvers {
    /// Those in `file`, which is the host's `resolv.conf`.
    pub(super) fn new(file: &Path) -> Resolvers {
        Resolvers {
            file: file.to_owned(),
            seen: None,
            host: Vec::new(),
            host_searches: false,
            silent: HashMap::new(),
        }
    }

    /// Whom to ask, in this order: `own`, where a container has resolvers of its own.
    pub(super) fn in_order(&mut self, own: &[IpAddr]) -> Vec<IpAddr> {
        if own.is_empty() {
            self.read_again();
        }
        let all = if own.is_empty() { &self.host } else { own };
        let mut order: Vec<IpAddr> = all.iter().copied().take(MOST).collect();
        let now = Instant::now();
        self.silent.retain(|_, since| now.duration_since(*since) < PENANCE);
        order.sort_by_key(|server| self.silent.contains_key(server));
        order
    }

    /// Whether the host's file sets `ndots`, which containers inherit.
    pub(super) fn host_searches(&mut self) -> bool {
        self.read_again();
        self.host_searches
    }

    /// It has not answered in time.
    pub(super) fn was_silent(&mut self, server: IpAddr) {
        self.silent.insert(server, Instant::now());
    }

    /// It has answered.
    pub(super) fn has_answered(&mut self, server: IpAddr) {
        self.silent.remove(&server);
    }

    /// Reads the host's file if it is another one than before: machines move between networks.
    fn read_again(&mut self) {
        let metadata = std::fs::metadata(&self.file).ok();
        let seen = metadata.map(|it| (it.ino(), it.mtime(), it.mtime_nsec(), it.size()));
        if seen.is_some() && seen == self.seen {
            return;
        }
        self.seen = seen;
        let text = std::fs::read(&self.file).unwrap_or_default();
        let conf = ResolvConf::parse(&text);
        self.host = conf.nameservers();
        self.host_searches = conf.searches();
    }
}
