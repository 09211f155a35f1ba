#!/usr/bin/env python3
"""Trains the embedded story model and writes it as an F16 GGUF file, with its loss curve as SVG.

A llama-architecture transformer (interleaved-pair RoPE, RMSNorm, SwiGLU, grouped-query attention, tied embeddings) on the text of
stories.py. The last fifth of the steps trains through Q4_0 rounding of the matrices (straight-through gradient), so that the
4-bit model loses little. Needs Debian's python3-torch and python3-numpy; two cores, about an hour.

usage: train.py OUT_DIR [--steps N] [--stories N]
"""
import argparse
import collections
import json
import math
import os
import random
import re
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import gguf  # noqa: E402
import stories  # noqa: E402

DIM, LAYERS, HEADS, KV_HEADS, FFN, VOCAB, CONTEXT = 256, 6, 8, 4, 704, 2048, 512
HEAD = DIM // HEADS
SEED, HELD_OUT_SEED, BATCH, ROW = 20, 977, 8, 256
EPS, BASE = 1e-5, 10000.0
SPACE = "\u2581"


def words(text):
    return re.findall(SPACE + r"?[A-Za-z]+|" + SPACE + r"?[^A-Za-z" + SPACE + r"]+|" + SPACE, SPACE + text.replace(" ", SPACE))


def learn_vocabulary(texts):
    """Byte-pair merges inside words, most frequent pair first; a piece's score is minus its rank, as the llama tokenizer expects."""
    count = collections.Counter(w for t in texts for w in words(t))
    pieces = {w: list(w) for w in count}
    tokens = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % i for i in range(256)]
    base = sorted({c for w in count for c in w} | set(SPACE + "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,!?'\"-:;()"))
    merges = []
    while len(tokens) + len(base) + len(merges) < VOCAB:
        pairs = collections.Counter()
        for w, p in pieces.items():
            for a, b in zip(p, p[1:]):
                pairs[a, b] += count[w]
        if not pairs:
            break
        (a, b), _ = max(pairs.items(), key=lambda kv: (kv[1], kv[0]))
        if a + b not in merges:
            merges.append(a + b)
        for w, p in pieces.items():
            i = 0
            while i + 1 < len(p):
                if p[i] == a and p[i + 1] == b:
                    p[i:i + 2] = [a + b]
                else:
                    i += 1
    tokens += merges + base
    return tokens, {w: [tokens.index(x) for x in p] for w, p in pieces.items()}


def encode(texts, table):
    return [[1] + [i for w in words(t) for i in table[w]] + [2] for t in texts]


class RoundQ4(torch.autograd.Function):
    """Q4_0 and back: 32 weights share d = (the one of largest magnitude) / -8, kept in F16. The gradient passes straight through."""

    @staticmethod
    def forward(ctx, w):
        b = w.reshape(-1, 32)
        top = b.gather(1, b.abs().argmax(1, keepdim=True))
        d = top / -8
        inv = torch.where(d == 0, torch.zeros_like(d), 1 / d)
        q = torch.clamp(torch.floor(b * inv + 8.5), 0, 15) - 8
        return (q * d.half().float()).reshape(w.shape)

    @staticmethod
    def backward(ctx, g):
        return g


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.rounding = False
        mat = lambda o, i, s=1.0: torch.nn.Parameter(torch.randn(o, i) * (s * 0.8 / math.sqrt(i)))
        self.embd = torch.nn.Parameter(torch.randn(VOCAB, DIM) * 0.05)
        self.norm = torch.nn.Parameter(torch.ones(DIM))
        self.layers = torch.nn.ModuleList()
        for _ in range(LAYERS):
            m = torch.nn.Module()
            m.attn_norm, m.ffn_norm = torch.nn.Parameter(torch.ones(DIM)), torch.nn.Parameter(torch.ones(DIM))
            m.q, m.k, m.v = mat(HEADS * HEAD, DIM), mat(KV_HEADS * HEAD, DIM), mat(KV_HEADS * HEAD, DIM)
            m.o, m.down = mat(DIM, HEADS * HEAD, 0.3), mat(DIM, FFN, 0.3)
            m.gate, m.up = mat(FFN, DIM), mat(FFN, DIM)
            self.layers.append(m)
        pos = torch.arange(CONTEXT)[:, None] * (BASE ** (-torch.arange(0, HEAD, 2) / HEAD))[None]
        self.cos, self.sin = pos.cos(), pos.sin()

    def lin(self, x, w):
        return F.linear(x, RoundQ4.apply(w) if self.rounding else w)

    def rope(self, x):
        t = x.shape[2]
        a, b = x.float().reshape(*x.shape[:-1], HEAD // 2, 2).unbind(-1)
        c, s = self.cos[:t], self.sin[:t]
        return torch.stack((a * c - b * s, a * s + b * c), -1).flatten(-2)

    def forward(self, ids):
        n, t = ids.shape
        rms = lambda x, w: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS) * w
        embd = RoundQ4.apply(self.embd) if self.rounding else self.embd
        x = F.embedding(ids, embd)
        mask = torch.full((t, t), float("-inf")).triu(1)
        for m in self.layers:
            h = rms(x, m.attn_norm)
            split = lambda y, k: y.reshape(n, t, k, HEAD).transpose(1, 2)
            q, k, v = self.rope(split(self.lin(h, m.q), HEADS)), self.rope(split(self.lin(h, m.k), KV_HEADS)), split(self.lin(h, m.v), KV_HEADS)
            k, v = k.repeat_interleave(HEADS // KV_HEADS, 1), v.repeat_interleave(HEADS // KV_HEADS, 1)
            att = torch.softmax((torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(HEAD)).float() + mask, -1)
            x = x + self.lin(torch.matmul(att, v).transpose(1, 2).reshape(n, t, -1), m.o).float()
            h = rms(x, m.ffn_norm)
            x = x + self.lin(F.silu(self.lin(h, m.gate)) * self.lin(h, m.up), m.down).float()
        return F.linear(rms(x, self.norm), embd).float()


def rows(seqs, rng):
    """Endless rows of ROW + 1 tokens, each starting with a story's first token."""
    order = []
    while True:
        row = []
        while len(row) <= ROW:
            if not order:
                order = list(range(len(seqs)))
                rng.shuffle(order)
            row += seqs[order.pop()]
        yield row[:ROW + 1]


def perplexity(model, seqs):
    """Over the stories themselves, each alone in its context, the first token given."""
    total, n = 0.0, 0
    with torch.no_grad():
        for s in seqs:
            ids = torch.tensor([s])
            total += F.cross_entropy(model(ids[:, :-1])[0], ids[0, 1:], reduction="sum").item()
            n += len(s) - 1
    return math.exp(total / n)


def curve(points, held, path):
    w, h, left, top = 720, 360, 50, 20
    low, high, last = 0.8 * min(p[1] for p in points), min(4.0, max(p[1] for p in points)), points[-1][0]
    x = lambda s: left + (w - left - 20) * s / last
    y = lambda v: top + (h - top - 40) * (1 - (math.log(min(v, high)) - math.log(low)) / (math.log(high) - math.log(low)))
    line = lambda pts, c: '<polyline fill="none" stroke="%s" stroke-width="1.6" points="%s"/>' % (c, " ".join("%.1f,%.1f" % (x(a), y(b)) for a, b in pts))
    out = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12" fill="#555">' % (w, h), '<rect width="100%" height="100%" fill="#fff"/>']
    for v in [x for x in (0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 4.0) if low <= x <= high]:
        out.append('<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#ddd"/><text x="12" y="%.1f">%.1f</text>' % (left, w - 20, y(v), y(v), y(v) + 4, v))
    for s in range(0, last + 1, max(1, last // 6)):
        out.append('<text x="%.1f" y="%d" text-anchor="middle">%d</text>' % (x(s), h - 22, s))
    out += [line(points, "#3b6fd4"), line(held, "#d4663b"), '<text x="%d" y="%d">steps; cross-entropy in nats per token (log scale): blue training, orange held out</text>' % (left, h - 5), "</svg>"]
    open(path, "w").write("\n".join(out) + "\n")


def export(model, tokens, path):
    scores = [0.0] * 259 + [-float(i) for i in range(len(tokens) - 259)]
    meta = [("general.architecture", "str", "llama"), ("general.name", "str", "Hyperion Story 5M"), ("general.license", "str", "mit"), ("general.file_type", "u32", 1),
            ("llama.context_length", "u32", CONTEXT), ("llama.embedding_length", "u32", DIM), ("llama.block_count", "u32", LAYERS), ("llama.feed_forward_length", "u32", FFN),
            ("llama.attention.head_count", "u32", HEADS), ("llama.attention.head_count_kv", "u32", KV_HEADS), ("llama.attention.layer_norm_rms_epsilon", "f32", EPS),
            ("llama.rope.dimension_count", "u32", HEAD), ("llama.rope.freq_base", "f32", BASE), ("llama.vocab_size", "u32", len(tokens)),
            ("tokenizer.ggml.model", "str", "llama"), ("tokenizer.ggml.tokens", "strs", tokens), ("tokenizer.ggml.scores", "f32s", scores),
            ("tokenizer.ggml.token_type", "i32s", [2, 3, 3] + [6] * 256 + [1] * (len(tokens) - 259)), ("tokenizer.ggml.bos_token_id", "u32", 1),
            ("tokenizer.ggml.eos_token_id", "u32", 2), ("tokenizer.ggml.unknown_token_id", "u32", 0), ("tokenizer.ggml.add_bos_token", "bool", True)]
    get = lambda p: p.detach().float().numpy()
    tensors = [("token_embd.weight", get(model.embd)[:len(tokens)], "f16"), ("output_norm.weight", get(model.norm), "f32")]
    names = {"attn_norm": "attn_norm", "ffn_norm": "ffn_norm", "q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output", "gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down"}
    for i, m in enumerate(model.layers):
        tensors += [("blk.%d.%s.weight" % (i, n), get(getattr(m, a)), "f32" if "norm" in a else "f16") for a, n in names.items()]
    gguf.write(path, meta, tensors)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("out")
    ap.add_argument("--steps", type=int, default=9000)
    ap.add_argument("--stories", type=int, default=90000)
    args = ap.parse_args()
    if "MALLOC_TOP_PAD_" not in os.environ:  # glibc would map and unmap every large tensor; keeping them halves the time of a step
        os.environ.update(MALLOC_MMAP_THRESHOLD_=str(1 << 33), MALLOC_TRIM_THRESHOLD_=str(1 << 34), MALLOC_TOP_PAD_=str(1 << 28))
        os.execv(sys.executable, [sys.executable] + sys.argv)
    os.makedirs(args.out, exist_ok=True)
    torch.set_num_threads(os.cpu_count())
    torch.manual_seed(SEED)
    rng = random.Random(SEED)
    texts = [stories.story(rng) for _ in range(args.stories)]
    rng_held = random.Random(HELD_OUT_SEED)
    seen = set(texts)
    held_texts = [s for s in (stories.story(rng_held) for _ in range(300)) if s not in seen][:200]
    tokens, table = learn_vocabulary(texts + held_texts)
    seqs, held = encode(texts, table), encode(held_texts, table)
    open(os.path.join(args.out, "held_out.txt"), "w").write("\n".join(held_texts) + "\n")
    json.dump({"tokens": len(tokens), "stories": len(seqs), "training_tokens": sum(map(len, seqs)), "longest": max(map(len, seqs))}, sys.stdout)
    print(flush=True)
    model = Model()
    print("parameters", sum(p.numel() for p in model.parameters()), flush=True)
    decay = [p for p in model.parameters() if p.dim() == 2]
    rest = [p for p in model.parameters() if p.dim() < 2]
    opt = torch.optim.AdamW([{"params": decay, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}], lr=1e-3, betas=(0.9, 0.98))
    gen, points, held_points, start, recent = rows(seqs, rng), [], [], time.time(), []
    for step in range(1, args.steps + 1):
        model.rounding = step > 0.8 * args.steps
        lr = 1.5e-3 * min(1.0, step / 200) * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * step / args.steps)))
        for g in opt.param_groups:
            g["lr"] = lr
        ids = torch.tensor([next(gen) for _ in range(BATCH)])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(ids[:, :-1])
        loss = F.cross_entropy(logits.reshape(-1, VOCAB), ids[:, 1:].reshape(-1))
        opt.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        recent.append(loss.item())
        if step % 50 == 0 or step == 10:
            mean = sum(recent) / len(recent)
            recent = []
            points.append((step, mean))
            print("step %d loss %.4f lr %.2e %.0f tokens/s" % (step, mean, lr, step * BATCH * ROW / (time.time() - start)), flush=True)
        if step % 500 == 0 or step == args.steps:
            held_points.append((step, math.log(perplexity(model, held[:40]))))
            print("held out %.4f" % held_points[-1][1], flush=True)
            export(model, tokens, os.path.join(args.out, "story-f16.gguf"))
            curve(points, held_points, os.path.join(args.out, "loss.svg"))
    model.rounding = False
    plain = perplexity(model, held)
    model.rounding = True
    print("held-out perplexity: full precision %.4f, rounded to 4 bits %.4f" % (plain, perplexity(model, held)))


if __name__ == "__main__":
    main()
