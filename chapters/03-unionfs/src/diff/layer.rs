//! Changes as a layer: the sink that writes a tar archive.

use std::io::Write;
use std::path::Path;

use super::{Change, Node, Sink};
use crate::archive::write::Writer;
use crate::archive::{Kind, Segment, Time};
use crate::copy::each_segment;
use crate::digest::DiffId;
use crate::error::{Error, Result};
use crate::node::{self, Attributes};
use crate::whiteout;
use corten_namespaces::Context;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// The SHA-256 of the plain stream.
    pub diff_id: DiffId,
    /// Entries of the archive.
    pub entries: u64,
    /// Bytes of the plain stream.
    pub bytes: u64,
}

/// Writes changes as a plain tar stream.
pub struct LayerWriter<W: Write> {
    writer: Writer<W>,
}

impl<W: Write> LayerWriter<W> {
    /// A layer that is written to `to`.
    pub fn new(to: W) -> LayerWriter<W> {
        LayerWriter { writer: Writer::new(to) }
    }

    /// Ends the archive, and returns what it was written to.
    ///
    /// # Errors
    /// Where the end cannot be written.
    pub fn finish(self) -> Result<(W, Written)> {
        let (to, diff_id, entries, bytes) = self.writer.finish().map_err(wrote)?;
        Ok((to, Written { diff_id, entries, bytes }))
    }

    /// A file of root's that is in no tree.
    pub(super) fn file(&mut self, path: &Path, content: &[u8]) -> Result<()> {
        let size = content.len() as u64;
        let attributes =
            Attributes { uid: 0, gid: 0, mode: 0o644, mtime: Time::default(), xattrs: Vec::new() };
        let map: Vec<Segment> = match size {
            0 => Vec::new(),
            length => vec![Segment { offset: 0, length }],
        };
        let mut to = self.writer.file(path, size, &map, &attributes).map_err(wrote)?;
        to.write(content).map_err(wrote)?;
        to.end().map_err(wrote)
    }

    fn node(&mut self, node: &Node<'_>) -> Result<()> {
        let Kind::File { size } = node.kind else {
            return self.writer.entry(node.path, &node.kind, &node.attributes).map_err(wrote);
        };
        let file = node.open()?;
        let map = map(&file, size).on("find the holes of", node.path)?;
        let attributes = &node.attributes;
        let mut content = self.writer.file(node.path, size, &map, attributes).map_err(wrote)?;
        let mut buffer = vec![0; 128 * 1024];
        for segment in &map {
            let (mut at, end) = (segment.offset, segment.offset + segment.length);
            while at < end {
                let wanted = buffer.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
                let read = file.read_at(&mut buffer[..wanted], at);
                let length = read.map_err(node::errno).on("read", node.path)?;
                if length == 0 {
                    let why = "it has become shorter while it was packed".into();
                    return Err(Error::Invalid { what: node.path.display().to_string(), why });
                }
                content.write(&buffer[..length]).map_err(wrote)?;
                at += length as u64;
            }
        }
        content.end().map_err(wrote)
    }
}

impl<W: Write> Sink for LayerWriter<W> {
    fn change(&mut self, change: Change<'_>) -> Result<()> {
        match change {
            // Whoever opened it is not in the layer, so nobody would answer.
            Change::Made(node) if node.kind == Kind::Socket => Ok(()),
            Change::Made(node) => self.node(&node),
            Change::Deleted(path) => {
                let name = whiteout::hiding(path.file_name().unwrap_or_default());
                let parent = path.parent().unwrap_or(Path::new(""));
                self.writer.mark(&parent.join(name)).map_err(wrote)
            }
            Change::Emptied(path) => {
                self.writer.mark(&path.join(whiteout::OPAQUE_NAME)).map_err(wrote)
            }
        }
    }
}

fn wrote(source: std::io::Error) -> Error {
    Error::Write { source }
}

const BLOCK: u64 = 4096;

// ANCHOR: map
/// The map of a file with holes: the blocks of 4096 bytes that are not all zero, whatever the file
/// system calls a hole. A file without holes is one piece, and is not read for it.
fn map(file: &File, size: u64) -> nix::Result<Vec<Segment>> {
    let mut found = Vec::new();
    each_segment(file, size, |start, end| {
        found.push(Segment { offset: start, length: end - start });
        Ok(())
    })?;
    let whole = Segment { offset: 0, length: size };
    if size == 0 || found == [whole] {
        return Ok(if size == 0 { Vec::new() } else { vec![whole] });
    }
    let mut map: Vec<Segment> = Vec::new();
    let mut block = [0; BLOCK as usize];
    for segment in found {
        let mut at = segment.offset / BLOCK * BLOCK;
        // Two segments may meet in one block.
        at = at.max(map.last().map_or(0, |last| last.offset + last.length));
        while at < segment.offset + segment.length {
            let wanted = BLOCK.min(size - at) as usize;
            file.read_exact_at(&mut block[..wanted], at).map_err(node::errno)?;
            if block[..wanted].iter().any(|&byte| byte != 0) {
                match map.last_mut().filter(|last| last.offset + last.length == at) {
                    Some(last) => last.length += wanted as u64,
                    None => map.push(Segment { offset: at, length: wanted as u64 }),
                }
            }
            at += wanted as u64;
        }
    }
    Ok(map)
}
// ANCHOR_END: map
