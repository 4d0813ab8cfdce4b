//! A daemon waits most of its life. What it needed to begin is given back.

/// To be called before there are threads: they share their heaps.
pub fn frugal() {
    crate::sys::few_heaps();
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
    fn a_program_that_has_given_back_goes_on() {
        frugal();
        settle();
        assert!(!code(&std::fs::read_to_string("/proc/self/maps").unwrap(), "").is_empty());
    }
}
