//! Exercise 6.2: which names mean something else by now?
#![allow(missing_docs)]

use corten_registry::{Client, ClientOptions, Reference, Result, Store};

// ANCHOR: stale
/// The names of the store that stand for something else in their registry, or for nothing any more.
pub fn stale(client: &Client, store: &Store) -> Result<Vec<Reference>> {
    let mut stale = Vec::new();
    for entry in store.list()? {
        // Without a source, or with one of another repository, it never came from its registry. By digest it
        // cannot move.
        let own = entry.source.filter(|_| !entry.lent);
        let (Some(name), Some(source)) = (entry.name, own) else { continue };
        if name.tag().is_none() {
            continue;
        }
        match client.digest(&name) {
            Ok(now) if now.as_ref() == Some(&source) => {}
            Ok(_) => stale.push(name),
            Err(error) if error.is_not_found() => stale.push(name),
            Err(error) => return Err(error),
        }
    }
    Ok(stale)
}
// ANCHOR_END: stale

fn main() -> Result<()> {
    let store = Store::open(std::env::args().nth(1).unwrap_or_else(|| ".".to_owned()))?;
    for name in stale(&Client::new(ClientOptions::system()?), &store)? {
        println!("{}", name.familiar());
    }
    Ok(())
}
