//! One line after the other, for files and pipes: `#NUMBER` tells what a line belongs to.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::{Event, short};

/// So many bytes without the end of a line are a line: a command may write without one for ever.
const LONGEST: usize = 64 << 10;

/// Makes the lines.
#[derive(Debug, Default)]
pub struct Plain {
    /// What a step has written since the last end of a line.
    open: HashMap<usize, Vec<u8>>,
}

impl Plain {
    /// The text for an event.
    pub fn event(&mut self, event: &Event) -> Vec<u8> {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = match event {
            Event::Step { number, total, stage, text: instruction } => {
                writeln!(text, "#{number} [{stage} {number}/{total}] {instruction}")
            }
            Event::Cached { number } => writeln!(text, "#{number} CACHED"),
            Event::Output { number, bytes, .. } => return self.output(*number, bytes),
            Event::Fetching { number, notice } => match notice.plain() {
                Some(line) => writeln!(text, "#{number} {line}"),
                None => Ok(()),
            },
            Event::Note { number, text: note } => writeln!(text, "#{number} {note}"),
            Event::Done { number, took, .. } => {
                let rest = self.rest(*number);
                let mut bytes = rest;
                bytes.extend(format!("#{number} DONE {:.1}s\n", took.as_secs_f64()).bytes());
                return bytes;
            }
            Event::Failed { number } => {
                let mut bytes = self.rest(*number);
                bytes.extend(format!("#{number} FAILED\n").bytes());
                return bytes;
            }
            Event::Doubts { texts } => {
                for doubt in texts {
                    let words: Vec<&str> = doubt.split_whitespace().collect();
                    let _ = writeln!(text, "warning: {}", words.join(" "));
                }
                Ok(())
            }
            Event::Warning { text: warning } => writeln!(text, "warning: {warning}"),
            Event::Built { image } => writeln!(text, "built {}", short(image)),
            Event::Tagged { name } => writeln!(text, "tagged {name}"),
            Event::Running { .. } | Event::Removed { .. } | Event::Stage { .. } => Ok(()),
        };
        text.into_bytes()
    }

    fn output(&mut self, number: usize, bytes: &[u8]) -> Vec<u8> {
        let open = self.open.entry(number).or_default();
        open.extend_from_slice(bytes);
        let end = match open.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => end + 1,
            None if open.len() >= LONGEST => open.len(),
            None => return Vec::new(),
        };
        let rest = open.split_off(end);
        let whole = std::mem::replace(open, rest);
        prefixed(number, &whole)
    }

    fn rest(&mut self, number: usize) -> Vec<u8> {
        match self.open.remove(&number) {
            Some(rest) if !rest.is_empty() => prefixed(number, &rest),
            _ => Vec::new(),
        }
    }
}

fn prefixed(number: usize, bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        text.extend(format!("#{number} ").bytes());
        text.extend_from_slice(line);
        if !line.ends_with(b"\n") {
            text.push(b'\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use corten_registry::notice::{Kind, Notice};

    use super::*;

    #[test]
    fn lines_are_whole() {
        let mut plain = Plain::default();
        let mut output = |text: &str| {
            let event = Event::Output { number: 2, error: false, bytes: text.into() };
            String::from_utf8(plain.event(&event)).unwrap()
        };
        assert_eq!(output("a"), "");
        assert_eq!(output("b\nc"), "#2 ab\n");
        assert_eq!(output(&"c".repeat(LONGEST)).len(), LONGEST + 5);
        assert_eq!(output("c"), "");
        let took = std::time::Duration::from_millis(1250);
        let done = Event::Done { number: 2, image: "x".into(), took };
        assert_eq!(String::from_utf8(plain.event(&done)).unwrap(), "#2 c\n#2 DONE 1.2s\n");
        let mut fetching = |kind| {
            let notice = Notice { id: "aa".into(), status: "Extracting".into(), kind };
            String::from_utf8(plain.event(&Event::Fetching { number: 1, notice })).unwrap()
        };
        assert_eq!(fetching(Kind::Layer), "#1 aa: Extracting\n");
        assert_eq!(fetching(Kind::Moving(1, 2)), "", "for people only");
    }
}
