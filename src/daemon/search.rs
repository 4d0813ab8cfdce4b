//! Images of a registry, found by words.

use corten_daemon::backend::{Credentials, Filters};
use corten_daemon::{Failure, Outcome};
use corten_registry::Reference;
use serde_json::{Value, json};

use super::Api;
use super::failure::registry;
use super::transfer::asker;
use super::watch::checked;
use crate::engine::filter::truth;
use crate::engine::pull::client_for;

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

fn chosen(filters: &Filters) -> Outcome<Chosen> {
    let filters = checked(filters, &["is-automated", "is-official", "stars"])?;
    let invalid =
        |name: &str, text: &str| Failure::invalid(format!("invalid filter '{name}={text}'"));
    let flag = |name: &str| {
        let last = filters.values(name).last().cloned();
        last.map(|text| truth(&text).ok_or_else(|| invalid(name, &text))).transpose()
    };
    let mut stars = 0;
    for text in filters.values("stars") {
        stars = stars.max(text.parse().map_err(|_| invalid("stars", text))?);
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

impl Api {
    /// What the registry of `term` finds for it, in its order.
    pub(super) fn find_elsewhere(
        &self,
        term: &str,
        limit: Option<i64>,
        filters: &Filters,
    ) -> Outcome<Vec<Value>> {
        let limit = limit.filter(|limit| *limit != 0).unwrap_or(USUAL);
        if !(1..=MOST).contains(&limit) {
            let text = format!("Limit {limit} is outside the range of [1, {MOST}]");
            return Err(Failure::invalid(text));
        }
        let chosen = chosen(filters)?;
        if term.contains("://") {
            return Err(Failure::invalid(format!(
                "invalid repository name: repository name ({term}) should not have a scheme"
            )));
        }
        let (domain, words) = split(term);
        let registry_of = Reference::parse(&format!("{domain}/search")).map_err(registry)?;
        let client = client_for(&registry_of, false, &asker(&Credentials::default()))?;
        let most = u8::try_from(limit).unwrap_or(u8::MAX);
        let found = client.search(registry_of.domain(), &words, most).map_err(registry)?;
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
            let filters = [(name.to_owned(), vec![text.to_owned()])].into();
            chosen(&filters).map(|chosen| chosen.fits(&found))
        };
        assert!(fits("stars", "3").unwrap() && !fits("stars", "4").unwrap());
        assert!(fits("is-official", "true").unwrap() && !fits("is-automated", "1").unwrap());
        assert_eq!(fits("stars", "x").unwrap_err().status, 400);
        assert_eq!(fits("wrong", "x").unwrap_err().status, 400);
    }
}
