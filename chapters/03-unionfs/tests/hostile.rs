//! Layers that mean harm, each refused with the reason, or harmless: nothing outside the layer's
//! directory changes, and the store has nothing half-made afterwards.
#![allow(clippy::unwrap_used)]

#[path = "lab/arena.rs"]
mod arena;

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;

use arena::{Arena, layer};
use corten_unionfs::fixture::{self, LayerBuilder};
use corten_unionfs::{Compression, Driver, Error, FuseDriver, LayerStore, Limits};
use proptest::prelude::*;

#[corten_tier::t1]
fn hostile_absolute_path() {
    let arena = Arena::new("an absolute path");
    let path = format!("{}/canary", arena.outside_path());
    arena.refuses(&layer().file("ok", 0o644, "x").file(path, 0o644, "dead").build(), "absolute");
}

#[corten_tier::t1]
fn hostile_dot_dot() {
    let arena = Arena::new("a path with `..`");
    for path in ["../canary", "../../../canary", "a/../../../../canary", "a/..", "./.."] {
        arena.refuses(&layer().file(path, 0o644, "dead").build(), "`..`");
        arena.refuses(&layer().dir(path, 0o755).build(), "`..`");
        let long = layer().record("path", path).file("innocent", 0o644, "dead");
        arena.refuses(&long.build(), "`..`");
    }
}

#[corten_tier::t1]
fn hostile_symlink_then_write_through_it() {
    let arena = Arena::new("a symbolic link, then an entry through it");
    let outside = arena.outside_path();
    // The link itself is replaced by the later entry, not followed.
    let target = format!("{outside}/canary");
    let dir = arena.takes(&layer().symlink("l", target).file("l", 0o644, "dead").build());
    assert!(dir.join("l").symlink_metadata().unwrap().is_file());
    // As a parent it is resolved inside the layer, where its target is not.
    let through = |l: LayerBuilder| l.file("l/canary", 0o644, "dead").build();
    arena.refuses(&through(layer().symlink("l", &outside)), "no directory");
    arena.refuses(&through(layer().symlink("l", "../../../outside")), "no directory");
    // Where it is, it is written inside.
    let both = layer().dir("outside", 0o755).symlink("l", "../../../outside");
    let dir = arena.takes(&through(both));
    assert_eq!(fs::read_to_string(dir.join("outside/canary")).unwrap(), "dead");
    // A link over a directory that was just filled, then again below it.
    let swapped = layer().dir("d", 0o755).file("d/a", 0o644, "x").symlink("d", &outside);
    arena.refuses(&swapped.file("d/canary", 0o644, "dead").build(), "no directory");
    let whiteout = layer().symlink("l", &outside).whiteout("l/.wh.canary");
    arena.refuses(&whiteout.build(), "no directory");
    let opaque = layer().symlink("l", &outside).whiteout("l/.wh..wh..opq");
    arena.refuses(&opaque.build(), "no directory");
}

#[corten_tier::t1]
fn hostile_hard_link_to_outside() {
    let arena = Arena::new("a hard link to a file of the host");
    let outside = arena.outside_path();
    let link = |target: &str| layer().hard_link("stolen", target);
    arena.refuses(&link(&format!("{outside}/canary")).build(), "has not made before");
    arena.refuses(&link("../../../canary").build(), "`..`");
    arena.refuses(&link("/etc/shadow").build(), "has not made before");
    arena.refuses(&link(".").build(), "root");
    arena.refuses(&layer().dir("d", 0o755).hard_link("l", "d").build(), "directory");
    let through = layer().symlink("l", &outside).hard_link("stolen", "l/canary");
    arena.refuses(&through.build(), "has not made before");
    // A link to a link is a second name of the link; writing the name replaces it.
    let double = layer().symlink("a", format!("{outside}/canary")).hard_link("b", "a");
    arena.takes(&double.file("b", 0o644, "dead").build());
}

#[corten_tier::t1]
fn hostile_device_numbers() {
    let arena = Arena::new("device numbers that the kernel would cut off");
    for device in [(4096, 0), (1, 0x10_0000), (0o7777777, 0o7777777)] {
        arena
            .refuses(&layer().char_device("d", 0o666, device).build(), "out of the kernel's range");
        arena.refuses(&layer().block_device("d", 0o666, device).build(), "out of the kernel's");
    }
    arena.takes(&layer().char_device("d", 0o600, (4095, 0xf_ffff)).build());
}

#[corten_tier::t1]
fn hostile_owner_numbers() {
    let arena = Arena::new("an owner that means “leave it”");
    arena.refuses(&layer().owner(u64::from(u32::MAX), 0).file("f", 0o644, "").build(), "owner");
    arena.refuses(&layer().owner(0, 1 << 40).file("f", 0o644, "").build(), "owner");
}

#[corten_tier::t1]
fn hostile_zip_bomb() {
    let mut arena = Arena::new("a bomb: bytes, entries, holes, headers");
    arena.limit(Limits { max_bytes: 1 << 20, max_entries: 100, ..Limits::default() });
    let plain = layer().file("bomb", 0o644, vec![0; 2 << 20]).build();
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        arena.refuses(&fixture::compress(&plain, compression), "more than 1048576 bytes");
    }
    let many = (0..101).fold(layer(), |l, at| l.file(at.to_string(), 0o644, ""));
    arena.refuses(&many.build(), "more than 100 entries");
    // 8 EiB of hole.
    let sparse = layer().record("GNU.sparse.major", "1").record("GNU.sparse.minor", "0");
    let sparse = sparse.record("GNU.sparse.realsize", (1u64 << 62).to_string());
    let map = [&b"0\n"[..], &[0; 510]].concat();
    arena.refuses(&sparse.file("hole", 0o644, map).build(), "more than 1048576 bytes");
    for path in ["f", "dir/"] {
        let huge = layer().record("size", u64::MAX.to_string()).file(path, 0o644, "");
        arena.refuses(&huge.build(), "size");
    }
    let header = layer().xattr("user.big", vec![b'x'; 2 << 20]).file("f", 0o644, "");
    arena.refuses(&header.build(), "extended headers");
}

#[corten_tier::t1]
fn hostile_gzip_bomb_is_not_unpacked_in_memory() {
    let mut arena = Arena::new("");
    arena.store.limits = Limits { max_bytes: 1 << 20, ..Limits::default() };
    // An endless stream: only a reader that counts as it goes comes back from it.
    let endless = std::io::repeat(0x61);
    let diff_id = fixture::digest(b"").parse().unwrap();
    let header = layer().file("f", 0o644, vec![0; 512]).build();
    let stream = header[..512].chain(endless);
    let error = arena.store.ensure(None, &diff_id, Compression::None, stream).unwrap_err();
    assert!(error.is_refusal(), "{error}");
}

#[corten_tier::t1]
fn hostile_wrong_digest() {
    let arena = Arena::new("another content than promised");
    let bytes = layer().file("f", 0o644, "x").build();
    let error = arena.ensure(&bytes, &fixture::digest(b"other").parse().unwrap()).unwrap_err();
    assert!(matches!(error, Error::WrongDiffId { .. }), "{error}");
    assert!(arena.store.list().unwrap().is_empty());
}

#[corten_tier::t1]
fn hostile_truncated_stream() {
    let arena = Arena::new("a stream that ends early");
    let bytes = layer().file("f", 0o644, vec![1; 5000]).file("g", 0o644, "x").build();
    for length in [1, 100, 511, 513, 3000, 5600, 6000] {
        arena.refuses(&bytes[..length], "");
    }
    let gzip = fixture::compress(&bytes, Compression::Gzip);
    let zstd = fixture::compress(&bytes, Compression::Zstd);
    for compressed in [gzip, zstd] {
        let cut = &compressed[..compressed.len() - 5];
        let error = arena.ensure(cut, &fixture::digest(&bytes).parse().unwrap()).unwrap_err();
        assert!(matches!(error, Error::Read { .. }), "{error}");
    }
}

#[corten_tier::t1]
fn hostile_huge_window() {
    use std::io::Write as _;
    let arena = Arena::new("a zstd frame that wants 128 MiB of memory");
    let plain = layer().file("f", 0o644, "x").build();
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(&plain).unwrap();
    arena.refuses(&encoder.finish().unwrap(), "a window of more than 32 MiB");
}

#[corten_tier::t1]
fn hostile_trailing_garbage() {
    let arena = Arena::new("data after the end of the archive");
    let mut bytes = layer().file("f", 0o644, "x").build();
    bytes.extend_from_slice(&[0; 20_000]);
    arena.takes(&bytes);
    bytes.extend_from_slice(b"garbage");
    arena.refuses(&bytes, "data follows");
}

#[corten_tier::t1]
fn hostile_overlay_xattrs_are_left_out() {
    let arena = Arena::new("the marks of overlay as xattrs");
    let bytes = layer()
        .xattr("trusted.overlay.redirect", "/etc")
        .xattr("trusted.overlay.metacopy", "")
        .xattr("user.overlay.opaque", "y")
        .xattr("trusted.kept", "1")
        .file("f", 0o644, "x")
        .build();
    let dir = arena.takes(&bytes);
    let names: Vec<_> = xattr::list(dir.join("f")).unwrap().collect();
    assert_eq!(names, ["trusted.kept"]);
}

/// fuse-overlayfs believes an owner and a mode that it finds in an xattr, in a layer whose root has one.
#[corten_tier::t1]
fn hostile_owners_in_xattrs_are_left_out() {
    let arena = Arena::new("owner and mode in an xattr: a user's program becomes root's");
    for (name, root, file) in [
        ("user.containers.override_stat", "0:0:755", "0:0:4755"),
        ("user.fuseoverlayfs.override_stat", "0:0:755", "0:0:4755"),
        ("security.fuseoverlayfs.override_stat", "0:0:755", "0:0:4755"),
    ] {
        let bytes = layer().xattr(name, root).dir(".", 0o755);
        let bytes = bytes.owner(1000, 1000).xattr(name, file).file("f", 0o755, "x").build();
        let dir = arena.takes(&bytes);
        let writable = arena.dir.path().join("layers/.container");
        fs::create_dir(&writable).unwrap();
        let mount = FuseDriver.mount(&[dir], Some(&writable)).unwrap();
        let seen = fixture::tree::of_mount(&mount).join("f").metadata().unwrap();
        assert_eq!((seen.uid(), seen.mode() & 0o7777), (1000, 0o755), "{name}");
        drop(mount);
        fs::remove_dir_all(&writable).unwrap();
    }
}

/// A mark is a file only on the disk: an entry cannot reach it by its name.
#[corten_tier::t1]
fn hostile_links_to_marks() {
    let arena = Arena::new("a hard link to what a whiteout has left on the disk");
    let link = |target: &str| layer().whiteout(".wh.gone").hard_link("stolen", target).build();
    arena.refuses(&link(".wh.gone"), "has not made before");
    let opaque = layer().dir("d", 0o755).whiteout("d/.wh..wh..opq");
    arena.refuses(&opaque.hard_link("l", "d/.wh..wh..opq").build(), "has not made before");
    let through = layer().whiteout(".wh.gone").symlink("l", ".wh.gone");
    arena.refuses(&through.file("l/canary", 0o644, "dead").build(), "no directory");
}

#[corten_tier::t1]
fn hostile_entries_inside_files() {
    let arena = Arena::new("entries inside files, whiteouts and loops of links");
    arena.refuses(&layer().file("f", 0o644, "").file("f/g", 0o644, "").build(), "no directory");
    arena.refuses(&layer().file(".wh.x/y", 0o644, "").build(), "inside a whiteout");
    arena.refuses(&layer().file(".wh...", 0o644, "").build(), "names nothing");
    arena.refuses(&layer().symlink(".", "/etc").build(), "root");
    arena.refuses(&layer().symlink("l", "l").file("l/x", 0o644, "").build(), "no directory");
}

#[corten_tier::t1]
fn hostile_two_sizes() {
    let arena = Arena::new("two sizes, so that two readers see two archives");
    // The content holds what looks like a header; the size decides whether it is one.
    let hidden = layer().file("../canary", 0o644, "dead").build();
    let sized = |size: &str| layer().record("size", size).file("f", 0o644, &hidden).build();
    // The extended header's size counts, in both directions.
    arena.takes(&sized(&hidden.len().to_string()));
    arena.refuses(&sized("0"), "`..`");
    arena.refuses(&sized("x"), "is no number");
    let twice = layer().record("path", "a").record("path", "../canary").file("f", 0o644, "");
    arena.refuses(&twice.build(), "`..`");
    // The size of a directory or link is 0 whatever it says.
    let header = |kind: u8| {
        let mut header = tar::Header::new_ustar();
        header.set_path("x").unwrap();
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_link_name("y").unwrap();
        header.set_size(1024);
        header.set_cksum();
        header
    };
    for kind in *b"25" {
        arena.refuses(&layer().raw(&header(kind), &hidden[..1024]).build(), "`..`");
    }
}

#[corten_tier::t1]
fn hostile_sparse_maps() {
    let arena = Arena::new("maps of sparse files that lie");
    let sparse = |map: &str, size: &str| {
        let records = layer().record("GNU.sparse.size", size).record("GNU.sparse.map", map);
        records.file("f", 0o644, vec![1; 512]).build()
    };
    arena.takes(&sparse("4096,512", "8192"));
    arena.refuses(&sparse("4096,512,0,0", "8192"), "out of order");
    arena.refuses(&sparse("0,300,200,212", "8192"), "overlap");
    arena.refuses(&sparse("0,400", "8192"), "map has 400 bytes");
    arena.refuses(&sparse("7900,512", "8192"), "beyond");
    arena.refuses(&sparse("18446744073709551615,512", "8192"), "beyond");
    arena.refuses(&sparse("0,512,1", "8192"), "malformed map");
}

#[corten_tier::t1]
fn hostile_alias_of_an_open_directory() {
    let arena = Arena::new("a directory replaced under another name while it is filled");
    // `l` is the root itself, so `d` can be replaced while the way through it is open.
    let l = || layer().symlink("l", ".").dir("d", 0o755).file("d/x", 0o644, "");
    let dir = arena.takes(&l().file("l/d", 0o644, "now a file").build());
    assert!(dir.join("d").is_file());
    arena.refuses(
        &l().file("l/d", 0o644, "").file("d/canary", 0o644, "dead").build(),
        "no directory",
    );
    let outside = arena.outside_path();
    let swapped = l().symlink("l/d", &outside).file("d/canary", 0o644, "dead");
    arena.refuses(&swapped.build(), "no directory");
    let back =
        l().symlink("d/up", "..").symlink("d/up/d", &outside).file("d/canary", 0o644, "dead");
    arena.refuses(&back.build(), "replaced under another name");
}

#[corten_tier::t1]
fn hostile_nesting() {
    let arena = Arena::new("more directories in each other than a process may open");
    let deep = "d/".repeat(2000);
    let dir = arena.takes(&layer().file(format!("{deep}f"), 0o644, "x").build());
    assert!(dir.join("d/d/d").is_dir());
    // Listed one by one, each is filled while it is open.
    let listed = (1..1500).fold(layer(), |l, at| l.dir(&deep.as_bytes()[..2 * at - 1], 0o755));
    arena.takes(&listed.build());
    arena.refuses(&layer().file("d/".repeat(2100), 0o644, "").build(), "more than 4096");
    for layer in arena.store.list().unwrap() {
        arena.store.remove(&layer.chain_id).unwrap();
    }
    assert!(arena.names().is_empty());
}

#[corten_tier::t1]
fn hostile_names() {
    let arena = Arena::new("names that no file can have");
    arena.refuses(&layer().record("path", "a\0b").file("f", 0o644, "").build(), "NUL");
    arena.refuses(&layer().file("x".repeat(256), 0o644, "").build(), "256 bytes");
    arena.refuses(&layer().record("linkpath", "a\0b").symlink("l", "x").build(), "NUL");
    arena.refuses(&layer().whiteout(".wh.").build(), "names nothing");
    arena.refuses(&layer().whiteout("d/.wh...").build(), "names nothing");
    arena.refuses(&layer().xattr("", "x").file("f", 0o644, "").build(), "no name of an xattr");
    // What a terminal would obey is a name like any other, and is printed escaped.
    arena.takes(&layer().file("\x1b]0;title\x07", 0o644, "").build());
}

#[corten_tier::t1]
fn times_of_directories_survive_unlisted_ones() {
    let arena = Arena::new("");
    let dir =
        arena.takes(&layer().dir(".", 0o755).dir("d", 0o755).file("d/x/y/z", 0o644, "").build());
    for path in ["", "d"] {
        assert_eq!(dir.join(path).metadata().unwrap().mtime(), 1_700_000_000, "{path}");
    }
}

#[corten_tier::t1]
fn two_threads_make_one_layer() {
    let arena = Arena::new("");
    let bytes = layer().file("f", 0o644, vec![3; 1 << 20]).build();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let diff_id = fixture::digest(&bytes).parse().unwrap();
                arena.store.ensure(None, &diff_id, Compression::None, &bytes[..]).unwrap();
            });
        }
    });
    assert_eq!(arena.store.list().unwrap().len(), 1);
    assert_eq!(arena.names().len(), 1, "temporaries are left");
    arena.store.remove(&arena.store.list().unwrap()[0].chain_id).unwrap();
    assert!(arena.names().is_empty());
}

#[corten_tier::t1]
fn crash_leaves_what_the_next_open_removes() {
    let arena = Arena::new("");
    fs::create_dir_all(arena.store.path().join(".tmp-999-0/diff/deep")).unwrap();
    LayerStore::open(arena.store.path()).unwrap();
    assert!(arena.names().is_empty());
}

#[corten_tier::t1]
fn mutated_layers_never_panic_or_reach_outside() {
    let arena = Arena::new("");
    let seed = fixture::image_of_everything().swap_remove(1);
    let runner = ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() };
    let header = prop_oneof![Just(None), (0usize..512).prop_map(Some)];
    let change = (any::<prop::sample::Index>(), header, any::<u8>());
    proptest!(runner, |(changes in prop::collection::vec(change, 1..8), fix in any::<bool>())| {
        let mut bytes = seed.clone();
        for (at, field, value) in changes {
            let block = at.index(bytes.len()) / 512 * 512;
            let at = field.map_or(at.index(bytes.len()), |field| block + field);
            bytes[at] = value;
            if fix {
                let mut header = tar::Header::from_byte_slice(&bytes[block..block + 512]).clone();
                header.set_cksum();
                bytes[block..block + 512].copy_from_slice(header.as_bytes());
            }
        }
        let _ = arena.ensure(&bytes, &fixture::digest(b"").parse().unwrap());
    });
    proptest!(ProptestConfig { cases: 100, failure_persistence: None, ..Default::default() },
        |(bytes in prop::collection::vec(any::<u8>(), 0..3000))| {
            // Not the digest of nothing, which may be among them.
            let _ = arena.ensure(&bytes, &fixture::digest(b"none of them").parse().unwrap());
        }
    );
}
