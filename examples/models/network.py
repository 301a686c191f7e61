"""The demo model's network in torch: the llama architecture exactly as GGUF files of it are run.

RMS norm, rotary embedding over neighbouring pairs, grouped-query attention, SwiGLU, no biases, output tied to the embedding.
Linear layers can pretend to be stored in 4 bits while they train, so that Q4_K_M costs little.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F


@dataclass
class Shape:
    vocabulary: int = 1024
    width: int = 256
    layers: int = 4
    heads: int = 8
    kv_heads: int = 2
    head_size: int = 32
    hidden: int = 512
    context: int = 512
    rope_base: float = 10000.0
    epsilon: float = 1e-5


def four_bits(weight):
    """The weight as blocks of 32 with 16 levels between minimum and maximum, which is what Q4_K keeps; the gradient passes."""
    blocks = weight.detach().view(-1, 32)
    low = blocks.amin(1, keepdim=True).clamp(max=0)
    step = (blocks.amax(1, keepdim=True) - low).clamp(min=1e-8) / 15
    rounded = ((blocks - low) / step).round_() * step + low
    return weight + (rounded.view_as(weight) - weight.detach())


class Linear(nn.Linear):
    pretend = False

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs, bias=False)

    def forward(self, x):
        return F.linear(x, four_bits(self.weight) if Linear.pretend else self.weight)


class Layer(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.attn_norm = nn.RMSNorm(shape.width, eps=shape.epsilon)
        self.attn_q = Linear(shape.width, shape.heads * shape.head_size)
        self.attn_k = Linear(shape.width, shape.kv_heads * shape.head_size)
        self.attn_v = Linear(shape.width, shape.kv_heads * shape.head_size)
        self.attn_output = Linear(shape.heads * shape.head_size, shape.width)
        self.ffn_norm = nn.RMSNorm(shape.width, eps=shape.epsilon)
        self.ffn_gate = Linear(shape.width, shape.hidden)
        self.ffn_up = Linear(shape.width, shape.hidden)
        self.ffn_down = Linear(shape.hidden, shape.width)

    def forward(self, x, rotation, mask):
        h = self.attn_norm(x)
        q, k, v = (self.heads(project(h)) for project in (self.attn_q, self.attn_k, self.attn_v))
        q, k = rotate(q, rotation), rotate(k, rotation)
        groups = self.shape.heads // self.shape.kv_heads
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        mixed = attend(q, k, v, mask)
        x = x + self.attn_output(mixed.transpose(1, 2).flatten(2))
        h = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))

    def heads(self, x):
        return x.unflatten(2, (-1, self.shape.head_size)).transpose(1, 2)


def attend(q, k, v, mask):
    """Softmax attention; on short rows plain products are three times as fast as the fused operation on a CPU."""
    if q.shape[2] > 128:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    scores = (q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5
    return scores.masked_fill(~mask, -1e9).softmax(-1).to(v.dtype) @ v


def rotate(x, rotation):
    """Turns the pairs (2i, 2i+1) of every head by position times base^(-2i / head size) (Su et al. 2021)."""
    cos, sin = rotation
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


class Network(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocabulary, shape.width)
        self.blk = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.output_norm = nn.RMSNorm(shape.width, eps=shape.epsilon)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                residual = name.endswith(("attn_output.weight", "ffn_down.weight"))
                nn.init.normal_(p, std=0.02 if name.startswith("token_embd") else p.shape[1] ** -0.5 * ((2 * shape.layers) ** -0.5 if residual else 1))

    def forward(self, ids, documents=None):
        """Hidden states [rows, tokens, width]; a token attends to the earlier ones of its own document."""
        tokens = ids.shape[1]
        mask = torch.ones(tokens, tokens, dtype=torch.bool, device=ids.device).tril()
        if documents is not None:
            mask = (mask & (documents[:, :, None] == documents[:, None, :]))[:, None]
        frequency = self.shape.rope_base ** (-torch.arange(0, self.shape.head_size, 2, device=ids.device) / self.shape.head_size)
        angle = torch.arange(tokens, device=ids.device)[:, None] * frequency
        x = self.token_embd(ids)
        rotation = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
        for layer in self.blk:
            x = layer(x, rotation, mask)
        return self.output_norm(x)

    def logits(self, hidden):
        return F.linear(hidden, self.token_embd.weight)
