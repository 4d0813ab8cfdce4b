//! A small server of static files on loopback, for readers and for the browser's check.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use walkdir::WalkDir;

use crate::error::{Context, Result};
use crate::layout::Layout;
use crate::render;

/// How long a client may take to send its request.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves `root` on `listener` for as long as the process lives, one thread per connection.
/// `before` runs before each page is answered.
pub fn serve(listener: &TcpListener, root: &Path, before: impl Fn() + Sync) {
    std::thread::scope(|scope| {
        for stream in listener.incoming().filter_map(std::io::Result::ok) {
            let before = &before;
            // A client that goes away is no fault of the server.
            scope.spawn(move || _ = answer(stream, root, before));
        }
    });
}

/// Builds the book into `out` and serves it; a page asked for after its sources have changed is
/// built anew. Never returns unless the port cannot be had or the first build fails.
///
/// # Errors
/// Where the port is taken or the book cannot be built.
pub fn serve_book(layout: &Layout, out: &Path, port: u16) -> Result<()> {
    render::build(layout, out)?;
    let address = format!("127.0.0.1:{port}");
    let listener = TcpListener::bind(&address).on("listen on", &address)?;
    println!("http://{}/ (Ctrl-C ends it)", listener.local_addr().on("listen on", &address)?);
    let built = Mutex::new(newest(layout));
    serve(&listener, out, || {
        let mut built = built.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let now = newest(layout);
        if now > *built {
            match render::build(layout, out) {
                Ok(()) => *built = now,
                Err(error) => eprintln!("{error}"),
            }
        }
    });
    Ok(())
}

/// When a source of the book was last written.
fn newest(layout: &Layout) -> Option<SystemTime> {
    [layout.src(), layout.book().join("theme"), layout.repo.join("chapters")]
        .iter()
        .flat_map(|dir| WalkDir::new(dir).into_iter().filter_map(std::result::Result::ok))
        .filter_map(|entry| entry.metadata().ok()?.modified().ok())
        .max()
}

fn answer(stream: TcpStream, root: &Path, before: &impl Fn()) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut header = String::new();
    while reader.read_line(&mut header)? > 2 {
        header.clear();
    }
    let target = request.split_whitespace().nth(1).unwrap_or("/").to_owned();
    let file = local_file(root, &target);
    if file.as_ref().is_some_and(|file| file.extension().is_some_and(|e| e == "html")) {
        before();
    }
    let (status, kind, body) = match file.and_then(|f| Some((std::fs::read(&f).ok()?, f))) {
        Some((body, file)) => ("200 OK", media_type(&file), body),
        None => ("404 Not Found", "text/plain", b"404".to_vec()),
    };
    let mut stream = reader.into_inner();
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
         Cache-Control: no-cache\r\nConnection: close\r\n\r\n"
    )?;
    if !request.starts_with("HEAD") {
        stream.write_all(&body)?;
    }
    stream.flush()
}

/// The file below `root` that a request target names; `None` where it has `..`.
fn local_file(root: &Path, target: &str) -> Option<PathBuf> {
    let path = target.split(['?', '#']).next()?.trim_start_matches('/');
    let path = Path::new(path);
    if path.components().any(|component| !matches!(component, Component::Normal(_))) {
        return None;
    }
    let file = root.join(path);
    Some(if file.is_dir() { file.join("index.html") } else { file })
}

fn media_type(file: &Path) -> &'static str {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css",
        Some("js") => "text/javascript",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("woff2") => "font/woff2",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_stays_below_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        assert_eq!(local_file(root, "/"), Some(root.join("index.html")));
        assert_eq!(local_file(root, "/a/b.html?x#y"), Some(root.join("a/b.html")));
        assert_eq!(local_file(root, "/../etc/passwd"), None);
        assert_eq!(local_file(root, "/a/../../etc/passwd"), None);
        assert_eq!(local_file(root, "//etc/passwd"), Some(root.join("etc/passwd")));
    }
}
