"""The model side of Atelier: the engine process, its client and its supervisor. May import accounts, never platform."""
