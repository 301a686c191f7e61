//! Modules know only what stands left of them: `source layout` in the README.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// The pipeline, left to right. Modules of one group may use each other, but never both ways.
const GROUPS: &[&[&str]] = &[
    &["error", "cpu", "tensor"],
    &["gguf", "quant"],
    &["kernels"],
    &["threads", "ops"],
    &["arch", "kv"],
    &["tokenizer", "grammar", "sampling", "chat"],
    &["model"],
    &["session"],
    &["ffi"],
];

fn group(module: &str) -> Option<usize> {
    GROUPS.iter().position(|group| group.contains(&module))
}

fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(path);
        }
    }
}

/// Names after `crate::`, in groups `crate::{a, b::c}` too. Unit tests may look anywhere; they stand last in a file.
fn imports(source: &str) -> Vec<String> {
    let code = source.split("#[cfg(test)]\nmod ").next().unwrap_or(source);
    let code: String = code.lines().map(|line| line.split("//").next().unwrap_or(line)).collect::<Vec<_>>().join("\n");
    let name = |text: &str| text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut names = Vec::new();
    for after in code.split("crate::").skip(1) {
        match after.strip_prefix('{') {
            Some(list) => {
                let mut depth = 0;
                let top = list.split(|c| {
                    depth += i32::from(c == '{') - i32::from(c == '}');
                    depth < 0 || (depth == 0 && c == ',')
                });
                names.extend(top.map(name).take_while(|name| !name.is_empty()));
            }
            None => names.push(name(after)),
        }
    }
    names
}

#[test]
fn imports_go_one_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut edges = BTreeSet::new();
    for file in files {
        let inside = file.strip_prefix(&root).unwrap();
        let module = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        if module == "lib" || inside.file_stem().is_some_and(|stem| stem == "tests" || stem == "check") {
            continue;
        }
        let rank = group(&module).unwrap_or_else(|| panic!("module {module} is in no group"));
        for name in imports(&fs::read_to_string(&file).unwrap()) {
            // What is no module is a macro or an item of lib.rs.
            let Some(other) = group(&name) else { continue };
            assert!(other <= rank, "{} imports crate::{name}, which stands right of it", inside.display());
            if name != module {
                edges.insert((module.clone(), name));
            }
        }
    }
    assert!(edges.contains(&("ffi".into(), "error".into())), "the scan finds what is there");
    for (from, to) in &edges {
        assert!(!edges.contains(&(to.clone(), from.clone())), "{from} and {to} import each other");
    }
}

#[test]
fn the_scan_sees_every_form() {
    let source = "use crate::error::{Error, Result};\nuse crate::{cpu::Level, gguf::{self, File}, quant};\n\
                  // crate::ffi is only talk\nfn f() -> crate::model::Model {}\n#[cfg(test)]\nmod tests { use crate::session; }";
    assert_eq!(imports(source), ["error", "cpu", "gguf", "quant", "model"]);
}
