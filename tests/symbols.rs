//! The libraries export the functions of the header and need nothing but the operating system.
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

/// Where cargo put the library that belongs to this test.
fn library(name: &str) -> PathBuf {
    env::current_exe().unwrap().with_file_name(name)
}

fn readelf(option: &str, file: &str) -> String {
    let path = library(file);
    let output = Command::new("readelf").args([option, "-W"]).arg(&path).output().expect("readelf (binutils) is installed");
    assert!(output.status.success(), "readelf {}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Names of the symbols that are global and defined.
fn defined(table: &str) -> BTreeSet<String> {
    let symbols = table.lines().filter_map(|line| {
        // Num: Value Size Type Bind Vis Ndx Name
        let fields: Vec<_> = line.split_whitespace().collect();
        let [_, _, _, _, bind, _, section, name, ..] = fields[..] else { return None };
        (matches!(bind, "GLOBAL" | "WEAK") && section != "UND").then(|| name.split('@').next().unwrap_or(name).to_owned())
    });
    symbols.collect()
}

fn declared() -> BTreeSet<String> {
    let header = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/include/chord.h")).unwrap();
    let declarations = header.lines().filter(|line| !line.starts_with([' ', '/', '#', '}']) && !line.starts_with("typedef"));
    declarations.filter_map(|line| Some(line.split_once('(')?.0.rsplit([' ', '*']).next()?.to_owned())).collect()
}

#[test]
fn shared_library_exports_the_header_and_nothing_else() {
    assert!(declared().contains("chord_version"));
    assert_eq!(defined(&readelf("--dyn-syms", "libchord.so")), declared());
}

#[test]
fn static_library_has_every_function() {
    let symbols = defined(&readelf("--syms", "libchord.a"));
    let ours: BTreeSet<_> = symbols.into_iter().filter(|name| name.starts_with("chord_")).collect();
    assert_eq!(ours, declared());
}

#[test]
fn shared_library_needs_only_the_system() {
    let dynamic = readelf("--dynamic", "libchord.so");
    let value = |line: &str| line.split(['[', ']']).nth(1).unwrap_or_default().to_owned();
    let needed: Vec<_> = dynamic.lines().filter(|line| line.contains("(NEEDED)")).map(value).collect();
    let system = ["libc.so.", "libm.so.", "libgcc_s.so.", "ld-linux"];
    assert!(!needed.is_empty() && needed.iter().all(|name| system.iter().any(|known| name.starts_with(known))), "{needed:?}");
    let soname = dynamic.lines().find(|line| line.contains("(SONAME)")).map(value);
    assert_eq!(soname, Some(format!("libchord.so.{}", env!("CHORD_ABI_VERSION"))));
}
