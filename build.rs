//! Generates `include/chord.h` from the functions in `src/ffi`, and names the shared library.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// The binary interface: in the SONAME, in the header, and what `chord_abi_version` returns. It grows when a program
/// linked to an older library might not run on this one.
const ABI_VERSION: u32 = 0;

/// The modules of the C API, in the order of the header.
const MODULES: &[&str] = &[
    "version",
    "error",
    "model_options",
    "model",
    "model_info",
    "chat",
    "session_options",
    "plan",
    "session",
    "answer",
    "quantize",
    "handles",
];

fn main() {
    let root = PathBuf::from(var("CARGO_MANIFEST_DIR"));
    let out = PathBuf::from(var("OUT_DIR"));
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=cbindgen.toml");
    println!("cargo::rerun-if-changed=src/ffi");
    println!("cargo::rerun-if-changed=include/chord.h");
    println!("cargo::rustc-env=CHORD_ABI_VERSION={ABI_VERSION}");
    name_library(&out);

    let header = generate(&root);
    fs::write(out.join("chord.h"), &header).expect("OUT_DIR is writable");
    // The committed header follows the source on a developer's machine. A package being verified may not change its own
    // source, and a build server must see the committed header: there, `tests/header.rs` finds the difference.
    let in_package = root.components().any(|part| part.as_os_str() == "package");
    if env::var_os("CI").is_none() && !in_package {
        // A source tree that cannot be written is no reason to fail.
        let _ = replace(&root.join("include/chord.h"), &header);
    }
}

fn var(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"))
}

fn generate(root: &Path) -> Vec<u8> {
    let mut config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("cbindgen.toml is valid");
    let [major, minor, patch] = ["MAJOR", "MINOR", "PATCH"].map(|part| var(&format!("CARGO_PKG_VERSION_{part}")));
    config.after_includes = Some(format!(
        "\n/** The release this header belongs to; chord_version() tells the release of the library. */\n\
         #define CHORD_VERSION_MAJOR {major}\n\
         #define CHORD_VERSION_MINOR {minor}\n\
         #define CHORD_VERSION_PATCH {patch}\n\n\
         /** The binary interface this header belongs to; see chord_abi_version(). */\n\
         #define CHORD_ABI_VERSION {ABI_VERSION}"
    ));
    let builder = cbindgen::Builder::new().with_config(config);
    let builder = MODULES.iter().fold(builder, |builder, module| builder.with_src(root.join(format!("src/ffi/{module}.rs"))));
    let mut header = Vec::new();
    builder.generate().expect("src/ffi is what cbindgen can read").write(&mut header);
    one_line_comments(&String::from_utf8(header).expect("sources are UTF-8")).into_bytes()
}

/// Puts comments that fit one line on one line; cbindgen spends three on each.
fn one_line_comments(header: &str) -> String {
    let lines: Vec<_> = header.lines().collect();
    let mut out = String::with_capacity(header.len());
    let mut i = 0;
    while i < lines.len() {
        if let [open, text, close, ..] = lines[i..]
            && open.trim() == "/**"
            && close.trim() == "*/"
        {
            let indent = open.len() - open.trim_start().len();
            out += &format!("{}/** {} */\n", &open[..indent], text.trim().trim_start_matches('*').trim());
            i += 3;
        } else {
            out += lines[i];
            out.push('\n');
            i += 1;
        }
    }
    out
}

/// Writes `bytes` to `path` if it holds something else.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    fs::create_dir_all(path.parent().unwrap_or(path))?;
    let new = path.with_extension("h.new");
    fs::write(&new, bytes)?;
    fs::rename(new, path)
}

/// Gives the shared library its SONAME, and puts the link of that name where cargo puts the library, so that a program
/// linked against `target/release` also runs.
fn name_library(out: &Path) {
    let file = format!("libchord.so.{ABI_VERSION}");
    match env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("linux" | "android" | "freebsd") => {
            println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,{file}");
            #[cfg(unix)]
            if let Some(profile) = out.ancestors().nth(3) {
                // It may be there already, and nothing of the build depends on it.
                for folder in [profile.to_path_buf(), profile.join("deps")] {
                    let _ = std::os::unix::fs::symlink("libchord.so", folder.join(&file));
                }
            }
        }
        Ok("macos") => println!("cargo::rustc-cdylib-link-arg=-Wl,-install_name,@rpath/libchord.{ABI_VERSION}.dylib"),
        _ => {}
    }
}
