//! Models rewritten in other ways that files have of saying the same: matrices whose size is left to a tensor of its own, as with
//! NVFP4 weights; matrices of latent attention in one, as DeepSeek's were at first.

mod common;

use chord::gguf::{File, Item, TensorInfo, Writer};
use chord::model::{Model, ModelOptions};
use chord::session::{Session, SessionOptions};
use chord::tensor::Dtype;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn logits(bytes: &[u8]) -> Vec<f32> {
    let mut options = ModelOptions::default();
    options.set_copy(true);
    // SAFETY: a slice.
    let model = unsafe { Model::open_memory(bytes.as_ptr(), bytes.len(), &options) }.unwrap();
    let mut session = Session::new(Arc::clone(&model), &SessionOptions::default()).unwrap();
    session.append(&(3..23).collect::<Vec<_>>()).unwrap();
    session.eval().unwrap();
    session.logits().unwrap().to_vec()
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

/// The model with keys and values of latent attention expanded by one matrix.
fn joined(file: &File) -> Vec<u8> {
    let number = |key: &str| u64::from(file.metadata().u32(&format!("deepseek2.{key}")).unwrap().unwrap());
    let (key, value, rotated) =
        (number("attention.key_length_mla"), number("attention.value_length_mla"), number("rope.dimension_count"));
    let (heads, rank, plain) = (number("attention.head_count"), number("attention.kv_lora_rank"), key - rotated);
    let mut writer = Writer::new();
    for (name, item) in file.metadata().iter().filter(|(name, _)| !name.contains("_length")) {
        writer.pair(name, Item::Copy(item)).unwrap();
    }
    for name in ["context_length", "embedding_length", "feed_forward_length", "expert_feed_forward_length"] {
        writer.pair(&format!("deepseek2.{name}"), Item::U32(number(name) as u32)).unwrap();
    }
    writer.pair("deepseek2.attention.key_length", Item::U32(key as u32)).unwrap();
    writer.pair("deepseek2.attention.value_length", Item::U32(value as u32)).unwrap();
    let mut tensors = Vec::new();
    for tensor in file.tensors().iter().filter(|tensor| !tensor.name.contains("attn_v_b")) {
        if tensor.name.contains("attn_k_b") {
            let name = tensor.name.replace("attn_k_b", "attn_kv_b");
            writer.tensor(&name, tensor.dtype, &[rank, heads * (plain + value)]).unwrap();
        } else {
            writer.tensor(&tensor.name, tensor.dtype, &tensor.dims).unwrap();
        }
        tensors.push(tensor);
    }
    let element = |tensor: &TensorInfo, index: u64| file.data(tensor).as_chunks::<2>().0[index as usize];
    let mut bytes = Vec::new();
    let write = |index: usize, out: &mut dyn std::io::Write| {
        let tensor = tensors[index];
        if !tensor.name.contains("attn_k_b") {
            return out.write_all(file.data(tensor));
        }
        assert_eq!((tensor.dtype, tensor.dims.as_slice()), (Dtype::F16, &[plain, rank, heads][..]));
        let values = file.tensor(&tensor.name.replace("attn_k_b", "attn_v_b")).unwrap();
        (0..heads * (plain + value) * rank).try_for_each(|at| {
            let (head, row, column) = (at / rank / (plain + value), at / rank % (plain + value), at % rank);
            out.write_all(&match row.checked_sub(plain) {
                None => element(tensor, (head * rank + column) * plain + row),
                Some(row) => element(values, (head * value + row) * rank + column),
            })
        })
    };
    writer.write(&mut bytes, write).unwrap();
    bytes
}

#[test]
fn latent_attention_is_the_same_from_one_matrix() {
    let Some(folder) = common::conformance("models") else { return };
    let path = folder.join("deepseek2.gguf");
    let (split, joined) = (logits(&std::fs::read(&path).unwrap()), logits(&joined(&File::open(&path).unwrap())));
    let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
    let error = norm(&mut split.iter().zip(&joined).map(|(a, b)| a - b)) / norm(&mut split.iter().copied());
    assert!(error < 1e-3, "{error:e}");
    assert!(split != joined, "the other way was not taken");
}
