//! Small projects as people have them, built and used: `corten build`.

use std::path::Path;

use crate::support::building::context;
use crate::support::{self, Host, text};

fn build(host: &Host, path: &Path) {
    host.corten(&["build", "-q", "-t", "made", "--network", "none", text(path)]).ok();
}

#[corten_tier::t1]
fn a_web_site_is_served_through_a_published_port() {
    if std::env::var_os(corten_tier::IN_VM).is_some() {
        println!("the lab VM has no curl: this is tested on the host");
        return;
    }
    let host = Host::with_busybox();
    let dockerfile = "FROM busybox AS site\nCOPY pages /src\n\
        RUN mkdir /www && for page in /src/*.txt; do name=${page##*/}; \
        echo \"<h1>$(cat $page)</h1>\" >/www/${name%.txt}.html; done\n\
        FROM busybox\nCOPY --from=site --chown=web /www /www\nUSER web\nEXPOSE 8000\n\
        HEALTHCHECK CMD test -e /www/index.html\n\
        CMD [\"httpd\", \"-f\", \"-p\", \"8000\", \"-h\", \"/www\"]\n";
    let files =
        [("Dockerfile", dockerfile), ("pages/index.txt", "Hello"), ("pages/about.txt", "About")];
    let path = context(&host, &files);
    build(&host, &path);
    host.corten(&["run", "-d", "--name", "site", "-p", "8080:8000", "made"]).ok();
    let fetch = |page: &str| {
        support::wire::sh(&format!(
            "curl -s --retry 20 --retry-connrefused --retry-delay 1 http://127.0.0.1:8080/{page}"
        ))
    };
    assert_eq!(fetch("index.html"), "<h1>Hello</h1>\n");
    assert_eq!(fetch("about.html"), "<h1>About</h1>\n");
    // Another page: the next image has it.
    std::fs::write(path.join("pages/about.txt"), "New").unwrap();
    build(&host, &path);
    host.corten(&["rm", "-f", "site"]).ok();
    host.corten(&["run", "-d", "--name", "site", "-p", "8080:8000", "made"]).ok();
    assert_eq!(fetch("about.html"), "<h1>New</h1>\n");
    host.corten(&["rm", "-f", "site"]).ok();
    host.assert_no_trace();
}

/// The host's Python with its libraries, as a base image.
fn with_python(host: &Host) {
    let path = context(
        host,
        &[("Dockerfile", "FROM busybox\nADD python.tar /\nENV PATH=/usr/bin:/bin\n")],
    );
    support::wire::sh(&format!(
        "python=$(readlink -f /usr/bin/python3); library=/usr/lib/$(basename $python); \
         libraries=$(ldd $python $library/lib-dynload/*.so | grep -oE '(=> |^[[:space:]])/[^ ]*' | grep -o '/.*' | sort -u); \
         tar -chf {}/python.tar --exclude=test --exclude=__pycache__ --exclude=config-* \
         $python /usr/bin/python3 $library $libraries 2>/dev/null",
        text(&path)
    ));
    host.corten(&["build", "-q", "-t", "python", "--network", "none", text(&path)]).ok();
    std::fs::remove_dir_all(path).unwrap();
}

#[corten_tier::t1]
fn a_python_application_brings_its_virtual_environment() {
    let is_there = Path::new("/usr/bin/python3").exists();
    if std::env::var_os(corten_tier::IN_VM).is_some() || !is_there {
        println!("there is no Python: this is tested on the host");
        return;
    }
    let host = Host::with_busybox();
    with_python(&host);
    let dockerfile = "FROM python AS build\nWORKDIR /app\nRUN python3 -m venv --without-pip /venv\n\
        COPY greeting/ /tmp/greeting/\n\
        RUN --mount=type=cache,target=/cache <<'end'\n\
        set -e\n\
        site=$(/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path(\"purelib\"))')\n\
        cp -r /tmp/greeting \"$site\"\n\
        PYTHONPYCACHEPREFIX=/cache /venv/bin/python -m compileall -q \"$site\"\n\
        end\n\
        FROM python\nCOPY --from=build /venv /venv\nCOPY main.py /app/\nENV PATH=/venv/bin:$PATH\n\
        USER web\nENTRYPOINT [\"python\", \"/app/main.py\"]\nCMD [\"world\"]\n";
    let main = "import sys, greeting\nprint(greeting.to(sys.argv[1]), sys.prefix)\n";
    let files = [
        ("Dockerfile", dockerfile),
        ("greeting/__init__.py", "def to(name):\n    return f'hello, {name}'\n"),
        ("main.py", main),
    ];
    let path = context(&host, &files);
    build(&host, &path);
    let run = |args: &[&str]| {
        host.corten(&[&["run", "--rm", "--network", "none", "made"], args].concat()).ok()
    };
    assert_eq!(run(&[]), "hello, world /venv\n");
    assert_eq!(run(&["you"]), "hello, you /venv\n");
    // Only the program has changed: the environment comes from the cache.
    std::fs::write(path.join("main.py"), main.replace("sys.argv[1]", "'all'")).unwrap();
    let again = host.corten(&[
        "build",
        "--progress",
        "plain",
        "-t",
        "made",
        "--network",
        "none",
        text(&path),
    ]);
    let cached = again.err.lines().filter(|line| line.ends_with(" CACHED")).count();
    assert_eq!(run(&[]), "hello, all /venv\n");
    assert!(cached >= 5, "{again:?}");
    host.assert_clean();
}
