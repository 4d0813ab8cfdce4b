//! Commands for a daemon elsewhere.
//!
//! Each has its remote form beside its local one, in its own file: it asks a
//! [`Backend`](corten_daemon::backend::Backend), chapter 9's view of an engine, and prints what both
//! forms print by the same columns. Here is what only the remote forms have: which commands there are,
//! answers as they are read, streams, copies, and lines of progress.

mod answer;
mod copy;
mod dispatch;
mod messages;
mod streams;

pub(super) use answer::{
    array, filters, format_labels, platforms, removed, rfc3339, short, text, timestamp, whole_name,
};
pub(super) use copy::Elsewhere;
pub(super) use dispatch::dispatch;
pub(super) use messages::{Messages, credentials_for, every_credential};
pub(super) use streams::{accompany, attach, exec_status, follow};
