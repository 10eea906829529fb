"""Attention along one axis at a time, with learned gates on the positional terms.

Papers: Wang et al. 2020, https://arxiv.org/abs/2003.07853; gates: Valanarasu et al. 2021,
https://arxiv.org/abs/2102.10662
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Axial(nn.Module):
    """Attention of every pixel to its column: softmax(norm(qk, g qr, g kr)) applied to (v, g r), without 1/√d.

    r are learned embeddings of the 2 · length - 1 relative positions, g their gates; `length=None` leaves both out.
    """

    def __init__(self, channels: int, groups: int, length: int | None) -> None:
        super().__init__()
        self.groups, self.length, each = groups, length, channels // groups
        self.split = [each // 2, each // 2, each]
        self.qkv = nn.Sequential(nn.Conv1d(channels, 2 * channels, 1, bias=False), nn.BatchNorm1d(2 * channels))
        self.norm = nn.BatchNorm2d(groups if length is None else 3 * groups)
        self.norm_out = nn.BatchNorm1d(channels if length is None else 2 * channels)
        if length is not None:
            self.distance = nn.Parameter(torch.randn(2 * each, 2 * length - 1) / each**0.5)
            self.gates = nn.ParameterList(torch.tensor(value) for value in (0.1, 0.1, 0.1, 1.0))

    def forward(self, x: Tensor) -> Tensor:
        n, c, length = x.shape  # columns folded into the batch
        q, k, v = self.qkv(x).view(n, self.groups, -1, length).split(self.split, dim=2)
        alike = torch.einsum("ngci,ngcj->ngij", q, k)
        if self.length is None:
            return self.norm_out(
                (self.norm(alike).softmax(3) @ v.transpose(2, 3)).transpose(2, 3).reshape(n, c, length)
            )
        at = torch.arange(length, device=x.device)
        r_q, r_k, r_v = self.distance[:, at[:, None] - at + length - 1].split(self.split)  # (each, L, L)
        g_q, g_k, g_r, g_v = self.gates
        by_q = g_q * torch.einsum("ngci,cij->ngij", q, r_q)
        by_k = g_k * torch.einsum("ngci,cij->ngji", k, r_k)
        scores = self.norm(torch.cat([alike, by_q, by_k], dim=1)).view(n, 3, self.groups, length, length)
        share = scores.sum(1).softmax(3)
        seen = g_v * torch.einsum("ngij,ngcj->ngci", share, v)
        placed = g_r * torch.einsum("ngij,cij->ngci", share, r_v)
        both = torch.stack([seen, placed], dim=3).reshape(n, 2 * c, length)  # interleaved
        return self.norm_out(both).view(n, c, 2, length).sum(2)


def along(attention: Axial, x: Tensor, axis: int) -> Tensor:
    """Apply attention along one spatial axis; the other one is folded into the batch."""
    order = (0, 3, 1, 2) if axis == 2 else (0, 2, 1, 3)
    y = x.permute(order)  # (B, other axis, C, axis)
    y = attention(y.flatten(0, 1)).view(y.shape)
    return y.permute((0, 2, 3, 1) if axis == 2 else (0, 2, 1, 3))
