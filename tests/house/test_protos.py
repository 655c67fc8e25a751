"""What buf does not check about the contracts: names without prepositions, pages, the generator's version."""

from __future__ import annotations

import importlib
import re

import pytest
from google.protobuf import __version__ as protobuf_version
from google.protobuf.descriptor import FileDescriptor

FILES = [
    "chain.v1.chain",
    "identity.v1.identity",
    "consensus.v1.consensus",
    "consensus.v1.replica",
    "ledger.v1.ledger",
    "storage.v1.storage",
    "reencryption.v1.reencryption",
]
PREPOSITIONS = {"For", "With", "From", "By", "At", "To", "Of", "In", "On", "After", "Before", "Since"}
# The verbs that design section 3 wants to grep from contract to core to test.
EXPECTED = {
    "IdentityService": {
        "IssueCredential",
        "RevokeCredential",
        "ProposeChange",
        "CastBallot",
    },
    "ConsensusService": {"SubmitTransaction", "SubmitRegistrations", "GetCommittee", "GetReplicaState"},
    "ReplicaService": {"Exchange"},
    "LedgerService": {
        "GetTip",
        "StreamBlocks",
        "StreamEvents",
        "GetTransactionProof",
        "GetStateProof",
        "ExecuteBlock",
    },
    "StorageService": {
        "PutObject",
        "GetObject",
        "GetManifest",
        "ReplicateObject",
        "EraseObject",
        "GetScrubState",
    },
    "ReencryptionService": {"GrantAccess", "RevokeAccess", "ReencryptCapsule", "ListReceipts"},
}


def descriptor(name: str) -> FileDescriptor:
    """Returns the descriptor of a generated file."""
    module = importlib.import_module(f"consilium.api.{name}_pb2")
    found = module.DESCRIPTOR
    assert isinstance(found, FileDescriptor)
    return found


@pytest.mark.parametrize("name", FILES)
def test_stubs_import_on_this_runtime(name: str) -> None:
    importlib.import_module(f"consilium.api.{name}_pb2_grpc")
    assert descriptor(name).package == f"consilium.api.{name.rsplit('.', 1)[0]}"


@pytest.mark.parametrize("name", FILES)
def test_rpc_names_hold_no_preposition(name: str) -> None:
    """AIP-136: verb and noun; what belongs to a preposition is a field."""
    for service in descriptor(name).services_by_name.values():
        for method in service.methods:
            assert not PREPOSITIONS & set(re.findall(r"[A-Z][a-z]*", method.name)), method.full_name


@pytest.mark.parametrize("name", FILES)
def test_lists_come_in_pages(name: str) -> None:
    """AIP-158: pages from the first day."""
    for service in descriptor(name).services_by_name.values():
        for method in service.methods:
            if method.name.startswith("List"):
                assert {"page_size", "page_token"} <= set(method.input_type.fields_by_name), method.full_name
                assert "next_page_token" in method.output_type.fields_by_name, method.full_name


def test_every_service_has_its_verbs() -> None:
    services = {service.name: service for name in FILES for service in descriptor(name).services_by_name.values()}
    assert services.keys() == EXPECTED.keys()
    for name, verbs in EXPECTED.items():
        assert verbs <= {method.name for method in services[name].methods}


def test_status_is_left_to_grpc() -> None:
    """AIP-216: life cycles are states."""
    for name in FILES:
        for enum in descriptor(name).enum_types_by_name.values():
            assert "Status" not in enum.name


def test_the_generator_is_older_than_the_runtime() -> None:
    """Published stubs import on protobuf 6.31 and newer because they were generated with that version."""
    module = importlib.import_module("consilium.api.chain.v1.chain_pb2")
    source = module.__file__
    assert source is not None
    with open(source, encoding="utf-8") as text:  # noqa: PTH123 (a path from Python itself)
        head = text.read(600)
    assert "Protobuf Python Version: 6.31" in head
    assert tuple(map(int, protobuf_version.split(".")[:2])) >= (6, 31)
