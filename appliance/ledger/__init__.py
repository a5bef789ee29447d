"""What is remembered: a Merkle log of everything the institution key was used for. The first half is pure."""
