"""The far side of `jpki-terminal.v1`: a terminal with readers, dumb and careful."""
