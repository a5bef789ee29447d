"""What is said to the card. Pure: no I/O, no clock, no randomness, no logging."""
