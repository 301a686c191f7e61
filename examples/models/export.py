"""Writes a trained demo model as a GGUF file in F16: python export.py TRAINING_FOLDER OUTPUT.gguf.

The layout is GGUF version 3: header, metadata, tensor directory, aligned data; shapes are written fastest dimension first.
Rotary pairs are neighbours in training already, so no weight is permuted.
"""

import json
import os
import struct
import sys

import torch

from vocabulary import BOS, END, UNK, Vocabulary

ALIGNMENT = 32
U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
TENSOR_F32, TENSOR_F16 = 0, 1
TEMPLATE = ("{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] | trim }}<|end|>{% endfor %}"
            "{% if add_generation_prompt %}<|assistant|>{% endif %}")


def string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def value(kind, content):
    if kind == STRING:
        return string(content)
    return struct.pack({U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}[kind], content)


def entry(key, kind, content, element=None):
    """One metadata entry; `element` is the type of an array's elements."""
    head = string(key) + struct.pack("<I", kind)
    if kind != ARRAY:
        return head + value(kind, content)
    return head + struct.pack("<IQ", element, len(content)) + b"".join(value(element, item) for item in content)


def metadata(shape, vocabulary):
    return [
        entry("general.architecture", STRING, "llama"),
        entry("general.type", STRING, "model"),
        entry("general.name", STRING, "libchord demo"),
        entry("general.description", STRING, "Small sums, counting, days, months, opposites and short stories, learned from a synthetic corpus"),
        entry("general.organization", STRING, "libchord"),
        entry("general.license", STRING, "MIT OR Apache-2.0"),
        entry("general.languages", ARRAY, ["en"], STRING),
        entry("general.size_label", STRING, "2.5M"),
        entry("general.file_type", U32, 1),
        entry("general.quantization_version", U32, 2),
        entry("llama.vocab_size", U32, shape["vocabulary"]),
        entry("llama.context_length", U32, shape["context"]),
        entry("llama.embedding_length", U32, shape["width"]),
        entry("llama.block_count", U32, shape["layers"]),
        entry("llama.feed_forward_length", U32, shape["hidden"]),
        entry("llama.attention.head_count", U32, shape["heads"]),
        entry("llama.attention.head_count_kv", U32, shape["kv_heads"]),
        entry("llama.attention.key_length", U32, shape["head_size"]),
        entry("llama.attention.value_length", U32, shape["head_size"]),
        entry("llama.attention.layer_norm_rms_epsilon", F32, shape["epsilon"]),
        entry("llama.rope.dimension_count", U32, shape["head_size"]),
        entry("llama.rope.freq_base", F32, shape["rope_base"]),
        entry("tokenizer.ggml.model", STRING, "llama"),
        entry("tokenizer.ggml.pre", STRING, "default"),
        entry("tokenizer.ggml.tokens", ARRAY, vocabulary.pieces, STRING),
        entry("tokenizer.ggml.scores", ARRAY, vocabulary.scores, F32),
        entry("tokenizer.ggml.token_type", ARRAY, vocabulary.types, I32),
        entry("tokenizer.ggml.unknown_token_id", U32, UNK),
        entry("tokenizer.ggml.bos_token_id", U32, BOS),
        entry("tokenizer.ggml.eos_token_id", U32, END),
        entry("tokenizer.ggml.eot_token_id", U32, END),
        entry("tokenizer.ggml.add_bos_token", BOOL, True),
        entry("tokenizer.ggml.add_eos_token", BOOL, False),
        entry("tokenizer.ggml.add_space_prefix", BOOL, False),
        entry("tokenizer.chat_template", STRING, TEMPLATE),
    ]


def pad(length):
    return -length % ALIGNMENT


def main():
    folder, output = sys.argv[1:]
    checkpoint = torch.load(os.path.join(folder, "checkpoint.pt"), weights_only=True)
    vocabulary = Vocabulary.load(os.path.join(folder, "merges.json"))
    directory, data = b"", bytearray()
    for name, tensor in checkpoint["weights"].items():
        matrix = tensor.dim() == 2
        dims = list(reversed(tensor.shape))
        directory += string(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, TENSOR_F16 if matrix else TENSOR_F32, len(data))
        data += (tensor.half() if matrix else tensor.float()).contiguous().numpy().tobytes()
        data += bytes(pad(len(data)))
    entries = metadata(checkpoint["shape"], vocabulary)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(checkpoint["weights"]), len(entries)) + b"".join(entries) + directory
    with open(output, "wb") as file:
        file.write(head + bytes(pad(len(head))) + data)


if __name__ == "__main__":
    main()
