"""A card, a reader and a CA of our own, for tests, demonstrations and integrators. Never for production."""
