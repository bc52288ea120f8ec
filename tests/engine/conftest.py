"""Tests of the engine look at the types of what kernels are given."""

import pytest


@pytest.fixture(autouse=True)
def _types_are_looked_at(monkeypatch):
    monkeypatch.setenv("HPCMP_CHECK_TYPES", "1")
