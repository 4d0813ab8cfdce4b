use tempfile::TempDir;

use super::super::Removed;
use super::super::tests::{import, name, store};
use super::*;

/// A store with an image `repo/a:1` that its registry has by the digest of its manifest.
fn served() -> (TempDir, Store, Image) {
    let (dir, store) = store();
    let image = import(&store, "repo/a:1", b"one");
    store.note_served(&name("repo/a:1"), &image.descriptor, &image.descriptor.digest).unwrap();
    let image = store.image("repo/a:1").unwrap();
    (dir, store, image)
}

/// The name by its registry's digest.
fn by_digest(image: &Image, repository: &str) -> Reference {
    name(repository).with_digest(image.descriptor.digest.clone())
}

fn untagged(removed: &Removed) -> Vec<String> {
    removed.untagged.iter().map(|one| one.name.familiar()).collect()
}

#[test]
fn a_registry_knows_its_own_names_only() {
    let (_dir, store, image) = served();
    assert_eq!(image.repo_digests, [by_digest(&image, "repo/a")]);
    store.tag("repo/a:1", &name("repo/a:2")).unwrap();
    store.tag("repo/a:1", &name("other/a:1")).unwrap();
    // By the id it is found under any of its names.
    store.tag(image.id.hex(), &name("repo/a:3")).unwrap();
    let again = store.image("other/a:1").unwrap();
    assert_eq!(again.repo_digests, [by_digest(&image, "repo/a")], "nobody pushed other/a");
    let source = |text: &str| store.find(&name(text)).unwrap().unwrap();
    assert!(!source("repo/a:3").lent && source("other/a:1").lent);
    assert_eq!(source("other/a:1").source, Some(image.descriptor.digest.clone()), "to push it");
    store.note_served(&name("other/a:1"), &image.descriptor, &image.descriptor.digest).unwrap();
    let again = store.image("repo/a:1").unwrap();
    let both = ["other/a", "repo/a"].map(|repository| by_digest(&image, repository));
    assert_eq!(again.repo_digests, both);
    // What has become of a name meanwhile is not taken for what was pushed.
    let new = import(&store, "other/a:1", b"two");
    store.note_served(&name("other/a:1"), &image.descriptor, &image.descriptor.digest).unwrap();
    assert_eq!(store.image(new.id.hex()).unwrap().repo_digests, []);
}

#[test]
fn a_borrowed_digest_is_no_name() {
    let (_dir, store, image) = served();
    let index = Digest::sha256(b"what the registry has is an index");
    store.note_served(&name("repo/a:1"), &image.descriptor, &index).unwrap();
    store.tag("repo/a:1", &name("other/a:1")).unwrap();
    let known = |repository: &str| {
        store.image(&name(repository).with_digest(index.clone()).to_string()).map(|image| image.id)
    };
    assert_eq!(known("repo/a").unwrap(), image.id);
    assert!(known("other/a").unwrap_err().is_not_found());
}

#[test]
fn a_digest_goes_with_the_last_tag_of_its_repository() {
    let (_dir, store, image) = served();
    store.tag("repo/a:1", &name("repo/a:2")).unwrap();
    store.tag("repo/a:1", &name("b:1")).unwrap();
    let digest = by_digest(&image, "repo/a");
    assert_eq!(untagged(&store.remove("repo/a:1", false).unwrap()), ["repo/a:1"]);
    assert!(store.image("repo/a:2").unwrap().has_other_names(&name("repo/a:2")));
    let removed = store.remove("repo/a:2", false).unwrap();
    assert_eq!(untagged(&removed), ["repo/a:2".to_owned(), digest.familiar()]);
    assert_eq!(
        (removed.images.as_slice(), store.image("b:1").unwrap().repo_digests),
        (&[][..], vec![])
    );
    assert!(store.image(&digest.to_string()).unwrap_err().is_not_found());
}

#[test]
fn a_digest_stays_with_another_tag_that_was_never_pushed() {
    let (_dir, store, image) = served();
    let digest = by_digest(&image, "repo/a");
    store.remove(&digest.to_string(), false).unwrap();
    store.tag("repo/a:1", &name("repo/a:2")).unwrap();
    store.note_served(&name("repo/a:1"), &image.descriptor, &image.descriptor.digest).unwrap();
    assert_eq!(untagged(&store.remove("repo/a:1", false).unwrap()), ["repo/a:1"]);
    assert_eq!(store.image("repo/a:2").unwrap().repo_digests, std::slice::from_ref(&digest));
    let last = untagged(&store.remove("repo/a:2", false).unwrap());
    assert_eq!(last, ["repo/a:2".to_owned(), digest.familiar()]);
}

#[test]
fn a_digest_that_is_removed_takes_no_tag_along() {
    let (_dir, store, image) = served();
    let digest = by_digest(&image, "repo/a");
    let removed = store.remove(&digest.to_string(), false).unwrap();
    assert_eq!((untagged(&removed), removed.images), (vec![digest.familiar()], vec![]));
    let left = store.image("repo/a:1").unwrap();
    assert_eq!((left.names, left.repo_digests), (vec![name("repo/a:1")], vec![]));
}

#[test]
fn a_tag_that_moves_on_leaves_its_digest() {
    let (_dir, store, old) = served();
    let new = import(&store, "repo/a:1", b"two");
    let digest = by_digest(&old, "repo/a");
    let left = store.image(&digest.to_string()).unwrap();
    assert_eq!((&left.id, left.names.as_slice()), (&old.id, std::slice::from_ref(&digest)));
    assert_eq!(left.tags().count(), 0);
    // Nobody wants it any more who does not say so.
    let kept = store.prune(false, &|id| *id == old.id).unwrap();
    assert_eq!(untagged(&kept), [""; 0]);
    let pruned = store.prune(false, &|_| false).unwrap();
    assert_eq!((untagged(&pruned), pruned.images), (vec![digest.familiar()], vec![old.id]));
    assert_eq!(store.image("repo/a:1").unwrap().id, new.id);
}

#[test]
fn what_is_pruned_is_told_once() {
    let (_dir, store, image) = served();
    store.tag("repo/a:1", &name("repo/a:2")).unwrap();
    let pruned = untagged(&store.prune(true, &|_| false).unwrap());
    let digest = by_digest(&image, "repo/a").familiar();
    assert_eq!(pruned, ["repo/a:1".to_owned(), digest, "repo/a:2".to_owned()]);
}

#[test]
fn one_tag_and_its_digest_are_one_name() {
    let (_dir, store, image) = served();
    let removed = store.remove(image.id.short(), false).unwrap();
    assert_eq!(removed.images, [image.id]);
    assert_eq!(untagged(&removed).len(), 2);
    let (_dir, store, image) = served();
    store.tag("repo/a:1", &name("repo/a:2")).unwrap();
    let refused = store.remove(image.id.short(), false);
    assert!(matches!(refused, Err(Error::SeveralNames { .. })), "{refused:?}");
    // A digest of another repository is a name of its own.
    store.remove("repo/a:2", false).unwrap();
    store.tag("repo/a:1", &name("b:1")).unwrap();
    store.note_served(&name("b:1"), &image.descriptor, &image.descriptor.digest).unwrap();
    import(&store, "b:1", b"two");
    assert!(matches!(store.remove(image.id.short(), false), Err(Error::SeveralNames { .. })));
    assert_eq!(untagged(&store.remove(image.id.short(), true).unwrap()).len(), 3);
}

#[test]
fn what_is_in_a_file_says_whose_digest_it_is() {
    let (_dir, store, image) = served();
    store.tag("repo/a:1", &name("b:1")).unwrap();
    let reopened = Store::open(store.root()).unwrap();
    assert_eq!(reopened.image("b:1").unwrap().repo_digests, [by_digest(&image, "repo/a")]);
}
