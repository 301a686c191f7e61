//! Builds the C tests and the examples against both libraries with CMake and runs them with CTest.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn run(command: &mut Command) {
    // Cargo adds its folders, where an older build of the library may lie.
    let output = command.env_remove("LD_LIBRARY_PATH").output().unwrap_or_else(|error| {
        panic!("cannot run {:?} ({error}); `sh tests/run` installs what the tests need", command.get_program())
    });
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{stdout}");
    assert!(output.status.success(), "{command:?} failed:\n{stdout}\n{stderr}");
}

/// The project's demo model; a model of the conformance data where that is the only one.
fn model() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let demo = root.join("examples/models/chord-demo-q4_k_m.gguf");
    let data = env::var_os("CHORD_CONFORMANCE").map_or_else(|| root.join("../shared/conformance"), PathBuf::from);
    let reference = data.join("models/llama3.gguf");
    if demo.exists() || !reference.exists() { demo } else { reference }
}

/// What the header declares: return type, name, types of parameters.
fn declarations(header: &str) -> Vec<(String, String, Vec<String>)> {
    let mut code = String::new();
    let mut rest = header;
    while let Some((before, comment)) = rest.split_once("/*") {
        code += before;
        rest = comment.split_once("*/").map_or("", |(_, after)| after);
    }
    code += rest;
    let lines =
        code.lines().map(|line| line.split("//").next().unwrap_or_default()).filter(|line| !line.trim_start().starts_with('#'));
    let code = lines.collect::<Vec<_>>().join(" ");
    // Functions begin behind the last type.
    let functions = code.rsplit('}').find(|part| part.contains("chord_version(")).expect("the header has functions");
    let type_of = |parameter: &str| {
        let words = parameter.trim().trim_end_matches(|char: char| char.is_alphanumeric() || char == '_').trim().to_owned();
        if words.is_empty() { parameter.trim().to_owned() } else { words }
    };
    let declaration = |statement: &str| {
        let (head, parameters) = statement.trim().split_once('(')?;
        let at = head.rfind(|char: char| !(char.is_alphanumeric() || char == '_')).map_or(0, |at| at + 1);
        let types: Vec<_> = parameters.trim_end_matches(')').split(',').map(type_of).filter(|of| of != "void").collect();
        head[at..].starts_with("chord_").then(|| (head[..at].trim().to_owned(), head[at..].to_owned(), types))
    };
    functions.split(';').filter_map(declaration).collect()
}

/// The table of functions that `calls.c` goes through.
fn table(header: &str) -> String {
    let mut text = "/* Made of include/chord.h by tests/c_api.rs: commit it as it is. */\n".to_owned();
    let mut entries = String::new();
    for (returns, name, types) in declarations(header) {
        let argument = |(i, of): (usize, &String)| {
            let field = match of.as_str() {
                of if of.ends_with('*') => "pointer",
                "float" => "real",
                of if of.ends_with("_callback") || of.ends_with("_function") => "function",
                _ => "number",
            };
            if of == "bool" { format!("v[{i}].{field} != 0") } else { format!("({of})v[{i}].{field}") }
        };
        let arguments: Vec<_> = types.iter().enumerate().map(argument).collect();
        let call = format!("{name}({})", arguments.join(", "));
        let body = match returns.as_str() {
            "void" => format!("{call};\n    return 0;"),
            of if of.ends_with('*') => format!("return (int64_t)(intptr_t){call};"),
            _ => format!("return (int64_t){call};"),
        };
        let unused = if types.is_empty() { "    (void)v;\n" } else { "" };
        text += &format!("\nstatic int64_t call_{name}(const union value *v)\n{{\n{unused}    {body}\n}}\n");
        let status = returns == "chord_status" && name != "chord_error_status";
        let types: Vec<_> = types.iter().map(|of| format!("\"{of}\"")).collect();
        entries += &format!("    {{\"{name}\", call_{name}, {status}, {}, {{{}}}}},\n", types.len(), types.join(", ").as_str());
    }
    text + &format!("\nstatic const struct function functions[] = {{\n{}}};\n", entries.replace(", {}}", ", {0}}"))
}

#[test]
fn c_tests_pass_with_both_libraries() {
    let build = Path::new(env!("CARGO_TARGET_TMPDIR")).join("c");
    fs::create_dir_all(&build).unwrap();
    // Cargo puts the libraries that belong to a test beside it.
    let library = env::current_exe().unwrap().parent().unwrap().to_path_buf();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let header = fs::read_to_string(source.join("../include/chord.h")).unwrap();
    let (table, path) = (table(&header), source.join("c/calls.inc"));
    if fs::read_to_string(&path).is_ok_and(|old| old != table) || !path.exists() {
        assert!(
            env::var_os("CI").is_none(),
            "tests/c/calls.inc is not that of the header: run `cargo test --test c_api` and commit it"
        );
        fs::write(&path, table).unwrap();
    }
    run(Command::new("cmake")
        .arg("-S")
        .arg(source)
        .arg("-B")
        .arg(&build)
        .args([format!("-DCHORD_LIBRARY_DIR={}", library.display()), format!("-DCHORD_MODEL={}", model().display())]));
    run(Command::new("cmake").arg("--build").arg(&build).args(["--parallel", "2"]));
    run(Command::new("ctest").arg("--test-dir").arg(&build).args(["--output-on-failure", "--no-tests=error"]));
}

#[test]
fn readme_shows_the_first_chat_in_at_most_40_lines() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = fs::read_to_string(root.join("examples/hello.c")).unwrap();
    assert!(program.lines().count() <= 40, "{} lines", program.lines().count());
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    assert!(readme.contains(&format!("```c\n{program}```")), "README.md does not show examples/hello.c as it is");
}
