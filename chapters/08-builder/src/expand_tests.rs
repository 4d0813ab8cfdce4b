use super::*;

fn variables() -> BTreeMap<String, String> {
    let pairs = [("A", "a"), ("E", ""), ("P", "/usr/lib/x.tar.gz"), ("S", "b c"), ("1", "one")];
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

fn text(word: &str) -> String {
    match expand(word, Rules::new('\\'), &variables()) {
        Ok(expanded) => expanded.text,
        Err(why) => format!("error: {}", why.split_once("\": ").map_or("", |(_, why)| why)),
    }
}

#[test]
fn words_expand_as_in_a_shell() {
    for (word, expected) in [
        ("x", "x"),
        ("$A", "a"),
        ("${A}b", "ab"),
        ("\\$A", "$A"),
        ("'$A'", "$A"),
        ("\"$A '\"", "a '"),
        ("\"\\$A \\x\"", "$A \\x"),
        ("$", "$"),
        ("$1x", "onex"),
        ("$NONE.", "."),
        ("${E:-d}", "d"),
        ("${E-d}", ""),
        ("${NONE-d}", "d"),
        ("${NONE:-$A}", "a"),
        ("${NONE:-${E:-x}}", "x"),
        ("${A:+yes}${E:+no}", "yes"),
        ("${E+set}", "set"),
        ("${A?}", "a"),
        ("${P#*/}", "usr/lib/x.tar.gz"),
        ("${P##*/}", "x.tar.gz"),
        ("${P%.*}", "/usr/lib/x.tar"),
        ("${P%%.*}", "/usr/lib/x"),
        ("${P/usr/opt}", "/opt/lib/x.tar.gz"),
        ("${P//\\//-}", "-usr-lib-x.tar.gz"),
        ("${P%nothing}", "/usr/lib/x.tar.gz"),
        ("a\\", "a"),
    ] {
        assert_eq!(text(word), expected, "{word}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    for (word, why) in [
        ("'a", "unexpected end of statement while looking for matching single-quote"),
        ("\"a", "unexpected end of statement while looking for matching double-quote"),
        ("${A", "syntax error: missing '}'"),
        ("${", "syntax error: missing '}'"),
        ("${}", "syntax error: bad substitution"),
        ("${A:-x", "syntax error: missing '}'"),
        ("${A:=x}", "unsupported modifier (:=) in substitution"),
        ("${A^}", "unsupported modifier (^) in substitution"),
        ("${NONE:?}", "NONE: is not allowed to be unset"),
        ("${E:?}", "E: is not allowed to be empty"),
        ("${NONE?give it}", "NONE: give it"),
        ("${A/x}", "syntax error: missing '/' in ${}"),
        ("${A#\\x}", "invalid pattern (\\x) in substitution: invalid escape '\\x'"),
    ] {
        assert_eq!(text(word), format!("error: {why}"), "{word}");
    }
}

#[test]
fn words_are_split_after_they_are_expanded() {
    let words = |word: &str| expand(word, Rules::new('\\'), &variables()).unwrap().words;
    assert_eq!(words("80 $S 'd e'"), ["80", "b", "c", "d e"]);
    assert_eq!(words("$E"), [""; 0]);
}

#[test]
fn another_escape_character() {
    let expanded = expand("`$A \\$A", Rules::new('`'), &variables()).unwrap();
    assert_eq!(expanded.text, "$A \\a");
}

proptest::proptest! {
    #[test]
    fn no_word_brings_it_down(word in "[\\$\\{\\}a\\\\'\":/#%*? -]{0,24}") {
        let _ = expand(&word, Rules::new('\\'), &variables());
    }
}
