"""The neural tangent kernel of a fully connected network with error-function units, and its gradient by the records.

For inputs x and x' of d numbers, with variances ``weight`` and ``bias`` of the parameters (Jacot et al. 2018; the kernel
of one layer by Williams, "Computing with infinite networks", 1997):

    S_0 = weight x.x' / d + bias,   Theta_0 = S_0
    S_(l+1) = weight (2 / pi) asin(2 S / sqrt((1 + 2 S_xx) (1 + 2 S_x'x'))) + bias
    D_(l+1) = weight (4 / pi) / sqrt((1 + 2 S_xx) (1 + 2 S_x'x') - 4 S^2)
    Theta_(l+1) = S_(l+1) + D_(l+1) Theta_l
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from miaudit.data.protect.images import Floats
from miaudit.errors import not_real, not_whole, refuse


@dataclass(frozen=True)
class TangentKernel:
    """The kernel of a network with ``layers`` dense layers, ``layers`` - 1 of them with units.

    Parameters
    ----------
    layers
        Dense layers, the last one included.
    weight, bias
        Variances of the parameters: of a layer with d inputs, a weight has the variance ``weight / d``.
    """

    layers: int = 5
    weight: float = 1.76
    bias: float = 0.18

    def __post_init__(self) -> None:
        refuse(
            not_whole(("layers", self.layers)),
            not_real(("weight", self.weight), above=0),
            not_real(("bias", self.bias), least=0),
        )

    def __call__(self, x: Floats, z: Floats) -> Floats:
        """Return (n, m) the kernel of records (n, d) and (m, d)."""
        return self._forward(x, z)[-1].theta

    def by_first(self, x: Floats, z: Floats, slope: Floats, *, same: bool = False) -> Floats:
        """Return (n, d) the gradient of ``sum(slope * K(x, z))`` by x; with ``same``, z is x and moves with it.

        Parameters
        ----------
        x, z
            (n, d) and (m, d) records.
        slope
            (n, m) gradient of a number by the kernel.
        same
            Whether both are the same records, so that the gradient is by both places.
        """
        d, layers = x.shape[1], self._forward(x, z)
        by_theta = slope.copy()
        by_s = np.zeros_like(slope)
        by_p, by_q = np.zeros(len(x)), np.zeros(len(z))  # by S of a record with itself, on either side
        for layer, above in reversed(list(pairwise(layers))):
            s, theta, p, q = layer.s, layer.theta, layer.p, layer.q
            slack = (1 + 2 * p)[:, None] * (1 + 2 * q) - 4 * s**2
            dot = above.dot
            by_above, by_dot = by_s + by_theta, by_theta * theta
            by_theta = by_theta * dot
            by_s = by_above * dot + by_dot * dot * 4 * s / slack
            through = -by_above * dot * s
            down = -by_dot * dot / slack
            by_p = (through / (1 + 2 * p)[:, None] + down * (1 + 2 * q)).sum(axis=1) + by_p * self._own_slope(p)
            by_q = (through / (1 + 2 * q) + down * (1 + 2 * p)[:, None]).sum(axis=0) + by_q * self._own_slope(q)
        total = by_s + by_theta  # S and Theta are the same below the first layer
        gradient = self.weight / d * (total @ z + 2 * by_p[:, None] * x)
        if same:
            gradient += self.weight / d * (total.T @ x + 2 * by_q[:, None] * x)
        return np.asarray(gradient)

    def _own_slope(self, p: Floats) -> Floats:
        """Return the derivative of the next layer's S of a record with itself."""
        return np.asarray(self.weight * (4 / np.pi) / ((1 + 2 * p) * np.sqrt(1 + 4 * p)))

    def _forward(self, x: Floats, z: Floats) -> list[_Layer]:
        d = x.shape[1]
        p, q = (self.weight * (each**2).sum(axis=1) / d + self.bias for each in (x, z))
        s = self.weight * (x @ z.T) / d + self.bias
        layers = [_Layer(s, s, p, q, s)]
        for _ in range(self.layers - 1):
            scale = (1 + 2 * p)[:, None] * (1 + 2 * q)
            dot = self.weight * (4 / np.pi) / np.sqrt(scale - 4 * s**2)
            s = self.weight * (2 / np.pi) * np.arcsin(np.clip(2 * s / np.sqrt(scale), -1, 1)) + self.bias
            p, q = (self.weight * (2 / np.pi) * np.arcsin(2 * each / (1 + 2 * each)) + self.bias for each in (p, q))
            layers.append(_Layer(s, s + dot * layers[-1].theta, p, q, dot))
        return layers


@dataclass(frozen=True, eq=False)
class _Layer:
    """S and Theta of a layer, S of records with themselves, and what Theta of the layer below is weighted with."""

    s: Floats  # (n, m)
    theta: Floats  # (n, m)
    p: Floats  # (n,)
    q: Floats  # (m,)
    dot: Floats  # (n, m)
