"""Who asks, and what is handed out."""
