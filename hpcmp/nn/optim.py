"""Optimisers: gradients into steps, alike on all ranks since parameters are."""

from dataclasses import dataclass

import numpy as np


@dataclass
class SGD:
    """w -= lr * (dw + weight_decay * w), with momentum. Local."""

    lr: float = 0.01
    weight_decay: float = 0.0
    momentum: float = 0.0

    def start(self, parameters):
        """State before the first step: dict of str to dict of arrays. Local."""
        return {name: {"v": np.zeros_like(p.data)} for name, p in parameters.items()} if self.momentum else {}

    def step(self, parameters, state, t):
        """Change parameters by their gradients; t is the number of the step, from 1. Local."""
        for name, p in parameters.items():
            if p.grad is None:
                continue
            g = p.grad + p.data.dtype.type(self.weight_decay) * p.data if self.weight_decay else p.grad
            if self.momentum:
                v = state[name]["v"]
                v *= v.dtype.type(self.momentum)
                v += g
                g = v
            p.data -= g.dtype.type(self.lr) * g


@dataclass
class Adam:
    """Adam (D. Kingma and J. Ba, ICLR 2015); ``decoupled`` is AdamW (I. Loshchilov and F. Hutter, ICLR 2019)."""

    lr: float = 0.001
    weight_decay: float = 0.0
    betas: tuple = (0.9, 0.999)
    eps: float = 1e-8
    decoupled: bool = False

    def start(self, parameters):
        """State before the first step: dict of str to dict of arrays. Local."""
        return {name: {"m": np.zeros_like(p.data), "v": np.zeros_like(p.data)} for name, p in parameters.items()}

    def step(self, parameters, state, t):
        """Change parameters by their gradients; t is the number of the step, from 1. Local."""
        b1, b2 = self.betas
        for name, p in parameters.items():
            if p.grad is None:
                continue
            kind = p.data.dtype.type
            g = p.grad
            if self.weight_decay and self.decoupled:
                p.data *= kind(1 - self.lr * self.weight_decay)
            elif self.weight_decay:
                g = g + kind(self.weight_decay) * p.data
            m, v = state[name]["m"], state[name]["v"]
            m += kind(1 - b1) * (g - m)
            v *= kind(b2)
            v += kind(1 - b2) * g * g
            p.data -= kind(self.lr / (1 - b1**t)) * m / (np.sqrt(v / kind(1 - b2**t)) + kind(self.eps))
