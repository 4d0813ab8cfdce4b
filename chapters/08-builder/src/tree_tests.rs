use std::os::unix::fs::symlink;

use super::*;

fn tree(ignore: &str) -> (tempfile::TempDir, Tree) {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path);
    std::fs::create_dir_all(at("d/e")).unwrap();
    for (path, text) in [("a.txt", "a"), ("b.txt", "b"), ("d/c.txt", "c"), ("d/e/f", "f")] {
        std::fs::write(at(path), text).unwrap();
    }
    symlink("/etc/passwd", at("out")).unwrap();
    symlink("a.txt", at("link")).unwrap();
    symlink("d", at("dirlink")).unwrap();
    let tree = Tree::context(dir.path(), Ignore::parse("i", ignore).unwrap()).unwrap();
    (dir, tree)
}

fn names(tree: &Tree, word: &str) -> Vec<String> {
    tree.select(word).unwrap().into_iter().map(|found| found.path).collect()
}

fn why(tree: &Tree, word: &str) -> String {
    tree.select(word).unwrap_err().to_string()
}

#[test]
fn words_name_files_inside_the_context_only() {
    let (_dir, tree) = tree("");
    assert_eq!(names(&tree, "*.txt"), ["a.txt", "b.txt"]);
    assert_eq!(names(&tree, "d/*"), ["d/c.txt", "d/e"]);
    assert_eq!(names(&tree, "/a.txt"), ["a.txt"]);
    assert_eq!(names(&tree, "none*"), [""; 0]);
    assert!(tree.select("dirlink").unwrap()[0].is_directory());
    assert_eq!(tree.select("link").unwrap()[0].file(), Some(Path::new("a.txt")));
    assert_eq!(tree.named("./d//c.txt").unwrap().path, "d/c.txt");
    assert!(tree.named("*.txt").unwrap_err().to_string().contains("stat *.txt"));
    assert!(tree.named("../x").unwrap_err().to_string().contains("forbidden path"));
    assert!(why(&tree, "../x").contains("forbidden path outside the build context: ../x"));
    assert!(why(&tree, "d/../../x").contains("forbidden path"));
    // The link leads to the context's own /etc/passwd, which is not there.
    assert!(why(&tree, "out").contains("file not found in build context"));
    assert!(why(&tree, "a.txt/b").contains("stat a.txt/b: file does not exist"));
}

#[test]
fn what_is_ignored_is_not_there() {
    let (_dir, tree) = tree("*.txt\n!b.txt\nd/e");
    assert_eq!(names(&tree, "[abd]*"), ["b.txt", "d", "dirlink"]);
    assert!(why(&tree, "a.txt").contains("excluded by .dockerignore"));
    assert!(why(&tree, "link").contains("excluded by .dockerignore"));
    let (none, cancel) = (Ignore::default(), Cancel::new().unwrap());
    let view = View { tree: &tree, exclude: &none, cancel: &cancel };
    let mut seen = Vec::new();
    view.look(&tree.select(".").unwrap()[0], &mut |node| {
        seen.push(node.path().display().to_string());
        Ok(())
    })
    .unwrap();
    assert_eq!(seen, ["b.txt", "d", "d/c.txt", "dirlink", "link", "out"]);
}

#[test]
fn a_sum_depends_on_content_and_not_on_times() {
    let (dir, tree) = tree("");
    let (none, cancel) = (Ignore::default(), Cancel::new().unwrap());
    let sum = || {
        View { tree: &tree, exclude: &none, cancel: &cancel }
            .sum(&tree.select("d").unwrap()[0])
            .unwrap()
    };
    let before = sum();
    std::fs::write(dir.path().join("d/c.txt"), "c").unwrap();
    assert_eq!(sum(), before);
    std::fs::write(dir.path().join("d/c.txt"), "x").unwrap();
    assert_ne!(sum(), before);
}
