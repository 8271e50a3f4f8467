"""What Backburner can do on this machine, beside what the bare broker can: `python -m bench --help`."""
