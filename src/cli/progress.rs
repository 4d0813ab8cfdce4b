//! How a pull or a push is shown: a bar per layer on a terminal, else a line when something is done.

use corten_registry::Event as Pull;

use super::remote::Messages;
use crate::engine::notices::{Notices, Way};
use crate::engine::pull::Event;

/// Where to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    /// Standard output, for `pull`.
    Output,
    /// Standard error, for `run`, whose standard output is the container's.
    Error,
}

/// The state of what is shown.
pub(super) struct Shown {
    notices: Notices,
    messages: Messages,
}

impl Shown {
    pub(super) fn new(stream: Stream) -> Shown {
        Shown { notices: Notices::new(Way::Down), messages: Messages::new(stream) }
    }

    /// The same for a push.
    pub(super) fn up(stream: Stream) -> Shown {
        Shown { notices: Notices::new(Way::Up), messages: Messages::new(stream) }
    }

    /// Shows what happened.
    pub(super) fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Pull(Pull::OtherPlatform(platform)) => {
                self.line(&format!("Warning: this image is for {platform}, not for this machine"));
            }
            Event::Warning(text) => self.line(&format!("WARNING: {text}")),
            // What comes next is the container's, or whoever asked for it goes on.
            Event::Created(_) => self.messages.rest(),
            event => {
                let messages = &mut self.messages;
                self.notices.tell(&event, &mut |notice| messages.notice(&notice));
            }
        }
    }

    /// A line of text, above the bars.
    pub(super) fn line(&self, text: &str) {
        self.messages.print(text);
    }
}
