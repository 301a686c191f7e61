//! `include/chord.h` is generated, complete and documented.

use std::{env, fs};

const HEADER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/include/chord.h");

/// Names of the functions that the header declares.
fn functions(header: &str) -> Vec<&str> {
    header
        .lines()
        .filter(|line| !line.starts_with([' ', '/', '#', '}']) && !line.starts_with("typedef"))
        .filter_map(|line| line.split_once('(').map(|(before, _)| before.rsplit([' ', '*']).next().unwrap_or(before)))
        .filter(|name| name.starts_with("chord_"))
        .collect()
}

#[test]
fn committed_header_is_the_generated_one() {
    let generated = fs::read_to_string(concat!(env!("OUT_DIR"), "/chord.h")).unwrap();
    let committed = fs::read_to_string(HEADER).unwrap_or_default();
    assert!(
        committed == generated,
        "include/chord.h is not what src/ffi says; to mend it: touch build.rs && env -u CI cargo build, then commit the file"
    );
}

#[test]
fn every_item_is_documented_and_every_function_is_misused_in_a_test() {
    let header = fs::read_to_string(HEADER).unwrap();
    let functions = functions(&header);
    assert!(functions.len() > 5 && functions.contains(&"chord_error_message"), "the scan finds functions: {functions:?}");
    // About 80 functions were planned; quantizing, answers and embeddings came on top.
    assert!(functions.len() <= 103, "{} functions: the budget is 100", functions.len());
    let lines: Vec<_> = header.lines().collect();
    for (above, line) in lines.iter().zip(&lines[1..]) {
        let declares = functions.iter().any(|name| line.contains(&format!("{name}(")) && !line.starts_with([' ', '/']))
            || line.starts_with("enum ")
            || line.starts_with("typedef struct ")
            || line.trim_start().starts_with("CHORD_");
        assert!(!declares || above.trim_end().ends_with("*/"), "no documentation above: {line}");
    }
    let misuse = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/c/misuse.c")).unwrap();
    for name in functions {
        assert!(misuse.contains(&format!("{name}(")), "tests/c/misuse.c does not call {name}");
    }
}
