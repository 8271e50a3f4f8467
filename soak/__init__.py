"""Endurance: mixed load for as long as asked, which fails when anything grows that should not."""
