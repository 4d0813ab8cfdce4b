//! What others are asked.

use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use serde_json::json;

use crate::lab::{Lab, Resolver, addresses, exchange_stream, question, reply, with_payload};

#[corten_tier::t1]
fn unknown_names_are_asked_for_outside() {
    let lab = Lab::new();
    let resolver = Resolver::plain("127.0.0.53");
    lab.resolvers(&["127.0.0.53"]);
    let app = lab.network("app", false);
    let (_web, client) = lab.single(&app);
    for kind in [RecordType::A, RecordType::TXT, RecordType::PTR] {
        let answer = client.ask("example.org", kind);
        assert_eq!(addresses(&answer), ["192.0.2.1"]);
    }
    assert_eq!(addresses(&client.ask("9.9.9.9.in-addr.arpa", RecordType::PTR)), ["192.0.2.1"]);
    assert_eq!(resolver.asked(), 4);
    let status = lab.status(&app);
    assert_eq!((status.answered, status.forwarded, status.waiting), (4, 4, 0));
}

#[corten_tier::t1]
fn what_does_not_exist_does_not_exist() {
    let lab = Lab::new();
    let _resolver = Resolver::failing("127.0.0.53", ResponseCode::NXDomain);
    lab.resolvers(&["127.0.0.53"]);
    let app = lab.network("app", false);
    let (_web, client) = lab.single(&app);
    assert_eq!(client.code("nobody"), ResponseCode::NXDomain);
}

/// One that fails, one where nobody listens, and one that answers.
#[corten_tier::t1]
fn the_next_resolver_is_asked_at_once_when_one_fails() {
    let lab = Lab::new();
    let failing = Resolver::failing("127.0.0.51", ResponseCode::ServFail);
    let _answering = Resolver::plain("127.0.0.53");
    lab.resolvers(&["127.0.0.51", "127.0.0.52", "127.0.0.53"]);
    let app = lab.network("app", false);
    let (_web, client) = lab.single(&app);
    let begun = Instant::now();
    assert_eq!(client.addresses("example.org"), ["192.0.2.1"]);
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!(failing.asked(), 1);
    let mut stream = client.connect();
    let answer = exchange_stream(&mut stream, &question(1, "example.org", RecordType::A));
    assert_eq!(addresses(&answer), ["192.0.2.1"]);
}

/// And is remembered: not every question waits for one that is away.
#[corten_tier::t1]
fn a_silent_resolver_is_waited_for_once() {
    let lab = Lab::new();
    let silent = Resolver::silent("127.0.0.52");
    let _answering = Resolver::plain("127.0.0.53");
    lab.resolvers(&["127.0.0.52", "127.0.0.53"]);
    let app = lab.network("app", false);
    let (_web, client) = lab.single(&app);
    let begun = Instant::now();
    assert_eq!(client.addresses("example.org"), ["192.0.2.1"]);
    assert!(begun.elapsed() > Duration::from_secs(1));
    let begun = Instant::now();
    for _ in 0..10 {
        assert_eq!(client.addresses("example.org"), ["192.0.2.1"]);
    }
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!(silent.asked(), 1);
}

/// Before the C library's five seconds are over.
#[corten_tier::t1]
fn where_nobody_answers_the_client_hears_of_it() {
    let lab = Lab::new();
    let silent = Resolver::silent("127.0.0.52");
    lab.resolvers(&["127.0.0.52"]);
    let app = lab.network("app", false);
    let (_web, client) = lab.single(&app);
    let begun = Instant::now();
    assert_eq!(client.code("example.org"), ResponseCode::ServFail);
    assert!(begun.elapsed() < Duration::from_millis(4900), "{:?}", begun.elapsed());
    assert_eq!(silent.asked(), 2, "it is asked twice: packets get lost");
    lab.resolvers(&[]);
    let begun = Instant::now();
    assert_eq!(client.code("example.org"), ResponseCode::ServFail);
    assert!(begun.elapsed() < Duration::from_secs(1), "there is nobody to wait for");
    assert_eq!(lab.status(&app).waiting, 0);
}

/// While one waits, others are served.
#[corten_tier::t1]
fn nobody_waits_for_another_s_question() {
    let lab = Lab::new();
    let _silent = Resolver::silent("127.0.0.52");
    lab.resolvers(&["127.0.0.52"]);
    let app = lab.network("app", false);
    let (_web, client) = lab.single(&app);
    for id in 0..10 {
        client.socket.send(&question(id, "example.org", RecordType::A)).unwrap();
    }
    let begun = Instant::now();
    assert_eq!(client.addresses("web"), ["10.0.0.2"]);
    assert!(begun.elapsed() < Duration::from_millis(500));
}

#[corten_tier::t1]
fn what_is_truncated_is_asked_for_by_tcp() {
    let lab = Lab::new();
    let addresses = |count: usize| (0..count).map(|n| format!("192.0.2.{n}")).collect::<Vec<_>>();
    let _resolver = Resolver::new("127.0.0.53", move |asked, tcp| {
        let all = addresses(200);
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let whole = reply(asked, &all);
        if tcp {
            return vec![whole];
        }
        let limit = asked.edns.as_ref().map_or(512, |edns| edns.max_payload());
        assert!(limit <= 1232, "more than fits into one packet: {limit}");
        vec![Message::from_vec(&whole).unwrap().truncate().to_vec().unwrap()]
    });
    lab.resolvers(&["127.0.0.53"]);
    let app = lab.network("app", false);
    let (_web, client) = lab.single(&app);
    let packet = with_payload(&question(5, "example.org", RecordType::A), 4096);
    assert!(client.exchange(&packet).metadata.truncation);
    let answer = exchange_stream(&mut client.connect(), &packet);
    assert_eq!((answer.metadata.id, answer.answers.len()), (5, 200));
}

#[corten_tier::t1]
fn a_container_may_have_resolvers_of_its_own() {
    let lab = Lab::new();
    let (host, own) = (Resolver::plain("127.0.0.52"), Resolver::plain("127.0.0.53"));
    lab.resolvers(&["127.0.0.52"]);
    let app = lab.network("app", false);
    let (_web, client) = lab.single(&app);
    let other = lab.container("other");
    lab.attach(&app, &other, "10.0.0.3", json!({"Dns": ["127.0.0.53"]}));
    lab.client(&app, &other).addresses("example.org");
    assert_eq!((host.asked(), own.asked()), (0, 1));
    client.addresses("example.org");
    assert_eq!((host.asked(), own.asked()), (1, 1));
    // And the host may change its own.
    lab.resolvers(&["127.0.0.53"]);
    client.addresses("example.org");
    assert_eq!((host.asked(), own.asked()), (1, 2));
}
