"""Where services answer: host:port, with an IPv6 address in brackets; anything else is refused before anybody connects."""

from __future__ import annotations

import pytest

from consilium.client.commands.joins import addresses_of
from consilium.client.settings import services_of
from consilium.kernel.errors import InvalidArgument
from consilium.kernel.membership import SERVICES
from consilium.runtime.addresses import is_address, join_address, peers_of, split_address

GOOD = {
    "ledger.1a.example:8443": ("ledger.1a.example", 8_443),
    "10.0.0.7:1": ("10.0.0.7", 1),
    "[::1]:65535": ("::1", 65_535),
    "[2001:db8::7]:8443": ("2001:db8::7", 8_443),
    "[fe80::1%eth0]:8443": ("fe80::1%eth0", 8_443),
    "[::ffff:10.0.0.7]:8443": ("::ffff:10.0.0.7", 8_443),
}
BAD = (
    "::1:8443",
    "2001:db8::7:8443",
    "[::1]",
    "[::1:8443",
    "::1]:8443",
    "[ledger.1a.example]:8443",
    "[10.0.0.7]:8443",
    "[]:8443",
    "[::1]]:8443",
    "[::1]:0",
    "[::1]:65536",
    "a:b:1",
    ":8443",
    "ledger",
)


@pytest.mark.parametrize("address", GOOD)
def test_an_address_is_taken_apart_and_put_together(address: str) -> None:
    assert is_address(address)
    assert split_address(address) == GOOD[address]
    assert join_address(*GOOD[address]) == address


@pytest.mark.parametrize("address", BAD)
def test_what_is_none_is_refused_wherever_it_is_written(address: str) -> None:
    """Among them IPv6 without its brackets, whose last group would be the port: for services, clients and newcomers."""
    assert not is_address(address)
    with pytest.raises(InvalidArgument) as caught:
        peers_of([f"2A={address}"], "ledger", "1A")
    assert caught.value.reason == "BAD_SETTING"
    with pytest.raises(InvalidArgument) as caught:
        services_of([f"2A/ledger={address}"])
    assert caught.value.reason == "BAD_SETTING"
    with pytest.raises(InvalidArgument) as caught:
        addresses_of("hospital-9", "consilium", [f"ledger={address}"])
    assert caught.value.reason == "BAD_ADDRESS"


@pytest.mark.parametrize("address", GOOD)
def test_services_clients_and_newcomers_take_it(address: str) -> None:
    assert peers_of([f"2A={address}"], "ledger", "1A")["2A"].address == address
    assert services_of([f"2A/ledger={address}"])["2A"]["ledger"].address == address
    written = [f"{each}={address}" for each in SERVICES]
    assert set(addresses_of("", "consilium", written).values()) == {address}
