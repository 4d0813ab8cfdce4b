//! Images of a registry, found by words.

use corten_registry::Reference;
use serde_json::{Value, json};

use super::error::{Error, Result};
use super::filter::{Filters, no_truth, truth};
use super::pull::{Asker, client_for};

/// The names of the filters.
pub const KNOWN: [&str; 3] = ["is-automated", "is-official", "stars"];

/// What is looked for.
#[derive(Debug)]
pub struct Request<'a> {
    /// Words, after the registry where it is not the usual one.
    pub term: &'a str,
    /// So many at most; 25 where it is 0 or nothing.
    pub limit: Option<i64>,
    /// By [`KNOWN`] names.
    pub filters: &'a Filters,
    /// With whose credentials.
    pub asker: &'a Asker,
}

/// How many are told where nobody says, and how many at most.
const USUAL: i64 = 25;
const MOST: i64 = 100;

/// What is chosen of what was found.
#[derive(Debug, Default, Clone, Copy)]
struct Chosen {
    official: Option<bool>,
    automated: Option<bool>,
    stars: i64,
}

impl Chosen {
    fn fits(self, found: &Value) -> bool {
        let is = |field: &str, wanted: Option<bool>| {
            wanted.is_none_or(|wanted| found[field].as_bool().unwrap_or(false) == wanted)
        };
        is("is_official", self.official)
            && is("is_automated", self.automated)
            && found["star_count"].as_i64().unwrap_or(0) >= self.stars
    }
}

fn chosen(filters: &Filters) -> Result<Chosen> {
    let flag = |name: &str| {
        let last = filters.values(name).last();
        last.map(|text| truth(text).ok_or_else(|| no_truth(name, text))).transpose()
    };
    let mut stars = 0;
    for text in filters.values("stars") {
        let invalid = |_| Error::refused(format!("invalid filter 'stars={text}'"));
        stars = stars.max(text.parse().map_err(invalid)?);
    }
    Ok(Chosen { official: flag("is-official")?, automated: flag("is-automated")?, stars })
}

/// The registry that a term begins with, and the rest of it.
fn split(term: &str) -> (String, String) {
    let host =
        term.split_once('/').filter(|(host, _)| host.contains(['.', ':']) || *host == "localhost");
    match host {
        Some((host, rest)) if host != "docker.io" => (host.to_owned(), rest.to_owned()),
        Some((_, rest)) => ("docker.io".to_owned(), rest.to_owned()),
        None => ("docker.io".to_owned(), term.to_owned()),
    }
}

/// What the registry of the term finds for it, in its order.
///
/// # Errors
/// A term or a limit that makes no sense; what the registry answers.
pub fn search(request: &Request<'_>) -> Result<Vec<Value>> {
    let term = request.term;
    let limit = request.limit.filter(|limit| *limit != 0).unwrap_or(USUAL);
    if !(1..=MOST).contains(&limit) {
        return Err(Error::refused(format!("Limit {limit} is outside the range of [1, {MOST}]")));
    }
    let chosen = chosen(request.filters)?;
    if term.contains("://") {
        return Err(Error::refused(format!(
            "invalid repository name: repository name ({term}) should not have a scheme"
        )));
    }
    let (domain, words) = split(term);
    let registry = Reference::parse(&format!("{domain}/search"))?;
    let client = client_for(&registry, false, request.asker)?;
    let most = u8::try_from(limit).unwrap_or(u8::MAX);
    let found = client.search(registry.domain(), &words, most)?;
    let shown = found.into_iter().filter(|found| chosen.fits(found)).map(|found| {
        json!({
            "name": found["name"], "description": found["description"].as_str().unwrap_or(""),
            "star_count": found["star_count"].as_i64().unwrap_or(0),
            "is_official": found["is_official"].as_bool().unwrap_or(false),
            "is_automated": found["is_automated"].as_bool().unwrap_or(false),
        })
    });
    Ok(shown.take(usize::from(most)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_may_begin_with_a_registry() {
        let shown = |term: &str| {
            let (host, rest) = split(term);
            format!("{host} {rest}")
        };
        assert_eq!(shown("nginx"), "docker.io nginx");
        assert_eq!(shown("me/nginx"), "docker.io me/nginx");
        assert_eq!(shown("127.0.0.1:5000/me/nginx"), "127.0.0.1:5000 me/nginx");
    }

    #[test]
    fn what_was_found_is_chosen_from() {
        let found = json!({"name": "a", "star_count": 3, "is_official": true});
        let fits = |name: &str, text: &str| {
            let filters = Filters::new([(name.to_owned(), text.to_owned())], &KNOWN)?;
            chosen(&filters).map(|chosen| chosen.fits(&found))
        };
        assert!(fits("stars", "3").unwrap() && !fits("stars", "4").unwrap());
        assert!(fits("is-official", "true").unwrap() && !fits("is-automated", "1").unwrap());
        let refused = |name: &str| fits(name, "x").unwrap_err().to_string();
        assert_eq!(refused("stars"), "invalid filter 'stars=x'");
        assert_eq!(refused("is-official"), "invalid filter 'is-official=[x]'");
        assert_eq!(refused("wrong"), "invalid filter 'wrong'");
    }
}
