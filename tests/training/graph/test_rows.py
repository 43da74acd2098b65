"""A job's rows: two graph layers are what graph_network computes of them; where there are many, some are drawn."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.training.graph.graphs import draw_features, draw_graph
from training.errors import ProblemRefused
from training.graph.aggregate import aggregate
from training.graph.graph import Graph, open_graph
from training.graph.rows import Kind, main, make_rows

MOST = 64


def read_by_layers(graph: Graph, features: Tensor, kind: Kind, u: Tensor, v: Tensor) -> Tensor:
    looped = graph.normalised if kind == "gcn" else graph.looped
    reduction = "mean" if kind == "mean" else "sum"
    hidden = torch.relu(aggregate(looped, features, reduction) @ u)  # type: ignore[arg-type]
    return aggregate(looped, hidden, reduction) @ v  # type: ignore[arg-type]


def draw_weights() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return tuple(torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((5, 9), (9, 4)))  # type: ignore[return-value]


@pytest.mark.parametrize("kind", ["gcn", "mean", "sum"])
def test_rows_give_what_two_layers_give(kind: Kind) -> None:
    graph = draw_graph()
    features = draw_features(graph, 5)
    u, v = draw_weights()
    rows = make_rows(graph, features, MOST, 1, kind)
    assert rows.cut == 0
    found = torch.relu(torch.from_numpy(rows.values).double() @ u).sum(1) @ v
    assert torch.allclose(found, read_by_layers(graph, features, kind, u, v), atol=1e-4)


def test_drawn_rows_are_right_on_average() -> None:
    graph = draw_graph()
    features = draw_features(graph, 5)
    u, v = draw_weights()
    drawn = [make_rows(graph, features, 6, seed, "mean") for seed in range(400)]
    assert drawn[0].values.shape == (graph.nodes, 6, 5)
    assert drawn[0].cut > 10
    total = sum(torch.relu(torch.from_numpy(rows.values).double() @ u).sum(1) @ v for rows in drawn)
    wanted = read_by_layers(graph, features, "mean", u, v)
    assert float((total / 400 - wanted).abs().max()) < 0.2 * float(wanted.abs().max())


def test_same_seed_draws_the_same_rows() -> None:
    graph = draw_graph()
    features = draw_features(graph, 5)
    first, again, other = (make_rows(graph, features, 3, seed).values for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_node_alone_has_itself() -> None:
    graph = open_graph(torch.zeros((2, 0), dtype=torch.int64), 3)
    rows = make_rows(graph, torch.eye(3), 4, 1)
    assert rows.values.tolist() == torch.eye(3)[:, None].tolist()


@pytest.mark.parametrize("most", [0, 65])
def test_rows_that_no_job_takes_are_refused(most: int) -> None:
    with pytest.raises(ProblemRefused, match=r"^rows: 1 \.\. 64 expected"):
        make_rows(draw_graph(), draw_features(draw_graph(), 2), most, 1)


def test_command_writes_rows_of_nodes_with_a_label(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edges, labels = np.array([[0, 1, 2], [1, 2, 3]]), np.array([0, -1, 1, 1])
    np.savez(tmp_path / "graph.npz", edges=edges, features=np.eye(4), labels=labels)
    arguments = [str(tmp_path / "graph.npz"), "-o", str(tmp_path / "rows"), "--both-ways", "--rows", "2"]
    assert main(arguments) == 0
    assert "2 of 4 nodes have more edges than rows" in capsys.readouterr().out
    with np.load(tmp_path / "rows") as made:
        assert made["rows"].shape == (3, 2, 4)
        assert made["labels"].tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"edges": np.zeros((2, 1), int)}, "arrays edges, features, labels expected, got edges"),
        (
            {"edges": np.zeros((2, 1)), "features": np.eye(2), "labels": np.zeros(2, int)},
            "edges: whole numbers",
        ),
        ({"edges": np.array([[0], [-1]]), "features": np.eye(2), "labels": np.zeros(2, int)}, "-1 came"),
        (
            {"edges": np.zeros((2, 1), int), "features": np.eye(2), "labels": np.zeros(3, int)},
            "labels: 2 expected",
        ),
        (
            {"edges": np.zeros((2, 1), int), "features": np.eye(2), "labels": np.zeros(2)},
            "labels: whole numbers",
        ),
        (
            {"edges": np.zeros((2, 1), int), "features": np.eye(2), "labels": np.full(2, -1)},
            "labels: classes 0 to 255",
        ),
        (
            {"edges": np.zeros((2, 1), int), "features": np.eye(2), "labels": np.full(2, 256)},
            "labels: classes 0 to",
        ),
        (
            {"edges": np.zeros((2, 1), int), "features": np.eye(2)[:, :0], "labels": np.zeros(2, int)},
            "features: at",
        ),
        (
            {
                "edges": np.array([[1] * 9, [0] * 9]),
                "features": np.full((2, 1), 1e38),
                "labels": np.zeros(2, int),
            },
            "features: such whose sums",
        ),
    ],
)
def test_files_without_sense_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arrays: dict[str, np.ndarray], message: str
) -> None:
    np.savez(tmp_path / "graph.npz", **arrays)  # type: ignore[arg-type]
    assert main([str(tmp_path / "graph.npz"), "-o", str(tmp_path / "rows.npz"), "--kind", "sum"]) == 3
    assert message in capsys.readouterr().err
    assert not (tmp_path / "rows.npz").exists()
