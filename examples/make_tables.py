"""Write data/travel_modes.npz, data/investment_shares.npz and data/sea_temperature.npz from public-domain tables that
statsmodels ships: `pip install statsmodels`, then `python make_tables.py [FOLDER]`."""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[np.float32]]
MODES, FIRMS = 4, 11
MONTHS = 6  # that the next one is predicted from


def main() -> None:
    from statsmodels.datasets import elnino, grunfeld, modechoice  # not a dependency of the project

    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "data")
    tables = {
        "travel_modes": make_travel_modes(modechoice.load_pandas().data.to_numpy(np.float64)),
        "investment_shares": make_investment_shares(grunfeld.load_pandas().data),
        "sea_temperature": make_sea_temperature(elnino.load_pandas().data.to_numpy(np.float64)),
    }
    for name, arrays in tables.items():
        np.savez(folder / f"{name}.npz", **arrays)  # type: ignore[arg-type]  # numpy types a keyword of its own


def make_travel_modes(rows: NDArray[np.float64]) -> Arrays:
    """Of each of 210 travellers four ways to go (air, train, bus, car) [210, 4, 9], and the chosen one [210, 4].

    Columns: 1 for air, train, bus; waiting time, cost, time under way and generalised cost in their standard
    deviations; income and party size, for air only.
    """
    table = rows.reshape(-1, MODES, 9)  # individual, mode, choice, ttme, invc, invt, gc, hinc, psize
    which = np.broadcast_to(np.eye(MODES)[:, :3], (len(table), MODES, 3))
    costs = table[:, :, 3:7] / rows[:, 3:7].std(0)
    air = np.array([1.0, 0, 0, 0])[None, :, None]
    traveller = table[:, :, 7:9] / rows[:, 7:9].std(0) * air
    inputs = np.concatenate([which, costs - costs.mean((0, 1)), traveller], -1)
    return {"inputs": inputs.astype(np.float32), "chosen": table[:, :, 2].astype(np.float32)}


def make_investment_shares(table: object) -> Arrays:
    """Of each of 20 years eleven firms' market value and capital, as logarithms beside the year's mean [20, 11, 2], and
    their shares of what all invested [20, 11]."""
    wide = [
        table.pivot(index="year", columns="firm", values=name).to_numpy(np.float64)  # type: ignore[attr-defined]
        for name in ("value", "capital", "invest")
    ]
    logs = np.stack([np.log(values) - np.log(values).mean(1, keepdims=True) for values in wide[:2]], -1)
    shares = wide[2] / wide[2].sum(1, keepdims=True)
    return {"inputs": logs.astype(np.float32), "shares": shares.astype(np.float32)}


def make_sea_temperature(rows: NDArray[np.float64]) -> Arrays:
    """Of every month the six before it and its place in the year [726, 8], and its own sea surface temperature [726]:
    degrees beside the month's mean over all years, halved."""
    table = rows[:, 1:]
    anomaly = ((table - table.mean(0)) / 2).ravel()
    at = np.arange(MONTHS, len(anomaly))
    before = np.stack([anomaly[at - back] for back in range(1, MONTHS + 1)], 1)
    angle = 2 * np.pi * (at % 12) / 12
    inputs = np.concatenate([before, np.stack([np.sin(angle), np.cos(angle)], 1)], 1)
    return {"inputs": inputs.astype(np.float32), "anomaly": anomaly[at].astype(np.float32)}


if __name__ == "__main__":
    main()
