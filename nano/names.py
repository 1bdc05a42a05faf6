"""Names and shipped formats of Nano's tensors: own (official) name -> GGUF name, format.

`own_name` is the inverse. Stacked experts are one tensor on both sides.
"""

LAYER_NAMES = {
    "hc_attn_fn": ("hc_attn_fn", "F16"),
    "hc_ffn_fn": ("hc_ffn_fn", "F16"),
    "hc_attn_base": ("hc_attn_base", "F32"),
    "hc_ffn_base": ("hc_ffn_base", "F32"),
    "hc_attn_scale": ("hc_attn_scale", "F32"),
    "hc_ffn_scale": ("hc_ffn_scale", "F32"),
    "attn_norm.weight": ("attn_norm", "F32"),
    "ffn_norm.weight": ("ffn_norm", "F32"),
    "attn.wq_a.weight": ("attn_q_a", "Q8_0"),
    "attn.q_norm.weight": ("attn_q_a_norm", "F32"),
    "attn.wq_b.weight": ("attn_q_b", "Q8_0"),
    "attn.wkv.weight": ("attn_kv", "Q8_0"),
    "attn.kv_norm.weight": ("attn_kv_a_norm", "F32"),
    "attn.attn_sink": ("attn_sinks", "F32"),
    "attn.wo_a.weight": ("attn_output_a", "Q8_0"),
    "attn.wo_b.weight": ("attn_output_b", "Q8_0"),
    "attn.compressor.wkv.weight": ("attn_compressor_kv", "F16"),
    "attn.compressor.wgate.weight": ("attn_compressor_gate", "F16"),
    "attn.compressor.ape": ("attn_compressor_ape", "F16"),
    "attn.compressor.norm.weight": ("attn_compressor_norm", "F32"),
    "attn.indexer.wq_b.weight": ("indexer.attn_q_b", "F16"),
    "attn.indexer.weights_proj.weight": ("indexer.proj", "F16"),
    "attn.indexer.compressor.wkv.weight": ("indexer_compressor_kv", "F16"),
    "attn.indexer.compressor.wgate.weight": ("indexer_compressor_gate", "F16"),
    "attn.indexer.compressor.ape": ("indexer_compressor_ape", "F16"),
    "attn.indexer.compressor.norm.weight": ("indexer_compressor_norm", "F32"),
    "ffn.gate.weight": ("ffn_gate_inp", "F16"),
    "ffn.gate.tid2eid": ("ffn_gate_tid2eid", "I32"),
    "ffn.gate.bias": ("exp_probs_b", "F32"),
    "ffn.w1": ("ffn_gate_exps", "MXFP4"),
    "ffn.w3": ("ffn_up_exps", "MXFP4"),
    "ffn.w2": ("ffn_down_exps", "MXFP4"),
    "ffn.shared_experts.w1.weight": ("ffn_gate_shexp", "Q8_0"),
    "ffn.shared_experts.w3.weight": ("ffn_up_shexp", "Q8_0"),
    "ffn.shared_experts.w2.weight": ("ffn_down_shexp", "Q8_0"),
}
MODEL_NAMES = {
    "embed.weight": ("token_embd", "Q8_0"),
    "norm.weight": ("output_norm", "F32"),
    "head.weight": ("output", "Q8_0"),
    "hc_head_fn": ("output_hc_fn", "F16"),
    "hc_head_base": ("output_hc_base", "F32"),
    "hc_head_scale": ("output_hc_scale", "F32"),
}
MTP_NAMES = {
    "hc_head_fn": ("hc_head_fn", "F16"),
    "hc_head_base": ("hc_head_base", "F32"),
    "hc_head_scale": ("hc_head_scale", "F32"),
    "e_proj.weight": ("e_proj", "Q8_0"),
    "h_proj.weight": ("h_proj", "Q8_0"),
    "enorm.weight": ("enorm", "F32"),
    "hnorm.weight": ("hnorm", "F32"),
    "norm.weight": ("norm", "F32"),
}


def file_name(name):
    """(GGUF name, type) of an own tensor name."""
    if name.startswith("layers."):
        _, layer, rest = name.split(".", 2)
        stem, kind = LAYER_NAMES[rest]
        prefix = f"blk.{layer}."
    elif name.startswith("mtp."):
        rest = name.split(".", 2)[2]
        stem, kind = MTP_NAMES.get(rest) or LAYER_NAMES[rest]
        prefix = "mtp.0."
    else:
        stem, kind = MODEL_NAMES[name]
        prefix = ""
    return prefix + stem + (".bias" if stem == "exp_probs_b" else ".weight"), kind


def own_name(name):
    """The own tensor name of a GGUF name."""
    stem = name.rsplit(".", 1)[0]
    if stem.startswith("blk."):
        _, layer, rest = stem.split(".", 2)
        return f"layers.{layer}." + LAYER_STEMS[rest]
    if stem.startswith("mtp.0."):
        rest = stem[len("mtp.0.") :]
        return "mtp.0." + (MTP_STEMS.get(rest) or LAYER_STEMS[rest])
    return MODEL_STEMS[stem]


LAYER_STEMS, MODEL_STEMS, MTP_STEMS = (
    {stem: own for own, (stem, _) in table.items()} for table in (LAYER_NAMES, MODEL_NAMES, MTP_NAMES)
)
