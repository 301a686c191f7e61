//! Matrices whose size is left to a tensor of its own, as files of NVFP4 weights have it.

mod common;

use chord::gguf::{File, Item, TensorInfo, Writer};
use chord::model::{Model, ModelOptions};
use chord::session::{Session, SessionOptions};
use chord::tensor::Dtype;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn logits(bytes: &[u8]) -> Vec<u32> {
    let mut options = ModelOptions::default();
    options.set_copy(true);
    // SAFETY: a slice.
    let model = unsafe { Model::open_memory(bytes.as_ptr(), bytes.len(), &options) }.unwrap();
    let mut session = Session::new(Arc::clone(&model), &SessionOptions::default()).unwrap();
    session.append(&(3..23).collect::<Vec<_>>()).unwrap();
    session.eval().unwrap();
    session.logits().unwrap().iter().map(|logit| logit.to_bits()).collect()
}

/// How many scales a tensor of F16 weights has: one for each of its matrices.
fn scales(tensor: &TensorInfo) -> Option<u64> {
    let scaled = tensor.name.starts_with("blk") && tensor.name.ends_with(".weight") && tensor.dtype == Dtype::F16;
    match *tensor.dims.as_slice() {
        [_, _] if scaled => Some(1),
        [_, _, count] if scaled => Some(count),
        _ => None,
    }
}

/// The model with matrices that are twice, four or eight times as great, and scales that make up for it, times `more`.
fn scaled(file: &File, more: f32) -> Vec<u8> {
    let mut writer = Writer::new();
    for (key, value) in file.metadata().iter() {
        writer.pair(key, Item::Copy(value)).unwrap();
    }
    let factor = |matrix: u64| (2 << (matrix % 3)) as f32;
    let with_scales: Vec<_> = file.tensors().iter().filter_map(|tensor| Some((tensor, scales(tensor)?))).collect();
    for tensor in file.tensors() {
        writer.tensor(&tensor.name, tensor.dtype, &tensor.dims).unwrap();
    }
    for (tensor, count) in &with_scales {
        writer.tensor(&tensor.name.replace(".weight", ".scale"), Dtype::F32, &[*count]).unwrap();
    }
    let mut bytes = Vec::new();
    let write = |index: usize, out: &mut dyn std::io::Write| match file.tensors().get(index) {
        None => {
            let (_, count) = with_scales[index - file.tensors().len()];
            (0..count).try_for_each(|matrix| out.write_all(&(more / factor(matrix)).to_le_bytes()))
        }
        Some(tensor) => match scales(tensor) {
            None => out.write_all(file.data(tensor)),
            Some(count) => {
                let data = file.data(tensor);
                let each = data.len() / count as usize;
                data.chunks(each).zip(0..).try_for_each(|(data, matrix)| {
                    data.as_chunks().0.iter().try_for_each(|&weight| {
                        let weight = half::f16::from_le_bytes(weight).to_f32() * factor(matrix);
                        out.write_all(&half::f16::from_f32(weight).to_le_bytes())
                    })
                })
            }
        },
    };
    writer.write(&mut bytes, write).unwrap();
    bytes
}

#[test]
fn scales_of_matrices_and_experts_multiply() {
    let mut files: Vec<PathBuf> = ["gpt2", "glm4"]
        .map(|name| Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/reference/models/{name}.gguf")))
        .into();
    // These have experts.
    files.extend(
        common::conformance("models").into_iter().flat_map(|folder| ["gpt-oss", "qwen2moe"].map(|name| folder.join(name))),
    );
    for path in files {
        let path = path.with_extension("gguf");
        let file = File::open(&path).unwrap();
        let plain = logits(&std::fs::read(&path).unwrap());
        assert!(logits(&scaled(&file, 1.0)) == plain, "{}", path.display());
        assert!(logits(&scaled(&file, 1.5)) != plain, "{}: scales are ignored", path.display());
    }
}
