//! The Rust SDK, bollard, against the daemon. Its types say of each answer's field what it is, so one of
//! another kind is an error.

use std::collections::HashMap;
use std::pin::pin;

use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::exec::StartExecResults;
use bollard::models::{
    ContainerCreateBody, ExecConfig, HealthConfig, HostConfig, NetworkConnectRequest,
    NetworkCreateRequest, VolumeCreateRequest,
};
use bollard::query_parameters as query;
use bollard::{API_DEFAULT_VERSION, Docker, body_full};
use futures_util::{Stream, StreamExt, TryStreamExt};
use tokio::io::AsyncWriteExt;

/// What a container without a terminal wrote: its two streams, apart.
async fn apart(output: impl Stream<Item = Result<LogOutput, Error>>) -> Result<[String; 2], Error> {
    let (mut out, mut err) = (String::new(), String::new());
    let mut output = pin!(output);
    while let Some(piece) = output.try_next().await? {
        let to = if matches!(piece, LogOutput::StdErr { .. }) { &mut err } else { &mut out };
        to.push_str(&piece.to_string());
    }
    Ok([out, err])
}

fn shell(script: &str) -> ContainerCreateBody {
    ContainerCreateBody {
        image: Some("busybox".into()),
        cmd: Some(["sh", "-c", script].map(String::from).to_vec()),
        ..ContainerCreateBody::default()
    }
}

fn named(name: &str) -> Option<query::CreateContainerOptions> {
    Some(query::CreateContainerOptionsBuilder::new().name(name).build())
}

fn forced() -> Option<query::RemoveContainerOptions> {
    Some(query::RemoveContainerOptionsBuilder::new().force(true).v(true).build())
}

fn archive(name: &str, content: &str) -> bytes::Bytes {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, name, content.as_bytes()).unwrap();
    tar.into_inner().unwrap().into()
}

fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// A container is talked to before it runs, and its end is waited for.
async fn talk(docker: &Docker) -> Result<(), Error> {
    let body = ContainerCreateBody {
        open_stdin: Some(true),
        stdin_once: Some(true),
        ..shell("cat; echo done >&2; exit 3")
    };
    docker.create_container(named("talk"), body).await?;
    let all = query::AttachContainerOptionsBuilder::new().stream(true).stdin(true);
    let attached =
        docker.attach_container("talk", Some(all.stdout(true).stderr(true).build())).await?;
    docker.start_container("talk", None).await?;
    let mut input = attached.input;
    input.write_all(b"typed\n").await?;
    input.shutdown().await?;
    assert_eq!(apart(attached.output).await?, ["typed\n", "done\n"]);
    let ended = docker.wait_container("talk", None).try_collect::<Vec<_>>().await;
    assert!(matches!(ended, Err(Error::DockerContainerWaitError { code: 3, .. })), "{ended:?}");
    docker.remove_container("talk", None).await
}

/// One that serves is looked at from all sides.
async fn serve(docker: &Docker) -> Result<(), Error> {
    docker
        .create_network(NetworkCreateRequest { name: "net".into(), ..Default::default() })
        .await?;
    let volume = VolumeCreateRequest { name: Some("vol".into()), ..Default::default() };
    assert_eq!(docker.create_volume(volume).await?.name, "vol");
    let body = ContainerCreateBody {
        labels: Some(HashMap::from([("a".into(), "b".into())])),
        healthcheck: Some(HealthConfig {
            test: Some(vec!["CMD-SHELL".into(), "test -e /data/well".into()]),
            interval: Some(100_000_000),
            ..HealthConfig::default()
        }),
        host_config: Some(HostConfig {
            network_mode: Some("net".into()),
            binds: Some(vec!["vol:/data".into()]),
            memory: Some(64 << 20),
            ..HostConfig::default()
        }),
        ..shell("echo out; echo err >&2; sleep 1000")
    };
    let id = docker.create_container(named("box"), body).await?.id;
    docker.start_container("box", None).await?;
    let follow = query::LogsOptionsBuilder::new().follow(true).stdout(true).stderr(true);
    let log = docker.logs("box", Some(follow.build())).take(2).try_collect::<Vec<_>>().await?;
    assert_eq!(log.iter().map(ToString::to_string).collect::<String>().len(), 8, "{log:?}");

    let exec = ExecConfig {
        cmd: Some(["sh", "-c", "echo o; echo e >&2; exit 4"].map(String::from).to_vec()),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        ..ExecConfig::default()
    };
    let exec = docker.create_exec("box", exec).await?.id;
    match docker.start_exec(&exec, None).await? {
        StartExecResults::Attached { output, .. } => {
            assert_eq!(apart(output).await?, ["o\n", "e\n"]);
        }
        StartExecResults::Detached => panic!("it is attached"),
    }
    assert_eq!(docker.inspect_exec(&exec).await?.exit_code, Some(4));

    let to = query::UploadToContainerOptionsBuilder::new().path("/data").build();
    docker.upload_to_container("box", Some(to), body_full(archive("well", "yes"))).await?;
    let from = query::DownloadFromContainerOptionsBuilder::new().path("/data/well").build();
    let back = docker.download_from_container("box", Some(from));
    let back = back.try_collect::<Vec<_>>().await?.concat();
    let mut back = tar::Archive::new(back.as_slice());
    let entry = back.entries()?.next().unwrap()?;
    assert_eq!(std::io::read_to_string(entry)?, "yes");
    let state = loop {
        let state = docker.inspect_container("box", None).await?.state.unwrap();
        let health = state.health.as_ref().and_then(|health| health.status);
        if health == Some(bollard::models::HealthStatusEnum::HEALTHY) {
            break state;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    assert_eq!((state.running, state.paused, state.exit_code), (Some(true), Some(false), Some(0)));

    let once = query::StatsOptionsBuilder::new().stream(false).build();
    let stats = docker.stats("box", Some(once)).try_collect::<Vec<_>>().await?;
    assert!(stats[0].memory_stats.as_ref().unwrap().usage > Some(0), "{stats:?}");
    let live = docker.stats("box", None).take(2).try_collect::<Vec<_>>().await?;
    assert_eq!(live.len(), 2);
    assert!(docker.top_processes("box", None).await?.titles.unwrap().contains(&"PID".into()));
    let label = query::ListContainersOptionsBuilder::new()
        .filters(&HashMap::from([("label", vec!["a=b"])]))
        .size(true);
    let listed = docker.list_containers(Some(label.build())).await?;
    assert_eq!(listed[0].id.as_ref(), Some(&id));
    docker.pause_container("box").await?;
    docker.unpause_container("box").await?;
    let connect = NetworkConnectRequest { container: "box".into(), ..Default::default() };
    docker.connect_network("bridge", connect).await?;
    let error = docker.remove_network("net").await.unwrap_err();
    assert_eq!(status(&error), Some(403), "{error}");
    docker.remove_container("box", forced()).await?;
    docker.remove_network("net").await?;
    docker.remove_volume("vol", None::<query::RemoveVolumeOptions>).await
}

async fn build(docker: &Docker) -> Result<(), Error> {
    let context = archive("Dockerfile", "FROM busybox\nRUN echo made >/made\nLABEL own=yes\n");
    let options = query::BuildImageOptionsBuilder::new().t("built:v1").rm(true).build();
    let steps = docker.build_image(options, None, Some(body_full(context)));
    let steps = steps.try_collect::<Vec<_>>().await?;
    let told: String = steps.iter().filter_map(|step| step.stream.clone()).collect();
    assert!(told.contains("Successfully tagged built:v1"), "{told}");
    let image = docker.inspect_image("built:v1").await?;
    assert_eq!(image.config.unwrap().labels.unwrap()["own"], "yes");
    assert_eq!(docker.image_history("built:v1").await?.len(), 3);
    let none = None::<query::RemoveImageOptions>;
    docker.remove_image("built:v1", none, None).await.map(drop)
}

/// Drives the daemon at a socket.
pub async fn drive(socket: &str) -> Result<(), Error> {
    let docker = Docker::connect_with_unix(socket, 60, API_DEFAULT_VERSION)?;
    let docker = docker.negotiate_version().await?;
    assert_eq!(docker.ping().await?, "OK");
    let containers = HashMap::from([("type", vec!["container"])]);
    let events = query::EventsOptionsBuilder::new().since("0").filters(&containers).build();
    talk(&docker).await?;
    serve(&docker).await?;
    build(&docker).await?;
    let error = docker.inspect_container("nosuch", None).await.unwrap_err();
    assert_eq!(status(&error), Some(404), "{error}");
    let mut events = pin!(docker.events(Some(events)));
    let mut actions = Vec::new();
    while !actions.contains(&"destroy".to_owned()) {
        actions.extend(events.try_next().await?.and_then(|event| event.action));
    }
    assert_eq!(actions, ["create", "attach", "start", "die", "destroy"], "of the first one");
    assert!(docker.df(None::<query::DataUsageOptions>).await?.image_usage.is_some());
    assert_eq!(docker.list_containers(None).await?.len(), 0);
    Ok(())
}
