//! The binary interface: what `include/chord.h` declares against what was promised, and a program that was built long ago.
//!
//! `tests/abi/interface.txt` lists functions, types, values and the layout of records. What stands there stays as it is; what is
//! new is added by `CHORD_ABI=add cargo test --test abi`. Only records may grow, at their end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Output of the C compiler.
fn cc(arguments: &[&str]) -> String {
    let include = root().join("include");
    let output = Command::new("cc").arg("-std=c11").arg("-I").arg(include).args(arguments).output().expect("a C compiler");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// One space for any white space.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace("( ", "(")
}

/// The statements of preprocessed code.
fn statements(code: &str) -> Vec<String> {
    let mut depth = 0;
    let ends = |c: char| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ';' && depth == 0
    };
    code.split(ends).map(flat).collect()
}

/// The declarations of the header, a line each, and the fields of records.
fn declarations() -> (Vec<String>, BTreeMap<String, Vec<String>>) {
    let path = root().join("include/chord.h");
    let header = fs::read_to_string(&path).unwrap();
    let constants = header.lines().filter(|line| line.starts_with("#define CHORD_") && line.split(' ').count() > 2);
    // Versions change by themselves.
    let mut lines: Vec<String> = constants.filter(|line| !line.contains("_VERSION")).map(flat).collect();
    let mut records = BTreeMap::new();
    for statement in statements(&cc(&["-E", "-P", path.to_str().unwrap()])).into_iter().filter(|text| text.contains("chord_")) {
        match statement.split_once('{') {
            Some((head, body)) if head.starts_with("enum ") => {
                let values = body.trim_end_matches('}').split(',').map(flat).filter(|value| !value.is_empty());
                lines.extend(values.map(|value| format!("{}: {value}", head.trim())));
            }
            Some((_, body)) => {
                let (body, name) = body.split_once('}').expect("a record");
                let fields: Vec<String> = body.split(';').map(flat).filter(|field| !field.is_empty()).collect();
                lines.extend(fields.iter().map(|field| format!("{}: {field}", name.trim())));
                let field =
                    |field: &String| field.rsplit(' ').next().unwrap_or(field).split('[').next().unwrap_or(field).to_owned();
                records.insert(name.trim().to_owned(), fields.iter().map(field).collect());
            }
            None => lines.push(statement),
        }
    }
    (lines, records)
}

/// Sizes of the records, and where their fields lie.
fn layouts(records: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("abi");
    fs::create_dir_all(&folder).unwrap();
    let mut program = "#include <chord.h>\n#include <stdio.h>\nint main(void) {\n".to_owned();
    for (record, fields) in records {
        program += &format!("printf(\"sizeof {record} %zu\\n\", sizeof({record}));\n");
        for field in fields {
            let place = format!("offsetof({record}, {field}), sizeof((({record} *)0)->{field})");
            program += &format!("printf(\"offset of {record}.{field} %zu, size %zu\\n\", {place});\n");
        }
    }
    let source = folder.join("layouts.c");
    fs::write(&source, program + "return 0;\n}\n").unwrap();
    let binary = folder.join("layouts");
    cc(&[source.to_str().unwrap(), "-o", binary.to_str().unwrap()]);
    let output = Command::new(binary).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// The record and its size that a line speaks of.
fn size(line: &str) -> Option<(&str, usize)> {
    let (record, size) = line.strip_prefix("sizeof ")?.split_once(' ')?;
    Some((record, size.parse().ok()?))
}

/// The interface as it is.
fn interface() -> Vec<String> {
    let (mut lines, records) = declarations();
    assert!(lines.iter().any(|line| line.starts_with("chord_status chord_model_open(")), "the scan finds functions: {lines:#?}");
    assert!(lines.contains(&"enum chord_status: CHORD_OK = 0".to_owned()) && records.contains_key("chord_plan"), "{lines:#?}");
    lines.extend(layouts(&records));
    lines
}

#[test]
fn what_was_promised_is_kept() {
    let path = root().join("tests/abi/interface.txt");
    let promised = fs::read_to_string(&path).unwrap_or_default();
    let lines = interface();
    let now: BTreeSet<&str> = lines.iter().map(String::as_str).collect();
    let grown = |line: &str| {
        size(line)
            .is_some_and(|(record, old)| now.iter().filter_map(|line| size(line)).any(|(name, new)| name == record && new > old))
    };
    let broken: Vec<&str> = promised.lines().filter(|line| !now.contains(line) && !grown(line)).collect();
    assert!(broken.is_empty(), "programs that are built rely on these lines of tests/abi/interface.txt: {broken:#?}");
    let known: BTreeSet<&str> = promised.lines().collect();
    let new: Vec<&str> = now.iter().copied().filter(|line| !known.contains(line)).collect();
    if env::var_os("CHORD_ABI").is_some_and(|word| word == "add") {
        fs::write(&path, lines.join("\n") + "\n").unwrap();
    } else {
        assert!(new.is_empty(), "new in the interface; `CHORD_ABI=add cargo test --test abi` adds it for ever: {new:#?}");
    }
}

/// `tests/abi/first.c` as it was built against the first interface.
#[test]
#[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
fn the_first_program_still_runs() {
    let model = root().join("examples/models/chord-demo-q4_k_m.gguf");
    // Cargo puts the library that belongs to a test beside it, with a link of its SONAME.
    let libraries = env::current_exe().unwrap().parent().unwrap().to_path_buf();
    // As it stands: a copy that is just written can be busy, open for writing in a process that another test starts.
    let program = root().join("tests/abi/first-x86_64-linux-gnu");
    let output = Command::new(program).arg(model).env("LD_LIBRARY_PATH", libraries).output().expect("the program is executable");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.ends_with("4\n"), "the answer to what 2+2 is: {text}");
}

/// A library with debug information that has every function of a header, and does nothing.
fn stub(header: &Path, name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("abi");
    fs::create_dir_all(&folder).unwrap();
    let header = header.to_str().unwrap();
    let is_function = |text: &String| text.contains("chord_") && text.ends_with(')') && !text.starts_with("typedef");
    let functions = statements(&cc(&["-E", "-P", header])).into_iter().filter(is_function);
    let bodies: String = functions.map(|function| function + " { __builtin_trap(); }\n").collect();
    let (source, library) = (folder.join(format!("{name}.c")), folder.join(format!("{name}.so")));
    fs::write(&source, format!("#include \"{header}\"\n{bodies}")).unwrap();
    cc(&["-g", "-shared", "-fPIC", source.to_str().unwrap(), "-o", library.to_str().unwrap()]);
    library
}

/// The first interface against today's, by `abidiff` (libabigail) where it is installed: it follows types to their ends.
#[test]
fn abidiff_agrees() {
    let libraries =
        [("first", "tests/abi/first.h"), ("now", "include/chord.h")].map(|(name, header)| stub(&root().join(header), name));
    let grows = libraries[0].with_file_name("grows");
    let at_the_end =
        |record: &String| format!("[suppress_type]\ntype_kind = struct\nname = {record}\nhas_data_member_inserted_at = end\n");
    fs::write(&grows, declarations().1.keys().map(at_the_end).collect::<String>()).unwrap();
    let differences = |[old, new]: [&PathBuf; 2]| {
        let output =
            Command::new("abidiff").args(["--no-added-syms", "--suppressions"]).args([&grows, old, new]).output().ok()?;
        Some((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
    };
    let [first, now] = &libraries;
    let Some((same, report)) = differences([first, now]) else {
        return eprintln!("skipped: abidiff (libabigail) is not installed");
    };
    assert!(same, "{report}");
    // That it sees anything: today's interface has more than the first one.
    assert!(differences([now, first]).is_some_and(|(same, report)| !same && report.contains("Removed function")));
}
