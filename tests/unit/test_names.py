"""Every module can be imported, and has the names that it offers."""

from importlib import import_module
from pkgutil import walk_packages

import pytest

import dialplan_sms

MODULES = [
    module.name
    for module in walk_packages(dialplan_sms.__path__, "dialplan_sms.")
    if not module.name.endswith(".__main__")  # which runs
]


@pytest.mark.parametrize("name", MODULES)
def test_a_module_has_the_names_that_it_offers(name: str) -> None:
    module = import_module(name)
    for offered in getattr(module, "__all__", ()):
        assert getattr(module, offered) is not None, offered


def test_the_stand_in_pbx_offers_its_requests() -> None:
    from dialplan_sms.sandbox import Request

    assert Request.__module__ == "dialplan_sms.sandbox.pbx"
