#!/usr/bin/env python3
"""Writes the models of the folder models/ beside this file: tiny random models of architectures, converted to GGUF, with the logits of
their original implementation in transformers.

    pip install torch "transformers==4.57.6" numpy
    python models.py [NAME ...]

NAME.gguf holds F16 matrices and F32 vectors, NAME.ids.npy 40 token ids, NAME.logits.npy the logits after each of them.
"""

import struct
import sys
from pathlib import Path

import numpy as np
import torch
import transformers as hf

WIDTH, LAYERS, HEADS, KV_HEADS, HIDDEN, VOCAB, CONTEXT = 64, 4, 4, 2, 96, 160, 128
TOKENS = 40
FOLDER = Path(__file__).resolve().parent / "models"


def string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def write_gguf(path, pairs, tensors):
    """Pairs of keys and int, float, bool or str; names and arrays of tensors."""
    out = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(pairs))]
    for key, value in pairs.items():
        if isinstance(value, bool):
            out.append(string(key) + struct.pack("<I?", 7, value))
        elif isinstance(value, int):
            out.append(string(key) + struct.pack("<II", 4, value))
        elif isinstance(value, float):
            out.append(string(key) + struct.pack("<If", 6, value))
        else:
            out.append(string(key) + struct.pack("<I", 8) + string(value))
    data, offset = [], 0
    for name, array in tensors.items():
        array = np.ascontiguousarray(array, np.float32 if array.ndim == 1 else np.float16)
        out.append(string(name) + struct.pack("<I", array.ndim) + struct.pack(f"<{array.ndim}Q", *reversed(array.shape)))
        out.append(struct.pack("<IQ", 0 if array.ndim == 1 else 1, offset))
        data.append(array.tobytes() + bytes(-array.nbytes % 32))
        offset += len(data[-1])
    head = b"".join(out)
    path.write_bytes(head + bytes(-len(head) % 32) + b"".join(data))


class Model:
    """A random model and its way into a GGUF file."""

    def __init__(self, name, network, keys, names, outer, split=None, transposed=False):
        self.name, self.network, self.keys, self.names, self.outer = name, network, keys, names, outer
        self.split, self.transposed = split, transposed

    def write(self):
        network = self.network.eval().float()
        # Matrices are what F16 holds, so that the file and the reference have the same; nothing is symmetric or 1.
        with torch.no_grad():
            for parameter in network.parameters():
                if parameter.ndim == 1:
                    parameter.add_(torch.randn_like(parameter) * 0.1)
                else:
                    parameter.copy_(torch.randn_like(parameter) * (1.0 / WIDTH**0.5))
                    parameter.copy_(parameter.half().float())
        ids = torch.randint(0, VOCAB, (TOKENS,))
        with torch.no_grad():
            logits = network(ids[None]).logits[0].numpy().astype(np.float32)
        state, tensors = {key: value.numpy() for key, value in network.state_dict().items()}, {}
        for source, target in self.outer.items():
            if source in state:
                tensors[target] = state[source]
        for layer in range(LAYERS):
            for source, target in self.names.items():
                for kind in ("weight", "bias"):
                    key = f"{source.format(layer)}.{kind}"
                    if key in state:
                        array = state[key]
                        if self.transposed and array.ndim == 2:
                            array = array.T
                        if self.split and target == "attn_qkv":
                            array = self.split(array)
                        tensors[f"blk.{layer}.{target}.{kind}"] = array
        arch = self.keys.pop("architecture")
        pairs = {"general.architecture": arch}
        pairs |= {
            f"{arch}.block_count": LAYERS,
            f"{arch}.context_length": CONTEXT,
            f"{arch}.embedding_length": WIDTH,
            f"{arch}.attention.head_count": HEADS,
        }
        pairs |= {f"{arch}.{key}": value for key, value in self.keys.items()}
        write_gguf(FOLDER / f"{self.name}.gguf", pairs, tensors)
        np.save(FOLDER / f"{self.name}.ids.npy", ids.numpy().astype(np.int32))
        np.save(FOLDER / f"{self.name}.logits.npy", logits)
        print(f"{self.name}: {(FOLDER / f'{self.name}.gguf').stat().st_size} bytes")


SHARED = dict(vocab_size=VOCAB, hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS, max_position_embeddings=CONTEXT,
              intermediate_size=HIDDEN, attn_implementation="eager", bos_token_id=1, eos_token_id=2, pad_token_id=0)
OUTER = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}
ATTENTION = {f"model.layers.{{}}.self_attn.{part}_proj": f"attn_{name}" for part, name in [("q", "q"), ("k", "k"), ("v", "v"), ("o", "output")]}
MLP = {f"model.layers.{{}}.mlp.{part}_proj": f"ffn_{part}" for part in ("gate", "up", "down")}


def gpt2():
    config = hf.GPT2Config(vocab_size=VOCAB, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, n_positions=CONTEXT, n_inner=HIDDEN,
                           attn_implementation="eager")
    keys = {"architecture": "gpt2", "feed_forward_length": HIDDEN, "attention.layer_norm_epsilon": config.layer_norm_epsilon}
    names = {"ln_1": "attn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output", "ln_2": "ffn_norm", "mlp.c_fc": "ffn_up",
             "mlp.c_proj": "ffn_down"}
    outer = {"transformer.wte.weight": "token_embd.weight", "transformer.wpe.weight": "position_embd.weight",
             "transformer.ln_f.weight": "output_norm.weight", "transformer.ln_f.bias": "output_norm.bias"}
    return Model("gpt2", hf.GPT2LMHeadModel(config), keys, {f"transformer.h.{{}}.{k}": v for k, v in names.items()}, outer, transposed=True)


def gptneox():
    config = hf.GPTNeoXConfig(**SHARED, rotary_pct=0.5, use_parallel_residual=True, hidden_act="gelu")
    keys = {"architecture": "gptneox", "feed_forward_length": HIDDEN, "attention.layer_norm_epsilon": config.layer_norm_eps,
            "rope.dimension_count": WIDTH // HEADS // 2, "use_parallel_residual": True}
    names = {"input_layernorm": "attn_norm", "attention.query_key_value": "attn_qkv", "attention.dense": "attn_output",
             "post_attention_layernorm": "ffn_norm", "mlp.dense_h_to_4h": "ffn_up", "mlp.dense_4h_to_h": "ffn_down"}
    outer = {"gpt_neox.embed_in.weight": "token_embd.weight", "gpt_neox.final_layer_norm.weight": "output_norm.weight",
             "gpt_neox.final_layer_norm.bias": "output_norm.bias", "embed_out.weight": "output.weight"}

    def split(array):
        """From queries, keys and values head by head to one after the other."""
        return array.reshape(HEADS, 3, WIDTH // HEADS, -1).swapaxes(0, 1).reshape(array.shape)

    return Model("gptneox", hf.GPTNeoXForCausalLM(config), keys, {f"gpt_neox.layers.{{}}.{k}": v for k, v in names.items()}, outer, split)


def cohere2():
    config = hf.Cohere2Config(**SHARED, num_key_value_heads=KV_HEADS, sliding_window=8, logit_scale=0.25, rope_theta=10000.0)
    keys = {"architecture": "cohere2", "feed_forward_length": HIDDEN, "attention.head_count_kv": KV_HEADS, "attention.sliding_window": 8,
            "logit_scale": 0.25, "attention.layer_norm_epsilon": config.layer_norm_eps, "rope.freq_base": 10000.0}
    names = ATTENTION | MLP | {"model.layers.{}.input_layernorm": "attn_norm"}
    return Model("cohere2", hf.Cohere2ForCausalLM(config), keys, names, {key: value for key, value in OUTER.items() if key != "lm_head.weight"})


def exaone4():
    config = hf.Exaone4Config(**SHARED, num_key_value_heads=KV_HEADS, sliding_window=8, sliding_window_pattern=4, rope_theta=10000.0,
                              tie_word_embeddings=False)
    keys = {"architecture": "exaone4", "feed_forward_length": HIDDEN, "attention.head_count_kv": KV_HEADS, "attention.sliding_window": 8,
            "attention.layer_norm_rms_epsilon": config.rms_norm_eps, "rope.freq_base": 10000.0}
    names = ATTENTION | MLP | {
        "model.layers.{}.self_attn.q_norm": "attn_q_norm", "model.layers.{}.self_attn.k_norm": "attn_k_norm",
        "model.layers.{}.post_attention_layernorm": "post_attention_norm", "model.layers.{}.post_feedforward_layernorm": "post_ffw_norm"}
    return Model("exaone4", hf.Exaone4ForCausalLM(config), keys, names, OUTER)


def glm4():
    config = hf.Glm4Config(**SHARED, num_key_value_heads=KV_HEADS, head_dim=WIDTH // HEADS, partial_rotary_factor=0.5, attention_bias=True,
                           rope_theta=10000.0, tie_word_embeddings=False)
    keys = {"architecture": "glm4", "feed_forward_length": HIDDEN, "attention.head_count_kv": KV_HEADS, "rope.freq_base": 10000.0,
            "attention.layer_norm_rms_epsilon": config.rms_norm_eps, "rope.dimension_count": WIDTH // HEADS // 2}
    names = ATTENTION | {
        "model.layers.{}.mlp.gate_up_proj": "ffn_up", "model.layers.{}.mlp.down_proj": "ffn_down",
        "model.layers.{}.input_layernorm": "attn_norm", "model.layers.{}.post_self_attn_layernorm": "post_attention_norm",
        "model.layers.{}.post_attention_layernorm": "ffn_norm", "model.layers.{}.post_mlp_layernorm": "post_ffw_norm"}
    return Model("glm4", hf.Glm4ForCausalLM(config), keys, names, OUTER)


MODELS = {maker.__name__: maker for maker in (gpt2, gptneox, cohere2, exaone4, glm4)}

if __name__ == "__main__":
    for wanted in sys.argv[1:] or MODELS:
        torch.manual_seed(0)
        MODELS[wanted]().write()
