//! The shim's side of the log.

use crate::error::Result;
use crate::protocol::Event;
use crate::settings::Log;

/// Where the container's output goes.
#[derive(Debug)]
pub(crate) struct Output {
    file: Option<std::fs::File>,
}

impl Output {
    pub(crate) fn open(log: Option<&Log>) -> Result<Output> {
        let file = log.map(|log| {
            std::fs::OpenOptions::new()
                .append(true)
                .create(true)
                .open(&log.path)
                .map_err(|error| crate::Error::path("open", &log.path, error))
        });
        Ok(Output { file: file.transpose()? })
    }

    pub(crate) fn write(&mut self, _stderr: bool, bytes: &[u8]) -> Option<Event> {
        use std::io::Write;
        if let Some(file) = &mut self.file {
            let _ = file.write_all(bytes);
        }
        None
    }

    pub(crate) fn end(&mut self) {}

    pub(crate) fn has_work(&self) -> bool {
        false
    }

    pub(crate) fn work(&mut self) {}
}
