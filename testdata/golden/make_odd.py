#!/usr/bin/env python3
"""odd/*.gguf and odd.npz: small random models of unusual shapes, and their logits.

usage: make_odd.py SPEC_FOLDER        (needs numpy and the gguf package)

SPEC_FOLDER holds spec_check.py, the float64 numpy statement of the model. Each shape differs from
the published ones where an engine might have taken a published number for granted: the window, the
number of streams, the rotary width, the kinds of the first layers, the constants. Weights are
seeded, F16 in the file (the statement sees what the file holds); logits are in exact arithmetic.
"""
import json
import os
import sys

import numpy as np
from gguf import GGUFValueType, GGUFWriter

HERE = os.path.dirname(os.path.abspath(__file__))
TOKENS = 300
BASE = dict(hidden_size=32, vocab_size=48, num_attention_heads=2, head_dim=128, q_lora_rank=24, o_groups=2,
            o_lora_rank=12, n_routed_experts=6, num_experts_per_tok=2, moe_intermediate_size=16, index_n_heads=2,
            index_head_dim=128, index_topk=16, num_hash_layers=1, num_hidden_layers=3, compress_ratios=[0, 4, 128])
SHAPES = {
    "pro_kinds": dict(num_hidden_layers=4, compress_ratios=[128, 128, 4, 128], num_hash_layers=3, routed_scaling_factor=2.5),
    "flash_kinds": dict(num_hidden_layers=4, compress_ratios=[0, 0, 4, 128], num_hash_layers=3, num_experts_per_tok=6,
                        num_attention_heads=4, o_groups=4),
    "window_16": dict(sliding_window=16),
    "window_200": dict(sliding_window=200, compress_ratios=[4, 0, 128], num_hash_layers=0),
    "two_streams": dict(sliding_window=1, hc_mult=2, hc_sinkhorn_iters=3, num_hash_layers=3),
    "odd_widths": dict(hidden_size=33, hc_mult=7, qk_rope_head_dim=2, head_dim=66, index_head_dim=32, q_lora_rank=7,
                       o_lora_rank=5, num_attention_heads=3, o_groups=3, moe_intermediate_size=17, n_routed_experts=3,
                       num_experts_per_tok=3),
    "no_indexer": dict(num_hidden_layers=2, compress_ratios=[0, 128], num_hash_layers=0),
    "one_of_all": dict(num_hidden_layers=1, compress_ratios=[4], num_hash_layers=0, hc_mult=1, hc_sinkhorn_iters=1,
                       index_topk=1, num_experts_per_tok=1, n_routed_experts=1, o_groups=1),
    "constants": dict(rms_norm_eps=1e-3, hc_eps=1e-2, swiglu_limit=0.7, rope_theta=500, compress_rope_theta=2000,
                      rope_scaling=dict(factor=4, beta_fast=32, beta_slow=1, original_max_position_embeddings=256)),
}


def tensors(c):
    """(file name, checkpoint name, shape, kind) of every float tensor; kind: m(atrix), n(orm), b(ase)."""
    D, V, n, H, hd, q = (c[k] for k in ("hidden_size", "vocab_size", "hc_mult", "num_attention_heads", "head_dim", "q_lora_rank"))
    G, R, E, F = (c[k] for k in ("o_groups", "o_lora_rank", "n_routed_experts", "moe_intermediate_size"))
    yield "token_embd.weight", "embed.weight", (V, D), "b"
    yield "output_norm.weight", "norm.weight", (D,), "n"
    yield "output.weight", "head.weight", (V, D), "m"
    yield "output_hc_fn.weight", "hc_head_fn", (n, n * D), "m"
    yield "output_hc_base.weight", "hc_head_base", (n,), "b"
    yield "output_hc_scale.weight", "hc_head_scale", (1,), "n"
    for i, ratio in enumerate(c["compress_ratios"]):
        b, l = f"blk.{i}.", f"layers.{i}."
        for half in ("attn", "ffn"):
            yield b + f"hc_{half}_fn.weight", l + f"hc_{half}_fn", ((2 + n) * n, n * D), "m"
            yield b + f"hc_{half}_base.weight", l + f"hc_{half}_base", ((2 + n) * n,), "b"
            yield b + f"hc_{half}_scale.weight", l + f"hc_{half}_scale", (3,), "n"
            yield b + f"{half}_norm.weight", l + f"{half}_norm.weight", (D,), "n"
        a = l + "attn."
        yield b + "attn_q_a.weight", a + "wq_a.weight", (q, D), "m"
        yield b + "attn_q_a_norm.weight", a + "q_norm.weight", (q,), "n"
        yield b + "attn_q_b.weight", a + "wq_b.weight", (H * hd, q), "m"
        yield b + "attn_kv.weight", a + "wkv.weight", (hd, D), "m"
        yield b + "attn_kv_a_norm.weight", a + "kv_norm.weight", (hd,), "n"
        yield b + "attn_sinks.weight", a + "attn_sink", (H,), "b"
        yield b + "attn_output_a.weight", a + "wo_a.weight", (G * R, H * hd // G), "m"
        yield b + "attn_output_b.weight", a + "wo_b.weight", (D, G * R), "m"
        compressors = [("attn_compressor", "compressor", hd)] if ratio else []
        if ratio == 4:
            dim = c["index_head_dim"]
            compressors.append(("indexer_compressor", "indexer.compressor", dim))
            yield b + "indexer.attn_q_b.weight", a + "indexer.wq_b.weight", (c["index_n_heads"] * dim, q), "m"
            yield b + "indexer.proj.weight", a + "indexer.weights_proj.weight", (c["index_n_heads"], D), "m"
        for name, source, dim in compressors:
            width = dim * (2 if ratio == 4 else 1)
            yield b + name + "_kv.weight", a + source + ".wkv.weight", (width, D), "m"
            yield b + name + "_gate.weight", a + source + ".wgate.weight", (width, D), "m"
            yield b + name + "_ape.weight", a + source + ".ape", (ratio, width), "b"
            yield b + name + "_norm.weight", a + source + ".norm.weight", (dim,), "n"
        f = l + "ffn."
        yield b + "ffn_gate_inp.weight", f + "gate.weight", (E, D), "m"
        if i >= c["num_hash_layers"]:
            yield b + "exp_probs_b.bias", f + "gate.bias", (E,), "b"
        for part, source, shape in (("gate", "w1", (F, D)), ("up", "w3", (F, D)), ("down", "w2", (D, F))):
            yield b + f"ffn_{part}_exps.weight", f + f"experts.E.{source}.weight", (E, *shape), "m"
            yield b + f"ffn_{part}_shexp.weight", f + f"shared_experts.{source}.weight", shape, "m"


def weights(c, rng):
    """What the file holds (by file name) and what the statement reads (by checkpoint name)."""
    files, stated = {}, {}
    for name, source, shape, kind in tensors(c):
        scale = {"m": 1 / np.sqrt(shape[-1]), "n": 0.2, "b": 0.5}[kind]
        x = rng.standard_normal(shape) * scale + (kind == "n")
        files[name] = x.astype(np.float16 if kind == "m" else np.float32)
        x = files[name].astype(np.float64)
        if ".E." in source:
            stated.update({source.replace(".E.", f".{e}."): x[e] for e in range(len(x))})
        else:
            stated[source] = x
    for i in range(c["num_hash_layers"]):
        shape = (c["vocab_size"], c["num_experts_per_tok"])
        table = np.argsort(rng.random((shape[0], c["n_routed_experts"])), axis=1)[:, :shape[1]]
        files[f"blk.{i}.ffn_gate_tid2eid.weight"] = table.astype(np.int32)
        stated[f"layers.{i}.ffn.gate.tid2eid"] = table
    return files, stated


def write(path, c, files):
    g = GGUFWriter(path, "deepseek4")
    y, p = c["rope_scaling"], "deepseek4."
    integers = {"block_count": "num_hidden_layers", "embedding_length": "hidden_size", "vocab_size": "vocab_size",
                "attention.head_count": "num_attention_heads", "attention.key_length": "head_dim",
                "attention.value_length": "head_dim", "rope.dimension_count": "qk_rope_head_dim",
                "attention.q_lora_rank": "q_lora_rank", "attention.output_lora_rank": "o_lora_rank",
                "attention.output_group_count": "o_groups", "expert_count": "n_routed_experts",
                "expert_used_count": "num_experts_per_tok", "expert_feed_forward_length": "moe_intermediate_size",
                "hash_layer_count": "num_hash_layers", "attention.sliding_window": "sliding_window",
                "attention.indexer.head_count": "index_n_heads", "attention.indexer.key_length": "index_head_dim",
                "attention.indexer.top_k": "index_topk", "hyper_connection.count": "hc_mult",
                "hyper_connection.sinkhorn_iterations": "hc_sinkhorn_iters"}
    floats = {"expert_weights_scale": "routed_scaling_factor", "rope.freq_base": "rope_theta",
              "attention.compress_rope_freq_base": "compress_rope_theta", "swiglu_clamp_exp": "swiglu_limit",
              "attention.layer_norm_rms_epsilon": "rms_norm_eps", "hyper_connection.epsilon": "hc_eps"}
    for key, name in integers.items():
        g.add_uint32(p + key, c[name])
    for key, name in floats.items():
        g.add_float32(p + key, float(c[name]))
    g.add_float32(p + "rope.scaling.factor", float(y["factor"]))
    g.add_uint32(p + "rope.scaling.original_context_length", y["original_max_position_embeddings"])
    g.add_key_value(p + "attention.compress_ratios", c["compress_ratios"], GGUFValueType.ARRAY, GGUFValueType.INT32)
    for name, x in files.items():
        g.add_tensor(name, x)
    g.write_header_to_file()
    g.write_kv_data_to_file()
    g.write_tensors_to_file()
    g.close()


def main():
    sys.path.insert(0, sys.argv[1])
    import spec_check

    with open(os.path.join(HERE, "config.json")) as file:
        tiny = json.load(file)
    os.makedirs(os.path.join(HERE, "odd"), exist_ok=True)
    out = {}
    for seed, (name, changes) in enumerate(SHAPES.items()):
        config, rng = {**tiny, **BASE, **changes}, np.random.default_rng(seed)
        files, stated = weights(config, rng)
        write(os.path.join(HERE, "odd", name + ".gguf"), config, files)
        tokens = rng.integers(0, config["vocab_size"], TOKENS)
        logits, session = spec_check.run(config, stated, tokens)
        out[name + "_tokens"] = tokens.astype(np.int64)
        out[name + "_logits"] = logits.astype(np.float32)
        print(f"{name}: router margin {session.margins['router']:.1e}, index margin {session.margins['index']:.1e}")
    np.savez(os.path.join(HERE, "odd.npz"), **out)


if __name__ == "__main__":
    main()
