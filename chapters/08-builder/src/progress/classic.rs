//! The stream of Docker's classic builder, as `POST /build` answers with it: JSON documents, one a
//! line, with `stream`, `aux`, `errorDetail`.

use serde_json::{Value, json};

use super::{Event, short};
use crate::error::Error;

/// Makes the lines of the stream.
#[derive(Debug, Clone, Default)]
pub struct Classic {
    /// Whether only the image's id is wanted (`q`).
    quiet: bool,
}

impl Classic {
    /// With `quiet`, nothing but the image's id is told.
    pub fn new(quiet: bool) -> Classic {
        Classic { quiet }
    }

    /// The lines for an event, each with its end.
    pub fn event(&mut self, event: &Event) -> Vec<u8> {
        self.documents(event).iter().flat_map(line).collect()
    }

    /// The documents for an event.
    pub fn documents(&mut self, event: &Event) -> Vec<Value> {
        if self.quiet {
            return match event {
                Event::Built { image } => vec![stream(&format!("{image}\n"))],
                _ => Vec::new(),
            };
        }
        // ANCHOR: documents
        let document = match event {
            Event::Step { number, total, text, .. } => {
                return vec![stream(&format!("Step {number}/{total} : {text}")), stream("\n")];
            }
            Event::Cached { .. } => stream(" ---\u{3e} Using cache\n"),
            Event::Running { container, .. } => {
                stream(&format!(" ---\u{3e} Running in {}\n", short(container)))
            }
            Event::Output { bytes, error, .. } => {
                let text = String::from_utf8_lossy(bytes);
                match error {
                    // Red.
                    true => stream(&format!("\u{1b}[91m{text}\u{1b}[0m")),
                    false => stream(&text),
                }
            }
            Event::Removed { container, .. } => {
                stream(&format!("Removing intermediate container {}\n", short(container)))
            }
            Event::Fetching { notice, .. } => notice.document(),
            Event::Note { text, .. } => stream(&format!("{text}\n")),
            Event::Done { image, .. } => stream(&format!(" ---\u{3e} {}\n", short(image))),
            Event::Failed { .. } => return Vec::new(),
            Event::Stage { image } => json!({"aux": {"ID": image}}),
            Event::Doubts { texts } => {
                let lines: String =
                    texts.iter().map(|text| format!("[WARNING]: {text}\n")).collect();
                let last = "Empty continuation lines will become errors in a future release.";
                stream(&format!("\u{1b}[91m{lines}[WARNING]: {last}\n\u{1b}[0m"))
            }
            Event::Warning { text } => stream(&format!("[Warning] {text}\n")),
            Event::Built { image } => stream(&format!("Successfully built {}\n", short(image))),
            Event::Tagged { name } => stream(&format!("Successfully tagged {name}\n")),
        };
        vec![document]
        // ANCHOR_END: documents
    }

    /// The last line of a build that has failed.
    pub fn error(&self, error: &Error) -> Vec<u8> {
        line(&Classic::failure(error))
    }

    /// The document of a build that has failed.
    pub fn failure(error: &Error) -> Value {
        let message = error.classic();
        let mut detail = json!({"message": message});
        if let Some(code) = error.code() {
            detail["code"] = json!(code);
        }
        json!({"errorDetail": detail, "error": message})
    }
}

fn stream(text: &str) -> Value {
    json!({ "stream": text })
}

/// A document as Go's encoder writes it: `<`, `>` and `&` as `\u….`, and the end of a line is CR LF.
fn line(document: &Value) -> Vec<u8> {
    let text = document.to_string();
    let escaped = text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    format!("{escaped}\r\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use corten_registry::notice::{Kind, Notice};

    use super::*;

    #[test]
    fn lines_are_those_of_dockerd() {
        let mut classic = Classic::new(false);
        let mut text = |event: Event| String::from_utf8(classic.event(&event)).unwrap();
        let step =
            Event::Step { number: 1, total: 3, stage: "0".into(), text: "FROM busybox".into() };
        assert_eq!(
            text(step),
            "{\"stream\":\"Step 1/3 : FROM busybox\"}\r\n{\"stream\":\"\\n\"}\r\n"
        );
        let notice =
            Notice { id: "aa".into(), status: "Downloading".into(), kind: Kind::Moving(1, 2) };
        assert_eq!(
            text(Event::Fetching { number: 1, notice }),
            "{\"id\":\"aa\",\"progressDetail\":{\"current\":1,\"total\":2},\
             \"status\":\"Downloading\"}\r\n"
        );
        let image = "sha256:0123456789abcdef".to_owned();
        let took = std::time::Duration::ZERO;
        assert_eq!(
            text(Event::Done { number: 1, image: image.clone(), took }),
            "{\"stream\":\" ---\\u003e 0123456789ab\\n\"}\r\n"
        );
        assert_eq!(
            text(Event::Stage { image }),
            "{\"aux\":{\"ID\":\"sha256:0123456789abcdef\"}}\r\n"
        );
    }

    #[test]
    fn an_error_has_its_code() {
        let error = Error::Failed {
            place: Box::default(),
            command: "/bin/sh -c false".into(),
            status: 1,
            remedy: String::new(),
            kept: None,
        };
        let text = String::from_utf8(Classic::default().error(&error)).unwrap();
        assert_eq!(
            text,
            "{\"error\":\"The command '/bin/sh -c false' returned a non-zero code: 1\",\
             \"errorDetail\":{\"code\":1,\"message\":\"The command '/bin/sh -c false' returned a \
             non-zero code: 1\"}}\r\n"
        );
    }
}
