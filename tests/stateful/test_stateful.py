"""Random lives of a queue, over every broker. BACKBURNER_TESTS=thorough looks for longer."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.stateful.machine import QueueMachine
from tests.stores import STORES

THOROUGH = os.environ.get("BACKBURNER_TESTS") == "thorough"
EXAMPLES = {"sqlite-file": 40, "sqlite-memory": 200, "redis": 40, "postgres": 30, "rabbitmq": 15}


@pytest.mark.timeout(3600 if THOROUGH else 120)
@pytest.mark.parametrize("name", STORES)
def test_whatever_happens_the_store_is_what_the_model_says(name: str) -> None:
    run_state_machine_as_test(
        type(f"Machine over {name}", (QueueMachine,), {"store": staticmethod(STORES[name])}),
        settings=settings(
            max_examples=EXAMPLES[name] * (50 if THOROUGH else 1),
            stateful_step_count=100 if THOROUGH else 50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
