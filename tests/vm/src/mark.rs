//! Marks in the stream from the guest: where a job begins and ends.
//!
//! The guest's init sends everything through one pipe, so that output and marks keep their order.
//! A mark is the byte 0x1e (ASCII's record separator), a nonce of 128 bits that only the host and
//! the guest's init know, a space, a few words and a newline. What a job prints can't be one.

/// What a job's end was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobStatus {
    /// The exit status; 128 and the signal's number where a signal killed it, as in the shell.
    Exited(u8),
    /// It lasted longer than its limit and was killed.
    TimedOut,
    /// The VM ended while it ran.
    Lost,
    /// The VM ended before it was started.
    NotRun,
}

impl JobStatus {
    /// Whether the job ended by itself with status 0.
    pub fn success(self) -> bool {
        self == JobStatus::Exited(0)
    }
}

/// One mark.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Mark {
    /// The guest is set up: seconds since its kernel started, and the kernel's release.
    Boot { uptime: f64, release: String },
    /// The job with this index begins.
    Start(usize),
    /// The job with this index has ended.
    End(usize, JobStatus),
    /// All jobs have ended.
    Done,
}

impl Mark {
    fn parse(line: &str) -> Option<Mark> {
        let mut words = line.split_whitespace();
        let verb = words.next()?;
        let first = words.next();
        let second = words.next();
        match verb {
            "boot" => {
                let release = second.unwrap_or_default().to_owned();
                Some(Mark::Boot { uptime: first?.parse().ok()?, release })
            }
            "start" => Some(Mark::Start(first?.parse().ok()?)),
            "end" => {
                let status = match second? {
                    "limit" => JobStatus::TimedOut,
                    number => JobStatus::Exited(number.parse().ok()?),
                };
                Some(Mark::End(first?.parse().ok()?, status))
            }
            "done" => Some(Mark::Done),
            _ => None,
        }
    }
}

/// A piece of the stream.
#[derive(Debug, PartialEq)]
pub(crate) enum Piece {
    Output(Vec<u8>),
    Mark(Mark),
}

/// Takes the stream apart, however it is cut into reads.
pub(crate) struct MarkReader {
    prefix: Vec<u8>,
    pending: Vec<u8>,
}

impl MarkReader {
    pub(crate) fn new(nonce: &str) -> MarkReader {
        MarkReader { prefix: format!("\x1e{nonce} ").into_bytes(), pending: Vec::new() }
    }

    /// The pieces that are complete after `bytes`.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<Piece> {
        self.pending.extend_from_slice(bytes);
        let mut pieces = Vec::new();
        loop {
            let start = self.possible_mark();
            if start > 0 {
                pieces.push(Piece::Output(self.pending.drain(..start).collect()));
            }
            if self.pending.len() < self.prefix.len() {
                return pieces;
            }
            let Some(end) = self.pending.iter().position(|&byte| byte == b'\n') else {
                return pieces;
            };
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            let text = String::from_utf8_lossy(&line[self.prefix.len()..]);
            pieces.push(match Mark::parse(&text) {
                Some(mark) => Piece::Mark(mark),
                None => Piece::Output(line),
            });
        }
    }

    /// What is left when the stream has ended within something that looked like a mark.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.pending)
    }

    /// Where in `pending` a mark begins, or may begin once more has come; the length where nowhere.
    fn possible_mark(&self) -> usize {
        let starts_mark = |at: &usize| {
            let rest = &self.pending[*at..];
            let length = rest.len().min(self.prefix.len());
            rest[..length] == self.prefix[..length]
        };
        (0..self.pending.len()).find(starts_mark).unwrap_or(self.pending.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(text: &str) -> Piece {
        Piece::Output(text.as_bytes().to_vec())
    }

    #[test]
    fn output_and_marks_come_apart() {
        let mut reader = MarkReader::new("secret");
        let stream = b"\x1esecret boot 1.25 6.1.0\n\x1esecret start 0\nhi\x1esecret end 0 3\nrest";
        assert_eq!(
            reader.push(stream),
            [
                Piece::Mark(Mark::Boot { uptime: 1.25, release: "6.1.0".into() }),
                Piece::Mark(Mark::Start(0)),
                output("hi"),
                Piece::Mark(Mark::End(0, JobStatus::Exited(3))),
                output("rest"),
            ]
        );
    }

    #[test]
    fn a_mark_may_come_byte_by_byte() {
        let mut reader = MarkReader::new("secret");
        let stream = b"a\x1esecret end 7 limit\nb";
        let pieces: Vec<Piece> = stream.iter().flat_map(|byte| reader.push(&[*byte])).collect();
        let mark = Piece::Mark(Mark::End(7, JobStatus::TimedOut));
        assert_eq!(pieces, [output("a"), mark, output("b")]);
    }

    #[test]
    fn a_job_cannot_forge_a_mark() {
        let mut reader = MarkReader::new("secret");
        let forged = "\x1eguess end 0 0\n\x1e end 0 0\n";
        let printed: Vec<u8> = reader
            .push(forged.as_bytes())
            .into_iter()
            .flat_map(|piece| match piece {
                Piece::Output(bytes) => bytes,
                Piece::Mark(mark) => panic!("believed {mark:?}"),
            })
            .collect();
        assert_eq!(printed, forged.as_bytes());
    }

    #[test]
    fn a_status_out_of_range_is_no_mark() {
        assert_eq!(Mark::parse("end 0 256"), None);
        assert_eq!(Mark::parse("end 0"), None);
        assert_eq!(Mark::parse("begin 0"), None);
    }
}
