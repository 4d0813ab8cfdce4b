use super::super::key::PrivateKey;
use super::*;

fn name(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

fn policy(dir: &Path, text: &str) -> Result<Policy> {
    let path = dir.join("policy.json");
    fs::write(&path, text).unwrap();
    Policy::read(&path)
}

fn signed(key: &PrivateKey, name: &str, digest: &Digest) -> Signed {
    let payload = Payload { digest: digest.clone(), name: name.into() }.to_bytes().unwrap();
    Signed { signature: key.sign(&payload), payload }
}

#[test]
fn the_most_specific_scope_alone_counts() {
    let dir = tempfile::tempdir().unwrap();
    let accept = r#"[{"type":"insecureAcceptAnything"}]"#;
    let reject = r#"[{"type":"reject"}]"#;
    let policy = policy(
        dir.path(),
        &format!(
            r#"{{"default":{reject},"transports":{{"docker":{{
            "reg.example":{accept},"reg.example/bad":{reject},"reg.example/bad/good":{accept},
            "reg.example/bad/good:evil":{reject},"*.lan":{accept},"docker.io/library":{accept}}},
            "dir":{{"":{reject}}}}}}}"#
        ),
    )
    .unwrap();
    for (text, accepted) in [
        ("reg.example/a:1", true),
        ("reg.example/bad:1", false),
        ("reg.example/bad/x:1", false),
        ("reg.example/bad/good:1", true),
        ("reg.example/bad/good/deeper:1", true),
        ("reg.example/bad/good:evil", false),
        ("reg.example/badly:1", true),
        ("a.b.lan:5000/x", true),
        ("lan/x", false),
        ("busybox", true),
        ("acme/app", false),
        ("reg.example.evil.io/a", false),
    ] {
        let verdict = policy.check(&name(text), &[], &mut || unreachable!());
        assert_eq!(verdict.is_ok(), accepted, "{text}");
    }
    let error = policy.check(&name("acme/app"), &[], &mut || unreachable!()).unwrap_err();
    assert!(error.to_string().contains("scope default"), "{error}");
}

#[test]
fn a_signature_must_be_by_the_key_of_the_image_and_for_the_name() {
    let dir = tempfile::tempdir().unwrap();
    let (key, other) = (PrivateKey::generate().unwrap(), PrivateKey::generate().unwrap());
    let public = dir.path().join("k.pub");
    fs::write(&public, key.public().pem()).unwrap();
    let with = |identity: &str| {
        let text = format!(
            r#"{{"default":[{{"type":"sigstoreSigned","keyPath":"{}"{identity}}}]}}"#,
            public.display()
        );
        policy(dir.path(), &text).unwrap()
    };
    let (image, evil) = (Digest::sha256(b"image"), Digest::sha256(b"evil"));
    let check = |policy: &Policy, found: &[Signed], asked: &str| {
        let vouched = [Digest::sha256(b"index"), image.clone()];
        policy.check(&name(asked), &vouched, &mut || Ok(found.to_vec()))
    };
    let good = signed(&key, "reg.io/app:1", &image);
    let policy = with("");
    check(&policy, std::slice::from_ref(&good), "reg.io/app:1").unwrap();
    check(&policy, &[signed(&other, "reg.io/app:1", &image), good.clone()], "reg.io/app:1")
        .unwrap();
    // cosign's payloads have no tag.
    check(&policy, &[signed(&key, "reg.io/app", &image)], "reg.io/app:1").unwrap();
    check(&policy, std::slice::from_ref(&good), &format!("reg.io/app@{image}")).unwrap();

    let mut forged = good.clone();
    forged.payload = String::from_utf8(forged.payload).unwrap().replace(":1\"", ":2\"").into();
    for (found, asked, why) in [
        (vec![], "reg.io/app:1", "there is none"),
        (vec![signed(&other, "reg.io/app:1", &image)], "reg.io/app:1", "by another key"),
        (vec![signed(&key, "reg.io/app:1", &evil)], "reg.io/app:1", "another image"),
        (vec![good.clone()], "reg.io/app:2", "for the name \"reg.io/app:1\""),
        (vec![good.clone()], "reg.io/other:1", "for the name"),
        (vec![forged], "reg.io/app:2", "by another key"),
    ] {
        let error = check(&policy, &found, asked).unwrap_err().to_string();
        assert!(error.contains(why), "expected {why:?} in: {error}");
    }
    let repository = with(r#","signedIdentity":{"type":"matchRepository"}"#);
    check(&repository, std::slice::from_ref(&good), "reg.io/app:2").unwrap();
    let exact = r#","signedIdentity":{"type":"exactReference","dockerReference":"reg.io/app:1"}"#;
    check(&with(exact), &[good], "mirror.io/x:2").unwrap();
}

#[test]
fn what_is_not_understood_in_a_policy_is_refused_whole() {
    let dir = tempfile::tempdir().unwrap();
    for (text, why) in [
        ("{}", "missing field `default`"),
        (r#"{"default":[]}"#, "without requirements"),
        (r#"{"default":[{"type":"maybe"}]}"#, "unknown type \"maybe\""),
        (r#"{"default":[{"type":"signedBy"}]}"#, "GPG"),
        (r#"{"default":[{"type":"sigstoreSigned"}]}"#, "wants keyPath"),
        (r#"{"default":[{"type":"reject","fulcio":{}}]}"#, "unknown field `fulcio`"),
        (r#"{"default":[{"type":"reject"}],"default2":[]}"#, "unknown field `default2`"),
    ] {
        let error = policy(dir.path(), text).unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
}
