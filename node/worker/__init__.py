"""The training process of a node: mining and replays, away from the event loop."""
