"""The recipes of the released networks are valid configurations."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.config import load_config

pytest.importorskip("torch")

from perception.training.config import TrainConfig
from perception.training.loop import provenance

RECIPES = sorted(Path(__file__).parents[2].glob("perception/training/recipes/*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_recipe_loads(path):
    config = load_config(TrainConfig, path)
    assert config.data
    assert all(s.split == "train" for s in config.data)
    assert all(s.split == "val" for s in config.val)


def test_there_are_recipes():
    assert RECIPES


def test_a_checkpoint_names_no_folder_of_the_machine_it_was_made_on():
    config = load_config(TrainConfig, None, ('init="/secret/place/w.safetensors"',))
    assert "/secret" not in str(provenance(config))
    assert provenance(config)["config"]["init"] == "w.safetensors"
