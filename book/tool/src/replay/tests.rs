use super::*;

fn book(page: &str) -> (tempfile::TempDir, Layout) {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout { repo: dir.path().to_path_buf() };
    std::fs::create_dir_all(layout.src()).unwrap();
    std::fs::write(layout.src().join("a.md"), page).unwrap();
    (dir, layout)
}

fn faults(page: &str) -> Vec<String> {
    let (_dir, layout) = book(page);
    let (_, findings) = replay(&layout, &[], Difference::Fails).unwrap();
    findings.iter().map(ToString::to_string).collect()
}

#[test]
fn a_session_is_taken_apart() {
    let steps = steps("$ a \\\n>  b\nout\n# c\n");
    assert_eq!(steps[0].command, "a \\\n b");
    assert_eq!(steps[0].expected, "out\n");
    assert_eq!((steps[1].command.as_str(), steps[1].expected.as_str()), ("c", ""));
}

#[test]
fn what_is_printed_is_compared_with_elisions() {
    let page = "```console,replay=a\n$ x=7; echo $x\n7\n$ echo a $x b; echo c >&2\na [..] b\nc\n\
                $ seq 5\n1\n...\n5\n$ printf no-newline\nno-newline\n```\n";
    assert_eq!(faults(page).len(), 1, "printf leaves its line open: {:?}", faults(page));
    assert_eq!(faults(&page.replace("printf no-newline", "echo no-newline")), [""; 0]);
}

#[test]
fn a_difference_names_its_line_and_both_texts() {
    let faults = faults("# A\n\n```console,replay=a\n$ true\n$ echo new\nold\n```\n");
    assert_eq!(faults.len(), 1);
    assert!(
        faults[0].contains("a.md:5: replay a: `echo new` prints\n    new\ninstead of\n    old")
    );
}

#[test]
fn a_session_that_ends_early_is_a_difference() {
    let faults = faults("```console,replay=a\n$ exit 3\n$ echo a\na\n```\n");
    assert!(faults.iter().any(|fault| fault.contains("the session ended")), "{faults:?}");
}

#[test]
fn update_rewrites_what_differs_and_keeps_elisions() {
    let (_dir, layout) = book(
        "```console,replay=a\n$ echo a\n[..]\n$ echo b\nold\n```\n\n```console,replay=b\n$ echo c\n```\n",
    );
    replay(&layout, &[], Difference::Rewrites).unwrap();
    let text = std::fs::read_to_string(layout.src().join("a.md")).unwrap();
    assert_eq!(
        text,
        "```console,replay=a\n$ echo a\n[..]\n$ echo b\nb\n```\n\n```console,replay=b\n$ echo c\nc\n```\n"
    );
}

#[test]
fn a_nested_shell_gets_the_following_commands() {
    let page =
        "```console,replay=a\n$ bash\n$ x=inner; echo $x\ninner\n$ exit\n$ echo $x.\n.\n```\n";
    assert_eq!(faults(page), [""; 0]);
}

#[test]
fn an_id_is_used_once_and_an_unknown_one_is_an_error() {
    let (_dir, layout) =
        book("```console,replay=a\n$ ls\n```\n\n```console,replay=vm:a\n$ ls\n```\n");
    let findings = check(&layout.pages().unwrap());
    assert!(findings.len() == 1 && findings[0].message.contains("taken by"), "{findings:?}");
    assert!(replay(&layout, &["nope".into()], Difference::Fails).is_err());
}

#[test]
fn numbers_of_namespaces_are_compared_as_same_or_different() {
    let page = "```console,replay=a\n$ echo 'uts:[4026532001]' 'a:[4026532001] [4]'\n\
                uts:[4026531838] a:[4026531838] [4]\n$ echo 'uts:[4026532009]'\nuts:[4026531999]\n```\n";
    assert_eq!(faults(page), [""; 0]);
    assert_eq!(faults(&page.replace("4026531999", "4026531838")).len(), 1);
}
