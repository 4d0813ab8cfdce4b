use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::check::{check, extra_host, signal};
use super::config::{Test, Words};
use super::host::{Resources, Ulimit};
use super::limit::numbers;
use super::security::{Seccomp, Security};
use super::*;
use crate::engine::machine::{Machine, Support};

pub(in crate::engine) fn machine() -> Machine {
    Machine {
        hostname: "host".to_owned(),
        cpus: 2,
        online_cpus: "0-1".to_owned(),
        memory_nodes: "0".to_owned(),
        unified: true,
        cgroup_namespaces: true,
        support: Support::ALL,
        kernel: (6, 1),
        apparmor: false,
        capabilities: corten_namespaces::capability::names()
            .iter()
            .map(|name| format!("CAP_{name}"))
            .filter(|name| name != "CAP_BPF")
            .collect(),
        network_sysctls: true,
        rootless: false,
        cgroups: true,
        given: None,
    }
}

fn config(value: Value) -> Config {
    serde_json::from_value(value).unwrap()
}

/// What a request is told: a refusal, or warnings.
fn verdict(config: Value, host: Value) -> String {
    verdict_on(&machine(), config, host)
}

fn verdict_on(machine: &Machine, own: Value, host: Value) -> String {
    let mut host: HostConfig = serde_json::from_value(host).unwrap();
    match check(&mut config(own), &mut host, machine) {
        Ok(warnings) => warnings.join("|"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn null_absent_and_unknown_fields_are_no_mistake() {
    let null = json!({"Env": null, "Cmd": null, "ExposedPorts": {"80/tcp": null}, "Labels": null,
        "Volumes": null, "Hostname": null, "Tty": null, "Healthcheck": null, "NewIn1.99": [1]});
    let parsed = config(null);
    assert_eq!(parsed.cmd, Words(None));
    assert!(parsed.exposed_ports.contains_key("80/tcp"));
    let host = json!({"Binds": null, "LogConfig": null, "RestartPolicy": null, "Memory": null,
        "MemorySwappiness": null, "PortBindings": {"80/tcp": null}, "Ulimits": null,
        "ConsoleSize": null, "Init": null, "MaskedPaths": null, "Unknown": {}});
    let parsed: HostConfig = serde_json::from_value(host).unwrap();
    assert_eq!(parsed.port_bindings["80/tcp"], vec![]);
    assert_eq!((parsed.masked_paths, parsed.console_size), (None, [0, 0]));
    assert_eq!(serde_json::from_str::<HostConfig>("{}").unwrap(), HostConfig::default());
}

#[test]
fn what_is_written_reads_back_under_docker_s_names() {
    let mut host = HostConfig { container_id_file: "f".into(), ..HostConfig::default() };
    host.resources
        .blkio_device_read_iops
        .push(host::ThrottleDevice { path: "/dev/sda".into(), rate: 7 });
    host.resources.nano_cpus = 1;
    host.uts_mode = "host".into();
    let written = serde_json::to_value(&host).unwrap();
    for name in [
        "ContainerIDFile",
        "UTSMode",
        "BlkioDeviceReadIOps",
        "NanoCpus",
        "IpcMode",
        "CpusetCpus",
        "ReadonlyRootfs",
        "OomKillDisable",
        "IOMaximumIOps",
        "Dns",
        "CapAdd",
    ] {
        assert!(written.get(name).is_some(), "{name}");
    }
    assert_eq!(serde_json::from_value::<HostConfig>(written).unwrap(), host);
    let own = config(json!({"Cmd": "one word", "Entrypoint": []}));
    assert_eq!(serde_json::to_value(&own).unwrap()["Cmd"], json!(["one word"]));
    assert_eq!(config(serde_json::to_value(&own).unwrap()), own);
}

/// What docker 28.2.2 sent for a `docker create` with some thirty options.
#[test]
fn nothing_that_a_real_client_sends_is_lost() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dockerd/docker-28-create.json");
    let sent: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut host: HostConfig = serde_json::from_value(sent["HostConfig"].clone()).unwrap();
    let mut own = config(sent.clone());
    let mut written = serde_json::to_value(&own).unwrap();
    written["HostConfig"] = serde_json::to_value(&host).unwrap();
    let same = |sent: &Value, written: &Value| {
        for (name, value) in sent.as_object().unwrap() {
            let listed = value.as_array().is_none_or(|list| !list.is_empty());
            if !value.is_null() && listed && !name.ends_with("Config") {
                let value = match name.as_str() {
                    // With the fields that this client leaves out.
                    "Healthcheck" | "Mounts" => continue,
                    _ => value,
                };
                assert_eq!(&written[name], value, "{name}");
            }
        }
    };
    same(&sent, &written);
    same(&sent["HostConfig"], &written["HostConfig"]);
    assert_eq!(own.healthcheck.as_ref().unwrap().interval, 5_000_000_000);
    assert_eq!(host.mounts[0].source, "/tmp");
    assert_eq!(check(&mut own, &mut host, &machine()).unwrap(), Vec::<String>::new());
}

#[test]
fn a_command_of_the_user_s_goes_over_the_image_s() {
    let image = json!({"Entrypoint": ["e"], "Cmd": ["c"], "Env": ["A=1", "B=1"], "User": "u"});
    let merged = |own: Value| {
        let mut own = config(own);
        own.merge(&config(image.clone())).map(|()| own)
    };
    let command = |own: Value| merged(own).unwrap().command().join(" ");
    assert_eq!(command(json!({})), "e c");
    assert_eq!(command(json!({"Cmd": ["x"]})), "e x");
    assert_eq!(command(json!({"Entrypoint": ["y"]})), "y");
    assert_eq!(command(json!({"Entrypoint": [""], "Cmd": ["x"]})), "x");
    let error = merged(json!({"Entrypoint": [""]})).unwrap_err().to_string();
    assert_eq!(error, "no command specified");
    let own = merged(json!({"Env": ["B=2", "A"], "Healthcheck": {"Interval": 5}})).unwrap();
    assert_eq!((own.env, own.user.as_str()), (vec!["B=2".to_owned(), "A".to_owned()], "u"));
}

#[test]
fn a_health_check_is_filled_in_from_the_image_s() {
    let image = config(json!({"Cmd": ["c"], "Healthcheck":
        {"Test": ["CMD-SHELL", "true"], "Interval": 9, "Retries": 4}}));
    let mut own = config(json!({"Healthcheck": {"Interval": 5}}));
    own.merge(&image).unwrap();
    let health = own.healthcheck.unwrap();
    assert_eq!((health.interval, health.retries), (5, 4));
    assert_eq!(health.test(), Some(Test::Shell("true".into())));
    let bad = Health { test: vec!["RUN".into()], ..Health::default() };
    assert_eq!(bad.test(), Some(Test::None));
}

#[test]
fn what_is_no_configuration_is_refused_in_dockerd_s_words() {
    let relative = "the working directory 'x' is invalid, it needs to be an absolute path";
    for (own, why) in [
        (json!({"WorkingDir": "x"}), relative),
        (json!({"Env": ["=x"]}), "invalid environment variable: =x"),
        (json!({"Hostname": "a b"}), "invalid hostname format: a b"),
        (json!({"StopSignal": "SIGNOPE"}), "invalid signal: SIGNOPE"),
        (json!({"ExposedPorts": {"80/xyz": {}}}), "invalid port specification: \"80/xyz\""),
        (json!({"ExposedPorts": {"90-80/tcp": {}}}), "invalid port specification: \"90-80/tcp\""),
        (json!({"Healthcheck": {"Timeout": 10}}), "Timeout in Healthcheck cannot be less than 1ms"),
        (json!({"Healthcheck": {"Retries": -1}}), "Retries in Healthcheck cannot be negative"),
    ] {
        assert_eq!(verdict(own, json!({})), why);
    }
    let mut host = HostConfig::default();
    let mut own = config(json!({"WorkingDir": "/a/../b//c/"}));
    check(&mut own, &mut host, &machine()).unwrap();
    assert_eq!(own.working_dir, "/b/c");
}

#[test]
fn policies_and_modes_are_refused_in_dockerd_s_words() {
    let policy = |name: &str, count: i64| json!({"RestartPolicy": {"Name": name, "MaximumRetryCount": count}});
    for (host, why) in [
        (policy("always", 3), "maximum retry count cannot be used with restart policy 'always'"),
        (policy("on-failure", -1), "maximum retry count cannot be negative"),
        (policy("sometimes", 0), "invalid restart policy 'sometimes'"),
        (
            json!({"AutoRemove": true, "RestartPolicy": {"Name": "always"}}),
            "can't create 'AutoRemove' container with restart policy",
        ),
        (json!({"IpcMode": "mine"}), "invalid IPC mode: mine"),
        (json!({"PidMode": "container:"}), "invalid PID mode: container:"),
        (json!({"UTSMode": "x"}), "invalid UTS mode: x"),
        (json!({"CgroupnsMode": "x"}), "invalid cgroup namespace mode: x"),
        (
            json!({"NetworkMode": "container:"}),
            "invalid network mode: invalid container format container:<name|id>",
        ),
        (json!({"ShmSize": -1}), "SHM size can not be less than 0"),
        (
            json!({"OomScoreAdj": 1001}),
            "Invalid value 1001, range for oom score adj is [-1000, 1000]",
        ),
        (
            json!({"NetworkMode": "container:x", "Dns": ["1.1.1.1"]}),
            "conflicting options: dns and the network mode",
        ),
        (json!({"CapAdd": ["NOPE"]}), "invalid CapAdd: unknown capability: \"CAP_NOPE\""),
        (
            json!({"CapAdd": ["bpf"]}),
            "invalid CapAdd: capability not supported by your kernel or not available in the current environment: \
             \"CAP_BPF\"",
        ),
        (json!({"SecurityOpt": ["x"]}), "invalid --security-opt 1: \"x\""),
        (json!({"SecurityOpt": ["x=y"]}), "invalid --security-opt 2: \"x=y\""),
        (json!({"DeviceCgroupRules": ["x 1:1 r"]}), "invalid device cgroup rule format: 'x 1:1 r'"),
        (
            json!({"Sysctls": {"kernel.panic": "1"}}),
            "sysctl \"kernel.panic\" is not in a separate kernel namespace",
        ),
        (
            json!({"NetworkMode": "host", "Sysctls": {"net/ipv4/ip_forward": "1"}}),
            "sysctl \"net/ipv4/ip_forward\" not allowed in host network namespace",
        ),
    ] {
        assert_eq!(verdict(json!({}), host), why);
    }
    let joined = json!({"UTSMode": "host"});
    let why = "conflicting options: hostname and the UTS mode";
    assert_eq!(verdict(json!({"Hostname": "h"}), joined), why);
}

#[test]
fn limits_are_refused_in_dockerd_s_words() {
    let mib = 1 << 20;
    for (host, why) in [
        (json!({"Memory": 5 * mib}), "Minimum memory limit allowed is 6MB"),
        (json!({"Memory": -1}), "Minimum memory limit allowed is 6MB"),
        (
            json!({"Memory": 64 * mib, "MemorySwap": 32 * mib}),
            "Minimum memoryswap limit should be larger than memory limit, see usage",
        ),
        (
            json!({"MemorySwap": 32 * mib}),
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        ),
        (
            json!({"MemorySwappiness": 101}),
            "Invalid value: 101, valid memory swappiness range is 0-100",
        ),
        (
            json!({"Memory": 8 * mib, "MemoryReservation": 9 * mib}),
            "Minimum memory limit can not be less than memory reservation limit, see usage",
        ),
        (
            json!({"NanoCpus": 2_000_000_001i64}),
            "Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available",
        ),
        (
            json!({"NanoCpus": 1, "CpuPeriod": 1000}),
            "Conflicting options: Nano CPUs and CPU Period cannot both be set",
        ),
        (json!({"CpuQuota": 999}), "CPU cfs quota can not be less than 1ms (i.e. 1000)"),
        (json!({"CpuShares": -1}), "shares: invalid argument"),
        (json!({"CpusetCpus": "x"}), "Invalid value x for cpuset cpus: invalid format: x"),
        (
            json!({"CpusetCpus": "0-2"}),
            "Requested CPUs are not available - requested 0-2, available: 0-1",
        ),
        (json!({"BlkioWeight": 9}), "Range of blkio weight is from 10 to 1000"),
        (json!({"Ulimits": [{"Name": "x"}]}), "invalid ulimit type: x"),
        (
            json!({"Ulimits": [{"Name": "nofile", "Soft": -1, "Hard": 5}]}),
            "ulimit soft limit must be less than or equal to hard limit: -1 > 5",
        ),
    ] {
        assert_eq!(verdict(json!({}), host), why);
    }
}

#[test]
fn a_limit_that_the_kernel_lacks_is_dropped_with_a_warning() {
    let machine = Machine { support: Support::NONE, ..machine() };
    let device = json!([{"Path": "/dev/x", "Rate": 1}]);
    let mut host: HostConfig = serde_json::from_value(json!({"Memory": 1 << 30, "PidsLimit": 5,
        "CpuShares": 5, "CpuQuota": 5000, "CpusetCpus": "99", "BlkioWeight": 5000,
        "OomKillDisable": true, "MemorySwappiness": 1, "MemoryReservation": 1,
        "BlkioDeviceReadBps": device}))
    .unwrap();
    let warnings = check(&mut Config::default(), &mut host, &machine).unwrap();
    assert_eq!(warnings.len(), 10, "{warnings:#?}");
    assert!(warnings.iter().all(|text| text.starts_with("Your kernel does not support")));
    let left = Resources { memory_swap: -1, ..Resources::default() };
    assert_eq!(host.resources, left);
    let text = verdict_on(&machine, json!({}), json!({"NanoCpus": 5}));
    assert!(text.starts_with("NanoCPUs can not be set"), "{text}");
}

#[test]
fn what_is_left_open_is_filled_in() {
    let mut host: HostConfig = serde_json::from_value(json!({"Memory": 64 << 20})).unwrap();
    check(&mut Config::default(), &mut host, &machine()).unwrap();
    assert_eq!(host.resources.memory_swap, 128 << 20);
    assert_eq!((host.shm_size, host.cgroupns_mode.as_str()), (64 << 20, "private"));
    assert_eq!((host.ipc_mode.as_str(), host.network_mode.as_str()), ("private", "default"));
    let mut again = host.clone();
    check(&mut Config::default(), &mut again, &machine()).unwrap();
    assert_eq!(again, host, "a second check changes nothing");
}

#[test]
fn security_options_are_read() {
    let options = ["no-new-privileges:true", "seccomp=unconfined", "label:disable", "apparmor=x"];
    let host =
        HostConfig { security_opt: options.map(str::to_owned).to_vec(), ..HostConfig::default() };
    let security = Security::parse(&host).unwrap();
    assert!(security.no_new_privileges && !security.all_system_paths);
    assert_eq!(security.seccomp, Seccomp::Unconfined);
    assert_eq!((security.apparmor.as_deref(), security.labels.len()), (Some("x"), 1));
    let host = HostConfig {
        masked_paths: Some(vec![]),
        readonly_paths: Some(vec![]),
        ..HostConfig::default()
    };
    assert!(Security::parse(&host).unwrap().all_system_paths);
}

#[test]
fn the_supervisor_is_told_what_docker_s_would_do() {
    use corten_supervisor::settings::Restart;
    let own = config(json!({"StopSignal": "SIGQUIT", "StopTimeout": -1, "Shell": ["ash", "-c"],
        "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 2_000_000_000, "Retries": 0}}));
    let policy = json!({"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 4}});
    let host: HostConfig = serde_json::from_value(policy).unwrap();
    let told = supervision::supervision(&own, &host).unwrap();
    assert_eq!(told.restart, Restart::OnFailure { maximum: 4 });
    assert_eq!((told.stop.signal, told.stop.timeout, told.log), (3, -1, None));
    let health = told.health.unwrap();
    assert_eq!(health.command, ["ash", "-c", "true"]);
    assert_eq!((health.interval.as_secs(), health.timeout.as_secs(), health.retries), (2, 30, 3));
    let none = config(json!({"Healthcheck": {"Test": ["NONE"], "Interval": 1}}));
    assert_eq!(supervision::supervision(&none, &host).unwrap().health, None);
}

#[test]
fn options_of_a_log_without_a_driver_are_the_usual_one_s() {
    let host: HostConfig =
        serde_json::from_value(json!({"LogConfig": {"Config": {"max-size": "1m"}}})).unwrap();
    let log = supervision::supervision(&Config::default(), &host).unwrap().log.unwrap();
    assert_eq!((log.driver.as_str(), log.options["max-size"].as_str()), ("json-file", "1m"));
}

#[test]
fn signals_have_names_and_numbers() {
    for (text, number) in
        [("TERM", 15), ("sigkill", 9), ("15", 15), ("RTMIN+3", 37), ("SIGRTMAX", 64)]
    {
        assert_eq!(signal(text).unwrap(), number);
    }
    for text in ["0", "65", "", "RTMIN+31", "SIG", "-9"] {
        assert!(signal(text).is_err(), "{text}");
    }
}

#[test]
fn a_host_s_name_has_an_address() {
    assert_eq!(extra_host("a:1.2.3.4").unwrap(), ("a", "1.2.3.4"));
    assert_eq!(extra_host("a:::1").unwrap(), ("a", "::1"));
    assert_eq!(extra_host("a=[::1]").unwrap(), ("a", "::1"));
    assert_eq!(extra_host("a:host-gateway").unwrap().1, "host-gateway");
    for text in ["a", ":1.2.3.4", "a:b", "a b:1.2.3.4", "a\nb:1.2.3.4"] {
        assert!(extra_host(text).is_err(), "{text}");
    }
}

#[test]
fn devices_that_a_driver_would_give_are_refused_at_the_start() {
    let host = json!({"DeviceRequests": [{"Capabilities": [["gpu"]]}]});
    let host: HostConfig = serde_json::from_value(host).unwrap();
    let text = "could not select device driver \"\" with capabilities: [[gpu]]";
    assert_eq!(check::devices(&host).unwrap_err().to_string(), text);
    assert!(check::devices(&HostConfig::default()).is_ok());
}

#[test]
fn in_a_group_that_was_given_a_limit_without_controller_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("cgroup.procs", ""),
        ("cgroup.subtree_control", ""),
        ("cgroup.controllers", "memory pids"),
    ] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let mounts = format!("1 2 0:30 / {} rw - cgroup2 none rw", dir.path().display());
    let hierarchy = corten_cgroups::Hierarchy::parse(&mounts, "0::/\n", |_| String::new()).unwrap();
    let given = corten_cgroups::Delegation::of_caller(&hierarchy);
    let machine = Machine { rootless: true, given, ..machine() };
    assert!(machine.given.is_some());
    let verdict = |host: Value| verdict_on(&machine, json!({}), host);
    assert_eq!(verdict(json!({"Memory": 67108864, "PidsLimit": 9, "MemorySwappiness": -1})), "");
    for (host, controller) in [
        (json!({"NanoCpus": 500_000_000}), "cpu"),
        (json!({"CpusetCpus": "0"}), "cpuset"),
        (json!({"BlkioWeight": 100}), "io"),
    ] {
        let said = verdict(host);
        let wanted =
            format!("needs the controller {controller}, which is not in {}", dir.path().display());
        assert!(said.contains(&wanted) && said.contains("cgroup.subtree_control"), "{said}");
    }
}

#[test]
fn without_groups_all_limits_are_discarded_with_one_warning() {
    let machine = Machine { cgroups: false, support: Support::NONE, rootless: true, ..machine() };
    let mut asked = Resources {
        memory: 64 << 20,
        nano_cpus: 1_000_000_000,
        pids_limit: Some(10),
        ulimits: vec![Ulimit { name: "nofile".into(), soft: 10, hard: 10 }],
        ..Resources::default()
    };
    let warnings = limit::check(&mut asked, &machine, false).unwrap();
    assert!(warnings.len() == 1 && warnings[0].starts_with("Limits discarded"), "{warnings:?}");
    assert_eq!((asked.memory, asked.nano_cpus, asked.pids_limit), (0, 0, None));
    assert_eq!(asked.ulimits.len(), 1);
    // What clients send for what nobody has asked for.
    let mut usual = Resources {
        pids_limit: Some(0),
        memory_swappiness: Some(-1),
        oom_kill_disable: Some(false),
        ..Resources::default()
    };
    assert_eq!(limit::check(&mut usual, &machine, false).unwrap(), Vec::<String>::new());
}

proptest! {
    #[test]
    fn any_list_of_numbers_is_read_or_refused(text in "[0-9,\\- ]{0,20}") {
        if let Some(set) = numbers(&text) {
            prop_assert!(set.iter().all(|number| *number <= 8192));
        }
    }

    #[test]
    fn a_user_s_variable_always_wins(own in "[A-C]=[a-z]{0,3}", image in "[A-C]=[a-z]{0,3}") {
        let mut merged = Config { env: vec![own.clone()], ..Config::default() };
        let cmd = Words::from(["c"]);
        let image = Config { env: vec![image], cmd, ..Config::default() };
        merged.merge(&image).unwrap();
        prop_assert_eq!(&merged.env[0], &own);
        let names: BTreeMap<&str, ()> =
            merged.env.iter().map(|v| (v.split('=').next().unwrap(), ())).collect();
        prop_assert_eq!(names.len(), merged.env.len());
    }

    #[test]
    fn no_limit_makes_the_check_panic(
        memory in any::<i64>(), swap in any::<i64>(), cpus in any::<i64>(), quota in any::<i64>(),
        pids in any::<i64>(), shares in any::<i64>(),
    ) {
        let mut resources = Resources { memory, memory_swap: swap, nano_cpus: cpus,
            cpu_quota: quota, pids_limit: Some(pids), cpu_shares: shares, ..Resources::default() };
        if limit::check(&mut resources, &machine(), false).is_ok() {
            crate::engine::oci::resource::resources(&resources, Vec::new()).unwrap();
        }
    }
}
