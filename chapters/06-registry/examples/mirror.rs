//! Exercise 6.3: keep a copy of a repository.
#![allow(missing_docs)]

use corten_registry::{Client, ClientOptions, Reference, Result, Silent, Store, copy};

// ANCHOR: mirror
/// Copies every tag of `from` that `to` lacks or has with other content. Gives what was copied.
pub fn mirror(
    client: &Client,
    scratch: &Store,
    from: &Reference,
    to: &Reference,
) -> Result<Vec<String>> {
    let mut copied = Vec::new();
    for tag in client.tags(from)? {
        let (from, to) = (from.with_tag(&tag)?, to.with_tag(&tag)?);
        let there = match client.digest(&to) {
            Ok(digest) => digest,
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error),
        };
        // Two requests without a body tell that there is nothing to do.
        if there.is_none() || there != client.digest(&from)? {
            copy(client, scratch, &from, &to, None, &mut Silent)?;
            copied.push(tag);
        }
    }
    Ok(copied)
}
// ANCHOR_END: mirror

fn main() -> Result<()> {
    let mut names = std::env::args().skip(1);
    let mut name = || Reference::parse(&names.next().unwrap_or_default());
    let (from, to) = (name()?, name()?);
    let scratch = Store::open(std::env::temp_dir().join("corten-mirror"))?;
    for tag in mirror(&Client::new(ClientOptions::system()?), &scratch, &from, &to)? {
        println!("{tag}");
    }
    Ok(())
}
