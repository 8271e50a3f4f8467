"""What a broker cannot do it says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from backburner.brokers.base import Bound, Broker, Capability, Filter, Operation
from backburner.errors import NotSupported
from backburner.testing.conformance.kit import Store, new_job

ASKING: dict[Capability, Callable[[Broker], Operation[Any]]] = {
    Capability.LOOKUP: lambda broker: broker.find(Filter()),
    Capability.UNIQUE: lambda broker: broker.enqueue([new_job(key="once")], {}),
    Capability.SCHEDULES: lambda broker: broker.schedules(),
    Capability.UPKEEP: lambda broker: broker.stage(1),
    Capability.BOUNDED: lambda broker: broker.enqueue(
        [new_job()], {"default": Bound(queue="default", max_length=1)}
    ),
}


@pytest.mark.parametrize("capability", ASKING)
def test_a_missing_capability_raises_an_error_that_names_it(store: Store, capability: Capability) -> None:
    ask = ASKING[capability]
    if capability in store.broker.capabilities:
        store.broker.run(ask(store.broker))
    else:
        with pytest.raises(NotSupported, match=capability):
            store.broker.run(ask(store.broker))


def test_a_caller_without_a_transaction_of_this_broker_gets_a_clear_error(store: Store) -> None:
    if Capability.TRANSACTIONS not in store.broker.capabilities:
        with pytest.raises(NotSupported, match="transactions"):
            store.broker.run_on(object(), store.broker.enqueue([new_job()], {}))
