//! A registry's "no", in words that help.

use std::io::Read as _;
use std::time::SystemTime;

use serde::Deserialize;
use ureq::Body;
use ureq::http::Response;

use super::transport::retry_after;
use crate::error::{Error, Refusal};
use crate::reference::Reference;

/// How much of an error's body is read.
const MAX_BODY: u64 = 64 << 10;
/// How much of a registry's message is shown.
const MAX_MESSAGE: usize = 300;

/// The distribution specification's error document (section "Error Codes").
#[derive(Deserialize, Default)]
struct Errors {
    #[serde(default)]
    errors: Vec<Detail>,
}

#[derive(Deserialize)]
struct Detail {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// Who refused.
#[derive(Debug, Clone, Copy)]
pub(super) enum Whom<'a> {
    TokenServer,
    Registry { host: &'a str, reference: Option<&'a Reference>, action: &'static str },
}

/// The error for an answer that is no success.
pub(super) fn error(
    method: &'static str,
    url: String,
    response: Response<Body>,
    whom: Whom<'_>,
) -> Error {
    let status = response.status().as_u16();
    let later = retry_after(&response, SystemTime::now()).filter(|wait| !wait.is_zero());
    let mut body = Vec::new();
    // A body that breaks off takes nothing from the status.
    let _ = response.into_body().into_reader().take(MAX_BODY).read_to_end(&mut body);
    let errors: Errors = serde_json::from_slice(&body).unwrap_or_default();
    let first = errors.errors.into_iter().next();
    let (code, message) = first.map(|d| (d.code, d.message)).unwrap_or_default();
    let mut remedy = remedy(status, &code, whom);
    if let Some(wait) = later {
        remedy = format!("it asks to be left alone for {} seconds", wait.as_secs());
    }
    let (code, message) = (clean(&code), clean(&message));
    Box::new(Refusal { method, url, status, code, message, remedy }).into()
}

fn remedy(status: u16, code: &str, whom: Whom<'_>) -> String {
    let Whom::Registry { host, reference, action } = whom else {
        return match status {
            401 | 403 => {
                "the token server does not know these credentials: log in again".to_owned()
            }
            _ => "the token server refuses: try again later".to_owned(),
        };
    };
    let name = reference.map_or_else(|| host.to_owned(), Reference::familiar);
    match status {
        401 => format!(
            "log in with `docker login {host}`, or check the name {name}: many registries answer so \
             for what does not exist"
        ),
        403 => format!("this account may not {action} {name}"),
        404 if action == "list" => {
            "this registry does not offer that, or the name is wrong".to_owned()
        }
        404 => format!("no such image or tag {name}: check the name"),
        405 if action == "delete" => {
            "this registry does not delete: its administrator can allow it".to_owned()
        }
        400 | 405 if action == "delete" && code != "DENIED" => {
            format!("this registry deletes by digest only: give {name}@sha256:…")
        }
        413 => "the registry's limit for a body: ask its administrator".to_owned(),
        429 => "too many requests: wait, or log in for a higher limit".to_owned(),
        500.. => "the registry is in trouble: try again later".to_owned(),
        _ => String::new(),
    }
}

/// What a registry says goes to a terminal: no control characters, not endless.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_MESSAGE).collect()
}
