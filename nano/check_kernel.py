"""Shows on a GPU that the fused Sinkhorn kernel and its gradient equal the plain ones."""
import sinkhorn
import torch


def main():
    torch.manual_seed(0)
    c = (torch.randn(3, 500, 4, 4, device="cuda") * 2).requires_grad_()
    d = c.detach().cpu().double().requires_grad_()
    g = torch.randn(3, 500, 4, 4)
    fast, slow = sinkhorn.sinkhorn(c, 20, 1e-6), sinkhorn.sinkhorn(d, 20, 1e-6)
    (fast * g.cuda()).sum().backward()
    (slow * g).sum().backward()
    for name, a, b in (("value", fast, slow), ("gradient", c.grad, d.grad)):
        gap = (a.cpu().double() - b).abs().max().item()
        print(f"{name}: largest difference {gap:.1e}")
        assert gap < 1e-4


if __name__ == "__main__":
    main()
