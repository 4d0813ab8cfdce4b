//! A swarm of one Docker whose default runtime is ours: the runtime in a distributed engine.

use super::docker::Docker;
use super::{image, is_host};

#[corten_tier::t1]
fn swarm_scales_and_updates_a_service() {
    if !is_host() {
        return;
    }
    let docker = Docker::start(true);
    docker.run("swarm init --advertise-addr 127.0.0.1 --listen-addr 127.0.0.1:2377").ok();
    // The tasks take the world's network: a network of the swarm needs vxlan and ipvs, which not
    // every kernel has.
    let script = "trap exit TERM; while :; do sleep 0.1; done";
    let create = format!(
        "/usr/bin/docker --host unix:///run/docker.sock service create --detach --name web \
         --replicas 3 --network host --no-resolve-image --update-monitor 1s {}",
        image::NAME
    );
    docker.world.run_sh(&create, script).ok();
    let replicas = || docker.run("service ls --format {{.Replicas}}").ok();
    docker.world.until("three replicas", || replicas() == "3/3");
    docker.run("service scale --detach web=5").ok();
    docker.world.until("five replicas", || replicas() == "5/5");

    docker.run("service update --detach --no-resolve-image --env-add V=2 web").ok();
    let state = || docker.run("service inspect --format {{.UpdateStatus.State}} web").ok();
    docker.world.until("the update", || state() == "completed");
    let running = docker.run("ps --quiet").ok();
    assert_eq!(running.lines().count(), 5, "{running}");
    for id in running.lines() {
        let format = "{{.HostConfig.Runtime}}:{{.Config.Env}}";
        let seen = docker.run(&format!("inspect --format {format} {id}")).ok();
        assert_eq!(seen, "corten:[V=2 PATH=/bin]");
    }

    // One that is killed is replaced.
    let first = running.lines().next().unwrap();
    docker.run(&format!("kill {first}")).ok();
    docker.world.until("a replacement", || {
        let now = docker.run("ps --quiet").ok();
        now.lines().count() == 5 && !now.contains(first)
    });
    docker.run("service rm web").ok();
    docker.run("swarm leave --force").ok();
}
