"""Pictures are well-formed SVG, and every number that was given stands within their frame."""

import xml.etree.ElementTree as ElementTree

import pytest

from training.pictures import HEIGHT, WIDTH, draw_curves, draw_matrix

SVG = "{http://www.w3.org/2000/svg}"


def test_curves_stay_within_the_frame() -> None:
    curves = {"a < b": [(1.0, 1e-9), (10.0, 1.0)], "c": [(2.0, 0.5)]}
    picture = ElementTree.fromstring(
        draw_curves("T & t", curves, ("x", "y"), log_y=True, level=("l", 0.1), dots=[(1.0, 0.1)])
    )
    lines = picture.findall(f"{SVG}polyline")
    assert len(lines) == 2
    for pair in " ".join(line.attrib["points"] for line in lines).split():
        x, y = map(float, pair.split(","))
        assert 0 <= x <= WIDTH
        assert 0 <= y <= HEIGHT
    assert "T & t" in [text.text for text in picture.findall(f"{SVG}text")]


def test_matrix_has_a_square_for_every_entry() -> None:
    picture = ElementTree.fromstring(draw_matrix("m", [[0.0, 1.0, 0.25]], ["a", "b", "c"]))
    squares = picture.findall(f"{SVG}rect")[1:]
    assert [square.attrib["fill"] for square in squares] == [
        "rgb(255,255,255)",
        "rgb(0,0,255)",
        "rgb(128,128,255)",
    ]


def test_nothing_to_draw_and_a_logarithm_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one point"):
        draw_curves("", {}, ("", ""))
    with pytest.raises(ValueError, match="above 0 expected"):
        draw_curves("", {"a": [(0.0, 0.0)]}, ("", ""), log_y=True)
