//! `corten ps`.

use clap::Args;

use super::{print, table};
use crate::engine::state::{Record, State};
use crate::engine::{Engine, Result, clock};

#[derive(Debug, Args)]
pub(super) struct Ps {
    /// Containers that have ended, too
    #[arg(short, long)]
    all: bool,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
    /// Print ids and commands in full
    #[arg(long)]
    no_trunc: bool,
}

impl Ps {
    pub(super) fn execute(&self, engine: &Engine) -> Result<()> {
        let mut list = engine.containers().list()?;
        list.retain(|(_, state)| self.all || matches!(state, State::Running { .. }));
        let rows: Vec<_> = list.iter().map(|(record, state)| self.row(record, state)).collect();
        if self.quiet {
            let ids = rows.iter().filter_map(|row| row.first()).map(|id| format!("{id}\n"));
            return print(&ids.collect::<String>());
        }
        let header = ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "NAMES"];
        print(&table::render(&header, &rows))
    }

    fn row(&self, record: &Record, state: &State) -> Vec<String> {
        let id = if self.no_trunc { &record.id } else { record.short() };
        vec![
            id.to_owned(),
            record.config.image.clone(),
            command(&record.config.command(), self.no_trunc),
            clock::ago(&record.created),
            status(state),
            record.shown_name().to_owned(),
        ]
    }
}

/// The command in quotes. What could move the cursor is escaped; it came from an image.
fn command(args: &[String], full: bool) -> String {
    let mut text: String = args.join(" ").escape_debug().collect();
    if !full && text.chars().count() > 20 {
        text = text.chars().take(19).chain(['…']).collect();
    }
    format!("\"{text}\"")
}

fn status(state: &State) -> String {
    match state {
        State::Created => "Created".to_owned(),
        State::Running { started, .. } => {
            format!("Up {}", clock::ago(started).trim_end_matches(" ago"))
        }
        State::Exited { exit_code, finished, .. } => {
            format!("Exited ({exit_code}) {}", clock::ago(finished))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_cut_and_cannot_move_the_cursor() {
        let args = |list: &[&str]| list.iter().map(|&s| s.to_owned()).collect::<Vec<_>>();
        assert_eq!(command(&args(&["sh", "-c", "ls"]), false), "\"sh -c ls\"");
        assert_eq!(command(&args(&["echo", "\x1b[2J"]), false), "\"echo \\u{1b}[2J\"");
        let long = command(&args(&["0123456789012345678901"]), false);
        assert_eq!(long, "\"0123456789012345678…\"");
    }
}
