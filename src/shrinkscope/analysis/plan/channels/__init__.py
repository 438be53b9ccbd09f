"""Plans that remove channels: which of them go together, what goes with them, and how many of each kind go."""
