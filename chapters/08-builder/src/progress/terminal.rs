//! On a terminal: a line per step, which shows the last of its output while it runs and collapses to
//! its time when it is done.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Instant;

use corten_registry::notice::Kind;

use super::{Event, short};

/// Lines of output that are shown of a step that runs.
const TAIL: usize = 4;

/// Bytes of output that are kept of a step, for when it fails; a command may write without an end.
const KEPT: usize = 1 << 20;

/// Bytes of output that the shown lines are looked for in.
const LOOKED_AT: usize = 4 << 10;

/// What is on the terminal.
#[derive(Debug)]
pub struct Terminal {
    columns: usize,
    /// Steps that run.
    running: BTreeMap<usize, Running>,
    /// Lines below the finished ones, which are drawn again each time.
    drawn: usize,
}

#[derive(Debug)]
struct Running {
    title: String,
    since: Instant,
    cached: bool,
    output: Vec<u8>,
    /// What is fetched for it, each by its name.
    fetched: BTreeMap<String, String>,
}

impl Terminal {
    /// A terminal of so many columns.
    pub fn new(columns: usize) -> Terminal {
        Terminal { columns: columns.max(20), running: BTreeMap::new(), drawn: 0 }
    }

    /// What to write for an event.
    pub fn event(&mut self, event: &Event) -> Vec<u8> {
        let mut finished = String::new();
        match event {
            Event::Step { number, total, stage, text } => {
                let first = text.lines().next().unwrap_or_default();
                let title = format!("[{stage} {number}/{total}] {first}");
                let since = Instant::now();
                let (cached, output, fetched) = (false, Vec::new(), BTreeMap::new());
                let step = Running { title, since, cached, output, fetched };
                self.running.insert(*number, step);
            }
            Event::Cached { number } => {
                if let Some(step) = self.running.get_mut(number) {
                    step.cached = true;
                }
            }
            Event::Fetching { number, notice } => {
                if let Some(step) = self.running.get_mut(number) {
                    let state = match notice.kind {
                        Kind::Moving(done, size) => {
                            format!("{} {:.1}/{:.1} MB", notice.status, mega(done), mega(size))
                        }
                        _ => notice.status.clone(),
                    };
                    step.fetched.insert(notice.id.clone(), state);
                }
            }
            Event::Output { number, bytes, .. } => {
                if let Some(step) = self.running.get_mut(number) {
                    step.output.extend_from_slice(bytes);
                    // Only now and then: the rest is moved each time.
                    if step.output.len() > 2 * KEPT {
                        step.output.drain(..step.output.len() - KEPT);
                    }
                }
            }
            Event::Done { number, took, .. } => {
                if let Some(step) = self.running.remove(number) {
                    let title = self.cut(&step.title);
                    let _ = match step.cached {
                        true => writeln!(finished, "\x1b[34m CACHED {title}\x1b[0m"),
                        false => {
                            let seconds = took.as_secs_f64();
                            writeln!(finished, "\x1b[34m=> {title} {seconds:.1}s\x1b[0m")
                        }
                    };
                }
            }
            Event::Failed { number } => {
                if let Some(step) = self.running.remove(number) {
                    let _ = writeln!(finished, "\x1b[31m=> ERROR {}\x1b[0m", self.cut(&step.title));
                    finished.push_str(&printable(&String::from_utf8_lossy(&step.output)));
                    if !finished.ends_with('\n') {
                        finished.push('\n');
                    }
                }
            }
            Event::Doubts { texts } => {
                for text in texts {
                    let words: Vec<&str> = text.split_whitespace().collect();
                    let _ = writeln!(finished, "warning: {}", words.join(" "));
                }
            }
            Event::Warning { text } => {
                let _ = writeln!(finished, "warning: {text}");
            }
            Event::Note { text, .. } => {
                let _ = writeln!(finished, "   {}", self.cut(text));
            }
            Event::Built { image } => {
                let _ = writeln!(finished, "built {}", short(image));
            }
            Event::Tagged { name } => {
                let _ = writeln!(finished, "tagged {name}");
            }
            Event::Running { .. } | Event::Removed { .. } | Event::Stage { .. } => {
                return Vec::new();
            }
        }
        self.draw(&finished).into_bytes()
    }

    fn draw(&mut self, finished: &str) -> String {
        let mut text = String::new();
        if self.drawn > 0 {
            let _ = write!(text, "\x1b[{}A", self.drawn);
        }
        text.push_str("\r\x1b[J");
        text.push_str(finished);
        let mut lines = Vec::new();
        for step in self.running.values() {
            let seconds = step.since.elapsed().as_secs_f64();
            lines.push(format!("=> {} {seconds:.1}s", self.cut(&step.title)));
            let fetched = step.fetched.iter().filter(|_| step.output.is_empty());
            let fetched = fetched.map(|(id, state)| match id.as_str() {
                "" => state.clone(),
                id => format!("{id}: {state}"),
            });
            lines.extend(fetched.take(TAIL).map(|line| format!("   {}", self.cut(&line))));
            let last = step.output.len().saturating_sub(LOOKED_AT);
            let last = step.output.get(last..).unwrap_or_default();
            let output = printable(&String::from_utf8_lossy(last));
            let tail: Vec<&str> = output.lines().rev().take(TAIL).collect();
            lines.extend(tail.iter().rev().map(|line| format!("   {}", self.cut(line))));
        }
        self.drawn = lines.len();
        for line in lines {
            text.push_str(&line);
            text.push('\n');
        }
        text
    }

    /// A text that fits on a line, beside what stands around it.
    fn cut(&self, text: &str) -> String {
        let room = self.columns.saturating_sub(16);
        let clean = printable(text);
        match clean.chars().count() > room {
            true => clean.chars().take(room.saturating_sub(1)).chain(['…']).collect(),
            false => clean,
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "for a person to read")]
fn mega(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Output of a stranger's program moves no cursor of ours.
fn printable(text: &str) -> String {
    let last = |line: &str| line.rsplit('\r').find(|part| !part.is_empty()).map(str::to_owned);
    let lines = text.split('\n').map(|line| last(line).unwrap_or_default());
    let lines: Vec<String> = lines
        .map(|line| line.chars().filter(|c| !c.is_control() || *c == '\t').collect())
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use corten_registry::notice::Notice;

    use super::*;

    #[test]
    fn a_step_collapses_when_it_is_done() {
        let mut terminal = Terminal::new(60);
        let step =
            |number| Event::Step { number, total: 2, stage: "0".into(), text: "RUN x".into() };
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        assert!(text(terminal.event(&step(1))).contains("=> [0 1/2] RUN x"));
        let output = Event::Output { number: 1, error: false, bytes: b"one\n\x1b[2Jtwo\n".into() };
        let shown = text(terminal.event(&output));
        assert!(shown.contains("   one\n   [2Jtwo"), "{shown:?}");
        let took = std::time::Duration::from_secs(2);
        let done = text(terminal.event(&Event::Done { number: 1, image: "i".into(), took }));
        assert!(done.starts_with("\x1b[3A\r\x1b[J") && done.contains("RUN x 2.0s"), "{done:?}");
    }

    #[test]
    fn what_is_fetched_has_a_line_each() {
        let mut terminal = Terminal::new(60);
        let text = "FROM x".to_owned();
        terminal.event(&Event::Step { number: 1, total: 1, stage: "0".into(), text });
        let mut fetching = |id: &str, status: &str, kind| {
            let notice = Notice { id: id.into(), status: status.into(), kind };
            String::from_utf8(terminal.event(&Event::Fetching { number: 1, notice })).unwrap()
        };
        fetching("aa", "Pulling fs layer", Kind::Layer);
        fetching("bb", "Already exists", Kind::Layer);
        let shown = fetching("aa", "Downloading", Kind::Moving(1_000_000, 2_500_000));
        assert!(
            shown.contains("\n   aa: Downloading 1.0/2.5 MB\n   bb: Already exists\n"),
            "{shown:?}"
        );
    }

    #[test]
    fn output_without_an_end_is_kept_in_part() {
        let mut terminal = Terminal::new(60);
        let text = "RUN yes".to_owned();
        terminal.event(&Event::Step { number: 1, total: 1, stage: "0".into(), text });
        let bytes = vec![b'y'; KEPT];
        for _ in 0..5 {
            terminal.event(&Event::Output { number: 1, error: false, bytes: bytes.clone() });
        }
        let failed = terminal.event(&Event::Failed { number: 1 });
        assert!((KEPT..3 * KEPT).contains(&failed.len()), "{}", failed.len());
    }
}
