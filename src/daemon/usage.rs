//! What images, containers, volumes and build caches take on the disk, as sums over Docker's lists: by
//! the rules of docker's client (docker/cli, `cli/command/formatter/disk_usage.go`), which reckoned them
//! before daemons did.

use serde_json::{Map, Value, json};

/// The sum over one list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sum {
    /// How many there are.
    pub total: usize,
    /// How many of them are in use.
    pub active: usize,
    /// Bytes of all.
    pub size: u64,
    /// Bytes that would be free without those that are not in use.
    pub reclaimable: u64,
}

/// Bytes, or how many; what is not known is -1 in answers.
fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

impl Sum {
    /// Of images, whose layers take so many bytes: what several images share is there once.
    pub fn of_images(images: &[Value], layers: u64) -> Sum {
        let used = images.iter().filter(|image| number(&image["Containers"]) > 0);
        let own =
            |image: &Value| number(&image["Size"]).saturating_sub(number(&image["SharedSize"]));
        let (active, needed): (usize, u64) = (used.clone().count(), used.map(own).sum());
        let reclaimable = layers.saturating_sub(needed);
        Sum { total: images.len(), active, size: layers, reclaimable }
    }

    /// Of containers.
    pub fn of_containers(containers: &[Value]) -> Sum {
        let runs = |one: &Value| {
            ["running", "paused", "restarting"].iter().any(|word| one["State"] == *word)
        };
        Sum::of(containers, runs, |one| number(&one["SizeRw"]))
    }

    /// Of volumes.
    pub fn of_volumes(volumes: &[Value]) -> Sum {
        let is_used = |one: &Value| number(&one["UsageData"]["RefCount"]) > 0;
        Sum::of(volumes, is_used, |one| number(&one["UsageData"]["Size"]))
    }

    /// Of build caches.
    pub fn of_builds(builds: &[Value]) -> Sum {
        let own = |one: &Value| if one["Shared"] == true { 0 } else { number(&one["Size"]) };
        Sum::of(builds, |one| one["InUse"] == true, own)
    }

    fn of(list: &[Value], is_used: impl Fn(&Value) -> bool, size: impl Fn(&Value) -> u64) -> Sum {
        let mut sum = Sum { total: list.len(), active: 0, size: 0, reclaimable: 0 };
        for one in list {
            sum.size += size(one);
            match is_used(one) {
                true => sum.active += 1,
                false => sum.reclaimable += size(one),
            }
        }
        sum
    }
}

/// A kind of things: its name in a request, its list, and its sum's name.
const KINDS: [(&str, &str, &str); 4] = [
    ("image", "Images", "ImageUsage"),
    ("container", "Containers", "ContainerUsage"),
    ("volume", "Volumes", "VolumeUsage"),
    ("build-cache", "BuildCache", "BuildCacheUsage"),
];

/// The sum of a kind that `usage`, the answer to `GET /system/df` of before 1.52, has a list of.
fn sum(usage: &Value, list: &str) -> Sum {
    let all = usage[list].as_array().map_or(&[][..], Vec::as_slice);
    match list {
        "Images" => Sum::of_images(all, number(&usage["LayersSize"])),
        "Containers" => Sum::of_containers(all),
        "Volumes" => Sum::of_volumes(all),
        _ => Sum::of_builds(all),
    }
}

/// The answer of 1.52: sums, with what they are of where that is asked for. Where it is not said whether
/// that is wanted, the lists of before stand beside them: moby means to leave them out, and programs read
/// them.
pub(super) fn with_sums(
    mut usage: Value,
    wants: impl Fn(&str) -> bool,
    verbose: Option<bool>,
) -> Value {
    let mut sums = Map::new();
    for (_, list, name) in KINDS.iter().filter(|(kind, ..)| wants(kind)) {
        let Sum { total, active, size, reclaimable } = sum(&usage, list);
        let mut shown = json!({"TotalCount": total, "ActiveCount": active, "TotalSize": size,
            "Reclaimable": reclaimable});
        if verbose == Some(true) {
            shown["Items"] = usage[list].take();
        }
        sums.insert((*name).to_owned(), shown);
    }
    match (verbose, usage.as_object_mut()) {
        (None, Some(usage)) => usage.extend(sums),
        _ => return Value::Object(sums),
    }
    usage
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage() -> Value {
        json!({"LayersSize": 100, "Images": [
                {"Containers": 1, "Size": 60, "SharedSize": 20},
                {"Containers": 0, "Size": 60, "SharedSize": 20},
                {"Containers": -1, "Size": -1, "SharedSize": -1}],
            "Containers": [{"State": "running", "SizeRw": 5}, {"State": "paused", "SizeRw": 1},
                {"State": "exited", "SizeRw": 7}, {"State": "created"}],
            "Volumes": [{"UsageData": {"RefCount": 1, "Size": 3}},
                {"UsageData": {"RefCount": 0, "Size": 4}}, {"UsageData": {"Size": -1}}],
            "BuildCache": [{"InUse": true, "Size": 2}, {"Size": 9}, {"Shared": true, "Size": 8}],
            "BuilderSize": 0})
    }

    #[test]
    fn sums_are_those_of_docker_s_client() {
        let of = |total, active, size, reclaimable| Sum { total, active, size, reclaimable };
        assert_eq!(sum(&usage(), "Images"), of(3, 1, 100, 60));
        assert_eq!(sum(&usage(), "Containers"), of(4, 2, 13, 7));
        assert_eq!(sum(&usage(), "Volumes"), of(3, 1, 7, 4));
        assert_eq!(sum(&usage(), "BuildCache"), of(3, 1, 11, 9));
    }

    #[test]
    fn lists_are_there_until_somebody_says_what_he_wants() {
        let with = |verbose| with_sums(usage(), |_| true, verbose);
        let (old, short, long) = (with(None), with(Some(false)), with(Some(true)));
        assert_eq!(old["Images"], usage()["Images"]);
        assert_eq!(old["LayersSize"], 100);
        assert_eq!(old["VolumeUsage"], short["VolumeUsage"]);
        let expected = json!({"TotalCount": 3, "ActiveCount": 1, "TotalSize": 7, "Reclaimable": 4});
        assert_eq!(short["VolumeUsage"], expected);
        assert_eq!(short.as_object().unwrap().len(), 4);
        assert_eq!(long["ContainerUsage"]["Items"], usage()["Containers"]);
        assert_eq!(long["Images"], Value::Null);
        let some = with_sums(usage(), |kind| kind == "volume", Some(false));
        assert_eq!(some, json!({"VolumeUsage": expected}));
    }
}
