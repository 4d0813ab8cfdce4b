//! The engine's errors, as dockerd says them: a status, and its sentence where clients know one.

use corten_builder::Error as BuildError;
use corten_daemon::Failure;
use corten_supervisor::protocol::Code;

use crate::engine::Error;

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let message = error.to_string();
        match error {
            Error::NoSuchContainer { name } => {
                Failure::missing(format!("No such container: {name}"))
            }
            Error::NoSuchPath { .. } | Error::NoSuchVolume { .. } => Failure::missing(message),
            Error::VolumeInUse { .. } => Failure::conflict(message),
            Error::Ambiguous { prefix, .. } => {
                Failure::invalid(format!("multiple IDs found with provided prefix: {prefix}"))
            }
            Error::NotRunning { id } => Failure::conflict(format!("Container {id} is not running")),
            Error::Running { .. } | Error::NameTaken { .. } | Error::ImageInUse { .. } => {
                Failure::conflict(message)
            }
            Error::NotPulled { name } => no_such_image(&name),
            Error::Invalid { what, why } => {
                Failure::invalid(account(&what, &why).unwrap_or(message))
            }
            Error::Refused { .. } => refused(message),
            Error::Build(error)
                if matches!(*error, BuildError::Refused { .. } | BuildError::Invalid { .. }) =>
            {
                Failure::invalid(message)
            }
            Error::Registry(error) => registry(*error),
            Error::Network(error) => network(&error),
            Error::Supervisor(error) => supervisor(&error),
            Error::Layers(error) if error.is_refusal() => Failure::invalid(message),
            _ => Failure::internal(message),
        }
    }
}

/// Users and groups that an image does not know, in dockerd's words.
pub(super) fn account(what: &str, why: &str) -> Option<String> {
    let (_, rest) = (what.strip_prefix("user `")?, why.strip_prefix("no ")?);
    let (kind, rest) = rest.split_once(' ')?;
    let name = rest.split(" in the image's").next()?;
    let file = if kind == "user" { "passwd" } else { "group" };
    Some(format!("unable to find {kind} {name}: no matching entries in {file} file"))
}

/// Sentences of dockerd's that are not for a request that makes no sense.
fn refused(message: String) -> Failure {
    let has = |text: &str| message.contains(text);
    if has("error looking up volume plugin")
        || message.starts_with("endpoint ") && message.ends_with(" not found")
    {
        return Failure::missing(message);
    }
    if has("is marked read-only")
        || has("cannot be connected to any other network")
        || has("sharing network namespace")
    {
        return Failure::forbidden(message);
    }
    if has("could not select device driver") {
        return Failure::internal(message);
    }
    Failure::invalid(message)
}

/// Chapter 6's errors.
pub(super) fn registry(error: corten_registry::Error) -> Failure {
    use corten_registry::Error as Registry;
    let message = error.to_string();
    match error {
        Registry::NoSuchImage { name } => no_such_image(&name),
        Registry::Invalid { what: "image reference", text, .. } => {
            let is_upper = text.chars().any(char::is_uppercase);
            let path = text.split(['@']).next().unwrap_or_default();
            let has_upper = path.rsplit_once(':').map_or(path, |(name, _)| name);
            match is_upper && has_upper.chars().any(char::is_uppercase) {
                true => Failure::invalid(
                    "invalid reference format: repository name must be lowercase".to_owned(),
                ),
                false => Failure::invalid("invalid reference format".to_owned()),
            }
        }
        Registry::Invalid { .. } => Failure::invalid(message),
        Registry::Ambiguous { .. } => Failure::invalid(message),
        Registry::SeveralNames { id, .. } => Failure::conflict(format!(
            "conflict: unable to delete {id} (must be forced) - image is referenced in multiple \
             repositories"
        )),
        Registry::NoPlatform { .. } => Failure::missing(message),
        Registry::Untrusted { .. } => Failure::forbidden(message),
        Registry::Refused(refusal) => match refusal.status {
            401 | 403 => Failure::missing(format!(
                "pull access denied, repository does not exist or may require 'docker login': \
                 {message}"
            )),
            404 => Failure::missing(message),
            _ => Failure::internal(message),
        },
        Registry::Malformed { .. } | Registry::Unsupported { .. } => Failure::invalid(message),
        _ => Failure::internal(message),
    }
}

/// With the tag that is meant where none was said, as dockerd has it.
pub(super) fn no_such_image(name: &str) -> Failure {
    let shown = match corten_registry::Reference::parse(name) {
        Ok(reference) if !is_id(name) => reference.familiar(),
        _ => name.to_owned(),
    };
    Failure::missing(format!("No such image: {shown}"))
}

fn is_id(name: &str) -> bool {
    name.starts_with("sha256:") || name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Chapter 7's errors.
fn network(error: &corten_network::Error) -> Failure {
    use corten_network::Error as Network;
    let message = error.to_string();
    match error {
        Network::NoSuchNetwork { .. } | Network::NoSuchConfiguration { .. } => {
            Failure::missing(message)
        }
        Network::NameInUse { .. } => Failure::conflict(message),
        Network::Predefined { what: "created", name } => {
            Failure::forbidden(format!("operation is not permitted on predefined {name} network "))
        }
        Network::Predefined { .. }
        | Network::ActiveEndpoints { .. }
        | Network::Configuration { .. }
        | Network::ConfigurationInUse { .. }
        | Network::AlreadyConnected { .. }
        | Network::NotConnected { .. }
        | Network::Overlap { .. } => Failure::forbidden(message),
        Network::Ambiguous { .. } => Failure::invalid(message),
        // A driver that is none is something that was not found.
        Network::Invalid { why, .. } if why.contains("could not be found") => {
            Failure::missing(message)
        }
        Network::Invalid { .. } => Failure::invalid(message),
        Network::PortInUse { .. } | Network::AddressInUse { .. } => Failure::internal(message),
        _ => Failure::internal(message),
    }
}

/// Chapter 5's errors, and through them what the runtime could not do.
fn supervisor(error: &corten_supervisor::Error) -> Failure {
    use corten_supervisor::Error as Supervisor;
    let message = error.to_string();
    match error {
        Supervisor::Refused(failure) => match (failure.code, failure.status) {
            (_, Some(status @ (126 | 127))) => Failure::invalid(format!(
                "failed to create shim task: OCI runtime create failed: unable to start container \
                 process: {}: unknown",
                unstartable(&message, status)
            )),
            (Code::State, _) => Failure::conflict(message),
            (Code::NotFound, _) => Failure::missing(message),
            (Code::Invalid, _) => Failure::invalid(message),
            (Code::Unknown | Code::Failed, _) => Failure::internal(message),
        },
        Supervisor::Invalid { .. } | Supervisor::LogOptions { .. } => Failure::invalid(message),
        _ => Failure::internal(message),
    }
}

/// Docker's client tells the exit status of `docker run` by words in this sentence.
pub(super) fn unstartable(message: &str, status: u8) -> String {
    let has = |word: &str| message.contains(word);
    let text = message.to_owned();
    match status {
        127 if !has("executable file not found") && !has("no such file or directory") => {
            format!("{text}: executable file not found in $PATH")
        }
        126 if !has("permission denied") && !has("is a directory") => {
            format!("{text}: permission denied")
        }
        _ => text,
    }
}
