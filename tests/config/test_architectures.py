from typing import get_args

from defectkit.config import ARCHITECTURES, WITHOUT_ENCODER, Architecture, Config
from defectkit.vocabulary import ApproachName


def test_every_network_belongs_to_one_approach():
    assert tuple(ARCHITECTURES) == get_args(ApproachName)
    names = [name for own in ARCHITECTURES.values() for name in own]
    assert sorted(names) == sorted(get_args(Architecture))
    assert set(WITHOUT_ENCODER) <= set(names)


def test_the_first_network_of_an_approach_is_its_default():
    for approach, own in ARCHITECTURES.items():
        assert Config(approach=approach).model.architecture == own[0]
