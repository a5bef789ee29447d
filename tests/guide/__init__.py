"""The operator's guide: every command in it is executed, in CI or on a booted machine."""
