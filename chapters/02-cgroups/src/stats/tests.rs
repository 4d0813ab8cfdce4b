use super::*;

#[test]
fn v2_s_processor_time_is_in_microseconds() {
    let text = "usage_usec 1500000\nuser_usec 1000000\nsystem_usec 500000\nnr_periods 10\n\
        nr_throttled 4\nthrottled_usec 250000\nnr_bursts 1\nburst_usec 7\n";
    let cpu = v2::cpu(text);
    assert_eq!((cpu.usage, cpu.user), (Duration::from_millis(1500), Duration::from_secs(1)));
    assert_eq!((cpu.periods, cpu.throttled_periods), (10, 4));
    assert_eq!((cpu.throttled, cpu.bursts), (Duration::from_millis(250), 1));
}

#[test]
fn v1_s_throttling_is_in_nanoseconds() {
    let mut cpu = Cpu::default();
    v1::throttling("nr_periods 3\nnr_throttled 2\nthrottled_time 1000000\n", &mut cpu);
    assert_eq!((cpu.throttled_periods, cpu.throttled), (2, Duration::from_millis(1)));
}

#[test]
fn disks_are_counted_in_both_formats() {
    let v2 = v2::io("254:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n259:0 \nnonsense\n");
    let io = Io { read_bytes: 1, written_bytes: 2, reads: 3, writes: 4 };
    assert_eq!(v2[&(254, 0)], io);
    let mut v1 = BTreeMap::new();
    let bytes = "254:0 Read 1\n254:0 Write 2\n254:0 Sync 3\n254:0 Total 3\nTotal 3\n";
    v1::operations(bytes, true, &mut v1);
    v1::operations("254:0 Read 3\n254:0 Write 4\n", false, &mut v1);
    assert_eq!(v1[&(254, 0)], io);
}

#[test]
fn no_limit_looks_different_in_each_version() {
    assert_eq!(text::max("max\n"), Some(Max::Unlimited));
    assert_eq!(text::max("9223372036854771712\n"), Some(Max::Unlimited));
    assert_eq!(text::max("67108864\n"), Some(Max::At(64 << 20)));
    assert_eq!(text::max("junk"), None);
}

#[test]
fn v1_s_swap_is_what_memory_leaves() {
    let limit = |memory, both| v1::swap_limit(Some(memory), Some(both));
    assert_eq!(limit(Max::At(10), Max::At(30)), Some(Max::At(20)));
    assert_eq!(limit(Max::At(10), Max::Unlimited), Some(Max::Unlimited));
    assert_eq!(v1::swap_limit(Some(Max::At(1)), None), None);
}

#[test]
fn pressure_is_read_with_and_without_full() {
    let text = "some avg10=12.50 avg60=1.00 avg300=0.10 total=2000000\n\
        full avg10=0.00 avg60=0.00 avg300=0.00 total=5\n";
    let pressure = Pressure::parse(text).unwrap();
    assert_eq!(pressure.some.avg10, 12.5);
    assert_eq!(pressure.some.total, Duration::from_secs(2));
    assert_eq!(pressure.full.total, Duration::from_micros(5));
    assert_eq!(Pressure::parse("some avg10=1.00 total=1\n").unwrap().full, Line::default());
    assert_eq!(Pressure::parse(""), None);
}

#[test]
fn huge_pages_are_named_as_in_the_files() {
    let name = |directory| v2::page_size(directory).unwrap();
    assert_eq!(name("hugepages-64kB"), "64KB");
    assert_eq!(name("hugepages-2048kB"), "2MB");
    assert_eq!(name("hugepages-1048576kB"), "1GB");
    assert_eq!(v2::page_size("other"), None);
}
