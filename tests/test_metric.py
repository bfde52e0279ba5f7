"""Samples are made by the catalogue's rows."""

import pytest

from floodmark import catalogue


def test_a_sample_carries_its_labels_in_the_catalogues_order() -> None:
    assert catalogue.EXITS(1, cause="timeout", app="shop").labels == ("shop", "timeout")


def test_a_missing_or_unknown_label_is_an_error() -> None:
    with pytest.raises(TypeError, match="'cause' is missing"):
        catalogue.EXITS(1, app="shop")
    with pytest.raises(TypeError, match="no label pid"):
        catalogue.UP(1, app="shop", pid="3")


def test_no_name_stands_twice_in_the_catalogue() -> None:
    names = [metric.name for metric in catalogue.ALL]
    assert len(names) == len(set(names)) > 60
