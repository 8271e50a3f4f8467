"""Make sure that the tests have the programs of the servers that they start for themselves."""

from __future__ import annotations

import sys

from tools.packages import Need, ensure

REDIS = Need("Redis", ("redis-server",), ("redis-server",))
POSTGRES = Need("PostgreSQL", ("postgres",), ("postgresql",))
PGBOUNCER = Need("PgBouncer", ("pgbouncer",), ("pgbouncer",))
RABBITMQ = Need("RabbitMQ", ("rabbitmq-server", "rabbitmqctl", "erl_call"), ("rabbitmq-server",))

if __name__ == "__main__":
    sys.exit(ensure(REDIS, POSTGRES, PGBOUNCER, RABBITMQ))
