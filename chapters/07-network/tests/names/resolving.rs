//! Who is found, and how.

use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use serde_json::json;

use crate::lab::{Lab, Resolver, addresses, exchange_stream, question, with_payload};

#[corten_tier::t1]
fn a_container_is_found_by_all_its_names() {
    let lab = Lab::new();
    let app = lab.network("app", false);
    let (web, client) = lab.single(&app);
    let db = lab.container("Db");
    lab.attach(&app, &db, "10.0.0.3", json!({"Aliases": ["Store"], "IPv6Address": "fd00::3/64"}));
    for name in ["db", "DB.", "store", "sToRe", "db.app", &db.id[..12], "db.APP."] {
        assert_eq!(client.addresses(name), ["10.0.0.3"], "{name}");
        assert_eq!(addresses(&client.ask(name, RecordType::AAAA)), ["fd00::3"], "{name}");
    }
    assert_eq!(client.addresses(&web.id[..12]), ["10.0.0.2"]);
    let name = client.ask("3.0.0.10.in-addr.arpa", RecordType::PTR);
    assert_eq!(addresses(&name), ["Db.app."]);
    let v6 = format!("3.{}0.0.d.f.ip6.arpa", "0.".repeat(27));
    assert_eq!(addresses(&client.ask(&v6, RecordType::PTR)), ["Db.app."]);
}

/// A name that is known is never asked for elsewhere, whatever is asked of it.
#[corten_tier::t1]
fn a_known_name_without_an_address_is_an_empty_answer() {
    let lab = Lab::new();
    let resolver = Resolver::plain("127.0.0.53");
    lab.resolvers(&["127.0.0.53"]);
    let app = lab.network("app", false);
    let (_web, client) = lab.single(&app);
    let kinds =
        [RecordType::AAAA, RecordType::MX, RecordType::TXT, RecordType::HTTPS, RecordType::SRV];
    for kind in kinds {
        let answer = client.ask("web", kind);
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError, "{kind}");
        assert!(answer.answers.is_empty(), "{kind}");
    }
    assert_eq!(resolver.asked(), 0);
    assert_eq!(client.addresses("elsewhere"), ["192.0.2.1"]);
    assert_eq!(resolver.asked(), 1);
}

#[corten_tier::t1]
fn a_service_takes_turns() {
    let lab = Lab::new();
    let app = lab.network("app", false);
    let (_web, client) = lab.single(&app);
    let workers = ["one", "two", "three"].map(|name| lab.container(name));
    for (worker, last) in workers.iter().zip(10..) {
        lab.attach(&app, worker, &format!("10.0.0.{last}"), json!({"Aliases": ["work"]}));
    }
    let mut firsts: Vec<String> = (0..6).map(|_| client.addresses("work")[0].clone()).collect();
    assert_eq!(firsts[..3], firsts[3..]);
    firsts.truncate(3);
    firsts.sort();
    assert_eq!(firsts, ["10.0.0.10", "10.0.0.11", "10.0.0.12"]);
    lab.detach(&app, &workers[1]);
    assert_eq!(client.addresses("work").len(), 2);
}

#[corten_tier::t1]
fn long_answers_are_cut_for_udp_and_whole_for_tcp() {
    let lab = Lab::new();
    let app = lab.network("app", false);
    let (web, client) = lab.single(&app);
    for number in 0..100 {
        let worker = crate::lab::Container::sharing(&web, &format!("w{number:02}"));
        let address = format!("10.0.1.{number}");
        lab.write(&app, &worker, &address, json!({"Aliases": ["work"], "Namespace": ""}));
    }
    let plain = question(1, "work", RecordType::A);
    let answer = client.exchange(&plain);
    assert!(answer.metadata.truncation && answer.answers.len() < 31);
    assert!(answer.answers.len() > 20, "{}", answer.answers.len());
    let answer = client.exchange(&with_payload(&plain, 4096));
    assert!(!answer.metadata.truncation && answer.answers.len() == 100);
    let mut stream = client.connect();
    for _ in 0..2 {
        let answer = exchange_stream(&mut stream, &plain);
        assert!(!answer.metadata.truncation && answer.answers.len() == 100);
    }
}

/// With `ndots` the client looks through its search list: names without a dot stay here.
#[corten_tier::t1]
fn with_ndots_single_words_are_not_asked_for_outside() {
    let lab = Lab::new();
    let resolver = Resolver::plain("127.0.0.53");
    lab.resolvers(&["127.0.0.53"]);
    let app = lab.network("app", false);
    let web = lab.container("web");
    lab.attach(&app, &web, "10.0.0.2", json!({"DnsOptions": ["timeout:3", "ndots:2"]}));
    let client = lab.client(&app, &web);
    assert!(client.addresses("elsewhere").is_empty());
    assert_eq!(client.addresses("web"), ["10.0.0.2"]);
    assert_eq!(resolver.asked(), 0);
    assert_eq!(client.addresses("elsewhere.example.org"), ["192.0.2.1"]);
}

#[corten_tier::t1]
fn a_container_of_two_networks_knows_both() {
    let lab = Lab::new();
    let (front, back) = (lab.network("front", false), lab.network("back", true));
    let (web, proxy, db) = (lab.container("web"), lab.container("proxy"), lab.container("db"));
    lab.attach(&front, &web, "10.0.0.2", json!({}));
    lab.attach(&back, &db, "10.1.0.2", json!({}));
    lab.attach(&front, &proxy, "10.0.0.3", json!({}));
    let client = lab.client(&front, &proxy);
    assert_eq!(client.code("db"), ResponseCode::ServFail);
    // Whichever server is asked knows at once, also the one that was told nothing.
    lab.attach(&back, &proxy, "10.1.0.3", json!({}));
    for client in [&client, &lab.client(&back, &proxy)] {
        assert_eq!(client.addresses("web"), ["10.0.0.2"]);
        assert_eq!(client.addresses("db"), ["10.1.0.2"]);
    }
    assert_eq!(lab.client(&front, &web).code("db"), ResponseCode::ServFail);
    assert_eq!(lab.client(&back, &db).code("web"), ResponseCode::ServFail);
    lab.detach(&back, &proxy);
    assert_eq!(client.code("db"), ResponseCode::ServFail);
}

/// In an emulated machine everything is ten times slower.
#[corten_tier::t1]
fn a_name_is_found_within_a_millisecond() {
    let lab = Lab::new();
    let app = lab.network("app", false);
    let (web, client) = lab.single(&app);
    for number in 0..500 {
        let other = crate::lab::Container::sharing(&web, &format!("c{number:03}"));
        let address = format!("10.0.{}.{}", 1 + number / 250, number % 250);
        lab.write(&app, &other, &address, json!({"Namespace": ""}));
    }
    client.addresses("c499");
    let mut times: Vec<Duration> = (0..1000)
        .map(|number| {
            let packet = question(1, &format!("c{:03}", number % 500), RecordType::A);
            let begun = Instant::now();
            assert_eq!(client.exchange(&packet).answers.len(), 1);
            begun.elapsed()
        })
        .collect();
    times.sort();
    println!("median {:?}, 99 % {:?}, longest {:?}", times[500], times[990], times[999]);
    let in_vm = std::env::var_os(corten_tier::IN_VM).is_some();
    assert!(times[500] < Duration::from_millis(if in_vm { 10 } else { 1 }), "{:?}", times[500]);
}
