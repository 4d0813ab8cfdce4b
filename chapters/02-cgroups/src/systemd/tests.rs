use std::os::unix::net::UnixListener;
use std::thread::JoinHandle;

use super::*;

/// What rustbus 0.19 makes of the same call: the body, and the header before it.
const BODY: &str = "0e000000636f7274656e2d782e73636f70650000070000007265706c61636500a80000000000000005000000536c696365000173000000000c00000073797374656d2e736c69636500000000000000000800000044656c65676174650001620001000000000000000400000050494473000261750000000008000000070000000900000000000000080000005461736b734d61780001740014000000000000000500000057616e74730002617300000006000000010000006100000000000000040000004e69636500016900fdffffff0000000000000000";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unit() -> Unit {
    Unit { slice: "system.slice".into(), name: "corten-x.scope".into() }
}

#[test]
#[cfg(target_endian = "little")]
fn a_call_is_encoded_as_others_do() {
    let properties = [
        Property::new("Slice", Value::Text("system.slice".into())),
        Property::new("Delegate", Value::Bool(true)),
        Property::new("PIDs", Value::Numbers(vec![7, 9])),
        Property::new("TasksMax", Value::Uint64(20)),
        Property::new("Wants", Value::Texts(vec!["a".into()])),
        Property::new("Nice", Value::Int32(-3)),
    ];
    let call = Call::new(PATH, MANAGER, "StartTransientUnit", "ssa(sv)a(sa(sv))")
        .text("corten-x.scope")
        .text("replace")
        .properties(&properties)
        .empty_units();
    let bytes = call.encode(1);
    assert_eq!(Message::length(&bytes).unwrap(), Some(bytes.len()));
    let body = BODY.len() / 2;
    assert_eq!(hex(&bytes[bytes.len() - body..]), BODY);
    // rustbus has the same fields in another order.
    assert_eq!(hex(&bytes[..16]), "6c010001d800000001000000b6000000");
    let message = Message::decode(&bytes).unwrap();
    assert_eq!(message.member.as_deref(), Some("StartTransientUnit"));
    assert_eq!(message.first_text(), "corten-x.scope");
}

/// A systemd that authenticates, and answers each call with one of `answers`.
fn systemd(answers: Vec<Vec<Vec<u8>>>) -> (tempfile::TempDir, PathBuf, JoinHandle<Vec<Vec<u8>>>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("private");
    let listener = UnixListener::bind(&path).unwrap();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = Vec::new();
        let more = |buffer: &mut Vec<u8>, stream: &mut UnixStream| {
            let mut bytes = [0; 4096];
            let length = stream.read(&mut bytes).unwrap();
            buffer.extend_from_slice(&bytes[..length]);
            length > 0
        };
        let end = b"BEGIN\r\n";
        while !buffer.windows(end.len()).any(|part| part == end) {
            assert!(more(&mut buffer, &mut stream));
        }
        let at = buffer.windows(end.len()).position(|part| part == end).unwrap() + end.len();
        let mut calls = vec![buffer[..at].to_vec()];
        buffer.drain(..at);
        stream.write_all(b"OK 0123456789abcdef\r\n").unwrap();
        for answer in answers {
            let length = loop {
                match Message::length(&buffer).unwrap() {
                    Some(length) if buffer.len() >= length => break length,
                    _ => assert!(more(&mut buffer, &mut stream)),
                }
            };
            calls.push(buffer.drain(..length).collect());
            // In two parts, as a socket may deliver it.
            let answer = answer.concat();
            let (first, second) = answer.split_at(answer.len() / 2);
            stream.write_all(first).unwrap();
            stream.write_all(second).unwrap();
        }
        calls
    });
    (dir, path, thread)
}

/// A message with a header of one field and a body of texts.
fn message(kind: u8, field: (u8, &str, &str), reply_to: Option<u32>, texts: &[&str]) -> Vec<u8> {
    let call = texts.iter().fold(Call::new("/", "i", "m", "s"), |call, text| call.text(text));
    let with_body = call.encode(1);
    let body_start =
        with_body.len() - u32::from_ne_bytes(with_body[4..8].try_into().unwrap()) as usize;
    let body = &with_body[body_start..];
    let mut fields = vec![field.0, 1, field.1.as_bytes()[0], 0];
    fields.extend((field.2.len() as u32).to_ne_bytes());
    fields.extend(field.2.as_bytes());
    fields.push(0);
    if let Some(serial) = reply_to {
        fields.resize(fields.len().next_multiple_of(8), 0);
        fields.extend([5, 1, b'u', 0]);
        fields.extend(serial.to_ne_bytes());
    }
    let mut message = with_body[..4].to_vec();
    message[1] = kind;
    message.extend((body.len() as u32).to_ne_bytes());
    message.extend(9u32.to_ne_bytes());
    message.extend((fields.len() as u32).to_ne_bytes());
    message.extend(fields);
    message.resize(message.len().next_multiple_of(8), 0);
    message.extend(body);
    message
}

fn job_removed(job: &str, result: &str) -> Vec<u8> {
    // The number of the job comes first; an empty text is the number 0 and a byte, so it is put
    // together by hand.
    let texts = message(4, (3, "s", "JobRemoved"), None, &[job, "corten-x.scope", result]);
    let length = u32::from_ne_bytes(texts[4..8].try_into().unwrap()) as usize;
    let (header, body) = texts.split_at(texts.len() - length);
    let mut whole = header.to_vec();
    whole[4..8].copy_from_slice(&(length as u32 + 4).to_ne_bytes());
    whole.extend(77u32.to_ne_bytes());
    whole.extend(body);
    whole
}

const JOB: &str = "/org/freedesktop/systemd1/job/77";

fn reply(serial: u32) -> Vec<u8> {
    message(2, (7, "s", "org.freedesktop.systemd1"), Some(serial), &[JOB])
}

#[test]
fn a_scope_is_started_when_its_job_is_done() {
    let other = job_removed("/org/freedesktop/systemd1/job/5", "failed");
    let answers = vec![vec![other, reply(1), job_removed(JOB, "done")]];
    let (_dir, path, thread) = systemd(answers);
    let mut connection = Systemd::connect_to(&path).unwrap();
    connection.start_scope(&unit(), "a test", &[42], &[]).unwrap();
    let calls = thread.join().unwrap();
    assert!(calls[0].starts_with(b"\0AUTH EXTERNAL "));
    assert_eq!(Message::decode(&calls[1]).unwrap().first_text(), "corten-x.scope");
}

#[test]
fn systemd_s_own_words_are_passed_on() {
    let name = (4, "s", "org.freedesktop.systemd1.UnitExists");
    let error = message(3, name, Some(1), &["Unit corten-x.scope already exists."]);
    let (_dir, path, thread) =
        systemd(vec![vec![error], vec![reply(2), job_removed(JOB, "failed")]]);
    let mut connection = Systemd::connect_to(&path).unwrap();
    let mut start =
        || connection.start_scope(&unit(), "a test", &[42], &[]).unwrap_err().to_string();
    assert_eq!(
        start(),
        "systemd: start the scope corten-x.scope: Unit corten-x.scope already exists. \
         (org.freedesktop.systemd1.UnitExists)"
    );
    assert!(start().ends_with("the job ended with `failed`"));
    thread.join().unwrap();
}

#[test]
fn a_systemd_that_is_not_there_or_goes_away_is_told() {
    let error = Systemd::connect_to(Path::new("/no/such/socket")).unwrap_err().to_string();
    assert!(
        error.starts_with("systemd: connect to /no/such/socket: ENOENT (is systemd"),
        "{error}"
    );
    let (_dir, path, thread) = systemd(Vec::new());
    let mut connection = Systemd::connect_to(&path).unwrap();
    thread.join().unwrap();
    assert!(connection.reset_failed(&unit()).is_err());
    for bad in [
        &b"x\x01\0\x01\0\0\0\0\0\0\0\0\0\0\0\0"[..],
        b"l\x01\0\x01\xff\xff\xff\x7f\0\0\0\0\0\0\0\0",
    ] {
        assert!(Message::length(bad).is_err());
    }
    let cut = &reply(1)[..20];
    assert!(Message::decode(cut).is_err());
}

#[test]
fn units_are_named_as_docker_and_podman_do() {
    let parse = |text| Unit::parse(Some(text), "id", false);
    let unit = parse("system.slice:docker:0123").unwrap();
    assert_eq!(unit.name, "docker-0123.scope");
    assert_eq!(unit.path(), Path::new("/system.slice/docker-0123.scope"));
    assert_eq!(unit.object(), "/org/freedesktop/systemd1/unit/docker_2d0123_2escope");
    let pod = parse("kubepods-burstable-pod1.slice:cri-containerd:abc").unwrap();
    assert_eq!(
        pod.path(),
        Path::new(
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-containerd-abc.scope"
        )
    );
    assert_eq!(parse("-.slice::x").unwrap().path(), Path::new("/x.scope"));
    assert_eq!(
        Unit::parse(None, "id", true).unwrap().path(),
        Path::new("/user.slice/corten-id.scope")
    );
    for bad in ["/a/b", "a:b", "a--b.slice:p:n", "nonsense:p:n", "a.slice:p:", "a/b.slice:p:n"] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn properties_are_read_from_annotations() {
    let value = |text| Property::parse("X", text).unwrap().value;
    assert_eq!(value("true"), Value::Bool(true));
    assert_eq!(value("'a b'"), Value::Text("a b".into()));
    assert_eq!(value("['a', 'b']"), Value::Texts(vec!["a".into(), "b".into()]));
    assert_eq!(value("uint64 5"), Value::Uint64(5));
    assert_eq!(value("-3"), Value::Int32(-3));
    let timeout = Property::parse("TimeoutStopSec", "uint64 30").unwrap();
    assert_eq!(timeout, Property::new("TimeoutStopUSec", Value::Uint64(30_000_000)));
    for bad in ["", "what", "uint64 -1", "[1", "'a"] {
        assert!(Property::parse("X", bad).is_err(), "{bad}");
    }
    assert!(Property::parse("XSec", "'a'").is_err());
}
