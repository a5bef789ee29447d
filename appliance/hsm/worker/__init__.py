"""The process that holds one session: what it is asked, what it admits, what it answers."""
