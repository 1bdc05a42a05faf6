"""Writes a trained Nano as files that the engine reads.

  python export.py CHECKPOINT_DIR TOKENIZER.json OUT_DIR

OUT_DIR receives
  nano.gguf        shipped: routed experts MXFP4 (exactly what was trained), matrices Q8_0,
                   small sensitive ones F16, vectors F32
  nano-f16.gguf    the master: the same with F16 instead of Q8_0 (experts stay MXFP4: exact)
  nano-mtp.gguf    the MTP block, named as in published draft files
  hf/              safetensors in official names, config.json and tokenizer.json
"""

import json
import shutil
import sys
from pathlib import Path

import gguf
import numpy as np
from checkpoint import read_model
from gguf import GGMLQuantizationType as Type
from model import Config, Model, fp4_sim, official_tensors
from names import file_name
from safetensors.torch import save_file

CONTEXT_TOKENS = 65536


def mxfp4(values):
    """float32 [..., n] that are exactly representable -> bytes [..., n / 32 * 17]."""
    y = values.reshape(*values.shape[:-1], -1, 32)
    largest = np.maximum(np.abs(y).max(-1, keepdims=True), 6 * 2.0**-126).astype(np.float32)
    fraction, exponent = np.frexp(largest / np.float32(6))
    exponent = exponent - (fraction == 0.5)
    magnitude = np.abs(y) / np.ldexp(np.float32(1), exponent)
    steps = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
    codes = np.abs(magnitude[..., None] - steps).argmin(-1).astype(np.uint8)
    assert np.array_equal(steps[codes], magnitude), "experts are not on the FP4 grid"
    codes |= np.signbit(y).astype(np.uint8) << 3
    packed = codes[..., :16] | codes[..., 16:] << 4
    scale = (exponent + 127).astype(np.uint8)
    return np.concatenate([scale, packed], -1).reshape(*values.shape[:-1], -1)


def encoded(value, kind, master):
    """(array, type) as the writer wants them."""
    if kind == Type.I32:
        return value.int().numpy(), None
    if kind == Type.MXFP4:
        return mxfp4(fp4_sim(value.float()).numpy()), kind
    if kind == Type.Q8_0 and not master:
        return gguf.quants.quantize(value.float().numpy(), kind), kind
    return value.float().numpy().astype(np.float32 if kind == Type.F32 else np.float16), None


def add_shape(writer, cfg):
    """The metadata that states the model's shape."""
    integers = {
        "block_count": cfg.num_hidden_layers,
        "context_length": CONTEXT_TOKENS,
        "embedding_length": cfg.hidden_size,
        "vocab_size": cfg.vocab_size,
        "attention.head_count": cfg.num_attention_heads,
        "attention.head_count_kv": 1,
        "attention.key_length": cfg.head_dim,
        "attention.value_length": cfg.head_dim,
        "rope.dimension_count": cfg.qk_rope_head_dim,
        "attention.q_lora_rank": cfg.q_lora_rank,
        "attention.output_lora_rank": cfg.o_lora_rank,
        "attention.output_group_count": cfg.o_groups,
        "expert_count": cfg.n_routed_experts,
        "expert_used_count": cfg.num_experts_per_tok,
        "expert_shared_count": 1,
        "expert_feed_forward_length": cfg.moe_intermediate_size,
        "hash_layer_count": cfg.num_hash_layers,
        "attention.sliding_window": cfg.sliding_window,
        "attention.indexer.head_count": cfg.index_n_heads,
        "attention.indexer.key_length": cfg.index_head_dim,
        "attention.indexer.top_k": cfg.index_topk,
        "hyper_connection.count": cfg.hc_mult,
        "hyper_connection.sinkhorn_iterations": cfg.hc_sinkhorn_iters,
        "rope.scaling.original_context_length": 65536,
    }
    floats = {
        "hyper_connection.epsilon": cfg.hc_eps,
        "rope.freq_base": cfg.rope_theta,
        "attention.compress_rope_freq_base": cfg.compress_rope_theta,
        "rope.scaling.factor": 16.0,
        "rope.scaling.yarn_beta_fast": 32.0,
        "rope.scaling.yarn_beta_slow": 1.0,
        "expert_weights_scale": cfg.routed_scaling_factor,
        "attention.layer_norm_rms_epsilon": cfg.rms_norm_eps,
    }
    for key, value in integers.items():
        writer.add_uint32("deepseek4." + key, value)
    for key, value in floats.items():
        writer.add_float32("deepseek4." + key, value)
    writer.add_array("deepseek4.attention.compress_ratios", list(cfg.compress_ratios))
    writer.add_array("deepseek4.swiglu_clamp_exp", [cfg.swiglu_limit] * cfg.num_hidden_layers)
    writer.add_string("deepseek4.rope.scaling.type", "yarn")
    writer.add_bool("deepseek4.expert_weights_norm", True)


def add_tokenizer(writer, tokenizer):
    vocabulary = dict(tokenizer["model"]["vocab"])
    added = {t["content"]: t for t in tokenizer["added_tokens"]}
    vocabulary |= {text: t["id"] for text, t in added.items()}
    tokens = sorted(vocabulary, key=vocabulary.get)
    kinds = [1 if t not in added else 3 if t.startswith("<｜") else 4 for t in tokens]
    merges = [m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("joyai-llm")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(False)


def write(path, state, cfg, tokenizer=None, master=False):
    writer = gguf.GGUFWriter(path, "deepseek4")
    writer.add_name("Nano")
    writer.add_license("mit")
    if tokenizer:
        add_shape(writer, cfg)
        add_tokenizer(writer, tokenizer)
    for name, value in state.items():
        target, kind = file_name(name)
        kind = Type[kind]
        array, raw = encoded(value, kind, master)
        writer.add_tensor(target, np.ascontiguousarray(array), raw_dtype=raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


def main():
    checkpoint, tokenizer_path, out = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    state = read_model(checkpoint)
    cfg = Config(vocab_size=len(state["embed.weight"]))
    model = Model(cfg, 128)
    model.load_state_dict(state)
    tensors = model.state_dict()
    main_part = {k: v for k, v in tensors.items() if not k.startswith("mtp.")}
    draft = {k: v for k, v in tensors.items() if k.startswith("mtp.")}
    tokenizer = json.loads(tokenizer_path.read_text())
    (out / "hf").mkdir(parents=True, exist_ok=True)
    write(out / "nano.gguf", main_part, cfg, tokenizer)
    write(out / "nano-f16.gguf", main_part, cfg, tokenizer, master=True)
    write(out / "nano-mtp.gguf", draft, cfg)
    rounded = {
        k: fp4_sim(v) if k.split(".")[-1] in ("w1", "w2", "w3") else v for k, v in tensors.items()
    }
    model.load_state_dict(rounded)
    official = {k: v.contiguous().clone() for k, v in official_tensors(model).items()}
    save_file(official, out / "hf/model.safetensors")
    (out / "hf/config.json").write_text(json.dumps(cfg.to_json(), indent=1))
    shutil.copy(tokenizer_path, out / "hf/tokenizer.json")


if __name__ == "__main__":
    main()
