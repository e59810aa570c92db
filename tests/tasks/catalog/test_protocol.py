"""Declarations of protocols about their scores."""

from __future__ import annotations

from tasks.catalog.protocol import POINT, Margin
from tasks.catalog.protocols import PROTOCOLS, is_descriptive, is_trained, margin_of
from tasks.plugin_api import Margin as PlugInMargin


def test_protocols_that_train_a_network_say_so() -> None:
    trained = {spec.family for spec in PROTOCOLS.values() if spec.trains}
    dense = ("linear-segmentation", "depth", "finetune-vit")
    assert trained == {"finetune", "detection", "segmentation", "normals", "linear-heads", "attentive", *dense}
    assert not is_trained("linear")
    assert not is_trained("not-installed")


def test_each_metric_has_its_margin_in_its_own_unit() -> None:
    assert margin_of("linear", "accuracy", {}) == POINT
    assert margin_of("normals", "mean-angle", {}) == Margin(0.5, "degrees")
    assert margin_of("normals", "mean-angle", {"mean-angle": 2.0}) == Margin(2.0, "degrees")
    assert margin_of("not-installed", "accuracy", {"accuracy": 0.2}) == Margin(0.2, "points")


def test_a_margin_reads_as_a_number_with_its_unit() -> None:
    assert (str(POINT), str(Margin(0.5, "degrees"))) == ("1 point", "0.5 degrees")


def test_a_plug_in_declares_margins_by_the_same_class() -> None:
    assert PlugInMargin is Margin


def test_descriptive_is_a_fact_about_the_protocol_and_not_about_the_name_of_a_task() -> None:
    assert is_descriptive("attention")
    assert not is_descriptive("attention/digits")
