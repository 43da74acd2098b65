"""What can be trained for: one file per objective, named in `registry`."""
