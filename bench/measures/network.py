"""A broker that is a millisecond away: half of it is added to each piece that goes to it or comes from it.
The proxy in between is not fast, and the same for all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bench.figures import Sample, Sizes, Step
from bench.measures.drain import count, drained
from bench.places import Place
from bench.subject import Subject
from tests.servers.proxy import Proxy

DELAY = 0.0005


def enqueue(subject: Subject, sizes: Sizes) -> Iterator[Sample]:
    way = subject.about.first("single", "async")
    if way and subject.place.server:
        with _away(subject):
            yield Sample("enqueue one by one", subject.enqueue(way, sizes.enqueue), "jobs/s")


def drain(subject: Subject, sizes: Sizes) -> Iterator[Sample]:
    if subject.place.server:
        subject.fill(count(subject, sizes.drain))
        with _away(subject), subject.worker() as running:
            yield Sample("drain", drained(subject, running).rate, "jobs/s")


@contextmanager
def _away(subject: Subject) -> Iterator[None]:
    near = subject.place
    assert near.server
    with Proxy(near.server.port) as proxy:
        proxy.delay(DELAY)
        subject.place = Place(proxy.url(near.url), near.server)
        yield
        subject.place = near


STEPS = (Step(enqueue), Step(drain))
