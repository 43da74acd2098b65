"""The example of molecules: what is gathered around an atom does not tell its element, and all that is drawn fits."""

import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
Names = dict[str, Any]  # Any: whatever a script defines


@pytest.fixture(scope="module")
def script() -> Names:
    return runpy.run_path(str(EXAMPLES / "make_molecules.py"))


@pytest.fixture
def furan(script: Names) -> Any:  # Any: a class of the script
    """A ring of five with an oxygen, and a cyclopropane at its side: walks return to an atom on many ways."""
    symbols = {"O": "O", "C1": "C", "C2": "C", "C3": "C", "C4": "C", "A": "C", "B": "N", "H": "H"}
    ring = [("O", "C1", 1), ("C1", "C2", 2), ("C2", "C3", 1), ("C3", "C4", 2), ("C4", "O", 1)]
    return script["make_molecule"](
        symbols, [*ring, ("C4", "A", 1), ("C4", "B", 1), ("A", "B", 1), ("A", "H", 1)]
    )


def test_rows_do_not_change_with_the_element_that_is_asked_for(script: Names, furan: Any) -> None:
    for atom in range(len(furan.kinds)):
        told = [
            script["make_rows"](
                replace(furan, kinds=[kind if i == atom else k for i, k in enumerate(furan.kinds)]), atom
            )
            for kind in range(script["OTHER"] + 1)
        ]
        assert all((rows == told[0]).all() for rows in told)


def test_rows_change_with_the_element_of_a_neighbour(script: Names, furan: Any) -> None:
    other = replace(furan, kinds=[3, *furan.kinds[1:]])
    assert (script["make_rows"](furan, 1) != script["make_rows"](other, 1)).any()


def test_row_of_an_atom_has_its_kind_its_neighbours_their_orders_and_rings(script: Names, furan: Any) -> None:
    row = np.array(
        script["gather"](furan, 1)
    )  # C1: a single bond to oxygen, a double one to C2, both in a ring of 5
    own, counts, more, rings = row[:8], row[8:16], row[16:24], row[24:]
    assert own.tolist() == [1, 0, 0, 0, 0, 0, 0, 0]
    assert counts.tolist() == [1, 0, 1, 0, 0, 0, 0, 0]
    assert more.tolist() == [1, 0, 0, 0, 0, 0, 0, 0]
    assert rings.tolist() == [2, 0, 2]


def test_rings_are_the_smallest_that_a_bond_is_in(script: Names, furan: Any) -> None:
    assert script["find_ring"](furan.bonds, 0, 1) == 5
    assert script["find_ring"](furan.bonds, 5, 6) == 3
    assert script["find_ring"]([{1: 1}, {0: 1}], 0, 1) == 0


def test_file_has_what_the_script_says(script: Names) -> None:
    with np.load(EXAMPLES / "data" / "molecules.npz") as found:
        atoms, labels = found["atoms"], found["labels"]
    assert atoms.shape == (6000, script["ROWS"], script["COLUMNS"])
    assert atoms.min() == 0
    assert atoms.max() <= 8
    assert np.bincount(labels).tolist() == list(script["COUNTS"])
    used = atoms.any(-1)
    assert (used[:, :-1] >= used[:, 1:]).all()  # rows that are missing come last
    assert (atoms[:, :, : script["KINDS"]].sum(-1) == used).all()
    assert (atoms[:, :, script["HIDDEN"]].sum(-1) == 1).all()  # one row is the atom's own


def test_one_row_more_than_neighbours_and_rows_next_to_it_see_it_hidden(script: Names) -> None:
    with np.load(EXAMPLES / "data" / "molecules.npz") as found:
        atoms = found["atoms"]
    seen = atoms[:, :, script["KINDS"] + script["HIDDEN"]].sum(-1)
    assert (seen == atoms.any(-1).sum(-1) - 1).all()


# --- as a graph -------------------------------------------------------------------------------------------------------


def test_graph_has_what_is_within_two_bonds_of_an_atom(script: Names, furan: Any) -> None:
    graph = script["make_graph"]([(furan, 2), (furan, 0)])  # C2: O and C4 are two bonds away, A and B are not
    assert graph["labels"].tolist() == [0, -1, -1, -1, -1, 2, *[-1] * 6]
    assert graph["train"].tolist() == [0, 5]
    first = [sorted(edge) for edge in graph["edges"].T.tolist() if max(edge) < 5]
    assert len(first) == 5
    assert len(graph["edges"].T) == 5 + 8


def test_features_of_a_graph_do_not_change_with_the_element_that_is_asked_for(
    script: Names, furan: Any
) -> None:
    for atom in range(len(furan.kinds)):
        other = replace(furan, kinds=[5 if i == atom else k for i, k in enumerate(furan.kinds)])
        told = [script["make_graph"]([(molecule, atom)])["features"] for molecule in (furan, other)]
        assert (told[0] == told[1]).all()
        assert told[0][:, script["HIDDEN"]].tolist() == [1] + [0] * (len(told[0]) - 1)


def test_file_of_the_graph_has_the_atoms_of_the_other(script: Names) -> None:
    with np.load(EXAMPLES / "data" / "molecules.npz") as found:
        labels = found["labels"]
    with np.load(EXAMPLES / "data" / "molecule_graph.npz") as graph:
        asked = np.concatenate([graph[name] for name in ("train", "validation", "test")])
        assert (graph["labels"][asked] == labels).all()
        assert (graph["labels"] >= 0).sum() == len(asked)
        assert (graph["features"][asked, script["HIDDEN"]] == 1).all()
        assert graph["features"][:, script["HIDDEN"]].sum() == len(asked)
        assert graph["edges"].max() < len(graph["labels"])
