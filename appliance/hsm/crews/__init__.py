"""The daemon's side of the workers: who starts them, gives them work, and replaces them. `pool` is the way in."""
