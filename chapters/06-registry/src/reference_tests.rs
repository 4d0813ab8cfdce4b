use proptest::prelude::*;

use super::*;

const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn names_are_normalised_as_docker_does() {
    let at = format!("@{D}");
    let table = [
        // typed, canonical, familiar
        ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
        ("library/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("index.docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("acme/app", "docker.io/acme/app:latest", "acme/app:latest"),
        (
            "registry.example/acme/app:v1",
            "registry.example/acme/app:v1",
            "registry.example/acme/app:v1",
        ),
        ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
        ("localhost:5000/x", "localhost:5000/x:latest", "localhost:5000/x:latest"),
        ("LOCALHOST/x", "LOCALHOST/x:latest", "LOCALHOST/x:latest"),
        ("127.0.0.1:5000/a/b:t", "127.0.0.1:5000/a/b:t", "127.0.0.1:5000/a/b:t"),
        ("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest"),
        ("a__b/c-d--e.f_g", "docker.io/a__b/c-d--e.f_g:latest", "a__b/c-d--e.f_g:latest"),
        ("x:T_a.G-1", "docker.io/library/x:T_a.G-1", "x:T_a.G-1"),
        ("localhost", "docker.io/library/localhost:latest", "localhost:latest"),
    ];
    for (typed, canonical, familiar) in table {
        let reference = Reference::parse(typed).unwrap();
        assert_eq!(reference.to_string(), canonical, "{typed}");
        assert_eq!(reference.familiar(), familiar, "{typed}");
    }
    for (text, alone) in
        [("busybox", true), ("localhost:5000/x", true), ("localhost:5000/x:v1", false)]
    {
        assert_eq!(Reference::is_name_only(text), alone, "{text}");
    }
    assert!(!Reference::is_name_only(&format!("busybox{at}")));
    let by_digest = Reference::parse(&format!("busybox{at}")).unwrap();
    assert_eq!((by_digest.tag(), by_digest.familiar()), (None, format!("busybox{at}")));
    let both = Reference::parse(&format!("localhost:5000/x:tag{at}")).unwrap();
    assert_eq!(both.to_string(), format!("localhost:5000/x:tag{at}"));
    assert_eq!((both.tag(), both.selector()), (Some("tag"), D.to_owned()));
}

#[test]
fn what_breaks_the_grammar_is_refused_with_the_reason() {
    let long = format!("x:{}", "t".repeat(129));
    let deep = format!("x/{}", "a/".repeat(130) + "a");
    let table = [
        ("", "it is empty"),
        ("Busybox", "must be lower case"),
        ("registry.example/Acme/app", "must be lower case"),
        ("a//b", "each part between slashes"),
        ("/a", "each part between slashes"),
        ("a/", "each part between slashes"),
        ("a_.b", "each part between slashes"),
        ("a___b", "each part between slashes"),
        ("../etc/passwd", "a host name consists of"),
        ("a b", "each part between slashes"),
        ("docker.io/../x", "each part between slashes"),
        ("x:", "tag \"\""),
        ("x:-a", "tag \"-a\""),
        ("x:a:b", "tag \"a:b\""),
        (&long, "tag \"ttt"),
        (&deep, "longer than 255"),
        ("x@sha256:12", "64 hexadecimal digits"),
        ("x@md5:d41d8cd98f00b204e9800998ecf8427e", "neither sha256 nor sha512"),
        ("-bad-.io/x", "a host name consists of"),
        ("host:port/x", "the port must be a number"),
        ("host:99999/x", "the port must be a number"),
        ("[::g]/x", "not an IPv6 address"),
        (&D[7..], "an image id"),
        ("user@host/x", "expected ALGORITHM:HEX"),
    ];
    for (typed, why) in table {
        let error = Reference::parse(typed).unwrap_err().to_string();
        assert!(error.contains(why), "{typed}: {error}");
    }
}

proptest! {
    #[test]
    fn canonical_and_familiar_forms_parse_to_the_same_reference(
        domain in "([a-z][a-z0-9]{0,5}\\.[a-z]{2,4}(:[1-9][0-9]{0,3})?/)?",
        // A dot in the first part would make it a registry.
        path in "[a-z0-9]{1,6}((_|__|-{1,3})[a-z0-9]{1,4}){0,2}(/[a-z0-9]{1,6}(\\.[a-z]{1,4})?){0,3}",
        tag in "(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,20})?",
        digest in "(@sha256:[0-9a-f]{64})?",
    ) {
        let reference = Reference::parse(&format!("{domain}{path}{tag}{digest}")).unwrap();
        prop_assert_eq!(&Reference::parse(&reference.to_string()).unwrap(), &reference);
        prop_assert_eq!(&Reference::parse(&reference.familiar()).unwrap(), &reference);
    }

    #[test]
    fn no_input_panics_and_what_parses_round_trips(text in "\\PC{0,80}") {
        if let Ok(reference) = Reference::parse(&text) {
            prop_assert_eq!(&Reference::parse(&reference.familiar()).unwrap(), &reference);
        }
    }
}
