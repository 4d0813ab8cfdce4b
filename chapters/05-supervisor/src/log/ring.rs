//! What waits for a slow disk: so many bytes, and then the oldest entries go.

use super::format::{Format, Found};

/// Entries in the order in which they came.
#[derive(Debug)]
pub(super) struct Ring {
    format: Format,
    most: usize,
    bytes: Vec<u8>,
    /// Where in the bytes the first that waits is.
    head: usize,
    /// So many bytes at the head belong to an entry that is handed on in part.
    begun: usize,
}

impl Ring {
    pub(super) fn new(format: Format, most: usize) -> Ring {
        Ring { format, most, bytes: Vec::new(), head: 0, begun: 0 }
    }

    /// What is to be handed on.
    pub(super) fn waiting(&self) -> &[u8] {
        self.bytes.get(self.head..).unwrap_or_default()
    }

    // ANCHOR: push
    /// Adds entries; gives how many had to go for them. With nothing before it, an entry that is
    /// larger than the ring is taken, too, as Docker takes it.
    pub(super) fn push(&mut self, entries: &[u8]) -> u64 {
        let (mut at, mut dropped) = (0, 0);
        while let Found::Whole(length) = self.format.first(entries.get(at..).unwrap_or_default()) {
            while self.waiting().len() + length > self.most && self.drop_oldest() {
                dropped += 1;
            }
            let entry = entries.get(at..at + length).unwrap_or_default();
            if self.waiting().len() + length > self.most && !self.waiting().is_empty() {
                // Only the rest of an entry is before it that has to be handed on.
                dropped += 1;
            } else {
                self.make_room();
                self.bytes.extend_from_slice(entry);
            }
            at += length;
        }
        dropped
    }
    // ANCHOR_END: push

    fn drop_oldest(&mut self) -> bool {
        let behind = self.waiting().get(self.begun..).unwrap_or_default();
        let Found::Whole(length) = self.format.first(behind) else { return false };
        // What is left of an entry that is begun takes the place of the end of the one that goes:
        // it is the shorter way.
        self.bytes.copy_within(self.head..self.head + self.begun, self.head + length);
        self.head += length;
        true
    }

    /// Moves what waits to the beginning, where the half is gone before it: not for each entry.
    fn make_room(&mut self) {
        if self.head > 0 && self.head >= self.waiting().len() {
            self.bytes.drain(..self.head);
            self.head = 0;
        }
    }

    /// Gives up the rest of an entry that is begun.
    pub(super) fn abandon(&mut self) {
        self.head += std::mem::take(&mut self.begun);
    }

    /// So many bytes have been handed on.
    pub(super) fn taken(&mut self, mut length: usize) {
        self.head += length;
        let begun = self.begun.min(length);
        self.begun -= begun;
        length -= begun;
        // Where in an entry is it now?
        let mut at = self.head - length;
        while at < self.head {
            match self.format.first(self.bytes.get(at..).unwrap_or_default()) {
                Found::Whole(entry) => at += entry,
                _ => break,
            }
            self.begun = at.saturating_sub(self.head);
        }
        if self.waiting().is_empty() {
            self.bytes.clear();
            self.bytes.shrink_to(64 << 10);
            self.head = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(numbers: std::ops::Range<u32>) -> Vec<u8> {
        numbers.flat_map(|number| format!("{number:03}\n").into_bytes()).collect()
    }

    #[test]
    fn the_oldest_go() {
        let mut ring = Ring::new(Format::Json, 20);
        assert_eq!(ring.push(&entries(0..5)), 0);
        assert_eq!(ring.push(&entries(5..7)), 2);
        assert_eq!(ring.waiting(), entries(2..7));
        ring.taken(4);
        assert_eq!(ring.push(&entries(7..8)), 0);
        assert_eq!(ring.waiting(), entries(3..8));
    }

    #[test]
    fn an_entry_that_is_begun_is_ended() {
        let mut ring = Ring::new(Format::Json, 20);
        ring.push(&entries(0..5));
        ring.taken(5);
        assert_eq!(ring.waiting(), &entries(1..5)[1..]);
        assert_eq!(ring.push(&entries(5..9)), 3);
        assert_eq!(ring.waiting(), [&entries(1..2)[1..], &entries(5..9)[..]].concat());
        ring.taken(1);
        assert_eq!(ring.push(&entries(9..10)), 1);
        assert_eq!(ring.waiting(), [&entries(1..2)[2..], &entries(6..10)[..]].concat());
        ring.taken(2);
        ring.taken(16);
        assert_eq!(ring.waiting(), b"");
    }

    #[test]
    fn what_is_larger_than_all_is_taken_alone() {
        let mut ring = Ring::new(Format::Json, 2);
        assert_eq!(ring.push(b"abcdef\n"), 0);
        assert_eq!(ring.push(b"x\n"), 1);
        assert_eq!(ring.waiting(), b"x\n");
    }

    proptest::proptest! {
        #[test]
        fn what_comes_out_are_whole_entries_in_order(steps: Vec<(u8, u8)>) {
            let mut ring = Ring::new(Format::Json, 100);
            let (mut number, mut out, mut dropped) = (0, Vec::new(), 0);
            for (push, take) in steps {
                let next = number + u32::from(push % 8);
                dropped += ring.push(&entries(number..next));
                number = next;
                let take = usize::from(take).min(ring.waiting().len());
                out.extend_from_slice(&ring.waiting()[..take]);
                ring.taken(take);
                assert!(ring.waiting().len() <= 100);
            }
            out.extend_from_slice(ring.waiting());
            let text = String::from_utf8(out).unwrap();
            let found: Vec<u32> = text.lines().map(|line| line.parse().unwrap()).collect();
            assert!(found.is_sorted_by(|a, b| a < b));
            assert_eq!(found.len() as u64 + dropped, u64::from(number));
        }
    }
}
