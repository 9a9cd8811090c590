"""Torch modules for the tests of model files."""

from __future__ import annotations

import torch
from torch import nn


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))


def wider() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 9), nn.Tanh(), nn.Linear(9, 3), nn.Linear(3, 3))


def no_module() -> int:
    return 3


class Writer(nn.Module):
    """Writes a file when it is asked, which TorchScript can do too."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.save(x, self.path)
        return x[:, :3]
