"""The one place where errors of pika become errors of Backburner.

1. What soon passes (a lost connection, a node that starts) is tried again, within the patience of the URL.
2. What needs another URL, another right or other queues is a `BrokerError` at once.
"""

from __future__ import annotations

import ssl
from typing import Final

from pika import exceptions
from pika.adapters.utils.connection_workflow import AMQPConnectionWorkflowFailed, AMQPConnectorPhaseErrorBase

from backburner.errors import BackburnerError, BrokerError, BrokerUnavailable

_CODES: Final = {
    403: "does not let this user do that: docs/brokers/rabbitmq.md lists the rights that it needs",
    406: "has a queue or an exchange of that name with other settings: `backburner doctor` says which",
    530: "has no such virtual host, or this user may not use it: correct the end of the URL, or make it "
    "with `rabbitmqctl add_vhost`",
}
_TLS: Final = (
    (
        ssl.SSLCertVerificationError,
        "shows a certificate that is not trusted: name the authority, as in ?cacertfile=FILE",
    ),
    (ssl.SSLError, "makes no TLS connection: check that TLS is spoken there"),
)
_REFUSALS: Final = {
    "(403)": "refuses the user or the password: correct them in the URL",
    "(530)": _CODES[530],
}
"""In what pika wraps while a connection opens. It wraps the end of a node in the same way."""
_TIMED_OUT: Final = "delivery acknowledgement on channel"


class Lost(Exception):
    """The connection or the channel is gone, for the reason that is its cause."""


class Refused(Exception):
    """The server did not take a message."""


def permanent(error: BaseException) -> bool:
    """Whether the same request would fail again."""
    return not isinstance(translation(error, ""), BrokerUnavailable)


def translation(error: BaseException, url: str) -> BackburnerError:
    """What to raise for an error of pika or of the system."""
    if isinstance(error, BackburnerError):
        return error
    error = root(error)
    text = str(error) or type(error).__name__
    if advice := _refusal(error, text):
        return BrokerError(f"{url} {advice} ({text})")
    if isinstance(error, Refused):
        return BrokerUnavailable(f"{url} refused a message: is the node of its queue away?")
    if _TIMED_OUT in text:
        text = f"a job ran longer than its consumer_timeout: raise that in rabbitmq.conf; {text}"
    return BrokerUnavailable(f"{url} cannot be reached or does not answer: is it running? ({text})")


def _refusal(error: BaseException, text: str) -> str:
    """What to do about an error that comes again; nothing for one that passes."""
    for kind, advice in _TLS:
        if isinstance(error, kind):
            return advice
    if isinstance(error, exceptions.ProbableAuthenticationError | exceptions.ProbableAccessDeniedError):
        return next((advice for code, advice in _REFUSALS.items() if code in text), "")
    if isinstance(error, exceptions.ConnectionClosed | exceptions.ChannelClosed) and _TIMED_OUT not in text:
        return _CODES.get(error.reply_code, "")
    return ""


def blocked(url: str, alarm: str) -> str:
    """What to say while the server has an alarm."""
    may = "what was sent may still be taken when it is over"
    return f"{url} takes no messages: its alarm is set ({alarm}); {may}"


def root(error: BaseException) -> BaseException:
    """What is behind an error of pika's ways to connect, which wrap one another."""
    while True:
        if isinstance(error, AMQPConnectionWorkflowFailed):
            error = error.exceptions[-1]
        elif isinstance(error, AMQPConnectorPhaseErrorBase):
            error = error.exception
        elif isinstance(error, Lost) and error.__cause__ is not None:
            error = error.__cause__
        else:
            return error
