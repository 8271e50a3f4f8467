"""Make sure that the tests have the programs that they start: servers, and a model checker."""

from __future__ import annotations

import sys

from tools.packages import Need, ensure

REDIS = Need("Redis", ("redis-server",), ("redis-server",))
POSTGRES = Need("PostgreSQL", ("postgres",), ("postgresql",))
PGBOUNCER = Need("PgBouncer", ("pgbouncer",), ("pgbouncer",))
RABBITMQ = Need("RabbitMQ", ("rabbitmq-server", "rabbitmqctl", "erl_call"), ("rabbitmq-server",))
SPIN = Need("Spin", ("spin", "cc"), ("spin", "gcc", "libc6-dev"))

if __name__ == "__main__":
    sys.exit(ensure(REDIS, POSTGRES, PGBOUNCER, RABBITMQ, SPIN))
