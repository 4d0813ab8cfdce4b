use super::*;

fn read(text: &str) -> Dockerfile {
    parse("Dockerfile", text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn kinds(text: &str) -> Vec<Kind> {
    let file = read(&format!("FROM x\n{text}"));
    file.stages.into_iter().flat_map(|stage| stage.instructions).map(|one| one.kind).collect()
}

fn one(text: &str) -> Kind {
    kinds(text).pop().unwrap()
}

/// What is wrong with `text`: line, column and message.
fn wrong(text: &str) -> String {
    match parse("Dockerfile", text) {
        Ok(file) => panic!("{text:?} is read as {file:?}"),
        Err(Error::Syntax { place, message }) => {
            format!("{}:{}: {message}", place.line, place.column)
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn directives_are_at_the_top_only() {
    let file = read("# syntax=docker/dockerfile:1\n#escape=`\nFROM x\nRUN a `\n b\n");
    assert_eq!(file.directives.syntax.as_deref(), Some("docker/dockerfile:1"));
    assert_eq!(file.stages[0].instructions[0].text, "RUN a  b");
    let file = read("# a comment\n# escape=`\nFROM x\nRUN a `\n");
    assert_eq!(file.directives.escape, '\\');
}

#[test]
fn lines_continue_over_comments_and_empty_lines() {
    let file = read("FROM x\nRUN a \\\n  # a comment\n\n  b \\  \n  c\nRUN d");
    assert_eq!(file.stages[0].instructions[0].text, "RUN a   b   c");
    assert_eq!(file.stages[0].instructions[0].at, Span { line: 2, column: 1, end: 6 });
    assert_eq!(file.stages[0].instructions[1].at.line, 7);
    assert!(file.warnings[0].starts_with("Empty continuation line"));
    // Two escape characters are one, and no continuation.
    assert_eq!(read("FROM x\nRUN a \\\\\nRUN b").stages[0].instructions.len(), 2);
    // Windows' ends of lines, and a byte order mark.
    assert_eq!(
        read("\u{feff}FROM x\r\nRUN a \\\r\n b\r\n").stages[0].instructions[0].text,
        "RUN a  b"
    );
}

#[test]
fn stages_have_names_and_platforms() {
    let file = read("ARG V=1\nFROM --platform=$BUILDPLATFORM a:$V as Build\nFROM build AS final\n");
    assert_eq!(file.arguments.len(), 1);
    assert_eq!(file.stages[0].name.as_deref(), Some("build"));
    assert_eq!(file.stages[0].platform.as_deref(), Some("$BUILDPLATFORM"));
    assert_eq!(file.stages[1].base, "build");
}

#[test]
fn commands_have_two_forms() {
    let exec = CommandLine { words: vec!["a".into(), "b c".into()], exec: true, heredocs: vec![] };
    assert_eq!(one("CMD [\"a\", \"b c\"]"), Kind::Cmd(exec));
    let Kind::Entrypoint(shell) = one("ENTRYPOINT [ -f x ] && y") else { panic!() };
    assert_eq!((shell.exec, shell.words), (false, vec!["[ -f x ] && y".to_owned()]));
}

#[test]
fn copies_have_flags_and_heredocs() {
    let text = "COPY --from=a --chown=1:2 --chmod=755 --link --parents --exclude=*.md --exclude=x \
                a \"b\" /c/";
    let Kind::Copy(copy) = one(text) else { panic!() };
    assert_eq!((copy.sources.len(), copy.destination.as_str()), (2, "/c/"));
    assert_eq!(copy.exclude, ["*.md", "x"]);
    assert!(copy.link && copy.parents);
    let Kind::Copy(copy) = one("COPY <<A <<-'B' /x/\none\nA\n\ttwo $X\n\tB\n") else { panic!() };
    assert_eq!(copy.sources, [""; 0]);
    assert_eq!(copy.contents[0].content, "one\n");
    assert_eq!(copy.contents[1].text(), "two $X\n");
    assert!(copy.contents[0].expands && !copy.contents[1].expands);
    let Kind::Add(add) = one("ADD [\"a b\", \"/x\"]") else { panic!() };
    assert_eq!(add.sources, ["a b"]);
}

#[test]
fn run_takes_mounts_and_scripts() {
    let Kind::Run(run) = one("RUN --mount=type=cache,target=/c --network=none <<EOF\na\nb\nEOF\n")
    else {
        panic!()
    };
    assert_eq!(run.mounts, ["type=cache,target=/c"]);
    assert_eq!(run.network.as_deref(), Some("none"));
    assert_eq!(run.command.heredocs[0].content, "a\nb\n");
    assert_eq!(run.command.words, ["<<EOF"]);
}

#[test]
fn triggers_keep_their_text() {
    assert_eq!(one("ONBUILD  COPY . /app"), Kind::Onbuild("COPY . /app".into()));
    let Kind::Onbuild(text) = one("ONBUILD RUN <<E\nx\nE\n") else { panic!() };
    assert_eq!(text, "RUN <<E\nx\nE");
    assert!(matches!(instruction_of(&text).unwrap().kind, Kind::Run(_)));
}

#[test]
fn health_checks_have_times() {
    let Kind::Healthcheck(health) =
        one("HEALTHCHECK --interval=5s --timeout=1m --retries=3 CMD curl -f x")
    else {
        panic!()
    };
    assert_eq!(health.test, ["CMD-SHELL", "curl -f x"]);
    assert_eq!((health.interval, health.retries), (5_000_000_000, 3));
    let Kind::Healthcheck(none) = one("healthcheck none") else { panic!() };
    assert_eq!(none.test, ["NONE"]);
}

#[test]
fn what_is_wrong_has_a_place() {
    for (text, expected) in [
        ("", "1:1: file with no instructions: begin with FROM"),
        ("# only a comment\n", "1:1: file with no instructions: begin with FROM"),
        ("ARG A\n", "1:1: no build stage in current context: begin with FROM"),
        ("RUN x\nFROM y", "1:1: no build stage in current context: begin with FROM"),
        ("FROM x\n  FRM y", "2:3: unknown instruction: FRM (did you mean FROM?)"),
        ("FROM x\nNOTHING y", "2:1: unknown instruction: NOTHING"),
        ("FROM x y", "1:1: FROM requires either one or three arguments"),
        ("FROM", "1:1: FROM requires either one or three arguments"),
        (
            "FROM x AS 1a",
            "1:11: invalid name for build stage: \"1a\", name can't start with a number or \
             contain symbols",
        ),
        ("# escape=x\nFROM x", "1:1: invalid escape token 'x' does not match ` or \\"),
        ("#escape=`\n#escape=\\\nFROM x", "2:1: only one escape parser directive can be used"),
        (
            "FROM x\nCOPY --form=y a b",
            "2:6: unknown flag: --form (known here: --chown, --chmod, --link, --exclude, --from, \
             --parents)",
        ),
        ("FROM x\nENV --a=b C=d", "2:5: unknown flag: --a (this instruction has no flags)"),
        (
            "FROM x\nCOPY a",
            "2:1: COPY requires at least two arguments, but only one was provided. Destination \
             could not be determined",
        ),
        ("FROM x\nCOPY a <<b\nb\n", "2:1: COPY cannot accept a heredoc as a destination"),
        (
            "FROM x\nRUN <<EOF\nx\n",
            "2:1: unterminated heredoc: there is no line `EOF` after this instruction",
        ),
        ("FROM x\nENV A", "2:1: ENV must have two arguments"),
        ("FROM x\nENV", "2:1: ENV requires at least one argument"),
        (
            "FROM x\nLABEL a=b c",
            "2:1: Syntax error - can't find = in \"c\". Must be of the form: name=value",
        ),
        ("FROM x\nLABEL =b", "2:1: LABEL names can not be blank"),
        ("FROM x\nARG", "2:1: ARG requires at least one argument"),
        ("FROM x\nARG =b", "2:1: ARG names can not be blank"),
        ("FROM x\nEXPOSE", "2:1: EXPOSE requires at least one argument"),
        ("FROM x\nUSER", "2:1: USER requires exactly one argument"),
        ("FROM x\nWORKDIR", "2:1: WORKDIR requires exactly one argument"),
        ("FROM x\nSTOPSIGNAL", "2:1: STOPSIGNAL requires exactly one argument"),
        ("FROM x\nMAINTAINER", "2:1: MAINTAINER requires exactly one argument"),
        ("FROM x\nVOLUME", "2:1: VOLUME requires at least one argument"),
        ("FROM x\nVOLUME [\" \"]", "2:1: VOLUME specified can not be an empty string"),
        ("FROM x\nRUN", "2:1: RUN requires at least one argument"),
        (
            "FROM x\nRUN --network=lan y",
            "2:15: unsupported value for network: \"lan\": write default or none or host",
        ),
        (
            "FROM x\nRUN --mount=type=x,target=/y z",
            "2:5: unsupported mount type \"x\": write bind, cache, tmpfs, secret or ssh",
        ),
        (
            "FROM x\nSHELL /bin/sh -c",
            "2:1: SHELL requires the arguments to be in JSON form, as in SHELL [\"/bin/bash\", \
             \"-c\"]",
        ),
        (
            "FROM x\nCMD [\"a\", 1]",
            "2:1: when using JSON array syntax, arrays must be comprised of strings only",
        ),
        ("FROM x\nHEALTHCHECK", "2:1: HEALTHCHECK requires at least one argument"),
        ("FROM x\nHEALTHCHECK CMD", "2:1: Missing command after HEALTHCHECK CMD"),
        ("FROM x\nHEALTHCHECK NONE x", "2:1: HEALTHCHECK NONE takes no arguments"),
        ("FROM x\nHEALTHCHECK RUN x", "2:1: Unknown type \"RUN\" in HEALTHCHECK (try CMD)"),
        (
            "FROM x\nHEALTHCHECK --interval=5 CMD x",
            "2:1: time: invalid duration \"5\": write it as 30s, 1m30s or 500ms",
        ),
        ("FROM x\nONBUILD", "2:1: ONBUILD requires at least one argument"),
        ("FROM x\nONBUILD FROM y", "2:1: FROM isn't allowed as an ONBUILD trigger"),
        (
            "FROM x\nONBUILD ONBUILD RUN y",
            "2:1: Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
        ),
        ("FROM x\nONBUILD COPPY y", "2:1: unknown instruction: COPPY (did you mean COPY?)"),
    ] {
        assert_eq!(wrong(text), expected, "{text:?}");
    }
}

#[test]
fn a_message_shows_the_lines_around_it() {
    let error = parse("app/Dockerfile", "FROM x\n\n  COPY --form=y a b\nRUN z\n").unwrap_err();
    assert_eq!(
        error.to_string(),
        "app/Dockerfile:3:8: unknown flag: --form (known here: --chown, --chmod, --link, \
         --exclude, --from, --parents)\n  2 | \n> 3 |   COPY --form=y a b\n    |        ^\n  4 | \
         RUN z"
    );
    assert!(error.classic().starts_with("dockerfile parse error line 3: unknown flag: --form"));
}

#[test]
fn a_place_in_a_continued_line_is_where_it_was_written() {
    assert!(wrong("FROM x\nCOPY \\\n  --form=y a b").starts_with("3:3: unknown flag"));
}

proptest::proptest! {
    #[test]
    fn no_text_brings_the_parser_down(text in "(FROM|RUN|COPY|ENV|ONBUILD|#|<<E|E|\\[\"|--mount=|\\\\|\n| |=|\"|x){0,40}") {
        let _ = parse("Dockerfile", &text);
    }
}
