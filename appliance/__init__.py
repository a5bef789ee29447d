"""PIN-less My Number card authentication (特定機関認証) with the institution key in an HSM."""

__version__ = "0.1.0"
