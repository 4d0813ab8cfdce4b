//! What always holds in a build, one test for each sentence of the book.
#![allow(clippy::unwrap_used)]
#![deny(unsafe_code)]

mod lab;

use std::os::unix::fs::symlink;
use std::sync::{Barrier, Mutex};

use corten_builder::cache::Cache;
use corten_builder::execute::{BuildOptions, Secret};
use corten_builder::run::{Cancel, Ended, MountSource};
use corten_unionfs::{Compression, LayerStore, fixture};
use lab::Lab;

fn usual() -> BuildOptions {
    BuildOptions::default()
}

fn arguments(pairs: &[(&str, &str)]) -> BuildOptions {
    let arguments = pairs.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    BuildOptions { arguments: arguments.collect(), ..usual() }
}

#[corten_tier::t1]
fn a_time_is_no_change_and_content_is() {
    let lab = Lab::new();
    lab.context(&[("Dockerfile", "FROM busybox\nCOPY a /a\nRUN cat /a > /b\n"), ("a", "one")]);
    assert_eq!(lab.build("made", usual()).unwrap().1.done().len(), 2);
    let path = lab.path("context/a");
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    // Another time: nothing to do.
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(lab.build("made", usual()).unwrap().1.done(), [""; 0]);
    // The same size and the same time, but other content: both steps.
    lab.write("a", "two");
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let (built, heard) = lab.build("made", usual()).unwrap();
    assert_eq!(heard.done(), ["COPY a /a", "RUN cat /a > /b"]);
    assert_eq!(lab.look(&built, "cat /b"), "two");
}

#[corten_tier::t1]
fn only_what_depends_on_a_change_is_done_again() {
    let lab = Lab::new();
    let mut text = String::new();
    for n in 0..10 {
        text.push_str(&format!("FROM busybox AS s{n}\nCOPY f{n} /in\nRUN cat /in > /out{n}\n"));
    }
    text.push_str("FROM busybox\n");
    (0..10).for_each(|n| text.push_str(&format!("COPY --from=s{n} /out{n} /{n}\n")));
    lab.context(&[("Dockerfile", &text)]);
    (0..10).for_each(|n| lab.write(&format!("f{n}"), "1"));
    assert_eq!(lab.build("made", usual()).unwrap().1.done().len(), 30);
    lab.write("f5", "2");
    let (built, heard) = lab.build("made", usual()).unwrap();
    // Of the last stage, the copy of it and those on top of that.
    let mut expected = vec!["COPY f5 /in".to_owned(), "RUN cat /in > /out5".to_owned()];
    expected.extend((5..10).map(|n| format!("COPY --from=s{n} /out{n} /{n}")));
    assert_eq!(heard.done(), expected);
    assert_eq!(*lab.ran.lock().unwrap(), ["cat /in > /out5"]);
    assert_eq!(lab.look(&built, "cat /4 /5 /6"), "121");
}

#[corten_tier::t1]
fn a_build_argument_counts_for_those_who_see_it() {
    let lab = Lab::new();
    let text = "FROM busybox\nRUN echo before\nARG A=1\nRUN echo $A > /a\nCOPY a /b\n";
    lab.context(&[("Dockerfile", text), ("a", "a")]);
    lab.build("made", usual()).unwrap();
    let (built, heard) = lab.build("made", arguments(&[("A", "2")])).unwrap();
    assert_eq!(heard.done(), ["RUN echo $A > /a", "COPY a /b"]);
    assert_eq!(lab.look(&built, "cat /a"), "2\n");
    assert_eq!(lab.build("made", arguments(&[("A", "2")])).unwrap().1.done(), [""; 0]);
    // A label changes no tree, and so no COPY after it; a command could look at the configuration.
    lab.write("Dockerfile", "FROM busybox\nLABEL x=1\nCOPY a /b\nRUN cat /b\n");
    lab.build("made", usual()).unwrap();
    lab.write("Dockerfile", "FROM busybox\nLABEL x=2\nCOPY a /b\nRUN cat /b\n");
    assert_eq!(lab.build("made", usual()).unwrap().1.done(), ["LABEL x=2", "RUN cat /b"]);
}

#[corten_tier::t1]
fn what_a_record_names_is_there_or_the_step_is_done_again() {
    let lab = Lab::new();
    lab.context(&[("Dockerfile", "FROM busybox\nRUN echo 1 > /a\n")]);
    let (built, _) = lab.build("made", usual()).unwrap();
    assert_eq!(lab.build("made", usual()).unwrap().1.done(), [""; 0]);
    // The layer is gone.
    let name = built.layers.last().unwrap().to_string();
    let layer = lab.path("layers").join(name.trim_start_matches("sha256:"));
    std::fs::rename(&layer, lab.path("elsewhere")).unwrap();
    let (again, heard) = lab.build("made", usual()).unwrap();
    assert_eq!(heard.done().len(), 1);
    assert_eq!(lab.look(&again, "cat /a"), "1\n");
    // Its blob is.
    let blob = &again.image.layers.last().unwrap().descriptor.digest;
    std::fs::remove_file(lab.path("images/blobs/sha256").join(blob.hex())).unwrap();
    assert_eq!(lab.build("made", usual()).unwrap().1.done().len(), 1);
    // The record is half of one.
    for entry in std::fs::read_dir(lab.path("build/cache")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read(&path).unwrap();
        std::fs::write(&path, &text[..text.len() / 2]).unwrap();
    }
    assert_eq!(lab.build("made", usual()).unwrap().1.done().len(), 1);
}

#[corten_tier::t1]
fn a_layer_that_was_moved_is_what_its_blob_unpacks_to() {
    let lab = Lab::new();
    let text = "FROM busybox\nRUN rm /d/gone && mv /d/old /d/new && rm -r /d/new && mkdir /d/new && \
                echo x > /d/new/x && ln /d/new/x /hard && chmod 4711 /d/new/x && ln -s x /link\n";
    lab.context(&[("Dockerfile", text)]);
    let (built, _) = lab.build("made", usual()).unwrap();
    let other = LayerStore::open(lab.path("other")).unwrap();
    let mut parent = None;
    for layer in &built.image.layers {
        let diff_id = layer.diff_id.to_string().parse().unwrap();
        let blob = lab.images.open_blob(&layer.descriptor.digest).unwrap();
        let kind = layer.descriptor.media_type.as_str();
        let kind = Compression::from_media_type(kind).unwrap();
        parent = Some(other.ensure(parent.as_ref(), &diff_id, kind, blob).unwrap().chain_id);
    }
    let tree = |store: &LayerStore| {
        let lowers = store.lowers(parent.as_ref()).unwrap();
        let mount = store.build_driver().mount(&lowers, None).unwrap();
        fixture::tree::read(&fixture::tree::of_mount(&mount))
    };
    fixture::tree::assert_equal(&tree(&lab.layers), &tree(&other));
    assert!(!tree(&other).contains_key("d/gone"));
}

#[corten_tier::t1]
fn no_link_of_the_context_leads_out_of_it() {
    let lab = Lab::new();
    lab.context(&[("Dockerfile", ""), ("d/x", "x")]);
    std::fs::write(lab.path("secret"), "geheim").unwrap();
    let context = lab.path("context");
    symlink(lab.path("secret"), context.join("absolute")).unwrap();
    symlink("../../secret", context.join("d/climbing")).unwrap();
    symlink(lab.path(""), context.join("out")).unwrap();
    for source in ["absolute", "d/climbing", "out/secret", "../secret", "d/../../secret"] {
        lab.write("Dockerfile", &format!("FROM busybox\nCOPY {source} /x\n"));
        let error = lab.build("made", usual()).unwrap_err().to_string();
        let known = error.contains("file not found") || error.contains("forbidden path");
        assert!(known, "{source}: {error}");
    }
    // As a part of a directory they are links, which lead where the image says.
    lab.write("Dockerfile", "FROM busybox\nCOPY d /d\n");
    let (built, _) = lab.build("made", usual()).unwrap();
    assert_eq!(lab.look(&built, "readlink /d/climbing"), "../../secret\n");
    assert_eq!(lab.files_with("geheim"), [lab.path("secret")]);
}

#[corten_tier::t1]
fn no_link_of_a_base_image_leads_out_of_its_tree() {
    let lab = Lab::new();
    let victim = lab.path("victim");
    std::fs::create_dir(&victim).unwrap();
    std::fs::write(victim.join("kept"), "kept").unwrap();
    let there = victim.display();
    let text = format!(
        "FROM busybox\n\
         RUN ln -s {there} /link && ln -s {there}/kept /file && ln -s ../../../../../.. /up\n\
         COPY a /link/new\nCOPY a /file\nCOPY a /up/new\nWORKDIR /link/deep\n"
    );
    lab.context(&[("Dockerfile", &text), ("a", "a")]);
    let (built, _) = lab.build("made", usual()).unwrap();
    let names: Vec<_> = std::fs::read_dir(&victim).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(names, [victim.join("kept")]);
    assert_eq!(std::fs::read_to_string(victim.join("kept")).unwrap(), "kept");
    // They lead to the same places inside the image.
    let script = format!("cat {there}/new {there}/kept /new; ls -d {there}/deep");
    assert_eq!(lab.look(&built, &script), format!("aaa{there}/deep\n"));
}

#[corten_tier::t1]
fn a_secret_is_in_no_layer_and_no_record() {
    let lab = Lab::new();
    let text = "FROM busybox\nRUN --mount=type=secret,id=s --mount=type=secret,id=s,env=S use\n";
    lab.context(&[("Dockerfile", text)]);
    let secret = Secret::Bytes(b"geheim-4711".to_vec());
    let options = || BuildOptions { secrets: [("s".into(), secret.clone())].into(), ..usual() };
    let seen = Mutex::new(Vec::new());
    let cancel = Cancel::new().unwrap();
    let used = lab.build_with(
        "made",
        options(),
        &|step| {
            for mount in &step.mounts {
                let MountSource::Host(path) = &mount.source else { continue };
                seen.lock().unwrap().push(std::fs::read_to_string(path).unwrap());
                assert!(path.starts_with(lab.path("secrets")) && !mount.writable, "{mount:?}");
            }
            assert!(step.config["Env"].to_string().contains("S=geheim-4711"));
            // What the command writes is its own matter.
            std::fs::create_dir_all(step.writable.join("upper")).unwrap();
            Some(Ended::with(0))
        },
        &cancel,
    );
    used.unwrap();
    assert_eq!(*seen.lock().unwrap(), ["geheim-4711"]);
    assert!(lab.files_with("geheim-4711").is_empty());
    // Nor does another secret make another step: what it is does not count.
    let other = Secret::Bytes(b"another".to_vec());
    let other = BuildOptions { secrets: [("s".into(), other)].into(), ..usual() };
    assert_eq!(lab.build("made", other).unwrap().1.done(), [""; 0]);
}

#[corten_tier::t1]
fn what_fails_leaves_the_cache_and_nothing_else() {
    let lab = Lab::new();
    let before = lab.images.list().unwrap().len();
    lab.context(&[("Dockerfile", "FROM busybox\nRUN touch /a\nRUN touch /b && false\n")]);
    let error = lab.build("made", usual()).unwrap_err().to_string();
    assert!(error.starts_with("Dockerfile:3:1: `/bin/sh -c touch /b && false` ended with 1"));
    assert_eq!(lab.images.list().unwrap().len(), before);
    assert!(!lab.path("build/work").exists(), "nothing half-made is left");
    lab.write("Dockerfile", "FROM busybox\nRUN touch /a\nRUN touch /b\n");
    assert_eq!(lab.build("made", usual()).unwrap().1.done(), ["RUN touch /b"]);
}

/// A Dockerfile of two stages that need nothing of each other, with a command each, and of one that needs both.
fn two_stages(one: &str, two: &str) -> String {
    format!(
        "FROM busybox AS a\nRUN {one}\nFROM busybox AS b\nRUN {two}\n\
         FROM busybox\nCOPY --from=a /etc/passwd /1\nCOPY --from=b /etc/passwd /2\n"
    )
}

#[corten_tier::t1]
fn stages_that_need_nothing_of_each_other_run_at_the_same_time() {
    let lab = Lab::new();
    lab.context(&[("Dockerfile", &two_stages("one", "two"))]);
    // One after the other they would wait for ever.
    let both = Barrier::new(2);
    let meet = |step: &corten_builder::run::Step<'_>| {
        std::fs::create_dir_all(step.writable.join("upper")).unwrap();
        both.wait();
        Some(Ended::with(0))
    };
    let options = BuildOptions { jobs: 2, ..usual() };
    lab.build_with("made", options, &meet, &Cancel::new().unwrap()).unwrap();
}

#[corten_tier::t1]
fn a_stage_that_fails_ends_the_others() {
    let lab = Lab::new();
    lab.context(&[("Dockerfile", &two_stages("fails", "waits"))]);
    let both = Barrier::new(2);
    let act = |step: &corten_builder::run::Step<'_>| {
        both.wait();
        if step.config["Cmd"].to_string().contains("fails") {
            return Some(Ended::with(3));
        }
        let begin = std::time::Instant::now();
        let patience = corten_tier::patience(std::time::Duration::from_secs(60));
        while !step.cancel.is_cancelled() {
            assert!(begin.elapsed() < patience, "nobody has told it");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        Some(Ended::with(137))
    };
    let options = BuildOptions { jobs: 2, ..usual() };
    let error = lab.build_with("made", options, &act, &Cancel::new().unwrap()).unwrap_err();
    assert!(error.to_string().contains("`/bin/sh -c fails` ended with 3"), "{error}");
}

#[corten_tier::t1]
fn a_date_makes_the_same_image_in_any_store() {
    let text = "FROM busybox\nCOPY d /d\nRUN echo x > /x && mkdir /y\nWORKDIR /w\n";
    let ids = [(), ()].map(|()| {
        let lab = Lab::new();
        lab.context(&[("Dockerfile", text), ("d/f", "f"), ("d/g", "g")]);
        let options = BuildOptions { source_date_epoch: Some(1_000_000_000), ..usual() };
        lab.build("made", options).unwrap().0.image.id.to_string()
    });
    assert_eq!(ids[0], ids[1]);
}

#[corten_tier::t1]
fn a_sweep_leaves_what_a_record_names() {
    let lab = Lab::new();
    lab.context(&[("Dockerfile", "FROM busybox\nRUN echo 1 > /a\n")]);
    lab.build("made", usual()).unwrap();
    // With the image the layer is only the cache's.
    lab.images.remove("made", true).unwrap();
    lab.images.collect_garbage().unwrap();
    assert_eq!(lab.build("made", usual()).unwrap().1.done(), [""; 0]);
    // Until it is pruned.
    let cache = Cache::open(&lab.path("build")).unwrap();
    assert!(
        !cache
            .prune(corten_builder::cache::Keep::default(), &lab.images)
            .unwrap()
            .removed
            .is_empty()
    );
    assert_eq!(lab.build("made", usual()).unwrap().1.done().len(), 1);
}

/// What CVE-2024-23652 was: a builder that removes empty files where something was mounted, by their names.
#[corten_tier::t1]
fn places_of_mounts_are_cleaned_up_inside_of_the_tree() {
    let lab = Lab::new();
    let victim = lab.path("victim");
    std::fs::create_dir(&victim).unwrap();
    std::fs::write(victim.join("stub"), "").unwrap();
    let there = victim.display();
    let text = format!(
        "FROM busybox\nRUN --mount=type=tmpfs,target=/m/stub ln -s {there} /m && mkdir -p {there} && \
         touch {there}/stub\n"
    );
    lab.context(&[("Dockerfile", &text)]);
    let (built, _) = lab.build("made", usual()).unwrap();
    assert!(victim.join("stub").exists(), "a file of the host is gone");
    assert_eq!(lab.look(&built, "readlink /m"), format!("{there}\n"));
}

#[corten_tier::t1]
fn a_trigger_of_the_base_may_need_a_stage_that_nobody_else_needs() {
    let lab = Lab::new();
    lab.context(&[("Dockerfile", "FROM busybox\nONBUILD COPY --from=tools /t /t\n")]);
    lab.build("base", usual()).unwrap();
    let tools = "FROM busybox AS first\nRUN echo t >/t\nFROM first AS tools\nRUN echo u >>/t\n";
    lab.write("Dockerfile", &format!("{tools}FROM base\nRUN cat /t\n"));
    for jobs in [1, 4] {
        let options = BuildOptions { jobs, no_cache: true, ..usual() };
        let (built, _) = lab.build("made", options).unwrap();
        assert_eq!(lab.look(&built, "cat /t"), "t\nu\n");
    }
    assert_eq!(lab.build("made", usual()).unwrap().1.done(), [""; 0]);
    // Nobody waits for himself, nor two for each other.
    for text in [
        "FROM base AS tools\n",
        "FROM base AS made\nFROM made AS tools\nFROM made\n",
        "FROM base AS x\nFROM base AS tools\nFROM busybox\nCOPY --from=x /t /\n",
    ] {
        lab.write("Dockerfile", text);
        for jobs in [1, 4] {
            let error = lab.build("made", BuildOptions { jobs, ..usual() }).unwrap_err();
            assert!(error.to_string().contains("circular dependency"), "{text}: {error}");
        }
    }
}
