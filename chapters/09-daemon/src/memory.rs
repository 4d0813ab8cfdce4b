//! A daemon waits most of its life. What it needed to begin is given back.

/// To be called before there are threads: they share their heaps.
pub fn frugal() {
    crate::sys::few_heaps();
}

/// With more than this, in KiB, it is looked whether anything can be given back.
const LARGE: u64 = 24 << 10;

// ANCHOR: shrink
/// Gives back what clients have needed that have left: the C library keeps pages between those that are
/// in use, for whoever comes next, and a list of a thousand events for a hundred clients is many of them.
pub fn shrink() {
    if resident().is_some_and(|now| now > LARGE) {
        crate::sys::trim();
    }
}
// ANCHOR_END: shrink

/// What of this process is in memory, in KiB (proc_pid_status(5)).
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Gives back the code that was only needed to begin. What is needed comes back page by page, from the
/// page cache and without a disk.
pub fn settle() {
    let Ok(program) = std::fs::read_link("/proc/self/exe") else { return };
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for (begin, end) in code(&maps, &program.to_string_lossy()) {
        crate::sys::give_back(begin, end);
    }
}

/// The mappings of a program that can be executed and not written (proc_pid_maps(5)). What can be written,
/// or could before it was relocated, may differ from the file.
fn code(maps: &str, program: &str) -> Vec<(usize, usize)> {
    let of = |line: &str| {
        let mut words = line.split_whitespace();
        let (range, rights) = (words.next()?, words.next()?);
        if rights != "r-xp" || !line.ends_with(program) {
            return None;
        }
        let (begin, end) = range.split_once('-')?;
        Some((usize::from_str_radix(begin, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
    };
    maps.lines().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_what_runs_and_cannot_be_written() {
        let maps = "1000-2000 r--p 0 08:01 7    /bin/x\n2000-3000 r-xp 1000 08:01 7    /bin/x\n\
                    3000-4000 rw-p 2000 08:01 7    /bin/x\n5000-6000 r-xp 0 08:01 8    /lib/y\n";
        assert_eq!(code(maps, "/bin/x"), [(0x2000, 0x3000)]);
    }

    #[test]
    fn pages_between_those_in_use_are_given_back() {
        let mut pieces: Vec<Vec<u8>> = (0..60_000).map(|_| vec![1; 1500]).collect();
        let full = resident().unwrap();
        // What is left is everywhere, so that the C library gives nothing back by itself.
        let mut at = 0;
        pieces.retain(|_| {
            at += 1;
            at % 100 == 0
        });
        shrink();
        let left = resident().unwrap();
        assert!(left + (60 << 10) < full, "{full} KiB, and then {left}");
        assert_eq!(pieces.len(), 600);
    }

    #[test]
    fn a_program_that_has_given_back_goes_on() {
        frugal();
        settle();
        assert!(!code(&std::fs::read_to_string("/proc/self/maps").unwrap(), "").is_empty());
    }
}
