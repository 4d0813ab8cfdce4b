//! From a stream of bytes to the entries of a log, as moby's daemon/logger/copier.go cuts them.

/// So much of a line is one entry, its newline among it; the rest is the next.
pub(super) const LONGEST: usize = 16 << 10;

/// What becomes one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    /// Whether it was written to standard error.
    pub(super) stderr: bool,
    /// The line, or a part of one, without the newline.
    pub(super) line: &'a [u8],
    /// Which part of a longer line; `None` where it is a whole one.
    pub(super) part: Option<Part<'a>>,
}

/// A part of a line that is too long, or that the program has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part<'a> {
    /// All parts of a line have the same, and the time of the first of them.
    pub(super) id: &'a str,
    /// From 1.
    pub(super) ordinal: u32,
    /// Whether the line ends with it.
    pub(super) last: bool,
    /// When the first part was written.
    pub(super) time: u64,
}

impl Piece<'_> {
    /// Whether a newline followed.
    pub(super) fn ends(&self) -> bool {
        self.part.is_none_or(|part| part.last)
    }
}

/// The two streams of a program, cut into lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    streams: [Stream; 2],
    /// Whether parts of lines need ids: only `local` writes them down.
    ids: bool,
}

#[derive(Debug, Default)]
struct Stream {
    /// What is not ended yet.
    open: Vec<u8>,
    /// The line of which a part is written already.
    long: Option<Long>,
}

#[derive(Debug)]
struct Long {
    id: String,
    time: u64,
    ordinal: u32,
}

impl Lines {
    /// Of a program that has written nothing yet.
    pub(super) fn new(ids: bool) -> Lines {
        Lines { ids, ..Lines::default() }
    }

    // ANCHOR: take
    /// Takes in bytes that were written at `time`, and gives what has become whole to `emit`.
    pub(super) fn take(
        &mut self,
        stderr: bool,
        mut bytes: &[u8],
        time: u64,
        emit: &mut dyn FnMut(Piece<'_>),
    ) {
        let ids = self.ids;
        let stream = &mut self.streams[usize::from(stderr)];
        while !bytes.is_empty() {
            let room = (LONGEST - stream.open.len()).min(bytes.len());
            let (window, later) = bytes.split_at(room);
            match memchr::memchr(b'\n', window) {
                Some(at) => {
                    let (line, rest) = window.split_at(at);
                    stream.emit(stderr, line, emit);
                    bytes = bytes.get(bytes.len() - later.len() - rest.len() + 1..).unwrap_or(&[]);
                }
                None if stream.open.len() + room == LONGEST => {
                    stream.part(stderr, window, (time, ids), emit);
                    bytes = later;
                }
                None => {
                    stream.open.extend_from_slice(window);
                    bytes = later;
                }
            }
        }
    }
    // ANCHOR_END: take

    /// The program has ended: what it has not ended is an entry, too.
    pub(super) fn end(&mut self, time: u64, emit: &mut dyn FnMut(Piece<'_>)) {
        for stderr in [false, true] {
            let mut stream = std::mem::take(&mut self.streams[usize::from(stderr)]);
            if !stream.open.is_empty() {
                stream.part(stderr, &[], (time, self.ids), emit);
            }
        }
    }
}

impl Stream {
    /// A line has ended with `rest`.
    fn emit(&mut self, stderr: bool, rest: &[u8], emit: &mut dyn FnMut(Piece<'_>)) {
        let line = match self.open.is_empty() {
            true => rest,
            false => {
                self.open.extend_from_slice(rest);
                &self.open
            }
        };
        let long = self.long.take();
        let part = long.as_ref().map(|long| long.part(true));
        emit(Piece { stderr, line, part });
        self.open.clear();
    }

    /// A line is too long, or the program has ended in it.
    fn part(
        &mut self,
        stderr: bool,
        rest: &[u8],
        (time, ids): (u64, bool),
        emit: &mut dyn FnMut(Piece<'_>),
    ) {
        let line = match self.open.is_empty() {
            true => rest,
            false => {
                self.open.extend_from_slice(rest);
                &self.open
            }
        };
        let first = || Long { id: if ids { random_id() } else { String::new() }, time, ordinal: 0 };
        let long = self.long.get_or_insert_with(first);
        long.ordinal += 1;
        emit(Piece {
            stderr,
            line,
            part: Some(Part { ordinal: long.ordinal, ..long.part(false) }),
        });
        self.open.clear();
    }
}

impl Long {
    fn part(&self, last: bool) -> Part<'_> {
        Part { id: &self.id, ordinal: self.ordinal + u32::from(last), last, time: self.time }
    }
}

/// As moby's stringid.GenerateRandomID: 64 digits.
fn random_id() -> String {
    let mut bytes = [0; 32];
    // Where the kernel gives none, lines have the same id: no more than that.
    let _ = getrandom::fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Owned = (bool, Vec<u8>, Option<(u32, bool, u64)>);

    fn cut(chunks: &[(bool, &[u8])]) -> Vec<Owned> {
        let mut lines = Lines::new(true);
        let (mut found, mut ids): (Vec<Owned>, Vec<String>) = Default::default();
        let mut emit = |piece: Piece<'_>| {
            let part = piece.part.map(|part| (part.ordinal, part.last, part.time));
            ids.extend(piece.part.map(|part| part.id.to_owned()));
            found.push((piece.stderr, piece.line.to_vec(), part));
        };
        for (time, (stderr, bytes)) in (1..).zip(chunks) {
            lines.take(*stderr, bytes, time, &mut emit);
        }
        lines.end(99, &mut emit);
        assert!(ids.iter().all(|id| id.len() == 64));
        found
    }

    #[test]
    fn a_line_is_whole_only_with_its_newline() {
        let whole = |text: &str| (false, text.as_bytes().to_vec(), None);
        assert_eq!(cut(&[(false, b"a\n\nb\n")]), [whole("a"), whole(""), whole("b")]);
        assert_eq!(cut(&[(false, b"a"), (false, b"b\n")]), [whole("ab")]);
        let rest = (false, b"b".to_vec(), Some((1, false, 99)));
        assert_eq!(cut(&[(false, b"a\nb")]), [whole("a"), rest]);
        assert_eq!(cut(&[]), []);
    }

    #[test]
    fn streams_do_not_mix() {
        let found = cut(&[(false, b"a"), (true, b"b\n"), (false, b"c\n")]);
        assert_eq!(found, [(true, b"b".to_vec(), None), (false, b"ac".to_vec(), None)]);
    }

    #[test]
    fn a_long_line_is_cut_in_the_same_places_however_it_comes() {
        let x = |count: usize| vec![b'x'; count];
        for (length, expected) in [
            (LONGEST - 1, vec![(LONGEST - 1, None)]),
            (LONGEST, vec![(LONGEST, Some((1, false))), (0, Some((2, true)))]),
            (
                2 * LONGEST + 5,
                vec![
                    (LONGEST, Some((1, false))),
                    (LONGEST, Some((2, false))),
                    (5, Some((3, true))),
                ],
            ),
        ] {
            let text = [x(length), b"\n".to_vec()].concat();
            for chunk in [1, 7, 4096, LONGEST, LONGEST + 1, 1 << 20] {
                let chunks: Vec<_> = text.chunks(chunk).map(|chunk| (false, chunk)).collect();
                let found = cut(&chunks);
                let seen: Vec<_> = found
                    .iter()
                    .map(|(_, line, part)| (line.len(), part.map(|(n, last, _)| (n, last))))
                    .collect();
                assert_eq!(seen, expected, "{length} in pieces of {chunk}");
                // All parts have the time of the first.
                let mut times: Vec<_> = found.iter().filter_map(|(_, _, part)| *part).collect();
                times.dedup_by_key(|(_, _, time)| *time);
                assert!(times.len() <= 1);
            }
        }
    }
}
