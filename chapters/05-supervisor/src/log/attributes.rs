//! What a log's options add to each entry: labels and variables of the container, and a tag.

use std::collections::BTreeMap;

use regex::Regex;

use crate::error::{Error, Result};

/// Whose log it is.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The container's id.
    pub id: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its image, as the user named it.
    pub image: &'a str,
    /// That image's id.
    pub image_id: &'a str,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
    /// Its environment, as `NAME=VALUE`.
    pub env: &'a [String],
}

impl Subject<'_> {
    /// The attributes that `options` ask for.
    ///
    /// # Errors
    /// An expression or a template that is none.
    pub fn attributes(
        &self,
        options: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>> {
        let option = |name| options.get(name).map_or("", String::as_str);
        let env: BTreeMap<String, String> = self
            .env
            .iter()
            .filter_map(|variable| variable.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let mut found = BTreeMap::new();
        let sources = [(self.labels, "labels", "labels-regex"), (&env, "env", "env-regex")];
        for (all, by_name, by_pattern) in sources {
            for name in option(by_name).split(',') {
                found.extend(all.get_key_value(name).map(owned));
            }
            let pattern = option(by_pattern);
            if !pattern.is_empty() {
                let regex = Regex::new(pattern).map_err(|error| {
                    Error::invalid(format!("log option {by_pattern}"), error.to_string())
                })?;
                found.extend(all.iter().filter(|(name, _)| regex.is_match(name)).map(owned));
            }
        }
        let tag = self.tag(option("tag"))?;
        if !tag.is_empty() {
            found.insert("tag".into(), tag);
        }
        Ok(found)
    }

    /// A template of Docker's: fields between braces, of which these are all that there are. Pipelines
    /// and functions of Go's templates are not known.
    fn tag(&self, template: &str) -> Result<String> {
        let (mut text, mut rest) = (String::new(), template);
        while let Some((before, after)) = rest.split_once("{{") {
            let bad = || {
                let fields = ".ID .FullID .Name .ImageID .ImageFullID .ImageName .DaemonName";
                Error::invalid(format!("log option tag={template}"), format!("knows only {fields}"))
            };
            let (field, after) = after.split_once("}}").ok_or_else(bad)?;
            let short = |id: &str| id.get(..12).unwrap_or(id).to_owned();
            text.push_str(before);
            text.push_str(&match field.trim() {
                ".ID" => short(self.id),
                ".FullID" => self.id.to_owned(),
                ".Name" => self.name.to_owned(),
                // With the algorithm before it, as Docker has it.
                ".ImageID" => short(self.image_id),
                ".ImageFullID" => self.image_id.to_owned(),
                ".ImageName" => self.image.to_owned(),
                ".DaemonName" => "docker".to_owned(),
                _ => return Err(bad()),
            });
            rest = after;
        }
        text.push_str(rest);
        Ok(text)
    }
}

fn owned((name, value): (&String, &String)) -> (String, String) {
    (name.clone(), value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn options_choose_attributes() {
        let labels = map(&[("com.a", "1"), ("com.b", "2"), ("other", "3")]);
        let env = ["PATH=/bin".to_owned(), "HOME=/".to_owned(), "odd".to_owned()];
        let id = "0123456789abcdef";
        let subject = Subject {
            id,
            name: "web",
            image: "busybox:1",
            image_id: "sha256:fedcba98",
            labels: &labels,
            env: &env,
        };
        let found = |options: &[(&str, &str)]| subject.attributes(&map(options)).unwrap();
        assert_eq!(found(&[]), map(&[]));
        assert_eq!(
            found(&[("labels", "other,none"), ("env", "HOME")]),
            map(&[("other", "3"), ("HOME", "/")])
        );
        assert_eq!(found(&[("labels-regex", "^com")]), map(&[("com.a", "1"), ("com.b", "2")]));
        assert_eq!(found(&[("env-regex", "^P")]), map(&[("PATH", "/bin")]));
        let tag = "{{.Name}}/{{ .ID }} {{.ImageName}} {{.ImageID}}";
        let expected = "web/0123456789ab busybox:1 sha256:fedcb";
        assert_eq!(found(&[("tag", tag)]), map(&[("tag", expected)]));
        for bad in [("tag", "{{.Nope}}"), ("tag", "{{.ID"), ("env-regex", "(")] {
            assert!(subject.attributes(&map(&[bad])).is_err(), "{bad:?}");
        }
    }
}
