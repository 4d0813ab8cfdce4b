//! What stands behind an image, or behind a container, is a command line of its own: `corten run
//! --entrypoint sh busybox -c 'echo hi'`. clap takes its first word for one of our options where it looks like
//! one, so a `--` is put before it, as a person could.

use std::ffi::OsString;

use clap::{Arg, Command};

/// `args`, the program's name first, with a `--` where a command of others begins with a hyphen.
pub(super) fn verbatim(
    mut command: Command,
    args: impl IntoIterator<Item = OsString>,
) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    command.build();
    if let Some(at) = begin(&command, &args)
        && args[at].as_encoded_bytes().starts_with(b"-")
    {
        args.insert(at, "--".into());
    }
    args
}

/// Where the words begin that are passed on; `None` where there are none, or a `--` has come before.
fn begin(mut command: &Command, args: &[OsString]) -> Option<usize> {
    let (mut at, mut words) = (1, 0);
    while let Some(arg) = args.get(at) {
        let text = arg.to_str()?;
        at += 1;
        if text == "--" {
            return None;
        } else if text.len() > 1 && text.starts_with('-') {
            at += usize::from(takes_next(command, text));
        } else if let Some(sub) = command.find_subcommand(text).filter(|_| words == 0) {
            command = sub;
        } else {
            words += 1;
            let passed_on = command.get_positionals().find(|arg| arg.is_trailing_var_arg_set())?;
            if passed_on.get_index() == Some(words + 1) {
                return args.get(at).map(|_| at);
            }
        }
    }
    None
}

/// Whether the word behind this option is its value.
fn takes_next(command: &Command, option: &str) -> bool {
    let takes = |arg: &Arg| arg.get_action().takes_values() && !arg.is_require_equals_set();
    let find = |is_it: &dyn Fn(&Arg) -> bool| command.get_arguments().find(|arg| is_it(arg));
    if let Some(long) = option.strip_prefix("--") {
        let is_it = |arg: &Arg| {
            arg.get_long() == Some(long)
                || arg.get_all_aliases().is_some_and(|aliases| aliases.contains(&long))
        };
        return find(&is_it).is_some_and(takes);
    }
    for (at, letter) in option.char_indices().skip(1) {
        let is_it = |arg: &Arg| {
            arg.get_short() == Some(letter)
                || arg.get_all_short_aliases().is_some_and(|all| all.contains(&letter))
        };
        if let Some(arg) = find(&is_it).filter(|arg| arg.get_action().takes_values()) {
            // The rest is its value, where there is a rest.
            return at + letter.len_utf8() == option.len() && takes(arg);
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn a_command_of_others_may_begin_with_a_hyphen() {
        let of = |line: &str| {
            let args = line.split(' ').map(OsString::from);
            let args = verbatim(crate::cli::Cli::command(), args);
            args.into_iter().map(|arg| arg.into_string().unwrap()).collect::<Vec<_>>().join(" ")
        };
        for (line, expected) in [
            ("corten run box -c x", "corten run box -- -c x"),
            ("corten run --rm -it --name a box -c x", "corten run --rm -it --name a box -- -c x"),
            (
                "corten run --entrypoint=sh -eA=b box --rm",
                "corten run --entrypoint=sh -eA=b box -- --rm",
            ),
            ("corten run -ite A=b box -- x", "corten run -ite A=b box -- -- x"),
            ("corten --root /r run -m 5m box -m", "corten --root /r run -m 5m box -- -m"),
            (
                "corten container create --cpu-shares 5 box -c",
                "corten container create --cpu-shares 5 box -- -c",
            ),
            ("corten exec -w / box -x", "corten exec -w / box -- -x"),
            ("corten top box -ef", "corten top box -- -ef"),
        ] {
            assert_eq!(of(line), expected);
        }
        for line in [
            "corten run box sh -c x",
            "corten run -- box -c",
            "corten ps -a",
            "corten run --rm",
            "corten rm -f box -v",
            "corten run box",
            "corten logs --tail 2 box -f",
            "corten exec box sh -c x",
        ] {
            assert_eq!(of(line), line);
        }
    }
}
