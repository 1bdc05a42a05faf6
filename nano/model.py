"""DeepSeek V4 in PyTorch, for training: whole sequences from position 0, all positions at once.

The graph is that of the published weights: sliding window, ratio-4 rows picked by an indexer,
ratio-128 rows, attention sinks, grouped output projection, hash and learned routing, a shared
expert, four hyper-connection streams, one multi-token-prediction (MTP) block. `check.py` proves
it against logits of the reference implementation.

Shapes in comments: B sequences, T positions (a multiple of 128 inside the blocks), D hidden,
H heads, C head width, R compressed rows, E experts, F expert width, n streams.
Parameters have the official names, except that the experts of a layer are stacked
(`ffn.w1` [E, F, D]); `export.py` splits them.
"""
import json
import math
from dataclasses import asdict, dataclass, fields

import torch
import torch.nn.functional as F
from sinkhorn import sinkhorn
from torch import nn

WINDOW_BLOCK = 128


@dataclass
class Config:
    """Shape of the model under the names of the official config.json; defaults are Nano's."""

    vocab_size: int = 4608
    hidden_size: int = 512
    num_hidden_layers: int = 7
    compress_ratios: tuple = (0, 128, 4, 4, 128, 4, 4)
    num_hash_layers: int = 2
    num_attention_heads: int = 8
    head_dim: int = 192
    qk_rope_head_dim: int = 64
    q_lora_rank: int = 128
    o_groups: int = 4
    o_lora_rank: int = 64
    sliding_window: int = 128
    index_n_heads: int = 4
    index_head_dim: int = 128
    index_topk: int = 128
    n_routed_experts: int = 6
    num_experts_per_tok: int = 2
    moe_intermediate_size: int = 256
    routed_scaling_factor: float = 1.5
    swiglu_limit: float = 10.0
    hc_mult: int = 4
    hc_sinkhorn_iters: int = 20
    hc_eps: float = 1e-6
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000
    compress_rope_theta: float = 160000
    num_nextn_predict_layers: int = 1
    max_position_embeddings: int = 1 << 20
    expert_dtype: str = "fp4"

    @classmethod
    def from_json(cls, path):
        """Reads a config.json; keys that this model does not need are ignored."""
        with open(path) as file:
            stated = json.load(file)
        known = {f.name for f in fields(cls)}
        stated = {"expert_dtype": "fp32"} | stated
        return cls(**{k: v for k, v in stated.items() if k in known})

    def to_json(self):
        """The config.json that ships with a checkpoint in official names."""
        fixed = {
            "architectures": ["DeepseekV4ForCausalLM"], "model_type": "deepseek_v4",
            "bos_token_id": 0, "eos_token_id": 1, "hidden_act": "silu", "n_shared_experts": 1,
            "norm_topk_prob": True, "num_key_value_heads": 1, "scoring_func": "sqrtsoftplus",
            "topk_method": "noaux_tc", "tie_word_embeddings": False, "torch_dtype": "float32",
            "rope_scaling": {"type": "yarn", "factor": 16, "beta_fast": 32, "beta_slow": 1,
                             "original_max_position_embeddings": 65536},
        }
        stated = asdict(self)
        stated["compress_ratios"] = list(self.compress_ratios) + [0] * self.num_nextn_predict_layers
        return fixed | stated


# ---------------------------------------------------------------- activation simulation
def _exponent(x):
    """floor(log2 x) of positive normal floats, exactly."""
    return ((x.view(torch.int32) >> 23) & 255) - 127


def _power_of_two(exponent):
    return ((exponent + 127) << 23).view(torch.float32)


def _scale(largest, top):
    """The smallest power of two s with largest / s <= top."""
    ratio = largest / top
    has_fraction = (ratio.view(torch.int32) & 0x7FFFFF) != 0
    return _power_of_two(_exponent(ratio) + has_fraction.to(torch.int32))


def _round_groups(x, group, floor, top, least_exponent, fraction_bits):
    """Rounds groups of channels to a small float format under one power-of-two scale each.

    The gradient passes straight through."""
    y = x.detach().float().unflatten(-1, (-1, group))
    scale = _scale(y.abs().amax(-1, keepdim=True).clamp_min(floor), top)
    v = (y / scale).clamp(-top, top)
    exponent = _exponent(v.abs().clamp_min(2.0 ** least_exponent))
    quantum = _power_of_two(exponent - fraction_bits)
    rounded = (torch.round(v / quantum) * quantum * scale).flatten(-2)
    return x + (rounded - x.detach()).to(x.dtype)


def fp8_sim(x):
    """E4M3 in groups of 64 channels."""
    return _round_groups(x, 64, 1e-4, 448.0, -6, 3)


def fp4_sim(x):
    """E2M1 in groups of 32 channels."""
    return _round_groups(x, 32, 6.0 * 2.0 ** -126, 6.0, 0, 1)


def hadamard_matrix(n):
    h = torch.ones(1, 1)
    while len(h) < n:
        h = torch.cat([torch.cat([h, h], 1), torch.cat([h, -h], 1)])
    return h


# ---------------------------------------------------------------- small parts
def rms(x, weight=None, eps=1e-6):
    x = x.float()
    y = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
    return y if weight is None else y * weight


def linear(x, weight):
    """x W^T in x's type; parameters are float32 masters."""
    return F.linear(x, weight.to(x.dtype))


class Weight(nn.Module):
    """A matrix or vector with the official name suffix `.weight`."""

    def __init__(self, *shape, fill=None, std=None):
        super().__init__()
        std = shape[-1] ** -0.5 if std is None else std
        value = torch.full(shape, float(fill)) if fill is not None else torch.randn(shape) * std
        self.weight = nn.Parameter(value)


def frequencies(cfg, compressed):
    """Rotary frequencies [rotary/2]; YaRN-interpolated for layers with compressed rows."""
    d = cfg.qk_rope_head_dim
    i = torch.arange(0, d, 2, dtype=torch.float64)
    if not compressed:
        return (cfg.rope_theta ** (-i / d)).float()
    f = cfg.compress_rope_theta ** (-i / d)

    def correction(rotations):
        return d * math.log(65536 / (rotations * 2 * math.pi)) / (
            2 * math.log(cfg.compress_rope_theta))

    low, high = max(math.floor(correction(32)), 0), min(math.ceil(correction(1)), d - 1)
    ramp = ((torch.arange(d // 2, dtype=torch.float64) - low) / (high - low)).clamp(0, 1)
    return (f / 16 * ramp + f * (1 - ramp)).float()


def rotate(x, table, inverse=False):
    """Rotates the last channels of x [B, T, (heads,) C] in adjacent pairs; table [2, T, pairs]."""
    n = table.shape[-1] * 2
    cos, sin = table[0], -table[1] if inverse else table[1]
    if x.dim() == 4:
        cos, sin = cos[:, None], sin[:, None]
    pairs = x[..., -n:].float().unflatten(-1, (-1, 2))
    a, b = pairs[..., 0], pairs[..., 1]
    turned = torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)
    return torch.cat([x[..., :-n], turned.to(x.dtype)], -1)


# ---------------------------------------------------------------- attention
class Compressor(nn.Module):
    """Pools windows of `ratio` positions into rows, with a softmax per channel."""

    def __init__(self, cfg, ratio, width):
        super().__init__()
        self.ratio, self.overlap = ratio, ratio == 4
        channels = width * (2 if self.overlap else 1)
        self.wkv, self.wgate = Weight(channels, cfg.hidden_size), Weight(channels, cfg.hidden_size)
        self.ape = nn.Parameter(torch.randn(ratio, channels) * (0.5 if self.overlap else 0.02))
        self.norm = Weight(width, fill=1)

    def forward(self, x, table):
        """x [B, T, D] -> rows [B, T / ratio, width], rotated to the window's first position."""
        r = self.ratio
        v = linear(x, self.wkv.weight).float().unflatten(1, (-1, r))
        z = linear(x, self.wgate.weight).float().unflatten(1, (-1, r)) + self.ape
        if self.overlap:
            (va, vb), (za, zb) = v.chunk(2, -1), z.chunk(2, -1)
            va = F.pad(va, (0, 0, 0, 0, 1, 0))[:, :-1]
            za = F.pad(za, (0, 0, 0, 0, 1, 0), value=-1e30)[:, :-1]
            v, z = torch.cat([va, vb], 2), torch.cat([za, zb], 2)
        row = (torch.softmax(z, 2) * v).sum(2)
        return rotate(rms(row, self.norm.weight), table[:, ::r])


class Indexer(nn.Module):
    """Scores the ratio-4 rows for every position. It learns from its own loss only."""

    def __init__(self, cfg):
        super().__init__()
        self.heads, self.width = cfg.index_n_heads, cfg.index_head_dim
        self.wq_b = Weight(self.heads * self.width, cfg.q_lora_rank)
        self.weights_proj = Weight(self.heads, cfg.hidden_size, std=0.2)
        self.compressor = Compressor(cfg, 4, self.width)
        self.register_buffer("hadamard", hadamard_matrix(self.width), persistent=False)

    def simulate(self, x, qat):
        if not qat:
            return x
        turned = F.linear(x, self.hadamard.to(x.dtype)).float() * self.width ** -0.5
        return fp4_sim(turned)

    def forward(self, x, latent, table, qat):
        """x [B, T, D], latent [B, T, q_lora] -> scores [B, T, R]."""
        B, T, _ = x.shape
        q = linear(latent, self.wq_b.weight).unflatten(-1, (self.heads, self.width))
        q = self.simulate(rotate(q, table), qat).to(x.dtype)
        rows = self.simulate(self.compressor(x, table).to(x.dtype), qat).to(x.dtype)
        gain = linear(x, self.weights_proj.weight).float() * (self.heads * self.width) ** -0.5
        dots = torch.bmm(q.flatten(1, 2), rows.transpose(1, 2)).view(B, T, self.heads, -1)
        return (F.relu(dots).float() * gain[..., None]).sum(2)


def pick(score, allow, k):
    """The k largest allowed scores of each row as a mask; of equal scores the first rows."""
    if score.shape[-1] <= k:
        return allow.expand(score.shape)
    score = score.detach().masked_fill(~allow, -torch.inf)
    least = torch.topk(score, k, dim=-1, sorted=False).values.amin(-1, keepdim=True)
    above, equal = score > least, score == least
    room = k - above.sum(-1, keepdim=True)
    return (above | (equal & (equal.int().cumsum(-1) <= room))) & allow


class Attention(nn.Module):
    def __init__(self, cfg, ratio):
        super().__init__()
        self.cfg, self.ratio = cfg, ratio
        H, C = cfg.num_attention_heads, cfg.head_dim
        self.wq_a = Weight(cfg.q_lora_rank, cfg.hidden_size)
        self.q_norm = Weight(cfg.q_lora_rank, fill=1)
        self.wq_b = Weight(H * C, cfg.q_lora_rank)
        self.wkv, self.kv_norm = Weight(C, cfg.hidden_size), Weight(C, fill=1)
        self.attn_sink = nn.Parameter(torch.zeros(H))
        self.wo_a = Weight(cfg.o_groups * cfg.o_lora_rank, H * C // cfg.o_groups)
        self.wo_b = Weight(cfg.hidden_size, cfg.o_groups * cfg.o_lora_rank, std=0.01)
        if ratio:
            self.compressor = Compressor(cfg, ratio, C)
        if ratio == 4:
            self.indexer = Indexer(cfg)

    def simulate_row(self, row, qat):
        """FP8 for the plain channels, BF16 for the rotary ones (by the cast, when training)."""
        if not qat:
            return row
        plain = self.cfg.head_dim - self.cfg.qk_rope_head_dim
        return torch.cat([fp8_sim(row[..., :plain]), row[..., plain:]], -1)

    def forward(self, x, table, qat):
        """x [B, T, D] normalized -> (y [B, T, D], indexer loss)."""
        cfg, H, C = self.cfg, self.cfg.num_attention_heads, self.cfg.head_dim
        latent = rms(linear(x, self.wq_a.weight), self.q_norm.weight).to(x.dtype)
        q = rms(linear(latent, self.wq_b.weight).unflatten(-1, (H, C)))
        q = (rotate(q, table) * C ** -0.5).to(x.dtype)
        kv = rotate(rms(linear(x, self.wkv.weight), self.kv_norm.weight), table)
        kv = self.simulate_row(kv, qat).to(x.dtype)
        rows = score = None
        if self.ratio:
            rows = self.simulate_row(self.compressor(x, table), qat).to(x.dtype)
        if self.ratio == 4:
            score = self.indexer(x.detach(), latent.detach(), table, qat)
        o, loss = self.attend(q, kv, rows, score)
        o = rotate(o, table, inverse=True).flatten(2).unflatten(-1, (cfg.o_groups, -1))
        wo_a = self.wo_a.weight.to(x.dtype).unflatten(0, (cfg.o_groups, -1))
        low = torch.einsum("btgi,gri->btgr", o, wo_a).flatten(2)
        return linear(low, self.wo_b.weight), loss

    def attend(self, q, kv, rows, score):
        """q [B, T, H, C], kv [B, T, C], rows [B, R, C] or None -> (o [B, T, H, C], loss)."""
        B, T, H, C = q.shape
        W, device = WINDOW_BLOCK, q.device
        blocks = kv.view(B, T // W, W, C)
        near = torch.cat([F.pad(blocks, (0, 0, 0, 0, 1, 0))[:, :-1], blocks], 2).flatten(0, 1)
        s = torch.bmm(q.reshape(-1, W * H, C), near.transpose(1, 2)).float()
        s = s.view(B, T // W, W, H, 2 * W)
        distance = torch.arange(W, device=device)[:, None] + W - torch.arange(2 * W, device=device)
        seen = (distance >= 0) & (distance < W)
        exists = (torch.arange(2 * W, device=device) >= W) | (
            torch.arange(T // W, device=device) > 0)[:, None]
        seen = seen[None, :, None, :] & exists[:, None, None, :]
        s = s.masked_fill(~seen, -1e30).view(B, T, H, 2 * W)
        top = torch.maximum(s.amax(-1, keepdim=True), self.attn_sink[:, None])
        if rows is None:
            e = torch.exp(s - top)
            p = e / (e.sum(-1, keepdim=True) + torch.exp(self.attn_sink[:, None] - top))
            return self.weigh(p, near, q), None
        ready = (torch.arange(T, device=device) + 1) // self.ratio
        allow = torch.arange(rows.shape[1], device=device) < ready[:, None]
        far = torch.bmm(q.reshape(B, T * H, C), rows.transpose(1, 2)).float().view(B, T, H, -1)
        far = far.masked_fill(~allow[:, None], -1e30)
        top = torch.maximum(top, far.amax(-1, keepdim=True)).detach()
        e, e_far = torch.exp(s - top), torch.exp(far - top)
        near_sum = e.sum(-1, keepdim=True) + torch.exp(self.attn_sink[:, None] - top)
        loss = None
        if score is not None:
            loss = self.indexer_loss(score, allow, e_far, near_sum)
            chosen = pick(score, allow, self.cfg.index_topk)
            e_far = e_far * chosen[:, :, None]
        total = near_sum + e_far.sum(-1, keepdim=True)
        o = self.weigh(e / total, near, q)
        o_far = torch.bmm((e_far / total).to(q.dtype).view(B, T * H, -1), rows)
        return o + o_far.view(B, T, H, C), loss

    @staticmethod
    def weigh(p, near, q):
        B, T, H, C = q.shape
        p = p.to(q.dtype).view(-1, WINDOW_BLOCK * H, 2 * WINDOW_BLOCK)
        return torch.bmm(p, near).view(B, T, H, C)

    @staticmethod
    def indexer_loss(score, allow, e_far, near_sum):
        """Cross entropy from the heads' attention over all rows to the indexer's softmax.

        Positions count by the attention mass that they send to compressed rows."""
        with torch.no_grad():
            target = (e_far / (near_sum + e_far.sum(-1, keepdim=True))).mean(2)
            mass = target.sum(-1).clamp_max(1.0)
        logp = torch.log_softmax(score.masked_fill(~allow, -1e30), -1)
        cross = -(target * logp.clamp_min(-50.0)).sum(-1)
        entropy = -(target * (target / mass.clamp_min(1e-9)[..., None]).clamp_min(1e-20).log()
                    ).sum(-1)
        return (cross - entropy).sum() / mass.sum().clamp_min(1.0)


# ---------------------------------------------------------------- experts
class Gate(nn.Module):
    def __init__(self, cfg, hashed):
        super().__init__()
        E = cfg.n_routed_experts
        self.weight = nn.Parameter(torch.randn(E, cfg.hidden_size) * 0.02)
        if hashed:
            self.register_buffer("tid2eid", hash_table(cfg))
        else:
            self.register_buffer("bias", torch.zeros(E))


def hash_table(cfg):
    """Expert ids [vocab, used]: distinct in a row, spread evenly over the experts."""
    generator = torch.Generator().manual_seed(1)
    order = torch.rand(cfg.vocab_size, cfg.n_routed_experts, generator=generator)
    return order.argsort(-1)[:, :cfg.num_experts_per_tok].contiguous()


class SharedExpert(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        D, inner = cfg.hidden_size, cfg.moe_intermediate_size
        self.w1, self.w3 = Weight(inner, D), Weight(inner, D)
        self.w2 = Weight(D, inner, std=0.02)


class Experts(nn.Module):
    """All experts are computed and the unchosen ones weighted by zero: at this size faster
    than gathering. With `expert_dtype` "fp4" the routed ones are rounded to MXFP4, which they
    ship in, so that shipping changes nothing."""

    def __init__(self, cfg, hashed):
        super().__init__()
        self.cfg, self.hashed = cfg, hashed
        E, inner, D = cfg.n_routed_experts, cfg.moe_intermediate_size, cfg.hidden_size
        self.gate = Gate(cfg, hashed)
        self.w1 = nn.Parameter(torch.randn(E, inner, D) * D ** -0.5)
        self.w3 = nn.Parameter(torch.randn(E, inner, D) * D ** -0.5)
        self.w2 = nn.Parameter(torch.randn(E, D, inner) * 0.02)
        self.shared_experts = SharedExpert(cfg)

    def route(self, x, tokens):
        """x [B, T, D] -> weights [B, T, E], zero for experts not chosen."""
        s = torch.sqrt(F.softplus(F.linear(x.float(), self.gate.weight)))
        k = self.cfg.num_experts_per_tok
        if self.hashed:
            chosen = self.gate.tid2eid[tokens]
        else:
            chosen = torch.topk(s.detach() + self.gate.bias, k, dim=-1).indices
        g = s * torch.zeros_like(s).scatter(-1, chosen, 1.0)
        return g / g.sum(-1, keepdim=True) * self.cfg.routed_scaling_factor

    def stored(self, w):
        return fp4_sim(w) if self.cfg.expert_dtype == "fp4" else w

    def forward(self, x, tokens):
        """x [B, T, D] normalized -> (y [B, T, D], share of tokens per expert [E])."""
        g = self.route(x, tokens)
        w1, w2, w3 = (self.stored(w) for w in (self.w1, self.w2, self.w3))
        shared = self.shared_experts
        w1 = torch.cat([w1.flatten(0, 1), shared.w1.weight])
        w3 = torch.cat([w3.flatten(0, 1), shared.w3.weight])
        w2 = torch.cat([w2.transpose(1, 2).flatten(0, 1), shared.w2.weight.T])
        limit, inner = self.cfg.swiglu_limit, self.cfg.moe_intermediate_size
        a = linear(x, w1).float().clamp_max(limit)
        y = F.silu(a) * linear(x, w3).float().clamp(-limit, limit)
        gains = torch.cat([g, torch.ones_like(g[..., :1])], -1)
        y = y.unflatten(-1, (-1, inner)) * gains[..., None]
        load = (g.detach() > 0).float().mean((0, 1))
        return y.to(x.dtype).flatten(-2) @ w2.to(x.dtype), load


# ---------------------------------------------------------------- hyper-connections
class Block(nn.Module):
    """One layer over the streams h [B, T, n, D]."""

    def __init__(self, cfg, ratio, hashed, place):
        super().__init__()
        self.cfg = cfg
        self.attn_norm, self.ffn_norm = (Weight(cfg.hidden_size, fill=1) for _ in range(2))
        self.attn, self.ffn = Attention(cfg, ratio), Experts(cfg, hashed)
        for site, offset in (("attn", 0), ("ffn", 1)):
            fn, base, scale = hyper_start(cfg, 2 * place + offset)
            setattr(self, f"hc_{site}_fn", nn.Parameter(fn))
            setattr(self, f"hc_{site}_base", nn.Parameter(base))
            setattr(self, f"hc_{site}_scale", nn.Parameter(scale))

    def mix(self, h, fn, scale, base):
        """h -> (x [B, T, D], post [B, T, n], comb [B, T, n, n])."""
        n, eps = self.cfg.hc_mult, self.cfg.hc_eps
        m = F.linear(rms(h.flatten(2)), fn)
        pre = torch.sigmoid(m[..., :n] * scale[0] + base[:n]) + eps
        post = 2 * torch.sigmoid(m[..., n:2 * n] * scale[1] + base[n:2 * n])
        comb = (m[..., 2 * n:] * scale[2] + base[2 * n:]).unflatten(-1, (n, n))
        comb = sinkhorn(comb, self.cfg.hc_sinkhorn_iters, eps)
        return (pre[..., None] * h).sum(2), post, comb

    @staticmethod
    def spread(h, y, post, comb):
        """post[k] y + sum over j of comb[j, k] h[j]."""
        mixed = sum(comb[:, :, j, :, None] * h[:, :, j, None] for j in range(h.shape[2]))
        return post[..., None] * y.float()[:, :, None] + mixed

    def attention_half(self, h, table, qat, dtype):
        x, post, comb = self.mix(h, self.hc_attn_fn, self.hc_attn_scale, self.hc_attn_base)
        y, loss = self.attn(rms(x, self.attn_norm.weight).to(dtype), table, qat)
        return self.spread(h, y, post, comb), loss

    def expert_half(self, h, tokens, dtype):
        x, post, comb = self.mix(h, self.hc_ffn_fn, self.hc_ffn_scale, self.hc_ffn_base)
        y, load = self.ffn(rms(x, self.ffn_norm.weight).to(dtype), tokens)
        return self.spread(h, y, post, comb), load

    def compile_halves(self):
        """Compiles the halves apart, so that layers of equal kind share what is compiled."""
        self.attention_half = torch.compile(self.attention_half, dynamic=False)
        self.expert_half = torch.compile(self.expert_half, dynamic=False)

    def forward(self, h, tokens, table, qat, dtype):
        h, loss = self.attention_half(h, table, qat, dtype)
        h, load = self.expert_half(h, tokens, dtype)
        return h, loss, load


def hyper_start(cfg, site):
    """Initial hyper-connection of a site: reads mostly one stream, writes all, keeps each."""
    n = cfg.hc_mult
    fn = torch.randn(2 * n + n * n, n * cfg.hidden_size) * (n * cfg.hidden_size) ** -0.5
    pre = torch.full((n,), -2.0)
    pre[site % n] = 2.0
    base = torch.cat([pre, torch.zeros(n), (4.0 * torch.eye(n)).flatten()])
    return fn, base, torch.full((3,), 0.1)


def hyper_head(h, fn, scale, base, eps):
    w = torch.sigmoid(F.linear(rms(h.flatten(2)), fn) * scale + base) + eps
    return (w[..., None] * h).sum(2)


# ---------------------------------------------------------------- whole model
class HeadMix(nn.Module):
    """Parameters of a final stream mixture, shared in kind by the model and the MTP block."""

    def add_head_mix(self, cfg):
        n = cfg.hc_mult
        self.hc_head_fn = nn.Parameter(torch.randn(n, n * cfg.hidden_size) * 0.02)
        self.hc_head_base = nn.Parameter(torch.zeros(n))
        self.hc_head_scale = nn.Parameter(torch.full((1,), 0.1))


class Mtp(Block, HeadMix):
    """The multi-token-prediction block: a window layer over (state at p, token at p + 1)."""

    def __init__(self, cfg, place):
        Block.__init__(self, cfg, 0, False, place)
        D = cfg.hidden_size
        self.e_proj, self.h_proj = Weight(D, D), Weight(D, D)
        self.enorm, self.hnorm, self.norm = (Weight(D, fill=1) for _ in range(3))
        self.add_head_mix(cfg)

    def enter(self, h, embedded, dtype):
        e = linear(rms(embedded, self.enorm.weight).to(dtype), self.e_proj.weight).float()
        hs = linear(rms(h, self.hnorm.weight).to(dtype), self.h_proj.weight).float()
        return e[:, :, None] + hs


class Model(HeadMix):
    def __init__(self, cfg, positions_max=8192):
        super().__init__()
        self.cfg = cfg
        self.embed = Weight(cfg.vocab_size, cfg.hidden_size, std=0.1)
        self.layers = nn.ModuleList(
            Block(cfg, cfg.compress_ratios[i], i < cfg.num_hash_layers, i)
            for i in range(cfg.num_hidden_layers))
        self.mtp = nn.ModuleList(
            Mtp(cfg, cfg.num_hidden_layers) for _ in range(cfg.num_nextn_predict_layers))
        self.norm = Weight(cfg.hidden_size, fill=1)
        self.head = Weight(cfg.vocab_size, cfg.hidden_size, std=0.01)
        self.add_head_mix(cfg)
        for name, compressed in (("near_table", False), ("far_table", True)):
            angle = torch.arange(positions_max)[:, None] * frequencies(cfg, compressed)
            self.register_buffer(name, torch.stack([angle.cos(), angle.sin()]), persistent=False)

    def streams(self, tokens, qat, dtype):
        """tokens [B, T], T a multiple of 128 -> (h [B, T, n, D], indexer losses, loads)."""
        T, losses, loads = tokens.shape[1], [], []
        h = F.embedding(tokens, self.embed.weight)[:, :, None].repeat(1, 1, self.cfg.hc_mult, 1)
        for layer in self.layers:
            table = self.far_table if layer.attn.ratio else self.near_table
            h, loss, load = layer(h, tokens, table[:, :T], qat, dtype)
            losses += [] if loss is None else [loss]
            loads.append(load)
        return h, losses, loads

    def logits(self, h, part=None, dtype=torch.float32):
        """Final streams h [B, T, n, D] -> logits [B, T, vocab] of the model or its MTP block."""
        part = part or self
        x = hyper_head(h, part.hc_head_fn, part.hc_head_scale, part.hc_head_base, self.cfg.hc_eps)
        return linear(rms(x, part.norm.weight).to(dtype), self.head.weight)

    def draft(self, h, tokens, qat, dtype):
        """MTP logits: position p reads the state at p and token p + 1 and predicts p + 2."""
        block, T = self.mtp[0], tokens.shape[1]
        following = torch.cat([tokens[:, 1:], tokens[:, :1]], 1)
        entered = block.enter(h, F.embedding(following, self.embed.weight), dtype)
        h, _, load = block(entered, following, self.near_table[:, :T], qat, dtype)
        return self.logits(h, block, dtype), load

    def forward(self, tokens, qat=True, dtype=torch.float32):
        """Logits [B, T, vocab] for any length; pads to whole windows."""
        T = tokens.shape[1]
        padded = F.pad(tokens, (0, -T % WINDOW_BLOCK))
        h, _, _ = self.streams(padded, qat, dtype)
        return self.logits(h[:, :T], dtype=dtype)


def official_tensors(model):
    """The model's tensors under their official names, experts split."""
    out = {}
    for name, value in model.state_dict().items():
        stem, _, last = name.rpartition(".ffn.")
        if last in ("w1", "w2", "w3"):
            for e, matrix in enumerate(value):
                out[f"{stem}.ffn.experts.{e}.{last}.weight"] = matrix
        else:
            out[name] = value
    return out


def load_official(model, tensors):
    """Fills the model from tensors in official names."""
    state = {}
    for name, value in model.state_dict().items():
        stem, _, last = name.rpartition(".ffn.")
        if last in ("w1", "w2", "w3"):
            parts = [tensors[f"{stem}.ffn.experts.{e}.{last}.weight"] for e in range(len(value))]
            state[name] = torch.stack([torch.as_tensor(p) for p in parts])
        else:
            state[name] = torch.as_tensor(tensors[name])
    model.load_state_dict(state)
