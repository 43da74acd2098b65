"""Sans-IO protocol cores: events and the time in, commands out."""
