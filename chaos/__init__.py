"""`make chaos`: everything is killed, frozen, cut off and restarted for minutes, and no promise may break."""
