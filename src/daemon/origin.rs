//! Where images that were made of containers come from. An OCI image does not say it; dockerd keeps it
//! beside its images, and so do we: `origins/HEX.json`.

use std::path::PathBuf;

use corten_supervisor::durable::{self, Worth};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Api;

/// The origin of one image, under the names of `inspect`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Origin {
    /// The image that the container was made of.
    pub parent: String,
    /// The container.
    pub container: String,
    /// Its configuration.
    pub container_config: Value,
}

/// The configuration of the container that an image's last step was made in, from what its history says:
/// `/bin/sh -c #(nop)  CMD ["sh"]`, or `|1 NAME=VALUE /bin/sh -c make` of a build with arguments. `None`
/// where no classic builder has made it. Scripts read the arguments from there.
pub(super) fn container_config(created_by: &str, config: &Value) -> Option<Value> {
    let shell: Vec<&str> = match config["Shell"].as_array() {
        Some(shell) => shell.iter().filter_map(Value::as_str).collect(),
        None => vec!["/bin/sh", "-c"],
    };
    let joined = shell.join(" ");
    let at = match created_by.strip_prefix('|') {
        Some(_) => created_by.find(&format!(" {joined} "))? + 1,
        None => 0,
    };
    let (arguments, command) = created_by.split_at(at);
    let text = command.strip_prefix(&joined)?.strip_prefix(' ')?;
    let mut words: Vec<String> = arguments.split_whitespace().map(str::to_owned).collect();
    words.extend(shell.into_iter().map(str::to_owned));
    match text.strip_prefix("#(nop)  ") {
        Some(step) => words.extend(["#(nop) ".to_owned(), step.to_owned()]),
        None => words.push(text.to_owned()),
    }
    let mut container = config.clone();
    container["Cmd"] = json!(words);
    Some(container)
}

impl Api {
    fn origin_file(&self, image: &str) -> PathBuf {
        let hex = image.rsplit(':').next().unwrap_or(image);
        self.engine().root().join("origins").join(format!("{hex}.json"))
    }

    /// What is known of an image's origin.
    pub(super) fn origin(&self, image: &str) -> Option<Origin> {
        durable::read_json(&self.origin_file(image)).unwrap_or_default()
    }

    /// Writes down where an image comes from. The image counts more than that.
    pub(super) fn keep_origin(&self, image: &str, origin: &Origin) {
        let path = self.origin_file(image);
        let made = std::fs::create_dir_all(path.parent().unwrap_or(&path));
        if made.is_err() || durable::write_json(&path, origin, Worth::Durable).is_err() {
            tracing::warn!(image, "where an image comes from cannot be written down");
        }
    }

    /// The image is gone.
    pub(super) fn forget_origin(&self, image: &str) {
        let _ = std::fs::remove_file(self.origin_file(image));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_classic_builder_has_made_tells_its_container_s_command() {
        let of =
            |by: &str| container_config(by, &json!({"Cmd": null})).map(|own| own["Cmd"].clone());
        assert_eq!(
            of("|2 a=1 b=2 /bin/sh -c echo ${a}"),
            Some(json!(["|2", "a=1", "b=2", "/bin/sh", "-c", "echo ${a}"]))
        );
        assert_eq!(
            of("/bin/sh -c #(nop)  CMD [\"a\"]"),
            Some(json!(["/bin/sh", "-c", "#(nop) ", "CMD [\"a\"]"]))
        );
        assert_eq!(
            of("/bin/sh -c #(nop) COPY file:1 in / "),
            Some(json!(["/bin/sh", "-c", "#(nop) COPY file:1 in / "]))
        );
        for other in ["", "RUN /bin/sh -c make # buildkit", "/bin/sh -c", "|1 a=1"] {
            assert_eq!(of(other), None, "{other}");
        }
        let own = container_config("/bin/ash -eo ls", &json!({"Shell": ["/bin/ash", "-eo"]}));
        assert_eq!(own.unwrap()["Cmd"], json!(["/bin/ash", "-eo", "ls"]));
    }
}
