"""Trains the demo model: python train.py OUTPUT_FOLDER [--minutes M] [--steps N] [--threads T] [--resume].

Each thread takes its share of a batch through forward and backward pass alone: that beats threads inside the operations by
far when the machine has other work. Muon for the matrices (Jordan et al. 2024), AdamW for the embedding and the norms; warm-up, then linear decay to zero, over
the steps or the minutes, whichever end first. The last 40 % train with weights rounded to 4 bits in the forward pass.
"""

import argparse
import itertools
import json
import math
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor

import torch
from torch.nn import functional as F

import corpus
from network import Linear, Network, Shape
from vocabulary import Vocabulary, learn_merges

BATCH_TOKENS = 2048
SHORT, LONG = 128, 512
PEAK = 3e-3
WARMUP = 100
PRETEND_FROM = 0.6


def pack(chats, length):
    """Rows of `length` tokens, each filled with whole chats: (ids, targets, weights, chat numbers)."""
    rows = []
    for ids, weights in chats:
        ids, targets, weights = ids[:-1], ids[1:], weights[1:]
        row = next((row for row in rows if len(row[0]) + len(ids) <= length), None)
        if row is None:
            if len(rows) == 32:
                yield rows.pop(max(range(32), key=lambda at: len(rows[at][0])))
            row = ([], [], [], [])
            rows.append(row)
        row[3].extend([len(row[3])] * len(ids))
        row[0].extend(ids)
        row[1].extend(targets)
        row[2].extend(weights)


def batches(vocabulary, seed):
    """Endless batches; short chats and long ones go in rows of their own, each batch as likely as its tokens are many."""
    rng = random.Random(seed)
    waiting = {SHORT: [], LONG: []}

    def chats(length):
        while True:
            if not waiting[length]:
                ids, weights = vocabulary.encode_chat(corpus.chat(rng))
                ids, weights = ids[:LONG + 1], weights[:LONG + 1]
                waiting[SHORT if len(ids) <= SHORT + 1 else LONG].append((ids, weights))
            else:
                yield waiting[length].pop()

    streams = {length: pack(chats(length), length) for length in (SHORT, LONG)}
    for _ in itertools.count():
        length = max(waiting, key=lambda n: sum(len(ids) for ids, _ in waiting[n]))
        rows = list(itertools.islice(streams[length], BATCH_TOKENS // length))
        parts = zip(*rows)
        yield tuple(torch.tensor([part + [fill] * (length - len(part)) for part in column])
                    for column, fill in zip(parts, (0, 0, 0.0, -1)))


def answers_right(network, vocabulary, rows):
    """By kind: how many answers greedy decoding gets exactly right, of how many, and their perplexity per token."""
    figures = {}
    with torch.no_grad():
        for row in rows:
            prompt = vocabulary.encode_prompt(row["user"])
            answer = vocabulary.encode(row["assistant"]) + [2]
            logits = network.logits(network(torch.tensor([prompt + answer[:-1]])))[0, len(prompt) - 1:].float()
            target = torch.tensor(answer)
            figure = figures.setdefault(row["kind"], [0, 0, 0.0, 0])
            figure[0] += bool((logits.argmax(-1) == target).all())
            figure[1] += 1
            figure[2] += F.cross_entropy(logits, target, reduction="sum").item()
            figure[3] += len(answer)
    return {kind: (right, count, math.exp(loss / tokens)) for kind, (right, count, loss, tokens) in figures.items()}


def gradients(network, parameters, batch, total_weight):
    """Loss of one share of a batch, and its gradients."""
    ids, targets, weights, chats = batch
    with torch.autocast("cpu", torch.bfloat16):
        counted = weights > 0
        logits = network.logits(network(ids, chats)[counted])
    losses = F.cross_entropy(logits.float(), targets[counted], reduction="none")
    loss = (losses * weights[counted]).sum() / total_weight
    return loss.item(), torch.autograd.grad(loss, parameters)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--resume", action="store_true", help="go on from the folder's checkpoint")
    options = parser.parse_args()
    pool = ThreadPoolExecutor(options.threads, initializer=torch.set_num_threads, initargs=(1,))
    torch.set_num_threads(1)
    torch.manual_seed(2026)
    os.makedirs(options.output, exist_ok=True)

    merges_path = os.path.join(options.output, "merges.json")
    if not options.resume:
        sample = random.Random(1)
        merges = learn_merges((text for _ in range(20000) for _, text in corpus.chat(sample)), 1024 - 357)
        with open(merges_path, "w", encoding="utf-8") as file:
            json.dump(merges, file)
    vocabulary = Vocabulary.load(merges_path)
    shape = Shape(vocabulary=len(vocabulary))
    network = Network(shape)
    parameters = list(network.parameters())
    matrices = [p for name, p in network.named_parameters() if p.dim() == 2 and not name.startswith("token_embd")]
    others = [p for name, p in network.named_parameters() if p.dim() == 1 or name.startswith("token_embd")]
    optimizers = [torch.optim.Muon(matrices[share::options.threads], lr=PEAK, weight_decay=0.05, momentum=0.95, adjust_lr_fn="match_rms_adamw")
                  for share in range(options.threads)]
    optimizers.append(torch.optim.AdamW(others, lr=PEAK / 2, betas=(0.9, 0.95), weight_decay=0.0))
    peaks = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    with open(os.path.join(os.path.dirname(__file__), "heldout.jsonl"), encoding="utf-8") as file:
        held_out = [json.loads(line) for line in file]
    print(f"{sum(p.numel() for p in network.parameters())} weights", flush=True)

    done = {"step": 0, "seconds": 0.0, "tokens": 0}
    if options.resume:
        checkpoint = torch.load(os.path.join(options.output, "checkpoint.pt"), weights_only=True)
        network.load_state_dict(checkpoint["weights"])
        done = checkpoint["done"]
        for optimizer, state in zip(optimizers, checkpoint["optimizers"]):
            optimizer.load_state_dict(state)
    started, tokens, average = time.time() - done["seconds"], done["tokens"], None

    def save():
        torch.save({"shape": vars(shape), "weights": network.state_dict(), "optimizers": [optimizer.state_dict() for optimizer in optimizers],
                    "done": {"step": step, "seconds": time.time() - started, "tokens": tokens}}, os.path.join(options.output, "checkpoint.pt"))
        print(answers_right(network, vocabulary, held_out), flush=True)

    for step, batch in enumerate(batches(vocabulary, 2026 + done["step"]), done["step"]):
        progress = max(step / options.steps, (time.time() - started) / 60 / options.minutes)
        if progress >= 1:
            break
        Linear.pretend = progress >= PRETEND_FROM
        scale = min((step + 1) / WARMUP, 1 - progress)
        for optimizer, peak in zip(optimizers, peaks):
            optimizer.param_groups[0]["lr"] = peak * scale
        shares = zip(*(part.chunk(options.threads) for part in batch))
        results = list(pool.map(lambda share: gradients(network, parameters, share, batch[2].sum()), shares))
        for parameter, *parts in zip(parameters, *(grads for _, grads in results)):
            parameter.grad = sum(parts)
        loss = sum(loss for loss, _ in results)
        torch.nn.utils.clip_grad_norm_(others, 1.0)
        list(pool.map(lambda optimizer: optimizer.step(), optimizers))
        tokens += int((batch[3] >= 0).sum())
        average = loss if average is None else 0.95 * average + 0.05 * loss
        if step % 50 == 0:
            print(f"step {step} progress {progress:.3f} loss {average:.4f} tokens {tokens} seconds {time.time() - started:.0f}", flush=True)
        if step % 400 == 399:
            save()
    Linear.pretend = False
    save()


if __name__ == "__main__":
    main()
