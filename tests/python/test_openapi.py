"""What the OpenAPI document allows is tried (schemathesis): no 500, no answer that it does not describe, and nothing of
another user's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance
from test_http import ADMIN, LEO, MIA, SERVICE, USER, backend, service_or_user

from jointo_credits import AsyncLedger

#: The one who asks for everything, and may.
EVERYBODY = {**USER, **SERVICE, **ADMIN}


@pytest.fixture(scope="module")
def theirs() -> list[str]:
    """What only Leo may see: filled in when there is something."""
    return []


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, theirs: list[str]) -> Any:
    """An application with something to find. Schemathesis starts and ends it for each call."""
    url = f"sqlite:///{tmp_path_factory.mktemp('openapi') / 'credits.db'}"

    async def fill() -> None:
        async with await AsyncLedger.connect(url) as ledger:
            await ledger.migrate()
            await ledger.seed_catalog()
            for user in (MIA, LEO):
                await ledger.grant(user, 1_000_000, source="purchase")
                for n in range(5):
                    hold = await ledger.consume(user, "video_generation", 5, reference=f"作业-{user}-{n}")
                    if n % 2:
                        await ledger.confirm(hold.id)
                    if user == LEO:
                        theirs.extend([str(hold.id), f"作业-{user}-{n}"])
            package = (await ledger.packages())[0]
            theirs.append((await ledger.create_order(LEO, package.id, "manual")).order_no)

    asyncio.run(fill())
    return backend(url, service_or_user=service_or_user)


@pytest.fixture(scope="module")
def schema(app: Any) -> Any:
    return schemathesis.openapi.from_asgi("/openapi.json", app)


ROUTES = [
    ("GET", "/credits/balance"),
    ("GET", "/credits/transactions"),
    ("GET", "/credits/statement"),
    ("GET", "/credits/consumption"),
    ("POST", "/credits/calculate"),
    ("POST", "/credits/consume"),
    ("POST", "/credits/confirm"),
    ("POST", "/credits/refund"),
    ("GET", "/credits/packages"),
    ("GET", "/credits/packages/{package_id}"),
    ("POST", "/credits/gift"),
    ("POST", "/credits/expire-pending"),
    ("POST", "/recharge/orders"),
    ("GET", "/recharge/orders"),
    ("GET", "/recharge/orders/{order_no}"),
    ("POST", "/recharge/orders/{order_no}/pay"),
    ("POST", "/recharge/orders/{order_no}/close"),
    ("POST", "/recharge/orders/{order_no}/refund"),
    ("POST", "/recharge/reconcile"),
]


def each_case(schema: Any, route: tuple[str, str], check: Callable[[schemathesis.Case], None], examples: int) -> None:
    """Checks cases, right and wrong ones, that the document's description of a route makes."""
    method, path = route
    operation = schema[path][method]
    modest = settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    # Where nothing can be sent nothing wrong can be.
    modes = [GenerationMode.POSITIVE] if path in ("/credits/balance", "/credits/packages") else list(GenerationMode)
    for mode in modes:

        @modest
        @given(case=operation.as_strategy(generation_mode=mode))
        def try_them(case: schemathesis.Case) -> None:
            check(case)

        try_them()


@pytest.mark.parametrize("route", ROUTES, ids=" ".join)
def test_every_answer_is_as_described(schema: Any, route: tuple[str, str]) -> None:
    def check(case: schemathesis.Case) -> None:
        # JSON Schema can't say all that is refused: an expiry that has passed, a feature that is not priced.
        case.call_and_validate(headers=EVERYBODY, excluded_checks=[positive_data_acceptance])

    each_case(schema, route, check, 60)


@pytest.mark.parametrize("route", ROUTES, ids=" ".join)
def test_nothing_of_anybody_else(schema: Any, route: tuple[str, str], theirs: list[str]) -> None:
    """As a user: whatever is asked, no answer knows anything of Leo's."""
    assert len(theirs) == 11

    def check(case: schemathesis.Case) -> None:
        response = case.call(headers=USER)
        assert response.status_code < 500
        for text in theirs:
            assert text not in response.text

    each_case(schema, route, check, 25)


def test_every_route_is_described(app: Any) -> None:
    """Every route says what it may answer, and names are camelCase."""
    document = app.openapi()
    prefixes = ("/credits", "/recharge")
    # Channels are told what to do by their own documentation.
    paths = {p: routes for p, routes in document["paths"].items() if p.startswith(prefixes) and "/notify" not in p}
    assert len([method for routes in paths.values() for method in routes]) == len(ROUTES)
    for routes in paths.values():
        for route in routes.values():
            assert {"200", "401", "403", "422", "503"} <= set(route["responses"])
            assert route["summary"]
            for status, response in route["responses"].items():
                reference = response["content"]["application/json"]["schema"]["$ref"]
                assert reference.endswith("ErrorEnvelope") != (status == "200")
    for name, schema in document["components"]["schemas"].items():
        for field in schema.get("properties", {}):
            assert "_" not in field, (name, field)
