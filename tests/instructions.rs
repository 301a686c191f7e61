//! Which instructions the library has, and where: each level's own in the functions of that level, and no wide vectors anywhere
//! else, so that a processor without them never meets one.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::collections::BTreeSet;
use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// A level's module, the instructions that its products are made of, and what of its instructions lesser levels lack.
const LEVELS: [(&str, &[&str], &str); 3] = [
    ("avx2", &["vpmaddubsw", "vfmadd"], "%ymm"),
    ("avx512", &["vpdpbusd", "vpdpwssd", "vfmadd"], "%zmm"),
    ("amx", &["tdpbssd", "tdpbsud"], "%tmm"),
];

/// Dependencies that ask the processor before they use wide vectors.
const OTHERS: [&str; 1] = ["memchr"];

/// The level whose module a function is in, by its mangled name.
fn level(function: &str) -> Option<usize> {
    let name = ["kernels6x86_64", "kernels..x86_64.."].iter().find_map(|path| function.split_once(path))?.1;
    let name = name.trim_start_matches(|c: char| c.is_ascii_digit());
    // Longer names first: one begins with another's letters.
    (0..LEVELS.len()).rev().find(|&level| name.starts_with(LEVELS[level].0))
}

#[test]
fn instructions_of_levels_are_in_functions_of_levels() {
    let library = env::current_exe().unwrap().with_file_name("libchord.so");
    let mut objdump = Command::new("objdump")
        .args(["--disassemble", "--no-show-raw-insn"])
        .arg(&library)
        .stdout(Stdio::piped())
        .spawn()
        .expect("objdump (binutils) is installed");
    let mut function = String::new();
    let mut at = None;
    let mut counts = LEVELS.map(|(_, instructions, _)| vec![0; instructions.len()]);
    let mut strays = BTreeSet::new();
    for line in BufReader::new(objdump.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some(name) = line.strip_suffix(">:") {
            function = name.split_once('<').map_or(name, |(_, name)| name).to_owned();
            at = level(&function);
            continue;
        }
        let Some((_, instruction)) = line.split_once('\t') else { continue };
        if let Some(level) = at {
            for (count, name) in counts[level].iter_mut().zip(LEVELS[level].1) {
                *count += usize::from(instruction.starts_with(name));
            }
        }
        let needs = LEVELS.iter().rposition(|(.., registers)| instruction.contains(registers));
        if needs > at && !OTHERS.iter().any(|other| function.contains(other)) {
            strays.insert(function.clone());
        }
    }
    assert!(objdump.wait().unwrap().success());
    assert!(strays.is_empty(), "wide vectors outside of their level: {strays:#?}");
    for ((level, instructions, _), counts) in LEVELS.iter().zip(&counts) {
        eprintln!("{level}: {instructions:?} {counts:?} times");
        assert!(counts.iter().all(|&count| count > 0), "{level} lacks {instructions:?}: {counts:?}");
    }
}
