"""Everything breaks at once, for minutes, and afterwards every promise is checked."""
