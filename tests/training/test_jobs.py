"""Job files: the examples give pinned bytes, every mistake is named with what to do, rates and splits are exact."""

import hashlib
import runpy
from dataclasses import asdict, replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from ledger.jobspec import JobSpec, decode_spec, encode_spec
from ledger.params import LOCAL
from training.blob import decode_blob
from training.engine import Engine
from training.errors import TrainingError
from training.holdout import score_holdout
from training.jobs import JobFileError, PreparedJob, load_job_file, make_task, prepare
from training.quantise import Integers, get_stored_limit
from training.rates import convert_rate, get_rate
from training.section import Section
from training.tuning import TRIALS, tune_rates

EXAMPLES = Path(__file__).parents[2] / "examples"
LIMIT = LOCAL.sidecar_limit
BREAST_CANCER_FILE = "841ebc1d5d5822e02a772a093458239ec3704685cdb3dc7f9f74c537ce0c6a33"
DIGITS_FILE = "b2dab7b501728c22e9119ad76740b2e17c77a231e42d1e592380d90886f1a05e"
TEACHER_FILE = "8dc4ee95570ed9d306467c198c5cec8b6e29bf4462e382e459238249f9864978"
ARRAYS = {
    "travel_modes.npz": "d09bb120096620ff453d95fc032ad955e0fbd3b9fc02b6682b1d9577cc9d7d7a",
    "investment_shares.npz": "f1be7c2e2045fc1adc62b9363229a6c5dda141c45c8766e373c9b9d9aab0be5e",
    "sea_temperature.npz": "41388b7986f24932fce0e9097ae73cce1f9e4ae59509f19ff4093ad19a781bb4",
    "next_word.npz": "a748772e73d187f07237327bed2637825bb5f42615347ddf692e8738f53126db",
    "planted.npz": "db25c3ee394ffbe144e53da230d84708b06f83615895d51d5293d2d79cb2d7f5",
    "word_triples.npz": "90e1ddafc39e1e0c412f15b316dbf6b5ac67f090ba3b7fedadfc1dc91ed13d83",
    "robust_digits.npz": "3d7299e25d6085b30d423edc3c64a497b462a9b7ebb46f63252a192ffd68568e",
    "kronecker_spectral.npz": "ed0b619ca9b20181d742c28543ba569187b85c699a3c52927e499f51b43086a3",
    "private_records.npz": "14c23b41698df9271330a049ea5078410282e33a289ae34cfc854d2bb2da62fc",
    "molecules.npz": "c3a42e0dce56969a1aba46603483d9c894b49be4ad3683e45fdbc609ca7420f4",
    "molecule_graph.npz": "95c4c179114859afb11e81f726dbc5151e022d5221b2d0c106306876c09cd5c0",
}
SPECS = {  # sha256 of the canonical spec, which holds the CID of the blob
    "breast_cancer": "9a61685a46c41659d0142d7ec3245359040eac59bf793806fab51d19c767d9ae",
    "travel_modes": "469727d991303574419364955c2c13530d13df8e9cbcec74545e6e29b771004b",
    "investment_shares": "5955baf9f0c33f83a0040f0f6b2d1fa0b63b3f72483fae9b8ae1b860288ec0e7",
    "sea_temperature": "b25c00a136211196bbe5eed400b7d2490d410f466d95dcfb1c28d8d476c42750",
    "next_word": "836d651782ca20d3774f881c38ea28c57d00a7e67c506128a9a81658445f19fd",
    "planted_cosh": "80e67a496ce4ed36021ece7608ca1b033ad27d1275890a848067995cdd8ec323",
    "word_triples": "9f424d4f74954bcab1459955aa5125f743ab01e931a25100258f5c949e27b41b",
    "robust_digits": "3be3feeaa43d10a4b298017348a7af2aa00bb867d3f59327568b47510b1bc6e6",
    "kronecker_spectral": "111ac441bde5af2fea8f8a47ef337287651bb7ebd6b9f435a91ee131b19280f9",
    "molecules": "2ad2f135d3b36be8981bb4e8e9f3eae38033562c98a42562baec81301c351247",
    "digits": "84141478f16f3f969751f905867b31056b485195588639a1f1f1db986f82fbfb",
    "teacher": "328d0e1979955ea5b67a22ffbdb9b80ac2de82121aacd27b8928afd345e76420",
}
JOB = """\
title = "Small"
seed = 7

[objective]
name = "softmax_regression"
features = 2
outputs = 3
targets = "class"

[data]
file = "a.npz"
inputs = { array = "x", fraction_bits = 8, subtract = "mean" }
targets = "y"

[split]
train = 20
judge = 16
holdout = 4

[rule]
steps = 2
shard = 10
learning_rate = 0.5

[market]
burn = "0.5"
escrow = 100
target_loss = 0.25
lifetime_blocks = 500
judging_sample = 16
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    x = np.arange(80, dtype=np.float64).reshape(40, 2) / 64
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(40) % 3, short=np.arange(39) % 3, rows=np.zeros((40, 3)))
    return tmp_path


def prepare_text(folder: Path, text: str = JOB, limit: int = LIMIT) -> PreparedJob:
    path = folder / "job.toml"
    path.write_text(text)
    return prepare(load_job_file(path), limit)


def hash_spec(prepared: PreparedJob) -> str:
    return hashlib.sha256(encode_spec(JobSpec(**asdict(prepared.spec)))).hexdigest()


# --- the examples -----------------------------------------------------------------------------------------------------


def test_every_key_of_a_job_file_is_in_the_docs(monkeypatch: pytest.MonkeyPatch) -> None:
    known: set[str] = set()
    expect = Section.expect
    monkeypatch.setattr(Section, "expect", lambda self, names: known.update(names) or expect(self, names))
    for name in SPECS:
        load_job_file(EXAMPLES / f"{name}.toml")
    known -= {"name", "objective", "data", "split", "rule", "market", "X", "Y"}
    assert len(known) > 30
    text = (EXAMPLES.parent / "docs" / "job-files.md").read_text()
    assert sorted(key for key in known if f"`{key}`" not in text) == []


def test_example_data_is_the_pinned_copy() -> None:
    data = EXAMPLES / "data"
    assert hashlib.sha256((data / "breast_cancer.csv").read_bytes()).hexdigest() == BREAST_CANCER_FILE
    assert hashlib.sha256((data / "digits.npz").read_bytes()).hexdigest() == DIGITS_FILE
    assert hashlib.sha256((data / "teacher.safetensors").read_bytes()).hexdigest() == TEACHER_FILE
    for name, expected in ARRAYS.items():
        assert hashlib.sha256((data / name).read_bytes()).hexdigest() == expected


def test_pinned_copies_are_those_the_data_readme_names() -> None:
    text = (EXAMPLES / "data" / "README.md").read_text()
    for digest in (BREAST_CANCER_FILE, DIGITS_FILE, TEACHER_FILE, *ARRAYS.values()):
        assert digest in text


def test_teacher_data_is_what_its_script_makes() -> None:
    made = runpy.run_path(str(EXAMPLES / "make_teacher.py"))["make_teacher"]()
    kept = load_file(EXAMPLES / "data" / "teacher.safetensors")
    assert {name: array.tolist() for name, array in made.items()} == {
        name: array.tolist() for name, array in kept.items()
    }


def test_planted_data_is_what_its_script_makes() -> None:
    made = runpy.run_path(str(EXAMPLES / "make_planted.py"))["make_planted"]()
    with np.load(EXAMPLES / "data" / "planted.npz") as kept:
        assert {name: array.tolist() for name, array in made.items()} == {
            name: kept[name].tolist() for name in kept.files
        }


@pytest.mark.parametrize("name", SPECS)
def test_example_gives_the_same_spec_everywhere(name: str) -> None:
    prepared = prepare(load_job_file(EXAMPLES / f"{name}.toml"), LIMIT)
    assert hash_spec(prepared) == SPECS[name]
    spec = JobSpec(**asdict(prepared.spec))
    assert decode_spec(encode_spec(spec), LOCAL) == spec
    assert 2**21 <= prepared.facts.work <= 2**27
    assert prepared.escrow >= 50 * spec.burn + 6 * spec.burn + LOCAL.rent + spec.budget


def test_digits_hold_out_images_that_are_not_in_the_blob() -> None:
    prepared = prepare(load_job_file(EXAMPLES / "digits.toml"), LIMIT)
    tensors = {tensor.name: tensor.values for tensor in decode_blob(prepared.blob)}
    assert [len(tensors[name]) for name in ("train.inputs", "judge.inputs")] == [1000, 500]
    shown = {
        image.astype(np.int64).tobytes() for part in ("train", "judge") for image in tensors[f"{part}.inputs"]
    }
    held = {image.tobytes() for image in prepared.holdout_inputs.units}
    assert len(held) == 297
    assert not shown & held
    assert prepared.report["inputs"].max_rounding_error == 0
    assert prepared.report["inputs"].clipped == 0


def test_planted_weights_are_found_up_to_their_sign() -> None:
    prepared = prepare(load_job_file(EXAMPLES / "planted_cosh.toml"), LIMIT)
    planted = runpy.run_path(str(EXAMPLES / "make_planted.py"))["plant"]()
    engine, task = Engine(lambda cid: prepared.blob), make_task(prepared.spec)
    weights = prepared.facts.weights
    for k in range(9):  # the first half of them leave the saddle at 0
        runs = [engine.run(task, weights, hashlib.sha256(bytes([k, i])).digest()) for i in range(2)]
        weights = engine.settle(task, weights, [run.delta for run in runs], (bytes(32),) * 3).weights
    found = np.frombuffer(weights, "<i8") * 2.0**-24
    found *= np.sign(found @ planted)
    assert np.linalg.norm(found - planted) < 0.01 * np.linalg.norm(planted)


def test_digits_learn_within_a_few_rounds() -> None:
    prepared = prepare(load_job_file(EXAMPLES / "digits.toml"), LIMIT)
    engine, task = Engine(lambda cid: prepared.blob, path="portable"), make_task(prepared.spec)
    weights = prepared.facts.weights
    start = score_holdout(prepared, weights, path="portable")
    for k in range(3):
        runs = [engine.run(task, weights, hashlib.sha256(bytes([k, i])).digest()) for i in range(3)]
        assert all(run.after < run.before for run in runs)
        weights = engine.settle(task, weights, [run.delta for run in runs], (bytes(32),) * 3).weights
    end = score_holdout(prepared, weights, path="portable")
    assert start.samples == end.samples == 297
    assert start.accuracy is not None
    assert start.accuracy < 0.3
    assert end.accuracy is not None
    assert end.accuracy > 0.75
    assert end.mean_loss < start.mean_loss


# --- determinism and numbers ------------------------------------------------------------------------------------------


def test_same_file_gives_the_same_spec_and_another_seed_another(folder: Path) -> None:
    first = prepare_text(folder)
    assert hash_spec(prepare_text(folder)) == hash_spec(first)
    other = prepare_text(folder, JOB.replace("seed = 7", "seed = 8"))
    assert other.spec.data_cid != first.spec.data_cid
    assert other.spec.init_seed != first.spec.init_seed


def test_other_train_counts_keep_the_held_out_samples(folder: Path) -> None:
    fewer = prepare_text(folder, JOB.replace("train = 20", "train = 12"))
    assert np.array_equal(
        fewer.holdout_inputs.units + fewer.input_offset, _get_held_out(prepare_text(folder))
    )


def _get_held_out(prepared: PreparedJob) -> Integers:
    return prepared.holdout_inputs.units + prepared.input_offset


def test_mean_is_over_the_training_samples_only(folder: Path) -> None:
    prepared = prepare_text(folder)
    train = decode_blob(prepared.blob)[0].values.astype(np.int64)
    assert np.abs(train.sum(axis=0) / len(train)).max() <= 0.5  # stored units: the mean itself is rounded


def test_rounding_and_clipping_are_reported(folder: Path) -> None:
    x = np.zeros((40, 2))
    x[3, 1], x[4, 0] = 100.0, 1 / 512
    np.savez(folder / "a.npz", x=x, y=np.arange(40) % 3)
    report = prepare_text(folder, JOB.replace(', subtract = "mean"', "")).report["inputs"]
    assert report.clipped == 1
    assert report.max_rounding_error == 1 / 512
    assert report.values == 80


@pytest.mark.parametrize("bits", range(13))
def test_stored_limit_is_the_largest_that_the_grid_takes(bits: int) -> None:
    assert get_stored_limit(bits) << (12 - bits) <= 2**15 - 1 < (get_stored_limit(bits) + 1) << (12 - bits)


@pytest.mark.parametrize(
    "text", ["0.1", "0.0015625", "3", "4095", "1e-9", "0.333333333333", "2.5e-12", "5000"]
)
def test_converted_rate_is_the_nearest(text: str) -> None:
    rate = Fraction(Decimal(text))
    mantissa, shift = convert_rate(rate)
    error = abs(get_rate((mantissa, shift)) - rate)
    assert 1 <= mantissa <= 4095
    for other_shift in range(49):
        for other in (int(rate * 2**other_shift), int(rate * 2**other_shift) + 1):
            if 1 <= other <= 4095:
                assert error <= abs(get_rate((other, other_shift)) - rate)


@pytest.mark.parametrize("rate", [Fraction(1, 2**51), Fraction(9000)])
def test_rate_beyond_all_pairs_is_refused(rate: Fraction) -> None:
    with pytest.raises(ValueError, match=r"too (small|large)"):
        convert_rate(rate)


def test_amounts_and_losses_are_exact(folder: Path) -> None:
    text = JOB.replace('"0.5"', "0.1").replace("escrow = 100", 'escrow = "92233720368.54775807"')
    spec = prepare_text(folder, text).spec
    assert (spec.burn, spec.target) == (10_000_000, 2**38)
    assert prepare_text(folder, text).escrow == 2**63 - 1


# --- the other shapes of data -----------------------------------------------------------------------------------------


def test_table_becomes_a_job(folder: Path) -> None:
    rows = [f"{i / 10},{i % 7},{i % 3}" for i in range(40)]
    (folder / "a.csv").write_text("\n".join(["a,b,kind", *rows]))
    text = (
        JOB.replace("a.npz", "a.csv").replace('array = "x"', 'columns = ["a", "b"]').replace('"y"', '"kind"')
    )
    assert decode_blob(prepare_text(folder, text).blob)[0].values.shape == (20, 2)


def test_keys_travel_in_the_blob(folder: Path) -> None:
    np.savez(folder / "a.npz", x=np.ones((40, 2)), y=np.zeros((40, 3)), k=np.ones((3, 5)))
    text = JOB.replace('targets = "class"', 'targets = "values"\nkey_width = 5')
    prepared = prepare_text(folder, text.replace('targets = "y"', 'targets = "y"\nkeys = "k"'))
    assert decode_blob(prepared.blob)[4].values.shape == (3, 5)
    assert score_holdout(prepared, prepared.facts.weights, path="portable").right is None


# --- mistakes ---------------------------------------------------------------------------------------------------------

MISTAKES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "not TOML": ("title =", "title ", ("job.toml", "not valid TOML", "line 1")),
    "missing title": ('title = "Small"', "", ("title", "missing")),
    "long title": ("Small", "x" * 65, ("title", "1 to 64 bytes", "65")),
    "unknown section": ("[split]", "[splits]", ("splits", "did you mean 'split'?")),
    "section is a value": ("[rule]", "[market.rule]", ("rule", "missing")),
    "unknown key": ("steps = 2", "step = 2", ("[rule] step", "unknown key", "did you mean 'steps'?")),
    "unknown objective": (
        "softmax_reg",
        "softmax_rag",
        ("[objective] name", "did you mean 'softmax_regression'?"),
    ),
    "another objective's key": (
        "features = 2",
        "tokens = 2",
        ("[objective] tokens", "unknown key", "features"),
    ),
    "unknown word": ('"class"', '"classes"', ("[objective] targets", "'values', 'class'", "'classes'")),
    "text for a number": ("steps = 2", 'steps = "2"', ("[rule] steps", "whole number from 2 to 64", "2")),
    "true for a number": ("steps = 2", "steps = true", ("[rule] steps", "whole number")),
    "number for a text": ('"Small"', "5", ("title", "text in quotes")),
    "out of range": ("steps = 2", "steps = 65", ("[rule] steps", "2 to 64", "65")),
    "large shard": ("shard = 10", "shard = 21", ("[rule] shard", "21", "20 training samples")),
    "zero rate": ("learning_rate = 0.5", "learning_rate = 0.0", ("[rule] learning_rate", "above 0")),
    "infinite rate": (
        "learning_rate = 0.5",
        "learning_rate = inf",
        ("[rule] learning_rate", "expected a number"),
    ),
    "tiny rate": (
        "learning_rate = 0.5",
        "learning_rate = 1e-20",
        ("[rule] learning_rate", "too small", "3.6e-14 to"),
    ),
    "huge rate": (
        "learning_rate = 0.5",
        "learning_rate = 1e9",
        ("[rule] learning_rate", "too large", "40950 here"),
    ),
    "rate of no tensor": ("rate = 0.5", "rate = { Y = 1 }", ("[rule.learning_rate] Y", "unknown key", "X")),
    "too many decimals": ('"0.5"', '"0.000000001"', ("[market] burn", "8 decimals")),
    "not an amount": ('"0.5"', '"half"', ("[market] burn", "amount in coins", "'half'")),
    "negative amount": ('"0.5"', "-1", ("[market] burn", "0 to")),
    "amount too large": ("escrow = 100", "escrow = 1e30", ("[market] escrow", "0 to 92233720368.54775807")),
    "loss too large": (
        "target_loss = 0.25",
        "target_loss = 2000",
        ("[market] target_loss", "0 to 1024, less"),
    ),
    "no lifetime": ("lifetime_blocks = 500", "", ("[market] lifetime_blocks", "missing")),
    "no array named": ('array = "x", ', "", ("[data.inputs] array", "`array`", "`columns`")),
    "centred targets": (
        '"y"',
        '{ array = "y", subtract = "mean" }',
        ("[data.targets] subtract", "unknown key"),
    ),
    "scaled classes": ('"y"', '{ array = "y", multiply = 2 }', ("[data] targets", "no multiply")),
    "unused keys": ('"y"', '"y"\nkeys = "x"', ("[data] keys", "uses no keys")),
    "missing keys": (
        "outputs = 3",
        "outputs = 3\nkey_width = 2",
        ("[data] keys", "missing", "[outputs, key_width]"),
    ),
    "missing array": ('"y"', '"labels"', ("no array 'labels'", "known: x, y")),
    "other shape": ("features = 2", "features = 3", ("a.npz", "'x'", "[40, 2]", "[samples, 3]")),
    "rows for classes": ('"y"', '"rows"', ("a.npz", "'rows'", "[40, 3]", "[samples]")),
    "fewer targets": ('"y"', '"short"', ("40 inputs", "39 targets")),
    "class out of range": (
        "outputs = 3",
        "outputs = 2",
        ("'y'", "row 2", "class 2", "0 to 1", "outputs = 2"),
    ),
    "too few samples": ("judge = 16", "judge = 17", ("[split]", "41", "40 samples")),
    "clipped": (
        "fraction_bits",
        "multiply = 1e3, fraction_bits",
        ("[data] inputs", "a.npz", "outside -8 .. 8", "most of them in feature 0 of 'x'", "multiply = 3"),
    ),
    "key twice": ("steps = 2", "steps = 2\nsteps = 3", ("not valid TOML", "line 22", "once")),
    "no quotes": ('"Small"', "Small", ("not valid TOML", "line 1", "quotes")),
    "number of thousands of digits": ("steps = 2", "steps = " + "9" * 5000, ("job.toml", "too many digits")),
    "number of a hundred digits": (
        "steps = 2",
        "steps = " + "9" * 100,
        ("[rule] steps", "2 to 64", "digits"),
    ),
    "nested too deep": ("seed = 7", "seed = " + "[" * 3000, ("not valid TOML", "deep")),
    "control characters": ('"Small"', '"a\\u001b[2J"', ("title", "printable", "x1b")),
    "missing section": (JOB[JOB.index("[market]") :], "", ("market", "missing", "a section [market]")),
    "section for a list": ("[rule]", "[[rule]]", ("rule", "a section [rule]", "got a list")),
    "missing key": ("steps = 2", "", ("[rule] steps", "missing", "whole number from 2 to 64")),
    "date for a number": ("steps = 2", "steps = 2020-01-01", ("[rule] steps", "got 2020-01-01")),
    "text for a rate": ("= 0.5", '= "0.5"', ("[rule] learning_rate", "expected a number", "'0.5'")),
    "list for a rate": ("= 0.5", "= [0.5]", ("[rule] learning_rate", "expected a number", "a list")),
    "negative rate": ("= 0.5", "= -0.5", ("[rule] learning_rate", "from 0", "-0.5")),
    "negative price": ("burn =", "price = -1\nburn =", ("[market] price", "0 to 92233720368", "-1")),
    "true for an amount": ('"0.5"', "true", ("[market] burn", "amount in coins", "got true")),
    "nan for an amount": ('"0.5"', '"nan"', ("[market] burn", "amount in coins", "'nan'")),
    "other digits for an amount": ('"0.5"', '"1_0"', ("[market] burn", "amount in coins", "'1_0'")),
    "no data file": ('"a.npz"', '""', ("[data] file", "path of a data file")),
    "nul in a path": ('"a.npz"', '"a\\u0000"', ("[data] file", "path of a data file")),
    "folder for data": ('"a.npz"', '"."', ("is a folder", ".csv file")),
    "path too long": ('"a.npz"', f'"{"a" * 300}.npz"', ("aaa.npz", "cannot be read", "too long")),
    "number for inputs": ('"y"', "5", ("[data] targets", "name in quotes", "got 5")),
    "array and columns": ("array =", 'columns = ["x"], array =', ("[data.inputs] array", "got both")),
    "column listed twice": (
        'array = "x"',
        'columns = ["x", "x"]',
        ("[data.inputs] columns", "'x'", "twice", "once"),
    ),
    "no columns": ('array = "x"', "columns = []", ("[data.inputs] columns", "1 to 1024", "got 0")),
    "numbers for columns": ('array = "x"', "columns = [1]", ("[data.inputs] columns", "in quotes", "got 1")),
    "text for columns": ('array = "x"', 'columns = "x"', ("[data.inputs] columns", "a list", "'x'")),
    "zero multiply": ("array =", "multiply = 0, array =", ("[data.inputs] multiply", "above 0")),
    "unknown divisor": (
        "array =",
        'divide = "mean", array =',
        ("[data.inputs] divide", "'deviation'", "'mean'"),
    ),
    "divided targets": (
        '"y"',
        '{ array = "y", divide = "deviation" }',
        ("[data.targets] divide", "unknown key"),
    ),
    "too many fraction bits": ("bits = 8", "bits = 13", ("[data.inputs] fraction_bits", "0 to 12", "13")),
    "rows of outputs for classes": ('"y"', '"rows"', ("number the classes", 'targets = "values"')),
    "parent that is no id": (
        "seed = 7",
        'parent = "latest"',
        ("parent", "first 4 digits or more", "'latest'"),
    ),
    "parent too short": ("seed = 7", 'parent = "abc"', ("parent", "first 4 digits or more", "'abc'")),
    "number for a parent": ("seed = 7", "parent = 1234", ("parent", "a text in quotes", "got 1234")),
    "parent and no node": ("seed = 7", 'parent = "AbCd"', ("parent", "job abcd", "only a node has them")),
    "text for market only": (
        "burn =",
        'market_only = "yes"\nburn =',
        ("[market] market_only", "true or false"),
    ),
    "market only with a burn": (
        "burn =",
        "market_only = true\nprice = 1\nround_budget = 1\nburn =",
        ("[market] burn", "expected none where market_only is true", "got 0.5"),
    ),
    "market only without a price": (
        'burn = "0.5"',
        "market_only = true\nround_budget = 1",
        ("[market] price", "more than 0 coins where market_only is true"),
    ),
    "market only without a budget": (
        'burn = "0.5"',
        "market_only = true\nprice = 1",
        ("[market] round_budget", "more than 0 coins where market_only is true"),
    ),
    "no burn": ('burn = "0.5"', "", ("[market] burn", "missing")),
    "other count of features": ("features = 2", "features = 4", ("[40, 2]", "set features = 2")),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_named(folder: Path, mistake: str) -> None:
    old, new, parts = MISTAKES[mistake]
    assert old in JOB
    with pytest.raises(TrainingError) as error:
        prepare_text(folder, JOB.replace(old, new, 1))
    assert [part for part in parts if part not in str(error.value)] == [], str(error.value)


def test_sample_over_the_whole_judging_split_is_allowed(folder: Path) -> None:
    assert prepare_text(folder, JOB.replace("judging_sample = 16", "judging_sample = 17")).spec.sample == 17


def test_sample_between_a_quarter_and_all_is_refused(folder: Path) -> None:
    text = JOB.replace("judge = 16", "judge = 18").replace("train = 20", "train = 18")
    with pytest.raises(JobFileError, match=r"\[market\] judging_sample: .*18 judging samples"):
        prepare_text(folder, text)


def test_blob_over_the_limit_says_how_many_samples_fit(folder: Path) -> None:
    size = prepare_text(folder).spec.data_size
    with pytest.raises(JobFileError, match=rf"{size} bytes.*at most {size - 1}.*at most about 35"):
        prepare_text(folder, limit=size - 1)


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        (b"", ("job.toml", "is empty", "examples/")),
        (b" \n\n", ("job.toml", "is empty")),
        (JOB.encode().replace(b"Small", b"Sm\xe4ll"), ("line 1", "0xe4", "save the job file as UTF-8")),
        (JOB.encode("utf-16"), ("0xff", "UTF-8")),
        (b"\x00\x01\x02", ("not valid TOML", "line 1")),
        (b"PK\x03\x04 not a job file", ("not valid TOML", "line 1")),
        (b"#" * (1 << 16) + b"#", ("over 65536 bytes", "names its data")),
    ],
)
def test_file_that_is_no_job_file_is_named(folder: Path, data: bytes, parts: tuple[str, ...]) -> None:
    (folder / "job.toml").write_bytes(data)
    with pytest.raises(JobFileError) as error:
        load_job_file(folder / "job.toml")
    assert [part for part in parts if part not in str(error.value)] == [], str(error.value)


def test_folder_as_a_job_file_is_named(folder: Path) -> None:
    with pytest.raises(JobFileError, match=r"is a folder; expected a job file, such as .*job\.toml"):
        load_job_file(folder)


def test_byte_order_mark_and_other_line_ends_change_nothing(folder: Path) -> None:
    plain = prepare_text(folder)
    (folder / "job.toml").write_bytes(b"\xef\xbb\xbf" + JOB.replace("\n", "\r\n").encode())
    assert hash_spec(prepare(load_job_file(folder / "job.toml"), LIMIT)) == hash_spec(plain)


def test_values_too_large_to_centre_are_refused_and_not_made_constant(folder: Path) -> None:
    x = 1.7e9 + np.arange(80, dtype=np.float64).reshape(40, 2)  # seconds since 1970: 2^39 in units of 2^-8
    np.savez(folder / "a.npz", x=x, y=np.arange(40) % 3)
    with pytest.raises(JobFileError, match=r"80 of 80 values of 'x' are outside"):
        prepare_text(folder)


def test_wrong_classes_name_row_and_range(folder: Path) -> None:
    for wrong in (0.5, -1.0):
        y = np.zeros(40)
        y[7] = wrong
        np.savez(folder / "a.npz", x=np.zeros((40, 2)), y=y)
        with pytest.raises(JobFileError, match=rf"a\.npz: 'y', row 7 .*class {wrong:g}; expected .* 0 to 2"):
            prepare_text(folder)


def test_missing_job_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(JobFileError, match=r"none\.toml: cannot read"):
        load_job_file(tmp_path / "none.toml")


# --- rates ------------------------------------------------------------------------------------------------------------


def test_rates_that_work_give_valid_tickets(folder: Path) -> None:
    runs = tune_rates(prepare_text(folder), path="portable")
    assert len(runs) == TRIALS
    assert all(run.after < run.before for run in runs)


def test_rates_too_high_name_the_ones_that_work(folder: Path) -> None:
    high = prepare_text(folder, JOB.replace("learning_rate = 0.5", "learning_rate = 2000"))
    with pytest.raises(JobFileError, match=r"\[rule\] learning_rate: too high: .*; ([0-9.]+) is") as error:
        tune_rates(high, path="portable")
    named = str(error.value).split("; ")[1].split(" is")[0]
    works = replace(high.file, rule=replace(high.file.rule, learning_rates=(Fraction(named),)))
    tune_rates(prepare(works, LIMIT), path="portable")


def test_rates_of_several_tensors_too_high_are_named_one_by_one(folder: Path) -> None:
    text = JOB.replace('"softmax_regression"', '"attention_regression"').replace(
        "features = 2", "tokens = 1\nwidth = 2"
    )
    text = text.replace("learning_rate = 0.5", "learning_rate = 2000")
    with pytest.raises(JobFileError, match=r"too high: .*; \{ X = ([0-9.]+), Y = \1 \} is"):
        tune_rates(prepare_text(folder, text), path="portable")


def test_nothing_to_learn_is_said(folder: Path) -> None:
    np.savez(folder / "a.npz", x=np.zeros((40, 2)), y=np.arange(40) % 3)
    with pytest.raises(JobFileError, match="no rate makes a ticket lower its loss"):
        tune_rates(prepare_text(folder), path="portable")
