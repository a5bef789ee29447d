"""The operator's guide: every command in it is executed, on a booted machine and as far as can be in CI."""
