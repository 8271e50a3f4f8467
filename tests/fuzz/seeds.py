"""The corpus: what each harness begins with, and every input that has found a defect."""

from __future__ import annotations

from msgspec import msgpack

_HEAD = msgpack.encode(("shop.mail", "default", 0, None))
_NUMBERS = msgpack.encode(("queued", 1, 1.8e9, 1.8e9, None, 0, 0, 0, None, None, None, None, None, None))
_OPTIONS = b'{"retry":{"max_attempts":3,"delays":{"OSError":1.5}},"timeout":5,"tags":["a"],"meta":{"k":[1]}}'
_ATTEMPT = (
    b'{"attempt":1,"token":1,"worker":"w","started_at":1.0,"ended_at":2.0,"outcome":"retry","error":"E",'
    b'"message":"m"}'
)
_JOB = b'{"id":"1","task":"t","priority":5,"run_at":1.5,"attempt":1,"options":' + _OPTIONS + b"}"
_FRAMES = (
    b"\x01\0\x01\0\0\0\x10\0\x3c\0\x3c\x01t\0\0\0\0\0\0\0\x01\0\0\0\xce"
    b"\x02\0\x01\0\0\0\x0e\0\x3c\0\0\0\0\0\0\0\0\0\x02\0\0\xce\x03\0\x01\0\0\0\x02[]\xce"
)
_BIG = b"\x7f\xff\xff\xff\xff\xff\xff\xff"
_DEEP = b"[" * 3000 + b"]" * 3000

SEEDS: dict[str, list[bytes]] = {
    "redis_row": [
        b"|~|".join((_HEAD, _NUMBERS, _OPTIONS, b'[1,"x"]', b"1", b"0.5", b"[1]", b"01")),
        b"|~|".join((b"\x94\xa2\xff\xfe", _NUMBERS, b"{", b"[")),
        b"|~|".join((_HEAD, b"\x9e" + b"\x91" * 3000, b"", b'{"*":[1],"a":2}')),
    ],
    "sql_row": [
        b"|~|".join(
            (b"id", b"task", b"[1]", b"\x01", b"\x02", _OPTIONS, b"\x7f\xff\xff\xff\xff\xff\xff\xff")
        ),
        b"|~|".join((b"\x00\x03", b'{"*":[1],"a":2}', b"{", b"\xff\xff\xff\xff\xff\xff\xff\xff", b"queued")),
    ],
    "options": [
        _OPTIONS,
        b'{"retry":{"max_attempts":-1}}',
        b'{"format":2,"tags":7}',
        b'{"meta":' + _DEEP + b"}",
    ],
    "history": [_ATTEMPT, b"{", b'"\xff"', _DEEP],
    "amqp_message": [
        b"|~|".join((_JOB, b"[" + _ATTEMPT + b"]", b"[1]")),
        b'{"id":"1","task":"t","priority":' + b"9" * 40 + b"}",
        b'{"id":"1","task":"t","run_at":1e300}',
        b'{"id":"1","options":{"format":2},"parent":1}',
        b'{"id":"1","task":"\xff"}',
        b'{"id":"1","options":{"format":2},"pa\xfbrent":1}',
    ],
    "amqp_frames": [
        _FRAMES,
        b"\x01\0\x01\0\0\0\x04\0\x3c\0\x3c\xce",
        b"\x01\0\x01\0\0\0\x10\0<\0<\x01\0\x01\0\0\0\x10\0<\0<\0\0\x02\0\x01\0\0\0\0\x0e\0 \0\0\x04",
        b"\x20\0\0\0\0\x0b\x01xT\x40\0\0\0\0\0\0\0",
        b"\x01\0\x01\0\0\0\x0d\0\x3c\0\x50\0\0\0\0\0\0\0\x07\x01\xce",
        b"\x01\0\x01\0\0\0\x04\0\x3c\0\x78\xce",
    ],
    "amqp_control": [b'["mail",true]', b'["\xff",true]', _DEEP],
    "supervisor_line": [
        b'{"type":"Start","worker_id":"w"}',
        b'{"type":"Told","kind":"x","fields":1}',
        b'"\xff"',
        b"x" * 70_000,
    ],
    "black_box": [b"01a22154-4c0b-7ad9-addc-6c03acb41a9f", b"\xff" * 108],
    "arguments": [
        b'[1,"x",[1.5]]',
        b'{"*":[{"a":1}],"named":1.5,"x":2}',
        b'{"*":7}',
        b'{"*":{"a":1}}',
        b'["\\ud800"]',
        _DEEP,
    ],
    "result": [b"1", b'{"a":1}', b"[", b'"\xff"', _DEEP],
    "cron": [
        b"30 3 * * 1-5|~|Europe/Berlin",
        b"*/20 3 * * *|~|Australia/Lord_Howe",
        b"0 0 30 2 *",
        b"*/5 * * * * *",
        b"0 0 L * *|~|../etc",
    ],
    "stored_schedule": [
        b'{"name":"s","task":"t","cron":"* * * * *","missed":"all"}',
        b'{"name":"s","task":"t","every":60.0,"anchor":5,"jitter":1.0}',
        b'{"name":"s","task":"t","every":-5}',
        b'{"name":"s","task":"t","every":1e-300}',
        b'{"name":"s","task":"t","every":1e300,"anchor":-1e300}',
        b'{"name":"s","task":"t","every":60,"anchor":1e300}',
        b'{"name":"s","task":"t","every":1,"missed":"all","missed_cap":-1}',
        b'{"name":"s","task":"t","every":60,"jitter":1e300}',
        b'{"name":"s","task":"t"}',
    ],
    "redis_lines": [
        msgpack.encode((b'{"worker":"w","lease":30}', 1.0, 1.0, 2.0)),
        msgpack.encode(("{}", None, None, False, True)),
        b"\x91" * 3000,
    ],
    "url": [
        b"user:pass@host:6379/0?prefix=x&patience=2",
        b"h1:1,h2:2/service?ssl_ca_certs=x",
        b"guest:guest@host:5672/%2F?queues=classic&heartbeat=5",
        b"[::1]:5432/db?schema=x&listen=postgresql://h/db",
        b"host:99999/\xff?a=%ff",
        b"host:5432/db?application_name=%ff",
    ],
    "command_line": [
        b"\x00|~|--state|~|dead|~|--limit|~|5|~|--json",
        b"\x02|~|--tag|~|x|~|--yes",
        b"\x03|~|--all",
        b"\x06|~|id",
        b"\x04|~|a|~|--reason|~|\x00",
        b"\x09|~|--minutes|~|nan",
    ],
}
