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

#[test]
fn c_tests_pass_with_both_libraries() {
    let build = Path::new(env!("CARGO_TARGET_TMPDIR")).join("c");
    fs::create_dir_all(&build).unwrap();
    // Cargo puts the libraries that belong to a test beside it.
    let library = env::current_exe().unwrap().parent().unwrap().to_path_buf();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
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
