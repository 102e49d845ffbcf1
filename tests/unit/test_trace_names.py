"""Whom the end of a trace means by a name: whom the resolver would answer with."""

from __future__ import annotations

import pytest
from tests import agents
from tests.unit.test_tracing import ends, web

from seaway.errors import Invalid, NotFound
from seaway.model.requests import NewService
from seaway.model.services import ServicePort


async def serving(agent):
    """Services of one backend, of two and of none; and an endpoint that is called like one."""
    for name, selector in {"shop": "a", "none": "b"}.items():
        await agent.intents.create_service(service(name, {name: selector}))
    await agent.intents.create_service(service("shop", {"shop": "z"}, network="web"))
    await agent.intents.create_service(service("pool", {"shop": "a"}, headless=True))
    await agent.intents.create_service(service("all", {"all": "yes"}, headless=True))
    labels = {"shop": "a", "all": "yes"}
    await agent.attach("red", name="one", aliases=("nick",), labels=labels)
    await agent.attach("grey", name="1.shop", labels={"all": "yes"})


def service(name, selector, **more):
    return NewService(
        name=name, ports=(ServicePort(port=80, target=80),), selector=selector, **more
    )


NAMES = [  # with what it is traced to; of who asks is the network `default`
    ("shop", "default/shop"),
    ("Shop.default.seaway.", "default/shop"),
    ("shop.web.svc.cluster.local", "web/shop"),
    ("web/shop", "web/shop"),
    ("tasks.shop", "one.shop.default.seaway"),
    ("tasks.shop.default.svc.cluster.local", "one.shop.default.seaway"),
    ("one.shop.default.seaway", "one.shop.default.seaway"),
    ("1.shop", "1.shop"),
    ("pool", "one.pool.default.seaway"),
    ("ONE.default.seaway", "ONE.default.seaway"),
    ("nick", "nick"),
]


@pytest.mark.parametrize(("name", "expected"), NAMES)
def test_a_trace_takes_the_names_that_the_resolver_answers(tmp_path, name, expected):
    async def scenario(agent):
        await ends(agent)
        await serving(agent)
        report = await agent.intents.trace("default/a", web(name))
        assert expected == report.destination.partition(" (")[0]

    agents.run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("name", "kind", "told", "hint"),
    [
        ("shop.default.svc", NotFound, "no endpoint and no service", ""),
        ("one.default.svc.cluster.local", NotFound, "no endpoint and no service", ""),
        ("two.shop", NotFound, "no endpoint and no service 'two.shop'", ""),
        ("tasks.none", Invalid, "service 'default/none' has no backend", "inspect default/none"),
        (
            "tasks.all",
            Invalid,
            "the name is that of 2 backends of service 'default/all'",
            "trace to one of them: 1.shop.all.default.seaway, one.all.default.seaway",
        ),
    ],
)
def test_a_name_that_the_resolver_does_not_answer_with_one_place_is_refused(
    tmp_path, name, kind, told, hint
):
    async def scenario(agent):
        await ends(agent)
        await serving(agent)
        with pytest.raises(kind, match=told) as caught:
            await agent.intents.trace("default/a", web(name))
        assert hint in caught.value.hint

    agents.run(tmp_path, scenario)
