//! The order of the layers, held against the imports: none points up, and there are no circles
//! between folders.

mod imports;

use imports::Tree;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The layers of `src/`, lowest first: a folder, or a file beside them.
const LAYERS: &[&str] = &[
    "error",
    "pace",
    "splitmix",
    "memory",
    "text",
    "files",
    "gpu",
    "parallel",
    "autograd",
    "spec",
    "ops",
    "registry",
    "verify",
    "kernels",
    "nn",
    "quantize",
    "models",
    "data",
    "config",
    "storage",
    "metrics",
    "objective",
    "codes",
    "vectors",
    "inference",
    "analysis",
    "trainer",
    "train",
    "text2image",
    "plan",
    "report",
    "bench",
    "cli",
    "main",
];

/// Mistakes of a tree.
#[derive(Debug, Default, PartialEq)]
struct Findings {
    /// Arrows up: (layer, layer), and the files of the first such import.
    up: BTreeMap<(String, String), String>,
    /// Circles between the folders of a folder.
    circles: BTreeSet<Vec<String>>,
    /// Circles of more than three files of a folder.
    tied: BTreeSet<Vec<String>>,
}

fn find(tree: &Tree) -> Findings {
    let mut found = Findings::default();
    let (mut folders, mut files) = (Arrows::new(), Arrows::new());
    for (i, imports) in tree.imports.iter().enumerate() {
        for target in imports {
            let (from, to) = (&tree.files[i], &tree.files[*target]);
            let (lower, upper) = (layer(from), layer(to));
            if rank(&lower) < rank(&upper) {
                found
                    .up
                    .entry((lower, upper))
                    .or_insert_with(|| format!("{from} imports {to}"));
            }
            let (from, to): (Vec<&str>, Vec<&str>) =
                (from.split('/').collect(), to.split('/').collect());
            let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
            let inner = |path: &[&str]| path.len() > shared + 1;
            if shared > 0 && inner(&from) && inner(&to) {
                let folder = |path: &[&str]| path[..=shared].join("/");
                folders
                    .entry(folder(&from))
                    .or_default()
                    .insert(folder(&to));
            }
            if from.len() > 1 && from.len() == to.len() && shared == from.len() - 1 {
                files
                    .entry(from.join("/"))
                    .or_default()
                    .insert(to.join("/"));
            }
        }
    }
    found.circles = circles(&folders)
        .into_iter()
        .filter(|circle| circle.len() > 1)
        .collect();
    found.tied = circles(&files)
        .into_iter()
        .filter(|circle| circle.len() > 3)
        .collect();
    found
}

type Arrows = BTreeMap<String, BTreeSet<String>>;

/// The sets of places that reach each other.
fn circles(arrows: &Arrows) -> BTreeSet<Vec<String>> {
    let reached = |from: &String| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(place) = next.pop() {
            for to in arrows.get(place).into_iter().flatten() {
                if seen.insert(to.clone()) {
                    next.push(to);
                }
            }
        }
        seen
    };
    let all: BTreeMap<&String, BTreeSet<String>> =
        arrows.keys().map(|from| (from, reached(from))).collect();
    let together = |a: &String| -> Vec<String> {
        all[a]
            .iter()
            .filter(|b| all.get(b).is_some_and(|back| back.contains(a)))
            .cloned()
            .collect()
    };
    arrows
        .keys()
        .map(together)
        .filter(|circle| circle.len() > 1)
        .collect()
}

fn layer(file: &str) -> String {
    file.split('/')
        .next()
        .unwrap_or(file)
        .trim_end_matches(".rs")
        .to_owned()
}

fn rank(layer: &str) -> usize {
    LAYERS
        .iter()
        .position(|f| *f == layer)
        .unwrap_or_else(|| panic!("src/{layer} has no place among the layers"))
}

fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut files, mut folders) = (Vec::new(), vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") && path != root.join("lib.rs") {
                let name = path
                    .strip_prefix(&root)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .replace('\\', "/");
                files.push((name, std::fs::read_to_string(path).unwrap()));
            }
        }
    }
    files.push((
        "lib.rs".to_owned(),
        std::fs::read_to_string(root.join("lib.rs")).unwrap(),
    ));
    files.sort();
    files
}

#[test]
fn imports_point_down() {
    assert_eq!(find(&Tree::read(&sources())), Findings::default());
}

fn made(files: &[(&str, &str)]) -> Findings {
    find(&Tree::read(
        &files
            .iter()
            .map(|(f, t)| ((*f).to_owned(), (*t).to_owned()))
            .collect::<Vec<_>>(),
    ))
}

/// However an import is written, an arrow up is found; one that points down, or that only tests
/// have, is none.
#[test]
fn a_planted_arrow_is_found() {
    let with = |planted: &str| {
        made(&[
            (
                "lib.rs",
                "mod error; pub mod gpu; pub mod ops; pub use error::Error; pub use ops::sum;",
            ),
            ("error.rs", "pub struct Error;"),
            ("gpu/mod.rs", "mod memory; pub use memory::Tensor;"),
            ("gpu/memory.rs", planted),
            (
                "ops/mod.rs",
                "pub mod sum; use crate::gpu::Tensor; pub use sum::sum;",
            ),
            (
                "ops/sum.rs",
                "use crate::{Error, gpu::Tensor}; pub fn sum() {}",
            ),
        ])
    };
    for planted in [
        "use crate::ops::sum;",
        "pub use crate::{error::Error, ops::{sum::{self, sum as add}}};",
        "fn f() { crate::ops::sum::sum(); }",
        "fn f() { super::super::ops::sum(); }",
        "use crate::ops; fn f() { ops::sum::sum(); }",
        "mod inner { use super::super::super::ops::sum; }",
        "fn f() { let brace = '{'; let text = \"// }\"; crate::sum::sum(); }",
    ] {
        let up: Vec<_> = with(planted).up.into_keys().collect();
        assert_eq!(up, [("gpu".to_owned(), "ops".to_owned())], "{planted}");
    }
    for clean in [
        "use crate::Error; pub struct Tensor;",
        "// use crate::ops::sum;\nconst TEXT: &str = \"crate::ops::sum\"; use std::ops::Add;",
        "#[cfg(test)]\nmod tests { use crate::ops::sum; fn f() { if true { crate::ops::sum(); } } \
         }",
        "#[cfg(test)] use crate::ops::sum; fn f() {}",
    ] {
        assert_eq!(with(clean), Findings::default(), "{clean}");
    }
}

#[test]
fn circles_are_found() {
    let folders = made(&[
        ("gpu/mod.rs", "mod a; mod b; pub use a::x::X;"),
        ("gpu/a/mod.rs", "pub mod x;"),
        ("gpu/a/x.rs", "use crate::gpu::b::y::Y; pub struct X;"),
        ("gpu/b/mod.rs", "pub mod y;"),
        ("gpu/b/y.rs", "use crate::gpu::X; pub struct Y;"),
    ]);
    assert_eq!(
        folders.circles,
        BTreeSet::from([vec!["gpu/a".to_owned(), "gpu/b".to_owned()]])
    );
    let ring = |last: &str| {
        let last = format!("use super::{last}::T; pub struct T;");
        made(&[
            ("nn/mod.rs", "mod a; mod b; mod c; mod d; pub use a::T;"),
            ("nn/a.rs", "use super::b::T; pub struct T;"),
            ("nn/b.rs", "use super::c::T; pub struct T;"),
            ("nn/c.rs", "use super::d::T; pub struct T;"),
            ("nn/d.rs", &last),
        ])
    };
    assert_eq!(ring("a").tied.len(), 1);
    assert_eq!(ring("b").tied.len(), 0);
}

/// The sources as they are, with one import more.
#[test]
fn an_arrow_planted_into_the_sources_is_found() {
    let mut sources = sources();
    let before = find(&Tree::read(&sources));
    let file = sources
        .iter_mut()
        .find(|(file, _)| file == "autograd/mod.rs")
        .expect("the tape");
    file.1
        .push_str("\nfn planted() { let _ = crate::ops::linalg::matmul::matmul; }\n");
    let after = find(&Tree::read(&sources));
    let new: Vec<_> = after
        .up
        .keys()
        .filter(|arrow| !before.up.contains_key(arrow))
        .cloned()
        .collect();
    assert_eq!(new, [("autograd".to_owned(), "ops".to_owned())]);
}
