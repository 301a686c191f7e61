#!/usr/bin/env python3
"""Writes the models of the folders models/ and embeddings/ beside this file: tiny random models of architectures, converted to GGUF, with
the results of their original implementation in transformers (in this file, for those that transformers lacks).

    pip install torch "transformers==4.57.6" numpy
    python models.py [NAME ...]

qwen35, qwen35moe, nemotron_h and nemotron_h_moe are of transformers 5.23.0.

NAME.gguf holds F16 matrices and F32 vectors, NAME.ids.npy 40 token ids, models/NAME.logits.npy the logits after each of them,
embeddings/NAME.vectors.npy the vector of each of them, NAME.pooled.npy what they become as the file says, of length 1, and NAME.scores.npy
what the classifier makes of them, where there is one.
"""

import struct
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import transformers as hf

WIDTH, LAYERS, HEADS, KV_HEADS, HIDDEN, VOCAB, CONTEXT = 64, 4, 4, 2, 96, 160, 128
TOKENS = 40
FOLDER = Path(__file__).resolve().parent


def string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def stays_float(name, array):
    """What converters keep in F32."""
    return array.ndim == 1 or any(part in name for part in ("ssm_a", "ssm_d", "ssm_conv1d", "ssm_norm", "ffn_gate_inp"))


def write_gguf(path, pairs, tensors):
    """Pairs of keys and int, float, bool, str or list of int; names and arrays of tensors."""
    out = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(pairs))]
    for key, value in pairs.items():
        if isinstance(value, bool):
            out.append(string(key) + struct.pack("<I?", 7, value))
        elif isinstance(value, int):
            out.append(string(key) + struct.pack("<II", 4, value))
        elif isinstance(value, list):
            out.append(string(key) + struct.pack(f"<IIQ{len(value)}I", 9, 4, len(value), *value))
        elif isinstance(value, float):
            out.append(string(key) + struct.pack("<If", 6, value))
        else:
            out.append(string(key) + struct.pack("<I", 8) + string(value))
    data, offset = [], 0
    for name, array in tensors.items():
        whole = stays_float(name, array)
        array = np.ascontiguousarray(array, np.float32 if whole else np.float16)
        out.append(string(name) + struct.pack("<I", array.ndim) + struct.pack(f"<{array.ndim}Q", *reversed(array.shape)))
        out.append(struct.pack("<IQ", 0 if whole else 1, offset))
        data.append(array.tobytes() + bytes(-array.nbytes % 32))
        offset += len(data[-1])
    head = b"".join(out)
    path.write_bytes(head + bytes(-len(head) % 32) + b"".join(data))


class Model:
    """A random model and its way into a GGUF file."""

    folder = FOLDER / "models"

    def __init__(self, name, network, keys, names, outer, split=None, transposed=False, gain=0, prepare=None, more=None):
        self.name, self.network, self.keys, self.names, self.outer = name, network, keys, names, outer
        self.split, self.transposed, self.gain, self.prepare, self.more = split, transposed, gain, prepare, more

    def write(self):
        network = self.network.eval().float()
        # Matrices are what F16 holds, so that the file and the reference have the same; nothing is symmetric or 1.
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if "conv1d.weight" in name:
                    parameter.copy_(torch.randn_like(parameter) * 0.5)
                elif parameter.ndim == 1 or "A_log" in name:
                    parameter.add_(torch.randn_like(parameter) * 0.1)
                else:
                    parameter.copy_(torch.randn_like(parameter) * (1.0 / WIDTH**0.5))
                    parameter.copy_(parameter.half().float())
        ids = torch.randint(1, VOCAB, (TOKENS,))
        with torch.no_grad():
            results = self.results(ids)
        state, tensors = {key: value.numpy() for key, value in network.state_dict().items()}, {}
        if self.prepare:
            state = self.prepare(state)
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
            if self.more:
                more = self.more({key.split(f"layers.{layer}.")[1]: array for key, array in state.items() if f"layers.{layer}." in key})
                tensors |= {f"blk.{layer}.{target}": array for target, array in more.items()}
        # Some networks hold what gains differ from 1; files hold the gains.
        tensors |= {name: array + self.gain for name, array in tensors.items() if name.endswith("norm.weight") and "ssm" not in name}
        arch = self.keys.pop("architecture")
        pairs = {"general.architecture": arch}
        pairs |= {
            f"{arch}.block_count": LAYERS,
            f"{arch}.context_length": CONTEXT,
            f"{arch}.embedding_length": WIDTH,
            f"{arch}.attention.head_count": HEADS,
        }
        pairs |= {f"{arch}.{key}": value for key, value in self.keys.items()}
        write_gguf(self.folder / f"{self.name}.gguf", pairs, tensors)
        np.save(self.folder / f"{self.name}.ids.npy", ids.numpy().astype(np.int32))
        for kind, result in results.items():
            np.save(self.folder / f"{self.name}.{kind}.npy", result.numpy().astype(np.float32))
        print(f"{self.name}: {(self.folder / f'{self.name}.gguf').stat().st_size} bytes")

    def results(self, ids):
        return {"logits": self.network(ids[None]).logits[0]}


POOLINGS = {"mean": 1, "cls": 2, "last": 3}


class Embedder(Model):
    """A random model that makes embeddings; body is the part of the network that gives the tokens' vectors."""

    folder = FOLDER / "embeddings"

    def __init__(self, *args, pooling, body=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.pooling, self.body = pooling, body
        self.keys["pooling_type"] = POOLINGS[pooling]

    def results(self, ids):
        vectors = (self.body or self.network)(ids[None]).last_hidden_state[0]
        pooled = {"mean": vectors.mean(0), "cls": vectors[0], "last": vectors[-1]}[self.pooling]
        results = {"vectors": vectors, "pooled": pooled / pooled.norm()}
        if self.body:
            scores = self.network(ids[None]).logits[0]
            results["scores"] = scores.softmax(0) if self.keys["architecture"] == "qwen3" else scores
        return results


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


LAST_NORM = {source.replace("model.norm", "model.final_layernorm"): target for source, target in OUTER.items()}
INNER = 2 * WIDTH
RECURRENT = dict(vocab_size=VOCAB, hidden_size=WIDTH, num_hidden_layers=LAYERS, conv_kernel=4, layer_norm_epsilon=1e-5, residual_in_fp32=False)
BACKBONE = {"backbone.embeddings.weight": "token_embd.weight", "backbone.norm_f.weight": "output_norm.weight", "lm_head.weight": "output.weight"}


def mamba(name="mamba", network=hf.MambaForCausalLM, config=hf.MambaConfig, **more):
    config = config(**RECURRENT, state_size=8, time_step_rank=4, intermediate_size=INNER, expand=2, tie_word_embeddings=False, **more)
    keys = {"architecture": "mamba", "attention.head_count": 0, "feed_forward_length": 0, "ssm.conv_kernel": 4,
            "ssm.inner_size": INNER, "ssm.state_size": 8, "ssm.time_step_rank": 4, "ssm.dt_b_c_rms": bool(more), "attention.layer_norm_rms_epsilon": config.layer_norm_epsilon}
    names = {"norm": "attn_norm", "mixer.in_proj": "ssm_in", "mixer.x_proj": "ssm_x", "mixer.dt_proj": "ssm_dt", "mixer.out_proj": "ssm_out"}

    def states(block):
        return {"ssm_conv1d.weight": block["mixer.conv1d.weight"][:, 0], "ssm_conv1d.bias": block["mixer.conv1d.bias"],
                "ssm_a": -np.exp(block["mixer.A_log"]), "ssm_d": block["mixer.D"]}

    return Model(name, network(config), keys, {f"backbone.layers.{{}}.{k}": v for k, v in names.items()}, BACKBONE, more=states)


def falcon_mamba():
    return mamba("falcon-mamba", hf.FalconMambaForCausalLM, hf.FalconMambaConfig, mixer_rms_eps=1e-5)


def head_states(block, mixer="mamba", groups=2):
    """The tensors of a Mamba-2 block that are not matrices of products."""
    return {"ssm_conv1d.weight": block[f"{mixer}.conv1d.weight"][:, 0], "ssm_conv1d.bias": block[f"{mixer}.conv1d.bias"],
            "ssm_dt.bias": block[f"{mixer}.dt_bias"], "ssm_a": -np.exp(block[f"{mixer}.A_log"])[:, None],
            "ssm_d": block[f"{mixer}.D"][:, None], "ssm_norm.weight": block[f"{mixer}.norm.weight"].reshape(groups, -1)}


def grouped_norm(norm, groups):
    """The norm of the original Mamba-2, whose groups have a variance each; transformers takes that of all of them."""

    def forward(x, gate):
        x = x.float() * torch.nn.functional.silu(gate.float())
        x = x.unflatten(-1, (groups, -1))
        x = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + norm.variance_epsilon)
        return norm.weight * x.flatten(-2)

    norm.forward = forward


def mamba2():
    config = hf.Mamba2Config(**RECURRENT, state_size=16, n_groups=2, num_heads=4, head_dim=INNER // 4, expand=2, chunk_size=16,
                             tie_word_embeddings=False)
    keys = {"architecture": "mamba2", "attention.head_count": 0, "feed_forward_length": 0, "ssm.conv_kernel": 4,
            "ssm.inner_size": INNER, "ssm.state_size": 16, "ssm.time_step_rank": 4, "ssm.group_count": 2, "attention.layer_norm_rms_epsilon": config.layer_norm_epsilon}
    names = {"norm": "attn_norm", "mixer.in_proj": "ssm_in", "mixer.out_proj": "ssm_out"}
    network = hf.Mamba2ForCausalLM(config)
    for block in network.backbone.layers:
        grouped_norm(block.mixer.norm, 2)
    return Model("mamba2", network, keys, {f"backbone.layers.{{}}.{k}": v for k, v in names.items()}, BACKBONE,
                 more=lambda block: head_states(block, "mixer"))


def qwen3next(by_head=False):
    key, value, key_heads, value_heads, experts = 16, 32, 2, 4, 4
    config = hf.Qwen3NextConfig(**SHARED, num_key_value_heads=KV_HEADS, head_dim=32, linear_conv_kernel_dim=4, linear_key_head_dim=key,
                                linear_value_head_dim=value, linear_num_key_heads=key_heads, linear_num_value_heads=value_heads,
                                moe_intermediate_size=32, shared_expert_intermediate_size=48, num_experts=experts, num_experts_per_tok=2,
                                rope_theta=10000.0)
    keys = {"architecture": "qwen3next", "feed_forward_length": HIDDEN, "attention.head_count_kv": KV_HEADS, "attention.key_length": 32,
            "attention.value_length": 32, "attention.layer_norm_rms_epsilon": config.rms_norm_eps, "rope.dimension_count": 8,
            "rope.freq_base": 10000.0, "expert_count": experts, "expert_used_count": 2, "expert_feed_forward_length": 32,
            "expert_shared_feed_forward_length": 48, "ssm.conv_kernel": 4, "ssm.inner_size": value * value_heads, "ssm.state_size": key,
            "ssm.time_step_rank": value_heads, "ssm.group_count": key_heads, "full_attention_interval": 4}
    names = ATTENTION | {
        "model.layers.{}.mlp.gate": "ffn_gate_inp", "model.layers.{}.mlp.shared_expert_gate": "ffn_gate_inp_shexp",
        "model.layers.{}.linear_attn.in_proj_ba": "ssm_ba", "model.layers.{}.linear_attn.out_proj": "ssm_out",
        "model.layers.{}.linear_attn.norm": "ssm_norm", "model.layers.{}.input_layernorm": "attn_norm",
        "model.layers.{}.post_attention_layernorm": "post_attention_norm", "model.layers.{}.self_attn.q_norm": "attn_q_norm",
        "model.layers.{}.self_attn.k_norm": "attn_k_norm"}
    names |= {f"model.layers.{{}}.mlp.shared_expert.{part}_proj": f"ffn_{part}_shexp" for part in ("gate", "up", "down")}

    def more(block):
        tensors = {f"ffn_{part}_exps.weight": np.stack([block[f"mlp.experts.{i}.{part}_proj.weight"] for i in range(experts)])
                   for part in ("gate", "up", "down")}
        if "linear_attn.A_log" in block:
            tensors |= {"ssm_conv1d.weight": block["linear_attn.conv1d.weight"][:, 0], "ssm_a": -np.exp(block["linear_attn.A_log"]),
                        "ssm_dt.bias": block["linear_attn.dt_bias"]}
            mixed = block["linear_attn.in_proj_qkvz.weight"]
            if by_head:
                tensors["ssm_in.weight"] = mixed
            else:
                shared = value * value_heads // key_heads
                parts = np.split(mixed.reshape(key_heads, -1, WIDTH), np.cumsum([key, key, shared]), axis=1)
                parts = [part.reshape(-1, WIDTH) for part in parts]
                tensors |= {"attn_qkv.weight": np.concatenate(parts[:3]), "attn_gate.weight": parts[3]}
        return tensors

    name = "qwen3next-by-head" if by_head else "qwen3next"
    return Model(name, hf.Qwen3NextForCausalLM(config), keys, names, OUTER, gain=1, more=more)


def qwen3next_by_head():
    return qwen3next(by_head=True)


def qwen35(moe=False):
    key, value, key_heads, value_heads, experts = 16, 32, 2, 4, 4
    sizes = dict(num_key_value_heads=KV_HEADS, head_dim=32, linear_conv_kernel_dim=4, linear_key_head_dim=key, linear_value_head_dim=value,
                 linear_num_key_heads=key_heads, linear_num_value_heads=value_heads)
    keys = {"architecture": "qwen35moe" if moe else "qwen35", "feed_forward_length": HIDDEN, "attention.head_count_kv": KV_HEADS,
            "attention.key_length": 32, "attention.value_length": 32, "attention.layer_norm_rms_epsilon": 1e-6, "rope.dimension_count": 8,
            "rope.freq_base": 10000.0, "ssm.conv_kernel": 4, "ssm.inner_size": value * value_heads, "ssm.state_size": key,
            "ssm.time_step_rank": value_heads, "ssm.group_count": key_heads, "full_attention_interval": 4}
    names = ATTENTION | MLP | {
        "model.layers.{}.linear_attn.norm": "ssm_norm", "model.layers.{}.input_layernorm": "attn_norm",
        "model.layers.{}.post_attention_layernorm": "post_attention_norm", "model.layers.{}.self_attn.q_norm": "attn_q_norm",
        "model.layers.{}.self_attn.k_norm": "attn_k_norm", "model.layers.{}.mlp.gate": "ffn_gate_inp",
        "model.layers.{}.mlp.shared_expert_gate": "ffn_gate_inp_shexp"}
    names |= {f"model.layers.{{}}.mlp.shared_expert.{part}_proj": f"ffn_{part}_shexp" for part in ("gate", "up", "down")}
    if moe:
        keys |= {"expert_count": experts, "expert_used_count": 2, "expert_feed_forward_length": 32, "expert_shared_feed_forward_length": 48}
        config = hf.Qwen3_5MoeTextConfig(**SHARED, **sizes, moe_intermediate_size=32, shared_expert_intermediate_size=48, num_experts=experts,
                                         num_experts_per_tok=2)
        network = hf.Qwen3_5MoeForCausalLM(config)
    else:
        network = hf.Qwen3_5ForCausalLM(hf.Qwen3_5TextConfig(**SHARED, **sizes))

    def tiled(array):
        """Heads that share a key apart from each other, not side by side."""
        return array.reshape(key_heads, value_heads // key_heads, -1, *array.shape[1:]).swapaxes(0, 1).reshape(array.shape)

    def more(block):
        block = {name.removeprefix("linear_attn."): array for name, array in block.items()}
        tensors = {}
        if "A_log" in block:
            shared = 2 * key * key_heads
            qkv, conv = block["in_proj_qkv.weight"], block["conv1d.weight"][:, 0]
            tensors |= {"attn_qkv.weight": np.concatenate([qkv[:shared], tiled(qkv[shared:])]),
                        "attn_gate.weight": tiled(block["in_proj_z.weight"]), "ssm_beta.weight": tiled(block["in_proj_b.weight"]),
                        "ssm_alpha.weight": tiled(block["in_proj_a.weight"]), "ssm_a": -np.exp(tiled(block["A_log"])),
                        "ssm_dt.bias": tiled(block["dt_bias"]), "ssm_out.weight": tiled(block["out_proj.weight"].T).T,
                        "ssm_conv1d.weight": np.concatenate([conv[:shared], tiled(conv[shared:])])}
        if moe:
            both = block["mlp.experts.gate_up_proj"]
            tensors |= {"ffn_gate_exps.weight": both[:, :32], "ffn_up_exps.weight": both[:, 32:],
                        "ffn_down_exps.weight": block["mlp.experts.down_proj"]}
        return tensors

    return Model(keys["architecture"], network, keys, names, OUTER, gain=1, more=more)


def qwen35moe():
    return qwen35(moe=True)


def nemotron_h(moe=False):
    blocks = ["linear_attention", "moe" if moe else "mlp", "full_attention", "linear_attention" if moe else "mlp"]
    sizes = {name: size for name, size in SHARED.items() if name != "num_hidden_layers"}
    config = hf.NemotronHConfig(**sizes, layers_block_type=blocks, num_key_value_heads=KV_HEADS, head_dim=WIDTH // HEADS, mamba_num_heads=4,
                                mamba_head_dim=INNER // 4, n_groups=2, ssm_state_size=16, chunk_size=16, expand=2, n_routed_experts=8,
                                num_experts_per_tok=2, moe_intermediate_size=48, moe_shared_expert_intermediate_size=32, n_shared_experts=1,
                                n_group=4, topk_group=4, routed_scaling_factor=2.5)
    hidden = 48 if moe else HIDDEN
    keys = {"architecture": "nemotron_h_moe" if moe else "nemotron_h", "feed_forward_length": [hidden * (kind in ("moe", "mlp")) for kind in blocks],
            "attention.head_count_kv": [KV_HEADS * (kind == "full_attention") for kind in blocks], "attention.layer_norm_epsilon": 1e-5,
            "attention.key_length": WIDTH // HEADS, "attention.value_length": WIDTH // HEADS, "ssm.conv_kernel": 4, "ssm.inner_size": INNER,
            "ssm.state_size": 16, "ssm.time_step_rank": 4, "ssm.group_count": 2}
    if moe:
        keys |= {"expert_count": 8, "expert_used_count": 2, "expert_feed_forward_length": 48, "expert_shared_feed_forward_length": 32,
                 "expert_weights_norm": True, "expert_weights_scale": 2.5, "expert_group_count": 4}
    names = {"norm": "attn_norm", "mixer.in_proj": "ssm_in", "mixer.out_proj": "ssm_out", "mixer.up_proj": "ffn_up",
             "mixer.down_proj": "ffn_down", "mixer.q_proj": "attn_q", "mixer.k_proj": "attn_k", "mixer.v_proj": "attn_v",
             "mixer.o_proj": "attn_output", "mixer.gate": "ffn_gate_inp", "mixer.shared_experts.up_proj": "ffn_up_shexp",
             "mixer.shared_experts.down_proj": "ffn_down_shexp"}
    outer = {"model.embeddings.weight": "token_embd.weight", "model.norm_f.weight": "output_norm.weight", "lm_head.weight": "output.weight"}

    def more(block):
        tensors = head_states(block, "mixer") if "mixer.A_log" in block else {}
        if "mixer.experts.up_proj" in block:
            tensors |= {"ffn_up_exps.weight": block["mixer.experts.up_proj"], "ffn_down_exps.weight": block["mixer.experts.down_proj"],
                        "exp_probs_b.bias": block["mixer.gate.e_score_correction_bias"]}
        return tensors

    network = hf.NemotronHForCausalLM(config)
    for layer in network.model.layers:
        # A least step is for the initialization alone: the code that was published with the models has none.
        if hasattr(layer.mixer, "time_step_limit"):
            layer.mixer.time_step_limit = (0.0, float("inf"))
    return Model(keys["architecture"], network, keys, {f"model.layers.{{}}.{k}": v for k, v in names.items()}, outer, more=more)


def nemotron_h_moe():
    return nemotron_h(moe=True)


def jamba():
    experts = 4
    config = hf.JambaConfig(**SHARED, num_key_value_heads=KV_HEADS, use_mamba_kernels=False, mamba_d_state=8, mamba_d_conv=4, mamba_dt_rank=4,
                            num_experts=experts, num_experts_per_tok=2, expert_layer_period=2, expert_layer_offset=1, attn_layer_period=4,
                            attn_layer_offset=2)
    keys = {"architecture": "jamba", "feed_forward_length": HIDDEN, "attention.head_count_kv": [0, 0, KV_HEADS, 0], "ssm.conv_kernel": 4,
            "ssm.inner_size": INNER, "ssm.state_size": 8, "ssm.time_step_rank": 4, "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
            "expert_count": experts, "expert_used_count": 2}
    names = {"mamba.in_proj": "ssm_in", "mamba.x_proj": "ssm_x", "mamba.dt_proj": "ssm_dt", "mamba.out_proj": "ssm_out",
             "mamba.dt_layernorm": "ssm_dt_norm", "mamba.b_layernorm": "ssm_b_norm", "mamba.c_layernorm": "ssm_c_norm",
             "feed_forward.router": "ffn_gate_inp", "input_layernorm": "attn_norm", "pre_ff_layernorm": "ffn_norm"}
    names |= {f"feed_forward.{part}_proj": f"ffn_{part}" for part in ("gate", "up", "down")}

    def more(block):
        tensors = {}
        if "mamba.A_log" in block:
            tensors |= {"ssm_conv1d.weight": block["mamba.conv1d.weight"][:, 0], "ssm_conv1d.bias": block["mamba.conv1d.bias"],
                        "ssm_a": -np.exp(block["mamba.A_log"]), "ssm_d": block["mamba.D"]}
        if "feed_forward.router.weight" in block:
            for part in ("gate", "up", "down"):
                stack = [block[f"feed_forward.experts.{i}.{part}_proj.weight"] for i in range(experts)]
                tensors[f"ffn_{part}_exps.weight"] = np.stack(stack)
        return tensors

    names = ATTENTION | {f"model.layers.{{}}.{k}": v for k, v in names.items()}
    return Model("jamba", hf.JambaForCausalLM(config), keys, names, LAST_NORM, more=more)


def granitehybrid():
    factors = dict(embedding_multiplier=3.0, logits_scaling=2.0, residual_multiplier=0.5, attention_multiplier=0.1)
    config = hf.GraniteMoeHybridConfig(**SHARED, **factors, num_key_value_heads=KV_HEADS, mamba_n_heads=4, mamba_n_groups=1, mamba_d_state=16,
                                       mamba_d_head=INNER // 4, mamba_expand=2, mamba_chunk_size=16, num_local_experts=4,
                                       num_experts_per_tok=2, shared_intermediate_size=48, position_embedding_type=None,
                                       layer_types=["mamba", "mamba", "attention", "mamba"])
    keys = {"architecture": "granitehybrid", "feed_forward_length": HIDDEN, "attention.head_count_kv": [0, 0, KV_HEADS, 0],
            "embedding_scale": 3.0, "logit_scale": 2.0, "residual_scale": 0.5, "attention.scale": 0.1, "rope.scaling.finetuned": False,
            "attention.layer_norm_rms_epsilon": config.rms_norm_eps, "expert_count": 4, "expert_used_count": 2,
            "expert_shared_feed_forward_length": 48, "ssm.conv_kernel": 4, "ssm.inner_size": INNER, "ssm.state_size": 16,
            "ssm.time_step_rank": 4, "ssm.group_count": 1}
    names = {"mamba.in_proj": "ssm_in", "mamba.out_proj": "ssm_out", "block_sparse_moe.router.layer": "ffn_gate_inp",
             "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "shared_mlp.output_linear": "ffn_down_shexp"}

    def more(block):
        into, shared = block["block_sparse_moe.input_linear.weight"], block["shared_mlp.input_linear.weight"]
        tensors = {"ffn_gate_exps.weight": into[:, :HIDDEN], "ffn_up_exps.weight": into[:, HIDDEN:],
                   "ffn_down_exps.weight": block["block_sparse_moe.output_linear.weight"],
                   "ffn_gate_shexp.weight": shared[:48], "ffn_up_shexp.weight": shared[48:]}
        return tensors | (head_states(block, groups=1) if "mamba.A_log" in block else {})

    names = ATTENTION | {f"model.layers.{{}}.{k}": v for k, v in names.items()}
    return Model("granitehybrid", hf.GraniteMoeHybridForCausalLM(config), keys, names, OUTER, more=more)


def falcon_h1():
    # Powers of two, which F16 weights take exactly.
    factors = dict(attention_in_multiplier=0.5, attention_out_multiplier=2.0, key_multiplier=4.0, ssm_in_multiplier=2.0, ssm_out_multiplier=0.5,
                   mlp_multipliers=[2.0, 0.5], ssm_multipliers=[0.5, 2.0, 4.0, 0.25, 0.5], embedding_multiplier=2.0, lm_head_multiplier=0.5)
    config = hf.FalconH1Config(**SHARED, **factors, num_key_value_heads=KV_HEADS, head_dim=WIDTH // HEADS, mamba_d_ssm=INNER, mamba_n_heads=4,
                               mamba_d_head=INNER // 4, mamba_n_groups=2, mamba_d_state=16, mamba_chunk_size=16, mamba_rms_norm=True,
                               mamba_norm_before_gate=False, rope_theta=10000.0)
    keys = {"architecture": "falcon-h1", "feed_forward_length": HIDDEN, "attention.head_count_kv": KV_HEADS, "rope.freq_base": 10000.0,
            "attention.layer_norm_rms_epsilon": config.rms_norm_eps, "ssm.conv_kernel": 4, "ssm.inner_size": INNER, "ssm.state_size": 16,
            "ssm.time_step_rank": 4, "ssm.group_count": 2}
    names = {"mamba.in_proj": "ssm_in", "mamba.out_proj": "ssm_out", "input_layernorm": "attn_norm"}
    names |= {f"feed_forward.{part}_proj": f"ffn_{part}" for part in ("gate", "up", "down")}
    scales = {"q_proj": 0.5, "k_proj": 2.0, "v_proj": 0.5, "o_proj": 2.0, "mamba.out_proj": 0.5, "gate_proj": 2.0, "down_proj": 0.5,
              "embed_tokens": 2.0, "lm_head": 0.5}
    parts = np.repeat(factors["ssm_multipliers"], [INNER, INNER, 32, 32, 4]).astype(np.float32)[:, None]

    def scaled(state):
        """Files have the multipliers in the weights."""
        for name, array in state.items():
            for part, scale in scales.items():
                if f"{part}.weight" in name:
                    state[name] = array * np.float32(scale)
            if "mamba.in_proj" in name:
                state[name] = array * np.float32(2.0) * parts
        return state

    def more(block):
        return head_states(block) | {"ffn_norm": block["pre_ff_layernorm.weight"]}

    names = ATTENTION | {f"model.layers.{{}}.{k}": v for k, v in names.items()}
    return Model("falcon-h1", hf.FalconH1ForCausalLM(config), keys, names, LAST_NORM, prepare=scaled, more=more)


class Encoder(torch.nn.Module):
    """What transformers lacks: nomic-bert (rotation) and jina-bert-v2 (slopes), both with gates and norms behind the blocks."""

    class Block(torch.nn.Module):
        def __init__(self, bias):
            super().__init__()
            linear, norm = torch.nn.Linear, torch.nn.LayerNorm
            self.q, self.k, self.v, self.o = (linear(WIDTH, WIDTH, bias) for _ in range(4))
            self.gate, self.up, self.down = linear(WIDTH, HIDDEN, False), linear(WIDTH, HIDDEN, False), linear(HIDDEN, WIDTH, bias)
            self.norm1, self.norm2 = norm(WIDTH, eps=1e-12), norm(WIDTH, eps=1e-12)

    def __init__(self, slopes, activation):
        super().__init__()
        self.slopes, self.activation = slopes, activation
        self.words, self.types = torch.nn.Embedding(VOCAB, WIDTH), torch.nn.Embedding(2, WIDTH)
        self.norm = torch.nn.LayerNorm(WIDTH, eps=1e-12)
        self.layers = torch.nn.ModuleList(self.Block(slopes is not None) for _ in range(LAYERS))

    def forward(self, ids):
        size, tokens = WIDTH // HEADS, ids.shape[1]
        x = self.norm(self.words(ids) + self.types.weight[0])
        positions = torch.arange(tokens)
        angles = positions[:, None] * 1000.0 ** (-torch.arange(0, size, 2) / size)
        bias = torch.zeros(tokens, tokens)
        if self.slopes is not None:
            bias = -self.slopes[:, None, None] * (positions[:, None] - positions).abs()

        def rotate(heads):
            first, second = heads.chunk(2, -1)
            return torch.cat([first * angles.cos() - second * angles.sin(), first * angles.sin() + second * angles.cos()], -1)

        for layer in self.layers:
            q, k, v = (part(x).view(1, tokens, HEADS, size).transpose(1, 2) for part in (layer.q, layer.k, layer.v))
            if self.slopes is None:
                q, k = rotate(q), rotate(k)
            weights = (q @ k.transpose(-1, -2) / size**0.5 + bias).softmax(-1)
            x = layer.norm1(x + layer.o((weights @ v).transpose(1, 2).reshape(1, tokens, WIDTH)))
            x = layer.norm2(x + layer.down(self.activation(layer.gate(x)) * layer.up(x)))
        return hf.modeling_outputs.BaseModelOutput(x)


def encoder(name, network, keys, pooling):
    keys |= {"architecture": name, "feed_forward_length": HIDDEN, "attention.layer_norm_epsilon": 1e-12, "attention.causal": False}
    names = {"q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output", "gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down",
             "norm1": "attn_output_norm", "norm2": "layer_output_norm"}
    outer = {"words.weight": "token_embd.weight", "types.weight": "token_types.weight", "norm.weight": "token_embd_norm.weight",
             "norm.bias": "token_embd_norm.bias"}
    return Embedder(name, network, keys, {f"layers.{{}}.{k}": v for k, v in names.items()}, outer, pooling=pooling)


def nomic_bert():
    return encoder("nomic-bert", Encoder(None, F.silu), {"rope.freq_base": 1000.0}, "mean")


def jina_bert_v2():
    slopes = 2.0 ** (-8.0 * torch.arange(1, HEADS + 1) / HEADS)
    return encoder("jina-bert-v2", Encoder(slopes, F.gelu), {}, "mean")


def bert():
    network = hf.BertForSequenceClassification(hf.BertConfig(**SHARED, num_labels=1))
    keys = {"architecture": "bert", "feed_forward_length": HIDDEN, "attention.layer_norm_epsilon": 1e-12, "attention.causal": False}
    names = {"attention.self.query": "attn_q", "attention.self.key": "attn_k", "attention.self.value": "attn_v",
             "attention.output.dense": "attn_output", "attention.output.LayerNorm": "attn_output_norm", "intermediate.dense": "ffn_up",
             "output.dense": "ffn_down", "output.LayerNorm": "layer_output_norm"}
    outer = {"bert.embeddings.word_embeddings.weight": "token_embd.weight", "bert.embeddings.position_embeddings.weight": "position_embd.weight",
             "bert.embeddings.token_type_embeddings.weight": "token_types.weight", "bert.embeddings.LayerNorm.weight": "token_embd_norm.weight",
             "bert.embeddings.LayerNorm.bias": "token_embd_norm.bias", "bert.pooler.dense.weight": "cls.weight",
             "bert.pooler.dense.bias": "cls.bias", "classifier.weight": "cls.output.weight", "classifier.bias": "cls.output.bias"}
    return Embedder("bert", network, keys, {f"bert.encoder.layer.{{}}.{k}": v for k, v in names.items()}, outer, pooling="cls", body=network.bert)


def modern_bert():
    network = hf.ModernBertForSequenceClassification(hf.ModernBertConfig(
        **SHARED, local_attention=16, global_rope_theta=16000.0, local_rope_theta=1000.0, num_labels=3, classifier_pooling="mean", reference_compile=False))
    keys = {"architecture": "modern-bert", "feed_forward_length": HIDDEN, "attention.layer_norm_epsilon": 1e-5, "attention.causal": False,
            "attention.sliding_window": 16, "attention.sliding_window_pattern": 3, "rope.freq_base": 16000.0, "rope.freq_base_swa": 1000.0}
    names = {"attn_norm": "attn_norm", "attn.Wqkv": "attn_qkv", "attn.Wo": "attn_output", "mlp_norm": "ffn_norm", "mlp.Wi": "ffn_up",
             "mlp.Wo": "ffn_down"}
    outer = {"model.embeddings.tok_embeddings.weight": "token_embd.weight", "model.embeddings.norm.weight": "token_embd_norm.weight",
             "model.final_norm.weight": "output_norm.weight", "head.dense.weight": "cls.weight", "head.norm.weight": "cls.norm.weight",
             "classifier.weight": "cls.output.weight", "classifier.bias": "cls.output.bias"}
    return Embedder("modern-bert", network, keys, {f"model.layers.{{}}.{k}": v for k, v in names.items()}, outer, pooling="mean", body=network.model)


def gemma_embedding():
    network = hf.Gemma3TextModel(hf.Gemma3TextConfig(
        **SHARED, num_key_value_heads=KV_HEADS, head_dim=WIDTH // HEADS, query_pre_attn_scalar=WIDTH // HEADS, sliding_window=16,
        sliding_window_pattern=2, rope_theta=16000.0, rope_local_base_freq=1000.0, use_bidirectional_attention=True))
    keys = {"architecture": "gemma-embedding", "feed_forward_length": HIDDEN, "attention.layer_norm_rms_epsilon": 1e-6,
            "attention.head_count_kv": KV_HEADS, "attention.sliding_window": 16, "attention.sliding_window_pattern": 2,
            "rope.freq_base": 16000.0, "rope.freq_base_swa": 1000.0}
    names = {key.removeprefix("model."): name for key, name in (ATTENTION | MLP).items()}
    names |= {f"layers.{{}}.{key}": name for key, name in {
        "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "input_layernorm": "attn_norm",
        "post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
        "post_feedforward_layernorm": "post_ffw_norm"}.items()}
    outer = {"embed_tokens.weight": "token_embd.weight", "norm.weight": "output_norm.weight"}
    return Embedder("gemma-embedding", network, keys, names, outer, gain=1, pooling="mean")


def qwen3_embedding():
    network = hf.Qwen3ForSequenceClassification(hf.Qwen3Config(**SHARED, num_key_value_heads=KV_HEADS, head_dim=WIDTH // HEADS, num_labels=2))
    keys = {"architecture": "qwen3", "feed_forward_length": HIDDEN, "attention.head_count_kv": KV_HEADS, "rope.freq_base": 10000.0,
            "attention.layer_norm_rms_epsilon": 1e-6}
    names = ATTENTION | MLP | {
        "model.layers.{}.self_attn.q_norm": "attn_q_norm", "model.layers.{}.self_attn.k_norm": "attn_k_norm",
        "model.layers.{}.input_layernorm": "attn_norm", "model.layers.{}.post_attention_layernorm": "ffn_norm"}
    return Embedder("qwen3-embedding", network, keys, names, OUTER | {"score.weight": "cls.output.weight"}, pooling="last", body=network.model)


MODELS = {maker.__name__: maker for maker in (
    gpt2, gptneox, cohere2, exaone4, glm4, mamba, falcon_mamba, mamba2, qwen3next, qwen3next_by_head, jamba, granitehybrid, falcon_h1,
    qwen35, qwen35moe, nemotron_h, nemotron_h_moe, bert, nomic_bert, jina_bert_v2, modern_bert, gemma_embedding, qwen3_embedding)}

if __name__ == "__main__":
    for wanted in sys.argv[1:] or MODELS:
        torch.manual_seed(0)
        MODELS[wanted]().write()
