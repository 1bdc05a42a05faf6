"""Sinkhorn normalization of small matrices: plain PyTorch, and one fused kernel on a GPU.

`sinkhorn(c, iterations, eps)` turns logits [..., n, n] into the doubly stochastic mixture of a
hyper-connection: softmax over rows, then alternating column and row normalization. Unfused this
is 40 tiny kernels per call; fused it is one, and the backward pass undoes the divisions one by
one from the saved sums instead of keeping every intermediate matrix.
"""
import torch

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = None


def sinkhorn(c, iterations, eps):
    """c [..., n, n] float32 -> the same shape."""
    if c.is_cuda and triton is not None:
        return fused(c, iterations, eps)
    c = torch.softmax(c, -1) + eps
    c = c / (c.sum(-2, keepdim=True) + eps)
    for _ in range(iterations - 1):
        c = c / (c.sum(-1, keepdim=True) + eps)
        c = c / (c.sum(-2, keepdim=True) + eps)
    return c


if triton is not None:

    @triton.jit
    def _forward(c_ptr, out_ptr, soft_ptr, sums_ptr, count, eps,
                 PAIRS: tl.constexpr, BLOCK: tl.constexpr):
        at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        i4 = tl.arange(0, 4)
        index = at[:, None, None] * 16 + i4[None, :, None] * 4 + i4[None, None, :]
        mask = (at < count)[:, None, None] & (index >= 0)
        c = tl.load(c_ptr + index, mask=mask, other=0.0)
        c = tl.exp(c - tl.max(c, axis=2)[:, :, None])
        c = c / tl.sum(c, axis=2)[:, :, None]
        tl.store(soft_ptr + index, c, mask=mask)
        c = c + eps
        place = at[:, None] * 4 + i4[None, :]
        inside = (at < count)[:, None] & (place >= 0)
        s = tl.sum(c, axis=1) + eps
        tl.store(sums_ptr + place, s, mask=inside)
        c = c / s[:, None, :]
        for k in range(PAIRS):
            s = tl.sum(c, axis=2) + eps
            tl.store(sums_ptr + (2 * k + 1) * count * 4 + place, s, mask=inside)
            c = c / s[:, :, None]
            s = tl.sum(c, axis=1) + eps
            tl.store(sums_ptr + (2 * k + 2) * count * 4 + place, s, mask=inside)
            c = c / s[:, None, :]
        tl.store(out_ptr + index, c, mask=mask)

    @triton.jit
    def _backward(g_ptr, out_ptr, soft_ptr, sums_ptr, dc_ptr, count,
                  PAIRS: tl.constexpr, BLOCK: tl.constexpr):
        at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        i4 = tl.arange(0, 4)
        index = at[:, None, None] * 16 + i4[None, :, None] * 4 + i4[None, None, :]
        mask = (at < count)[:, None, None] & (index >= 0)
        place = at[:, None] * 4 + i4[None, :]
        inside = (at < count)[:, None] & (place >= 0)
        g = tl.load(g_ptr + index, mask=mask, other=0.0)
        c = tl.load(out_ptr + index, mask=mask, other=0.0)
        for j in range(PAIRS):
            k = PAIRS - 1 - j
            s = tl.load(sums_ptr + (2 * k + 2) * count * 4 + place, mask=inside, other=1.0)
            g = (g - tl.sum(g * c, axis=1)[:, None, :]) / s[:, None, :]
            c = c * s[:, None, :]
            s = tl.load(sums_ptr + (2 * k + 1) * count * 4 + place, mask=inside, other=1.0)
            g = (g - tl.sum(g * c, axis=2)[:, :, None]) / s[:, :, None]
            c = c * s[:, :, None]
        s = tl.load(sums_ptr + place, mask=inside, other=1.0)
        g = (g - tl.sum(g * c, axis=1)[:, None, :]) / s[:, None, :]
        p = tl.load(soft_ptr + index, mask=mask, other=0.0)
        g = p * (g - tl.sum(g * p, axis=2)[:, :, None])
        tl.store(dc_ptr + index, g, mask=mask)

    @torch.library.custom_op("nano::sinkhorn_forward", mutates_args=())
    def _fused_forward(c: torch.Tensor, iterations: int, eps: float) -> tuple[
            torch.Tensor, torch.Tensor, torch.Tensor]:
        c = c.contiguous()
        count = c.numel() // 16
        out, soft = torch.empty_like(c), torch.empty_like(c)
        sums = c.new_empty(2 * iterations - 1, count, 4)
        _forward[(triton.cdiv(count, 128),)](c, out, soft, sums, count, eps,
                                             PAIRS=iterations - 1, BLOCK=128)
        return out, soft, sums

    @_fused_forward.register_fake
    def _(c, iterations, eps):
        sums = c.new_empty(2 * iterations - 1, c.numel() // 16, 4)
        return c.new_empty(c.shape), c.new_empty(c.shape), sums

    @torch.library.custom_op("nano::sinkhorn_backward", mutates_args=())
    def _fused_backward(g: torch.Tensor, out: torch.Tensor, soft: torch.Tensor,
                        sums: torch.Tensor) -> torch.Tensor:
        g = g.contiguous()
        count, result = g.numel() // 16, torch.empty_like(g)
        _backward[(triton.cdiv(count, 128),)](g, out, soft, sums, result, count,
                                              PAIRS=len(sums) // 2, BLOCK=128)
        return result

    @_fused_backward.register_fake
    def _(g, out, soft, sums):
        return g.new_empty(g.shape)

    def _keep(ctx, inputs, output):
        ctx.save_for_backward(*output)

    def _differentiate(ctx, g, g_soft, g_sums):
        return _fused_backward(g, *ctx.saved_tensors), None, None

    _fused_forward.register_autograd(_differentiate, setup_context=_keep)

    def fused(c, iterations, eps):
        return _fused_forward(c, iterations, eps)[0]
