//! Names for containers that nobody names: a mood and a person of the history of transport, as Docker
//! has moods and scientists.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::error::{At, Result};

/// How it is.
const MOODS: [&str; 64] = [
    "able", "agile", "amber", "awake", "bold", "brave", "brisk", "calm", "candid", "cheerful",
    "clear", "clever", "cosy", "curious", "daring", "deft", "dreamy", "eager", "earnest", "easy",
    "fair", "fearless", "festive", "fond", "frank", "frosty", "gentle", "glad", "golden",
    "graceful", "handy", "hardy", "honest", "hopeful", "humble", "idle", "jolly", "keen", "kind",
    "light", "lively", "loyal", "lucid", "mellow", "merry", "mild", "modest", "neat", "nimble",
    "patient", "placid", "plucky", "polite", "proud", "quick", "quiet", "rusty", "sober", "steady",
    "sturdy", "sunny", "tidy", "wise", "witty",
];

/// Whose name it has: people who built ships, roads, rails, aircraft and boxes to be put on them, or
/// found the way.
const PEOPLE: [&str; 64] = [
    "ader",
    "alcock",
    "battuta",
    "benz",
    "bering",
    "bleriot",
    "bly",
    "brunel",
    "cayley",
    "cockerell",
    "coleman",
    "cook",
    "cousteau",
    "cugnot",
    "daimler",
    "davis",
    "diesel",
    "dunlop",
    "earhart",
    "ericsson",
    "fulton",
    "gama",
    "giffard",
    "harrison",
    "herreshoff",
    "ibarra",
    "janney",
    "johnson",
    "kingsford",
    "lenoir",
    "lilienthal",
    "magellan",
    "markham",
    "mcadam",
    "mclean",
    "mercator",
    "montgolfier",
    "nansen",
    "nobile",
    "otis",
    "otto",
    "parsons",
    "pilcher",
    "piccard",
    "polo",
    "pullman",
    "quimby",
    "sikorsky",
    "slocum",
    "sperry",
    "stephenson",
    "sundback",
    "tantlinger",
    "telford",
    "tereshkova",
    "trevithick",
    "tupolev",
    "vespucci",
    "voisin",
    "watt",
    "westinghouse",
    "wright",
    "zeppelin",
    "zheng",
];

/// A name, with a digit from the second attempt on: then names are becoming rare.
///
/// # Errors
/// Where the kernel gives no random bytes.
pub(super) fn random(attempt: u32) -> Result<String> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0; 4];
    File::open(path).and_then(|mut file| file.read_exact(&mut bytes)).at("read", path)?;
    Ok(made(bytes, attempt))
}

fn made([mood, person, digit, more]: [u8; 4], attempt: u32) -> String {
    let of = |list: &[&'static str; 64], byte: u8| list[usize::from(byte) % list.len()];
    let name = format!("{}_{}", of(&MOODS, mood), of(&PEOPLE, person));
    match attempt {
        0 => name,
        1..10 => format!("{name}{}", digit % 10),
        _ => format!("{name}{}", u16::from_be_bytes([digit, more])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_there_once_and_every_name_is_one() {
        for list in [MOODS, PEOPLE] {
            let mut words = list.to_vec();
            words.sort_unstable();
            words.dedup();
            assert_eq!(words.len(), list.len());
            let is_word = |word: &&str| word.bytes().all(|byte| byte.is_ascii_lowercase());
            assert!(list.iter().all(is_word));
        }
        assert_eq!(made([0, 64, 7, 0], 0), "able_ader");
        assert_eq!(made([1, 1, 17, 0], 1), "agile_alcock7");
        for attempt in [0, 1, 10] {
            super::super::state::check_name(&random(attempt).unwrap()).unwrap();
        }
    }
}
