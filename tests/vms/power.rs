//! Power cuts. A VM runs `corten pull` onto its scratch disk, which downloads and unpacks at the
//! same time, and QEMU is killed at a random moment. In the next VM with that disk, before any
//! program of Corten has run, every blob and every layer that has a name is looked at: a layer must
//! be entry by entry what an undisturbed pull makes of it. Then the pull is repeated. And the same in the
//! middle of a build.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::registry::Registry;
use crate::support::{self, Host};
use corten_registry::Store;
use corten_unionfs::fixture::tree::{self, Tree};
use corten_unionfs::fixture::{self, LayerBuilder};
use corten_vm::{Ended, Job, JobResult, PowerCut, Vm, VmBuilder};
use serde_json::{Value, json};

const PORT: u16 = 5000;
const NAME: &str = "127.0.0.1:5000/app:1";
/// Names the state directory that the test [`look`] shall look at.
const LOOK: &str = "CORTEN_POWER_LOOK";
/// What the sum of all files of a container is called in the output.
const SUM: &str = "all files: ";

// ANCHOR: look
/// What is on the disk, read by nobody but this: the layers that have their names, each with all
/// that there is to say about its entries, and what is wrong with the image store.
fn on_disk(state: &Path) -> Value {
    let mut layers = BTreeMap::new();
    let mut unfinished = 0;
    for entry in fs::read_dir(state.join("layers")).into_iter().flatten() {
        let (path, name) = (entry.as_ref().unwrap().path(), entry.unwrap().file_name());
        match name.to_str().unwrap() {
            "driver.json" => {}
            name if name.starts_with(".tmp-") => unfinished += 1,
            name if name.starts_with('.') => {}
            name => {
                assert!(path.join("layer.json").exists(), "{name} has no record");
                layers.insert(name.to_owned(), sums(&tree::read(&path.join("diff"))));
            }
        }
    }
    let images = state.join("images");
    if !images.join("oci-layout").exists() {
        return json!({"layers": layers, "unfinished": unfinished, "blobs": 0, "images": 0,
            "problems": []});
    }
    let health = Store::open(images).unwrap().fsck().unwrap();
    json!({"layers": layers, "unfinished": unfinished, "blobs": health.blobs,
        "images": health.images, "problems": health.problems})
}
// ANCHOR_END: look

/// All that there is to say about each entry.
fn sums(tree: &Tree) -> BTreeMap<String, String> {
    // A whiteout is of the moment at which it was made, and has as many names as the kernel likes
    // (ovl_whiteout in its fs/overlayfs/dir.c); nobody sees either.
    let what = |entry: &String| match entry.contains(" device 0 ") {
        true => "whiteout".to_owned(),
        false => entry.clone(),
    };
    tree.iter().map(|(path, entry)| (path.clone(), what(entry))).collect()
}

/// Not a test but what looks at the disk in the VM, when it is told to.
#[test]
fn look() {
    if let Some(state) = std::env::var_os(LOOK) {
        println!("\nfound {}", on_disk(Path::new(&state)));
    }
}

/// The layers of the image: with one of everything, with many small files, with a few large ones.
fn layers() -> Vec<Vec<u8>> {
    let mut layers = fixture::image_of_everything();
    let mut small = LayerBuilder::new().mtime("1700000000.5").dir("small", 0o755);
    for number in 0..300 {
        small = small.file(format!("small/{number}"), 0o644, format!("file {number}\n").repeat(40));
    }
    let mut large = LayerBuilder::new().mtime("1700000000.25").dir("large", 0o755);
    for number in 0u64..4 {
        large = large.file(format!("large/{number}"), 0o600, noise(number + 1, 1 << 20));
    }
    layers.extend([support::busybox_layer(), small.build(), large.build()]);
    layers
}

/// Bytes that do not compress (xorshift).
fn noise(mut seed: u64, size: usize) -> Vec<u8> {
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    (0..size / 8).flat_map(|_| next().to_le_bytes()).collect()
}

/// A registry's files with one image, and the disk of the VMs.
struct Scene {
    host: Host,
    storage: PathBuf,
    /// What a whole pull leaves on the disk, and the sum of the files that a container sees.
    whole: Value,
    sum: String,
}

/// When the power is cut.
#[derive(Clone, Copy)]
struct Cut {
    /// How much of the time of an undisturbed pull is over, in thousandths.
    part: u64,
    /// Whether the disk is emptied before, or the pull goes on with what the last one has left.
    fresh: bool,
}

/// What was on the disk after a cut.
struct Found {
    disk: Value,
    /// Whether the pull had said that it was done.
    done: bool,
}

impl Scene {
    fn new() -> Scene {
        let (host, registry) = (Host::new(), Registry::start());
        let layout = host.path("layout");
        fixture::oci_layout(&layout, "test", &layers(), json!({"Cmd": ["sh"]}));
        registry.push(&layout, "test", "app:1", &[]);
        // What all that comes off the disk is compared with: the same layers, unpacked here.
        host.corten(&["pull", &registry.name("app:1")]).ok();
        let whole = on_disk(&host.root());
        assert_eq!(whole["layers"].as_object().unwrap().len(), layers().len());
        let storage = host.path("storage");
        assert!(support::copy(&registry.storage(), &storage));
        let config = support::registry::config(Path::new("/registry"), PORT);
        fs::write(host.path("vm.yml"), config).unwrap();
        Scene { host, storage, whole, sum: String::new() }
    }

    fn vm(&self) -> VmBuilder {
        Vm::builder()
            .unwrap()
            .tool("/usr/bin/docker-registry")
            .unwrap()
            .binary(PathBuf::from(env!("CARGO_BIN_EXE_corten")))
            .unwrap()
            .binary(std::env::current_exe().unwrap())
            .unwrap()
            .file(&self.storage, "/registry")
            .unwrap()
            .file(self.host.path("vm.yml"), "/registry.yml")
            .unwrap()
            .scratch_disk(self.host.path("disk"), 160)
            .unwrap()
            .limit(Duration::from_secs(300))
    }

    fn look(&self) -> Job {
        let program = std::env::current_exe().unwrap();
        let program = program.file_name().unwrap().to_string_lossy().into_owned();
        Job::shell(&format!("{program} power::look --exact --nocapture"))
            .env(LOOK, "/scratch/state")
    }

    /// A whole pull, and then a container of the image that reads every file.
    fn pull(&self) -> Job {
        let files = "busybox find / -xdev -type f ! -path /etc/hosts ! -path /etc/hostname \
                     -exec busybox sha256sum {} + | busybox sort | busybox sha256sum";
        self.with_registry(&format!(
            "read -r from _ </proc/uptime; corten pull {NAME} || exit 1; read -r to _ </proc/uptime\n\
             echo $from $to | awk '{{ print int(($2 - $1) * 1000000) }}' >/scratch/takes\n\
             echo '{SUM}'$(corten run --rm {NAME} sh -c '{files}' </dev/null)"
        ))
    }

    fn with_registry(&self, then: &str) -> Job {
        Job::shell(&format!(
            "export CORTEN_ROOT=/scratch/state\n\
             docker-registry serve /registry.yml >/dev/null 2>&1 &\n\
             until nc -w 1 127.0.0.1 {PORT} </dev/null; do usleep 20000; done\n{then}"
        ))
    }

    /// One life: looks at what the last one has left, repeats its pull unless the next cut is to
    /// meet the leftovers, and loses its power during a pull, unless it is the last.
    fn live(
        &mut self,
        before: Option<&Cut>,
        cut: Option<&Cut>,
        done: bool,
    ) -> (Option<Found>, bool) {
        let repeats = cut.is_none_or(|cut| cut.fresh);
        let mut vm = self.vm().job(self.look());
        if repeats {
            vm = vm.job(self.pull()).job(self.look());
        }
        if let Some(cut) = cut {
            let empty = if cut.fresh { "rm -rf /scratch/state; sync" } else { "" };
            let pull = format!(
                "{empty}\nwait=$(($(cat /scratch/takes) * {} / 1000))\n\
                 (corten pull -q {NAME} && echo all done) & usleep $wait; echo cut now; sleep 100",
                cut.part
            );
            vm = vm
                .job(self.with_registry(&pull))
                .power_cut(PowerCut::AfterOutput("cut now\n".into()));
        }
        let outcome = vm.run(&mut std::io::sink()).unwrap();
        let expected = if cut.is_some() { Ended::PowerCut } else { Ended::PowerOff };
        assert_eq!(outcome.ended, expected, "{}", outcome.console);
        let found = before.map(|_| Found { disk: found(&outcome.jobs[0]), done });
        if let Some(found) = &found {
            self.judge(found);
        }
        if repeats {
            let sum = after(&succeeded(&outcome.jobs[1]), SUM);
            if self.sum.is_empty() {
                self.sum.clone_from(&sum);
            }
            assert_eq!(sum, self.sum, "what a container reads");
            let mut now = self::found(&outcome.jobs[2]);
            now["unfinished"] = json!(0);
            assert_eq!(now, self.whole, "the repeated pull");
        }
        let last = outcome.jobs.last().map(JobResult::text).unwrap_or_default();
        (found, cut.is_some() && last.contains("all done"))
    }

    // ANCHOR: judge
    /// A layer is whole or absent; a blob as well; and what a pull said was done is there.
    fn judge(&self, Found { disk, done }: &Found) {
        assert_eq!(disk["problems"], json!([]), "{disk}");
        for (name, entries) in disk["layers"].as_object().unwrap() {
            is_whole(name, entries, &self.whole["layers"][name]);
        }
        if *done {
            assert_eq!(disk["layers"], self.whole["layers"], "the pull was done");
            assert_eq!(disk["images"], 1, "the pull was done");
        }
    }
    // ANCHOR_END: judge

    /// Cuts the power, and gives what was found after each.
    fn cut(&mut self, cuts: &[Cut]) -> Vec<Value> {
        let mut results = Vec::new();
        let mut done = false;
        for index in 0..=cuts.len() {
            let before = index.checked_sub(1).map(|last| &cuts[last]);
            let found;
            (found, done) = self.live(before, cuts.get(index), done);
            let (Some(Found { disk, done }), Some(cut)) = (found, before) else { continue };
            let result = json!({"part": cut.part, "fresh": cut.fresh, "done": done,
                "layers": disk["layers"].as_object().unwrap().len(), "blobs": disk["blobs"],
                "images": disk["images"], "unfinished_layers": disk["unfinished"]});
            println!("{result}");
            results.push(result);
        }
        results
    }
}

/// Says which entries of a layer are not as they are undisturbed.
#[track_caller]
fn is_whole(layer: &str, entries: &Value, whole: &Value) {
    let empty = serde_json::Map::new();
    let [now, then] = [entries, whole].map(|all| all.as_object().unwrap_or(&empty));
    let names = now.keys().chain(then.keys());
    let other = |name: &&String| now.get(*name) != then.get(*name);
    let differ: Vec<String> = names
        .filter(other)
        .map(|name| format!("{name}: {:?}, undisturbed {:?}", now.get(name), then.get(name)))
        .collect();
    assert!(differ.is_empty(), "the layer {layer} is not whole:\n{}", differ.join("\n"));
}

#[track_caller]
fn succeeded(job: &JobResult) -> String {
    assert!(job.status.success(), "{:?}: {}", job.status, job.text());
    job.text()
}

#[track_caller]
fn found(job: &JobResult) -> Value {
    let text = succeeded(job);
    let line = text.lines().find_map(|line| line.strip_prefix("found "));
    serde_json::from_str(line.unwrap_or_else(|| panic!("{text}"))).unwrap()
}

/// The rest of the line that begins with these words.
#[track_caller]
fn after(text: &str, words: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(words));
    line.unwrap_or_else(|| panic!("no {words:?} in {text}")).trim().to_owned()
}

#[corten_tier::boots_vm]
fn a_power_cut_leaves_layers_whole_or_absent() {
    // In the middle; then, with what that has left, just after the end.
    let cuts = [Cut { part: 600, fresh: true }, Cut { part: 1500, fresh: false }];
    assert_eq!(Scene::new().cut(&cuts).len(), 2);
}

/// A build of the context, and the sum of all files of a container of the image.
const BUILD: &str = r#"
export SOURCE_DATE_EPOCH=1700000000
read -r from _ </proc/uptime
corten build --progress plain --network none -t made /context >/tmp/id 2>/tmp/log || { cat /tmp/log; exit 1; }
read -r to _ </proc/uptime
echo $from $to | awk '{ print int(($2 - $1) * 1000000) }' >/scratch/takes
echo "image: $(cat /tmp/id)"
echo "from the cache: $(grep -c CACHED /tmp/log)"
ls $CORTEN_ROOT/build/work 2>/dev/null && exit 1
files='find / -xdev -type f ! -path /etc/hosts ! -path /etc/hostname -exec sha256sum {} + | sort | sha256sum'
echo "all files: $(corten run --rm --network none made sh -c "$files" </dev/null)"
"#;

/// Steps that write something, one after the other.
fn dockerfile() -> String {
    let step = |number: u32| {
        format!(
            "RUN mkdir /s{number}; for i in $(seq 40); do echo {number} $i >/s{number}/$i; done; \
             head -c 1000000 /dev/zero | tr '\\0' {number} >/s{number}/large; rm -rf /s{}\n",
            number.saturating_sub(2)
        )
    };
    let steps: String = (1..=6).map(step).collect();
    format!("FROM scratch\nADD busybox.tar /\n{steps}CMD [\"sh\"]\n")
}

/// Where the power is cut in the middle of a build, the store opens, each layer that has a name is whole,
/// and the build goes on from what it has done to the very image that it makes undisturbed.
#[corten_tier::boots_vm]
fn a_power_cut_in_a_build_leaves_a_cache_that_is_right() {
    let host = Host::new();
    let context = host.path("context");
    fs::create_dir(&context).unwrap();
    fs::write(context.join("Dockerfile"), dockerfile()).unwrap();
    fs::write(context.join("busybox.tar"), support::busybox_layer()).unwrap();
    let engine = Path::new(env!("CARGO_BIN_EXE_corten"));
    let vm = || {
        let vm = Vm::builder().unwrap().binary(engine).unwrap();
        let vm = vm.binary(engine.with_file_name("corten-supervisor")).unwrap();
        let vm = vm.binary(std::env::current_exe().unwrap()).unwrap();
        let vm = vm.file(&context, "/context").unwrap();
        vm.scratch_disk(host.path("disk"), 160).unwrap().limit(Duration::from_secs(300))
    };
    let program = std::env::current_exe().unwrap();
    let program = program.file_name().unwrap().to_string_lossy().into_owned();
    let look = |state: &str| {
        Job::shell(&format!("{program} power::look --exact --nocapture")).env(LOOK, state)
    };
    let build = |state: &str| Job::shell(BUILD).env("CORTEN_ROOT", state);
    // Undisturbed; and then with the power cut, the second time with what the first has left.
    let cut = |vm: VmBuilder, part: u32| {
        let script = format!(
            "export SOURCE_DATE_EPOCH=1700000000 CORTEN_ROOT=/scratch/state\n\
             wait=$(($(cat /scratch/takes) * {part} / 1000))\n\
             corten build -q --network none -t made /context & usleep $wait; echo cut now; sleep 100"
        );
        vm.job(Job::shell(&script)).power_cut(PowerCut::AfterOutput("cut now\n".into()))
    };
    let first = vm().job(build("/scratch/whole")).job(look("/scratch/whole"));
    let first = first.job(Job::shell("rm -rf /scratch/whole; sync"));
    let outcome = cut(first, 700).run(&mut std::io::sink()).unwrap();
    assert_eq!(outcome.ended, Ended::PowerCut, "{}", outcome.console);
    let text = succeeded(&outcome.jobs[0]);
    let (image, sum) = (after(&text, "image: "), after(&text, SUM));
    assert_eq!(after(&text, "from the cache: "), "0");
    let whole = found(&outcome.jobs[1]);
    let judge = |job: &JobResult| {
        let disk = found(job);
        assert_eq!(disk["problems"], json!([]), "{disk}");
        for (name, entries) in disk["layers"].as_object().unwrap() {
            is_whole(name, entries, &whole["layers"][name]);
        }
        disk["layers"].as_object().unwrap().len()
    };
    // Cut again while it goes on; then to the end.
    let second = cut(vm().job(look("/scratch/state")), 200).run(&mut std::io::sink()).unwrap();
    assert_eq!(second.ended, Ended::PowerCut, "{}", second.console);
    let left = judge(&second.jobs[0]);
    let last = vm().job(look("/scratch/state")).job(build("/scratch/state"));
    let last = last.job(look("/scratch/state")).run(&mut std::io::sink()).unwrap();
    assert_eq!(last.ended, Ended::PowerOff, "{}", last.console);
    let more = judge(&last.jobs[0]);
    let text = succeeded(&last.jobs[1]);
    assert_eq!((after(&text, "image: "), after(&text, SUM)), (image, sum));
    let cached: usize = after(&text, "from the cache: ").parse().unwrap();
    println!("layers after the cuts: {left}, {more}; steps from the cache: {cached}");
    // A record is on the disk when the next layer is.
    assert!(left >= 1 && more >= left && cached + 1 >= left, "{left} {more} {cached}: {text}");
    assert_eq!(judge(&last.jobs[2]), whole["layers"].as_object().unwrap().len());
}

mod soak {
    use super::*;

    #[test]
    #[ignore = "takes minutes: ./x soak unpacks"]
    fn power_cuts_at_random_moments() {
        let times = std::env::var("CORTEN_SOAK_CUTS").map_or(100, |n| n.parse().unwrap());
        let seed = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
        let mut scene = Scene::new();
        let random = noise(seed, times * 8);
        // Up to a little after the end: what is done must stay done. Every third goes on with what
        // the one before has left.
        let moment = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap()) % 1100;
        let cuts: Vec<Cut> = random
            .chunks(8)
            .enumerate()
            .map(|(index, bytes)| Cut { part: moment(bytes), fresh: index % 3 != 2 })
            .collect();
        let each = scene.cut(&cuts);
        let count = |test: &dyn Fn(&Value) -> bool| each.iter().filter(|c| test(c)).count();
        let layers = scene.whole["layers"].as_object().unwrap().len();
        let document = json!({"soak": "unpacks", "cuts": times, "seed": seed,
            "layers": layers, "stores_whole": each.len(),
            "pulls_repeated": cuts.iter().filter(|cut| cut.fresh).count(),
            "on_leftovers": count(&|cut| cut["fresh"] == false),
            "with_unfinished_layers": count(&|cut| cut["unfinished_layers"] != 0),
            "with_some_layers": count(&|cut| {
                (1..layers as u64).contains(&cut["layers"].as_u64().unwrap())
            }),
            "image_before_layers": count(&|cut| {
                cut["images"] == 1 && cut["layers"].as_u64() < Some(layers as u64)
            }),
            "done": count(&|cut| cut["done"] == true), "each": each});
        if let Some(path) = std::env::var_os("CORTEN_SOAK_RESULT") {
            fs::write(path, document.to_string()).unwrap();
        }
    }
}
