use std::str::FromStr;

use proptest::prelude::*;

use super::*;

/// A question as a client sends it, with a size that it can take.
fn asked(name: &str, kind: RecordType, payload: Option<u16>) -> Vec<u8> {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    if let Some(payload) = payload {
        let mut edns = Edns::new();
        edns.set_max_payload(payload);
        message.set_edns(edns);
    }
    message.to_vec().unwrap()
}

fn question(packet: &[u8]) -> Box<Question> {
    match read(packet) {
        Received::Question(question) => question,
        other => panic!("{other:?}"),
    }
}

fn refused(packet: &[u8]) -> ResponseCode {
    match read(packet) {
        Received::Refused(answer) => {
            assert!(answer.len() <= packet.len().max(HEADER), "it is larger than the question");
            assert_eq!(answer[..2], packet[..2]);
            Message::from_vec(&answer).unwrap().metadata.response_code
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_name_is_read_in_small_letters_and_without_its_dot() {
    assert_eq!(question(&asked("WeB.App.", RecordType::A, None)).name().unwrap(), "web.app");
    assert_eq!(question(&asked("my_app-1.", RecordType::A, None)).name().unwrap(), "my_app-1");
    assert_eq!(question(&asked(".", RecordType::NS, None)).name(), None);
    // A dot inside of a label is no dot between labels.
    let mut packet = asked("axb.", RecordType::A, None);
    packet[HEADER + 2] = b'.';
    assert_eq!(question(&packet).name(), None);
}

#[test]
fn addresses_are_read_from_names() {
    let of = |name: &str| question(&asked(name, RecordType::PTR, None)).address();
    assert_eq!(of("2.0.19.172.in-addr.arpa."), Some([172, 19, 0, 2].into()));
    assert_eq!(of("19.172.in-addr.arpa."), None);
    assert_eq!(of("web."), None);
    let v6 = format!("1.{}0.8.e.f.ip6.arpa.", "0.".repeat(27));
    assert_eq!(of(&v6), Some("fe80::1".parse().unwrap()));
}

#[test]
fn an_answer_repeats_the_question_and_fits() {
    let all: Vec<IpAddr> = (0..200).map(|n| IpAddr::from([10, 0, 0, n])).collect();
    for (payload, limit) in [(None, 512), (Some(100), 512), (Some(1232), 1232), (Some(4096), 4096)]
    {
        let question = question(&asked("Service.", RecordType::A, payload));
        assert_eq!(question.limit(), limit);
        let bytes = question.answer(&Answer::Addresses(all.clone()), question.limit());
        assert!(bytes.len() <= limit, "{} of {limit}", bytes.len());
        let answer = Message::from_vec(&bytes).unwrap();
        assert_eq!(answer.metadata.truncation, limit < 4096);
        let number = answer.answers.len();
        assert!(number >= (limit - 64) / 20 || number == 200, "{number} in {limit}");
        assert_eq!(answer.queries[0].name().to_string(), "Service.");
        assert_eq!(answer.edns.is_some(), payload.is_some());
        assert!(answer.metadata.recursion_available && answer.metadata.authoritative);
    }
    let question = question(&asked("service.", RecordType::A, None));
    let all = question.answer(&Answer::Addresses(all), usize::from(u16::MAX));
    assert_eq!(Message::from_vec(&all).unwrap().answers.len(), 200);
}

#[test]
fn what_is_no_question_is_forgotten_or_refused() {
    let good = asked("web.", RecordType::A, None);
    assert!(matches!(read(&[]), Received::Nothing));
    assert!(matches!(read(&good[..11]), Received::Nothing));
    let mut answer = good.clone();
    answer[2] |= 0x80;
    assert!(matches!(read(&answer), Received::Nothing), "an answer is not answered");
    let mut update = good.clone();
    update[2] = 5 << 3;
    assert_eq!(refused(&update), ResponseCode::NotImp);
    for count in [0, 2, 200] {
        let mut many = good.clone();
        many[5] = count;
        assert_eq!(refused(&many), ResponseCode::FormErr);
    }
    let mut answers = good.clone();
    answers[7] = 1;
    assert_eq!(refused(&answers), ResponseCode::FormErr);
    assert_eq!(refused(&good[..good.len() - 1]), ResponseCode::FormErr);
    assert_eq!(refused(&asked("web.", RecordType::AXFR, None)), ResponseCode::Refused);
    let mut long = good.clone();
    long.resize(LONGEST_QUESTION + 1, 0);
    assert_eq!(refused(&long), ResponseCode::FormErr);
}

/// A name that leads back to itself, and two that lead to each other.
#[test]
fn compression_loops_end() {
    for pointers in [&[0xc0, 12][..], &[0xc0, 14, 0xc0, 12], &[1, b'a', 0xc0, 12]] {
        let mut packet = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        packet.extend(pointers);
        packet.extend([0, 1, 0, 1]);
        assert_eq!(refused(&packet), ResponseCode::FormErr);
        let question = question(&asked("web.", RecordType::A, None));
        packet[2] |= 0x80;
        assert_eq!(question.returned(1, &packet, 512), None);
    }
}

#[test]
fn a_later_edns_is_recognised() {
    let mut packet = asked("web.", RecordType::A, Some(1232));
    let version = packet.len() - 5;
    packet[version] = 1;
    let question = question(&packet);
    assert!(question.is_of_the_future());
    let answer = question.answer(&Answer::Failure(ResponseCode::BADVERS), 512);
    // 16, which has another name in signed messages.
    let code = u16::from(Message::from_vec(&answer).unwrap().metadata.response_code);
    assert_eq!(code, u16::from(ResponseCode::BADVERS));
}

#[test]
fn nothing_but_the_question_is_forwarded() {
    let mut packet = asked("example.org.", RecordType::A, Some(4096));
    // An option that nobody knows (RFC 6891, 6.1.2), which could carry anything.
    let length = packet.len() - 2;
    packet[length..].copy_from_slice(&8u16.to_be_bytes());
    packet.extend([0xfd, 0xe9, 0, 4, b'd', b'a', b't', b'a']);
    let question = question(&packet);
    let forwarded = question.forwarded(7);
    let message = Message::from_vec(&forwarded).unwrap();
    assert_eq!((message.metadata.id, message.edns.unwrap().max_payload()), (7, 1232));
    assert!(!forwarded.windows(4).any(|bytes| bytes == b"data"));
}

/// An answer of a resolver to `packet`.
fn answer_to(packet: &[u8], change: impl FnOnce(&mut Message)) -> Vec<u8> {
    let mut message = Message::from_vec(packet).unwrap().into_response();
    let name = message.queries[0].name().clone();
    message.add_answer(Record::from_rdata(name, 60, RData::A(A([192, 0, 2, 1].into()))));
    change(&mut message);
    message.to_vec().unwrap()
}

#[test]
fn only_the_answer_to_this_question_counts() {
    let question = question(&asked("ExAmple.org.", RecordType::A, None));
    let forwarded = question.forwarded(7);
    let right = answer_to(&forwarded, |_| {});
    let Some(Returned::Answer(answer)) = question.returned(7, &right, 512) else { panic!() };
    assert_eq!(answer[..2], [0x12, 0x34]);
    assert_eq!(answer[HEADER..HEADER + 8], *b"\x07ExAmple");
    // Small letters are the same name, and the client gets its own back.
    let mut small = right.clone();
    small[HEADER..HEADER + 8].make_ascii_lowercase();
    assert_eq!(question.returned(7, &small, 512), Some(Returned::Answer(answer)));

    let other = |change: &dyn Fn(&mut Message)| answer_to(&forwarded, change);
    let strangers = [
        other(&|message| message.metadata.id = 8),
        other(&|message| message.metadata.message_type = MessageType::Query),
        other(&|message| message.metadata.op_code = OpCode::Status),
        other(&|message| drop(message.queries.pop())),
        other(&|message| {
            message.queries[0].set_query_type(RecordType::AAAA);
        }),
        other(&|message| {
            message.queries[0].set_name(Name::from_str("example.com.").unwrap());
        }),
        right[..right.len() - 1].to_vec(),
    ];
    for stranger in &strangers {
        assert_eq!(question.returned(7, stranger, 512), None, "{stranger:?}");
    }
    for code in [ResponseCode::ServFail, ResponseCode::Refused] {
        let failed = other(&|message| message.metadata.response_code = code);
        assert_eq!(question.returned(7, &failed, 512), Some(Returned::Failed));
    }
}

#[test]
fn an_answer_that_is_too_long_is_cut_to_its_question() {
    let question = question(&asked("example.org.", RecordType::A, None));
    let long = answer_to(&question.forwarded(7), |message| {
        let record = message.answers[0].clone();
        message.add_answers(vec![record; 100]);
    });
    let Some(Returned::Answer(answer)) = question.returned(7, &long, 512) else { panic!() };
    assert!(answer.len() <= 512);
    let answer = Message::from_vec(&answer).unwrap();
    assert!(answer.metadata.truncation && answer.metadata.id == 0x1234);
}

proptest! {
    /// Whatever comes in, nothing breaks, and what is refused is refused in twelve bytes.
    #[test]
    fn any_packet_is_read(packet in proptest::collection::vec(any::<u8>(), 0..600)) {
        match read(&packet) {
            Received::Refused(answer) => prop_assert_eq!(answer.len(), HEADER),
            Received::Question(question) => {
                let answer = question.answer(&Answer::Empty, 512);
                prop_assert!(answer.len() <= 512);
                let forwarded = question.forwarded(1);
                prop_assert!(matches!(read(&forwarded), Received::Question(_)));
            }
            Received::Nothing => {}
        }
    }

    /// Nearly good packets reach further in.
    #[test]
    fn any_damage_is_survived(
        at in 0_usize..60,
        with in any::<[u8; 3]>(),
        payload in proptest::option::of(any::<u16>()),
    ) {
        let mut packet = asked("some.name.example.org.", RecordType::A, payload);
        for (place, byte) in packet.iter_mut().skip(at).zip(with) {
            *place = byte;
        }
        let question = question(&asked("some.name.example.org.", RecordType::A, None));
        let mut answer = answer_to(&question.forwarded(1), |_| {});
        for (place, byte) in answer.iter_mut().skip(at).zip(with) {
            *place = byte;
        }
        let _ = question.returned(1, &answer, 512);
        if let Received::Question(question) = read(&packet) {
            let _ = (question.name(), question.address());
            let all = vec![IpAddr::from([10, 0, 0, 1]); 100];
            let answer = question.answer(&Answer::Addresses(all), question.limit());
            prop_assert!(answer.len() <= question.limit());
        }
    }
}
