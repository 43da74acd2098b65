"""Only operations whose result no library, thread count or instruction set can change appear in exact code.

The portable path is read as a syntax tree: every call and operator must be on a list. The list is short on purpose;
what is not on it is a question to ask, not a line to add.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "training"
# Files whose functions compute what consensus looks at, and the functions in them that may do anything.
EXACT_FILES = (
    "exact/grids.py",
    "exact/functions.py",
    "exact/counter.py",
    "exact/scores.py",
    "exact/trace.py",
    "objectives/attention_regression.py",
    "objectives/softmax_regression.py",
    "objectives/adversarial_relu.py",
    "objectives/cycle_rank.py",
    "objectives/exponential_regression.py",
    "objectives/graph_network.py",
    "objectives/heartbeat.py",
    "objectives/kronecker_spectral.py",
    "objectives/sequence_regression.py",
    "objectives/base.py",
    "paths.py",
)
FREE_FUNCTIONS = {"native_loss", "native_residuals", "native_scores", "_native_attack", "_native_values"}
TORCH_CALLS = {
    "arange", "cat", "clamp", "from_numpy", "full_like", "round", "sign", "split", "zeros",
}  # fmt: skip
TENSOR_CALLS = {
    "amax", "astype", "contiguous", "reshape", "tolist", "flatten", "item", "numel", "numpy",
    "sum", "to", "transpose", "view",
    "index_add_",  # sums of declared products, integers in any order
}  # fmt: skip
# Methods and functions of plain Python, numpy on integers, and this package's own.
NUMPY_CALLS = {"array", "zeros", "uint64", "prod", "arange", "clip", "concatenate"}
OTHER_METHODS = {
    "add", "append", "bit_length", "split", "encode", "from_bytes", "get", "items", "join",
    "compute_gradients", "compute_losses", "compute_outputs", "compute_outputs_fused", "compute_scores",
    "compute_scores_fused", "count_forward", "expand",
    "list_products", "make_batch", "measure_pass", "run_fused", "sum_losses", "sum_losses_fused", "run_ticket",
    "factorial", "_forward", "_kernel_params", "apply", "compute_residuals", "differentiate",
}  # fmt: skip
BANNED_KEYWORDS = {"alpha", "beta", "rounding_mode"}
BANNED_IMPORTS = {"torch.nn", "torch.special", "torch.linalg", "torch.fft", "random", "math.exp", "math.log"}
ALLOWED_MATH = {"factorial"}


def find_forbidden(source: str) -> list[str]:
    """What in this source is not on the list, by line."""
    tree = ast.parse(source)
    defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    found: list[str] = []
    for node in _walk_exact(tree):
        found += [f"line {getattr(node, 'lineno', 0)}: {fault}" for fault in _judge(node, defined)]
    return found


def _walk_exact(node: ast.AST) -> list[ast.AST]:
    if isinstance(node, ast.FunctionDef) and node.name in FREE_FUNCTIONS:
        return []
    nodes = [node]
    for child in ast.iter_child_nodes(node):
        nodes += _walk_exact(child)
    return nodes


def _judge(node: ast.AST, defined: set[str]) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return _judge_import(node)
    if (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Attribute)
        and _root(node.value) == "torch"
    ):
        return [f"torch.{node.value.attr}.{node.attr}"]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow) and not _is_power_of_two(node):
        return ["power of something that is not two"]
    if not isinstance(node, ast.Call):
        return []
    faults = [f"keyword {word.arg}" for word in node.keywords if word.arg in BANNED_KEYWORDS]
    if isinstance(node.func, ast.Attribute):
        faults += _judge_attribute(node.func, defined)
    return faults


def _judge_attribute(function: ast.Attribute, defined: set[str]) -> list[str]:
    module, name = _root(function.value), function.attr
    if module == "torch":
        return [] if name in TORCH_CALLS else [f"torch.{name}"]
    if module == "np":
        return [] if name in NUMPY_CALLS else [f"np.{name}"]
    if module == "math":
        return [] if name in ALLOWED_MATH else [f"math.{name}"]
    if name in TENSOR_CALLS | OTHER_METHODS or (module in ("self", "cls") and name in defined):
        return []
    return [f".{name}()"]


def _judge_import(node: ast.ImportFrom) -> list[str]:
    module = node.module or ""
    names = {alias.name for alias in node.names}
    if module == "torch":
        return [f"from torch import {name}" for name in names - {"Tensor"}]
    if module in BANNED_IMPORTS or module == "math":
        return [f"from {module} import {name}" for name in sorted(names)]
    return []


def _is_power_of_two(node: ast.BinOp) -> bool:
    return isinstance(node.left, ast.Constant) and node.left.value in (2, 2.0)


def _root(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else ""


@pytest.mark.parametrize("name", EXACT_FILES)
def test_exact_code_uses_allowed_operations_only(name: str) -> None:
    assert find_forbidden((ROOT / name).read_text()) == []


@pytest.mark.parametrize(
    "line",
    [
        "x = torch.sqrt(x)",
        "x = x.sqrt()",
        "x = x.rsqrt_()",
        "x = torch.exp(x)",
        "x = x.exp()",
        "x = torch.softmax(x, -1)",
        "x = torch.nn.functional.softmax(x, -1)",
        "x = torch.add(x, y, alpha=2)",
        "x = x.add(y, alpha=2)",
        "x = torch.addcmul(x, y, z)",
        "x = torch.addmm(x, y, z)",
        "x = x.lerp(y, 0.5)",
        "x = x.mean()",
        "x = x.var()",
        "x = x.norm()",
        "x = x.pow(2)",
        "x = x ** 0.5",
        "x = x ** 2",
        "x = torch.special.expit(x)",
        "x = torch.linalg.norm(x)",
        "x = torch._int_mm(x, y)",
        "x = torch.compile(f)",
        "x = torch.rand(3)",
        "x = torch.ldexp(x, y)",
        "x = torch.einsum('ij,jk', x, y)",
        "x = np.sqrt(x)",
        "x = np.exp(x)",
        "x = math.exp(1)",
        "x = x.scatter_reduce_(0, y, z)",
        "x = x.float()",
        "x = x.half()",
        "from torch import sqrt",
        "from math import exp",
    ],
)
def test_allow_list_catches(line: str) -> None:
    source = (ROOT / "exact/functions.py").read_text()
    assert find_forbidden(source + f"\n\ndef mutant(x, y, z):\n    {line}\n    return x\n")


def test_allow_list_knows_every_file_of_the_exact_package() -> None:
    """integers.py is numpy on int64, tested against fractions; the rest of the package computes nothing portable."""
    others = {"__init__.py", "integers.py", "late.py", "selftest.py", "warm.py"}
    present = {path.name for path in (ROOT / "exact").glob("*.py")}
    assert present == others | {Path(name).name for name in EXACT_FILES if name.startswith("exact/")}
    objectives = {path.name for path in (ROOT / "objectives").glob("*.py")} - {"__init__.py", "registry.py"}
    assert objectives == {Path(name).name for name in EXACT_FILES if name.startswith("objectives/")}
