"""Studies: configuration, networks and data by name, training, the store of records, and the demo."""
