"""Networks as lists of steps, what a step costs, and the channels that are followed through them."""
