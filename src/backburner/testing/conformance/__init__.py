"""The suite that every broker passes, also one that you write.

1. In a test module say `from backburner.testing.conformance import *`.
2. There, or in a `conftest.py` beside it, define the fixture `make_broker`. It gives a function that makes a
   broker object with the clock that it is given. All that one test makes share one store, which is empty when
   the test begins: two objects are two processes. The suite closes them.

```python
@pytest.fixture
def make_broker(tmp_path):
    return lambda clock: MyBroker(f"my:///{tmp_path}/jobs", clock=clock)
```

3. Run pytest. Every test runs twice, with blocking calls and on an event loop.

A test that needs what `Broker.capabilities` leaves out is skipped: it says so (`kit.needs`), or the broker
raises `NotSupported`, which is tested, too. The tests never sleep: they move the clock. Where that matters to
anything but the periodic tasks they need UPKEEP.
"""

from __future__ import annotations

from importlib import import_module

import pytest

_MODULES = (
    "enqueue",
    "order",
    "claims",
    "recovery",
    "lifecycle_table",
    "leases",
    "staging",
    "retention",
    "keys",
    "bounds",
    "notes",
    "lookups",
    "operators",
    "adoption",
    "identity",
    "queues",
    "schedules",
    "follow_ups",
    "wakes",
    "crowds",
    "capabilities",
)

pytest.register_assert_rewrite(*(f"{__name__}.{name}" for name in ("kit", *_MODULES)))
_kit = import_module(f"{__name__}.kit")
_found = {name: getattr(_kit, name) for name in ("clock", "runner", "store", "other")}
for _module in _MODULES:
    for _name, _value in vars(import_module(f"{__name__}.{_module}")).items():
        if _name.startswith("test_"):
            assert _name not in _found, f"two tests are named {_name}"
            _found[_name] = _kit.gated(_value)

globals().update(_found)
__all__ = [*_found]  # noqa: PLE0604 - names, found above
