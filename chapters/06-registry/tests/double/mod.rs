//! A registry of the tests' own, which does wrong on purpose. One thread per connection, one request
//! per connection; the threads end when their peer has gone.
#![allow(dead_code)]

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use corten_registry::Digest;

/// What one path answers.
#[derive(Clone)]
pub enum Reply {
    Body {
        status: u16,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    },
    /// Never ends; `chunked` or until the connection closes.
    Endless {
        chunked: bool,
    },
    /// Announces the right length and breaks off after so many bytes, so many times.
    Broken {
        after: usize,
        ranges: bool,
        times: usize,
    },
    /// A byte now and then.
    Drip,
    /// Takes the request and says nothing.
    Hang,
    Redirect(String),
    /// 503 so many times.
    Busy {
        times: usize,
    },
    /// 429 so many times, with this Retry-After.
    Later {
        after: &'static str,
        times: usize,
    },
}

impl Reply {
    pub fn body(body: impl Into<Vec<u8>>) -> Reply {
        Reply::Body { status: 200, headers: Vec::new(), body: body.into() }
    }

    pub fn header(mut self, name: &str, value: &str) -> Reply {
        if let Reply::Body { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    pub fn status(mut self, code: u16) -> Reply {
        if let Reply::Body { status, .. } = &mut self {
            *status = code;
        }
        self
    }
}

/// An image of one layer.
pub struct Image {
    pub layer: Vec<u8>,
    pub config: Vec<u8>,
    pub manifest: Vec<u8>,
}

pub fn image() -> Image {
    let layer: Vec<u8> = (0..5000u32).flat_map(|i| i.to_le_bytes()).collect();
    let digest = Digest::sha256(&layer);
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{digest}"]}}}}"#
    );
    let oci = "application/vnd.oci.image";
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{oci}.manifest.v1+json","config":{{"mediaType":"{oci}.config.v1+json","digest":"{}","size":{}}},"layers":[{{"mediaType":"{oci}.layer.v1.tar","digest":"{digest}","size":{}}}]}}"#,
        Digest::sha256(config.as_bytes()),
        config.len(),
        layer.len()
    );
    Image { layer, config: config.into_bytes(), manifest: manifest.into_bytes() }
}

impl Image {
    pub fn layer_path(&self) -> String {
        format!("/v2/app/blobs/{}", Digest::sha256(&self.layer))
    }

    pub fn config_path(&self) -> String {
        format!("/v2/app/blobs/{}", Digest::sha256(&self.config))
    }
}

struct Shared {
    replies: Mutex<HashMap<String, (Reply, usize)>>,
    layer: Vec<u8>,
    secret: Mutex<Option<(String, String)>>,
    requests: Mutex<Vec<String>>,
}

pub struct Double {
    host: String,
    shared: Arc<Shared>,
}

impl Double {
    /// A registry that has the image honestly as `app:1`.
    pub fn of(image: &Image) -> Double {
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let digest = Digest::sha256(&image.manifest).to_string();
        let manifest = Reply::body(image.manifest.clone())
            .header("Content-Type", kind)
            .header("Docker-Content-Digest", &digest);
        let replies = [
            ("/v2/".to_owned(), Reply::body("{}")),
            ("/v2/app/manifests/1".to_owned(), manifest),
            (image.config_path(), Reply::body(image.config.clone())),
            (image.layer_path(), Reply::body(image.layer.clone())),
        ];
        let shared = Arc::new(Shared {
            replies: Mutex::new(replies.into_iter().map(|(p, r)| (p, (r, 0))).collect()),
            layer: image.layer.clone(),
            secret: Mutex::default(),
            requests: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let for_thread = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&for_thread);
                // What goes wrong with a connection is the client's test to see.
                thread::spawn(move || drop(serve(&shared, stream)));
            }
        });
        Double { host, shared }
    }

    pub fn with(self, path: &str, reply: Reply) -> Double {
        self.shared.replies.lock().unwrap().insert(path.to_owned(), (reply, 0));
        self
    }

    /// Answers 401 with this challenge to every request without this Authorization header.
    pub fn secured(self, challenge: &str, wanted: &str) -> Double {
        *self.shared.secret.lock().unwrap() = Some((challenge.to_owned(), wanted.to_owned()));
        self
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    /// All requests so far: the request line and the headers.
    pub fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap().clone()
    }
}

fn serve(shared: &Shared, stream: TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut request = String::new();
    while !request.ends_with("\r\n\r\n") {
        // A TLS handshake is no text: the connection ends, as with any server of plain HTTP.
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
    }
    let length = request.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.trim().parse().unwrap())];
    reader.read_exact(&mut body)?;
    let with_body = format!("{request}{}", String::from_utf8_lossy(&body));
    shared.requests.lock().unwrap().push(with_body);
    let mut words = request.split(' ');
    let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or("").to_owned());
    let secret = shared.secret.lock().unwrap().clone();
    if let Some((challenge, wanted)) = secret
        && path != "/v2/"
        && !request.contains(&format!("authorization: {wanted}\r\n"))
    {
        return answer(stream, 401, &[("WWW-Authenticate".to_owned(), challenge)], b"");
    }
    let (reply, times) = match shared.replies.lock().unwrap().get_mut(&path) {
        Some((reply, count)) => {
            *count += 1;
            (reply.clone(), *count)
        }
        None => {
            let body = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
            return answer(stream, 404, &[], body);
        }
    };
    match reply {
        Reply::Body { status, headers, body } if method == "HEAD" => {
            head(&stream, status, &headers, body.len())
        }
        Reply::Body { status, headers, body } => answer(stream, status, &headers, &body),
        Reply::Redirect(to) => answer(stream, 307, &[("Location".to_owned(), to)], b""),
        Reply::Busy { times: busy } if times <= busy => {
            let body = br#"{"errors":[{"code":"UNAVAILABLE","message":"too busy"}]}"#;
            answer(stream, 503, &[], body)
        }
        Reply::Later { after, times: late } if times <= late => {
            answer(stream, 429, &[("Retry-After".to_owned(), after.to_owned())], b"")
        }
        Reply::Busy { .. } | Reply::Later { .. } => answer(stream, 200, &[], &shared.layer),
        Reply::Broken { after, ranges, times: broken } => {
            let whole = &shared.layer;
            let from = request.split("range: bytes=").nth(1).filter(|_| ranges);
            let from: usize =
                from.and_then(|r| r.split('-').next()).map_or(0, |r| r.parse().unwrap());
            let range = format!("bytes {from}-{}/{}", whole.len() - 1, whole.len());
            let rest = &whole[from..];
            if from > 0 {
                head(&stream, 206, &[("Content-Range".to_owned(), range)], rest.len())?;
            } else {
                head(&stream, 200, &[], rest.len())?;
            }
            let end = if times <= broken { after.min(rest.len()) } else { rest.len() };
            (&stream).write_all(&rest[..end])
        }
        Reply::Endless { chunked } => endless(stream, chunked),
        Reply::Drip => {
            head(&stream, 200, &[], shared.layer.len())?;
            loop {
                (&stream).write_all(b"x")?;
                thread::sleep(Duration::from_millis(100));
            }
        }
        Reply::Hang => {
            // Until the client has gone.
            stream.set_read_timeout(Some(Duration::from_secs(30)))?;
            reader.read_line(&mut String::new()).map(drop)
        }
    }
}

fn head(
    mut stream: &TcpStream,
    status: u16,
    headers: &[(String, String)],
    length: usize,
) -> std::io::Result<()> {
    let mut text = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("Connection: close\r\n\r\n");
    stream.write_all(text.as_bytes())
}

fn answer(
    stream: TcpStream,
    status: u16,
    headers: &[(String, String)],
    body: &[u8],
) -> std::io::Result<()> {
    head(&stream, status, headers, body.len())?;
    (&stream).write_all(body)
}

fn endless(mut stream: TcpStream, chunked: bool) -> std::io::Result<()> {
    let coding = if chunked { "Transfer-Encoding: chunked\r\n" } else { "" };
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let text =
        format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{coding}Connection: close\r\n\r\n");
    stream.write_all(text.as_bytes())?;
    let block = [b' '; 4096];
    loop {
        if chunked {
            stream.write_all(b"1000\r\n")?;
        }
        stream.write_all(&block)?;
        if chunked {
            stream.write_all(b"\r\n")?;
        }
    }
}
