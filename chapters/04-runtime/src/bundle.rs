//! A bundle: a directory with a `config.json` and, usually beside it, the root file system.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use corten_namespaces::error::Context;
use oci_spec::runtime::{Capability, Spec};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::check;
use crate::error::{Error, Result};
use crate::json;

/// A bundle that has been read and checked.
#[derive(Debug)]
pub struct Bundle {
    /// The directory, absolute.
    pub path: PathBuf,
    /// config.json as it stands on disk.
    pub text: String,
    /// config.json, without `linux.seccomp`.
    pub spec: Spec,
    /// `linux.seccomp`, not parsed: its compiled form is usually in the cache.
    pub seccomp: Option<String>,
    /// Capabilities of the configuration that nobody knows; they are left out.
    pub unknown_capabilities: Vec<String>,
}

impl Bundle {
    /// Reads and checks the bundle in the directory `path`.
    ///
    /// # Errors
    /// Where config.json is missing, is no JSON, or asks for something that cannot be.
    pub fn open(path: &Path) -> Result<Bundle> {
        Bundle::open_with(path, Path::new("config.json"))
    }

    /// As [`Bundle::open`], with the configuration in another file.
    ///
    /// # Errors
    /// As [`Bundle::open`].
    pub fn open_with(path: &Path, config: &Path) -> Result<Bundle> {
        let path = std::path::absolute(path).on("find the bundle", path)?;
        let file = path.join(config);
        let text = std::fs::read_to_string(&file).on("read", &file)?;
        let bundle = Bundle::parse(path, text)?;
        check::spec(&bundle.spec)?;
        Ok(bundle)
    }

    // ANCHOR: parse
    /// Parses a configuration. The seccomp profile is by far its longest part, and the same for
    /// most containers of a machine: it is cut out unparsed, as the key of a cache.
    ///
    /// # Errors
    /// [`Error::Json`].
    pub fn parse(path: PathBuf, text: String) -> Result<Bundle> {
        let json = |source| Error::Json { path: path.join("config.json"), source };
        let outline: Outline<'_> = json::parse(&text).map_err(json)?;
        let seccomp = outline.linux.and_then(|linux| linux.seccomp).map(RawValue::get);
        let without = match seccomp {
            // `seccomp` is a part of `text`, so the difference is its place.
            Some(seccomp) => {
                let at = seccomp.as_ptr() as usize - text.as_ptr() as usize;
                format!("{}null{}", &text[..at], &text[at + seccomp.len()..])
            }
            None => text.clone(),
        };
        let seccomp = seccomp.map(str::to_owned);
        let mut unknown_capabilities = Vec::new();
        let spec = match json::parse(&without) {
            Ok(spec) => spec,
            Err(error) => {
                let mut value: Value = json::parse(&without).map_err(json)?;
                let incomplete = value.get_mut("process").is_some_and(complete);
                unknown_capabilities = remove_unknown_capabilities(&mut value);
                if unknown_capabilities.is_empty() && !incomplete {
                    return Err(json(error));
                }
                json::convert(&value).map_err(json)?
            }
        };
        Ok(Bundle { path, spec, seccomp, unknown_capabilities, text })
    }
    // ANCHOR_END: parse

    /// The root file system's directory, absolute.
    ///
    /// # Errors
    /// Where the configuration has none.
    pub fn rootfs(&self) -> Result<PathBuf> {
        let root = self.spec.root().as_ref();
        let root = root.ok_or_else(|| Error::invalid("root", "is missing from config.json"))?;
        Ok(self.path.join(root.path()))
    }
}

/// Where the seccomp profile is.
#[derive(Deserialize)]
struct Outline<'a> {
    #[serde(borrow)]
    linux: Option<OutlineLinux<'a>>,
}

#[derive(Deserialize)]
struct OutlineLinux<'a> {
    #[serde(borrow)]
    seccomp: Option<&'a RawValue>,
}

/// Fills in what a process may leave out where the type of one demands it: callers written in Go
/// leave out what is zero. Tells whether anything was missing.
pub(crate) fn complete(process: &mut Value) -> bool {
    let Some(process) = process.as_object_mut() else { return false };
    let user = process.entry("user").or_insert_with(|| json!({}));
    let Some(user) = user.as_object_mut() else { return false };
    let mut incomplete = false;
    for id in ["uid", "gid"] {
        incomplete |= !user.contains_key(id);
        user.entry(id).or_insert_with(|| json!(0));
    }
    incomplete
}

/// Takes out the names that the type of a capability does not know: a newer caller may ask for
/// what a newer kernel has.
pub(crate) fn remove_unknown_capabilities(config: &mut Value) -> Vec<String> {
    let pointer =
        if config.get("process").is_some() { "/process/capabilities" } else { "/capabilities" };
    let mut unknown = BTreeSet::new();
    let sets = config.pointer_mut(pointer).and_then(Value::as_object_mut);
    for set in sets.into_iter().flat_map(|sets| sets.values_mut()) {
        let Some(names) = set.as_array_mut() else { continue };
        names.retain(|name| {
            let known = json::convert::<Capability>(name).is_ok();
            if !known {
                unknown.insert(name.as_str().unwrap_or_default().to_owned());
            }
            known
        });
    }
    unknown.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Bundle {
        Bundle::parse("/b".into(), text.to_owned()).unwrap()
    }

    #[test]
    fn the_seccomp_profile_is_cut_out_as_it_stands() {
        let bundle = parse(
            r#"{"ociVersion":"1.0.2","linux":{"seccomp": {"defaultAction":"SCMP_ACT_ALLOW"} ,"cgroupsPath":"/x"}}"#,
        );
        assert_eq!(bundle.seccomp.unwrap(), r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#);
        let linux = bundle.spec.linux().as_ref().unwrap();
        assert!(linux.seccomp().is_none());
        assert_eq!(linux.cgroups_path().as_deref(), Some(Path::new("/x")));
    }

    #[test]
    fn an_unknown_capability_is_left_out() {
        let bundle = parse(
            r#"{"ociVersion":"1.0.2","process":{"cwd":"/","user":{"uid":0,"gid":0},
                "capabilities":{"bounding":["CAP_CHOWN","CAP_FLY"],"effective":["CAP_FLY"]}}}"#,
        );
        assert_eq!(bundle.unknown_capabilities, ["CAP_FLY"]);
        let process = bundle.spec.process().as_ref().unwrap();
        let capabilities = process.capabilities().as_ref().unwrap();
        assert_eq!(capabilities.bounding().as_ref().unwrap().len(), 1);
    }

    #[test]
    fn what_is_no_json_is_told_with_its_place() {
        let error = Bundle::parse("/b".into(), "{\n x".into()).unwrap_err().to_string();
        assert!(error.starts_with("/b/config.json: ") && error.contains("line 2"), "{error}");
    }
}
