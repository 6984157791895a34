"""Every family of nets keeps the public contract, at a tiny size; tests/networks has what is particular to each."""

import pytest

from contracts.tiny import TINY
from distmatch.networks import NETWORKS
from distmatch.testing import check_network


@pytest.mark.parametrize("name", NETWORKS)
def test_it_keeps_the_contract(name):
    assert name in TINY, f"write options that make the nets of {name} tiny into tests/contracts/tiny.py"
    check_network(NETWORKS[name], NETWORKS[name].options(**TINY[name]))
