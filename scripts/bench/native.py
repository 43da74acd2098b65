"""The same mathematics in ordinary floating point: what the exact paths are compared with.

For each objective the loss, and one gradient step twice: with the backward pass written by hand, and by autograd.
Weights and samples in units of one, prepared beforehand; no noise, no trace, no rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Work = Callable[[], object]
RATE = 1e-6


@dataclass(frozen=True, slots=True)
class Native:
    """Callables on prepared tensors: each returns what it computed, so that nothing is left out."""

    loss: Work
    step_by_hand: Work
    step_by_autograd: Work


def make_attention(a_NLd: Tensor, b_NLc: Tensor, x_dd: Tensor, y_dc: Tensor) -> Native:
    """|| softmax(A X A^T) A Y - B ||^2."""

    def compute_residuals(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        p_NLL = torch.softmax(a_NLd @ x @ a_NLd.transpose(1, 2), -1)
        c_NLd = p_NLL @ a_NLd
        return p_NLL, c_NLd, c_NLd @ y - b_NLc

    def loss() -> float:
        with torch.inference_mode():
            residuals = compute_residuals(x_dd, y_dc)[2]
            return float((residuals * residuals).sum())

    def step_by_hand() -> tuple[Tensor, Tensor]:
        with torch.inference_mode():
            p_NLL, c_NLd, r_NLc = compute_residuals(x_dd, y_dc)
            g_NLc = r_NLc * 2
            t_NLL = (g_NLc @ y_dc.T) @ a_NLd.transpose(1, 2)
            z_NLL = p_NLL * (t_NLL - (t_NLL * p_NLL).sum(-1, keepdim=True))
            u_NLd = z_NLL @ a_NLd
            gx = a_NLd.flatten(0, 1).T @ u_NLd.flatten(0, 1)
            gy = c_NLd.flatten(0, 1).T @ g_NLc.flatten(0, 1)
            return x_dd - gx * RATE, y_dc - gy * RATE

    x_leaf, y_leaf = x_dd.clone().requires_grad_(), y_dc.clone().requires_grad_()

    def step_by_autograd() -> tuple[Tensor, Tensor]:
        residuals = compute_residuals(x_leaf, y_leaf)[2]
        gx, gy = torch.autograd.grad((residuals * residuals).sum(), (x_leaf, y_leaf))
        with torch.no_grad():
            return x_leaf - gx * RATE, y_leaf - gy * RATE

    return Native(loss, step_by_hand, step_by_autograd)


def make_softmax(a_Nd: Tensor, b_Nc: Tensor, x_dc: Tensor) -> Native:
    """|| softmax(A X) - B ||^2, without keys."""

    def loss() -> float:
        with torch.inference_mode():
            residuals = torch.softmax(a_Nd @ x_dc, -1) - b_Nc
            return float((residuals * residuals).sum())

    def step_by_hand() -> Tensor:
        with torch.inference_mode():
            p_Nc = torch.softmax(a_Nd @ x_dc, -1)
            g_Nc = (p_Nc - b_Nc) * 2
            z_Nc = p_Nc * (g_Nc - (g_Nc * p_Nc).sum(-1, keepdim=True))
            return x_dc - (a_Nd.T @ z_Nc) * RATE

    leaf = x_dc.clone().requires_grad_()

    def step_by_autograd() -> Tensor:
        residuals = torch.softmax(a_Nd @ leaf, -1) - b_Nc
        (gradient,) = torch.autograd.grad((residuals * residuals).sum(), (leaf,))
        with torch.no_grad():
            return leaf - gradient * RATE

    return Native(loss, step_by_hand, step_by_autograd)


def make_sequence(a_NLd: Tensor, b_NL: Tensor, x_d: Tensor) -> Native:
    """|| softmax(A x) - b ||^2 for every sample's own A."""

    def loss() -> float:
        with torch.inference_mode():
            residuals = torch.softmax(a_NLd @ x_d, -1) - b_NL
            return float((residuals * residuals).sum())

    def step_by_hand() -> Tensor:
        with torch.inference_mode():
            p_NL = torch.softmax(a_NLd @ x_d, -1)
            g_NL = (p_NL - b_NL) * 2
            z_NL = p_NL * (g_NL - (g_NL * p_NL).sum(-1, keepdim=True))
            return x_d - (a_NLd.flatten(0, 1).T @ z_NL.flatten()) * RATE

    leaf = x_d.clone().requires_grad_()

    def step_by_autograd() -> Tensor:
        residuals = torch.softmax(a_NLd @ leaf, -1) - b_NL
        (gradient,) = torch.autograd.grad((residuals * residuals).sum(), (leaf,))
        with torch.no_grad():
            return leaf - gradient * RATE

    return Native(loss, step_by_hand, step_by_autograd)


def make_exponential(a_Nd: Tensor, y_N: Tensor, w_dm: Tensor) -> Native:
    """(sum of signed exp(A W) - y)^2, signs alternating."""
    signs_m = 1 - 2 * (torch.arange(w_dm.shape[1]) % 2).to(w_dm.dtype)

    def loss() -> float:
        with torch.inference_mode():
            residuals = torch.exp(a_Nd @ w_dm) @ signs_m - y_N
            return float((residuals * residuals).sum())

    def step_by_hand() -> Tensor:
        with torch.inference_mode():
            u_Nm = torch.exp(a_Nd @ w_dm)
            g_N = (u_Nm @ signs_m - y_N) * 2
            return w_dm - (a_Nd.T @ (u_Nm * signs_m * g_N[:, None])) * RATE

    leaf = w_dm.clone().requires_grad_()

    def step_by_autograd() -> Tensor:
        residuals = torch.exp(a_Nd @ leaf) @ signs_m - y_N
        (gradient,) = torch.autograd.grad((residuals * residuals).sum(), (leaf,))
        with torch.no_grad():
            return leaf - gradient * RATE

    return Native(loss, step_by_hand, step_by_autograd)
