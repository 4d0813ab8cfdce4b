use super::*;

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|&s| s.to_owned()).collect()
}

fn image(entrypoint: &[&str], cmd: &[&str]) -> ImageDefaults {
    ImageDefaults { entrypoint: strings(entrypoint), cmd: strings(cmd), ..Default::default() }
}

fn accounts() -> Accounts {
    Accounts::parse("root:x:0:0::/root:/bin/sh\nweb:x:33:33::/var/www:/bin/sh\n", "")
}

#[test]
fn entrypoint_and_cmd_combine_as_with_docker() {
    let both = image(&["/entry", "-x"], &["a", "b"]);
    let only_cmd = image(&[], &["sh"]);
    /// The image, `--entrypoint`, the arguments, and what is run.
    type Case<'a> = (&'a ImageDefaults, Option<&'a str>, &'a [&'a str], &'a [&'a str]);
    let cases: &[Case<'_>] = &[
        (&both, None, &[], &["/entry", "-x", "a", "b"]),
        (&both, None, &["c"], &["/entry", "-x", "c"]),
        (&both, Some("/other"), &[], &["/other"]),
        (&both, Some("/other"), &["c"], &["/other", "c"]),
        (&both, Some(""), &["c"], &["c"]),
        (&only_cmd, None, &[], &["sh"]),
        (&only_cmd, None, &["ls", "-l"], &["ls", "-l"]),
    ];
    for (image, entrypoint, own, want) in cases {
        let options = Options {
            entrypoint: entrypoint.map(str::to_owned),
            command: strings(own),
            ..Default::default()
        };
        let spec = Spec::new(image, &options, &accounts(), "h").unwrap();
        assert_eq!(spec.args, strings(want), "{entrypoint:?} {own:?}");
    }
}

#[test]
fn without_any_command_it_says_what_to_do() {
    for (image, entrypoint) in [(image(&[], &[]), None), (image(&["/e"], &["x"]), Some(""))] {
        let options = Options { entrypoint: entrypoint.map(str::to_owned), ..Default::default() };
        let error = Spec::new(&image, &options, &accounts(), "h").unwrap_err().to_string();
        assert!(error.contains("say what to run"), "{error}");
    }
}

#[test]
fn the_user_s_choices_replace_the_image_s() {
    let mut image = image(&[], &["x"]);
    image.user = "web".into();
    image.cwd = "srv/../app".into();
    let spec = Spec::new(&image, &Options::default(), &accounts(), "0123456789ab").unwrap();
    assert_eq!((spec.uid, spec.gid, spec.cwd.to_str()), (33, 33, Some("/app")));
    assert_eq!(spec.hostname, "0123456789ab");
    assert!(spec.env.contains(&"HOME=/var/www".to_owned()), "{:?}", spec.env);

    let options = Options {
        user: Some("0:5".into()),
        cwd: Some("/tmp/".into()),
        hostname: Some("web-1".into()),
        ..Default::default()
    };
    let spec = Spec::new(&image, &options, &accounts(), "0123456789ab").unwrap();
    assert_eq!((spec.uid, spec.gid, spec.cwd.to_str()), (0, 5, Some("/tmp")));
    assert!(spec.env.contains(&"HOSTNAME=web-1".to_owned()), "{:?}", spec.env);
}

#[test]
fn bad_host_names_and_directories_are_refused() {
    for name in ["", "a b", "a\nb", &"x".repeat(65)] {
        let options = Options { hostname: Some(name.to_owned()), ..Default::default() };
        let error = Spec::new(&image(&[], &["x"]), &options, &accounts(), "h").unwrap_err();
        assert!(error.to_string().starts_with("host name `"), "{error}");
    }
    let options = Options { cwd: Some("tmp".into()), ..Default::default() };
    let error = Spec::new(&image(&[], &["x"]), &options, &accounts(), "h").unwrap_err();
    assert!(error.to_string().contains("must begin with /"), "{error}");
}

#[test]
fn limits_are_written_as_they_are_read() {
    for text in ["nofile=10:20", "core=-1:-1"] {
        assert_eq!(written(&text.parse().unwrap()), text);
    }
}
