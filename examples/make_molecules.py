"""Write data/molecules.npz: one atom each of 6,000 molecules, its element rubbed out, and what is around it; and
data/molecule_graph.npz, the same atoms as nodes of a graph, with all that is within two bonds of them.

From the Chemical Component Dictionary of the wwPDB (CC0) as biotite 1.6.0 ships it: `pip install biotite==1.6.0`, then
`python make_molecules.py [FOLDER]`. Hydrogens are not drawn. Molecules differ in their formulas, and each gives one
atom, so that no split of the atoms has a molecule on both sides.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.exact.counter import draw_sample, open_stream
from training.hashing import compute_tagged_hash

CLASSES = ("carbon", "nitrogen", "oxygen", "sulphur", "phosphorus", "halogen", "other")
SYMBOLS = {"C": 0, "N": 1, "O": 2, "S": 3, "P": 4, "F": 5, "CL": 5, "BR": 5, "I": 5}
OTHER, HIDDEN, KINDS = 6, 7, 8
COUNTS = (1350, 1200, 1200, 900, 375, 675, 300)  # atoms of each class
ORDERS = {"SING": 1, "DOUB": 2, "TRIP": 3}
ROWS = 6  # of an atom: its neighbours' and its own
LEAST_ATOMS, MOST_ATOMS = 6, 100  # of a molecule, without hydrogens
MOST_BONDS = 8  # of an atom around
LARGEST_RING = 8
TRAIN, VALIDATION = 4000, 1000  # atoms of the graph; the rest are its test
RINGS = 3  # of five, of six, of any size up to LARGEST_RING
COLUMNS = 3 * KINDS + RINGS
SEED = compute_tagged_hash("gc/example", b"molecules")

Bytes = NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Molecule:
    kinds: list[int]  # of each atom but hydrogens: its class
    bonds: list[dict[int, int]]  # of each atom: its neighbours, with the order of the bond


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "data")
    drawn = draw_atoms([molecule for molecule in read_molecules() if is_fit(molecule)])
    atoms = np.stack([make_rows(molecule, atom) for molecule, atom in drawn])
    labels = np.array([molecule.kinds[atom] for molecule, atom in drawn], np.uint8)
    np.savez_compressed(folder / "molecules.npz", atoms=atoms, labels=labels)
    graph = make_graph(drawn)
    np.savez_compressed(folder / "molecule_graph.npz", **graph)  # type: ignore[arg-type]  # numpy types a keyword of its own


# --- molecules --------------------------------------------------------------------------------------------------------


def read_molecules() -> list[Molecule]:
    """Of each formula the first molecule by its name, of those that the wwPDB has released."""
    from biotite.structure.info.ccd import get_ccd  # not a dependency of the project

    tables = get_ccd()
    names: dict[str, str] = {}
    columns: tuple[str, ...] = ("id", "formula", "pdbx_release_status")
    for name, formula, status in sorted(read_columns(tables["chem_comp"], columns)):
        if status == "REL":
            names.setdefault(formula, name)
    atoms: dict[str, dict[str, str]] = {name: {} for name in names.values()}
    for name, atom, symbol in read_columns(tables["chem_comp_atom"], ("comp_id", "atom_id", "type_symbol")):
        if name in atoms:
            atoms[name][atom] = symbol
    bonds: dict[str, list[tuple[str, str, int]]] = {name: [] for name in atoms}
    columns = ("comp_id", "atom_id_1", "atom_id_2", "value_order")
    for name, first, second, order in read_columns(tables["chem_comp_bond"], columns):
        if name in bonds:
            bonds[name].append((first, second, ORDERS[order]))
    return [make_molecule(atoms[name], bonds[name]) for name in sorted(atoms)]


def read_columns(table: object, names: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    return zip(*(table[name].as_array().tolist() for name in names), strict=True)  # type: ignore[index]  # biotite's


def make_molecule(symbols: dict[str, str], bonds: list[tuple[str, str, int]]) -> Molecule:
    """From the element of each atom's name, and bonds between names. Hydrogens are left out."""
    heavy = [atom for atom, symbol in symbols.items() if symbol not in ("H", "D")]
    place = {atom: i for i, atom in enumerate(heavy)}
    around: list[dict[int, int]] = [{} for _ in heavy]
    for first, second, order in bonds:
        if first in place and second in place:
            a, b = place[first], place[second]
            around[a][b] = around[b][a] = order
    return Molecule([SYMBOLS.get(symbols[atom], OTHER) for atom in heavy], around)


def is_fit(molecule: Molecule) -> bool:
    most = max((len(around) for around in molecule.bonds), default=0)
    return LEAST_ATOMS <= len(molecule.kinds) <= MOST_ATOMS and most <= MOST_BONDS


# --- atoms ------------------------------------------------------------------------------------------------------------


def draw_atoms(molecules: list[Molecule]) -> list[tuple[Molecule, int]]:
    """COUNTS atoms of each class, from a molecule each. Rare classes choose first, or others might take their own."""
    stream = open_stream(SEED, "molecules")
    free = [molecules[i] for i in draw_sample(stream, len(molecules), len(molecules))]
    drawn: list[tuple[Molecule, int]] = []
    for kind in sorted(range(len(COUNTS)), key=COUNTS.__getitem__):
        having = [molecule for molecule in free if list_places(molecule, kind)][: COUNTS[kind]]
        assert len(having) == COUNTS[kind]
        for number, molecule in enumerate(having):
            places = list_places(molecule, kind)
            drawn.append(
                (molecule, places[draw_sample(open_stream(SEED, f"{kind}/{number}"), len(places), 1)[0]])
            )
        taken = {id(molecule) for molecule in having}
        free = [molecule for molecule in free if id(molecule) not in taken]
    return [drawn[i] for i in draw_sample(open_stream(SEED, "order"), len(drawn), len(drawn))]


def list_places(molecule: Molecule, kind: int) -> list[int]:
    """Atoms of a class whose neighbours and self fit into the rows."""
    pairs = zip(molecule.kinds, molecule.bonds, strict=True)
    return [i for i, (own, around) in enumerate(pairs) if own == kind and 1 <= len(around) < ROWS]


def make_rows(molecule: Molecule, atom: int) -> Bytes:
    """What a first layer gathers [ROWS, COLUMNS] at an atom's neighbours and itself, sorted; missing rows are 0.

    Its element is rubbed out before anything is gathered, so that what comes back from two steps away is HIDDEN, too.
    """
    kinds = list(molecule.kinds)
    kinds[atom] = HIDDEN
    hidden = Molecule(kinds, molecule.bonds)
    found = sorted((gather(hidden, i) for i in (atom, *molecule.bonds[atom])), reverse=True)
    rows = np.zeros((ROWS, COLUMNS), np.int8)
    rows[: len(found)] = found
    return rows


def gather(molecule: Molecule, atom: int) -> list[int]:
    """An atom's own class; how many of each it is bound to; how many bonds beyond the single one; bonds in rings."""
    own, counts, more = ([0] * KINDS for _ in range(3))
    own[molecule.kinds[atom]] = 1
    for other, order in molecule.bonds[atom].items():
        counts[molecule.kinds[other]] += 1
        more[molecule.kinds[other]] += order - 1
    return own + counts + more + count_rings(molecule, atom)


def count_rings(molecule: Molecule, atom: int) -> list[int]:
    sizes = [find_ring(molecule.bonds, atom, other) for other in molecule.bonds[atom]]
    return [sizes.count(5), sizes.count(6), sum(size > 0 for size in sizes)]


def find_ring(bonds: list[dict[int, int]], first: int, second: int) -> int:
    """The size of the smallest ring that a bond is in; 0 if it is in none up to LARGEST_RING."""
    seen, edge = {first}, [first]
    for size in range(2, LARGEST_RING + 1):
        edge = [b for a in edge for b in bonds[a] if b not in seen and {a, b} != {first, second}]
        if second in edge:
            return size
        seen.update(edge)
    return 0


# --- as a graph -------------------------------------------------------------------------------------------------------


def make_graph(drawn: list[tuple[Molecule, int]]) -> dict[str, NDArray[np.generic]]:
    """Atoms within two bonds of those drawn, each molecule's a part of its own: what two layers see.

    edges [2, E], each bond once; features [n, KINDS + 2 + RINGS]; labels [n], -1 for what was not drawn.
    """
    edges: list[tuple[int, int]] = []
    features: list[list[int]] = []
    labels: list[int] = []
    asked: list[int] = []
    for molecule, atom in drawn:
        near = list_near(molecule, atom)
        number = {other: len(labels) + i for i, other in enumerate(near)}
        asked.append(number[atom])
        labels += [molecule.kinds[atom] if other == atom else -1 for other in near]
        features += [describe(molecule, other, other == atom) for other in near]
        edges += [(number[a], number[b]) for a in near for b in molecule.bonds[a] if b in number and a < b]
    return {
        "edges": np.array(edges, np.int32).T,
        "features": np.array(features, np.int8),
        "labels": np.array(labels, np.int8),
        "train": np.array(asked[:TRAIN], np.int32),
        "validation": np.array(asked[TRAIN : TRAIN + VALIDATION], np.int32),
        "test": np.array(asked[TRAIN + VALIDATION :], np.int32),
    }


def list_near(molecule: Molecule, atom: int) -> list[int]:
    beside = list(molecule.bonds[atom])
    return list(dict.fromkeys([atom, *beside, *(b for a in beside for b in molecule.bonds[a])]))


def describe(molecule: Molecule, atom: int, is_asked: bool) -> list[int]:
    """An atom's class, or HIDDEN; its bonds in the whole molecule, their orders beyond 1, and those in rings."""
    own = [0] * KINDS
    own[HIDDEN if is_asked else molecule.kinds[atom]] = 1
    orders = molecule.bonds[atom].values()
    return [*own, len(orders), sum(orders) - len(orders), *count_rings(molecule, atom)]


if __name__ == "__main__":
    main()
